//! The side door: what the gateway knows, as JSON, for people with curl and for programs.

mod cache;
mod config;
mod limits;
mod metrics;
mod services;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::catalog::DiscoveryStatus;
use crate::config::watch::Status;
use crate::filter::cache::Cache;
use crate::plane::{Errand, Pulse};
use crate::snapshot::Current;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Recorder;

/// What admin reads.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Where snapshots are published.
    pub current: Current,
    /// Stored answers.
    pub cache: Arc<Cache>,
    /// How discovery fares.
    pub discovery: watch::Receiver<Arc<DiscoveryStatus>>,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// How the configuration fares.
    pub config: watch::Receiver<Status>,
    /// Requests that no route claims.
    pub unrouted: Arc<Recorder>,
    /// Where access lines go, if any are wanted.
    pub access: Option<AccessLog>,
}

/// Answers errands, one after the other, until nobody can send any.
pub async fn serve(sources: Sources, mut errands: mpsc::Receiver<Errand>) {
    while let Some(errand) = errands.recv().await {
        let response = answer(&sources, &errand.request);
        if !matches!(*errand.request.method(), Method::GET | Method::HEAD) {
            tracing::info!(consumer = errand.consumer, "{} {}", errand.request.method(), errand.request.uri().path());
        }
        let _ = errand.reply.send(response);
    }
}

fn answer(sources: &Sources, request: &Request<Bytes>) -> Response<Bytes> {
    let query = Query(request.uri().query().unwrap_or_default());
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let write = *request.method() == Method::POST;
    match (request.uri().path(), read, write) {
        ("/admin" | "/admin/", true, _) => page(&json!({ "pages": PAGES })),
        ("/admin/services", true, _) => page(&services::page(sources, query.get("service").as_deref())),
        ("/admin/rate-limits", true, _) => page(&limits::page(sources, query.get("consumer").as_deref())),
        ("/admin/rate-limits/reset", _, true) => limits::reset(sources, &query),
        ("/admin/cache", true, _) => page(&cache::page(sources)),
        ("/admin/cache/clear", _, true) => cache::clear(sources, &query),
        ("/admin/config", true, _) => page(&config::page(sources)),
        ("/admin/metrics", true, _) => metrics::page(sources),
        (path, ..) if PAGES.iter().any(|known| known.split(' ').nth(1).is_some_and(|p| p.starts_with(path))) => {
            status(StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// What there is, for whoever asks for `/admin`.
const PAGES: [&str; 7] = [
    "GET /admin/services?service=NAME",
    "GET /admin/rate-limits?consumer=NAME",
    "POST /admin/rate-limits/reset?consumer=NAME or ?address=IP",
    "GET /admin/cache",
    "POST /admin/cache/clear?service=NAME&path=PREFIX",
    "GET /admin/config",
    "GET /admin/metrics",
];

/// A query's parameters.
struct Query<'a>(&'a str);

impl Query<'_> {
    /// The first value of a name, percent-decoded.
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// Names that nobody understands: a clear with a misspelt filter would clear everything.
    fn unknown(&self, known: &[&str]) -> Option<&str> {
        let mut names = self.0.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        names.find(|name| !name.is_empty() && !known.contains(name))
    }
}

fn page(words: &Value) -> Response<Bytes> {
    let mut text = serde_json::to_vec_pretty(words).expect("JSON values are JSON");
    text.push(b'\n');
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// What a request for a page lacks, in a sentence.
fn wrong(detail: &str) -> Response<Bytes> {
    let mut response = page(&json!({ "error": detail }));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
