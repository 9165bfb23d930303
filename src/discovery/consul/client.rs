//! One request to an agent: bounded in time and size, its body included, and within the budget of connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Identity, StatusCode};
use tokio::sync::Semaphore;

use crate::config::{self, Secret};

/// The largest answer that is read: 5,000 instances with their checks are about 20 MiB.
const LARGEST: usize = 64 << 20;

/// Beyond the wait that was asked for (and Consul's own wait/16 of jitter), an answer may take this long.
const SLACK: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// The CA file, or the client's certificate or key.
    Certificate(String),
    /// The token's file cannot be read.
    Token(std::io::Error),
    /// No connection, or it broke.
    Connection(String),
    /// Nothing in time.
    Timeout,
    /// Not 200, with the beginning of what was said.
    Status(StatusCode, String),
    /// More than we read.
    TooLarge,
    /// Not the JSON that was expected.
    Json(serde_json::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Certificate(what) => write!(f, "TLS to the agent: {what}"),
            Error::Token(error) => write!(f, "the token's file cannot be read: {error}"),
            Error::Connection(what) => write!(f, "no connection to the agent: {what}"),
            Error::Timeout => f.write_str("the agent did not answer in time"),
            Error::Status(status, said) if *status == StatusCode::FORBIDDEN => {
                write!(f, "the agent says 403 ({said}): the token is missing, unknown or lacks a policy")
            }
            Error::Status(status, said) => write!(f, "the agent says {status} ({said})"),
            Error::TooLarge => write!(f, "the agent's answer is larger than {} MiB", LARGEST >> 20),
            Error::Json(error) => write!(f, "the agent's answer is not what was expected: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// An agent's answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// `X-Consul-Index`; 0 when it had none.
    pub(super) index: u64,
    pub(super) body: Vec<u8>,
}

/// How long a query may block at the agent, and from which index on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    pub(super) index: u64,
    pub(super) wait: Duration,
}

/// The way to an agent.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    scope: String,
    places: Arc<Semaphore>,
    pub(super) slots: usize,
}

impl Client {
    pub(super) fn new(config: &config::Consul) -> Result<Client, Error> {
        // A pool may open a connection more than it has requests (it races a new one against one that comes back), so
        // some of the budget is kept as a margin.
        let slots = (config.connections - config.connections / 8 - 1).max(2);
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_max_idle_per_host(slots)
            .pool_idle_timeout(Duration::from_secs(5))
            .tcp_keepalive(Duration::from_secs(15))
            .connect_timeout(Duration::from_secs(5));
        let base = match config.address.strip_prefix("unix://") {
            Some(path) => {
                builder = builder.unix_socket(path);
                "http://localhost".to_owned()
            }
            None => config.address.clone(),
        };
        if let Some(path) = &config.ca_file {
            let pem = readable(path)?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(path, &e))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((certificate, key)) = &config.client_cert {
            let pem = [readable(certificate)?, b"\n".to_vec(), readable(key)?].concat();
            builder = builder.identity(Identity::from_pem(&pem).map_err(|e| unusable(certificate, &e))?);
        }
        let http = builder.build().map_err(|e| Error::Certificate(chain(&e)))?;
        let named = [("ns", &config.namespace), ("partition", &config.partition)];
        let scope =
            named.iter().filter_map(|(key, value)| Some(format!("&{key}={}", escape(value.as_deref()?)))).collect();
        let places = Arc::new(Semaphore::new(slots));
        Ok(Client { http, base, token: config.token.clone(), scope, places, slots })
    }

    /// A read; a stale one unless it is the agent's own. `path` begins with `/v1/` and has no query.
    pub(super) async fn get(&self, path: &str, block: Block) -> Result<Answer, Error> {
        let mut url = format!("{}{path}?stale{}", self.base, self.scope);
        if block.index > 0 {
            url += &format!("&index={}&wait={}ms", block.index, block.wait.as_millis());
        }
        let _place = self.places.acquire().await.expect("the semaphore is never closed");
        let deadline = block.wait + block.wait / 16 + SLACK;
        let mut request = self.http.get(url).timeout(deadline);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token.read().map_err(Error::Token)?);
        }
        let mut response = request.send().await.map_err(|e| failed(&e))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(&e))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Error::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        if response.status() != StatusCode::OK {
            let said: String = String::from_utf8_lossy(&body).trim().chars().take(120).collect();
            return Err(Error::Status(response.status(), said));
        }
        Ok(Answer { index: index(response.headers()), body })
    }
}

fn index(headers: &HeaderMap) -> u64 {
    headers.get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn failed(error: &reqwest::Error) -> Error {
    if error.is_timeout() && !error.is_connect() { Error::Timeout } else { Error::Connection(chain(error)) }
}

/// An error's whole story in one line: reqwest's own text says only the outermost part.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

fn readable(path: &std::path::Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Certificate(format!("{}: {error}", path.display())))
}

fn unusable(path: &std::path::Path, error: &reqwest::Error) -> Error {
    Error::Certificate(format!("{}: {}", path.display(), chain(error)))
}

/// Percent-encodes what does not fit a query's value or a path's segment.
pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
