//! The document: what is saved of a catalog, for whom it was saved, and who may read it.
//!
//! No secret is in it, and no metadata of instances, in which somebody may have put one.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};

use crate::catalog::{Check, Endpoint, Registration, Service, ServiceName, Services};
use crate::config::{self, Expose};
use crate::discovery::consul::address::{AgentPorts, Trust};
use crate::discovery::consul::assemble::{self, Assembled, Rules};
use crate::discovery::consul::model::{Entry, HealthCheck, Node, Registered, Weights};
use crate::own_file;

/// The version of the format: of another one, nothing is read.
const FORMAT: u64 = 1;

/// By how much the clock of this host may have been ahead when the file was written.
const AHEAD: Duration = Duration::from_secs(60);

/// Whose catalog it is: one of another datacenter, partition or namespace is never used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// As configured; none: that of the agent.
    datacenters: Vec<String>,
    partition: String,
    namespace: String,
}

impl Scope {
    /// What the configuration asks for. Not to name a partition or a namespace is to mean `default`.
    pub(crate) fn of(config: &config::Consul) -> Scope {
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "default".into());
        Scope {
            datacenters: config.datacenters.clone(),
            partition: named(&config.partition),
            namespace: named(&config.namespace),
        }
    }
}

/// What an agent confirms.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    /// The services.
    pub(crate) services: Services,
    /// The agent's datacenter; empty where it does not tell: then that of its instances counts.
    pub(crate) datacenter: String,
    /// What is known of the agent: its node, where it listens, and whether it is on this host.
    pub(crate) trust: Trust,
}

impl Confirmed {
    /// Whether none of its endpoints is suspect.
    pub(super) fn is_beyond_doubt(&self) -> bool {
        self.services.values().all(|service| service.endpoints.iter().all(|endpoint| endpoint.suspect.is_none()))
    }

    /// Who tells it.
    fn agent(&self) -> Agent {
        let own =
            |service: &Arc<Service>| service.endpoints.iter().map(|e| e.key.clone()).find(|key| key.peer.is_empty());
        let of_instances =
            || self.services.values().find_map(own).map_or(String::new(), |key| key.datacenter.to_string());
        let told = Some(self.datacenter.clone()).filter(|name| !name.is_empty());
        let AgentPorts { found, mut addresses, mut ports } = self.trust.agent.clone();
        let (mut node, mut local) = (self.trust.own_node.as_ref().ok().cloned(), self.trust.agent_is_local);
        // What an agent on this host told before holds while another one is followed.
        if let Some(host) = self.trust.host.as_ref().filter(|host| host.near && !local) {
            (node, local) = (Some(host.node.clone()), true);
            addresses.extend(&host.agent.addresses);
            ports.extend(&host.agent.ports);
        }
        Agent {
            datacenter: told.unwrap_or_else(of_instances),
            node,
            local,
            found: found.into_iter().collect(),
            addresses,
            ports,
        }
    }
}

/// What was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Loaded {
    /// The services that are exposed by the rules that hold now.
    pub(crate) services: Services,
    /// When it was saved.
    pub(crate) saved_at: SystemTime,
    /// The datacenter of the agent that told it. When the first agent that answers is in another one, and the configuration names
    /// none, nothing of this is about its services.
    pub(crate) datacenter: String,
}

#[derive(Deserialize)]
struct Document {
    saved_at_ms: u64,
    agent: Agent,
    datacenters: Vec<String>,
    partition: String,
    namespace: String,
    services: BTreeMap<String, Vec<Instance>>,
}

/// Who told it.
#[derive(Serialize, Deserialize)]
struct Agent {
    datacenter: String,
    node: Option<String>,
    /// Loopback addresses of its node are on this host.
    local: bool,
    found: Vec<SocketAddr>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

/// One registration.
#[derive(Deserialize)]
struct Instance {
    node: String,
    id: String,
    address: String,
    port: i64,
    datacenter: String,
    #[serde(default)]
    partition: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    peer: String,
    tags: Vec<String>,
    weight: u32,
    create_index: u64,
    modify_index: u64,
    checks: Vec<SavedCheck<String>>,
}

#[derive(Serialize, Deserialize)]
struct SavedCheck<T> {
    id: T,
    status: T,
    node: bool,
}

/// Writes a catalog.
pub(super) fn render(out: impl Write, confirmed: &Confirmed, scope: &Scope, now: SystemTime) -> serde_json::Result<()> {
    #[derive(Serialize)]
    struct Whole<'a> {
        format: u64,
        saved_at_ms: u64,
        agent: Agent,
        datacenters: &'a [String],
        partition: &'a str,
        namespace: &'a str,
        #[serde(serialize_with = "all")]
        services: &'a Services,
    }
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = Whole {
        format: FORMAT,
        saved_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        agent: confirmed.agent(),
        datacenters: &scope.datacenters,
        partition: &scope.partition,
        namespace: &scope.namespace,
        services: &confirmed.services,
    };
    serde_json::to_writer(out, &whole)
}

/// Consul's services, each with its registrations.
fn all<S: Serializer>(services: &Services, to: S) -> Result<S::Ok, S::Error> {
    struct One<'a>(&'a Service);
    impl Serialize for One<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let endpoints = self.0.endpoints.iter().filter(|endpoint| endpoint.suspect.is_none());
            to.collect_seq(endpoints.flat_map(|endpoint| endpoint.registrations.iter().map(|one| row(endpoint, one))))
        }
    }
    let services = services.iter().filter(|(_, service)| service.provider == "consul");
    to.collect_map(services.map(|(name, service)| (name.as_str(), One(service))))
}

/// A registration as it is written.
#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    id: &'a str,
    address: IpAddr,
    port: u16,
    datacenter: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    partition: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    peer: &'a str,
    tags: Vec<&'a str>,
    weight: u32,
    create_index: u64,
    modify_index: u64,
    checks: Vec<SavedCheck<&'a str>>,
}

fn row<'a>(Endpoint { key, .. }: &'a Endpoint, one: &'a Registration) -> Row<'a> {
    let check = |check: &'a Check| SavedCheck { id: &*check.id, status: &*check.status, node: check.node };
    Row {
        node: &one.node,
        id: &one.id,
        address: key.address.ip(),
        port: key.address.port(),
        datacenter: &key.datacenter,
        partition: &key.partition,
        namespace: &key.namespace,
        peer: &key.peer,
        tags: one.tags.iter().map(|tag| &**tag).collect(),
        weight: one.weight,
        create_index: one.create_index,
        modify_index: one.modify_index,
        checks: one.checks.iter().map(check).collect(),
    }
}

/// Reads a catalog, or says why it must not be used.
pub(super) fn parse(
    body: &[u8],
    scope: &Scope,
    rules: &Rules,
    now: SystemTime,
    max_age: Duration,
) -> Result<Loaded, String> {
    let document: Document = own_file::document(body, FORMAT)?;
    let saved_at = age(document.saved_at_ms, now, max_age)?;
    let datacenters = common(&document, scope)?;
    let datacenter = document.agent.datacenter.clone();
    let rules = as_told(document.agent, rules);
    // In another datacenter a node of the same name is another node, and loopback is elsewhere.
    let mut remote = rules.clone();
    remote.trust.agent_is_local = false;

    let mut services = Services::new();
    for (name, instances) in document.services {
        let infrastructure = rules.expose == Expose::All && assemble::infrastructure(&name).is_some();
        let hidden = infrastructure || assemble::gateways(&name, &rules.gateways).is_some();
        let Some(name) = ServiceName::new(&name).filter(|_| !hidden) else { continue };
        // What was imported from a peer has the name of a datacenter of that peer.
        let anywhere = |one: &Instance| !one.peer.is_empty() || one.datacenter.is_empty();
        let wanted = instances.into_iter().filter(|one| anywhere(one) || datacenters.contains(&one.datacenter));
        let (here, there): (Vec<_>, Vec<_>) = wanted.partition(|one| anywhere(one) || one.datacenter == datacenter);
        let (nothing_here, nothing_there) = (here.is_empty(), there.is_empty());
        // A service without instances is one of here.
        let here = if nothing_here && !nothing_there { None } else { assembled(&name, here, &rules) };
        let there = if nothing_there { None } else { assembled(&name, there, &remote) };
        let service = match (here, there) {
            (Some(mut service), Some(more)) => {
                service.endpoints.extend(more.endpoints);
                service.endpoints.sort_by(|a, b| a.key.cmp(&b.key));
                service.unroutable.extend(more.unroutable);
                service
            }
            (Some(service), None) | (None, Some(service)) => service,
            (None, None) => continue,
        };
        services.insert(name, Arc::new(service));
    }
    Ok(Loaded { services, saved_at, datacenter })
}

/// The service of these instances, if it is exposed.
fn assembled(name: &ServiceName, instances: Vec<Instance>, rules: &Rules) -> Option<Service> {
    let entries: Vec<_> = instances.into_iter().map(|one| Ok(entry(one))).collect();
    match assemble::service(name, &entries, rules) {
        Assembled::Exposed(service, _) => Some(service),
        Assembled::Hidden(_) => None,
    }
}

/// The rules with what an agent told of itself, for no agent tells it now.
fn as_told(agent: Agent, rules: &Rules) -> Rules {
    let mut rules = rules.clone();
    let trust = &mut rules.trust;
    // An agent on another host cannot say what is on this one, whichever agent would be asked now.
    trust.agent_is_local &= agent.local;
    trust.own_node = agent.node.ok_or_else(|| "it was not known when the catalog was saved".into());
    trust.agent.found.extend(agent.found);
    (trust.agent.addresses, trust.agent.ports) = (agent.addresses, agent.ports);
    rules
}

/// When it was saved, if that is neither too long ago nor ahead.
fn age(saved_at_ms: u64, now: SystemTime, max_age: Duration) -> Result<SystemTime, String> {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(saved_at_ms));
    let at = at.ok_or("its time is not a time")?;
    match now.duration_since(at) {
        Ok(age) if age > max_age => {
            Err(format!("it was saved {} ago, and consul.snapshot.max_age is {}", in_words(age), in_words(max_age)))
        }
        Err(ahead) if ahead.duration() > AHEAD => {
            Err(format!("it was saved {} from now: is the clock right?", in_words(ahead.duration())))
        }
        _ => Ok(at),
    }
}

/// The datacenters of the document that are wanted now, if it is of the right partition and namespace. That of its agent is
/// wanted where the configuration names none.
fn common(document: &Document, scope: &Scope) -> Result<Vec<String>, String> {
    let theirs =
        [("partition", &document.partition, &scope.partition), ("namespace", &document.namespace, &scope.namespace)];
    for (what, theirs, ours) in theirs {
        if theirs != ours {
            return Err(format!("it is of the {what} `{theirs}`, and `{ours}` is configured"));
        }
    }
    let agents = std::slice::from_ref(&document.agent.datacenter);
    let theirs = if document.datacenters.is_empty() { agents } else { &document.datacenters };
    let ours = if scope.datacenters.is_empty() { agents } else { &scope.datacenters };
    let common: Vec<String> = theirs.iter().filter(|name| ours.contains(name)).cloned().collect();
    match common.is_empty() {
        true => Err(format!("it is of the datacenter {}, and {} is wanted", theirs.join(", "), ours.join(", "))),
        false => Ok(common),
    }
}

/// A duration in the unit that fits it.
pub(crate) fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

/// A registration as an agent would tell it.
fn entry(one: Instance) -> Entry {
    let weight = Some(i64::from(one.weight));
    let check = |SavedCheck { id, status, node }| {
        // Only whether there is one matters; an odd registration has an empty id itself.
        let service_id = if node { String::new() } else { "its own".to_owned() };
        HealthCheck { id, status, service_id }
    };
    Entry {
        checks: one.checks.into_iter().map(check).collect(),
        node: Node { node: one.node, datacenter: one.datacenter, ..Node::default() },
        service: Registered {
            id: one.id,
            address: one.address,
            port: one.port,
            tags: one.tags,
            // It holds in the state of health that the checks say.
            weights: Weights { passing: weight, warning: weight },
            create_index: one.create_index,
            modify_index: one.modify_index,
            namespace: one.namespace,
            partition: one.partition,
            peer_name: one.peer,
            ..Registered::default()
        },
    }
}
