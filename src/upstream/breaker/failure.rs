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
