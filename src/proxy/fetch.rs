//! Where an answer comes from: the store, a fill that serves all who wait for it, or an instance, for this request alone. Requests ask
//! by [`fetch`], and so will the parts of an aggregate. What is not at hand is asked for by [`ask`].

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::call::{Call, Given, Passed, Reply, Request};
use super::error::Error;
use super::exchange::Worker;
use super::fill::{Brought, Fill, Led};
use super::forward::forward;
use super::head::Target;
use crate::filter::cache::fills::{Lead, Outcome, Role};
use crate::filter::cache::{Entry, Event, Fetch, Forward, Found, Place};
use crate::io::body::Body;
use crate::request::Facts;
use crate::upstream::LocalService;

/// How often a request waits for another's answer that turns out not to be for it, before it asks for its own.
const ROUNDS: usize = 2;

/// What there is for a request.
pub(super) enum Fetched {
    /// Its answer, at hand.
    Now(Result<Reply, Error>),
    /// Nothing yet: it must be asked for.
    Later(Wanted),
}

/// What must be asked for. All of it is boxed: it is passed on several times, and need not fit into the future of every request.
pub(super) enum Wanted {
    /// An answer for this request alone; why it went past the cache, if its route has one.
    Alone(Box<Call>, Option<Forward>),
    /// One that may be stored, for all who wait for it.
    Shared(Box<Shared>),
}

/// An answer that is asked for on behalf of all who wait for it.
pub(super) struct Shared {
    call: Box<Call>,
    fetch: Fetch,
    /// The client's fields: the answer may depend on them, and the request's own change on its way.
    headers: HeaderMap,
}

/// What there is for a request: from the store, or to be asked for.
pub(super) fn fetch(worker: &Worker, request: &Request, call: Call, facts: &mut Facts) -> Fetched {
    if call.upgrade.is_some() || !call.route.route.policy.cache.enabled {
        return Fetched::Later(Wanted::Alone(Box::new(call), None));
    }
    match look(worker, request, &call, &request.head.headers, facts.began) {
        Found::Fresh(entry) => Fetched::Now(Ok(hit(worker, entry, &request.head.headers))),
        Found::NotCached => Fetched::Now(Err(Error::NotCached)),
        Found::Past(why) => {
            past(worker, facts);
            Fetched::Later(Wanted::Alone(Box::new(call), Some(why)))
        }
        Found::Fetch(fetch) => {
            let headers = request.head.headers.clone();
            Fetched::Later(Wanted::Shared(Box::new(Shared { call: Box::new(call), fetch, headers })))
        }
    }
}

/// Asks for what is not at hand. `now` is when, which may be a while after the request began.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    request: &mut Request,
    facts: &mut Facts,
    wanted: Wanted,
) -> Result<Reply, Error> {
    match wanted {
        Wanted::Alone(mut call, why) => {
            let now = facts.began;
            let passed = alone(worker, request, &mut call, facts, now).await?;
            Ok(Reply::Passed(passed, why))
        }
        Wanted::Shared(shared) => Box::pin(together(worker, request, facts, *shared)).await,
    }
}

/// Asks an instance on behalf of this request alone.
async fn alone(
    worker: &Worker,
    request: &mut Request,
    call: &mut Call,
    facts: &mut Facts,
    now: Instant,
) -> Result<Passed, Error> {
    let mut passed = forward(worker, request, call, now, &mut facts.attempts).await?;
    if passed.response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        passed.upgrade = call.upgrade.take().map(|(_, client)| client);
    }
    let method = &request.head.method;
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    // An unsafe method that succeeded changed what is stored of its address (RFC 9111 section 4.4).
    if !reads && passed.response.status().as_u16() < 400 {
        let target = &request.target;
        worker.parts.cache.changed(text(target.host.as_ref()).unwrap_or_default(), target.path());
    }
    Ok(passed)
}

/// What the cache has for a request with these fields.
fn look(worker: &Worker, request: &Request, call: &Call, headers: &HeaderMap, now: Instant) -> Found {
    let Request { head, body, target } = request;
    let host = text(target.host.as_ref()).unwrap_or_default();
    let place = Place {
        scheme: call.forwarded.scheme,
        told: text(call.forwarded.host.as_ref()).filter(|told| !told.eq_ignore_ascii_case(host)),
        host,
        path: target.path(),
        query: target.query(),
        form: &call.route.form,
        has_body: !http_body::Body::is_end_stream(body),
    };
    worker.parts.cache.find(&head.method, headers, &place, now)
}

fn text(host: Option<&HeaderValue>) -> Option<&str> {
    host.and_then(|host| host.to_str().ok())
}

/// An answer from the store.
fn hit(worker: &Worker, entry: Arc<Entry>, headers: &HeaderMap) -> Reply {
    worker.parts.cache.count(worker.id, Event::Hit);
    given(entry, Given::Hit, headers)
}

fn given(entry: Arc<Entry>, how: Given, headers: &HeaderMap) -> Reply {
    let known = entry.known_to(headers);
    Reply::Stored { entry, how, known }
}

/// Counts a request that goes past the cache.
fn past(worker: &Worker, facts: &mut Facts) {
    worker.parts.cache.count(worker.id, Event::Bypassed);
    facts.cache = "pass";
}

/// Asks once for all who want it: as the one who leads, or by waiting for who does.
async fn together(
    worker: &Rc<Worker>,
    request: &mut Request,
    facts: &mut Facts,
    shared: Shared,
) -> Result<Reply, Error> {
    let Shared { mut call, mut fetch, headers } = shared;
    for _ in 0..ROUNDS {
        match worker.parts.waiting.0.enter(&fetch.key.full, fetch.key.epoch) {
            Role::Lead(lead) => return self::lead(worker, request, call, facts, (fetch, headers), lead).await,
            // Who wants it fresh from the instance is not served by what was asked for before.
            Role::Follow(_) if fetch.why == Forward::Request => break,
            Role::Follow(outcome) => match follow(outcome, &call).await? {
                Followed::Entry(entry) if entry.fits(&headers) => {
                    worker.parts.cache.count(worker.id, Event::Coalesced);
                    return Ok(given(entry, Given::Collapsed(fetch.why), &headers));
                }
                Followed::Alone => break,
                Followed::Entry(_) | Followed::Again => {}
            },
        }
        match look(worker, request, &call, &headers, Instant::now()) {
            Found::Fetch(next) => fetch = next,
            Found::Fresh(entry) => return Ok(hit(worker, entry, &headers)),
            Found::Past(_) | Found::NotCached => break,
        }
    }
    past(worker, facts);
    // The instances of its service may have changed while it waited.
    if let Some(newest) = same_service(worker, &call.service) {
        call.service = newest;
    }
    let passed = alone(worker, request, &mut call, facts, Instant::now()).await?;
    Ok(Reply::Passed(passed, Some(fetch.why)))
}

fn same_service(worker: &Worker, service: &LocalService) -> Option<Rc<LocalService>> {
    worker.upstreams.service(service.shared.slot).filter(|now| now.shared.name == service.shared.name)
}

/// The one who asks. The asking is on a task of its own: it goes on when its client leaves.
async fn lead(
    worker: &Rc<Worker>,
    request: &mut Request,
    mut call: Box<Call>,
    facts: &mut Facts,
    (fetch, headers): (Fetch, HeaderMap),
    lead: Lead<Error>,
) -> Result<Reply, Error> {
    // Another's fill may have ended between our look and our grasp.
    if let Found::Fresh(entry) = look(worker, request, &call, &headers, Instant::now()) {
        lead.tell(Outcome::Stored(entry.clone()));
        return Ok(hit(worker, entry, &headers));
    }
    let why = fetch.why;
    let Some(filling) = worker.parts.cache.hold() else {
        lead.tell(Outcome::Pass);
        past(worker, facts);
        let passed = alone(worker, request, &mut call, facts, Instant::now()).await?;
        return Ok(Reply::Passed(passed, Some(why)));
    };
    worker.parts.cache.count(worker.id, if fetch.stale.is_some() { Event::Stale } else { Event::Miss });
    let (tell, told) = oneshot::channel();
    let headers = Rc::new(headers);
    let fill = Fill {
        worker: worker.clone(),
        request: std::mem::replace(request, nothing()),
        call,
        fetch,
        lead,
        headers: headers.clone(),
        filling: Rc::new(filling),
    };
    tokio::task::spawn_local(fill.run(facts.began, tell));
    let Ok(Led { brought, attempts }) = told.await else {
        worker.parts.pulse.panics.fetch_add(1, Ordering::Relaxed);
        return Err(Error::Panicked);
    };
    facts.attempts = attempts;
    match brought? {
        Brought::Refreshed(entry) => Ok(given(entry, Given::Revalidated(why), &headers)),
        Brought::Filling(response) => Ok(Reply::Filling(response, why)),
        Brought::Passed(passed) => {
            facts.cache = "pass";
            Ok(Reply::Passed(*passed, Some(why)))
        }
    }
}

/// A request without anything, in the place of one that goes on elsewhere.
fn nothing() -> Request {
    Request { head: http::Request::new(()).into_parts().0, body: Body::Empty, target: Target::default() }
}

/// What came of waiting.
enum Followed {
    /// The answer, for everybody.
    Entry(Arc<Entry>),
    /// Nothing for others: it is to be looked for again.
    Again,
    /// It is to be asked for by oneself.
    Alone,
}

/// Waits for another's fill: no longer than an own answer may take to begin and to pause once.
async fn follow(mut outcome: watch::Receiver<Outcome<Error>>, call: &Call) -> Result<Followed, Error> {
    let timeouts = &call.route.route.policy.timeouts;
    let patience = Instant::now() + timeouts.first_byte + timeouts.idle;
    let until = call.total.map_or(patience, |total| total.min(patience));
    let done = outcome.wait_for(|outcome| !matches!(outcome, Outcome::Pending));
    let Ok(done) = tokio::time::timeout_at(until, done).await else {
        return if call.total == Some(until) { Err(Error::TotalTimeout) } else { Ok(Followed::Alone) };
    };
    match done.as_deref() {
        Ok(Outcome::Stored(entry)) => Ok(Followed::Entry(entry.clone())),
        Ok(Outcome::Failed(error)) => Err(error.clone()),
        Ok(Outcome::Again) => Ok(Followed::Again),
        Ok(Outcome::Pass | Outcome::Pending) | Err(_) => Ok(Followed::Alone),
    }
}
