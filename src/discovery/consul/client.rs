//! Requests to the agent: its address, TLS, token, deadlines and sizes. Discovery's only file that knows reqwest.

use std::net::IpAddr;
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
    /// A sentence for the operator.
    pub(crate) reason: String,
    /// The agent refused (403, 404): asking again at once will not help.
    pub(crate) definitive: bool,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), definitive: false }
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
        let (address, unix) = match config.address.strip_prefix("unix://") {
            Some(path) => ("http://localhost", Some(path.into())),
            None => (config.address.as_str(), None),
        };
        let base = Url::parse(address).map_err(|why| Error(format!("consul.address `{}`: {why}", config.address)))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            let wanted = "expected http://host:port, https://host:port or unix:///path";
            return Err(Error(format!("consul.address `{}`: {wanted}", config.address)));
        }
        let scoped = [("ns", &config.namespace), ("partition", &config.partition)];
        let client = Client {
            base,
            unix,
            roots: config.ca_file.as_deref().map(roots).transpose()?,
            identity: config.client_cert.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?,
            token: config.token.clone(),
            scope: scoped.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
            lanes: Arc::new(Semaphore::new(lanes)),
            idle: Mutex::default(),
        };
        let first = client.connector().map_err(|e| Error(format!("consul: {}", in_words(&e))))?;
        client.idle.lock().push(first);
        Ok(client)
    }

    /// Whether the agent is on this host, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let ip = host.parse::<IpAddr>().map(|ip| ip.to_canonical());
        self.unix.is_some() || host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
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
        let answer = result.unwrap_or_else(|_| Err(Failure::new(format!("no answer within {deadline:?}"))));
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
            let token = token.read().map_err(|e| Failure::new(format!("the token cannot be read: {e}")))?;
            let token = HeaderValue::try_from(token);
            let mut token = token.map_err(|_| Failure::new("the token holds characters that no header may hold"))?;
            token.set_sensitive(true);
            request = request.header("X-Consul-Token", token);
        }
        let response = request.send().await.map_err(|error| failed(path, error))?;
        let status = response.status();
        let index = header(&response, "x-consul-index");
        let known_leader = header(&response, "x-consul-knownleader");
        if !status.is_success() {
            let body = body(response, LARGEST).await.unwrap_or_default();
            let text: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
            let reason = format!("the agent answers {path} with {status}: {text}");
            return Err(Failure { reason, definitive: status.is_client_error() && status.as_u16() != 429 });
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

/// Why a request for a path did not come to an answer.
fn failed(path: &str, error: reqwest::Error) -> Failure {
    Failure::new(format!("{path}: {}", in_words(&error.without_url())))
}

/// A header's value, if it can be read.
fn header<T: FromStr>(response: &Response, name: &str) -> Option<T> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

async fn body(mut response: Response, largest: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::new(in_words(&e.without_url())))? {
        if body.len() + chunk.len() > largest {
            return Err(Failure::new(format!("the answer is larger than {} MiB", largest >> 20)));
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
