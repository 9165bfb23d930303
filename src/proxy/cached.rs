//! Routes whose answers are cached: answered from the store, or asked for once for all who wait.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::error::Error;
use super::exchange::Exchange;
use super::fill::{Fill, Led, What};
use super::headers::Passage;
use super::origin::View;
use super::{Answered, Forwarding, Worker};
use crate::body::Body;
use crate::config::Timeouts;
use crate::filter::cache::fills::{Fills, Lead, Outcome, Role};
use crate::filter::cache::{Entry, Event, Fetch, Forward, Found, Own, Place};

/// How often a request waits for another's answer that turns out not to be for it, before it asks for its own.
const ROUNDS: usize = 2;

/// Fills under way, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<Fills<Error>>);

/// What a request asks of the cache: kept until it is answered, since what there is may change meanwhile.
pub(super) struct Asked {
    pub(super) headers: HeaderMap,
    pub(super) form: Arc<str>,
}

impl Worker {
    /// What the cache has for a request whose route caches.
    pub(super) fn cached(
        &self,
        method: &Method,
        headers: &HeaderMap,
        address: View<'_>,
        form: &str,
        body: &Body,
        now: Instant,
    ) -> Found {
        let host = text(address.target.host.as_ref()).unwrap_or_default();
        let place = Place {
            scheme: address.scheme,
            told: text(address.told).filter(|told| !told.eq_ignore_ascii_case(host)),
            host,
            path: address.target.path(),
            query: address.target.query(),
            form,
            has_body: !http_body::Body::is_end_stream(body),
        };
        self.parts.cache.find(method, headers, &place, now)
    }

    /// Asks for what is not stored, once for all who want it.
    pub(super) async fn fetch(
        self: &Rc<Worker>,
        exchange: &mut Exchange,
        (mut fetch, asked, mut forwarding): (Fetch, Asked, Forwarding),
    ) -> Result<Answered, Error> {
        for _ in 0..ROUNDS {
            match self.parts.waiting.0.enter(&fetch.key.full, fetch.key.epoch) {
                Role::Lead(lead) => return self.lead(exchange, fetch, lead, asked, forwarding).await,
                // Who wants it fresh from the instance is not served by what was asked for before.
                Role::Follow(_) if fetch.why == Forward::Request => break,
                Role::Follow(outcome) => {
                    let timeouts = &forwarding.way.route.policy.timeouts;
                    match follow(outcome, timeouts, forwarding.way.total).await? {
                        Followed::Entry(entry) if entry.fits(&asked.headers) => {
                            self.parts.cache.count(self.id, Event::Coalesced);
                            let told = Told::Collapsed(fetch.why);
                            return Ok(Answered::Own(answer(exchange, &entry, &asked.headers, told, Instant::now())));
                        }
                        Followed::Alone => break,
                        Followed::Entry(_) | Followed::Again => {}
                    }
                }
            }
            match self.again(&forwarding, &asked) {
                Found::Fetch(next) => fetch = next,
                Found::Fresh(entry) => {
                    return Ok(Answered::Own(self.hit(exchange, &entry, &asked.headers, Instant::now())));
                }
                Found::Past(_) | Found::NotCached => break,
            }
        }
        exchange.past = Some(fetch.why);
        self.past(exchange);
        // Its instances may have changed while it waited.
        let now = self.upstreams.service(forwarding.way.service.shared.slot);
        if let Some(now) = now.filter(|now| now.shared.name == forwarding.way.service.shared.name) {
            forwarding.way.service = now;
        }
        self.alone(exchange, forwarding).await
    }

    /// Asks on behalf of this request alone.
    async fn alone(&self, exchange: &mut Exchange, mut forwarding: Forwarding) -> Result<Answered, Error> {
        let reply = forwarding.run(self, Instant::now(), exchange).await?;
        Ok(Answered::Upstream(Box::new((reply, forwarding.way))))
    }

    /// What there is by now.
    fn again(&self, forwarding: &Forwarding, asked: &Asked) -> Found {
        let Forwarding { parts, body, way } = forwarding;
        self.cached(&parts.method, &asked.headers, way.passage.address.view(), &asked.form, body, Instant::now())
    }

    /// The one who asks. On a task of its own: it goes on when its client leaves.
    async fn lead(
        self: &Rc<Worker>,
        exchange: &mut Exchange,
        fetch: Fetch,
        lead: Lead<Error>,
        asked: Asked,
        forwarding: Forwarding,
    ) -> Result<Answered, Error> {
        // Another's fill may have ended between our look and our grasp.
        if let Found::Fresh(entry) = self.again(&forwarding, &asked) {
            lead.tell(Outcome::Stored(entry.clone()));
            return Ok(Answered::Own(self.hit(exchange, &entry, &asked.headers, Instant::now())));
        }
        let why = fetch.why;
        let Some(filling) = self.parts.cache.hold() else {
            lead.tell(Outcome::Pass);
            exchange.past = Some(why);
            self.past(exchange);
            return self.alone(exchange, forwarding).await;
        };
        self.parts.cache.count(self.id, if fetch.stale.is_some() { Event::Stale } else { Event::Miss });
        let (told, tells) = oneshot::channel();
        let way = forwarding.way.again();
        let asked = Rc::new(asked.headers);
        let fill = Fill {
            worker: self.clone(),
            forwarding,
            fetch,
            lead,
            asked: asked.clone(),
            filling: Rc::new(filling),
            id: exchange.id,
        };
        tokio::task::spawn_local(fill.run(exchange.began, told));
        let Ok(Led { what, attempts, instance }) = tells.await else {
            self.parts.pulse.panics.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Panicked);
        };
        (exchange.attempts, exchange.instance) = (attempts, instance);
        match what? {
            What::Refreshed(entry) => {
                Ok(Answered::Own(answer(exchange, &entry, &asked, Told::Revalidated(why), Instant::now())))
            }
            What::Streamed(response) => {
                exchange.cache = "miss";
                Ok(Answered::Streamed(mark(*response, &format!("lictor; fwd={}; stored", why.as_str()))))
            }
            What::Passed(reply) => {
                (exchange.cache, exchange.past) = ("pass", Some(why));
                Ok(Answered::Upstream(Box::new((*reply, way))))
            }
        }
    }

    /// An answer from the store.
    pub(super) fn hit(
        &self,
        exchange: &mut Exchange,
        entry: &Entry,
        asked: &HeaderMap,
        now: Instant,
    ) -> Response<Bytes> {
        self.parts.cache.count(self.id, Event::Hit);
        answer(exchange, entry, asked, Told::Hit, now)
    }

    /// A request that goes past the cache.
    pub(super) fn past(&self, exchange: &mut Exchange) {
        self.parts.cache.count(self.id, Event::Bypassed);
        exchange.cache = "pass";
    }

    /// An unsafe method that succeeded changed what is stored of its address (RFC 9111 4.4).
    pub(super) fn invalidate(&self, method: &Method, status: StatusCode, passage: &Passage) {
        let read = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if !read && status.as_u16() < 400 {
            let target = &passage.address.target;
            self.parts.cache.changed(text(target.host.as_ref()).unwrap_or_default(), target.path());
        }
    }
}

fn text(host: Option<&HeaderValue>) -> Option<&str> {
    host.and_then(|host| host.to_str().ok())
}

/// What came of waiting.
enum Followed {
    Entry(Arc<Entry>),
    /// To be looked for again.
    Again,
    /// To be asked for by oneself.
    Alone,
}

/// Waits for another's fill: no longer than an own answer may take to begin and to pause once.
async fn follow(
    mut outcome: watch::Receiver<Outcome<Error>>,
    timeouts: &Timeouts,
    total: Option<Instant>,
) -> Result<Followed, Error> {
    let patience = Instant::now() + timeouts.first_byte + timeouts.idle;
    let until = total.map_or(patience, |total| total.min(patience));
    let done = outcome.wait_for(|outcome| !matches!(outcome, Outcome::Pending));
    let Ok(done) = tokio::time::timeout_at(until, done).await else {
        return if total == Some(until) { Err(Error::TotalTimeout) } else { Ok(Followed::Alone) };
    };
    match done.as_deref() {
        Ok(Outcome::Stored(entry)) => Ok(Followed::Entry(entry.clone())),
        Ok(Outcome::Failed(error)) => Err(*error),
        Ok(Outcome::Again) => Ok(Followed::Again),
        Ok(Outcome::Pass | Outcome::Pending) | Err(_) => Ok(Followed::Alone),
    }
}

/// How an answer from the store came about.
pub(super) enum Told {
    /// It was there.
    Hit,
    /// Another asked for it.
    Collapsed(Forward),
    /// The instance said that it still holds.
    Revalidated(Forward),
}

/// An answer from the store, or 304 when the client has it already.
fn answer(exchange: &mut Exchange, entry: &Entry, asked: &HeaderMap, told: Told, now: Instant) -> Response<Bytes> {
    let mut number = itoa::Buffer::new();
    let ttl = number.format(entry.ttl(now));
    let (word, status) = match told {
        Told::Hit => ("hit", ["lictor; hit; ttl=", ttl].concat()),
        Told::Collapsed(why) => ("collapsed", format!("lictor; fwd={}; collapsed; ttl={ttl}", why.as_str())),
        Told::Revalidated(why) => ("revalidated", format!("lictor; fwd={}; fwd-status=304; ttl={ttl}", why.as_str())),
    };
    exchange.cache = word;
    let own = Own { status: value(status), id: exchange.id.value(), limit: exchange.limit() };
    if entry.known_to(asked) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = entry.answer_304(own, now);
        return response;
    }
    let mut response = Response::new(entry.body.clone());
    *response.status_mut() = entry.status;
    *response.headers_mut() = entry.answer(own, now);
    response
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("lictor"))
}

/// Says what the cache had to do with an answer. What caches before us said stays.
pub(super) fn mark<B>(mut response: Response<B>, status: &str) -> Response<B> {
    response.headers_mut().extend(HeaderValue::from_str(status).map(|status| (header::CACHE_STATUS, status)));
    response
}
