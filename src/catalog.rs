//! What exists: services and their endpoints, as plain data from any provider.

pub mod notice;

use std::borrow::Borrow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A service's logical name, as it stands in Consul and in `/api/{service}/`.
///
/// Visible ASCII without `/`, `?`, `#` and `%`, at most 255 bytes: what fits one segment of a canonical path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The name, or `None` when no canonical path segment can spell it.
    pub fn new(text: &str) -> Option<ServiceName> {
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%' | b'\\' | b';');
        let ok = !text.is_empty() && text.len() <= 255 && text.bytes().all(fits) && text != "." && text != "..";
        ok.then(|| ServiceName(text.into()))
    }

    /// The same text, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What makes an instance the same instance from one catalog to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Consul's datacenter; empty for endpoints from a file.
    pub datacenter: Arc<str>,
    /// Consul's admin partition; empty in the community edition.
    pub partition: Arc<str>,
    /// Consul's namespace; empty in the community edition.
    pub namespace: Arc<str>,
    /// The cluster peer that it was imported from; empty for local ones.
    pub peer: Arc<str>,
    /// The service it belongs to.
    pub service: ServiceName,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The health of an endpoint by its provider; for Consul's, the worst of its checks
/// (maintenance > critical > warning > passing; <https://developer.hashicorp.com/consul/api-docs/health>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Every check passes, or there is none.
    Passing,
    /// The worst check warns: served with `Weights.Warning`.
    Warning,
    /// A check is critical: not served.
    Critical,
    /// In maintenance, as a service or with its node: not served.
    Maintenance,
}

impl Health {
    /// The word that logs and admin use.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Passing => "passing",
            Health::Warning => "warning",
            Health::Critical => "critical",
            Health::Maintenance => "maintenance",
        }
    }
}

/// One health check, as Consul reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its id, unique on its node.
    pub id: Arc<str>,
    /// `passing`, `warning` or `critical`, as written.
    pub status: Arc<str>,
    /// Whether it is a check of the node; else it is one of the service.
    pub node: bool,
}

/// One entry of a provider for an endpoint: Consul may hold several for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node that carries it; empty for endpoints from a file.
    pub node: Arc<str>,
    /// The service id, unique on its node.
    pub id: String,
    /// The Raft index at which it was created: another one means that another process has registered.
    pub create_index: u64,
    /// The Raft index at which it changed last.
    pub modify_index: u64,
    /// Its checks, those of its node included.
    pub checks: Vec<Check>,
    /// The worst of its checks.
    pub health: Health,
    /// The weight that holds in this state of health: `Weights.Passing` or `Weights.Warning`.
    pub weight: u32,
    /// Its tags.
    pub tags: Tags,
    /// Its metadata.
    pub meta: Meta,
}

/// Tags in their order. Registrations that have the same share them, as far as their provider can.
pub type Tags = Arc<[Arc<str>]>;

/// Metadata: names with their values, sorted by name. Registrations that have the same share it, as far as their provider can.
pub type Meta = Arc<[(Arc<str>, Arc<str>)]>;

/// What providers say of one instance: everything registered at its address, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub key: Key,
    /// What is registered at its address: one registration, or several, which is worth a warning.
    pub registrations: Vec<Registration>,
    /// The best health among its registrations.
    pub health: Health,
    /// The highest weight among its registrations of that health; 0 is never picked.
    pub weight: u32,
    /// It has vanished, but in a way that is not believed yet.
    pub suspect: Option<Arc<Suspect>>,
}

/// Why an endpoint that has vanished is held, and until when. It is picked only where its service has no endpoint that is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// What is suspicious, as a sentence for operators.
    pub reason: Arc<str>,
    /// When it vanished.
    pub since: SystemTime,
    /// When it is given up, if nothing else decides before.
    pub until: SystemTime,
}

impl Endpoint {
    /// Whether it may be picked as far as its provider knows: it passes or warns, and has a weight.
    pub fn available(&self) -> bool {
        self.health <= Health::Warning && self.weight > 0
    }

    /// Whether its process may still be there, as far as its provider knew: maintenance is believed, and every critical check but
    /// `serfHealth`, by which a part of the network that is cut off calls the nodes of all others critical
    /// (<https://developer.hashicorp.com/consul/docs/architecture/gossip>).
    pub fn may_live(&self) -> bool {
        let fails = |check: &Check| !matches!(&*check.status, "passing" | "warning");
        let is_gossip = |check: &Check| check.node && &*check.id == "serfHealth";
        let dead = |r: &Registration| r.health > Health::Warning && r.checks.iter().any(|c| fails(c) && !is_gossip(c));
        let all_dead = !self.registrations.is_empty() && self.registrations.iter().all(dead);
        self.health <= Health::Warning || self.health == Health::Critical && !all_dead
    }
}

/// Something registered that cannot be picked, and why, so that its owner can find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unroutable {
    /// Node and service id, or whatever names it.
    pub id: String,
    /// Its address as written.
    pub address: String,
    /// Why it cannot be picked, as a sentence for its owner.
    pub reason: String,
}

/// One service and all its endpoints, healthy or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// `consul` or `file`.
    pub provider: &'static str,
    /// Sorted by key.
    pub endpoints: Vec<Endpoint>,
    /// Entries that cannot be picked: without a usable address, or refused.
    pub unroutable: Vec<Unroutable>,
}

/// What is registered but not exposed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The service's name as registered.
    pub name: String,
    /// Why it is not exposed, for its owner: "has no tag `gateway`".
    pub reason: String,
}

pub use imbl::ordmap::DiffItem;

/// Something of each service, by its name: a map whose copies share what is equal in them, so that a change costs what has changed and not
/// what exists.
pub type ByName<T> = imbl::OrdMap<ServiceName, Arc<T>>;

/// Services by name.
pub type Services = ByName<Service>;

/// Everything that exists, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The exposed services: also those without endpoints, as long as their provider lists them.
    pub services: Services,
    /// What is registered but not exposed.
    pub hidden: Vec<Hidden>,
    /// The version of the configuration whose services are among these.
    pub config_version: u64,
    /// False until every provider has given its first answer: until then an unknown service is 503, not 404.
    pub complete: bool,
}

/// How discovery fares, for admin, `/ready` and logs.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryStatus {
    /// One per provider.
    pub providers: Vec<ProviderStatus>,
}

/// How a provider follows its services, as it is at the moment of asking.
pub trait Following: fmt::Debug + Send + Sync {
    /// How a service is followed; `None` when it is not.
    fn service(&self, name: &str) -> Option<Followed>;

    /// How all of them are.
    fn plan(&self) -> Plan;
}

/// How a service is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// `watch`: by a blocking query of its own; `signals`: it is read when something says that it may have changed.
    pub by: &'static str,
    /// For how long what is known of it may be out of date; `None` before it was read.
    pub lag: Option<Duration>,
}

/// How all services of a provider are followed, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `watches`: a blocking query for each; `signals`: for some, and signals for the others.
    pub name: &'static str,
    /// The agent that is asked.
    pub agent: String,
    /// Requests to agents since the start.
    pub requests: u64,
    /// The same in a second, over the last minute.
    pub per_second: f64,
}

/// How one provider fares.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// `consul` or `file`.
    pub name: &'static str,
    /// Where it looks: the agent's address, or the file.
    pub source: String,
    /// `starting`, `watching`, `sweeping` (some services have no watch of their own), `failing`, or `stale` while services of the saved catalog
    /// are served.
    pub state: &'static str,
    /// The index of the catalog watch.
    pub index: u64,
    /// How it follows its services; `None` for one that follows none.
    pub following: Option<Arc<dyn Following>>,
    /// How many services have a blocking query of their own.
    pub watched: usize,
    /// How many have none, because the connection budget is used up: they are read when a signal says that they may have changed.
    pub swept: usize,
    /// How many endpoints are suspects: vanished, but held.
    pub suspects: usize,
    /// When the saved catalog was saved, while services of it are served.
    pub restored_at: Option<SystemTime>,
    /// When its source answered last.
    pub last_answer: Option<SystemTime>,
    /// Errors since the start.
    pub errors: u64,
    /// The last error, while it lasts, in full: for operators.
    pub error: Option<String>,
    /// What kind of failure that is: for anybody.
    pub failure: Option<&'static str>,
    /// What an operator should know, a sentence each: services without a watch of their own, a missing token.
    pub notes: Vec<String>,
}

impl ProviderStatus {
    /// Of a provider that has not reported yet.
    pub fn starting(name: &'static str, source: String) -> ProviderStatus {
        ProviderStatus {
            name,
            source,
            state: "starting",
            index: 0,
            following: None,
            watched: 0,
            swept: 0,
            suspects: 0,
            restored_at: None,
            last_answer: None,
            errors: 0,
            error: None,
            failure: None,
            notes: Vec::new(),
        }
    }
}
