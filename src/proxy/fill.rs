//! Asking for what is to be stored: apart from the client that wanted it first, who may leave before it is there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answer::{self, Ending, Settlement};
use super::attempt::{self, Reply};
use super::error::Error;
use super::tee::Tee;
use super::trace::TraceId;
use super::{Forwarding, Way, Worker, headers};
use crate::body::{self, Body};
use crate::config::Policy;
use crate::filter::cache::fills::{Filling, Lead, Outcome};
use crate::filter::cache::{Cache, Entry, Fetch, Life, Whole};

/// What the first client gets.
pub(super) enum What {
    /// What was stored still holds.
    Refreshed(Arc<Entry>),
    /// The answer as it comes, while it is stored.
    Streamed(Box<Response<Body>>),
    /// An answer that is not stored.
    Passed(Box<Reply>),
}

/// What the first client is told.
pub(super) struct Led {
    pub(super) what: Result<What, Error>,
    pub(super) attempts: u32,
    pub(super) instance: Option<SocketAddr>,
}

/// One fill.
pub(super) struct Fill {
    pub(super) worker: Rc<Worker>,
    pub(super) forwarding: Forwarding,
    pub(super) fetch: Fetch,
    pub(super) lead: Lead<Error>,
    /// The client's headers as they came: what the answer may depend on.
    pub(super) asked: Rc<HeaderMap>,
    pub(super) filling: Rc<Filling>,
    pub(super) id: TraceId,
}

impl Fill {
    /// Asks, tells the client, stores.
    pub(super) async fn run(mut self, began: Instant, client: oneshot::Sender<Led>) {
        let mut attempts = 0;
        Cache::prepare(&self.fetch, &mut self.forwarding.parts.headers);
        let Forwarding { parts, body, way: Way { service, route, total, passage, .. } } = &mut self.forwarding;
        let head = {
            let mut random = self.worker.random.borrow_mut();
            passage.head(parts, &route.request_headers, &self.id, &mut random, false)
        };
        let rules = attempt::Rules { policy: &route.policy, total: *total, accept: None };
        let mut asked = attempt::Asked { head, fields: std::mem::take(&mut parts.headers), body: std::mem::take(body) };
        let reply = match attempt::run(&self.worker, service, rules, &mut asked, Instant::now(), &mut attempts).await {
            Ok(reply) => reply,
            Err(error) => {
                // Our own deadline is not that of those who wait.
                let own = matches!(error, Error::TotalTimeout);
                self.lead.tell(if own { Outcome::Again } else { Outcome::Failed(error) });
                let _ = client.send(Led { what: Err(error), attempts, instance: None });
                return;
            }
        };
        let instance = Some(reply.local.instance.key.address);
        let led = |what| Led { what: Ok(what), attempts, instance };
        let (status, now) = (reply.response.status(), Instant::now());
        if status == StatusCode::NOT_MODIFIED && self.fetch.stale.is_some() {
            let (head, body) = self.settled(reply, began).into_parts();
            if let Some(entry) = self.revalidated(&head.headers) {
                let _ = client.send(led(What::Refreshed(entry)));
            }
            drop(body.collect().await);
            return;
        }
        let cache = self.worker.parts.cache.clone();
        let life = match super::is_stream(reply.response.headers()) {
            true => None,
            false => cache.judge(&self.policy().cache, &self.asked, status, reply.response.headers()),
        };
        let Some(life) = life else {
            // An error may be over by now; anything else that may not be stored will stay so for a while.
            let lasts = status.as_u16() < 400 || matches!(status.as_u16(), 404 | 405 | 410 | 414);
            if lasts {
                cache.pass(&self.fetch.key, now);
            }
            self.lead.tell(if lasts { Outcome::Pass } else { Outcome::Again });
            let _ = client.send(led(What::Passed(Box::new(reply))));
            return;
        };
        let (head, body) = self.settled(reply, began).into_parts();
        let tee = Tee::new(&body, &self.filling);
        let streamed = Response::from_parts(head.clone(), tee.body());
        let _ = client.send(led(What::Streamed(Box::new(streamed))));
        self.store(life, now, head, body, tee).await;
    }

    fn policy(&self) -> &Policy {
        &self.forwarding.way.route.policy
    }

    /// What is stored, as a 304 says that it is now.
    fn revalidated(&self, answer: &HeaderMap) -> Option<Arc<Entry>> {
        let cache = &self.worker.parts.cache;
        let policy = &self.policy().cache;
        let (entry, for_all) = cache.revalidated(&self.fetch, policy, &self.asked, answer, self.worker.id)?;
        self.lead.tell(if for_all { reusable(&entry) } else { Outcome::Pass });
        Some(entry)
    }

    /// An answer whose connection and verdict are settled when its body ends, whoever reads it.
    fn settled(&self, reply: Reply, began: Instant) -> Response<Body> {
        let Reply { mut response, answered, local, lease, flight, permit } = reply;
        let Way { service, route, total, passage, .. } = &self.forwarding.way;
        let instance = local.instance.key.address;
        let keep_alive = headers::response(response.headers_mut(), passage, route, instance, &self.id);
        let deadlines = (route.policy.timeouts.idle, *total);
        let upstream = Settlement { service: service.clone(), permit, flight, lease, keep_alive, deadlines };
        let ending = Ending { exchange: None, began, answered, upstream: Some(upstream) };
        let pace = super::pace(response.headers(), &route.policy.timeouts, *total);
        response.map(|body| answer::follow(body, ending, pace))
    }

    /// Reads the whole answer, for the client and for the store. One that grows too large is the client's alone.
    async fn store(self, life: Life, now: Instant, head: http::response::Parts, mut body: Body, tee: Tee) {
        let cache = &self.worker.parts.cache;
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut size = 0;
        loop {
            match body.frame().await.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    size += data.len();
                    let large = size > cache.object();
                    tee.push(data.clone());
                    if large || !self.filling.holds(data.len()) {
                        // Too large it will be the next time, too; that there is no room may be over by then.
                        if large {
                            cache.pass(&self.fetch.key, now);
                        }
                        self.lead.tell(Outcome::Pass);
                        return tee.hand_over(body);
                    }
                    pieces.push(data);
                }
                // Trailers: the client gets them, the store has no place for them.
                Some(Ok(Err(trailers))) => {
                    cache.pass(&self.fetch.key, now);
                    self.lead.tell(Outcome::Pass);
                    tee.push_frame(trailers);
                    return tee.hand_over(body);
                }
                Some(Err(error)) => {
                    self.lead.tell(match &error {
                        body::Error::Deadline | body::Error::Request => Outcome::Again,
                        body::Error::Idle => Outcome::Failed(Error::IdleTimeout),
                        body::Error::Broken(_) | body::Error::TooLarge => Outcome::Failed(Error::Reset),
                    });
                    return tee.fail(error);
                }
                None => break,
            }
        }
        let whole = Whole {
            life,
            status: head.status,
            headers: &head.headers,
            request: &self.asked,
            pieces: &pieces,
            service: self.forwarding.way.service.shared.name.as_str().into(),
            path: self.forwarding.way.passage.address.target.path(),
            now,
        };
        let entry = cache.store(&self.fetch.key, whole, self.worker.id);
        self.lead.tell(reusable(&entry));
        tee.end();
    }
}

/// What those who wait get of an answer that is stored: itself, unless it must be asked about each time.
fn reusable(entry: &Arc<Entry>) -> Outcome<Error> {
    if entry.is_fresh(Instant::now()) { Outcome::Stored(entry.clone()) } else { Outcome::Pass }
}
