//! What counts against an instance.

use std::fmt;

/// What went wrong with an attempt, by the instance's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// The connection broke before the answer was complete.
    Reset,
    /// No answer's head in time.
    FirstByteTimeout,
    /// The answer's body stopped.
    Idle,
    /// What came back is not HTTP.
    BadAnswer,
    /// 502, 504, or 503 without `Retry-After`.
    Status(u16),
}

impl Failure {
    /// Whether the instance answered, if badly: then it never trips as the last one that is left.
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
