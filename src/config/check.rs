//! Written -> meant: every section read and checked, every mistake reported at once.

mod actions;
mod consul;
mod paths;
mod people;
mod policy;
mod routes;

pub use people::digest;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::env::Environment;
use super::file::{Document, Known, Mistake, Section};
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
    if mistakes.is_empty() {
        return Ok(config);
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Err(Errors { source: source.to_owned(), mistakes })
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
    let (routes, unlocked) = routes::routes(&root, &policy);
    let needed = routes.iter().any(|route| route.policy.auth);
    let (consumers, generated_key) = people::consumers(&root, from_file, needed, &plans, env);
    let listeners = listeners(&root, overrides);
    exposure(&root, &listeners, &unlocked, &consumers);
    if consul.is_none() {
        warnings.extend(routes::nowhere(&routes, &services));
    }
    let config = Config {
        version: 0,
        workers: root.number("workers", cores as u64, 1..=1024) as usize,
        listeners,
        admin: admin(root.section("admin"), overrides),
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
    let mut listeners: Vec<Listener> = written.into_iter().filter_map(listener).collect();
    if none {
        let both: [IpAddr; 2] = [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
        listeners = both.map(|ip| listener_at(SocketAddr::new(ip, 5000), ip.is_ipv6())).into();
    }
    let mut seen = HashSet::new();
    for listener in &mut listeners {
        if let Some(port) = overrides.port {
            listener.address.set_port(port);
        }
        if listener.address.port() != 0 && !seen.insert(listener.address) {
            root.wrong("listener", 0, format!("{} is listed twice: remove one", listener.address));
        }
    }
    listeners
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

fn listener(section: Section<'_>) -> Option<Listener> {
    let address = section.parsed("address", "0.0.0.0:5000", |text| text.parse().ok());
    if address.is_none() {
        section.wrong("address", 0, "is needed: write e.g. address = \"0.0.0.0:5000\"");
    }
    let mut listener = listener_at(address.map_or_else(|| ([127, 0, 0, 1], 0).into(), |a| a.value), false);
    listener.max_connections = section.number("max_connections", 10_000, 1..=1_000_000) as usize;
    listener.head = section.duration("head", listener.head);
    listener.keep_alive = section.duration("keep_alive", listener.keep_alive);
    listener.trusted_proxies = networks(&section);
    section.end();
    Some(listener)
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
fn exposure(root: &Section<'_>, listeners: &[Listener], unlocked: &[String], consumers: &[Consumer]) {
    let Some(public) = listeners.iter().find(|listener| !listener.address.ip().is_loopback()) else { return };
    for route in unlocked {
        let key = if route == "api" { "api.auth".to_owned() } else { format!("route `{route}`.auth") };
        let remedy = "set auth = true, or write open_to_everyone = true beside it if that is meant";
        root.wrong(&key, 0, format!("no key is asked for, and {} is not loopback: {remedy}", public.address));
    }
    if let Some(consumer) = consumers.iter().find(|consumer| consumer.keys.contains(&people::digest("test-api-key"))) {
        let name = &consumer.name;
        root.wrong("consumer", 0, format!("`{name}` has the demo's key test-api-key, and {} is not loopback: give it a key of its own (lictor hash-key)", public.address));
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
