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
        (path, ..) => other_method(path),
    }
}

/// A page that is read, and was written to, or the other way round; or none at all.
fn other_method(path: &str) -> Response<Bytes> {
    let known = PAGES.iter().filter_map(|page| page.split_once(' '));
    let mut known = known.filter(|(_, page)| page.split('?').next() == Some(path)).map(|(method, _)| method);
    let allow = match known.next() {
        None => return status(StatusCode::NOT_FOUND),
        Some("GET") => "GET, HEAD",
        Some(_) => "POST",
    };
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
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

    /// What is wrong with it: a clear with a misspelt filter, or one without a value, would clear everything.
    fn wrong(&self, known: &[&str]) -> Option<String> {
        let there = || known.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join(" and ");
        self.0.split('&').filter(|pair| !pair.is_empty()).find_map(|pair| match pair.split_once('=') {
            Some((name, value)) if known.contains(&name) && !value.is_empty() => None,
            _ => Some(format!("`{pair}` is not understood: there are {}", there())),
        })
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
