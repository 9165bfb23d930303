//! What the operator wants, as meant: checked, complete, nothing optional left that has a default.

mod check;
mod env;
mod file;
pub mod policy;
pub mod reference;
pub mod routes;
pub mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::catalog::ServiceName;

pub use check::{Errors, Overrides, digest, is_key, parse};
pub use env::Environment;
pub use file::Mistake;
pub use policy::{Breaker, Budget, LimitSet, Policy, Retry, Timeouts};
pub use routes::Route;

/// The whole configuration. Shape and defaults: `lictor.toml` in the README.
#[derive(Clone, Debug)]
pub struct Config {
    /// Counts how often it was read again.
    pub version: u64,
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
    /// How often, for groups of consumers.
    pub plans: Vec<Arc<LimitSet>>,
    /// When an instance trips, unless its service says otherwise.
    pub breaker: Breaker,
    /// When an instance of a service trips, where `[[service]]` says so.
    pub breakers: HashMap<ServiceName, Breaker>,
    /// What holds where no route says otherwise.
    pub policy: Policy,
    /// Which requests go where; `/api/{service}/{path}` is one of them.
    pub routes: Vec<Arc<Route>>,
    /// Connections kept to instances.
    pub pool: Pool,
    /// What is remembered of clients' use of their limits.
    pub rate_limits: RateLimits,
    /// The store of cached answers.
    pub store: Store,
    /// What a request's head may hold.
    pub request: RequestLimits,
    /// Logs.
    pub log: Log,
    /// The end.
    pub shutdown: Shutdown,
    /// Sentences to log at start: file beats environment, a service that no provider has, …
    pub warnings: Vec<String>,
    /// A key that was made for this run only, printed once (no file, no `LICTOR_API_KEY`).
    pub generated_key: Option<String>,
}

/// A public address.
#[derive(Clone, Debug, PartialEq)]
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
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
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
    /// How often it may ask.
    pub plan: Option<Arc<LimitSet>>,
}

/// Connections kept to instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Idle ones per instance, over all workers.
    pub idle: usize,
    /// How long an idle one is kept.
    pub idle_age: Duration,
}

/// What a request's head may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLimits {
    /// Bytes of all header fields.
    pub head: usize,
    /// Number of header fields.
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
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
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// One line a request.
    pub access: bool,
}

/// The end.
#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    /// `/ready` says 503 for this long while everything is still served.
    pub announce: Duration,
    /// Then requests in flight have this long.
    pub deadline: Duration,
}

/// What is remembered of clients' use of their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Bytes for client addresses; consumers have places of their own.
    pub memory: usize,
    /// `RateLimit` and `RateLimit-Policy` on answers.
    pub headers: bool,
}

/// The store of cached answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Bytes of all answers together.
    pub size: usize,
    /// Bytes of one answer's body at most.
    pub object: usize,
}

impl Config {
    /// When an instance of a service trips.
    pub fn breaker_of(&self, service: &ServiceName) -> &Breaker {
        self.breakers.get(service).unwrap_or(&self.breaker)
    }
}

/// The defaults with one consumer, for tests of other rooms.
#[cfg(test)]
pub(crate) fn for_tests() -> Config {
    let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
    parse(None, "test", Overrides::default(), &env).expect("the defaults are valid")
}
