//! Routes whose answers are cached: answered from the store, or asked for once for all who wait.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::attempt::Reply;
use super::error::Error;
use super::exchange::Exchange;
use super::fill::{Fill, Led, What};
use super::head::Target;
use super::headers::Passage;
use super::origin;
use super::{Answered, Forwarding, Worker};
use crate::body::Body;
use crate::config::Route;
use crate::filter::cache::fills::{Fills, Outcome, Role};
use crate::filter::cache::{Entry, Event, Fetch, Forward, Found, Place};
use crate::io::Client;

/// Fills under way, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<Fills<Error>>);

impl Worker {
    /// What the cache has for a request; `None` when its route caches nothing.
    pub(super) fn cached(
        &self,
        route: &Route,
        service: &str,
        target: &Target,
        (parts, body): (&Parts, &Body),
        client: &Client,
        now: Instant,
    ) -> Option<Found> {
        if !route.policy.cache.enabled {
            return None;
        }
        let scheme = origin::scheme(client, &parts.headers);
        let host = origin::host(client, &parts.headers, target);
        let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let has_body = !http_body::Body::is_end_stream(body);
        let place = Place { scheme, host, path: target.path(), query: target.query(), service, has_body };
        Some(self.parts.cache.find(route, parts, &place, now, self.id))
    }

    /// Asks for what is not stored, once for all who want it.
    pub(super) async fn fetch(
        self: &Rc<Worker>,
        exchange: &mut Exchange,
        fetch: Fetch,
        asked: HeaderMap,
        forwarding: Forwarding,
    ) -> Result<Answered, Error> {
        match self.parts.waiting.0.enter(&fetch.key.full, fetch.key.epoch) {
            Role::Lead(lead) => {
                let (told, tells) = oneshot::channel();
                let why = fetch.why;
                let passage = forwarding.passage.clone();
                let (route, total) = (forwarding.route.clone(), forwarding.total);
                let service = forwarding.service.clone();
                let path = passage.target().path().to_owned();
                let fill =
                    Fill { worker: self.clone(), forwarding, fetch, lead, asked: asked.clone(), path, id: exchange.id };
                // On a task of its own: it goes on when its first client leaves.
                tokio::task::spawn_local(fill.run(exchange.began, told));
                let Led { what, attempts, instance } = tells.await.unwrap_or(Led::PANICKED);
                (exchange.attempts, exchange.instance) = (attempts, instance);
                match what? {
                    What::Refreshed(entry) => Ok(Answered::Own(answer(exchange, &entry, &asked, Told::Revalidated))),
                    What::Streamed(response) => {
                        exchange.cache = "miss";
                        Ok(Answered::Streamed(mark(*response, &format!("lictor; fwd={}; stored", why.as_str()))))
                    }
                    What::Passed(reply) => {
                        exchange.cache = "pass";
                        let reply = *reply;
                        let response = mark(reply.response, &format!("lictor; fwd={}", why.as_str()));
                        let reply = Reply { response, ..reply };
                        Ok(Answered::Upstream(Box::new(super::Passed {
                            reply,
                            service,
                            passage,
                            route,
                            total,
                            upgrade: None,
                        })))
                    }
                }
            }
            Role::Follow(outcome) => {
                self.parts.cache.count(self.id, Event::Coalesced);
                match follow(outcome, forwarding.total).await? {
                    Some(entry) => Ok(Answered::Own(answer(exchange, &entry, &asked, Told::Collapsed(fetch.why)))),
                    None => {
                        exchange.cache = "pass";
                        forwarding.run(self, exchange).await
                    }
                }
            }
        }
    }

    /// An unsafe method that succeeded changed what is stored of its address (RFC 9111 4.4).
    pub(super) fn invalidate(&self, method: &Method, status: StatusCode, passage: &Passage) {
        let read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if !read && status.as_u16() < 400 {
            self.parts.cache.changed(passage.host().unwrap_or_default(), passage.target().path());
        }
    }
}

/// Waits for another's fill; `None`: its answer was for it alone.
async fn follow(
    mut outcome: watch::Receiver<Outcome<Error>>,
    total: Option<Instant>,
) -> Result<Option<Arc<Entry>>, Error> {
    let done = outcome.wait_for(|outcome| !matches!(outcome, Outcome::Pending));
    let done = match total {
        None => done.await,
        Some(total) => tokio::time::timeout_at(total, done).await.or(Err(Error::TotalTimeout))?,
    };
    match done.as_deref() {
        Ok(Outcome::Stored(entry)) => Ok(Some(entry.clone())),
        Ok(Outcome::Failed(error)) => Err(*error),
        Ok(Outcome::Pass | Outcome::Pending) | Err(_) => Ok(None),
    }
}

/// How an answer from the store came about.
pub(super) enum Told {
    /// It was there.
    Hit,
    /// Another asked for it.
    Collapsed(Forward),
    /// The instance said that it still holds.
    Revalidated,
}

/// An answer from the store, or 304 when the client has it already.
pub(super) fn answer(exchange: &mut Exchange, entry: &Entry, asked: &HeaderMap, told: Told) -> Response<Bytes> {
    let now = Instant::now();
    let mut response = if entry.known_to(asked) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = entry.head_of_304();
        response
    } else {
        let mut response = Response::new(entry.body.clone());
        *response.status_mut() = entry.status;
        response.headers_mut().clone_from(&entry.headers);
        response
    };
    let mut number = itoa::Buffer::new();
    let (word, status) = match told {
        Told::Hit => ("hit", ["lictor; hit; ttl=", number.format(entry.ttl(now))].concat()),
        Told::Collapsed(why) => {
            ("collapsed", format!("lictor; fwd={}; collapsed; ttl={}", why.as_str(), entry.ttl(now)))
        }
        Told::Revalidated => ("revalidated", format!("lictor; fwd=stale; fwd-status=304; ttl={}", entry.ttl(now))),
    };
    exchange.cache = word;
    let headers = response.headers_mut();
    headers.insert(header::AGE, HeaderValue::from(entry.age(now).as_secs()));
    headers.extend(HeaderValue::from_maybe_shared(Bytes::from(status)).map(|status| (CACHE_STATUS, status)));
    response
}

/// RFC 9211.
pub(super) const CACHE_STATUS: http::HeaderName = http::HeaderName::from_static("cache-status");

/// Says what the cache had to do with an answer. What caches before us said stays.
pub(super) fn mark<B>(mut response: Response<B>, status: &str) -> Response<B> {
    response.headers_mut().extend(HeaderValue::from_str(status).map(|status| (CACHE_STATUS, status)));
    response
}
