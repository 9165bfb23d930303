//! From what is written to what is meant: every section is read and checked, and every mistake is reported at once.

mod actions;
mod compose;
mod consul;
mod consumers;
mod demands;
mod fleet;
mod issuers;
mod networks;
mod own_files;
mod paths;
mod policy;
mod redis;
mod routes;
mod services;
mod urls;

pub use consumers::{digest, hash_password, is_key};

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::env::Environment;
use super::file::{Document, Known, Mistake, Section, Written, canonical};
use super::fleet::Digest;
use super::identity::{Demand, Method};
use super::routes::Action;
use super::{Admin, Config, Listener, Log, LogFormat, Pool, RateLimits, Shutdown, StaticService};

/// What the command line sets; it beats the file.
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
    /// These mistakes, sorted by line.
    pub(super) fn of(source: &str, mut mistakes: Vec<Mistake>) -> Errors {
        mistakes.sort_by_key(|mistake| mistake.line);
        Errors { source: source.to_owned(), mistakes }
    }

    /// The one mistake of a configuration that cannot be read at all.
    pub(super) fn unreadable(source: &str, why: &std::io::Error) -> Errors {
        let message = format!("cannot read the configuration: {why}");
        Errors { source: source.to_owned(), mistakes: vec![Mistake { line: 0, key: String::new(), message }] }
    }

    /// The mistakes, sorted by line.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Each mistake as a line of text that begins with its place: `lictor.toml:3: …`.
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
    let table = document.parse(text.unwrap_or_default());
    let root = Section::root(&document, Some(table.get_ref()));
    let mut config = read(root, text.is_some(), overrides, env, &document);
    config.digest = canonical::digest(table.get_ref());
    let mut mistakes = document.mistakes();
    mistakes.extend(exposure(&config));
    if mistakes.is_empty() {
        return Ok(config);
    }
    Err(Errors::of(source, mistakes))
}

/// Every key that there is, as `read` asks for it.
pub(super) fn known() -> Vec<Known> {
    let document = Document::for_reference();
    let (overrides, env) = (Overrides::default(), Environment::default());
    read(Section::root(&document, None), false, overrides, &env, &document);
    document.known()
}

/// Reads everything. Where there are mistakes the result is not used, but all of it is read to find the others.
fn read(root: Section<'_>, from_file: bool, overrides: Overrides, env: &Environment, document: &Document) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut warnings = Vec::new();
    // What holds for all requests comes first: routes and services start from it.
    let (policy, breaker, request, store) = policy::top(&root);
    // Where services come from.
    let (services, breakers) = services::services(&root, &breaker);
    let mut consul = consul::consul(&root.section("consul"), !services.is_empty(), env, document, &mut warnings);
    // Which requests there are, and who may send them: somebody must have a key if any route asks for one.
    let plans = consumers::plans(&root);
    let public_url = urls::public_url(&root);
    let admin = admin(root.section("admin"), overrides);
    let issuers = issuers::issuers(&root, &plans, &admin.audience, public_url.as_deref(), env);
    warnings.extend(issuers::without_admins(&issuers, &admin.audience));
    let composed = compose::composes(&root, &policy, &issuers);
    let routes = routes::routes(&root, &policy, &issuers, &plans, &composed, &mut warnings);
    let key_needed = routes.iter().any(|route| demands::needs(&route.policy.auth, &Method::Key));
    let (consumers, generated_key) = consumers::consumers(&root, from_file, key_needed, &plans, env, &mut warnings);
    let basic = routes.iter().any(|route| demands::needs(&route.policy.auth, &Method::Basic));
    if basic && consumers.iter().all(|consumer| consumer.password.is_none()) {
        root.mistake("consumer", 0, "a password is asked for, but nobody has one: lictor hash-password makes them");
    }
    // Where the gateway listens, and whether that agrees with the rest.
    let listeners = listeners(&root, overrides);
    clashes(&root, &listeners, &admin, &services);
    let fleet = fleet::fleet(&root.section("fleet"), consul.as_ref(), &listeners, env, &mut warnings);
    if let (Some(consul), Some(fleet)) = (&mut consul, &fleet) {
        fleet.service.as_str().clone_into(&mut consul.gateways);
        warnings.extend(fleet::shadowed(fleet, &services));
    }
    if consul.is_none() {
        warnings.extend(routes::unprovided(&routes, &services));
    }
    warnings.extend(compose::idle(&composed, &routes, consul.is_none().then_some(&services)));
    let config = Config {
        version: 0,
        workers: root.number("workers", cores as u64, 1..=1024) as usize,
        listeners,
        admin,
        consul,
        fleet,
        redis: redis::redis(&root.section("redis"), env, &mut warnings),
        services,
        consumers,
        issuers,
        public_url,
        plans,
        breaker,
        breakers,
        policy,
        routes,
        aggregates: compose::aggregates(root.section("aggregates"), &composed, &mut warnings),
        composes: compose::complete(&composed),
        pool: pool(root.section("pool")),
        request,
        rate_limits: rate_limits(root.section("rate_limits")),
        store,
        log: log(root.section("log")),
        shutdown: shutdown(root.section("shutdown")),
        digest: Digest::default(),
        warnings,
        generated_key,
    };
    root.end();
    config
}

/// The public listeners; without any, one for each loopback address.
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
            root.mistake("listener", *line, format!("{} is listed twice: remove one", listener.address));
        }
    }
    listeners.into_iter().map(|(_, listener)| listener).collect()
}

/// A listener with every default.
fn listener_at(address: SocketAddr, optional: bool) -> Listener {
    Listener {
        address,
        optional,
        max_connections: 10_000,
        head: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        trusted_proxies: [].into(),
        proxy_protocol: None,
    }
}

/// A `[[listener]]`, with its line.
fn listener(section: Section<'_>) -> (usize, Listener) {
    let address: Option<Written<SocketAddr>> = section.parsed("address", "0.0.0.0:5000", |text| text.parse().ok());
    if address.is_none() && !section.is_written("address") {
        section.mistake("address", 0, "is needed: write e.g. address = \"0.0.0.0:5000\"");
    }
    let address = address.map_or_else(|| ([127, 0, 0, 1], 0).into(), |a| a.value);
    if let IpAddr::V6(ip) = address.ip()
        && let Some(four) = ip.to_ipv4_mapped()
    {
        section.mistake_at("address", format!("is an IPv4 address in disguise: write \"{four}:{}\"", address.port()));
    }
    let mut listener = listener_at(address, false);
    listener.max_connections = section.number("max_connections", 10_000, 1..=1_000_000) as usize;
    listener.head = section.duration("head", listener.head);
    listener.keep_alive = section.duration("keep_alive", listener.keep_alive);
    listener.trusted_proxies = networks_of(&section, "trusted_proxies");
    listener.proxy_protocol = proxy_protocol(section.section("proxy_protocol"));
    let line = section.line();
    section.end();
    (line, listener)
}

/// `trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]`.
fn networks_of(section: &Section<'_>, key: &'static str) -> Arc<[IpNet]> {
    let read = |text| section.convert(key, &text, network);
    section.texts(key).into_iter().filter_map(read).collect()
}

/// `proxy_protocol = { from = ["10.0.0.0/24"] }`. Without networks nobody could connect.
fn proxy_protocol(section: Section<'_>) -> Option<Arc<[IpNet]>> {
    let from = networks_of(&section, "from");
    if section.exists() && section.lacks("from") {
        section.mistake("from", 0, "is needed: write the networks of your balancers, e.g. from = [\"10.0.0.0/24\"]");
    }
    let networks = section.exists().then_some(from);
    section.end();
    networks
}

/// A network, or an address alone. The network of all addresses is refused: any client could then say that it is another.
fn network(text: &str) -> Result<IpNet, String> {
    networks::network(text, "trusts everybody: name the networks of your proxies")
}

fn admin(section: Section<'_>, overrides: Overrides) -> Admin {
    let default = || ([127, 0, 0, 1], 5001).into();
    let mut address: SocketAddr =
        section.parsed("address", "127.0.0.1:5001", |text| text.parse().ok()).map_or_else(default, |a| a.value);
    if let Some(port) = overrides.admin_port {
        address.set_port(port);
    }
    let public = section.flag("public", false);
    let audience = section.texts("audience").into_iter().map(|text| text.value.into()).collect();
    let kept = section.section("revocations");
    let revocations = own_files::own_file(&kept, "/var/lib/lictor/revocations.json");
    kept.end();
    section.end();
    Admin { address, public, audience, revocations }
}

/// Mistakes that open the gateway to more clients than the operator may know: a route that asks for no key, or the
/// demo's key, reachable beyond loopback. The first is allowed where the configuration says so in so many words.
pub(super) fn exposure(config: &Config) -> Vec<Mistake> {
    let public = config.listeners.iter().map(|listener| listener.address).find(is_exposed);
    let mut mistakes = Vec::new();
    let anonymous = |auth: &Option<Arc<Demand>>| auth.as_ref().is_none_or(|demand| demand.optional);
    for route in config.routes.iter().filter(|route| anonymous(&route.policy.auth) && !route.open_to_everyone) {
        let forwards = matches!(route.action, Action::Forward { .. } | Action::Compose { .. });
        let Some(address) = public.filter(|_| forwards) else { continue };
        let key = if &*route.name == "api" { "api.auth".to_owned() } else { format!("route `{}`.auth", route.name) };
        let remedy = "set auth = true, or write open_to_everyone = true beside it if that is meant";
        let message = format!("no credential is asked for, and {address} is not loopback: {remedy}");
        mistakes.push(Mistake { line: 0, key, message });
    }
    let demo = digest("test-api-key");
    let holder = config.consumers.iter().find(|consumer| consumer.keys.contains(&demo));
    if let Some((consumer, address)) = holder.zip(public.or(Some(config.admin.address).filter(is_exposed))) {
        let name = &consumer.name;
        let remedy = "give it a key of its own (lictor hash-key)";
        let message = format!("`{name}` has the demo's key test-api-key, and {address} is not loopback: {remedy}");
        mistakes.push(Mistake { line: 0, key: "consumer".into(), message });
    }
    mistakes
}

/// Whether an address can be reached from other hosts.
fn is_exposed(address: &SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// Addresses that cannot be had together, and instances that are the gateway itself.
fn clashes(root: &Section<'_>, listeners: &[Listener], admin: &Admin, services: &[StaticService]) {
    for listener in listeners.iter().filter(|listener| clash(listener.address, admin.address)) {
        let why = format!("{} and the listener {} clash: choose another port", admin.address, listener.address);
        root.mistake("admin.address", 0, why);
    }
    let bound: Vec<_> = listeners.iter().map(|listener| listener.address).chain([admin.address]).collect();
    for service in services {
        for instance in service.instances.iter().filter(|instance| is_bound(instance.address, &bound)) {
            let why = format!(
                "`{}` of `{}` is the gateway's own address: requests would come back to it",
                instance.address, service.name
            );
            root.mistake("service", 0, why);
        }
    }
}

/// Whether two sockets cannot be bound together: the same port, and the same address, or one of them every address of
/// its family.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wide)
}

/// Whether a connection to an address would reach one of the gateway's own listeners, as far as that can be known here.
fn is_bound(address: SocketAddr, bound: &[SocketAddr]) -> bool {
    bound.iter().any(|one| clash(*one, address) && (one.ip() == address.ip() || address.ip().is_loopback()))
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
