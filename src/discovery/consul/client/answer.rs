//! What the agent answers, and why there is no answer.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use reqwest::Response;
use tokio::time::Instant;

/// The most bytes of an answer: about twice what 50,000 instances take.
const LARGEST: usize = 64 << 20;

/// How long an answer's body may take, and how many bytes buy it another second.
const BODY: (Duration, usize) = (Duration::from_secs(5), 512 << 10);

/// A usable answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `X-Consul-Index`.
    pub(crate) index: Option<u64>,
    /// `X-Consul-KnownLeader`; absent on streamed answers, which is not false.
    pub(crate) known_leader: Option<bool>,
    /// `X-Consul-LastContact`: how long the server that answered has not heard of its leader.
    pub(crate) last_contact: Duration,
    /// `X-Consul-Results-Filtered-By-ACLs` (from 1.11): there is more than this token may see.
    pub(crate) filtered: bool,
    /// `X-Consul-Query-Backend: streaming`.
    pub(crate) streamed: bool,
    /// `Date`: the agent's clock.
    pub(crate) date: Option<SystemTime>,
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
    /// The status of its answer, where there was one.
    pub(crate) status: Option<u16>,
    /// The agent closed a connection that it had taken, before it answered: it may have too many of them.
    pub(crate) dropped: bool,
}

impl Failure {
    pub(crate) const UNREACHABLE: &str = "the agent cannot be reached";
    pub(crate) const LATE: &str = "the agent does not answer in time";
    pub(crate) const REFUSED: &str = "the agent refuses what it is asked";
    pub(crate) const FAILING: &str = "the agent answers with an error";
    pub(crate) const TOKEN: &str = "the agent's token cannot be used";
    pub(crate) const NOT_UNDERSTOOD: &str = "the agent's answer is not understood";
    /// The connection ended while the query waited at the agent: it may be asked again at once.
    pub(crate) const CUT: &str = "the agent ends queries that wait";

    pub(super) fn new(kind: &'static str, reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), kind, definitive: false, status: None, dropped: false }
    }

    /// A watch of ours that panicked.
    pub(crate) fn panicked() -> Failure {
        Failure::new("a watch of the gateway's failed", "its watch failed; the log says why")
    }

    /// An answer that cannot be read.
    pub(crate) fn not_understood(reason: String) -> Failure {
        Failure::new(Failure::NOT_UNDERSTOOD, reason)
    }

    /// No answer within this time.
    pub(super) fn late(deadline: Duration) -> Failure {
        Failure::new(Failure::LATE, format!("no answer within {deadline:?}"))
    }

    /// Why a request for a path did not come to an answer.
    pub(super) fn unreachable(path: &str, error: reqwest::Error) -> Failure {
        let dropped = !error.is_connect() && !error.is_timeout();
        let reason = format!("{path}: {}", in_words(&error.without_url()));
        Failure { dropped, ..Failure::new(Failure::UNREACHABLE, reason) }
    }

    /// The same, where the agent may have wanted a certificate that we do not have.
    pub(super) fn of_no_certificate(self) -> Failure {
        let reason =
            format!("{}; it may ask for a client's certificate, and consul.client_cert is not set", self.reason);
        Failure { reason, ..self }
    }

    /// Whether the agent may not take as many connections as we have (429, or it closes what is too much:
    /// <https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general#http_max_conns_per_client>).
    pub(crate) fn is_of_too_many(&self) -> bool {
        self.kind != Failure::CUT && (self.dropped || self.status == Some(429))
    }
}

/// Reads an answer whose head has come.
pub(super) async fn read(path: &str, response: Response) -> Result<Answer, Failure> {
    let status = response.status();
    if !status.is_success() {
        let body = body(response).await.unwrap_or_default();
        // It goes to logs and terminals.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let text: String = String::from_utf8_lossy(&body).trim().chars().take(200).map(plain).collect();
        let reason = format!("the agent answers {path} with {status}: {text}");
        let definitive = status.is_client_error() && status.as_u16() != 429;
        let kind = if definitive { Failure::REFUSED } else { Failure::FAILING };
        return Err(Failure { reason, kind, definitive, status: Some(status.as_u16()), dropped: false });
    }
    Ok(Answer {
        index: header(&response, "x-consul-index"),
        known_leader: header(&response, "x-consul-knownleader"),
        last_contact: Duration::from_millis(header(&response, "x-consul-lastcontact").unwrap_or(0)),
        filtered: header(&response, "x-consul-results-filtered-by-acls").unwrap_or(false),
        streamed: header::<String>(&response, "x-consul-query-backend").is_some_and(|backend| backend == "streaming"),
        date: header::<String>(&response, "date").and_then(|date| httpdate::parse_http_date(&date).ok()),
        body: body(response).await?,
    })
}

/// A header's value, if it can be read.
fn header<T: FromStr>(response: &Response, name: &str) -> Option<T> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| Failure::new(Failure::UNREACHABLE, in_words(&error.without_url()));
    let slow = |_| Failure::new(Failure::LATE, "an answer's body comes too slowly, or does not end");
    let begun = Instant::now();
    loop {
        let deadline = begun + BODY.0 + Duration::from_secs((body.len() / BODY.1) as u64);
        let chunk = tokio::time::timeout_at(deadline, response.chunk()).await.map_err(slow)?;
        let Some(chunk) = chunk.map_err(broken)? else { return Ok(body) };
        if body.len() + chunk.len() > LARGEST {
            return Err(Failure::not_understood(format!("the answer is larger than {} MiB", LARGEST >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
}

/// An error with its causes: reqwest's own text leaves out that a connection was refused.
pub(super) fn in_words(error: &reqwest::Error) -> String {
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
