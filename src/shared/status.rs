//! How a Redis fares, as the control plane sees it.

use std::time::{Duration, SystemTime};

/// What a Redis is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Limits and answers.
    Both,
    /// Limits: what is evicted is a limit that begins anew.
    Limits,
    /// Answers: what cannot be stored for want of memory is fetched again.
    Answers,
}

/// How it fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Whether it answers and nobody pauses; `None` before it was looked at.
    pub up: Option<bool>,
    /// Since when that is so.
    pub since: Option<SystemTime>,
    /// Why it last did not answer, in words for the operator.
    pub error: Option<String>,
    /// How long its last answer took.
    pub round_trip: Option<Duration>,
    /// `master`, or `slave` as Redis says of replicas.
    pub role: Option<String>,
    /// What is wrong with how it is set up.
    pub warning: Option<String>,
}
