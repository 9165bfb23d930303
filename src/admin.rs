//! The admin pages: what the gateway knows, as JSON, for people with curl and for programs.

mod cache;
mod config;
mod limits;
mod metrics;
mod query;
mod response;
mod services;
mod sources;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::sync::mpsc;

use crate::pages::Index;
use crate::plane::Errand;
use crate::supervisor::caught;
use query::Query;
use response::json;

pub use sources::Sources;

/// What the supervisor calls whoever answers errands.
pub const TASK: &str = "admin";

/// Answers errands, one after the other, until nobody can send any. A page that panics is 500, and the next one is answered.
pub async fn serve(sources: &Sources, errands: &mut mpsc::Receiver<Errand>) {
    while let Some(errand) = errands.recv().await {
        let response = caught(|| answer(sources, &errand.request)).unwrap_or_else(|_| {
            sources.pulse.control.failed(TASK);
            response::status(StatusCode::INTERNAL_SERVER_ERROR)
        });
        if !matches!(*errand.request.method(), Method::GET | Method::HEAD) {
            tracing::info!(consumer = errand.consumer, "{} {}", errand.request.method(), errand.request.uri().path());
        }
        let _ = errand.reply.send(response);
    }
}

fn answer(sources: &Sources, request: &Request<Bytes>) -> Response<Bytes> {
    let query = Query(request.uri().query().unwrap_or_default());
    #[cfg(test)]
    crate::supervisor::panic_on_command(&query.get("service").unwrap_or_default());
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let write = *request.method() == Method::POST;
    match (request.uri().path(), read, write) {
        ("/admin" | "/admin/", true, _) => json(&Index { pages: PAGES.map(str::to_owned).into() }),
        ("/admin/services", true, _) => json(&services::page(sources, query.get("service").as_deref())),
        ("/admin/rate-limits", true, _) => json(&limits::page(sources, query.get("consumer").as_deref())),
        ("/admin/rate-limits/reset", _, true) => limits::reset(sources, &query),
        ("/admin/cache", true, _) => json(&cache::page(sources)),
        ("/admin/cache/clear", _, true) => cache::clear(sources, &query),
        ("/admin/config", true, _) => json(&config::page(sources)),
        ("/admin/metrics", true, _) => metrics::page(sources),
        (path, ..) => other_method(path),
    }
}

/// 405 for a page that is there for another method, or else 404.
fn other_method(path: &str) -> Response<Bytes> {
    let pages = PAGES.iter().filter_map(|page| page.split_once(' '));
    let mut methods = pages.filter(|(_, page)| page.split('?').next() == Some(path)).map(|(method, _)| method);
    let allow = match methods.next() {
        None => return response::status(StatusCode::NOT_FOUND),
        Some("GET") => "GET, HEAD",
        Some(_) => "POST",
    };
    let mut response = response::status(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// Every page: what `/admin` lists.
const PAGES: [&str; 7] = [
    "GET /admin/services?service=NAME",
    "GET /admin/rate-limits?consumer=NAME",
    "POST /admin/rate-limits/reset?consumer=NAME or ?address=IP",
    "GET /admin/cache",
    "POST /admin/cache/clear?service=NAME&path=PREFIX",
    "GET /admin/config",
    "GET /admin/metrics",
];

#[cfg(test)]
mod tests;
