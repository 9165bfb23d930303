//! `[redis]`: where gateways keep what they share, and how it is reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Secret;

/// Where shared limits and shared answers are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// For limits, and for answers where they have no server of their own.
    pub main: Server,
    /// For answers alone: one eviction policy cannot serve both.
    pub cache: Option<Server>,
}

/// One Redis: a server, a master that sentinels know, or a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where it is.
    pub reach: Reach,
    /// It is spoken to over TLS (`rediss://`), and so are its sentinels.
    pub tls: bool,
    /// The number of its database; a cluster has only 0.
    pub database: i64,
    /// Who the gateway is to it; none: the user `default`.
    pub user: Option<String>,
    /// Read again whenever a connection is made.
    pub password: Option<Secret>,
    /// Who the gateway is to sentinels; none: the user `default`.
    pub sentinel_user: Option<String>,
    /// The password for sentinels, read as the other one; none: they ask for none.
    pub sentinel_password: Option<Secret>,
    /// PEM file of the authority that signed its certificate; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a certificate for it, and of its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// How long a request waits for an answer, at most.
    pub deadline: Duration,
    /// What every key begins with.
    pub prefix: String,
}

impl Redis {
    /// The files that connections are made with, each with its key.
    pub fn files(&self) -> Vec<(String, &Path)> {
        let servers = [("redis", Some(&self.main)), ("redis.cache", self.cache.as_ref())];
        let servers = servers.into_iter().filter_map(|(name, server)| Some((name, server?)));
        servers
            .flat_map(|(name, server)| server.files().map(move |(key, file)| (format!("[{name}] {key}"), file)))
            .collect()
    }
}

impl Server {
    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let cert = self.client_cert.as_ref();
        let all = [
            ("password", file_of(self.password.as_ref())),
            ("sentinel_password", file_of(self.sentinel_password.as_ref())),
            ("ca_file", self.ca_file.as_deref()),
            ("client_cert", cert.map(|(cert, _)| cert.as_path())),
            ("client_key", cert.map(|(_, key)| key.as_path())),
        ];
        all.into_iter().filter_map(|(key, file)| Some((key, file?)))
    }
}

/// Where a secret is read from, if that is a file.
fn file_of(secret: Option<&Secret>) -> Option<&Path> {
    match secret? {
        Secret::File(path) => Some(path),
        Secret::Text(_) => None,
    }
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At one address.
    Address(Node),
    /// At the path of a Unix socket.
    Unix(PathBuf),
    /// Where sentinels say that the master of this name is.
    Sentinels(Vec<Node>, String),
    /// At the nodes of a cluster, of which these are some.
    Cluster(Vec<Node>),
}

/// A host with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where it is, in one line without credentials: for logs and admin.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let list = |nodes: &[Node]| nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(",");
        match &self.reach {
            Reach::Address(node) => write!(f, "{scheme}://{node}/{}", self.database),
            Reach::Unix(path) => write!(f, "unix://{}", path.display()),
            Reach::Sentinels(nodes, master) => write!(f, "{scheme}://{} (sentinels of {master})", list(nodes)),
            Reach::Cluster(nodes) => write!(f, "{scheme}://{} (cluster)", list(nodes)),
        }
    }
}
