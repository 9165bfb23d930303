//! `/admin/services` and `/admin/discovery/accept`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Every service with its instances, how discovery fares, and how the gateway does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// The snapshot that holds.
    pub snapshot: Snapshot,
    /// The providers.
    pub discovery: Vec<Provider>,
    /// The services, by name.
    pub services: Vec<Service>,
    /// Services that are registered but not exposed.
    pub not_exposed: Vec<Hidden>,
    /// The process.
    pub gateway: Gateway,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// How many were published so far.
    pub version: u64,
    /// Whether every provider has given its first answer.
    pub complete: bool,
}

/// How a provider fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// `consul` or `file`.
    pub provider: String,
    /// Where it looks: the agent's address, or the file.
    pub source: String,
    /// `starting`, `watching`, `sweeping` (some services have no blocking query of their own), `failing`, or `stale` (services of the saved
    /// catalog are served).
    pub state: String,
    /// The index of the catalog watch.
    pub index: u64,
    /// How many services have a blocking query of their own.
    pub watched: u64,
    /// How many are without, and read when something says that they may have changed.
    pub swept: u64,
    /// How the services are followed: `watches`, a blocking query for each, or `signals`, for some of them; left out for the file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How many instances have vanished in a way that is not believed yet.
    pub suspects: u64,
    /// When the saved catalog was saved (RFC 3339); left out unless services of it are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<String>,
    /// When its source answered last (RFC 3339).
    pub last_answer: Option<String>,
    /// How many milliseconds ago that was.
    pub last_answer_age_ms: Option<u64>,
    /// Errors since the start.
    pub errors: u64,
    /// The last error, while it lasts.
    pub error: Option<String>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// How the services of a provider are followed, and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// `watches` or `signals`.
    pub name: String,
    /// The agent that is asked.
    pub agent: String,
    /// Requests to agents since the start.
    pub requests: u64,
    /// The same in a second, over the last minute.
    pub requests_per_second: f64,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// `consul` or `file`.
    pub provider: String,
    /// `watch`: it has a blocking query of its own; `signals`: it is read when something says that it may have changed; left out for the
    /// file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<String>,
    /// For how many milliseconds what is known of it may be out of date; left out before it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// The routes that lead to it.
    pub routes: Vec<String>,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Entries that cannot be picked; left out when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unroutable: Vec<Unroutable>,
    /// Since when its provider no longer lists it (RFC 3339); left out while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<String>,
}

/// An instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Where it listens.
    pub address: String,
    /// `passing`, `warning`, `critical` or `maintenance`.
    pub health: String,
    /// Its weight.
    pub weight: u32,
    /// Whether it may be picked now.
    pub picked: bool,
    /// Its breaker.
    pub breaker: Breaker,
    /// Attempts under way.
    pub in_flight: u64,
    /// Attempts begun.
    pub requests: u64,
    /// Attempts that failed by its fault.
    pub failures: u64,
    /// The tags of its first registration.
    pub tags: Option<Vec<String>>,
    /// The metadata of its first registration.
    pub meta: Option<BTreeMap<String, String>>,
    /// What is registered at its address.
    pub registrations: Vec<Registration>,
    /// The milliseconds for which it gets no requests, because it asked for that; left out when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
    /// Why it is held although it has vanished; left out for an instance that its provider lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Suspect>,
}

/// Why an instance that has vanished is held: it gets requests only where its service has no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suspect {
    /// What is suspicious, as a sentence.
    pub reason: String,
    /// When it vanished (RFC 3339).
    pub since: String,
    /// When it is given up, if nothing else decides before (RFC 3339).
    pub until: String,
}

/// What `/admin/discovery/accept` did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Accepted {
    /// How many suspects are gone now.
    pub accepted: u64,
}

/// The breaker of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// `closed`, `half_open` or `open`.
    pub state: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// The last failure, while there was no success after it.
    pub why: Option<String>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// The milliseconds until the next probe, when it is open.
    pub next_probe_ms: Option<u64>,
    /// How often it has opened.
    pub opened: u64,
}

/// What a provider has registered for an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// The node that carries it; empty for instances from the file.
    pub node: String,
    /// The service id, unique on its node.
    pub id: String,
    /// The worst of its checks.
    pub health: String,
    /// Its weight in this state of health.
    pub weight: u32,
    /// The Raft index at which it was created.
    pub create_index: u64,
    /// The Raft index at which it changed last.
    pub modify_index: u64,
    /// Its checks, those of its node included.
    pub checks: Vec<Check>,
}

/// A health check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// Its id, unique on its node.
    pub id: String,
    /// `passing`, `warning` or `critical`, as registered.
    pub status: String,
    /// `node` or `service`.
    pub of: String,
}

/// An entry that cannot be picked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unroutable {
    /// Node and service id.
    pub id: String,
    /// Its address as registered.
    pub address: String,
    /// Why it cannot be picked.
    pub reason: String,
}

/// A service that is registered but not exposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hidden {
    /// Its name.
    pub name: String,
    /// Why it is not exposed.
    pub reason: String,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// The milliseconds since it started.
    pub uptime_ms: u64,
    /// Open client connections of each worker.
    pub connections_per_worker: Vec<u64>,
    /// Requests that were not HTTP, or broke off in their head.
    pub unparsed_requests: u64,
    /// Connections refused for want of file descriptors.
    pub refused_connections: u64,
    /// Requests that a fault of the gateway ended.
    pub panics: u64,
}
