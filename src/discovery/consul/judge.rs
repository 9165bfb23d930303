//! What Consul says -> what we take it for. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::model::{self, Entry};
use crate::catalog::{self, Check, Endpoint, Health, Key, Registration, Service, ServiceName, Unroutable};
use crate::config::Expose;

/// What the judgement needs to know besides the answer.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) expose: Expose,
    /// The gateway's own addresses.
    pub(super) own: Vec<SocketAddr>,
    pub(super) loopback: Loopback,
}

/// Which instances on loopback are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loopback {
    /// All: the operator said so.
    Allowed,
    /// Those of the agent's own node: it is on this machine, and so are they.
    OfNode(String),
    /// None, for this reason.
    Refused(&'static str),
}

/// Whether a name is a candidate, or why it is hidden.
pub(super) fn exposed(name: &str, tags: &[String], expose: &Expose) -> Result<(), String> {
    match expose {
        Expose::All if name == "consul" || name == "vault" || name.starts_with("nomad") => {
            Err("infrastructure is never exposed".into())
        }
        Expose::All => Ok(()),
        Expose::Tagged(tag) if tags.contains(tag) => Ok(()),
        Expose::Tagged(tag) => {
            let saw = |prefix: &str| tags.iter().any(|tag| tag.starts_with(prefix));
            let peers = match (saw("urlprefix-"), saw("traefik.")) {
                (true, _) => " (it has Fabio's tags, which mean nothing here)",
                (_, true) => " (it has Traefik's tags, which mean nothing here)",
                _ => "",
            };
            Err(format!("has no tag `{tag}`{peers}"))
        }
    }
}

/// A service's entries as the catalog has them; `Err` when none of them is exposed.
pub(super) fn service(name: &ServiceName, entries: &[Entry], bad: &[String], rules: &Rules) -> Result<Service, String> {
    let mut found: BTreeMap<Key, Vec<Registration>> = BTreeMap::new();
    let mut unroutable: Vec<_> = bad
        .iter()
        .map(|reason| Unroutable { id: String::new(), address: String::new(), reason: reason.clone() })
        .collect();
    let mut hidden = None;
    for entry in entries {
        if let Err(reason) = instance_exposed(name, entry, &rules.expose) {
            hidden = Some(reason);
            continue;
        }
        match address(entry, rules) {
            Ok(address) => {
                let key = key(name, entry, address);
                found.entry(key).or_default().push(registration(entry));
            }
            Err(reason) => unroutable.push(Unroutable {
                id: format!("{}/{}", entry.node.node, entry.service.id),
                address: format!("{}:{}", written(entry), entry.service.port),
                reason,
            }),
        }
    }
    if let (Some(reason), true, true) = (hidden, found.is_empty(), unroutable.is_empty()) {
        return Err(reason);
    }
    let endpoints = found.into_iter().map(|(key, registrations)| endpoint(key, registrations)).collect();
    Ok(Service { name: name.clone(), provider: "consul", endpoints, unroutable })
}

/// Exposure is judged per instance: the catalog's tags are a union, and sidecars copy their parent's.
fn instance_exposed(name: &ServiceName, entry: &Entry, expose: &Expose) -> Result<(), String> {
    if !entry.service.kind.is_empty() {
        return Err(format!("is a {}, not a service", entry.service.kind));
    }
    exposed(name.as_str(), &entry.service.tags, expose)
}

fn key(name: &ServiceName, entry: &Entry, address: SocketAddr) -> Key {
    Key {
        datacenter: entry.node.datacenter.as_str().into(),
        partition: entry.service.partition.as_str().into(),
        namespace: entry.service.namespace.as_str().into(),
        peer: entry.service.peer_name.as_str().into(),
        service: name.clone(),
        address,
    }
}

/// Two registrations on one address are one instance: the best health, and the highest weight of that health.
fn endpoint(key: Key, mut registrations: Vec<Registration>) -> Endpoint {
    registrations.sort_by(|a, b| (&a.node, &a.id).cmp(&(&b.node, &b.id)));
    let health = registrations.iter().map(|r| r.health).min().unwrap_or(Health::Critical);
    let weight = registrations.iter().filter(|r| r.health == health).map(|r| r.weight).max().unwrap_or(0);
    Endpoint { key, registrations, health, weight }
}

fn registration(entry: &Entry) -> Registration {
    let health = health(&entry.checks);
    Registration {
        node: entry.node.node.clone(),
        id: entry.service.id.clone(),
        create_index: entry.service.create_index,
        modify_index: entry.service.modify_index,
        checks: entry
            .checks
            .iter()
            .map(|check| Check {
                id: check.id.clone(),
                status: check.status.clone(),
                node: check.service_id.is_empty(),
            })
            .collect(),
        health,
        weight: weight(entry.service.weights, health),
        tags: entry.service.tags.clone(),
        meta: entry.service.meta.clone(),
    }
}

/// maintenance > critical > warning > passing; no check is passing; what is none of these words is critical.
pub(super) fn health(checks: &[model::Check]) -> Health {
    let one = |check: &model::Check| match check.status.as_str() {
        _ if check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:") => Health::Maintenance,
        "passing" => Health::Passing,
        "warning" => Health::Warning,
        "maintenance" => Health::Maintenance,
        _ => Health::Critical,
    };
    checks.iter().map(one).max().unwrap_or(Health::Passing)
}

/// `Weights.Passing` or `Weights.Warning`, each 1 when not given; `Warning = 0` is out while warning.
fn weight(weights: Option<model::Weights>, health: Health) -> u32 {
    let weights = weights.unwrap_or(model::Weights { passing: 1, warning: 1 });
    let weight = if health == Health::Warning { weights.warning } else { weights.passing };
    weight.clamp(0, 65_535) as u32
}

/// The service's address, else the node's.
fn written(entry: &Entry) -> &str {
    if entry.service.address.is_empty() { &entry.node.address } else { &entry.service.address }
}

/// The address, if it is one that may be asked.
fn address(entry: &Entry, rules: &Rules) -> Result<SocketAddr, String> {
    let text = written(entry);
    let port = u16::try_from(entry.service.port).ok().filter(|&port| port > 0).ok_or("it has no port")?;
    if text.is_empty() {
        return Err("it has no address, and neither has its node".into());
    }
    let ip: IpAddr =
        text.parse().map_err(|_| format!("`{text}` is not an IP address; host names are not resolved yet"))?;
    let ip = ip.to_canonical();
    let address = SocketAddr::new(ip, port);
    if let Some(reason) = never(ip) {
        return Err(reason.into());
    }
    if rules
        .own
        .iter()
        .any(|own| own.port() == port && (own.ip() == ip || own.ip().is_unspecified() && ip.is_loopback()))
    {
        return Err("it is an address of this gateway itself".into());
    }
    if ip.is_loopback() {
        loopback(entry, &rules.loopback)?;
    }
    Ok(address)
}

fn loopback(entry: &Entry, rule: &Loopback) -> Result<(), String> {
    match rule {
        Loopback::Allowed => Ok(()),
        Loopback::OfNode(own) if *own == entry.node.node => Ok(()),
        Loopback::OfNode(own) => {
            Err(format!("a loopback address of node `{}`, but this machine's node is `{own}`", entry.node.node))
        }
        Loopback::Refused(reason) => Err((*reason).to_owned()),
    }
}

/// Addresses that no instance may have, whoever registers them: among them the clouds' metadata services.
fn never(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() || ip.is_multicast() {
        return Some("an unspecified or multicast address");
    }
    match ip {
        IpAddr::V4(v4) if v4.is_link_local() => {
            Some("a link-local address (169.254.0.0/16, where metadata services live)")
        }
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address (fe80::/10)"),
        IpAddr::V6(v6) if v6.segments()[..4] == [0xfd00, 0xec2, 0, 0] => {
            Some("a metadata service's address (fd00:ec2::/64)")
        }
        _ => None,
    }
}

/// A sentence when several registrations share one address.
pub(super) fn shared(service: &catalog::Service) -> impl Iterator<Item = String> {
    service.endpoints.iter().filter(|endpoint| endpoint.registrations.len() > 1).map(|endpoint| {
        let ids: Vec<_> = endpoint.registrations.iter().map(|r| format!("{}/{}", r.node, r.id)).collect();
        format!(
            "{} is registered {} times ({}): taken as one instance",
            endpoint.key.address,
            ids.len(),
            ids.join(", ")
        )
    })
}
