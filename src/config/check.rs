//! Written -> meant: every section read and checked, every mistake reported at once.

mod actions;
mod consul;
mod paths;
mod people;
mod policy;
mod routes;

pub use people::{digest, is_key};

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::env::Environment;
use super::file::{Document, Known, Mistake, Section, Written};
use super::*;

/// What the command line says; it beats the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The port of every public listener.
    pub port: Option<u16>,
    /// The port of the admin listener.
    pub admin_port: Option<u16>,
}

/// Every mistake of a configuration.
#[derive(Debug)]
pub struct Errors {
    source: String,
    mistakes: Vec<Mistake>,
}

impl Errors {
    /// These, by line.
    pub(super) fn of(source: &str, mut mistakes: Vec<Mistake>) -> Errors {
        mistakes.sort_by_key(|mistake| mistake.line);
        Errors { source: source.to_owned(), mistakes }
    }

    /// There is nothing to be checked.
    pub(super) fn unreadable(source: &str, why: &std::io::Error) -> Errors {
        let message = format!("cannot read the configuration: {why}");
        Errors { source: source.to_owned(), mistakes: vec![Mistake { line: 0, key: String::new(), message }] }
    }

    /// The mistakes, by line.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Each mistake with its place, as a line.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.mistakes.iter().map(|mistake| match mistake.line {
            0 => format!("{}: {mistake}", self.source),
            line => format!("{}:{line}: {mistake}", self.source),
        })
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        let count = self.mistakes.len();
        write!(f, "{count} mistake{} in the configuration", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Errors {}

/// Checks a configuration's text; `None` is the run without a file.
///
/// # Errors
/// Every mistake, each with its line, its key and what to write instead.
pub fn parse(text: Option<&str>, source: &str, overrides: Overrides, env: &Environment) -> Result<Config, Errors> {
    let document = Document::new(text.unwrap_or_default());
    let (table, mut mistakes) = Document::parse(text.unwrap_or_default());
    let root = document.root(Some(table.get_ref()));
    let config = read(root, text.is_some(), overrides, env, &document);
    mistakes.extend(document.mistakes());
    mistakes.extend(exposure(&config));
    if mistakes.is_empty() {
        return Ok(config);
    }
    Err(Errors::of(source, mistakes))
}

/// Every key that there is, as `read` asks for it.
pub(super) fn known() -> Vec<Known> {
    let document = Document::asking();
    let (overrides, env) = (Overrides::default(), Environment::default());
    read(document.root(None), false, overrides, &env, &document);
    document.known()
}

fn read(
    root: Section<'_>,
    from_file: bool,
    overrides: Overrides,
    env: &Environment,
    document: &Document<'_>,
) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut warnings = Vec::new();
    let (policy, breaker, request, store) = policy::top(&root);
    let (services, breakers) = people::services(&root, &breaker);
    let consul = consul::consul(&root.section("consul"), !services.is_empty(), env, document, &mut warnings);
    let plans = people::plans(&root);
    let routes = routes::routes(&root, &policy);
    let needed = routes.iter().any(|route| route.policy.auth);
    let (consumers, generated_key) = people::consumers(&root, from_file, needed, &plans, env, &mut warnings);
    let listeners = listeners(&root, overrides);
    let admin = admin(root.section("admin"), overrides);
    clashes(&root, &listeners, &admin, &services);
    if consul.is_none() {
        warnings.extend(routes::nowhere(&routes, &services));
    }
    let config = Config {
        version: 0,
        workers: root.number("workers", cores as u64, 1..=1024) as usize,
        listeners,
        admin,
        consul,
        services,
        consumers,
        plans,
        breaker,
        breakers,
        policy,
        routes,
        pool: pool(root.section("pool")),
        request,
        rate_limits: rate_limits(root.section("rate_limits")),
        store,
        log: log(root.section("log")),
        shutdown: shutdown(root.section("shutdown")),
        warnings,
        generated_key,
    };
    root.end();
    config
}

fn listeners(root: &Section<'_>, overrides: Overrides) -> Vec<Listener> {
    let written = root.sections("listener");
    let none = written.is_empty();
    let mut listeners: Vec<(usize, Listener)> = written.into_iter().map(listener).collect();
    if none {
        let both: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        listeners = both.map(|ip| (0, listener_at(SocketAddr::new(ip, 5000), ip.is_ipv6()))).into();
    }
    let mut seen = HashSet::new();
    for (line, listener) in &mut listeners {
        if let Some(port) = overrides.port {
            listener.address.set_port(port);
        }
        if listener.address.port() != 0 && !seen.insert(listener.address) {
            root.wrong("listener", *line, format!("{} is listed twice: remove one", listener.address));
        }
    }
    listeners.into_iter().map(|(_, listener)| listener).collect()
}

fn listener_at(address: SocketAddr, optional: bool) -> Listener {
    let seconds = Duration::from_secs;
    Listener {
        address,
        optional,
        max_connections: 10_000,
        head: seconds(10),
        keep_alive: seconds(75),
        trusted_proxies: [].into(),
    }
}

fn listener(section: Section<'_>) -> (usize, Listener) {
    let address: Option<Written<SocketAddr>> = section.parsed("address", "0.0.0.0:5000", |text| text.parse().ok());
    if address.is_none() && !section.is_written("address") {
        section.wrong("address", 0, "is needed: write e.g. address = \"0.0.0.0:5000\"");
    }
    let address = address.map_or_else(|| ([127, 0, 0, 1], 0).into(), |a| a.value);
    if let IpAddr::V6(ip) = address.ip()
        && let Some(four) = ip.to_ipv4_mapped()
    {
        section.wrong_at("address", format!("is an IPv4 address in disguise: write \"{four}:{}\"", address.port()));
    }
    let mut listener = listener_at(address, false);
    listener.max_connections = section.number("max_connections", 10_000, 1..=1_000_000) as usize;
    listener.head = section.duration("head", listener.head);
    listener.keep_alive = section.duration("keep_alive", listener.keep_alive);
    listener.trusted_proxies = networks(&section);
    let line = section.line();
    section.end();
    (line, listener)
}

/// `trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]`.
fn networks(section: &Section<'_>) -> Arc<[IpNet]> {
    let mut networks = Vec::new();
    for text in section.texts("trusted_proxies") {
        let alone = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
        match text.value.parse::<IpNet>().ok().or_else(|| alone(&text.value)) {
            Some(network) if network.prefix_len() == 0 => {
                let why = format!("`{}` trusts everybody: name the networks of your proxies", text.value);
                section.wrong("trusted_proxies", text.line, why);
            }
            Some(network) => networks.push(network.trunc()),
            None => {
                let why = format!("`{}` is not a network: write e.g. \"10.0.0.0/8\" or \"192.0.2.1\"", text.value);
                section.wrong("trusted_proxies", text.line, why);
            }
        }
    }
    networks.into()
}

fn admin(section: Section<'_>, overrides: Overrides) -> Admin {
    let default = || ([127, 0, 0, 1], 5001).into();
    let mut address: SocketAddr =
        section.parsed("address", "127.0.0.1:5001", |text| text.parse().ok()).map_or_else(default, |a| a.value);
    if let Some(port) = overrides.admin_port {
        address.set_port(port);
    }
    let public = section.flag("public", false);
    section.end();
    Admin { address, public }
}

/// Decision: an open door beyond loopback must be asked for in so many words.
pub(super) fn exposure(config: &Config) -> Vec<Mistake> {
    let outside = |address: &SocketAddr| !address.ip().is_loopback();
    let mistake = |key: String, message: String| Mistake { line: 0, key, message };
    let public = config.listeners.iter().map(|listener| listener.address).find(outside);
    let mut mistakes = Vec::new();
    for route in config.routes.iter().filter(|route| !route.policy.auth && !route.open) {
        let forwards = matches!(route.action, super::routes::Action::Forward { .. });
        let Some(address) = public.filter(|_| forwards) else { continue };
        let key = if &*route.name == "api" { "api.auth".to_owned() } else { format!("route `{}`.auth", route.name) };
        let remedy = "set auth = true, or write open_to_everyone = true beside it if that is meant";
        mistakes.push(mistake(key, format!("no key is asked for, and {address} is not loopback: {remedy}")));
    }
    let demo = people::digest("test-api-key");
    let known = config.consumers.iter().find(|consumer| consumer.keys.contains(&demo));
    if let Some((consumer, address)) = known.zip(public.or(Some(config.admin.address).filter(outside))) {
        let name = &consumer.name;
        let remedy = "give it a key of its own (lictor hash-key)";
        let why = format!("`{name}` has the demo's key test-api-key, and {address} is not loopback: {remedy}");
        mistakes.push(mistake("consumer".into(), why));
    }
    mistakes
}

/// Addresses that cannot be had together, and instances that are the gateway itself.
fn clashes(root: &Section<'_>, listeners: &[Listener], admin: &Admin, services: &[StaticService]) {
    let same = |a: &SocketAddr, b: &SocketAddr| {
        let wide = a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
        a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wide)
    };
    for listener in listeners.iter().filter(|listener| same(&listener.address, &admin.address)) {
        let address = listener.address;
        root.wrong(
            "admin.address",
            0,
            format!("{} and the listener {address} clash: choose another port", admin.address),
        );
    }
    let own = |address: &SocketAddr| {
        let mut all = listeners.iter().map(|listener| listener.address).chain([admin.address]);
        all.any(|own| same(&own, address) && (own.ip() == address.ip() || address.ip().is_loopback()))
    };
    for service in services {
        for instance in service.instances.iter().filter(|instance| own(&instance.address)) {
            let why = format!(
                "`{}` of `{}` is the gateway's own address: requests would come back to it",
                instance.address, service.name
            );
            root.wrong("service", 0, why);
        }
    }
}

fn pool(section: Section<'_>) -> Pool {
    let idle = section.number("idle", 256, 0..=1_000_000) as usize;
    let pool = Pool { idle, idle_age: section.duration("idle_age", Duration::from_secs(15)) };
    section.end();
    pool
}

fn rate_limits(section: Section<'_>) -> RateLimits {
    let limits = RateLimits {
        memory: section.size("memory", 16 << 20, 64 << 10..=1 << 36),
        headers: section.flag("headers", true),
    };
    section.end();
    limits
}

fn log(section: Section<'_>) -> Log {
    let words = [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    let log = Log { format: section.word("format", &words), access: section.flag("access", true) };
    section.end();
    log
}

fn shutdown(section: Section<'_>) -> Shutdown {
    let shutdown = Shutdown {
        announce: section.pause("announce", Duration::from_secs(5)),
        deadline: section.pause("deadline", Duration::from_secs(30)),
    };
    section.end();
    shutdown
}

#[cfg(test)]
mod tests;
