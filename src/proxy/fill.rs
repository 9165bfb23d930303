//! Asking for what is to be stored: apart from the client that wanted it first, who may leave before it is there.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Call, Passed, Request};
use super::error::Error;
use super::exchange::Worker;
use super::forward::forward;
use super::respond::{Ending, follow};
use super::tee::Tee;
use crate::config::policy;
use crate::filter::cache::fills::{Filling, Lead, Outcome};
use crate::filter::cache::{Cache, Entry, Fetch, Life, Whole};
use crate::io::body::{self, Body};
use crate::request::Attempts;
use crate::upstream::verdict;

/// What the first client gets.
pub(super) enum Brought {
    /// What was stored still holds.
    Refreshed(Arc<Entry>),
    /// The answer as it comes, while it is stored.
    Filling(Box<Response<Body>>),
    /// An answer that is not stored.
    Passed(Box<Passed>),
}

/// What the first client is told.
pub(super) struct Led {
    pub(super) brought: Result<Brought, Error>,
    pub(super) attempts: Attempts,
}

/// One fill.
pub(super) struct Fill {
    pub(super) worker: Rc<Worker>,
    pub(super) request: Request,
    pub(super) call: Box<Call>,
    pub(super) fetch: Fetch,
    pub(super) lead: Lead<Error>,
    /// The client's headers as they came: what the answer may depend on.
    pub(super) headers: Rc<HeaderMap>,
    pub(super) filling: Rc<Filling>,
}

impl Fill {
    /// Asks, tells the client, stores.
    pub(super) async fn run(mut self, began: Instant, client: oneshot::Sender<Led>) {
        let mut attempts = Attempts::default();
        Cache::prepare(&self.fetch, &mut self.request.head.headers);
        let passed = forward(&self.worker, &mut self.request, &self.call, Instant::now(), &mut attempts).await;
        let passed = match passed {
            Ok(passed) => passed,
            Err(error) => {
                // Our own deadline is not that of those who wait.
                let own = matches!(error, Error::Attempt(verdict::Outcome::TotalTimeout));
                self.lead.tell(if own { Outcome::Again } else { Outcome::Failed(error.clone()) });
                let _ = client.send(Led { brought: Err(error), attempts });
                return;
            }
        };
        let (status, now) = (passed.response.status(), Instant::now());
        // What was stored still holds: its answer is what is stored.
        if status == StatusCode::NOT_MODIFIED && self.fetch.stale.is_some() {
            let (head, body) = settled(passed, began).into_parts();
            if let Some(entry) = self.revalidated(&head.headers) {
                let _ = client.send(Led { brought: Ok(Brought::Refreshed(entry)), attempts });
            }
            drop(body.collect().await);
            return;
        }
        // An answer that may not be stored is the first client's alone.
        let cache = self.worker.resources.cache.clone();
        let life = match passed.pace.stream {
            true => None,
            false => cache.judge(self.policy(), &self.headers, status, passed.response.headers()),
        };
        let Some(life) = life else {
            // An error may be over by now; anything else that may not be stored will stay so for a while.
            let lasts = status.as_u16() < 400 || matches!(status.as_u16(), 404 | 405 | 410 | 414);
            if lasts {
                cache.pass(&self.fetch.key, now);
            }
            self.lead.tell(if lasts { Outcome::Pass } else { Outcome::Again });
            let _ = client.send(Led { brought: Ok(Brought::Passed(passed)), attempts });
            return;
        };
        // One that may be stored goes to the client and into the store at the same time.
        let (head, body) = settled(passed, began).into_parts();
        let tee = Tee::new(&body, &self.filling);
        let streamed = Response::from_parts(head.clone(), tee.body());
        let _ = client.send(Led { brought: Ok(Brought::Filling(Box::new(streamed))), attempts });
        self.store(life, now, head, body, tee).await;
    }

    fn policy(&self) -> &policy::Cache {
        &self.call.route.route.policy.cache
    }

    /// What is stored, as a 304 says that it is now.
    fn revalidated(&self, answer: &HeaderMap) -> Option<Arc<Entry>> {
        let cache = &self.worker.resources.cache;
        let (entry, for_all) = cache.revalidated(&self.fetch, self.policy(), &self.headers, answer, self.worker.id)?;
        self.lead.tell(if for_all { reusable(&entry) } else { Outcome::Pass });
        Some(entry)
    }

    /// Reads the whole answer, for the client and for the store. One that grows too large is the client's alone.
    async fn store(self, life: Life, now: Instant, head: http::response::Parts, mut body: Body, tee: Tee) {
        let cache = &self.worker.resources.cache;
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
                        body::Error::Idle => Outcome::Failed(Error::Attempt(verdict::Outcome::Idle)),
                        _ => Outcome::Failed(Error::Attempt(verdict::Outcome::Cut)),
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
            request: &self.headers,
            pieces: &pieces,
            service: self.call.service.shared.name.as_str().into(),
            path: self.request.target.path(),
            now,
        };
        let entry = cache.store(&self.fetch.key, whole, self.worker.id);
        self.lead.tell(reusable(&entry));
        tee.end();
    }
}

/// An answer whose connection and verdict are settled when its body ends, whoever reads it.
fn settled(passed: Box<Passed>, began: Instant) -> Response<Body> {
    let Passed { response, answered, settlement, pace, .. } = *passed;
    let ending = Ending { exchange: None, began, settlement: Some(settlement) };
    response.map(|body| follow(body, ending, pace, answered))
}

/// What those who wait get of an answer that is stored: itself, unless it must be asked about each time.
fn reusable(entry: &Arc<Entry>) -> Outcome<Error> {
    if entry.is_fresh(Instant::now()) { Outcome::Stored(entry.clone()) } else { Outcome::Pass }
}
