//! Who may call, and the services that are written in the file.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest as hash};

use super::policy;
use crate::catalog::ServiceName;
use crate::config::env::Environment;
use crate::config::file::{Section, Switch, Written};
use crate::config::policy::{Breaker, LimitSet};
use crate::config::{Consumer, StaticInstance, StaticService};

/// The SHA-256 of a key.
pub fn digest(key: &str) -> [u8; 32] {
    hash(&SHA256, key.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// What a key may be.
pub(crate) const KEYS: &str = "a key is 1 to 256 visible ASCII characters without spaces";

/// Whether a text can be sent as a key.
pub fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `[[consumer]]`; without any, one `local` from `LICTOR_API_KEY`, or from a key made for this run.
pub(super) fn consumers(
    root: &Section<'_>,
    from_file: bool,
    needed: bool,
    plans: &[Arc<LimitSet>],
    env: &Environment,
    warnings: &mut Vec<String>,
) -> (Vec<Consumer>, Option<String>) {
    let written: Vec<(usize, Consumer)> =
        root.sections("consumer").into_iter().map(|section| (section.line(), consumer(section, plans))).collect();
    let mut names = HashSet::new();
    let mut keys = HashSet::new();
    for (line, consumer) in &written {
        if !names.insert(&consumer.name) {
            root.wrong("consumer", *line, format!("`{}` is listed twice: give each consumer one name", consumer.name));
        }
        for key in &consumer.keys {
            if !keys.insert(key) {
                root.wrong(
                    "consumer",
                    *line,
                    format!("`{}` has a key that stands elsewhere too: a key belongs to one consumer", consumer.name),
                );
            }
        }
    }
    if let Some(key) = env.get("LICTOR_API_KEY").filter(|key| !is_key(key)) {
        root.wrong("LICTOR_API_KEY", 0, format!("has {} characters or odd ones: {KEYS}", key.len()));
    }
    let consumers: Vec<Consumer> = written.into_iter().map(|(_, consumer)| consumer).collect();
    if !consumers.is_empty() {
        let other = |key: &&str| !consumers.iter().any(|consumer| consumer.keys.contains(&digest(key)));
        if env.get("LICTOR_API_KEY").filter(other).is_some() {
            warnings.push("[[consumer]] of the file holds; the environment's LICTOR_API_KEY opens nothing".into());
        }
        return (consumers, None);
    }
    let local = |key: &str| {
        vec![Consumer { name: "local".into(), keys: vec![digest(key)], admin: true, operator: true, plan: None }]
    };
    match env.get("LICTOR_API_KEY") {
        Some(key) => (local(key), None),
        None if !from_file => {
            let mut random = [0; 16];
            aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
            let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            (local(&key), Some(key))
        }
        None if needed => {
            root.wrong("consumer", 0, "an API key is asked for, but nobody has one: add a [[consumer]] with keys (lictor hash-key makes them), set LICTOR_API_KEY, or write [api] auth = false");
            (Vec::new(), None)
        }
        None => (Vec::new(), None),
    }
}

fn consumer(section: Section<'_>, plans: &[Arc<LimitSet>]) -> Consumer {
    let name = section.text("name").map(|written| written.value).unwrap_or_default();
    if name.is_empty() {
        section.wrong("name", 0, "is needed: write name = \"shop-app\"");
    }
    let mut keys = Vec::new();
    for Written { value, line } in section.texts("keys") {
        match key(&value) {
            Some(digest) => keys.push(digest),
            None => section.wrong(
                "keys",
                line,
                "a key is written as \"sha256:\" and 64 hexadecimal digits: lictor hash-key makes it",
            ),
        }
    }
    if keys.is_empty() {
        section.wrong("keys", 0, "at least one is needed: lictor hash-key makes them");
    }
    let (mut admin, mut operator) = (false, false);
    for Written { value, line } in section.texts("roles") {
        match value.as_str() {
            "admin" => admin = true,
            "operator" => operator = true,
            _ => section.wrong("roles", line, format!("`{value}` is no role: there are \"admin\" and \"operator\"")),
        }
    }
    let plan = section.text("plan").and_then(|written| {
        let found = plans.iter().find(|plan| *plan.name == *written.value).cloned();
        if found.is_none() {
            let all: Vec<_> = plans.iter().map(|plan| format!("`{}`", plan.name)).collect();
            let there =
                if all.is_empty() { "there is no [[plan]]".into() } else { format!("there are: {}", all.join(", ")) };
            section.wrong("plan", written.line, format!("`{}` is no plan; {there}", written.value));
        }
        found
    });
    section.end();
    Consumer { name, keys, admin, operator, plan }
}

/// `[[plan]]`: limits for groups of consumers.
pub(super) fn plans(root: &Section<'_>) -> Vec<Arc<LimitSet>> {
    let mut names = HashSet::new();
    let mut plans = Vec::new();
    for section in root.sections("plan") {
        let name = section.text("name").map(|written| written.value).unwrap_or_default();
        if name.is_empty() {
            section.wrong("name", 0, "is needed: write name = \"silver\"");
        } else if !names.insert(name.clone()) {
            section.wrong_at("name", format!("`{name}` is the name of two plans: give each its own"));
        }
        let plan = policy::limits(&section, &name);
        if section.lacks("limits") {
            section.wrong_at("limits", "at least one is needed: write limits = [\"100/min\"]");
        }
        // Without limits too: that who has it has it is no second mistake.
        plans.push(plan.unwrap_or_else(|| Arc::new(LimitSet { name: name.into(), limits: Vec::new() })));
        section.end();
    }
    plans
}

fn key(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// `[[service]]`: instances that are not in Consul, or settings for a service that is.
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
            root.wrong("service", section.line(), why);
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
        section.wrong("name", 0, "is needed, as one segment of a path");
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
        section.wrong_at("instances", "at least one is needed: write instances = [\"10.0.3.7:8080\"]");
    }
    Some((StaticService { name: name?.value, instances }, breaker))
}

fn instance(section: &Section<'_>, item: Result<Written<String>, Section<'_>>) -> Option<StaticInstance> {
    let example = "write e.g. \"10.0.3.7:8080\"";
    let (address, line, weight) = match item {
        Ok(written) => {
            let address: Option<SocketAddr> = written.value.parse().ok();
            if address.is_none() {
                let why = format!("`{}` is not an IP address and port: {example}", written.value);
                section.wrong("instances", written.line, why);
            }
            (address?, written.line, 1)
        }
        Err(table) => {
            let address: Option<Written<SocketAddr>> =
                table.parsed("address", "10.0.3.7:8080", |text| text.parse().ok());
            if address.is_none() && !table.is_written("address") {
                table.wrong("address", 0, format!("is needed: {example}"));
            }
            let (weight, line) = (table.number("weight", 1, 1..=65_535) as u32, table.line());
            table.end();
            (address?.value, line, weight)
        }
    };
    let ip = address.ip().to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || local {
        let why = format!("`{address}` is no address that an instance can have: {example}");
        section.wrong("instances", line, why);
    }
    Some(StaticInstance { address, weight })
}
