//! How an instance misbehaves: plain data that commands change.

use serde::{Deserialize, Serialize};

/// How an instance treats requests other than health checks. By default it behaves well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Only requests whose path ends so are treated as described here; empty: all are. `garbage` concerns all.
    pub path: String,
    /// Waits this long before it answers.
    pub delay_ms: u64,
    /// The percentage of requests that get `error_status`.
    pub error_percent: u8,
    /// The status of failing requests; 0 means 500.
    pub error_status: u16,
    /// The `Retry-After` of failing requests, in seconds; 0 means none.
    pub retry_after_s: u64,
    /// Reads requests and never answers them.
    pub hang: bool,
    /// Resets the connection instead of answering.
    pub reset: bool,
    /// Closes the connection in the middle of the body.
    pub cut_body: bool,
    /// Sends bodies in small pieces, with a pause of so many milliseconds before each; 0 sends them at once.
    pub body_ms: u64,
    /// Answers with something that is not HTTP, on connections that are opened from now on.
    pub garbage: bool,
    /// Fails its health check.
    pub sick: bool,
}

impl Behaviour {
    /// How requests for this path are treated.
    pub(crate) fn towards(self, path: &str) -> Behaviour {
        if path.ends_with(&self.path) { self } else { Behaviour { sick: self.sick, ..Behaviour::default() } }
    }
}
