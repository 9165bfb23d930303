//! How the agent is reached: its address, TLS with its certificates, and our credentials.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity, Url};

use super::answer::{Failure, in_words};
use crate::config;
use crate::discovery::provider::Error;

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before the other end is asked whether it is there, how often it is asked, and how many
/// answers may be missing. It is what tells a connection whose other end vanished without a word from a query that waits.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// How long what was written may stay unacknowledged (`TCP_USER_TIMEOUT`, tcp(7)).
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// The way to one agent.
#[derive(Debug)]
pub(crate) struct Connector {
    /// As configured.
    address: String,
    base: Url,
    unix: Option<PathBuf>,
    roots: Option<Vec<Certificate>>,
    identity: Option<Identity>,
    verify: bool,
    /// The name of the agent's certificate, where it is another than its host, and that host with its port.
    named: Option<(String, String, u16)>,
    token: Option<config::Secret>,
    basic: Option<config::Secret>,
}

/// Looks up the agent's own host and port where the URL of a request has the name of the agent's certificate instead.
struct Elsewhere(String, u16);

impl Connector {
    /// Reads the certificates and checks the address; connects to nothing.
    pub(crate) fn new(config: &config::Consul, configured: &str) -> Result<Connector, Error> {
        let (address, unix) = match configured.strip_prefix("unix://") {
            Some(path) => ("http://localhost", Some(path.into())),
            None => (configured, None),
        };
        let mut base = Url::parse(address).map_err(|why| Error(format!("consul.address `{configured}`: {why}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            let wanted = "expected http://host:port, https://host:port or unix:///path";
            return Err(Error(format!("consul.address `{configured}`: {wanted}")));
        }
        let mut named = None;
        if let (Some(name), "https") = (&config.tls_server_name, base.scheme()) {
            let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            named = base.port_or_known_default().map(|port| (name.clone(), host, port));
            let odd = |_| Error(format!("consul.tls_server_name `{name}` is no host name"));
            base.set_host(Some(name)).map_err(odd)?;
        }
        Ok(Connector {
            address: configured.to_owned(),
            base,
            unix,
            roots: roots(config)?,
            identity: config.client_cert.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?,
            verify: config.verify,
            named,
            token: config.token.clone(),
            basic: config.http_auth.clone(),
        })
    }

    /// The address as configured.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is reached over TLS, and so perhaps by HTTP/2.
    pub(crate) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// Whether an agent that asks for a certificate over TLS would get none.
    pub(crate) fn lacks_certificate(&self) -> bool {
        self.is_tls() && self.identity.is_none()
    }

    /// Whether the agent is on this host, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        let (host, _) = self.host();
        self.unix.is_some() || host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback())
    }

    /// Whether a token is configured.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Where connections go: host and port.
    fn host(&self) -> (&str, u16) {
        match &self.named {
            Some((_, host, port)) => (host, *port),
            None => (self.base.host_str().unwrap_or_default(), self.base.port_or_known_default().unwrap_or_default()),
        }
    }

    /// Where it is, if its address says so.
    pub(crate) fn known(&self) -> Option<SocketAddr> {
        let (host, port) = self.host();
        ip(host).filter(|_| self.unix.is_none()).map(|ip| SocketAddr::new(ip, port))
    }

    /// Every address that its name leads to, if it is known by name.
    pub(crate) async fn look_up(&self) -> Vec<SocketAddr> {
        let (host, port) = self.host();
        if self.unix.is_some() || ip(host).is_some() {
            return Vec::new();
        }
        let addresses = tokio::net::lookup_host((host, port)).await;
        addresses.into_iter().flatten().collect()
    }

    /// A client with connections of its own: one of HTTP/1.1 at a time, or with `multiplexed` one of HTTP/2 for many requests.
    pub(crate) fn client(&self, multiplexed: bool) -> reqwest::Result<reqwest::Client> {
        let (silence, interval, missing) = KEEP_ALIVE;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT)
            .tcp_keepalive(silence)
            .tcp_keepalive_interval(interval)
            .tcp_keepalive_retries(missing)
            .tcp_user_timeout(UNACKNOWLEDGED)
            .http2_keep_alive_interval(silence)
            .http2_keep_alive_timeout(interval * missing)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")));
        if multiplexed {
            builder = builder.http2_prior_knowledge();
        }
        builder = match (&self.roots, self.base.scheme()) {
            (Some(roots), _) => builder.tls_certs_only(roots.clone()),
            // Plain HTTP needs no roots, and to load those of the system takes milliseconds for every client.
            (None, "http") => builder.tls_certs_only([]),
            (None, _) => builder,
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if !self.verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if let Some((_, host, port)) = &self.named {
            builder = builder.dns_resolver(Elsewhere(host.clone(), *port));
        }
        if let Some(path) = &self.unix {
            builder = builder.unix_socket(path.as_path());
        }
        builder.build()
    }

    /// The URL of a path with a query.
    pub(crate) fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().extend_pairs(query.iter().map(|(key, value)| (*key, value)));
        url
    }

    /// The header fields that say who we are. Files are read each time, because they may have been rotated.
    pub(crate) fn credentials(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let sensitive = |text: String| {
            let odd = |_| Failure::new(Failure::TOKEN, "the token holds characters that no header may hold");
            let mut value = HeaderValue::try_from(text).map_err(odd)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let read = |secret: &config::Secret| {
            secret.read().map_err(|e| Failure::new(Failure::TOKEN, format!("the token cannot be read: {e}")))
        };
        if let Some(token) = &self.token {
            headers.insert("X-Consul-Token", sensitive(read(token)?)?);
        }
        if let Some(basic) = &self.basic {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(read(basic)?);
            headers.insert(AUTHORIZATION, sensitive(format!("Basic {text}"))?);
        }
        Ok(headers)
    }
}

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let (host, port) = (self.0.clone(), self.1);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The IP address that a host of a URL is, if it is none by name.
fn ip(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The CAs' certificates, of a file and of a directory; `None`: those of the system.
fn roots(config: &config::Consul) -> Result<Option<Vec<Certificate>>, Error> {
    if config.ca_file.is_none() && config.ca_path.is_none() {
        return Ok(None);
    }
    let mut files: Vec<PathBuf> = config.ca_file.iter().cloned().collect();
    if let Some(directory) = &config.ca_path {
        let unreadable = |why| Error(format!("consul's CA directory {}: {why}", directory.display()));
        for entry in std::fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            files.extend(path.is_file().then_some(path));
        }
    }
    let mut roots = Vec::new();
    for file in files {
        let read = || {
            let pem = std::fs::read(&file).map_err(|error| error.to_string())?;
            let found = Certificate::from_pem_bundle(&pem).map_err(|error| in_words(&error))?;
            if found.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(found) }
        };
        roots.extend(read().map_err(|why| Error(format!("consul's CA file {}: {why}", file.display())))?);
    }
    if roots.is_empty() {
        return Err(Error("consul.ca_path holds no certificate".into()));
    }
    Ok(Some(roots))
}

/// The client's certificate and key.
fn identity(cert: &Path, key: &Path) -> Result<Identity, Error> {
    let pem = [read_pem(cert)?, b"\n".to_vec(), read_pem(key)?].concat();
    Identity::from_pem(&pem)
        .map_err(|e| Error(format!("consul's client certificate {}: {}", cert.display(), in_words(&e))))
}

fn read_pem(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|e| Error(format!("consul's client certificate {}: {e}", path.display())))
}
