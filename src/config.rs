//! The configuration: checked and complete, with a value for everything that has a default.

mod check;
pub mod compose;
mod env;
mod file;
pub mod fleet;
pub mod identity;
pub mod policy;
pub mod redis;
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

pub use check::{Errors, Overrides, digest, hash_password, is_key, parse};
pub use env::{Environment, trimmed};
pub use file::Mistake;
pub use policy::{Breaker, Budget, LimitSet, Policy, Retry, Timeouts};
pub use routes::Route;

/// The whole configuration. `lictor defaults` prints every key with its default.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often it was read again since the start.
    pub version: u64,
    /// Threads of the data plane, at least 1.
    pub workers: usize,
    /// Public addresses; never empty.
    pub listeners: Vec<Listener>,
    /// The admin listener.
    pub admin: Admin,
    /// The agent to watch; `None` when `[consul]` is absent from a file that has `[[service]]`.
    pub consul: Option<Consul>,
    /// The fleet of which this gateway is one; `None` where it stands for itself.
    pub fleet: Option<fleet::Fleet>,
    /// Where gateways keep what they share; `None` when it is not written.
    pub redis: Option<redis::Redis>,
    /// Services with instances that the file lists.
    pub services: Vec<StaticService>,
    /// Who may call.
    pub consumers: Vec<Consumer>,
    /// Who vouches for callers with tokens.
    pub issuers: Vec<Arc<identity::Issuer>>,
    /// The origin that clients call, as `https://api.example.com`: proofs of possession name it.
    pub public_url: Option<String>,
    /// How often groups of consumers may call.
    pub plans: Vec<Arc<LimitSet>>,
    /// When an instance trips, unless its service says otherwise.
    pub breaker: Breaker,
    /// When an instance of a service trips, where its `[[service]]` has a breaker of its own.
    pub breakers: HashMap<ServiceName, Breaker>,
    /// What holds where no route says otherwise.
    pub policy: Policy,
    /// Which requests go where; `/api/{service}/{path}` is one of them.
    pub routes: Vec<Arc<Route>>,
    /// Which calls make one answer together; routes hold those that they use.
    pub composes: Vec<Arc<compose::Compose>>,
    /// What all aggregates under way may take together.
    pub aggregates: compose::Aggregates,
    /// Connections that are kept to instances.
    pub pool: Pool,
    /// How the use of limits is counted and told to clients.
    pub rate_limits: RateLimits,
    /// The store of cached answers.
    pub store: Store,
    /// How large the head of a request may be.
    pub request: RequestLimits,
    /// Logs.
    pub log: Log,
    /// How the gateway ends.
    pub shutdown: Shutdown,
    /// A digest of what the file says, but for what concerns this host alone: two gateways with the same one are configured alike. It is
    /// of secrets, too, and so to be shown to nobody.
    pub digest: fleet::Digest,
    /// What the operator should know, logged at start and after each reload: the file beats a variable of the environment, a
    /// route leads to a service that nobody provides.
    pub warnings: Vec<String>,
    /// A key that was made for this run and is printed once, where there is neither a file nor `LICTOR_API_KEY`.
    pub generated_key: Option<String>,
}

/// A public address.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where to listen; port 0 lets the system choose.
    pub address: SocketAddr,
    /// The gateway also starts without it: `[::1]` of the default pair, on a machine without IPv6.
    pub optional: bool,
    /// The most connections that are open at once, over all workers.
    pub max_connections: usize,
    /// The time to receive a request's head, from its first byte; also the time to the first byte of a new connection.
    pub head: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Networks whose word on their clients is believed: `X-Forwarded-*`, `X-Real-IP`, `X-Request-Id`.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Networks of TCP balancers, of which each connection must begin with a PROXY header, and no other connection is taken. `None`:
    /// such a header is no HTTP, as any other nonsense.
    pub proxy_protocol: Option<Arc<[IpNet]>>,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// `/admin` is on the public listeners, too.
    pub public: bool,
    /// What tokens that open it must be for: one of these; none: tokens do not.
    pub audience: Vec<Arc<str>>,
    /// The file that keeps what was revoked for the next start, where there is one.
    pub revocations: Option<PathBuf>,
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
    /// The agents in order of preference, at least one: `http://host:port`, `https://host:port` or `unix:///path`.
    pub addresses: Vec<String>,
    /// The ACL token.
    pub token: Option<Secret>,
    /// Which services are exposed.
    pub expose: Expose,
    /// The most connections to the agent.
    pub connections: usize,
    /// Instances on loopback are taken although the agent is not reached over loopback.
    pub allow_loopback: bool,
    /// The namespace; only sent when set, because the community edition answers `ns` with 400.
    pub namespace: Option<String>,
    /// The admin partition; only sent when set.
    pub partition: Option<String>,
    /// PEM file of the agent's CA (`CONSUL_CACERT`).
    pub ca_file: Option<PathBuf>,
    /// Directory of PEM files of CAs (`CONSUL_CAPATH`).
    pub ca_path: Option<PathBuf>,
    /// PEM files of the client's certificate and its key (`CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY`).
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// The name that the agent's certificate must have, where it is not the address's host (`CONSUL_TLS_SERVER_NAME`).
    pub tls_server_name: Option<String>,
    /// False: the agent's certificate is not verified (`CONSUL_HTTP_SSL_VERIFY`).
    pub verify: bool,
    /// `user:password` for HTTP basic authentication (`CONSUL_HTTP_AUTH`).
    pub http_auth: Option<Secret>,
    /// The datacenters in order of preference; none: that of the agent.
    pub datacenters: Vec<String>,
    /// How long an endpoint that has vanished suspiciously is held.
    pub hold: Duration,
    /// A service that the token must see: when it no longer does, the token has lost rights.
    pub canary: Option<String>,
    /// The service as which gateways register: it is never exposed.
    pub gateways: String,
    /// Where what is known is kept for a cold start.
    pub saved: Option<SavedCatalog>,
}

/// A file that a cold start serves from while no agent answers.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedCatalog {
    /// Its path.
    pub file: PathBuf,
    /// Older than this, it is not used: an address may be somebody else's by then.
    pub max_age: Duration,
}

/// A secret. It is never printed; one from a file is read anew each time that it is used.
#[derive(Clone, PartialEq)]
pub enum Secret {
    /// As written, or from the environment.
    Text(String),
    /// The content of a file.
    File(PathBuf),
}

impl Secret {
    /// The secret as it is now, see [`trimmed`].
    ///
    /// # Errors
    /// Why its file cannot be read, or that nothing is in it.
    pub fn read(&self) -> std::io::Result<String> {
        let secret = match self {
            Secret::Text(text) => trimmed(text).to_owned(),
            Secret::File(path) => trimmed(&std::fs::read_to_string(path)?).to_owned(),
        };
        // Who sends an empty token is anonymous, and may see other things than the operator meant.
        match secret.is_empty() {
            true => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is empty")),
            false => Ok(secret),
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
    /// What its password is compared with, for HTTP Basic authentication.
    pub password: Option<PasswordHash>,
    /// May see `/admin`.
    pub admin: bool,
    /// May steer the gateway; nothing asks for this role yet.
    pub operator: bool,
    /// How often it may call.
    pub plan: Option<Arc<LimitSet>>,
}

/// A password's argon2id hash, as a PHC text: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hash)")
    }
}

/// Connections that are kept to instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The most idle connections to one instance, over all workers.
    pub idle: usize,
    /// How long an idle connection is kept.
    pub idle_age: Duration,
}

/// How large the head of a request may be.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLimits {
    /// The most bytes of all header fields together.
    pub head: usize,
    /// The most header fields.
    pub fields: usize,
    /// The most bytes of the request's target.
    pub target: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, else JSON.
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
    /// One line is written for each request.
    pub access: bool,
}

/// How the gateway ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    /// `/ready` says 503 for this long while everything is still served.
    pub announce: Duration,
    /// Then requests in flight have this long to end.
    pub deadline: Duration,
}

/// How the use of limits is counted and told to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// The most bytes for counters of client addresses; those of consumers are not among them.
    pub memory: usize,
    /// Answers carry `RateLimit` and `RateLimit-Policy`.
    pub headers: bool,
}

/// The store of cached answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The most bytes of memory that all answers take, with their fields and keys: those that are stored, and those on their way.
    pub size: usize,
    /// The most bytes of one answer's body.
    pub object: usize,
}

impl Config {
    /// Where the gateway itself listens, as far as the configuration says: a port that the system chooses is not known yet.
    pub fn own_addresses(&self) -> Vec<SocketAddr> {
        let all = self.listeners.iter().map(|listener| listener.address).chain([self.admin.address]);
        all.filter(|address| address.port() != 0).collect()
    }

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
