//! What the operator wants, as meant: checked, complete, nothing optional left that has a default.

mod check;
mod env;
mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::ServiceName;

pub use check::{Errors, Overrides, digest, load, parse};
pub use env::Environment;
pub use file::Mistake;

/// The whole configuration. Shape and defaults: `lictor.toml` in the README.
#[derive(Clone, Debug)]
pub struct Config {
    /// Data plane threads, at least 1.
    pub workers: usize,
    /// Public addresses; never empty.
    pub listeners: Vec<Listener>,
    /// The side door.
    pub admin: Admin,
    /// The agent to watch; `None` when `[consul]` is absent from a file that has `[[service]]`.
    pub consul: Option<Consul>,
    /// Services that are not in Consul.
    pub services: Vec<StaticService>,
    /// Who may call.
    pub consumers: Vec<Consumer>,
    /// When an instance trips.
    pub breaker: Breaker,
    /// When another attempt is made.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeouts: Timeouts,
    /// Connections kept to instances.
    pub pool: Pool,
    /// What a request's head may hold.
    pub request: RequestLimits,
    /// Logs.
    pub log: Log,
    /// The end.
    pub shutdown: Shutdown,
    /// `/api/{service}/{path}`; `None` when switched off.
    pub api: Option<Api>,
    /// Sentences to log at start: file beats environment, a service that no provider has, …
    pub warnings: Vec<String>,
    /// A key that was made for this run only, printed once (no file, no `LICTOR_API_KEY`).
    pub generated_key: Option<String>,
}

/// A public address.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// It may be missing: `[::1]` of the default pair, on a machine without IPv6.
    pub optional: bool,
    /// Open connections at once, over all workers.
    pub max_connections: usize,
    /// To receive a request's head, counted from its first byte (and for the first byte of a connection).
    pub head: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// `/admin` on the public listeners too.
    pub public: bool,
}

/// Which services of Consul are exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expose {
    /// Instances with this tag.
    Tagged(String),
    /// All but Consul's own, sidecars, `nomad*` and `vault`.
    All,
}

/// How to reach the agent.
#[derive(Clone, Debug)]
pub struct Consul {
    /// `http://host:port`, `https://host:port` or `unix:///path`.
    pub address: String,
    /// The ACL token.
    pub token: Option<Secret>,
    /// What is exposed.
    pub expose: Expose,
    /// Connections to the agent at most.
    pub connections: usize,
    /// Instances on loopback are taken although the agent is not reached over loopback.
    pub allow_loopback: bool,
    /// Only sent when set (the community edition answers `ns` with 400).
    pub namespace: Option<String>,
    /// Only sent when set.
    pub partition: Option<String>,
    /// PEM file of the agent's CA (`CONSUL_CACERT`).
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and its key (`CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`).
    pub client_cert: Option<(PathBuf, PathBuf)>,
}

/// A secret: never printed, files are read again when they change.
#[derive(Clone)]
pub enum Secret {
    /// As written, or from the environment.
    Text(String),
    /// The trimmed content of a file.
    File(PathBuf),
}

impl Secret {
    /// The secret as it is now.
    pub fn read(&self) -> std::io::Result<String> {
        match self {
            Secret::Text(text) => Ok(text.clone()),
            Secret::File(path) => Ok(std::fs::read_to_string(path)?.trim().to_owned()),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// A service from the file.
#[derive(Clone, Debug)]
pub struct StaticService {
    /// Its name.
    pub name: ServiceName,
    /// Its instances.
    pub instances: Vec<StaticInstance>,
}

/// An instance from the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticInstance {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its weight, at least 1.
    pub weight: u32,
}

/// Who a credential belongs to.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// The name that logs and admin show.
    pub name: String,
    /// SHA-256 digests of its keys.
    pub keys: Vec<[u8; 32]>,
    /// May see `/admin`.
    pub admin: bool,
    /// May steer (later issues).
    pub operator: bool,
}

/// When an instance trips.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// False: nothing ever trips.
    pub enabled: bool,
    /// Failures in a row.
    pub consecutive: u32,
    /// Open for this long at first, then doubled, with 25 % jitter.
    pub open: Duration,
    /// And at most this long.
    pub open_max: Duration,
    /// Requests that try a half-open instance at once, over all workers; 1 to 255.
    pub probes: u8,
}

/// When another attempt is made.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts besides the first.
    pub more: u32,
    /// The share of a service's requests that may be further attempts.
    pub budget: Budget,
    /// Methods that may be sent twice.
    pub methods: Vec<http::Method>,
}

/// A retry budget: in any `within` at most `percent` of the requests of that time, plus `plus`.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// 0 to 100.
    pub percent: u32,
    /// On top.
    pub plus: u32,
    /// The window.
    pub within: Duration,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// To connect to an instance.
    pub connect: Duration,
    /// From the request being written to the answer's head.
    pub first_byte: Duration,
    /// Between two bytes of a body, either way.
    pub idle: Duration,
    /// From the request's head to the end of the answer.
    pub total: Option<Duration>,
}

/// Connections kept to instances.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Idle ones per instance, over all workers.
    pub idle: usize,
    /// How long an idle one is kept.
    pub idle_age: Duration,
}

/// What a request's head may hold.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Bytes of all header fields.
    pub head: usize,
    /// Number of header fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Bytes of a body.
    pub body: Option<u64>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, else JSON.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// One line a request.
    pub access: bool,
}

/// The end.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// `/ready` says 503 for this long while everything is still served.
    pub announce: Duration,
    /// Then requests in flight have this long.
    pub deadline: Duration,
}

/// `/api/{service}/{path}`.
#[derive(Clone, Debug)]
pub struct Api {
    /// Starts with `/`, does not end with one: `/api`.
    pub prefix: String,
    /// An API key is asked for.
    pub auth: bool,
}

/// The defaults with one consumer, for tests of other rooms.
#[cfg(test)]
pub(crate) fn for_tests() -> Config {
    let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
    parse(None, "test", Overrides::default(), &env).expect("the defaults are valid")
}
