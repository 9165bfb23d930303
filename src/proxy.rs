//! The story of a request: head rules, route, auth, an instance, the answer - and a page for everything that goes wrong.

mod answer;
mod attempt;
mod cors;
mod error;
mod exchange;
mod gate;
mod head;
mod headers;
mod origin;
mod own;
mod trace;
mod upload;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::body::Body;
use crate::catalog::DiscoveryStatus;
use crate::io::Client;
use crate::plane::{Handler, Handoff, Pulse, WorkerId};
use crate::snapshot::{Current, Reader, Snapshot};
use crate::telemetry::access::AccessWriter;
use crate::upstream::pool::Settings;
use crate::upstream::wire::Connector;
use crate::upstream::{LocalService, Upstreams};
use answer::Ending;
use attempt::{Reply, Rules};
use error::Error;
use exchange::Exchange;
use headers::Passage;
use trace::TraceId;

/// What every worker's proxy is made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where snapshots are published.
    pub current: Current,
    /// Where snapshots go when nobody needs them any more.
    pub old: tokio::sync::mpsc::Sender<Arc<Snapshot>>,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// The way to the control plane.
    pub handoff: Handoff,
    /// How discovery fares, for `/ready`.
    pub discovery: watch::Receiver<Arc<DiscoveryStatus>>,
    /// Where connections to instances come from.
    pub connector: Connector,
}

/// One worker's proxy.
#[derive(Debug)]
pub struct Proxy(Rc<Worker>);

/// Everything that a worker's requests share.
#[derive(Debug)]
struct Worker {
    id: WorkerId,
    parts: Parts,
    reader: RefCell<Reader>,
    upstreams: Upstreams,
    random: RefCell<fastrand::Rng>,
    access: Option<RefCell<AccessWriter>>,
}

impl Proxy {
    /// A worker's proxy; `access` is where its access lines go, if any are wanted.
    pub fn new(id: WorkerId, parts: Parts, access: Option<AccessWriter>) -> Proxy {
        let reader = parts.current.reader();
        let config = parts.current.load().config.clone();
        let settings = Settings {
            connector: parts.connector.clone(),
            idle: (config.pool.idle / config.workers).max(1),
            idle_age: config.pool.idle_age,
        };
        let upstreams = Upstreams::new(id, settings);
        upstreams.follow(&parts.current.load().services);
        Proxy(Rc::new(Worker {
            id,
            parts,
            reader: RefCell::new(reader),
            upstreams,
            random: RefCell::new(fastrand::Rng::new()),
            access: access.map(RefCell::new),
        }))
    }
}

impl Handler for Proxy {
    fn call(&self, request: Request<Body>, client: &Rc<Client>) -> impl Future<Output = Response<Body>> + 'static {
        self.0.clone().answer(request, client.clone())
    }

    fn woken(&self) {
        self.0.snapshot();
    }

    fn tick(&self) {
        self.0.upstreams.tick();
        if let Some(access) = &self.0.access {
            access.borrow_mut().flush();
        }
    }

    fn panicked(&self) -> Response<Body> {
        let id = TraceId::new(&mut self.0.random.borrow_mut());
        let mut page = error::page(&Error::Panicked, &id, "").map(Body::from);
        page.headers_mut().insert(headers::X_REQUEST_ID, id.value());
        page
    }
}

impl Worker {
    /// Always answers: what the inner function cannot, a page explains.
    async fn answer(self: Rc<Worker>, request: Request<Body>, client: Rc<Client>) -> Response<Body> {
        let mut exchange = Exchange::new(self.clone(), &request, &client);
        match self.clone().forward(&mut exchange, request, &client).await {
            Ok(Answered::Upstream(passed)) => pass_on(exchange, *passed),
            Ok(Answered::Own(response)) => finish(exchange, response),
            Err(error) => {
                exchange.because(error.reason(), error.blame().as_str());
                let response = error::page(&error, &exchange.id, &self.hint(&error, &client));
                finish(exchange, response)
            }
        }
    }

    /// The story: each step may end it with an error.
    async fn forward(
        self: Rc<Worker>,
        exchange: &mut Exchange,
        request: Request<Body>,
        client: &Client,
    ) -> Result<Answered, Error> {
        let snapshot = self.snapshot();
        let (mut parts, body) = request.into_parts();
        let target = head::check(&parts, &snapshot.config.request)?;
        if let Some(page) = self.own(&snapshot, &target, &parts, client).await? {
            return Ok(Answered::Own(page));
        }
        let (found, preflight) = self.find(&snapshot, &target, &parts)?;
        let route = found.route.clone();
        exchange.enter(&route, &parts.headers);
        if let (Some(method), Some(cors)) = (preflight, &route.cors) {
            return Ok(Answered::Own(cors::preflight(cors, &parts, &method)));
        }
        self.admit(&snapshot, &found, &parts, exchange)?;
        let Some(name) = found.service() else {
            return gate::answer(&found, &target).map(Answered::Own).ok_or(Error::NoRoute);
        };
        let service = self.service(&snapshot, name)?;
        exchange.service = Some(service.shared.name.clone());
        let passage =
            headers::request(&mut parts, &target, &found, client, &exchange.id, &mut self.random.borrow_mut())?;
        // From here on the request keeps its service and its route, not the snapshot.
        drop(found);
        drop(snapshot);
        let policy = &route.policy;
        let total = policy.timeouts.total.map(|total| exchange.began + total);
        let rules = Rules { policy, total };
        let reply = attempt::run(&self, &service, rules, parts, body, exchange.began, &mut exchange.attempts).await?;
        Ok(Answered::Upstream(Box::new(Passed { reply, service, passage, idle: policy.timeouts.idle, total })))
    }

    /// The newest snapshot; the first look at a new one brings the worker's own state along.
    fn snapshot(&self) -> Arc<Snapshot> {
        let mut reader = self.reader.borrow_mut();
        let (newest, old) = reader.look();
        if let Some(old) = old {
            self.upstreams.follow(&newest.services);
            // When the control plane is behind, freeing the old one here is the lesser evil.
            let _ = self.parts.old.try_send(old);
        }
        newest.clone()
    }

    fn service(&self, snapshot: &Snapshot, name: &str) -> Result<Rc<LocalService>, Error> {
        let unknown = if snapshot.catalog.complete { Error::NoService } else { Error::NoCatalog };
        let service = snapshot.service(name).ok_or(unknown)?;
        self.upstreams.service(service.slot).ok_or(unknown)
    }
}

/// The instance's answer, on its way to the client.
fn pass_on(mut exchange: Exchange, passed: Passed) -> Response<Body> {
    let Passed { reply, service, passage, idle, total } = passed;
    let Reply { mut response, local, lease, flight, permit } = reply;
    let instance = local.instance.key.address;
    exchange.status = Some(response.status());
    exchange.instance = Some(instance);
    let keep_alive = headers::response(response.headers_mut(), &passage, instance, &exchange.id);
    exchange.dress(response.headers_mut());
    let ending = Ending { exchange, service, permit, flight, lease, keep_alive };
    response.map(|body| answer::follow(body, ending, idle, total))
}

/// A page of our own.
fn finish(mut exchange: Exchange, mut response: Response<Bytes>) -> Response<Body> {
    exchange.status = Some(response.status());
    exchange.bytes = response.body().len() as u64;
    response.headers_mut().insert(headers::X_REQUEST_ID, exchange.id.value());
    exchange.dress(response.headers_mut());
    response.map(Body::from)
}

/// How a request was answered when nothing went wrong.
enum Answered {
    Upstream(Box<Passed>),
    Own(Response<Bytes>),
}

/// An instance's answer, with what it takes to pass it on.
struct Passed {
    reply: Reply,
    service: Rc<LocalService>,
    passage: Passage,
    idle: Duration,
    total: Option<Instant>,
}

#[cfg(test)]
mod tests;
