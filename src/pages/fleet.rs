//! `/admin/fleet`, and what gateways tell each other of themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Who is in the fleet, and who disagrees with whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// How this gateway stands in Consul; `null` without `[fleet]`.
    pub registration: Option<Registration>,
    /// How many gateways live, by Consul's last answer; this one alone without `[fleet]`.
    pub living: u64,
    /// Why what is said of the others may be out of date, if it may.
    pub error: Option<String>,
    /// Every gateway, this one first.
    pub gateways: Vec<Gateway>,
    /// What gateways say differently. While something changes, this is so for a moment.
    pub disagreements: Vec<Disagreement>,
    /// Each Redis of the configuration; none where no `[redis]` is written.
    pub redis: Vec<Redis>,
}

/// How a gateway stands in Consul.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// The service as which gateways register.
    pub service: String,
    /// Its own id.
    pub id: String,
    /// The agent has it.
    pub registered: bool,
    /// The agent that was asked last; empty before that.
    pub agent: String,
    /// Why it is not registered, or what else is wrong.
    pub error: Option<String>,
}

/// A gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// The node that carries it; empty while that is not known.
    pub node: String,
    /// Where clients reach it.
    pub address: String,
    /// The worst of its checks: `passing`, `warning`, `critical`, `maintenance`; `unknown` while Consul has not said it.
    pub health: String,
    /// It is the one that was asked for this page.
    pub own: bool,
    /// What it says of itself; `null` where it did not, or where nothing proves that it is one of the fleet.
    pub state: Option<State>,
    /// Why it is not known what it says.
    pub error: Option<String>,
}

/// What a gateway says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The version that runs.
    pub version: String,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long ago that was, by its own clock.
    pub age_ms: u64,
    /// A name for what its file says, but for what is about its host alone: the same for gateways that are configured alike. `null` where
    /// the fleet's secret, which is in it, cannot be used.
    pub configuration: Option<String>,
    /// A digest of its services and their instances.
    pub snapshot: String,
    /// Its services, each with the number of its instances and a digest of them; empty where they are very many.
    pub services: BTreeMap<String, String>,
    /// Its instances whose breaker is open or half open: service and address.
    pub tripped: Vec<String>,
}

/// Something that gateways say differently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disagreement {
    /// `version`, `configuration`, `snapshot` or `breaker`.
    pub about: String,
    /// Of a snapshot the service, of a breaker the service and the instance's address; else empty.
    pub what: String,
    /// Who says what.
    pub sides: Vec<Side>,
}

/// What some gateways say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// What they say.
    pub says: String,
    /// Their ids.
    pub gateways: Vec<String>,
}

/// One Redis, as this gateway sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Redis {
    /// The section that names it: `redis` or `redis.cache`.
    pub name: String,
    /// Where it is, without credentials.
    pub address: String,
    /// What it is for: `limits`, `answers`.
    pub serves: Vec<String>,
    /// `up`; `away` while it does not answer, or a worker goes without it; `unknown` before it was looked at.
    pub state: String,
    /// Since when that is so.
    pub since: Option<String>,
    /// The last error, also after it is back.
    pub error: Option<String>,
    /// How long its last answer to the control plane took, in microseconds.
    pub round_trip_us: Option<u64>,
    /// `master` or `slave`, as it says itself.
    pub role: Option<String>,
    /// What is wrong with how it is set up.
    pub warning: Option<String>,
    /// How often workers asked, or would have.
    pub calls: u64,
    /// What became of those that got no answer.
    pub failures: Failures,
    /// The workers' connections.
    pub workers: Vec<Connection>,
}

/// Calls without an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// No answer came within the deadline.
    pub late: u64,
    /// The connection broke, or could not be made.
    pub lost: u64,
    /// Redis refused.
    pub refused: u64,
    /// Nobody was asked, because the connection paused.
    pub paused: u64,
}

/// A worker's connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connection {
    /// The worker's number.
    pub worker: usize,
    /// `unused`, `connecting`, `up` or `paused`.
    pub state: String,
    /// For how long it still pauses, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<u64>,
    /// Why it pauses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
