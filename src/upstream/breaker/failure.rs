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
    /// What came back is no valid HTTP.
    BadAnswer,
    /// 502, 504, or 503 without `Retry-After`.
    Status(u16),
}

impl Failure {
    /// Whether the instance answered in HTTP, if only with an error. Such a failure never trips the last eligible instance.
    pub fn is_status(self) -> bool {
        matches!(self, Failure::Status(_))
    }

    /// One stable word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::ConnectRefused => "connect_refused",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Reset => "reset",
            Failure::FirstByteTimeout => "first_byte_timeout",
            Failure::Idle => "idle_timeout",
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
