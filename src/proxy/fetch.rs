//! Where an answer comes from: the store, a fill that serves all who wait for it, or, for this request alone, an instance or the calls of
//! an aggregate. Requests ask by [`fetch`], and so do the parts of an aggregate. What is not at hand is asked for by [`ask`].

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::call::{Call, Composing, Given, Goal, Passed, Reply, Request};
use super::error::Error;
use super::exchange::{Exchange, Worker};
use super::fill::{Brought, Fill, Led};
use super::forward::bring;
use super::forwarded::{self, Forwarded};
use super::head::Target;
use super::{rewrite, websocket};
use crate::config::RequestLimits;
use crate::config::routes::{Action, Target as Named};
use crate::filter::cache::fills::{Lead, Outcome, Role};
use crate::filter::cache::{Answer, Entry, Event, Fetch, Forward, Found as Cached, Place};
use crate::io::Client;
use crate::io::body::Body;
use crate::io::upgrade::Upgrade;
use crate::request::{Facts, Vouched};
use crate::route::{self, Composed, Found};
use crate::snapshot::Snapshot;
use crate::upstream::verdict;

/// How often a request waits for another's answer that turns out not to be for it, before it asks for its own.
const ROUNDS: usize = 2;

/// What there is for a request.
pub(super) enum Fetched {
    /// Its answer, at hand.
    Now(Reply),
    /// Nothing yet: it must be asked for.
    Later(Wanted),
}

/// What must be asked for. It is boxed: it is passed on several times, and need not fit into the future of every request.
pub(super) enum Wanted {
    /// An answer for this request alone; why it went past the cache, if its route has one.
    Alone(Box<Call>, Option<Forward>),
    /// One that may be stored, for all who wait for it.
    Shared(Box<Shared>),
}

impl Wanted {
    /// What is asked.
    pub(super) fn call_mut(&mut self) -> &mut Call {
        match self {
            Wanted::Alone(call, _) => call,
            Wanted::Shared(shared) => &mut shared.call,
        }
    }
}

/// An answer that is asked for on behalf of all who wait for it.
pub(super) struct Shared {
    call: Box<Call>,
    fetch: Fetch,
    /// The client's fields: the answer may depend on them, and the request's own change on its way.
    headers: HeaderMap,
}

/// Who brings a request's answer: its service, or the calls of its aggregate.
/// `aggregate` makes it of the latter.
pub(super) fn goal(
    exchange: &mut Exchange,
    found: &Found,
    snapshot: &Snapshot,
    aggregate: impl FnOnce(&Exchange, &Found, &Arc<Composed>, &RequestLimits) -> Result<Rc<dyn Composing>, Error>,
) -> Result<Goal, Error> {
    let route = &found.entry.route;
    if route.policy.body.is_some_and(|limit| http_body::Body::size_hint(&exchange.request.body).lower() > limit) {
        return Err(Error::Attempt(verdict::Outcome::TooLarge));
    }
    if let Some(composed) = &found.entry.composed {
        return aggregate(exchange, found, composed, &snapshot.config.request).map(Goal::Aggregate);
    }
    let Exchange { request, effects, .. } = exchange;
    let Some(name) = found.service(request.target.path()) else { return Err(Error::NoRoute) };
    // From here on the request keeps its service and its route, not the snapshot.
    let unknown = || match (snapshot.catalog.complete, &route.action) {
        (false, _) => Error::NoCatalog,
        // The operator says that it exists.
        (true, Action::Forward { service: Named::Named(_), .. }) => Error::NoInstances,
        (true, _) => Error::NoService,
    };
    let upstreams = &effects.worker.upstreams;
    // However a client encoded its characters, it is the same name: the plain form is looked up where the canonical one is nobody's.
    let decoded = || name.contains('%').then(|| route::plain(name)).and_then(|name| upstreams.named(&name));
    let service = upstreams.named(name).or_else(decoded).ok_or_else(unknown)?;
    effects.service = Some(service.clone());
    Ok(Goal::Service(service))
}

/// What there is for a request of this route and service: from the store, or to be asked for.
///
/// # Errors
/// When the client wants only what is stored, and nothing is; when what its route makes of its path is no path.
pub(super) fn fetch(
    worker: &Worker,
    request: &mut Request,
    client: &Rc<Client>,
    (found, goal): (Found, Goal),
    facts: &mut Facts,
    now: Instant,
) -> Result<Fetched, Error> {
    let accept = if request.target.seen.upgrade { websocket::wanted(&request.head) } else { None };
    let upgrade = accept.and_then(|accept| Some((accept, Upgrade::take(&mut request.head.extensions)?)));
    let headers = &request.head.headers;
    let (mut past_for, mut shared) = (None, None);
    if upgrade.is_none() && found.entry.route.policy.cache.enabled {
        let (scheme, told) = match client.trusted {
            Some(_) => forwarded::asked(client, headers),
            None => ("http", None),
        };
        let claims = facts.token.as_ref().map(|token| &*token.digest).unwrap_or_default();
        let address = Address { scheme, told: told.as_ref(), form: &found.entry.form, claims };
        match look(worker, request, address, headers, now) {
            Cached::Fresh(entry) => return Ok(Fetched::Now(hit(worker, entry, headers, now))),
            Cached::NotCached => return Err(Error::NotCached),
            Cached::Past(why) => {
                past(worker, facts);
                past_for = Some(why);
            }
            Cached::Fetch(fetch) => shared = Some((fetch, headers.clone())),
        }
    }
    let path = rewrite::path(&request.target, &found)?;
    let total = found.entry.route.policy.timeouts.total.map(|total| facts.began + total);
    let forwarded = match client.trusted {
        Some(_) => Forwarded::of(client, headers),
        None => Forwarded { scheme: "http", host: None, chain: client.forwarded_for.clone(), told: None },
    };
    let (id, token) = (facts.id.clone(), facts.token.clone());
    let via = None;
    let call = Box::new(Call { route: found.entry, goal, path, forwarded, total, id, token, upgrade, via });
    Ok(Fetched::Later(match shared {
        None => Wanted::Alone(call, past_for),
        Some((fetch, headers)) => Wanted::Shared(Box::new(Shared { call, fetch, headers })),
    }))
}

/// What besides its target a request's place in the cache depends on.
#[derive(Clone, Copy)]
struct Address<'a> {
    scheme: &'static str,
    /// The host, the port and the prefix that the client asked, as far as a trusted proxy says them.
    told: Option<&'a HeaderValue>,
    /// What of its route decides on its answers.
    form: &'a str,
    /// A digest of the claims that its instance gets to see.
    claims: &'a str,
}

impl<'a> Address<'a> {
    fn of(call: &'a Call) -> Address<'a> {
        let Call { forwarded, route, .. } = call;
        let told = forwarded.told.as_ref().and_then(|told| told.place.as_ref());
        let claims = call.token.as_ref().map(|token| &*token.digest).unwrap_or_default();
        Address { scheme: forwarded.scheme, told, form: &route.form, claims }
    }
}

/// Asks for what is not at hand. `now` is when it is asked for: a filter may have made the request wait before.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    request: &mut Request,
    facts: &mut Facts,
    wanted: Wanted,
    now: Instant,
) -> Result<Reply, Error> {
    match wanted {
        Wanted::Alone(mut call, why) => {
            let passed = alone(worker, request, &mut call, facts, now).await?;
            Ok(Reply::Passed(passed, why))
        }
        Wanted::Shared(shared) => Box::pin(together(worker, request, facts, *shared)).await,
    }
}

/// Asks on behalf of this request alone.
async fn alone(
    worker: &Rc<Worker>,
    request: &mut Request,
    call: &mut Call,
    facts: &mut Facts,
    now: Instant,
) -> Result<Box<Passed>, Error> {
    let mut passed = bring(worker, request, call, now, &mut facts.attempts).await?;
    if passed.response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        passed.upgrade = call.upgrade.take().map(|(_, client)| client);
    }
    let method = &request.head.method;
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    // An unsafe method that succeeded changed what is stored of its address (RFC 9111 section 4.4).
    if !reads && passed.response.status().as_u16() < 400 {
        let target = &request.target;
        worker.resources.cache.changed(text(target.host.as_ref()).unwrap_or_default(), target.path());
    }
    Ok(passed)
}

/// What the cache has for a request with these fields.
fn look(worker: &Worker, request: &Request, address: Address<'_>, headers: &HeaderMap, now: Instant) -> Cached {
    worker.resources.cache.find(&request.head.method, headers, &place(request, address), now)
}

/// Where the answer to a request belongs.
fn place<'a>(request: &'a Request, address: Address<'a>) -> Place<'a> {
    let Request { body, target, .. } = request;
    let host = text(target.host.as_ref()).unwrap_or_default();
    Place {
        scheme: address.scheme,
        told: text(address.told).filter(|told| !told.eq_ignore_ascii_case(host)),
        host,
        path: target.path(),
        query: target.query(),
        form: address.form,
        claims: address.claims,
        has_body: !http_body::Body::is_end_stream(body),
    }
}

/// The stored answer to a request of a call, however old. Its client is that of the whole, and what it says of who asks is `token`.
pub(super) fn stored(
    worker: &Worker,
    request: &Request,
    (whole, entry): (&Call, &route::Entry),
    token: Option<&Vouched>,
) -> Option<Arc<Entry>> {
    let claims = token.map(|token| &*token.digest).unwrap_or_default();
    let address = Address { form: &entry.form, claims, ..Address::of(whole) };
    worker.resources.cache.stored(&request.head.headers, &place(request, address))
}

fn text(host: Option<&HeaderValue>) -> Option<&str> {
    host.and_then(|host| host.to_str().ok())
}

/// An answer from the store.
fn hit(worker: &Worker, entry: Arc<Entry>, headers: &HeaderMap, now: Instant) -> Reply {
    worker.resources.cache.count(worker.id, Event::Hit);
    given(entry, Given::Hit, headers, now)
}

fn given(entry: Arc<Entry>, how: Given, headers: &HeaderMap, now: Instant) -> Reply {
    let known = entry.known_to(headers);
    Reply::Stored { entry, how, known, now }
}

/// Counts a request that goes past the cache.
fn past(worker: &Worker, facts: &mut Facts) {
    worker.resources.cache.count(worker.id, Event::Bypassed);
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
        match worker.resources.waiting.0.enter(&fetch.key.full, fetch.key.epoch) {
            Role::Lead(lead) => return self::lead(worker, request, call, facts, (fetch, headers), lead).await,
            // Who wants it fresh from the instance is not served by what was asked for before.
            Role::Follow(_) if fetch.why == Forward::Request => break,
            Role::Follow(outcome) => match follow(outcome, &call).await? {
                Followed::Answer(answer) if answer.fits(&headers) => {
                    worker.resources.cache.count(worker.id, Event::Coalesced);
                    return Ok(given(answer.entry, Given::Collapsed(fetch.why), &headers, Instant::now()));
                }
                Followed::Alone => break,
                Followed::Answer(_) | Followed::Again => {}
            },
        }
        let now = Instant::now();
        match look(worker, request, Address::of(&call), &headers, now) {
            Cached::Fetch(next) => fetch = next,
            Cached::Fresh(entry) => return Ok(hit(worker, entry, &headers, now)),
            Cached::Past(_) | Cached::NotCached => break,
        }
    }
    past(worker, facts);
    // The instances of its service may have changed while it waited.
    if let Goal::Service(service) = &mut call.goal
        && let Some(newest) = worker.upstreams.named(service.shared.name.as_str())
    {
        *service = newest;
    }
    let passed = alone(worker, request, &mut call, facts, Instant::now()).await?;
    Ok(Reply::Passed(passed, Some(fetch.why)))
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
    let now = Instant::now();
    if let Cached::Fresh(entry) = look(worker, request, Address::of(&call), &headers, now) {
        // Who waits for the same key may ask with other fields: each looks for what is theirs.
        lead.tell(Outcome::Again);
        return Ok(hit(worker, entry, &headers, now));
    }
    let why = fetch.why;
    let Some(filling) = worker.resources.cache.hold(&fetch.key, &headers) else {
        lead.tell(Outcome::Pass);
        past(worker, facts);
        let passed = alone(worker, request, &mut call, facts, Instant::now()).await?;
        return Ok(Reply::Passed(passed, Some(why)));
    };
    worker.resources.cache.count(worker.id, if fetch.stale.is_some() { Event::Stale } else { Event::Miss });
    let (tell, told) = oneshot::channel();
    let headers = Rc::new(headers);
    let fill = Fill {
        worker: worker.clone(),
        request: std::mem::replace(request, nothing()),
        call,
        fetch,
        lead,
        headers: headers.clone(),
        filling,
    };
    tokio::task::spawn_local(fill.run(facts.began, tell));
    let Ok(Led { brought, attempts }) = told.await else {
        worker.resources.pulse.panics.fetch_add(1, Ordering::Relaxed);
        return Err(Error::Panicked);
    };
    facts.attempts = attempts;
    match brought? {
        Brought::Refreshed(entry) => Ok(given(entry, Given::Revalidated(why), &headers, Instant::now())),
        Brought::Filling(response) => Ok(Reply::Filling(response, why)),
        Brought::Passed(passed) => Ok(Reply::Passed(passed, Some(why))),
    }
}

/// A request without anything, in the place of one that goes on elsewhere.
fn nothing() -> Request {
    Request { head: http::Request::new(()).into_parts().0, body: Body::Empty, target: Target::default() }
}

/// What came of waiting.
enum Followed {
    /// An answer, for everybody whom it fits.
    Answer(Answer),
    /// Nothing for others: it is to be looked for again.
    Again,
    /// It is to be asked for by oneself.
    Alone,
}

/// Waits for another's fill: no longer than an own answer may take to begin and to pause once, or than an aggregate has time to.
async fn follow(mut outcome: watch::Receiver<Outcome<Error>>, call: &Call) -> Result<Followed, Error> {
    let timeouts = &call.route.route.policy.timeouts;
    let patience = match &call.goal {
        Goal::Service(_) => Instant::now() + timeouts.first_byte + timeouts.idle,
        Goal::Aggregate(aggregate) => aggregate.patience(call),
    };
    let until = call.total.map_or(patience, |total| total.min(patience));
    let done = outcome.wait_for(|outcome| !matches!(outcome, Outcome::Pending));
    let Ok(done) = tokio::time::timeout_at(until, done).await else {
        return if call.total == Some(until) {
            Err(Error::Attempt(verdict::Outcome::TotalTimeout))
        } else {
            Ok(Followed::Alone)
        };
    };
    match done.as_deref() {
        Ok(Outcome::Stored(answer)) => Ok(Followed::Answer(answer.clone())),
        Ok(Outcome::Failed(error)) => Err(error.clone()),
        Ok(Outcome::Again) => Ok(Followed::Again),
        Ok(Outcome::Pass | Outcome::Pending) | Err(_) => Ok(Followed::Alone),
    }
}
