//! What is known of one request while it is answered, for headers, pages and the access line: it is written when the
//! exchange falls, however the request ended.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::time::Instant;

use super::trace::TraceId;
use super::{Worker, gate, origin};
use crate::catalog::ServiceName;
use crate::config::Route;
use crate::filter::cache::Forward;
use crate::filter::limit::Told;
use crate::io::Client;
use crate::telemetry::access::Line;

/// What the access line says of a client that left before any answer; no client ever sees it.
const CLIENT_CLOSED: u16 = 499;

/// One request and what became of it.
#[derive(Debug)]
pub(super) struct Exchange {
    worker: Rc<Worker>,
    pub(super) id: TraceId,
    pub(super) began: Instant,
    pub(super) client: IpAddr,
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) route: Option<Arc<Route>>,
    /// Who asks from a page of another origin, where the route has a word on that.
    pub(super) origin: Option<HeaderValue>,
    /// What the answer says of the client's limits: of its plan, and of the route.
    pub(super) told: [Option<Told>; 2],
    pub(super) service: Option<ServiceName>,
    pub(super) instance: Option<SocketAddr>,
    pub(super) consumer: Option<Arc<str>>,
    pub(super) attempts: u32,
    /// `None` until there is an answer.
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: u64,
    /// What the cache had to do with it: `hit`, `miss`, …; empty where there is none.
    pub(super) cache: &'static str,
    /// Why it went past the cache.
    pub(super) past: Option<Forward>,
    reason: &'static str,
    blame: &'static str,
}

impl Exchange {
    /// A request that just came.
    pub(super) fn new<B>(worker: Rc<Worker>, request: &Request<B>, client: &Client) -> Exchange {
        let id = TraceId::new(&mut worker.random.borrow_mut());
        Exchange {
            worker,
            id,
            began: Instant::now(),
            client: origin::address(client, request.headers()),
            method: request.method().clone(),
            target: request.uri().clone(),
            route: None,
            origin: None,
            told: [None, None],
            service: None,
            instance: None,
            consumer: None,
            attempts: 0,
            status: None,
            bytes: 0,
            cache: "",
            past: None,
            reason: "",
            blame: "",
        }
    }

    /// It has a route.
    pub(super) fn enter(&mut self, route: &Arc<Route>, headers: &HeaderMap) {
        if route.cors.is_some() {
            self.origin = headers.get(header::ORIGIN).cloned();
        }
        self.route = Some(route.clone());
    }

    /// Gives an answer what its route says every answer has.
    pub(super) fn dress(&mut self, headers: &mut HeaderMap) {
        if let Some(route) = self.route.clone() {
            gate::dress(&route, self, headers);
        }
    }

    /// Why it ended as it did, and whose doing that is.
    pub(super) fn because(&mut self, reason: &'static str, blame: &'static str) {
        (self.reason, self.blame) = (reason, blame);
    }

    fn line(&self) -> Line<'_> {
        let (status, reason, blame) = match self.status {
            Some(status) => (status.as_u16(), self.reason, self.blame),
            None if std::thread::panicking() => (500, "panic", "gateway"),
            None => (CLIENT_CLOSED, "client_gone", "client"),
        };
        Line {
            time: SystemTime::now(),
            request_id: self.id.as_str(),
            client: self.client,
            method: self.method.as_str(),
            path: self.target.path(),
            status,
            bytes: self.bytes,
            duration: self.began.elapsed(),
            route: self.route.as_ref().map(|route| &*route.name).unwrap_or_default(),
            service: self.service.as_ref().map(ServiceName::as_str).unwrap_or_default(),
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
        // During a panic the writer may be the one that is borrowed.
        if let Some(Ok(mut access)) = self.worker.access.as_ref().map(|access| access.try_borrow_mut()) {
            access.line(&self.line());
        }
    }
}
