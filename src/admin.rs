//! The admin pages: what the gateway knows, as JSON, for people with curl and for programs.

mod cache;
mod compose;
mod config;
mod discovery;
mod fleet;
mod issuers;
mod limits;
mod metrics;
mod query;
mod response;
mod services;
mod sources;
mod tokens;
mod words;

use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::fleet::STATE;
use crate::pages::Index;
use crate::plane::Errand;
use crate::supervisor::caught;
use query::Query;
use response::json;

pub use sources::Sources;

/// What the supervisor calls whoever answers errands.
pub const TASK: &str = "admin";

/// How many errands may wait for somebody else's answer; as many as may wait for ours.
const WAITING: usize = 64;

/// The answer to an errand.
enum Answer {
    /// Here it is.
    Now(Response<Bytes>),
    /// Somebody else has a part in it; it comes in bounded time.
    Later(Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>),
}

/// Answers errands, one after the other, for as long as the returned future lives. A page that panics is 500, and the next one is answered. An errand that
/// waits for somebody else keeps no other waiting.
pub async fn serve(sources: &Sources, errands: &mut mpsc::Receiver<Errand>) {
    // Whatever waits here ends with this task.
    let mut waiting = JoinSet::new();
    loop {
        let Errand { request, consumer, reply } = tokio::select! {
            errand = errands.recv() => match errand {
                Some(errand) => errand,
                // The workers have ended, and so will this task: its own end would be a failure to its supervisor.
                None => std::future::pending().await,
            },
            Some(_) = waiting.join_next() => continue,
        };
        let answer = caught(|| answer(sources, &request, &consumer)).unwrap_or_else(|_| {
            sources.pulse.control.failed(TASK);
            Answer::Now(response::status(StatusCode::INTERNAL_SERVER_ERROR))
        });
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            tracing::info!(consumer, "{} {}", request.method(), request.uri().path());
        }
        match answer {
            Answer::Now(response) => drop(reply.send(response)),
            Answer::Later(_) if waiting.len() >= WAITING => {
                drop(reply.send(response::unavailable("too many requests wait for this")));
            }
            Answer::Later(response) => drop(waiting.spawn(async { reply.send(response.await).is_ok() })),
        }
    }
}

fn answer(sources: &Sources, request: &Request<Bytes>, consumer: &str) -> Answer {
    let query = Query(request.uri().query().unwrap_or_default());
    match (request.uri().path(), request.method()) {
        ("/admin/discovery/accept", &Method::POST) => discovery::accept(sources, &query, consumer),
        ("/admin/fleet", &Method::GET | &Method::HEAD) => fleet::page(sources),
        (STATE, &Method::GET) => Answer::Now(fleet::told(sources, request)),
        ("/admin/tokens/revoke", &Method::POST) => tokens::revoke(sources, &query, consumer),
        _ => Answer::Now(page(sources, request)),
    }
}

fn page(sources: &Sources, request: &Request<Bytes>) -> Response<Bytes> {
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
        ("/admin/issuers", true, _) => json(&issuers::page(sources, query.get("issuer").as_deref())),
        ("/admin/tokens/revoked", true, _) => json(&tokens::page(sources, query.get("issuer").as_deref())),
        ("/admin/cache", true, _) => json(&cache::page(sources)),
        ("/admin/cache/clear", _, true) => cache::clear(sources, &query),
        ("/admin/compose", true, _) => json(&compose::page(sources)),
        (path, true, _) if path.starts_with(COMPOSE) => compose::one(sources, &path[COMPOSE.len()..]),
        ("/admin/config", true, _) => json(&config::page(sources)),
        ("/admin/metrics", true, _) => metrics::page(sources),
        (path, ..) => other_method(path),
    }
}

/// 405 for a page that is there for another method, or else 404.
fn other_method(path: &str) -> Response<Bytes> {
    let path = if path.starts_with(COMPOSE) { "/admin/compose" } else { path };
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

/// What stands before the name of a compose.
const COMPOSE: &str = "/admin/compose/";

/// Every page: what `/admin` lists.
const PAGES: [&str; 14] = [
    "GET /admin/services?service=NAME",
    "POST /admin/discovery/accept?service=NAME",
    "GET /admin/rate-limits?consumer=NAME",
    "POST /admin/rate-limits/reset?consumer=NAME or ?address=IP",
    "GET /admin/issuers?issuer=NAME",
    "GET /admin/tokens/revoked?issuer=NAME",
    "POST /admin/tokens/revoke?issuer=NAME&jti=ID or &sub=WHO, &seconds=N",
    "GET /admin/cache",
    "POST /admin/cache/clear?service=NAME&path=PREFIX",
    "GET /admin/compose",
    "GET /admin/compose/NAME",
    "GET /admin/fleet",
    "GET /admin/config",
    "GET /admin/metrics",
];

#[cfg(test)]
mod tests;
