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
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::ConnectRefused => f.write_str("connect_refused"),
            Failure::ConnectTimeout => f.write_str("connect_timeout"),
            Failure::Reset => f.write_str("reset"),
            Failure::FirstByteTimeout => f.write_str("first_byte_timeout"),
            Failure::Idle => f.write_str("idle_timeout"),
            Failure::BadAnswer => f.write_str("bad_answer"),
            Failure::Status(status) => write!(f, "status_{status}"),
        }
    }
}
