//! A request that passed everything in front, and the way that it and its answer go.

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

use super::Worker;
use super::attempt::{self, Reply, Rules};
use super::error::Error;
use super::exchange::Exchange;
use super::headers::Passage;
use crate::body::Body;
use crate::config::Route;
use crate::io::upgrade::Upgrade;
use crate::upstream::LocalService;

/// A request on its way to its service.
pub(super) struct Forwarding {
    pub(super) parts: http::request::Parts,
    pub(super) body: Body,
    pub(super) way: Way,
}

/// The way of a request, there and back.
pub(super) struct Way {
    pub(super) service: Rc<LocalService>,
    pub(super) route: Arc<Route>,
    pub(super) total: Option<Instant>,
    pub(super) passage: Passage,
    /// What a 101 must say, and the client's connection, when it asks for a WebSocket.
    pub(super) upgrade: Option<(HeaderValue, Upgrade)>,
}

impl Way {
    /// The same way for an answer that is asked for elsewhere; what is upgraded has one way only.
    pub(super) fn again(&self) -> Way {
        let Way { service, route, total, passage, .. } = self;
        let (service, route, passage) = (service.clone(), route.clone(), passage.clone());
        Way { service, route, total: *total, passage, upgrade: None }
    }
}

impl Forwarding {
    /// `now` is when it is asked for, which may be long after the request began.
    pub(super) async fn run(&mut self, worker: &Worker, now: Instant, exchange: &mut Exchange) -> Result<Reply, Error> {
        let Way { service, route, total, passage, upgrade } = &self.way;
        let head = {
            let mut random = worker.random.borrow_mut();
            passage.head(&self.parts, &route.request_headers, &exchange.id, &mut random, upgrade.is_some())
        };
        let accept = upgrade.as_ref().map(|(accept, _)| accept);
        let rules = Rules { policy: &route.policy, total: *total, accept };
        let fields = std::mem::take(&mut self.parts.headers);
        let mut asked = attempt::Asked { head, fields, body: std::mem::take(&mut self.body) };
        attempt::run(worker, service, rules, &mut asked, now, &mut exchange.attempts).await
    }
}
