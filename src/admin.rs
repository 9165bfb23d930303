//! The side door: what the gateway knows, as JSON, for people with curl and for programs.

mod services;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::catalog::DiscoveryStatus;
use crate::plane::{Errand, Pulse};
use crate::snapshot::Current;

/// What admin reads.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Where snapshots are published.
    pub current: Current,
    /// How discovery fares.
    pub discovery: watch::Receiver<Arc<DiscoveryStatus>>,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
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
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/admin" | "/admin/" if read => page(&json!({ "pages": ["/admin/services", "/admin/services?service=NAME"] })),
        "/admin/services" if read => {
            let only =
                request.uri().query().and_then(|query| query.split('&').find_map(|p| p.strip_prefix("service=")));
            page(&services::page(sources, only))
        }
        "/admin" | "/admin/" | "/admin/services" => status(StatusCode::METHOD_NOT_ALLOWED),
        _ => status(StatusCode::NOT_FOUND),
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
