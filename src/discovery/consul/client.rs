//! Requests to the agent: its address, TLS, token, deadlines and sizes. Discovery's only file that knows reqwest.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity, Response, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::discovery::provider::Error;

/// The most bytes of an answer: about twice what 50,000 instances take.
const LARGEST: usize = 64 << 20;

/// The most addresses of an agent that are remembered.
const MOST_FOUND: usize = 256;

/// A usable answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `X-Consul-Index`.
    pub(crate) index: Option<u64>,
    /// `X-Consul-KnownLeader`; absent on streamed answers, which is not false.
    pub(crate) known_leader: Option<bool>,
    /// The JSON.
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A sentence for the operator. It may hold what the agent said: names, and ids of tokens.
    pub(crate) reason: String,
    /// Which kind of failure it is, in words that anybody may read.
    pub(crate) kind: &'static str,
    /// The agent refused (403, 404): asking again at once will not help.
    pub(crate) definitive: bool,
}

impl Failure {
    pub(crate) const UNREACHABLE: &str = "the agent cannot be reached";
    pub(crate) const LATE: &str = "the agent does not answer in time";
    pub(crate) const REFUSED: &str = "the agent refuses what it is asked";
    pub(crate) const FAILING: &str = "the agent answers with an error";
    const TOKEN: &str = "the agent's token cannot be used";
    pub(crate) const NOT_UNDERSTOOD: &str = "the agent's answer is not understood";

    fn new(kind: &'static str, reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), kind, definitive: false }
    }

    /// A watch of ours that panicked.
    pub(crate) fn panicked() -> Failure {
        Failure::new("a watch of the gateway's failed", "its watch failed; the log says why")
    }

    /// An answer that cannot be read.
    pub(crate) fn not_understood(reason: String) -> Failure {
        Failure::new(Failure::NOT_UNDERSTOOD, reason)
    }
}

/// The agent: as many lanes lead to it as connections are allowed.
#[derive(Debug)]
pub(crate) struct Client {
    base: Url,
    unix: Option<std::path::PathBuf>,
    roots: Option<Vec<Certificate>>,
    identity: Option<Identity>,
    token: Option<config::Secret>,
    scope: Vec<(&'static str, String)>,
    lanes: Arc<Semaphore>,
    /// Where the agent was found: the address of its configuration, and those that connections led to.
    found: Mutex<BTreeSet<SocketAddr>>,
    /// Connections of lanes that are free.
    idle: Mutex<Vec<reqwest::Client>>,
}

/// The right to one connection, with that connection.
///
/// Each lane has a pool of reqwest's to itself. A pool for all would open connections in advance and race them against
/// those that become free, and so exceed any budget while the catalog fills.
#[derive(Debug)]
pub(crate) struct Lane {
    home: Arc<Client>,
    http: Option<reqwest::Client>,
    permit: Option<OwnedSemaphorePermit>,
    /// A request was begun and has not ended well: its connection is about to be closed.
    broken: bool,
}

impl Client {
    /// Reads the certificates and checks the address; connects to nothing.
    pub(crate) fn new(config: &config::Consul, lanes: usize) -> Result<Client, Error> {
        let (address, unix) = match config.addresses[0].strip_prefix("unix://") {
            Some(path) => ("http://localhost", Some(path.into())),
            None => (config.addresses[0].as_str(), None),
        };
        let base =
            Url::parse(address).map_err(|why| Error(format!("consul.address `{}`: {why}", config.addresses[0])))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            let wanted = "expected http://host:port, https://host:port or unix:///path";
            return Err(Error(format!("consul.address `{}`: {wanted}", config.addresses[0])));
        }
        let known = base.host_str().and_then(ip).zip(base.port_or_known_default()).filter(|_| unix.is_none());
        let scoped = [("ns", &config.namespace), ("partition", &config.partition)];
        let client = Client {
            base,
            unix,
            roots: config.ca_file.as_deref().map(roots).transpose()?,
            identity: config.client_cert.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?,
            token: config.token.clone(),
            scope: scoped.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
            lanes: Arc::new(Semaphore::new(lanes)),
            found: Mutex::new(known.map(SocketAddr::from).into_iter().collect()),
            idle: Mutex::default(),
        };
        let first = client.connector().map_err(|e| Error(format!("consul: {}", in_words(&e))))?;
        client.idle.lock().push(first);
        Ok(client)
    }

    /// Whether the agent is on this host, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        self.unix.is_some() || host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback())
    }

    /// Where the agent was found so far.
    pub(crate) fn found(&self) -> BTreeSet<SocketAddr> {
        self.found.lock().clone()
    }

    /// Looks up where the agent's name leads to, if it is known by name: each of its addresses is the agent's.
    pub(crate) async fn look_up(&self) {
        let Some((host, port)) = self.base.host_str().zip(self.base.port_or_known_default()) else { return };
        if self.unix.is_none() && ip(host).is_none() {
            let led = tokio::net::lookup_host((host, port)).await;
            led.into_iter().flatten().for_each(|address| self.found_at(address));
        }
    }

    /// Notes where a connection to the agent led to. A name may lead to many addresses in turn: the first ones count.
    fn found_at(&self, address: SocketAddr) {
        let mut found = self.found.lock();
        if found.len() < MOST_FOUND {
            found.insert(SocketAddr::new(address.ip().to_canonical(), address.port()));
        }
    }

    /// Whether a token is configured.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Waits for a free lane: first come, first served.
    pub(crate) async fn lane(self: &Arc<Client>) -> Lane {
        let permit = self.lanes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let http = self.idle.lock().pop();
        Lane { home: self.clone(), http, permit: Some(permit), broken: false }
    }

    fn connector(&self) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .user_agent(concat!("lictor/", env!("CARGO_PKG_VERSION")));
        builder = match (&self.roots, self.base.scheme()) {
            (Some(roots), _) => builder.tls_certs_only(roots.clone()),
            // Plain HTTP needs no roots, and to load those of the system takes milliseconds for every lane.
            (None, "http") => builder.tls_certs_only([]),
            (None, _) => builder,
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if let Some(path) = &self.unix {
            builder = builder.unix_socket(path.as_path());
        }
        builder.build()
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let scope = self.scope.iter().map(|(key, value)| (*key, value));
        url.query_pairs_mut().extend_pairs(query.iter().map(|(key, value)| (*key, value)).chain(scope));
        url
    }
}

impl Lane {
    /// Asks once. The deadline covers everything, from the connect to the last byte.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        deadline: Duration,
    ) -> Result<Answer, Failure> {
        self.broken = true;
        let result = tokio::time::timeout(deadline, self.ask(path, query)).await;
        // The connection becomes free, or is closed, by a task of its own. That task must run first: else the next request
        // would find the connection still in use and open another.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let late = || Failure::new(Failure::LATE, format!("no answer within {deadline:?}"));
        let answer = result.unwrap_or_else(|_| Err(late()));
        self.broken = answer.is_err();
        answer
    }

    async fn ask(&mut self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let http = match self.http.take() {
            Some(http) => http,
            None => self.home.connector().map_err(|error| failed(path, error))?,
        };
        let http = &*self.http.insert(http);
        let mut request = http.get(self.home.url(path, query));
        if let Some(token) = &self.home.token {
            // A token's file is read for each request, because it may have been rotated.
            let odd = |why: String| Failure::new(Failure::TOKEN, why);
            let token = token.read().map_err(|e| odd(format!("the token cannot be read: {e}")))?;
            let token = HeaderValue::try_from(token);
            let mut token = token.map_err(|_| odd("the token holds characters that no header may hold".into()))?;
            token.set_sensitive(true);
            request = request.header("X-Consul-Token", token);
        }
        let response = request.send().await.map_err(|error| failed(path, error))?;
        if let Some(address) = response.remote_addr() {
            self.home.found_at(address);
        }
        let status = response.status();
        let index = header(&response, "x-consul-index");
        let known_leader = header(&response, "x-consul-knownleader");
        if !status.is_success() {
            let body = body(response, LARGEST).await.unwrap_or_default();
            // It goes to logs and terminals.
            let plain = |c: char| if c.is_control() { ' ' } else { c };
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(200).map(plain).collect();
            let reason = format!("the agent answers {path} with {status}: {text}");
            let definitive = status.is_client_error() && status.as_u16() != 429;
            let kind = if definitive { Failure::REFUSED } else { Failure::FAILING };
            return Err(Failure { reason, kind, definitive });
        }
        Ok(Answer { index, known_leader, body: body(response, LARGEST).await? })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (home, http, permit, broken) = (self.home.clone(), self.http.take(), self.permit.take(), self.broken);
        let give_back = move || {
            home.idle.lock().extend(http);
            drop(permit);
        };
        match tokio::runtime::Handle::try_current() {
            // The connection of an aborted request is closed by a task of its own, which must have run before the lane is
            // free: else there would be one connection too many for a moment.
            Ok(runtime) if broken => drop(runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                give_back();
            })),
            _ => give_back(),
        }
    }
}

/// The IP address that a host of a URL is, if it is none by name.
fn ip(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Why a request for a path did not come to an answer.
fn failed(path: &str, error: reqwest::Error) -> Failure {
    Failure::new(Failure::UNREACHABLE, format!("{path}: {}", in_words(&error.without_url())))
}

/// A header's value, if it can be read.
fn header<T: FromStr>(response: &Response, name: &str) -> Option<T> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

async fn body(mut response: Response, largest: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| Failure::new(Failure::UNREACHABLE, in_words(&error.without_url()));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > largest {
            return Err(Failure::not_understood(format!("the answer is larger than {} MiB", largest >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The CA's certificates of a file.
fn roots(path: &Path) -> Result<Vec<Certificate>, Error> {
    let read = || {
        let pem = std::fs::read(path).map_err(|error| error.to_string())?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|error| in_words(&error))?;
        if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(roots) }
    };
    read().map_err(|why| Error(format!("consul's CA file {}: {why}", path.display())))
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

/// An error with its causes: reqwest's own text leaves out that a connection was refused.
fn in_words(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = inner.source();
    }
    words
}
