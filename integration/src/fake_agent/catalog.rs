//! What the fake agent knows of one datacenter, with the indexes that a real agent counts: which change moves which index, and which
//! one wakes whom (`agent/consul/state/catalog.go` of Consul 1.8).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::model::{Age, Instance, Node, OWN_NODE, Query, Stored};
use super::render;

/// The indexes of the tables.
#[derive(Clone, Copy, Debug, Default)]
struct Tables {
    services: u64,
    nodes: u64,
    checks: u64,
    /// When a service lost its last instance, whichever.
    extinction: u64,
}

#[derive(Debug, Default)]
struct Service {
    index: u64,
    /// By node and id.
    instances: BTreeMap<(String, String), Stored>,
}

/// One datacenter.
#[derive(Debug)]
pub struct Catalog {
    datacenter: String,
    index: u64,
    tables: Tables,
    /// When a check entered or left a state, by the state.
    states: BTreeMap<String, u64>,
    nodes: BTreeMap<String, Node>,
    services: BTreeMap<String, Service>,
    /// Which service has an id on a node.
    names: BTreeMap<(String, String), String>,
    /// On which nodes an id is registered.
    carriers: HashMap<String, BTreeSet<String>>,
    /// Answers as they were at an index.
    ready: HashMap<Query, (u64, Arc<str>)>,
}

impl Catalog {
    /// The agent's node with the service `consul` on it; whatever comes has a higher index than `index`.
    pub fn new(datacenter: &str, index: u64, generation: u32) -> Catalog {
        let mut catalog = Catalog {
            datacenter: datacenter.to_owned(),
            index,
            tables: Tables::default(),
            states: BTreeMap::new(),
            nodes: BTreeMap::new(),
            services: BTreeMap::new(),
            names: BTreeMap::new(),
            carriers: HashMap::new(),
            ready: HashMap::new(),
        };
        catalog.join(OWN_NODE, "127.0.0.1", generation);
        let any = SocketAddr::from(([127, 0, 0, 1], 8300));
        let mut consul = Instance::new("consul", "consul", any).tagged(&[]);
        (consul.address.0, consul.check) = (String::new(), None);
        catalog.register(consul);
        catalog
    }

    fn next(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// The highest index.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The names of all services, `consul` among them.
    pub fn names(&self) -> Vec<String> {
        self.services.keys().cloned().collect()
    }

    /// Adds a node. Another generation of it has another id.
    pub fn join(&mut self, name: &str, address: &str, generation: u32) {
        let index = self.next();
        let number = self.nodes.len();
        let id = format!("{generation:08x}-0000-4000-8000-{number:012x}");
        let serf = ("passing".to_owned(), Age::new(index));
        let node = Node { name: name.to_owned(), id, address: address.to_owned(), age: Age::new(index), serf };
        self.nodes.insert(name.to_owned(), node);
        (self.tables.nodes, self.tables.checks) = (index, index);
    }

    /// Registers an instance, or changes it. What is as it was moves no index.
    pub fn register(&mut self, instance: Instance) {
        if !self.nodes.contains_key(&instance.node) {
            self.join(&instance.node, "127.0.0.1", 1);
        }
        let key = (instance.node.clone(), instance.id.clone());
        if self.names.get(&key).is_some_and(|name| *name != instance.name) {
            self.deregister(&instance.node, &instance.id);
        }
        let before = self.services.get(&instance.name).and_then(|service| service.instances.get(&key)).cloned();
        if before.as_ref().is_some_and(|before| before.instance == instance) {
            return;
        }
        let index = self.next();
        let mut stored = Stored { age: Age::new(index), check: Age::new(index), instance };
        if let Some(before) = &before {
            (stored.age.created, stored.check.created) = (before.age.created, before.check.created);
        }
        self.tables.services = index;
        self.moved(before.and_then(|before| before.instance.check), stored.instance.check.clone(), index);
        self.names.insert(key.clone(), stored.instance.name.clone());
        self.carriers.entry(key.1.clone()).or_default().insert(key.0.clone());
        let service = self.services.entry(stored.instance.name.clone()).or_default();
        service.index = index;
        service.instances.insert(key, stored);
    }

    /// Notes that a check went from one state to another; `None` is none.
    fn moved(&mut self, before: Option<String>, after: Option<String>, index: u64) {
        if before.is_some() || after.is_some() {
            self.tables.checks = index;
        }
        for state in [before, after].into_iter().flatten() {
            self.states.insert(state, index);
        }
    }

    /// Takes an instance out; whether there was one.
    pub fn deregister(&mut self, node: &str, id: &str) -> bool {
        let key = (node.to_owned(), id.to_owned());
        let Some(name) = self.names.remove(&key) else { return false };
        if let Some(nodes) = self.carriers.get_mut(id) {
            nodes.remove(node);
        }
        let index = self.next();
        self.tables.services = index;
        let Some(service) = self.services.get_mut(&name) else { return false };
        let gone = service.instances.remove(&key);
        service.index = index;
        if service.instances.is_empty() {
            self.services.remove(&name);
            self.tables.extinction = index;
            self.ready.remove(&Query::Health(name.clone()));
            self.ready.remove(&Query::Listing(name));
        }
        self.moved(gone.and_then(|stored| stored.instance.check), None, index);
        true
    }

    /// Takes all instances out that `which` chooses; how many they were. `consul` stays.
    pub fn deregister_where(&mut self, which: impl Fn(&Instance) -> bool) -> usize {
        let all = self.services.values().flat_map(|service| service.instances.values());
        let chosen = all.filter(|stored| stored.instance.name != "consul" && which(&stored.instance));
        let keys: Vec<_> = chosen.map(|stored| (stored.instance.node.clone(), stored.instance.id.clone())).collect();
        keys.iter().filter(|(node, id)| self.deregister(node, id)).count()
    }

    /// Sets the state of the check of every instance with this id.
    pub fn set_check(&mut self, id: &str, status: &str) {
        for node in self.carriers.get(id).cloned().unwrap_or_default() {
            let key = (node, id.to_owned());
            let Some(name) = self.names.get(&key).cloned() else { continue };
            let index = self.next();
            let Some(service) = self.services.get_mut(&name) else { continue };
            let Some(stored) = service.instances.get_mut(&key) else { continue };
            let before = stored.instance.check.replace(status.to_owned());
            stored.check.modified = index;
            service.index = index;
            self.moved(before, Some(status.to_owned()), index);
        }
    }

    /// Sets `serfHealth` of a node, which concerns all services on it.
    pub fn set_serf(&mut self, node: &str, status: &str) {
        let index = self.next();
        let Some(node) = self.nodes.get_mut(node) else { return };
        let before = std::mem::replace(&mut node.serf.0, status.to_owned());
        node.serf.1.modified = index;
        let name = node.name.clone();
        self.moved(Some(before), Some(status.to_owned()), index);
        for service in self.services.values_mut() {
            if service.instances.keys().any(|(node, _)| *node == name) {
                service.index = index;
            }
        }
    }

    /// Takes a node out, with all that it carries.
    pub fn leave(&mut self, node: &str) {
        self.deregister_where(|instance| instance.node == node);
        if let Some(gone) = self.nodes.remove(node) {
            let index = self.next();
            self.tables.nodes = index;
            self.moved(Some(gone.serf.0), None, index);
        }
    }

    /// Counts on from here, also below what was: so does an agent whose store was restored. Nothing changes, and all indexes are low.
    pub fn rewind(&mut self, index: u64) {
        self.index = index;
        self.ready.clear();
        self.touch();
    }

    /// Moves every index on, without a change: all who wait are answered.
    pub fn touch(&mut self) {
        let index = self.next();
        self.tables = Tables { services: index, nodes: index, checks: index, extinction: index };
        self.services.values_mut().for_each(|service| service.index = index);
        for state in ["passing", "warning", "critical"] {
            self.states.insert(state.to_owned(), index);
        }
    }

    /// The index of an answer, and the index whose move wakes who waits for another one.
    pub(super) fn position(&self, query: &Query) -> (u64, u64) {
        let Tables { services, nodes, checks, extinction } = self.tables;
        let both = services.max(nodes);
        let missing = if extinction > 0 { extinction } else { both };
        let (index, wakes) = match query {
            Query::Services => (services, services),
            Query::Nodes => (nodes, nodes),
            Query::Node(name) if self.nodes.contains_key(name) => (both, both),
            Query::Listing(name) | Query::Health(name) => {
                let index = self.services.get(name).map_or(missing, |service| service.index);
                (index, index)
            }
            Query::State(state) if state == "any" => (checks, checks),
            Query::State(state) => (checks, self.states.get(state).copied().unwrap_or(0)),
            _ => (1, 1),
        };
        (index.max(1), wakes)
    }

    /// The body of an answer; `None` where there is none (404).
    pub(super) fn body(&mut self, query: &Query, version: &str, http: SocketAddr) -> Option<Arc<str>> {
        if *query == Query::Key {
            return None;
        }
        let (_, wakes) = self.position(query);
        if let Some((at, body)) = self.ready.get(query)
            && *at == wakes
            && query.blocks()
        {
            return Some(body.clone());
        }
        let body: Arc<str> = self.render(query, version, http).to_string().into();
        self.ready.insert(query.clone(), (wakes, body.clone()));
        Some(body)
    }

    fn render(&self, query: &Query, version: &str, http: SocketAddr) -> Value {
        let dc = &self.datacenter;
        let with_node = |stored: &Stored, how: fn(&Stored, &Node, &str) -> Value| {
            self.nodes.get(&stored.instance.node).map(|node| how(stored, node, dc))
        };
        let of = |name: &String, how| -> Value {
            let service = self.services.get(name).into_iter().flat_map(|service| service.instances.values());
            service.filter_map(|stored| with_node(stored, how)).collect()
        };
        match query {
            Query::Leader => json!("127.0.0.1:8300"),
            Query::Itself => self.nodes.get(OWN_NODE).map_or(Value::Null, |own| render::itself(own, dc, version, http)),
            Query::Datacenters => json!([dc]),
            Query::Services => self.services.iter().map(|(name, service)| (name.clone(), tags(service))).collect(),
            Query::Nodes => self.nodes.values().map(|node| render::node(node, dc)).collect(),
            Query::Node(name) => self.nodes.get(name).map_or(Value::Null, |node| {
                let here = self.names.range((name.clone(), String::new())..).take_while(|((at, _), _)| at == name);
                let stored = |(key, name): (&(String, String), &String)| {
                    let stored = self.services.get(name)?.instances.get(key)?;
                    Some((key.1.clone(), render::service(stored)))
                };
                let services: Value = here.filter_map(stored).collect();
                json!({ "Node": render::node(node, dc), "Services": services })
            }),
            Query::Listing(name) => of(name, render::listed),
            Query::Health(name) => of(name, render::entry),
            Query::State(state) => self.checks(state),
            Query::Key => Value::Null,
        }
    }

    fn checks(&self, state: &str) -> Value {
        let wanted = |status: &str| state == "any" || status == state;
        let serf = self.nodes.values().filter(|node| wanted(&node.serf.0)).map(render::serf);
        let all = self.services.values().flat_map(|service| service.instances.values());
        let own = all.filter(|stored| stored.instance.check.as_deref().is_some_and(wanted)).filter_map(render::check);
        serf.chain(own).collect()
    }
}

/// The union of the instances' tags.
fn tags(service: &Service) -> Value {
    let mut tags: Vec<&String> = service.instances.values().flat_map(|stored| &stored.instance.tags).collect();
    tags.sort();
    tags.dedup();
    json!(tags)
}
