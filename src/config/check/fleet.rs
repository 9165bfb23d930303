//! `[fleet]`.

use ipnet::IpNet;

use super::{networks, paths};
use crate::catalog::ServiceName;
use crate::config::env::Environment;
use crate::config::file::Section;
use crate::config::fleet::{Fleet, SERVICE, SHORTEST_SECRET};
use crate::config::{Consul, Listener, Secret, StaticService};

/// `[fleet]`, if it is written.
pub(super) fn fleet(
    section: &Section<'_>,
    consul: Option<&Consul>,
    listeners: &[Listener],
    env: &Environment,
    warnings: &mut Vec<String>,
) -> Option<Fleet> {
    let service = section.parsed("service", SERVICE, ServiceName::new).map(|written| written.value);
    let secret = secret(section, env);
    let networks = section.texts("admin_networks").into_iter();
    let networks = networks.filter_map(|text| section.convert("admin_networks", &text, network)).collect();
    let address = section.text("address").and_then(|text| section.convert("address", &text, host));
    section.finish();
    if !section.exists() {
        return None;
    }
    if consul.is_none() {
        let why = "registers this gateway in Consul, and this file has no [consul]: add it, or leave [fleet] out";
        section.mistake("", 0, why);
    }
    if section.lacks("admin_networks") {
        let what = "[fleet] admin_networks is not written: other gateways can neither ask this one nor be asked";
        warnings.push(what.to_owned());
    }
    if service.as_ref().is_some_and(|service| service.as_str().eq_ignore_ascii_case("consul")) {
        section
            .mistake_at("service", format!("is the name of Consul's own servers: write another, e.g. \"{SERVICE}\""));
    }
    if let Some(address) = address.as_deref().and_then(beside_the_point) {
        warnings.push(address);
    }
    let listener = listeners.first().map(|listener| listener.address);
    if let Some(listener) = listener.filter(|listener| listener.ip().is_loopback() && address.is_none()) {
        let remedy = "write [[listener]] address, or [fleet] address if there is another way to it";
        warnings.push(format!("[fleet] registers {}, which only this host reaches: {remedy}", listener.ip()));
    }
    let service = service.or_else(|| ServiceName::new(SERVICE))?;
    Some(Fleet { service, secret: secret?, admin_networks: networks, address })
}

/// Why an address that could be one is of no use to others.
fn beside_the_point(address: &str) -> Option<String> {
    let remedy = "write this host's IP address, e.g. \"10.0.0.7\"";
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_loopback() => Some(format!("[fleet] address is {ip}, which only this host reaches: {remedy}")),
        Ok(_) => None,
        Err(_) if address.eq_ignore_ascii_case("localhost") => {
            Some(format!("[fleet] address is {address}, which is another host to each: {remedy}"))
        }
        Err(_) => {
            let why = "clients find it, but gateways look up no names";
            Some(format!("[fleet] address is the name {address}: {why}, and may not ask this one: {remedy}"))
        }
    }
}

/// A warning of each service of the file that has the fleet's name: no request gets to the gateways by it.
pub(super) fn shadowed(fleet: &Fleet, services: &[StaticService]) -> Vec<String> {
    let name = fleet.service.as_str();
    let same = services.iter().filter(|service| service.name.as_str().eq_ignore_ascii_case(name));
    let remedy = "give one of them another name";
    same.map(|one| format!("[[service]] {} has the name as which gateways register: {remedy}", one.name)).collect()
}

/// The secret, which may not be missing.
fn secret(section: &Section<'_>, env: &Environment) -> Option<Secret> {
    let secret = section.secret("secret", env);
    let example = "secret = { file = \"/etc/lictor/fleet\" }";
    if section.exists() && !section.is_written("secret") {
        section.mistake("secret", 0, format!("is needed, the same for all gateways: write e.g. {example}"));
    }
    if let Some(Secret::Text(text)) = &secret
        && text.trim().len() < SHORTEST_SECRET
    {
        let why = format!(
            "is shorter than {SHORTEST_SECRET} bytes: who sees a call could guess it; openssl rand -hex 32 makes one"
        );
        section.mistake_at("secret", why);
    }
    secret
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    networks::network(text, "is everywhere: name the networks of your gateways")
}

/// An IP address, or a name that leads to one.
fn host(text: &str) -> Result<String, String> {
    let ip = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    match ip {
        Ok(ip) if ip.is_unspecified() => {
            Err(format!("`{text}` is no address that others can reach: write this host's, e.g. \"10.0.0.7\""))
        }
        Ok(ip) => Ok(ip.to_string()),
        Err(_) if text.contains('*') || paths::host(text).is_err() => {
            Err(format!("`{text}` is neither an IP address nor a host's name: write e.g. \"10.0.0.7\", without a port"))
        }
        Err(_) => Ok(text.to_owned()),
    }
}
