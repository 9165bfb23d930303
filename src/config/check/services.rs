//! `[[service]]`: instances that are not in Consul, and settings for services that are.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::policy;
use crate::catalog::ServiceName;
use crate::config::file::{Section, Switch, Written};
use crate::config::policy::Breaker;
use crate::config::{StaticInstance, StaticService};

/// The services with instances of their own, and the breakers of those that set one. `base` is what a service's breaker
/// starts from.
pub(super) fn services(root: &Section<'_>, base: &Breaker) -> (Vec<StaticService>, HashMap<ServiceName, Breaker>) {
    let mut services = Vec::new();
    let mut breakers = HashMap::new();
    let mut names = HashSet::new();
    for section in root.sections("service") {
        let read = service(&section, base);
        section.finish();
        let Some((service, breaker)) = read else { continue };
        if !names.insert(service.name.clone()) {
            let why = format!("`{}` is listed twice: list all its instances once", service.name);
            root.mistake("service", section.line(), why);
        }
        breakers.extend(breaker.map(|breaker| (service.name.clone(), breaker)));
        if !service.instances.is_empty() {
            services.push(service);
        }
    }
    (services, breakers)
}

fn service(section: &Section<'_>, base: &Breaker) -> Option<(StaticService, Option<Breaker>)> {
    let name = section.parsed("name", "legacy", ServiceName::new);
    if name.is_none() && !section.is_written("name") {
        section.mistake("name", 0, "is needed, as one segment of a path");
    }
    let breaker = match section.switch("breaker") {
        Switch::Absent => None,
        Switch::Flag(enabled) => Some(Breaker { enabled, ..base.clone() }),
        Switch::Section(section) => Some(policy::breaker(section, base)),
    };
    let mut instances = Vec::new();
    for item in section.mixed("instances") {
        instances.extend(instance(section, item));
    }
    if instances.is_empty() && breaker.is_none() {
        section.mistake_at("instances", "at least one is needed: write instances = [\"10.0.3.7:8080\"]");
    }
    Some((StaticService { name: name?.value, instances }, breaker))
}

/// An instance: `"10.0.3.7:8080"` or `{ address = "10.0.3.7:8080", weight = 2 }`.
fn instance(section: &Section<'_>, item: Result<Written<String>, Section<'_>>) -> Option<StaticInstance> {
    let example = "write e.g. \"10.0.3.7:8080\"";
    let (address, line, weight) = match item {
        Ok(written) => {
            let address: Option<SocketAddr> = written.value.parse().ok();
            if address.is_none() {
                let why = format!("`{}` is not an IP address and port: {example}", written.value);
                section.mistake("instances", written.line, why);
            }
            (address?, written.line, 1)
        }
        Err(table) => {
            let address: Option<Written<SocketAddr>> =
                table.parsed("address", "10.0.3.7:8080", |text| text.parse().ok());
            if address.is_none() && !table.is_written("address") {
                table.mistake("address", 0, format!("is needed: {example}"));
            }
            let (weight, line) = (table.number("weight", 1, 1..=65_535) as u32, table.line());
            table.end();
            (address?.value, line, weight)
        }
    };
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || link_local {
        let why = format!("`{address}` is no address that an instance can have: {example}");
        section.mistake("instances", line, why);
    }
    Some(StaticInstance { address, weight })
}
