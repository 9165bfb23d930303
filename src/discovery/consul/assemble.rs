//! From Consul's entries to a service: which of them are exposed, which are refused and why, and which share an address.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::address::{self, AgentPorts, Trust};
use super::health;
use super::interner::Interner;
use super::model::{Entry, HealthCheck, Unreadable};
use crate::catalog::{Check, Endpoint, Health, Key, Registration, Service, ServiceName, Unroutable};
use crate::config::{self, Expose};

/// What decides whether an entry is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// Which services are exposed.
    pub(crate) expose: Expose,
    /// The service as which gateways register: it is never exposed.
    pub(crate) gateways: Arc<str>,
    /// Which addresses are taken.
    pub(crate) trust: Trust,
    /// Instances are called from another datacenter, at the addresses that they have for that.
    pub(crate) wan: bool,
}

impl Rules {
    /// The rules of a configuration, before an agent has told anything. `listeners` are the gateway's own addresses.
    pub(crate) fn new(config: &config::Consul, agent_is_local: bool, listeners: Vec<SocketAddr>) -> Rules {
        let trust = Trust {
            allow_loopback: config.allow_loopback,
            agent_is_local,
            own_node: Err("it was not asked yet".into()),
            listeners,
            agent: AgentPorts::default(),
            host: None,
        };
        Rules { expose: config.expose.clone(), gateways: config.gateways.as_str().into(), trust, wan: false }
    }
}

/// What follows from a service's entries.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// The service is exposed; these of its addresses have several registrations.
    Exposed(Service, Vec<SocketAddr>),
    /// None of its entries is meant for the gateway, for this reason.
    Hidden(String),
}

/// Assembles a service from the entries of `/v1/health/service/X`.
pub(crate) fn service(name: &ServiceName, entries: &[Result<Entry, Unreadable>], rules: &Rules) -> Assembled {
    let (mut unroutable, mut interner) = (Vec::new(), Interner::default());
    let mut found: BTreeMap<Key, Vec<Registration>> = BTreeMap::new();
    let (mut hidden, mut exposed) = (None, false);
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Unreadable { id, reason }) => {
                exposed = true;
                unroutable.push(Unroutable { id: id.clone(), address: String::new(), reason: reason.clone() });
                continue;
            }
        };
        if let Some(reason) = mesh(&entry.service.kind) {
            hidden.get_or_insert(reason);
            continue;
        }
        if let Some(reason) = not_exposed(&rules.expose, &entry.service.tags) {
            unroutable.push(refused(entry, rules.wan, reason.clone()));
            hidden = Some(reason);
            continue;
        }
        exposed = true;
        let (host, port) = place(entry, rules.wan);
        match address::accept(host, port, &entry.node.node, &rules.trust) {
            Ok(address) => {
                let key = key(name, entry, address, &mut interner);
                found.entry(key).or_default().push(registration(entry, &mut interner));
            }
            Err(reason) => unroutable.push(refused(entry, rules.wan, reason)),
        }
    }
    if let (Some(reason), false) = (hidden, exposed) {
        return Assembled::Hidden(reason);
    }
    let several = found.iter().filter(|(_, several)| several.len() > 1).map(|(key, _)| key.address).collect();
    let mut endpoints: Vec<_> = found.into_iter().map(|(key, registrations)| endpoint(key, registrations)).collect();
    // There may be very many of them: no room is left for more.
    endpoints.shrink_to_fit();
    unroutable.shrink_to_fit();
    // Consul promises no order: sorted, equal answers are equal here.
    unroutable.sort_by(|a, b| (&a.id, &a.address).cmp(&(&b.id, &b.address)));
    Assembled::Exposed(Service { name: name.clone(), provider: "consul", endpoints, unroutable }, several)
}

/// Why an instance or a service with these tags is not exposed.
pub(crate) fn not_exposed(expose: &Expose, tags: &[String]) -> Option<String> {
    let Expose::Tagged(tag) = expose else { return None };
    if tags.contains(tag) {
        return None;
    }
    // A team that comes from another gateway may expect its tags to be read.
    let fabio = tags.iter().any(|tag| tag.starts_with("urlprefix-"));
    let traefik = tags.iter().any(|tag| tag.starts_with("traefik."));
    let hint = match (fabio, traefik) {
        (true, true) => "; it has tags for Fabio (`urlprefix-`) and Traefik (`traefik.`), which are not read",
        (true, false) => "; it has tags for Fabio (`urlprefix-`), which are not read",
        (false, true) => "; it has tags for Traefik (`traefik.`), which are not read",
        (false, false) => "",
    };
    Some(format!("has no tag `{tag}`{hint}"))
}

/// Why a service of this name is not exposed although all services are: it belongs to Consul, Nomad or Vault.
pub(crate) fn infrastructure(name: &str) -> Option<String> {
    let belongs = name == "consul" || name == "vault" || name.starts_with("nomad");
    belongs.then(|| "infrastructure is never exposed without a tag".into())
}

/// Why a service of this name is not exposed whatever its tags: it is the gateways themselves. Consul finds
/// services in whatever case their names are.
pub(crate) fn gateways(name: &str, gateways: &str) -> Option<String> {
    name.eq_ignore_ascii_case(gateways).then(|| "these are the gateways themselves".into())
}

/// Why an entry of this kind is not exposed: it is part of the service mesh. Sidecars copy the tags of their parents, so
/// that tags alone do not tell.
fn mesh(kind: &str) -> Option<String> {
    match kind {
        "" => None,
        "connect-proxy" => Some("a sidecar proxy".into()),
        other => Some(format!("part of the mesh (kind `{other}`)")),
    }
}

/// Host and port as registered: the service's, or else those of its node. From another datacenter those that are tagged `wan` come first, as in
/// Consul's own answers to such queries (<https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general#translate_wan_addrs>).
fn place(entry: &Entry, wan: bool) -> (&str, i64) {
    let Entry { node, service, .. } = entry;
    let port = service.main_port();
    if let Some(tagged) = service.tagged_addresses.get("wan").filter(|tagged| wan && !tagged.address.is_empty()) {
        return (&tagged.address, if tagged.port == 0 { port } else { tagged.port });
    }
    if !service.address.is_empty() {
        return (&service.address, port);
    }
    let tagged = node.tagged_addresses.get("wan").and_then(Option::as_ref).filter(|_| wan);
    (tagged.unwrap_or(&node.address), port)
}

fn refused(entry: &Entry, wan: bool, reason: String) -> Unroutable {
    let (host, port) = place(entry, wan);
    let address = format!("{host}:{port}");
    Unroutable { id: format!("{}/{}", entry.node.node, entry.service.id), address, reason }
}

fn key(name: &ServiceName, entry: &Entry, address: SocketAddr, interner: &mut Interner) -> Key {
    Key {
        datacenter: interner.text(&entry.node.datacenter),
        partition: interner.text(&entry.service.partition),
        namespace: interner.text(&entry.service.namespace),
        peer: interner.text(&entry.service.peer_name),
        service: name.clone(),
        address,
    }
}

fn registration(entry: &Entry, interner: &mut Interner) -> Registration {
    let health = health::of(&entry.checks);
    let check = |check: &HealthCheck| Check {
        id: interner.text(&check.id),
        status: interner.text(&check.status),
        node: check.service_id.is_empty(),
    };
    let mut checks: Vec<Check> = entry.checks.iter().map(check).collect();
    checks.sort_by(|a, b| (a.node, &a.id).cmp(&(b.node, &b.id)));
    Registration {
        node: interner.text(&entry.node.node),
        id: entry.service.id.clone(),
        create_index: entry.service.create_index,
        modify_index: entry.service.modify_index,
        checks,
        health,
        weight: health::weight(&entry.service.weights, health),
        tags: interner.tags(&entry.service.tags),
        meta: interner.meta(&entry.service.meta),
    }
}

/// The endpoint of one address. Whatever is registered there, it is one process: as healthy as its best registration.
fn endpoint(key: Key, mut registrations: Vec<Registration>) -> Endpoint {
    registrations.shrink_to_fit();
    registrations.sort_by(|a, b| (&a.node, &a.id).cmp(&(&b.node, &b.id)));
    let health = registrations.iter().map(|r| r.health).min().unwrap_or(Health::Critical);
    let weight = registrations.iter().filter(|r| r.health == health).map(|r| r.weight).max().unwrap_or(0);
    Endpoint { key, registrations, health, weight, suspect: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{model, tests::rules};
    use super::*;

    fn assembled(entries: Value, rules: &Rules) -> Assembled {
        service(&ServiceName::new("web").unwrap(), &model::entries(entries.to_string().as_bytes()).unwrap(), rules)
    }

    fn exposed(entries: Value) -> (Service, Vec<SocketAddr>) {
        match assembled(entries, &rules()) {
            Assembled::Exposed(service, shared) => (service, shared),
            hidden => panic!("{hidden:?}"),
        }
    }

    fn hidden(entries: Value) -> String {
        match assembled(entries, &rules()) {
            Assembled::Hidden(reason) => reason,
            exposed => panic!("{exposed:?}"),
        }
    }

    fn entry(id: &str, address: &str, status: &str, weight: i64, tags: &[&str]) -> Value {
        json!({"Node": {"Node": "n1", "Address": "10.9.9.9", "Datacenter": "dc1"},
            "Service": {"ID": id, "Address": address, "Port": 80, "Tags": tags, "Weights": {"Passing": weight, "Warning": 1}},
            "Checks": [{"CheckID": "c", "Status": status, "ServiceID": id}]})
    }

    #[test]
    fn two_registrations_on_one_address_are_one_endpoint_with_the_best_of_both() {
        let (service, shared) = exposed(json!([
            entry("a", "10.0.0.1", "critical", 9, &["gateway"]),
            entry("c", "10.0.0.1", "passing", 3, &["gateway"]),
            entry("b", "10.0.0.1", "passing", 2, &["gateway"]),
        ]));
        assert_eq!(shared, ["10.0.0.1:80".parse().unwrap()]);
        let [endpoint] = &service.endpoints[..] else { panic!("{service:?}") };
        assert_eq!((endpoint.health, endpoint.weight), (Health::Passing, 3));
        assert_eq!(endpoint.registrations.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn the_nodes_address_stands_in_for_a_missing_one() {
        let (service, _) = exposed(json!([entry("a", "", "passing", 1, &["gateway"])]));
        assert_eq!(service.endpoints[0].key.address, "10.9.9.9:80".parse().unwrap());
        assert_eq!(&*service.endpoints[0].key.datacenter, "dc1");
    }

    #[test]
    fn the_order_of_an_answer_does_not_matter() {
        let (a, b) =
            (entry("a", "10.0.0.1", "passing", 1, &["gateway"]), entry("b", "::1%x", "passing", 1, &["gateway"]));
        let c = entry("c", "nowhere", "passing", 1, &["gateway"]);
        assert_eq!(exposed(json!([a, b, c])).0, exposed(json!([c, b, a])).0);
    }

    #[test]
    fn exposure_is_judged_by_the_instances_own_tags() {
        let (service, _) = exposed(json!([
            entry("a", "10.0.0.1", "passing", 1, &["gateway"]),
            entry("b", "10.0.0.2", "passing", 1, &["v2"]),
        ]));
        assert_eq!(service.endpoints.len(), 1);
        assert_eq!(service.unroutable[0].id, "n1/b");
        assert_eq!(service.unroutable[0].reason, "has no tag `gateway`");
    }

    #[test]
    fn hidden_services_say_why() {
        assert_eq!(hidden(json!([entry("a", "10.0.0.1", "passing", 1, &[])])), "has no tag `gateway`");
        assert!(hidden(json!([entry("a", "10.0.0.1", "passing", 1, &["urlprefix-/x"])])).contains("Fabio"));
        assert!(hidden(json!([entry("a", "10.0.0.1", "passing", 1, &["traefik.enable=true"])])).contains("Traefik"));
        let mut sidecar = entry("a", "10.0.0.1", "passing", 1, &["gateway"]);
        sidecar["Service"]["Kind"] = "connect-proxy".into();
        assert_eq!(hidden(json!([sidecar])), "a sidecar proxy");
    }

    #[test]
    fn a_sidecar_beside_instances_is_no_instance() {
        let mut sidecar = entry("a", "10.0.0.1", "passing", 1, &["gateway"]);
        sidecar["Service"]["Kind"] = "connect-proxy".into();
        let (service, _) = exposed(json!([sidecar, entry("b", "10.0.0.2", "passing", 1, &["gateway"])]));
        assert_eq!((service.endpoints.len(), service.unroutable.len()), (1, 0));
    }

    #[test]
    fn a_service_without_entries_or_with_refused_ones_only_is_still_there() {
        assert!(exposed(json!([])).0.endpoints.is_empty());
        let (service, _) = exposed(json!([entry("a", "169.254.169.254", "passing", 1, &["gateway"]), {"Service": 7}]));
        assert_eq!((service.endpoints.len(), service.unroutable.len()), (0, 2));
    }

    #[test]
    fn infrastructure_is_not_part_of_all() {
        for name in ["consul", "nomad", "nomad-client", "vault"] {
            assert!(infrastructure(name).is_some());
        }
        assert!(infrastructure("consul-ui").is_none() && infrastructure("vaults").is_none());
    }
}
