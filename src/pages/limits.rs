//! `/admin/rate-limits` and `/admin/rate-limits/reset`.

use serde::{Deserialize, Serialize};

/// The limits, and what is used of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Every limit of the configuration.
    pub limits: Vec<Limit>,
    /// Who has used which of them; those nearest to their limit come first.
    pub usage: Vec<Usage>,
    /// The table of client addresses.
    pub addresses: Addresses,
}

/// A limit of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limit {
    /// The name of its set: `default`, `api`, a route, a plan.
    pub name: String,
    /// `plan` or `route`.
    pub of: String,
    /// How many requests are allowed within any period.
    pub count: u32,
    /// The period in milliseconds.
    pub period_ms: u64,
    /// Whose requests count together: `consumer`, `address`, `everyone`.
    pub by: String,
    /// How many requests its set has refused.
    pub refused: u64,
}

/// How far one client has used one limit. It has one of `consumer`, `address` and `everyone`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The name of the limit's set.
    pub limit: String,
    /// How many requests are allowed within any period.
    pub count: u32,
    /// The period in milliseconds.
    pub period_ms: u64,
    /// The consumer who has used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// The client address that has used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// True where all clients use it together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub everyone: Option<bool>,
    /// How many more requests may come at once.
    pub remaining: u32,
    /// The milliseconds until nothing of it is used any more.
    pub whole_in_ms: u64,
    /// How many requests were refused.
    pub refused: u64,
}

/// The table of client addresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addresses {
    /// The bytes that it takes.
    pub bytes: u64,
}

/// What a reset did, for the consumer or the address that it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reset {
    /// The consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// The address, as it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How many limits were in use.
    pub reset: u64,
}
