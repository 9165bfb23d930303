//! One request to the agent: its address, TLS, token, deadline and size; the only file that knows reqwest.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity, Response, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::discovery::Error;

/// No answer of the agent may be larger: 50,000 instances are about half of it.
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

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A sentence for the operator.
    pub(crate) reason: String,
    /// The agent understood and said no (403, 404): asking again at once will not help.
    pub(crate) definitive: bool,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), definitive: false }
    }
}

/// The way to the agent: as many lanes as connections are allowed.
#[derive(Debug)]
pub(crate) struct Client {
    base: Url,
    unix: Option<std::path::PathBuf>,
    roots: Option<Vec<Certificate>>,
    identity: Option<Identity>,
    token: Option<config::Secret>,
    scope: Vec<(&'static str, String)>,
    lanes: Arc<Semaphore>,
    rested: Mutex<Vec<reqwest::Client>>,
}

/// The right to one connection, and the connection while it rests.
///
/// Each lane has a pool of its own: a shared one opens connections in advance, races them against those that come
/// back, and so exceeds any budget while the catalog fills.
#[derive(Debug)]
pub(crate) struct Lane {
    home: Arc<Client>,
    http: Option<reqwest::Client>,
    permit: Option<OwnedSemaphorePermit>,
    /// A request was begun and did not come to its end: its connection is about to be closed.
    broken: bool,
}

impl Client {
    /// Reads the certificates and checks the address; connects to nothing.
    pub(crate) fn new(config: &config::Consul, lanes: usize) -> Result<Client, Error> {
        let (address, unix) = match config.address.strip_prefix("unix://") {
            Some(path) => ("http://localhost", Some(path.into())),
            None => (config.address.as_str(), None),
        };
        let refused = |why: &dyn std::fmt::Display| Error(format!("consul.address `{}`: {why}", config.address));
        let base = Url::parse(address).map_err(|e| refused(&e))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(refused(&"expected http://host:port, https://host:port or unix:///path"));
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
            rested: Mutex::default(),
        };
        let first = client.connector().map_err(|e| Error(format!("consul: {}", in_words(&e))))?;
        client.rested.lock().push(first);
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
        let http = self.rested.lock().pop();
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
            // The system's roots take milliseconds to load, for every lane, and plain HTTP needs none.
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
        let asked = tokio::time::timeout(deadline, self.ask(path, query)).await;
        // A connection that came to rest, or must be closed, is handled by its own task: let that one run, or the next
        // request would find the connection still taken and open another.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let answer = asked.unwrap_or_else(|_| Err(Failure::new(format!("no answer within {deadline:?}"))));
        self.broken = answer.is_err();
        answer
    }

    async fn ask(&mut self, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let failed = |e: reqwest::Error| Failure::new(format!("{path}: {}", in_words(&e.without_url())));
        let http = match self.http.take() {
            Some(http) => http,
            None => self.home.connector().map_err(failed)?,
        };
        let http = &*self.http.insert(http);
        let mut request = http.get(self.home.url(path, query));
        if let Some(token) = &self.home.token {
            // Read for each request: files are rotated.
            let token = token.read().map_err(|e| Failure::new(format!("the token cannot be read: {e}")))?;
            let token = HeaderValue::try_from(token);
            let mut token = token.map_err(|_| Failure::new("the token holds characters that no header may hold"))?;
            token.set_sensitive(true);
            request = request.header("X-Consul-Token", token);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let index = header("x-consul-index").and_then(|value| value.parse().ok());
        let known_leader = header("x-consul-knownleader").and_then(|value| value.parse().ok());
        if !status.is_success() {
            let body = body(response, LARGEST).await.unwrap_or_default();
            let said: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
            let reason = format!("the agent answers {path} with {status}: {said}");
            return Err(Failure { reason, definitive: status.is_client_error() && status.as_u16() != 429 });
        }
        Ok(Answer { index, known_leader, body: body(response, LARGEST).await? })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (home, http, permit, broken) = (self.home.clone(), self.http.take(), self.permit.take(), self.broken);
        let give_back = move || {
            home.rested.lock().extend(http);
            drop(permit);
        };
        match tokio::runtime::Handle::try_current() {
            // The connection of an aborted request is closed by a task of its own. Only then is the lane free.
            Ok(runtime) if broken => drop(runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                give_back();
            })),
            _ => give_back(),
        }
    }
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

fn roots(path: &std::path::Path) -> Result<Vec<Certificate>, Error> {
    let refused = |why: &dyn std::fmt::Display| Error(format!("consul's CA file {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|e| refused(&e))?;
    let roots = Certificate::from_pem_bundle(&pem).map_err(|e| refused(&in_words(&e)))?;
    if roots.is_empty() { Err(refused(&"holds no certificate")) } else { Ok(roots) }
}

fn identity(cert: &std::path::Path, key: &std::path::Path) -> Result<Identity, Error> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|e| Error(format!("consul's client certificate {}: {e}", path.display())))
    };
    let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
    Identity::from_pem(&pem)
        .map_err(|e| Error(format!("consul's client certificate {}: {}", cert.display(), in_words(&e))))
}

/// The error with its causes: reqwest's own sentence leaves out "connection refused".
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
