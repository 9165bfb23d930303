//! The story of a request: head rules, route, auth, an instance, the answer - and a page for everything that goes wrong.

mod answer;
mod attempt;
mod cached;
mod cors;
mod error;
mod exchange;
mod fill;
mod gate;
mod head;
mod headers;
mod origin;
mod own;
mod tee;
mod trace;
mod tunnel;
mod upload;
mod way;
mod websocket;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::body::Body;
use crate::catalog::DiscoveryStatus;
use crate::config::routes::{Action, Target};
use crate::config::{Route, Timeouts};
use crate::filter::cache::{Cache, Fetch, Found as Stored};
use crate::io::Client;
use crate::io::upgrade::Upgrade;
use crate::plane::{Handler, Handoff, MaybeFuture, Pulse};
use crate::snapshot::{Current, Reader, Snapshot};
use crate::telemetry::access::AccessWriter;
use crate::telemetry::metrics::Recorder;
use crate::upstream::pool::Settings;
use crate::upstream::wire::Connector;
use crate::upstream::{LocalService, Upstreams};
use crate::worker::WorkerId;
use answer::{Ending, Pace, Settlement};
use attempt::Reply;
use cached::Asked;
pub use cached::Waiting;
use error::Error;
use exchange::Exchange;
use headers::{Passage, Path};
use origin::{Address, View};
use own::Own;
use trace::TraceId;
use tunnel::Tunnel;
use way::{Forwarding, Way};

/// How long a client waits for the next piece of an answer that is being stored: its own deadlines are behind it.
const STORING: Duration = Duration::from_secs(24 * 3600);

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
    /// Stored answers.
    pub cache: Arc<Cache>,
    /// Fills under way.
    pub waiting: Waiting,
    /// Counts the requests that no route claims.
    pub unrouted: Arc<Recorder>,
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
    type Sent = Response<Body>;

    fn call(&self, request: Request<Body>, client: &Rc<Client>) -> MaybeFuture<Response<Body>> {
        let worker = self.0.clone();
        let mut exchange = Exchange::new(worker.clone(), &request, client);
        let (mut parts, mut body) = request.into_parts();
        match worker.story(&mut exchange, &mut parts, &mut body, client) {
            Ok(Step::Page(page)) => MaybeFuture::Ready(finish(exchange, page)),
            Ok(Step::Stored(answer)) => MaybeFuture::Ready(end(exchange, answer)),
            Ok(Step::Ask(ask)) => MaybeFuture::Pending(Box::pin(worker.ask(exchange, client.clone(), ask))),
            Err(error) => MaybeFuture::Ready(worker.failed(exchange, &error, client)),
        }
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

/// How far a request comes without anybody being asked.
enum Step {
    /// To its answer.
    Page(Response<Bytes>),
    /// To one from the store, which has its id.
    Stored(Response<Bytes>),
    /// To somebody who has it.
    Ask(Ask),
}

/// Who is asked.
enum Ask {
    /// The control plane.
    Plane(Box<own::Errand>),
    /// A service.
    Service(Box<Forwarding>),
    /// A service, for what is to be stored. Boxed: what is asked for on behalf of many need not fit into every request.
    Fill(Option<Box<(Fetch, Asked, Forwarding)>>),
}

impl Worker {
    /// Always answers: what the inner functions cannot, a page explains.
    async fn ask(self: Rc<Worker>, mut exchange: Box<Exchange>, client: Rc<Client>, mut ask: Ask) -> Response<Body> {
        let answered = match &mut ask {
            Ask::Service(forwarding) => match forwarding.run(&self, exchange.began, &mut exchange).await {
                Ok(reply) => return self.pass_on(exchange, reply, &mut forwarding.way),
                Err(error) => Err(error),
            },
            Ask::Fill(fill) => match fill.take() {
                Some(fill) => Box::pin(self.fetch(&mut exchange, *fill)).await,
                None => Err(Error::Panicked),
            },
            Ask::Plane(errand) => self.fetch_page(errand).await.map(Answered::Own),
        };
        match answered {
            Ok(Answered::Upstream(passed)) => {
                let (reply, mut way) = *passed;
                self.pass_on(exchange, reply, &mut way)
            }
            Ok(Answered::Streamed(response)) => stream_on(exchange, response),
            Ok(Answered::Own(response)) => finish(exchange, response),
            Err(error) => self.failed(exchange, &error, &client),
        }
    }

    /// A page that explains an error.
    fn failed(&self, mut exchange: Box<Exchange>, error: &Error, client: &Client) -> Response<Body> {
        exchange.because(error.reason(), error.blame().as_str());
        let response = error::page(error, &exchange.id, &self.hint(error, client));
        finish(exchange, response)
    }

    /// The story, as far as nobody is asked: each step may end it with an error. What goes on to somebody takes the request along.
    fn story(
        &self,
        exchange: &mut Exchange,
        parts: &mut request::Parts,
        body: &mut Body,
        client: &Client,
    ) -> Result<Step, Error> {
        let snapshot = self.snapshot();
        let target = head::check(parts, &snapshot.config.request)?;
        match self.own(&snapshot, &target, parts, client)? {
            Some(Own::Page(page)) => return Ok(Step::Page(page)),
            Some(Own::Errand(errand)) => return Ok(Step::Ask(Ask::Plane(Box::new(errand)))),
            None => {}
        }
        let (found, preflight) = self.find(&snapshot, &target, parts)?;
        let route = found.route.clone();
        exchange.enter(&found, &parts.headers);
        if let (Some(method), Some(cors)) = (preflight, &route.cors) {
            return Ok(Step::Page(cors::preflight(cors, parts, &method)));
        }
        self.admit(&snapshot, &found, parts, client, exchange)?;
        let Some(name) = found.service() else {
            return gate::answer(&found, &target).map(Step::Page).ok_or(Error::NoRoute);
        };
        if route.policy.body.is_some_and(|limit| http_body::Body::size_hint(body).lower() > limit) {
            return Err(Error::BodyTooLarge);
        }
        let service = self.service(&snapshot, name, &route)?;
        exchange.service = Some(service.clone());
        let accept = if target.seen.upgrade { websocket::wanted(parts) } else { None };
        let upgrade = accept.zip(Upgrade::take(&mut parts.extensions));
        let (scheme, told) = origin::asked(client, &parts.headers);
        let form = found.form;
        let mut fetch = None;
        if upgrade.is_none() && route.policy.cache.enabled {
            let address = View { target: &target, scheme, told };
            match self.cached(&parts.method, &parts.headers, address, form, body, exchange.began) {
                Stored::Fresh(entry) => {
                    let now = exchange.began;
                    return Ok(Step::Stored(self.hit(exchange, &entry, &parts.headers, now)));
                }
                Stored::NotCached => return Err(Error::NotCached),
                Stored::Past(why) => {
                    exchange.past = Some(why);
                    self.past(exchange);
                }
                Stored::Fetch(wanted) => {
                    fetch = Some((wanted, Asked { headers: parts.headers.clone(), form: form.clone() }));
                }
            }
        }
        let path = Path::new(&target, &found)?;
        let address = Address { target, scheme, told: told.cloned() };
        let passage = Passage::new(address, path, client, &parts.headers);
        let total = route.policy.timeouts.total.map(|total| exchange.began + total);
        // From here on the request keeps its service and its route, not the snapshot.
        let way = Way { service, route, total, passage, upgrade };
        let forwarding = Forwarding { parts: std::mem::replace(parts, nothing()), body: std::mem::take(body), way };
        Ok(Step::Ask(match fetch {
            Some((fetch, asked)) => Ask::Fill(Some(Box::new((fetch, asked, forwarding)))),
            None => Ask::Service(Box::new(forwarding)),
        }))
    }

    /// The instance's answer, on its way to the client.
    fn pass_on(&self, mut exchange: Box<Exchange>, reply: Reply, way: &mut Way) -> Response<Body> {
        let Way { service, passage, route, total, upgrade } = way;
        let Reply { mut response, answered, local, lease, flight, permit } = reply;
        let instance = local.instance.key.address;
        exchange.status = Some(response.status());
        exchange.instance = Some(instance);
        self.invalidate(&exchange.method, response.status(), passage);
        let keep_alive = headers::response(response.headers_mut(), passage, route, instance, &exchange.id);
        if let Some(why) = exchange.past {
            response = cached::mark(response, &format!("lictor; fwd={}", why.as_str()));
        }
        exchange.dress(response.headers_mut());
        let timeouts = &route.policy.timeouts;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            exchange.stream = true;
            websocket::mark(response.headers_mut());
            permit.into_iter().for_each(|permit| permit.succeeded(answered));
            let upgrade = upgrade.take().map(|(_, client)| client);
            if let Some((client, instance)) = upgrade.zip(lease.connection.upgrade()) {
                let tunnel = Tunnel { exchange, client, instance, flight, lease, idle: timeouts.stream_idle };
                tokio::task::spawn_local(tunnel.run());
            }
            return response.map(|_| Body::Empty);
        }
        let pace = pace(response.headers(), timeouts, *total);
        exchange.stream = pace.stream;
        let began = exchange.began;
        let deadlines = (timeouts.idle, *total);
        let upstream = Some(Settlement { service: service.clone(), permit, flight, lease, keep_alive, deadlines });
        let ending = Ending { exchange: Some(exchange), began, answered, upstream };
        response.map(|body| answer::follow(body, ending, pace))
    }

    /// The newest snapshot; the first look at a new one brings the worker's own state along.
    fn snapshot(&self) -> Arc<Snapshot> {
        let mut reader = self.reader.borrow_mut();
        let (newest, old) = reader.look();
        if let Some(old) = old {
            self.upstreams.follow(&newest.services);
            self.parts.pulse.adopted(self.id, newest.taken.elapsed());
            // When the control plane is behind, freeing the old one here is the lesser evil.
            let _ = self.parts.old.try_send(old);
        }
        newest.clone()
    }

    fn service(&self, snapshot: &Snapshot, name: &str, route: &Route) -> Result<Rc<LocalService>, Error> {
        let named = matches!(&route.action, Action::Forward { service: Target::Named(_), .. });
        let unknown = match (snapshot.catalog.complete, named) {
            (false, _) => Error::NoCatalog,
            // The operator says that it exists.
            (true, true) => Error::NoInstances,
            (true, false) => Error::NoService,
        };
        let service = snapshot.service(name).ok_or(unknown)?;
        self.upstreams.service(service.slot).ok_or(unknown)
    }
}

/// An answer that is stored at the same time, on its way to the client.
fn stream_on(mut exchange: Box<Exchange>, mut response: Response<Body>) -> Response<Body> {
    exchange.status = Some(response.status());
    exchange.dress(response.headers_mut());
    let pace = Pace { idle: STORING, total: None, stream: false };
    let began = exchange.began;
    let ending = Ending { exchange: Some(exchange), began, answered: Instant::now(), upstream: None };
    response.map(|body| answer::follow(body, ending, pace))
}

/// How long the body of an answer may take.
fn pace(headers: &HeaderMap, timeouts: &Timeouts, total: Option<Instant>) -> Pace {
    match is_stream(headers) {
        true => Pace { idle: timeouts.stream_idle, total: None, stream: true },
        false => Pace { idle: timeouts.idle, total, stream: false },
    }
}

/// An event stream may last for hours (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// A head without anything.
fn nothing() -> request::Parts {
    Request::new(()).into_parts().0
}

/// A page of our own.
fn finish(exchange: Box<Exchange>, mut response: Response<Bytes>) -> Response<Body> {
    response.headers_mut().insert(headers::X_REQUEST_ID, exchange.id.value());
    end(exchange, response)
}

/// The end of a request whose answer is whole.
fn end(mut exchange: Box<Exchange>, mut response: Response<Bytes>) -> Response<Body> {
    exchange.status = Some(response.status());
    let head = exchange.method == Method::HEAD;
    exchange.bytes = if head { 0 } else { response.body().len() as u64 };
    exchange.dress(response.headers_mut());
    response.map(Body::from)
}

/// How a request was answered when nothing went wrong.
enum Answered {
    /// By an instance, on behalf of this request alone.
    Upstream(Box<(Reply, Way)>),
    Streamed(Response<Body>),
    Own(Response<Bytes>),
}

#[cfg(test)]
mod tests;
