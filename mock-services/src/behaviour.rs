//! How an instance misbehaves: plain data, changed at run time.

use serde::{Deserialize, Serialize};

/// What an instance does with requests other than health checks. The default is to behave well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Waits this long before it answers.
    pub delay_ms: u64,
    /// The share of requests, in per cent, that get `error_status`.
    pub error_percent: u8,
    /// The status of failing requests; 0 stands for 500.
    pub error_status: u16,
    /// A `Retry-After` for failing requests, in seconds; 0 sends none.
    pub retry_after_s: u64,
    /// Takes requests and never answers.
    pub hang: bool,
    /// Closes the connection with a reset instead of an answer.
    pub reset: bool,
    /// Begins the body and stops in the middle: the connection closes.
    pub cut_body: bool,
    /// Sends bodies in small pieces, with this long a pause before each.
    pub body_ms: u64,
    /// Answers something that is not HTTP, on connections that come from now on.
    pub garbage: bool,
    /// Fails its health check.
    pub sick: bool,
}
