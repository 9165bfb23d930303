//! Written -> meant: every section read and checked, every mistake reported at once.

mod consul;
mod people;

pub use people::digest;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::Environment;
use super::file::{Document, Mistake, Section};
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
    /// The mistakes, by line.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            match mistake.line {
                0 => writeln!(f, "{}: {mistake}", self.source)?,
                line => writeln!(f, "{}:{line}: {mistake}", self.source)?,
            }
        }
        let count = self.mistakes.len();
        write!(f, "{count} mistake{} in the configuration", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Errors {}

/// Reads and checks a configuration: `path`, else `LICTOR_CONFIG`, else the defaults and the environment alone.
///
/// # Errors
/// Every mistake, each with its line, its key and what to write instead.
pub fn load(path: Option<&Path>, overrides: Overrides, env: &Environment) -> Result<Config, Errors> {
    let path = path.map(PathBuf::from).or_else(|| env.get("LICTOR_CONFIG").map(PathBuf::from));
    let Some(path) = path else { return parse(None, "environment", overrides, env) };
    let source = path.display().to_string();
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(Some(&text), &source, overrides, env),
        Err(error) => {
            let message = format!("cannot read the configuration: {error}");
            Err(Errors { source, mistakes: vec![Mistake { line: 0, key: String::new(), message }] })
        }
    }
}

/// Checks a configuration's text; `None` is the run without a file.
///
/// # Errors
/// As [`load`].
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

fn read(
    root: Section<'_>,
    from_file: bool,
    overrides: Overrides,
    env: &Environment,
    document: &Document<'_>,
) -> Config {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut warnings = Vec::new();
    let services = people::services(&root);
    let consul = consul::consul(&root.section("consul"), !services.is_empty(), env, document, &mut warnings);
    let api_section = root.section("api");
    let (api, open) = api(api_section);
    let (consumers, generated_key) = people::consumers(&root, from_file, api.as_ref().is_some_and(|api| api.auth), env);
    let listeners = listeners(&root, overrides);
    exposure(&root, &listeners, api.as_ref(), &consumers, open);
    let config = Config {
        workers: root.number("workers", cores as u64, 1..=1024) as usize,
        listeners,
        admin: admin(root.section("admin"), overrides),
        consul,
        services,
        consumers,
        breaker: breaker(root.section("breaker")),
        retry: retry(root.section("retry")),
        timeouts: timeouts(root.section("timeouts")),
        pool: pool(root.section("pool")),
        request: request(root.section("request")),
        log: log(root.section("log")),
        shutdown: shutdown(root.section("shutdown")),
        api,
        warnings,
        generated_key,
    };
    for later in ["plan", "route", "cache"] {
        root.later(later);
    }
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
    Listener { address, optional, max_connections: 10_000, head: seconds(10), keep_alive: seconds(75) }
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
    section.later("trusted_proxies");
    section.end();
    Some(listener)
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

/// `[api]`, and whether an open door was asked for in so many words.
fn api(section: Section<'_>) -> (Option<Api>, bool) {
    let valid = |text: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'~');
        text == "none"
            || (text.starts_with('/')
                && text.len() > 1
                && !text.ends_with('/')
                && !text.contains("//")
                && text.bytes().all(plain))
    };
    let prefix = section.parsed("prefix", "/api", |text| valid(text).then(|| text.to_owned()));
    let auth = section.flag("auth", true);
    let open = section.flag("open_to_everyone", false);
    let prefix = prefix.map_or_else(
        || "/api".to_owned(),
        |written| {
            for own in ["/health", "/ready", "/admin"] {
                if written.value == own || written.value.starts_with(&format!("{own}/")) {
                    section.wrong("prefix", written.line, format!("{own} is the gateway's own: choose another prefix"));
                }
            }
            written.value
        },
    );
    section.end();
    ((prefix != "none").then_some(Api { prefix, auth }), open)
}

/// Decision: an open door beyond loopback must be asked for in so many words.
fn exposure(root: &Section<'_>, listeners: &[Listener], api: Option<&Api>, consumers: &[Consumer], open: bool) {
    let Some(public) = listeners.iter().find(|listener| !listener.address.ip().is_loopback()) else { return };
    if open {
        return;
    }
    let remedy = "or write [api] open_to_everyone = true if that is meant";
    if api.is_some_and(|api| !api.auth) {
        root.wrong(
            "api.auth",
            0,
            format!("no key is asked for, and {} is not loopback: set auth = true, {remedy}", public.address),
        );
    }
    if let Some(consumer) = consumers.iter().find(|consumer| consumer.keys.contains(&people::digest("test-api-key"))) {
        let name = &consumer.name;
        root.wrong("consumer", 0, format!("`{name}` has the demo's key test-api-key, and {} is not loopback: give it a key of its own (lictor hash-key), {remedy}", public.address));
    }
}

fn breaker(section: Section<'_>) -> Breaker {
    let breaker = Breaker {
        enabled: section.flag("enabled", true),
        consecutive: section.number("consecutive", 5, 1..=10_000) as u32,
        open: section.duration("open", Duration::from_secs(5)),
        open_max: section.duration("open_max", Duration::from_secs(60)),
        probes: section.number("probes", 1, 1..=255) as u8,
    };
    if breaker.open > breaker.open_max {
        section.wrong("open_max", 0, "is shorter than `open`: make it at least as long");
    }
    section.later("rate");
    section.end();
    breaker
}

fn retry(section: Section<'_>) -> Retry {
    let more = section.number("more", 2, 0..=10) as u32;
    let budget = section.section("budget");
    let percent = budget.number("percent", 20, 0..=100) as u32;
    let plus = budget.number("plus", 30, 0..=1_000_000) as u32;
    let within = budget.duration("within", Duration::from_secs(10));
    budget.end();
    let methods = match section.mixed("methods") {
        list if list.is_empty() => vec![http::Method::GET, http::Method::HEAD, http::Method::OPTIONS],
        list => list.into_iter().filter_map(|item| method(&section, item)).collect(),
    };
    section.end();
    Retry { more, budget: Budget { percent, plus, within }, methods }
}

fn method(section: &Section<'_>, item: Result<super::file::Written<String>, Section<'_>>) -> Option<http::Method> {
    let safe = [http::Method::GET, http::Method::HEAD, http::Method::OPTIONS];
    let (text, line) = item.map_or_else(|s| (String::new(), s.line()), |written| (written.value, written.line));
    let found = safe.into_iter().find(|method| method.as_str() == text);
    if found.is_none() {
        section.wrong(
            "methods",
            line,
            format!("`{text}` may not be sent twice: only GET, HEAD and OPTIONS, until routes can say more"),
        );
    }
    found
}

fn timeouts(section: Section<'_>) -> Timeouts {
    let timeouts = Timeouts {
        connect: section.duration("connect", Duration::from_secs(1)),
        first_byte: section.duration("first_byte", Duration::from_secs(30)),
        idle: section.duration("idle", Duration::from_secs(60)),
        total: section.duration_or_none("total", None),
    };
    section.end();
    timeouts
}

fn pool(section: Section<'_>) -> Pool {
    let idle = section.number("idle", 256, 0..=1_000_000) as usize;
    let pool = Pool { idle, idle_age: section.duration("idle_age", Duration::from_secs(15)) };
    section.end();
    pool
}

fn request(section: Section<'_>) -> RequestLimits {
    // hyper's own limits (64 KiB, 100 fields) stand above, so that ours always get to answer.
    let limits = RequestLimits {
        head: section.size("head", 32 << 10, 256..=48 << 10),
        fields: section.number("fields", 64, 4..=96) as usize,
        target: section.size("target", 8 << 10, 64..=32 << 10),
        body: section.size_or_none("body"),
    };
    section.end();
    limits
}

fn log(section: Section<'_>) -> Log {
    let words = [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
    let log = Log { format: section.word("format", LogFormat::Auto, &words), access: section.flag("access", true) };
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
