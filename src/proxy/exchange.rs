//! What is known of one request while it is answered, for headers, pages and the access line: it is written when the
//! exchange falls, however the request ended.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::time::Instant;

use super::trace::TraceId;
use super::{Worker, gate, origin};
use crate::config::Route;
use crate::filter::cache::Forward;
use crate::filter::limit::Remaining;
use crate::io::Client;
use crate::route::Found;
use crate::telemetry::access::Line;
use crate::telemetry::metrics::Recorder;
use crate::upstream::LocalService;

/// What the access line says of a client that left before any answer; no client ever sees it.
const CLIENT_CLOSED: u16 = 499;

/// One request and what became of it.
#[derive(Debug)]
pub(super) struct Exchange {
    worker: Rc<Worker>,
    pub(super) id: TraceId,
    pub(super) began: Instant,
    /// Just now, where that is known.
    pub(super) ended: Option<Instant>,
    pub(super) client: IpAddr,
    pub(super) method: Method,
    /// For the access line, where there is one.
    target: Option<Uri>,
    pub(super) route: Option<Arc<Route>>,
    recorder: Option<Arc<Recorder>>,
    /// Who asks from a page of another origin, where the route has a word on that.
    pub(super) origin: Option<HeaderValue>,
    /// What the answer says of the client's limits: of its plan, and of the route.
    pub(super) remaining: [Option<Remaining>; 2],
    pub(super) service: Option<Rc<LocalService>>,
    pub(super) instance: Option<SocketAddr>,
    pub(super) consumer: Option<Arc<str>>,
    pub(super) attempts: u32,
    /// `None` until there is an answer.
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: u64,
    /// Its answer is a stream, whose end says nothing of speed.
    pub(super) stream: bool,
    /// What the cache had to do with it: `hit`, `miss`, …; empty where there is none.
    pub(super) cache: &'static str,
    /// Why it went past the cache.
    pub(super) past: Option<Forward>,
    reason: &'static str,
    blame: &'static str,
}

impl Exchange {
    /// A request that just came.
    pub(super) fn new<B>(worker: Rc<Worker>, request: &Request<B>, client: &Client) -> Box<Exchange> {
        let id = TraceId::new(&mut worker.random.borrow_mut());
        let target = worker.access.is_some().then(|| request.uri().clone());
        Box::new(Exchange {
            worker,
            id,
            began: Instant::now(),
            ended: None,
            client: origin::address(client, request.headers()),
            method: request.method().clone(),
            target,
            route: None,
            recorder: None,
            origin: None,
            remaining: [None, None],
            service: None,
            instance: None,
            consumer: None,
            attempts: 0,
            status: None,
            bytes: 0,
            stream: false,
            cache: "",
            past: None,
            reason: "",
            blame: "",
        })
    }

    /// It has a route.
    pub(super) fn enter(&mut self, found: &Found<'_>, headers: &HeaderMap) {
        if found.route.cors.is_some() {
            self.origin = headers.get(header::ORIGIN).cloned();
        }
        self.route = Some(found.route.clone());
        self.recorder = Some(found.recorder.clone());
    }

    /// What is left of the client's limit, for an answer whose headers its route leaves alone: [`Exchange::dress`] says it otherwise,
    /// after the route's changes.
    pub(super) fn limit(&mut self) -> Option<Remaining> {
        let unchanged = self.route.as_ref().is_some_and(|route| route.response_headers.is_empty());
        if unchanged { self.remaining.iter_mut().find_map(Option::take) } else { None }
    }

    /// Gives an answer what its route says every answer has.
    pub(super) fn dress(&mut self, headers: &mut HeaderMap) {
        if let Some(route) = self.route.take() {
            gate::dress(&route, self, headers);
            self.route = Some(route);
        }
    }

    /// Why it ended as it did, and whose doing that is.
    pub(super) fn because(&mut self, reason: &'static str, blame: &'static str) {
        (self.reason, self.blame) = (reason, blame);
    }

    /// How it ended, why, and whose doing that is.
    fn outcome(&self) -> (u16, &'static str, &'static str) {
        match self.status {
            Some(status) => (status.as_u16(), self.reason, self.blame),
            None if std::thread::panicking() => (500, "panic", "gateway"),
            None => (CLIENT_CLOSED, "client_gone", "client"),
        }
    }

    fn count(&self, status: u16, duration: Duration) {
        let worker = self.worker.id.0;
        let took = (!self.stream).then_some(duration);
        match &self.recorder {
            Some(recorder) => recorder.record(worker, status, took),
            None => self.worker.parts.unrouted.record(worker, status, took),
        }
        if let Some(service) = &self.service {
            let recorder = &service.shared.state.recorder;
            recorder.record(worker, status, took);
            if self.attempts > 1 {
                recorder.retried(worker, self.attempts - 1);
            }
        }
    }

    fn line(&self, (status, reason, blame): (u16, &'static str, &'static str), duration: Duration) -> Line<'_> {
        Line {
            time: SystemTime::now(),
            request_id: self.id.as_str(),
            client: self.client,
            method: self.method.as_str(),
            path: self.target.as_ref().map(Uri::path).unwrap_or_default(),
            status,
            bytes: self.bytes,
            duration,
            route: self.route.as_ref().map(|route| &*route.name).unwrap_or_default(),
            service: self.service.as_ref().map(|service| service.shared.name.as_str()).unwrap_or_default(),
            instance: self.instance,
            attempts: self.attempts,
            consumer: self.consumer.as_deref().unwrap_or_default(),
            cache: self.cache,
            reason,
            blame,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (outcome, duration) = (self.outcome(), self.ended.unwrap_or_else(Instant::now) - self.began);
        self.count(outcome.0, duration);
        // During a panic the writer may be the one that is borrowed.
        if let Some(Ok(mut access)) = self.worker.access.as_ref().map(|access| access.try_borrow_mut()) {
            access.line(&self.line(outcome, duration));
        }
    }
}
