//! What exists: services and their endpoints, as plain data from any provider.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// Where it listens. An endpoint without a usable address has none and is never picked.
    pub address: SocketAddr,
}

/// Consul's judgement of an endpoint: the worst of its checks
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

/// One health check, as Consul tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its id, unique on its node.
    pub id: String,
    /// `passing`, `warning` or `critical`, as written.
    pub status: String,
    /// True for a check of the node, false for one of the service.
    pub node: bool,
}

/// One entry of a provider for an endpoint: Consul may hold several for one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node that carries it; empty for endpoints from a file.
    pub node: String,
    /// The service id, unique on its node.
    pub id: String,
    /// Raft index at which it was created: another one means another process.
    pub create_index: u64,
    /// Raft index at which it changed last.
    pub modify_index: u64,
    /// Its checks, those of its node included.
    pub checks: Vec<Check>,
    /// The worst of its checks.
    pub health: Health,
    /// The weight that holds in this state of health: `Weights.Passing` or `Weights.Warning`.
    pub weight: u32,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata.
    pub meta: BTreeMap<String, String>,
}

/// What providers say of one instance: everything registered at its address, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub key: Key,
    /// At least one; several on one address are one endpoint (and worth a warning).
    pub registrations: Vec<Registration>,
    /// The best health among its registrations.
    pub health: Health,
    /// The highest weight among its registrations of that health; 0 is never picked.
    pub weight: u32,
}

impl Endpoint {
    /// Whether its provider lets it be picked: passing or warning, with a weight.
    pub fn available(&self) -> bool {
        self.health <= Health::Warning && self.weight > 0
    }
}

/// Something registered that cannot be picked, and why, so that its owner can find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unroutable {
    /// Node and service id, or whatever names it.
    pub id: String,
    /// Its address as written.
    pub address: String,
    /// A sentence for its owner.
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
    /// Entries without a usable address, or refused.
    pub unroutable: Vec<Unroutable>,
}

/// What is registered but not exposed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// The service's name as registered.
    pub name: String,
    /// A sentence for its owner: "has no tag `gateway`".
    pub reason: String,
}

/// Everything that exists, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The exposed services. A service stays here, without endpoints, only while its provider lists it.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Registered, not exposed.
    pub hidden: Vec<Hidden>,
    /// The version of the configuration whose services are among these.
    pub told: u64,
    /// False until every provider has given its first answer: until then an unknown service is 503, not 404.
    pub complete: bool,
}

/// How discovery fares, for admin, `/ready` and logs.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryStatus {
    /// One per provider.
    pub providers: Vec<ProviderStatus>,
}

/// How one provider fares.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// `consul` or `file`.
    pub name: &'static str,
    /// Where it asks: the agent's address, or the file.
    pub source: String,
    /// `starting`, `watching`, `sweeping` (over the connection budget) or `failing`.
    pub state: &'static str,
    /// The index of the catalog watch.
    pub index: u64,
    /// How many services are watched by a blocking query of their own.
    pub watched: usize,
    /// How many are read in rotation, because the connection budget is used up.
    pub swept: usize,
    /// When it last answered anything.
    pub last_answer: Option<SystemTime>,
    /// Errors since the start.
    pub errors: u64,
    /// The last error, while it lasts.
    pub error: Option<String>,
    /// A sentence for each thing that an operator should know (degraded modes, the default token…).
    pub notes: Vec<String>,
}
