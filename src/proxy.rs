//! The story of a request: its head is checked, it gets a route, passes the filters, is fetched, and its answer leaves by one exit.
//! Each stage consumes the one before, so that none can be skipped or done twice; any may end the story with an answer.

mod builtin;
mod call;
mod error;
mod exchange;
mod fetch;
mod fill;
mod forward;
mod forwarded;
mod head;
mod respond;
mod rewrite;
mod tee;
mod tunnel;
mod upload;
mod websocket;

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use tokio::time::Instant;

use crate::config::routes::{Action, Target};
use crate::fields::X_REQUEST_ID;
use crate::filter::{Filter, Notes, Passing, Step, cors};
use crate::io::body::Body;
use crate::io::{Client, Door};
use crate::plane::{Handler, MaybeFuture};
use crate::request::{Facts, RequestId};
use crate::route::{self, Found, Lookup};
use crate::snapshot::Snapshot;
use crate::telemetry::access::AccessWriter;
use crate::upstream::{LocalService, verdict};
use crate::worker::WorkerId;
use builtin::{Builtin, Errand};
use call::Request;
use error::Error;
use exchange::{Effects, Exchange, Worker};
pub use exchange::{Resources, Waiting};
use fetch::{Fetched, Wanted};
pub use respond::Sent;
use respond::{Outcome, respond};

/// What the access line says of a client that left before any answer; no client ever sees it.
const CLIENT_CLOSED: u16 = 499;

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy(Rc<Worker>);

impl Proxy {
    /// A worker's proxy; `access` is where its access lines go, if any are wanted.
    pub fn new(id: WorkerId, resources: Resources, access: Option<AccessWriter>) -> Proxy {
        Proxy(Rc::new(Worker::new(id, resources, access)))
    }
}

impl Handler for Proxy {
    type Sent = Sent;

    fn call(&self, head: Parts, body: Body, client: &Rc<Client>) -> MaybeFuture<Sent> {
        let snapshot = newest(&self.0);
        let received = receive(Exchange::begin(&self.0, head, body, client), &snapshot);
        let admitted =
            received.and_then(|received| received.route(&snapshot)).and_then(|routed| routed.admit(&snapshot));
        match admitted {
            Ok(admitted) => {
                let now = admitted.exchange.facts.began;
                admitted.fetch(now)
            }
            Err(Halt::Answered(answered)) => MaybeFuture::Ready(answered.send()),
            Err(Halt::Errand(exchange, errand)) => MaybeFuture::Pending(Box::pin(run(exchange, *errand))),
            Err(Halt::Waits(routed, filter)) => MaybeFuture::Pending(Box::pin(resume(*routed, filter))),
        }
    }

    fn woken(&self) {
        newest(&self.0);
    }

    fn tick(&self) {
        self.0.upstreams.tick();
        if let Some(access) = &self.0.access {
            access.borrow_mut().flush();
        }
    }

    fn panicked(&self) -> Response<Body> {
        let id = RequestId::new(&mut self.0.random.borrow_mut());
        let mut page = error::page(&Error::Panicked, &id, "").map(Body::from);
        page.headers_mut().insert(X_REQUEST_ID, id.value());
        page
    }
}

/// A request whose head was checked: its target is in canonical form.
struct Received(Box<Exchange>);

/// A request that has a route.
struct Routed {
    exchange: Box<Exchange>,
    found: Found,
}

/// A request that passed all filters, and the service that it is for.
struct Admitted {
    exchange: Box<Exchange>,
    found: Found,
    service: Rc<LocalService>,
}

/// A request that is answered before it comes to its service.
struct Answered {
    exchange: Box<Exchange>,
    outcome: Outcome,
}

/// Why the story does not go on at once.
enum Halt {
    /// It has ended.
    Answered(Answered),
    /// The control plane has the page.
    Errand(Box<Exchange>, Box<Errand>),
    /// This filter makes it wait.
    Waits(Box<Routed>, Filter),
}

impl Answered {
    /// Whatever goes wrong is explained by a page.
    fn failed(exchange: Box<Exchange>, error: Error) -> Answered {
        let hint = builtin::hint(&exchange.effects.worker, &error, &exchange.request, &exchange.client);
        Answered { exchange, outcome: Outcome::Failed(error, hint) }
    }

    fn page(exchange: Box<Exchange>, page: Response<Bytes>) -> Answered {
        Answered { exchange, outcome: Outcome::Page(Box::new(page)) }
    }

    fn send(self) -> Sent {
        respond(self.exchange, self.outcome)
    }
}

impl From<Answered> for Halt {
    fn from(answered: Answered) -> Halt {
        Halt::Answered(answered)
    }
}

/// The newest snapshot; the first look at a new one brings the worker's own state along. It is lent, as all workers would write to the
/// counter of a shared one.
fn newest(worker: &Worker) -> Ref<'_, Arc<Snapshot>> {
    let mut reader = worker.reader.borrow_mut();
    let newest = reader.load();
    if !Arc::ptr_eq(newest, &worker.seen.borrow()) {
        worker.upstreams.follow(&newest.services);
        worker.resources.pulse.adopted(worker.id, newest.taken.elapsed());
        // When the control plane is behind, freeing the old one here is the lesser evil.
        let _ = worker.resources.old.try_send(worker.seen.replace(newest.clone()));
    }
    worker.seen.borrow()
}

/// Checks a head. A path of our own is answered here.
fn receive(mut exchange: Box<Exchange>, snapshot: &Snapshot) -> Result<Received, Halt> {
    match head::check(&exchange.request.head, &snapshot.config.request) {
        Ok(target) => exchange.request.target = target,
        Err(error) => return Err(Answered::failed(exchange, error).into()),
    }
    let path = exchange.request.target.path();
    // The paths of `builtin::page`, which other requests need not ask.
    let ours = matches!(path, "/health" | "/ready" | "*") || path.starts_with("/admin");
    if !ours && exchange.client.door == Door::Public {
        return Ok(Received(exchange));
    }
    match builtin::page(&exchange.effects.worker, snapshot, &exchange.request, &exchange.client) {
        Ok(None) => Ok(Received(exchange)),
        Ok(Some(Builtin::Page(page))) => Err(Answered::page(exchange, page).into()),
        Ok(Some(Builtin::Errand(errand))) => Err(Halt::Errand(exchange, Box::new(errand))),
        Err(error) => Err(Answered::failed(exchange, error).into()),
    }
}

impl Received {
    /// Finds its route.
    fn route(self, snapshot: &Snapshot) -> Result<Routed, Halt> {
        let Received(mut exchange) = self;
        let found = match find(snapshot, &exchange.request, &mut exchange.notes) {
            Ok(found) => found,
            Err(error) => return Err(Answered::failed(exchange, error).into()),
        };
        exchange.effects.route = Some(found.entry.clone());
        Ok(Routed { exchange, found })
    }
}

impl Routed {
    /// Passes the filters that it has not passed yet.
    fn admit(self, snapshot: &Snapshot) -> Result<Admitted, Halt> {
        let Routed { mut exchange, found } = self;
        while let Some(&filter) = Filter::ORDER.get(exchange.entered) {
            exchange.entered += 1;
            let Exchange { request, client, facts, notes, .. } = &mut *exchange;
            let mut passing = Passing { head: &request.head, client, route: &found.entry.route, facts, notes };
            match filter.before(&snapshot.filters, &mut passing) {
                Step::Continue => {}
                Step::Answer(page) => return Err(Answered::page(exchange, page).into()),
                Step::Refuse(refusal) => return Err(Answered::failed(exchange, refusal.into()).into()),
                Step::Wait => return Err(Halt::Waits(Box::new(Routed { exchange, found }), filter)),
            }
        }
        if let action @ (Action::Redirect { .. } | Action::Respond { .. }) = &found.entry.route.action {
            let page = builtin::of_route(action, &exchange.request, &found);
            return Err(Answered::page(exchange, page).into());
        }
        match target(&mut exchange, &found, snapshot) {
            Ok(service) => Ok(Admitted { exchange, found, service }),
            Err(error) => Err(Answered::failed(exchange, error).into()),
        }
    }
}

impl Admitted {
    /// Fetches its answer: at once where it is at hand, else by one boxed future.
    fn fetch(self, now: Instant) -> MaybeFuture<Sent> {
        let Admitted { mut exchange, found, service } = self;
        let Exchange { request, effects, facts, client, .. } = &mut *exchange;
        match fetch::fetch(&effects.worker, request, client, (found, service), facts, now) {
            Ok(Fetched::Now(reply)) => MaybeFuture::Ready(respond(exchange, Outcome::Fetched(reply))),
            Ok(Fetched::Later(wanted)) => MaybeFuture::Pending(Box::pin(asked(exchange, wanted, now))),
            Err(error) => MaybeFuture::Ready(Answered::failed(exchange, error).send()),
        }
    }
}

/// Fetches what is not at hand, and sends it.
async fn asked(mut exchange: Box<Exchange>, wanted: Wanted, now: Instant) -> Sent {
    let Exchange { request, effects, facts, .. } = &mut *exchange;
    let reply = fetch::ask(&effects.worker, request, facts, wanted, now).await;
    sent(exchange, reply.map(Outcome::Fetched))
}

/// Fetches a page from the control plane, and sends it.
async fn run(exchange: Box<Exchange>, errand: Errand) -> Sent {
    let page = builtin::fetch(&exchange.effects.worker, errand).await;
    sent(exchange, page.map(|page| Outcome::Page(Box::new(page))))
}

/// Waits for as long as filters ask for it, but not beyond the request's own deadline (`first_byte`, where it has none). Then it goes
/// on at the filter that asked, by the newest snapshot.
async fn resume(mut routed: Routed, mut filter: Filter) -> Sent {
    loop {
        let timeouts = &routed.found.entry.route.policy.timeouts;
        let until = routed.exchange.facts.began + timeouts.total.unwrap_or(timeouts.first_byte);
        let waited = tokio::time::timeout_at(until, filter.wait(&mut routed.exchange.notes)).await;
        if waited.is_err() || until <= Instant::now() {
            return Answered::failed(routed.exchange, Error::FilterTimeout).send();
        }
        // Also a wait that is over at once lets other requests go on.
        tokio::task::yield_now().await;
        routed.exchange.entered -= 1;
        let worker = routed.exchange.effects.worker.clone();
        let admitted = routed.admit(&newest(&worker));
        match admitted {
            Ok(admitted) => {
                return match admitted.fetch(Instant::now()) {
                    MaybeFuture::Ready(sent) => sent,
                    MaybeFuture::Pending(sent) => sent.await,
                };
            }
            Err(Halt::Waits(again, next)) => (routed, filter) = (*again, next),
            Err(Halt::Errand(exchange, errand)) => return run(exchange, *errand).await,
            Err(Halt::Answered(answered)) => return answered.send(),
        }
    }
}

fn sent(exchange: Box<Exchange>, outcome: Result<Outcome, Error>) -> Sent {
    match outcome {
        Ok(outcome) => respond(exchange, outcome),
        Err(error) => Answered::failed(exchange, error).send(),
    }
}

/// The route of a request. Of a preflight that the gateway answers it is the route of the method that the preflight asks about.
fn find(snapshot: &Snapshot, request: &Request, notes: &mut Notes) -> Result<Found, Error> {
    let Request { head, target, .. } = request;
    let host = target.host.as_ref().and_then(|host| host.to_str().ok());
    let (path, query) = (target.path(), target.query());
    let lookup = Lookup { host, path, query, method: &head.method, headers: &head.headers };
    if head.method == Method::OPTIONS
        && let Some(method) = cors::preflight_for(head)
        && let Ok(found) = route::find(&snapshot.routes, &Lookup { method: &method, ..lookup })
        && found.entry.route.cors.is_some()
    {
        notes.cors.get_or_insert_default().preflight = Some(method);
        return Ok(found);
    }
    match route::find(&snapshot.routes, &lookup) {
        Ok(found) if route::is_ambiguous(&snapshot.routes, &lookup, &found) => {
            let why = "An instance may read this path as one of another route: write it without // and ;, and plainly";
            Err(Error::BadRequest("bad_path", why))
        }
        Ok(found) => Ok(found),
        Err(missed) if missed.only_by_method() => Err(Error::MethodNotOfRoute(missed)),
        Err(_) => Err(Error::NoRoute),
    }
}

/// The service that a request is for.
fn target(exchange: &mut Exchange, found: &Found, snapshot: &Snapshot) -> Result<Rc<LocalService>, Error> {
    let Exchange { request, effects, .. } = exchange;
    let route = &found.entry.route;
    if route.policy.body.is_some_and(|limit| http_body::Body::size_hint(&request.body).lower() > limit) {
        return Err(Error::Attempt(verdict::Outcome::TooLarge));
    }
    let Some(name) = found.service(request.target.path()) else { return Err(Error::NoRoute) };
    // From here on the request keeps its service and its route, not the snapshot.
    let unknown = || match (snapshot.catalog.complete, &route.action) {
        (false, _) => Error::NoCatalog,
        // The operator says that it exists.
        (true, Action::Forward { service: Target::Named(_), .. }) => Error::NoInstances,
        (true, _) => Error::NoService,
    };
    let upstreams = &effects.worker.upstreams;
    // However a client encoded its characters, it is the same name: the plain form is looked up where the canonical one is nobody's.
    let decoded = || name.contains('%').then(|| route::plain(name)).and_then(|name| upstreams.named(&name));
    let service = upstreams.named(name).or_else(decoded).ok_or_else(unknown)?;
    effects.service = Some(service.clone());
    Ok(service)
}

impl Exchange {
    /// A request that has just come.
    fn begin(worker: &Rc<Worker>, head: Parts, body: Body, client: &Rc<Client>) -> Box<Exchange> {
        let new = RequestId::new(&mut worker.random.borrow_mut());
        let target = worker.access.is_some().then(|| head.uri.clone());
        let (id, address) = match client.trusted {
            Some(_) => (forwarded::request_id(new, &head.headers), forwarded::address(client, &head.headers)),
            None => (new, client.ip()),
        };
        Box::new(Exchange {
            facts: Facts::new(id, Instant::now(), address, head.method.clone(), target),
            effects: Effects { worker: worker.clone(), route: None, service: None },
            client: client.clone(),
            request: Request { head, body, target: head::Target::default() },
            notes: Notes::default(),
            entered: 0,
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.effects.end(&mut self.facts);
    }
}

impl Effects {
    /// Counts the end of a request, and writes its line.
    fn end(&self, facts: &mut Facts) {
        let duration = facts.ended.unwrap_or_else(Instant::now) - facts.began;
        let status = match facts.status {
            Some(status) => status.as_u16(),
            None if std::thread::panicking() => {
                facts.because("panic", "gateway");
                StatusCode::INTERNAL_SERVER_ERROR.as_u16()
            }
            None => {
                facts.because("client_gone", "client");
                CLIENT_CLOSED
            }
        };
        let (worker, took) = (self.worker.id, (!facts.stream).then_some(duration));
        let recorder = self.route.as_ref().map_or(&self.worker.resources.unrouted, |entry| &entry.recorder);
        recorder.record(worker, status, took);
        if let Some(service) = &self.service {
            let recorder = &service.shared.state.recorder;
            recorder.record(worker, status, took);
            if facts.attempts.count() > 1 {
                recorder.retried(worker, facts.attempts.count() - 1);
            }
        }
        // During a panic the writer may be the one that is borrowed.
        if let Some(Ok(mut access)) = self.worker.access.as_ref().map(|access| access.try_borrow_mut()) {
            let tried: Vec<_> = facts.attempts.earlier().iter().map(exchange::tried).collect();
            access.line(&exchange::line(self, facts, &tried, status, duration));
        }
    }
}

#[cfg(test)]
mod tests;
