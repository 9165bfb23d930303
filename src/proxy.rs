//! The story of a request: its head is checked, it gets a route, passes the filters, is fetched, and its answer leaves by one exit.
//! Each stage consumes the one before, so that none can be skipped or done twice; any may end the story with an answer.

mod builtin;
mod call;
mod compose;
mod credentials;
mod error;
mod exchange;
mod fetch;
mod fill;
mod forward;
mod forwarded;
mod head;
mod respond;
mod rewrite;
mod room;
mod tee;
mod tunnel;
mod upload;
mod websocket;

use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use crate::config::fleet::PREFIX;
use crate::config::routes::Action;
use crate::fields::X_REQUEST_ID;
use crate::filter::{Filter, Notes, Passing, Step};
use crate::io::body::Body;
use crate::io::{Client, Door};
use crate::plane::{Handler, MaybeFuture};
use crate::request::{Facts, RequestId};
use crate::route::Found;
use crate::snapshot::Snapshot;
use crate::telemetry::access::AccessWriter;
use crate::worker::WorkerId;
use builtin::{Builtin, Errand};
use call::{Goal, Request};
use error::Error;
use exchange::{Effects, Exchange, Worker};
pub use exchange::{Resources, Waiting};
use fetch::{Fetched, Wanted};
pub use respond::Sent;
use respond::{Outcome, respond};
pub use room::Composing;

/// How long a request for a page of ours waits until it is known who asks: as long as an issuer may take to answer, and a password in its queue.
const KNOWN: Duration = Duration::from_secs(5);

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
        go_on(received.and_then(|received| received.admit(&snapshot)), None)
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

/// A request that has a route of a configuration.
struct Routed {
    exchange: Box<Exchange>,
    found: Found,
    config: u64,
}

/// A request that passed all filters, and who brings its answer.
struct Admitted {
    exchange: Box<Exchange>,
    found: Found,
    goal: Goal,
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
    /// It asks for a page of ours, and who asks is not known yet.
    Unknown(Box<Exchange>),
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
        let status = facts.status.map_or_else(|| exchange::unanswered(facts), |status| status.as_u16());
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

/// Checks a head. A path of our own is answered here.
fn receive(mut exchange: Box<Exchange>, snapshot: &Snapshot) -> Result<Received, Halt> {
    match head::check(&exchange.request.head, &snapshot.config.request) {
        Ok(target) => exchange.request.target = target,
        Err(error) => return Err(Answered::failed(exchange, error).into()),
    }
    let path = exchange.request.target.path();
    // The paths of `builtin::page`, which other requests need not ask.
    let ours = matches!(path, "/health" | "/ready" | "*" | builtin::METADATA) || path.starts_with("/admin");
    let ours = ours || path.starts_with(PREFIX);
    if !ours && exchange.client.door == Door::Public {
        return Ok(Received(exchange));
    }
    builtin(exchange, snapshot)
}

/// Answers what is for a path of our own.
fn builtin(mut exchange: Box<Exchange>, snapshot: &Snapshot) -> Result<Received, Halt> {
    let Exchange { effects, request, client, facts, notes, .. } = &mut *exchange;
    match builtin::page(&effects.worker, snapshot, request, (client, facts.client), notes) {
        Ok(None) => Ok(Received(exchange)),
        Ok(Some(Builtin::Page(page))) => Err(Answered::page(exchange, page).into()),
        Ok(Some(Builtin::Errand(errand))) => Err(Halt::Errand(exchange, Box::new(errand))),
        Ok(Some(Builtin::Wait)) => Err(Halt::Unknown(exchange)),
        Err(error) => Err(Answered::failed(exchange, error).into()),
    }
}

impl Received {
    /// Finds its route, and passes all filters.
    #[inline]
    fn admit(self, snapshot: &Snapshot) -> Result<Admitted, Halt> {
        self.route(snapshot)?.admit(snapshot)
    }

    /// Finds its route.
    fn route(self, snapshot: &Snapshot) -> Result<Routed, Halt> {
        let Received(mut exchange) = self;
        let found = match head::find(snapshot, &exchange.request.head, &exchange.request.target, &mut exchange.notes) {
            Ok(found) => found,
            Err(error) => return Err(Answered::failed(exchange, error).into()),
        };
        exchange.effects.route = Some(found.entry.clone());
        Ok(Routed { exchange, found, config: snapshot.config.version })
    }
}

impl Routed {
    /// Goes on at the filter that let it wait. Where the configuration is another one, its route may be, too: then it begins anew, so that
    /// none of its filters goes by another one's words.
    fn again(self, snapshot: &Snapshot) -> Result<Admitted, Halt> {
        let mut routed = self;
        if routed.config == snapshot.config.version {
            routed.exchange.entered -= 1;
            return routed.admit(snapshot);
        }
        (routed.exchange.entered, routed.exchange.notes.cors) = (0, None);
        Received(routed.exchange).admit(snapshot)
    }

    /// Passes the filters that it has not passed yet.
    fn admit(self, snapshot: &Snapshot) -> Result<Admitted, Halt> {
        let Routed { mut exchange, found, config } = self;
        while let Some(&filter) = Filter::ORDER.get(exchange.entered) {
            exchange.entered += 1;
            let Exchange { request, client, facts, notes, effects, .. } = &mut *exchange;
            let (head, local, route) = (&request.head, &effects.worker.local, &found.entry.route);
            let mut passing = Passing { head, client, route, facts, notes, local };
            match filter.before(&snapshot.filters, &mut passing) {
                Step::Continue => {}
                Step::Answer(page) => return Err(Answered::page(exchange, page).into()),
                Step::Refuse(refusal) => return Err(Answered::failed(exchange, refusal.into()).into()),
                Step::Wait => return Err(Halt::Waits(Box::new(Routed { exchange, found, config }), filter)),
            }
        }
        if found.entry.route.strips {
            credentials::end_here(&mut exchange.request.head.headers, &found.entry.route);
        }
        if let action @ (Action::Redirect { .. } | Action::Respond { .. }) = &found.entry.route.action {
            let page = builtin::of_route(action, &exchange.request, &found);
            return Err(Answered::page(exchange, page).into());
        }
        match fetch::goal(&mut exchange, &found, snapshot, compose::aggregate) {
            Ok(goal) => Ok(Admitted { exchange, found, goal }),
            Err(error) => Err(Answered::failed(exchange, error).into()),
        }
    }
}

impl Admitted {
    /// Fetches its answer: at once where it is at hand, else by one boxed future.
    fn fetch(self, now: Instant) -> MaybeFuture<Sent> {
        let Admitted { mut exchange, found, goal } = self;
        let Exchange { request, effects, facts, client, .. } = &mut *exchange;
        match fetch::fetch(&effects.worker, request, client, (found, goal), facts, now) {
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

/// Takes a request on: at once where nobody need wait, else by one boxed future. `now`: the time, if the request has waited.
#[inline]
fn go_on(admitted: Result<Admitted, Halt>, now: Option<Instant>) -> MaybeFuture<Sent> {
    match admitted {
        Ok(admitted) => {
            let now = now.unwrap_or(admitted.exchange.facts.began);
            admitted.fetch(now)
        }
        Err(Halt::Answered(answered)) => MaybeFuture::Ready(answered.send()),
        Err(Halt::Errand(exchange, errand)) => MaybeFuture::Pending(Box::pin(run(exchange, *errand))),
        Err(Halt::Waits(routed, filter)) => MaybeFuture::Pending(Box::pin(resume(*routed, filter))),
        Err(Halt::Unknown(exchange)) => MaybeFuture::Pending(Box::pin(known(exchange))),
    }
}

/// Waits for as long as a filter asks for it, but not beyond that time: then it says so. Also a wait that is over at once lets other requests
/// go on.
async fn waited(exchange: &mut Exchange, filter: Filter, until: Instant) -> bool {
    let waited = tokio::time::timeout_at(until, filter.wait(&mut exchange.notes)).await;
    tokio::task::yield_now().await;
    waited.is_ok() && Instant::now() < until
}

/// Waits until it is known who asks for a page of ours. Then it goes on there, by the newest snapshot.
async fn known(mut exchange: Box<Exchange>) -> Sent {
    let until = exchange.facts.began + KNOWN;
    if !waited(&mut exchange, Filter::Auth, until).await {
        return Answered::failed(exchange, Error::FilterTimeout).send();
    }
    let worker = exchange.effects.worker.clone();
    let admitted = {
        let snapshot = newest(&worker);
        builtin(exchange, &snapshot).and_then(|received| received.admit(&snapshot))
    };
    go_on(admitted, Some(Instant::now())).end().await
}

/// Waits for as long as filters ask for it, but not beyond the request's own deadline (`first_byte`, where it has none). Then it goes
/// on at the filter that asked, by the newest snapshot.
async fn resume(mut routed: Routed, mut filter: Filter) -> Sent {
    loop {
        let timeouts = &routed.found.entry.route.policy.timeouts;
        let until = routed.exchange.facts.began + timeouts.total.unwrap_or(timeouts.first_byte);
        if !waited(&mut routed.exchange, filter, until).await {
            return Answered::failed(routed.exchange, Error::FilterTimeout).send();
        }
        let worker = routed.exchange.effects.worker.clone();
        let admitted = routed.again(&newest(&worker));
        match admitted {
            Err(Halt::Waits(again, next)) => (routed, filter) = (*again, next),
            admitted => return go_on(admitted, Some(Instant::now())).end().await,
        }
    }
}

fn sent(exchange: Box<Exchange>, outcome: Result<Outcome, Error>) -> Sent {
    match outcome {
        Ok(outcome) => respond(exchange, outcome),
        Err(error) => Answered::failed(exchange, error).send(),
    }
}

#[cfg(test)]
mod tests;
