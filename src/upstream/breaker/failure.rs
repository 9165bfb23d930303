//! The failures of an attempt that count against its instance.

use std::fmt;

/// What went wrong with an attempt through the instance's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, or the instance's host cannot be reached.
    ConnectRefused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The connection broke before the answer was complete.
    Reset,
    /// The answer's head was not complete in time.
    FirstByteTimeout,
    /// The answer's body stopped: no byte came for as long as the idle deadline.
    Idle,
    /// What came back does not begin with a status line of HTTP/1: something else listens there.
    NotHttp,
    /// An answer of a form that we refuse: its framing, its fields, its size, its characters; a 101 that nobody asked for.
    BadAnswer,
    /// 502, 504, or 503 without `Retry-After`.
    Status(u16),
}

/// How much a failure says of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nobody may have answered: it may trip the last eligible instance, too.
    Failure,
    /// The instance answered, if only with an error: of several instances, the last eligible one never trips by this.
    Status,
    /// The instance answered, and its client may have provoked what is wrong with it: it counts in the rate window only, never trips
    /// the last eligible instance, and only one of which nothing went well in that time, unlike its peers.
    Rate,
}

impl Failure {
    /// How much it says of its instance.
    pub fn weight(self) -> Weight {
        match self {
            Failure::Status(_) => Weight::Status,
            Failure::BadAnswer => Weight::Rate,
            Failure::ConnectRefused
            | Failure::ConnectTimeout
            | Failure::Reset
            | Failure::FirstByteTimeout
            | Failure::Idle
            | Failure::NotHttp => Weight::Failure,
        }
    }

    /// One stable word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "connect_refused",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Reset => "reset",
            Failure::FirstByteTimeout => "first_byte_timeout",
            Failure::Idle => "idle_timeout",
            Failure::NotHttp => "not_http",
            Failure::BadAnswer => "bad_answer",
            Failure::Status(502) => "status_502",
            Failure::Status(503) => "status_503",
            Failure::Status(504) => "status_504",
            Failure::Status(_) => "status",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
