//! `/admin/cache` and `/admin/cache/clear`.

use serde::{Deserialize, Serialize};

/// What the cache holds, and what came of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// How many answers are stored.
    pub entries: u64,
    /// The bytes of memory that the cache takes: these answers, marks on keys, answers on their way into the store or, after it gave
    /// them up, still on their way to clients.
    pub bytes: u64,
    /// The most bytes that what is stored or on its way into the store may take.
    pub size: u64,
    /// Requests that were answered from the store.
    pub hits: u64,
    /// Requests for which nothing was stored.
    pub misses: u64,
    /// Requests for which the stored answer was too old.
    pub stale: u64,
    /// Stored answers that an instance confirmed.
    pub revalidated: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Requests that waited for the answer to another one.
    pub coalesced: u64,
    /// Requests that went past the cache.
    pub bypassed: u64,
    /// Answers that were cleared by hand.
    pub cleared: u64,
    /// What is stored, by service.
    pub services: Vec<Service>,
}

/// What is stored of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub service: String,
    /// How many answers are stored.
    pub entries: u64,
    /// The bytes that they take.
    pub bytes: u64,
}

/// What a clear did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleared {
    /// How many answers went.
    pub cleared: u64,
    /// The service whose answers were meant; `null` means every service.
    pub service: Option<String>,
    /// The path at or below which answers were meant; `null` means every path.
    pub path: Option<String>,
}
