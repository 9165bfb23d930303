//! Asking for what is to be stored: apart from the client that wanted it first, who may leave before it is there.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::{Call, Passed, Request};
use super::error::Error;
use super::exchange::Worker;
use super::forward::bring;
use super::respond::{Ending, follow};
use super::tee::Tee;
use crate::config::policy;
use crate::fields::LICTOR_PARTIAL;
use crate::filter::cache::fills::{Filling, Lead, Outcome};
use crate::filter::cache::{Answer, Cache, Entry, Fetch, Head, Key};
use crate::io::body::{self, Body};
use crate::request::Attempts;
use crate::upstream::verdict;

/// Pieces of an answer that are taken in one go.
const PIECES: u32 = 2048;

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
    pub(super) filling: Filling,
}

impl Fill {
    /// Asks, tells the client, stores.
    pub(super) async fn run(mut self, began: Instant, client: oneshot::Sender<Led>) {
        let mut attempts = Attempts::default();
        Cache::prepare(&self.fetch, &mut self.request.head.headers);
        let passed = bring(&self.worker, &mut self.request, &self.call, Instant::now(), &mut attempts).await;
        let passed = match passed {
            Ok(passed) => passed,
            Err(error) => {
                // Our own deadline is not that of those who wait, and what this client provoked is not theirs: a part of an aggregate
                // may have been refused to this one alone.
                let own = matches!(
                    error,
                    Error::Attempt(verdict::Outcome::TotalTimeout | verdict::Outcome::BadAnswer)
                        | Error::Part(_)
                        | Error::NotShaped
                        | Error::AnswerTooLarge
                );
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
        let cache = self.worker.resources.cache.clone();
        let kept = match passed.pace.stream {
            true => None,
            false => cache.judge(self.policy(), &self.headers, status, passed.response.headers(), now),
        };
        // An answer that may not be stored is the first client's alone.
        let Some(kept) = kept else {
            // An error may be over by now, and so may be what kept a part away; anything else that may not be stored will stay so for a while.
            let partial = passed.response.headers().contains_key(LICTOR_PARTIAL);
            let lasts = (status.as_u16() < 400 && !partial) || matches!(status.as_u16(), 404 | 405 | 410 | 414);
            if lasts {
                cache.pass(&self.fetch.key, now);
            }
            self.lead.tell(if lasts { Outcome::Pass } else { Outcome::Again });
            let _ = client.send(Led { brought: Ok(Brought::Passed(passed)), attempts });
            return;
        };
        // One that may be stored goes to the client and into the store at the same time.
        let (head, body) = settled(passed, began).into_parts();
        let (storing, filling) = self.answered(kept);
        let tee = Tee::new(&body, filling);
        let streamed = Response::from_parts(head, tee.body());
        let _ = client.send(Led { brought: Ok(Brought::Filling(Box::new(streamed))), attempts });
        storing.store(body, tee).await;
    }

    fn policy(&self) -> &policy::Cache {
        &self.call.route.route.policy.cache
    }

    /// What is stored, as a 304 says that it is now.
    fn revalidated(&self, answer: &HeaderMap) -> Option<Arc<Entry>> {
        let cache = &self.worker.resources.cache;
        let (entry, for_all) = cache.revalidated(&self.fetch, self.policy(), &self.headers, answer, self.worker.id)?;
        self.lead.tell(if for_all { reusable(Answer::of(&entry)) } else { Outcome::Pass });
        Some(entry)
    }

    /// What is left to do when the head has come. The request is let go: its fields are slices of what was read from its client.
    fn answered(self, head: Head) -> (Storing, Filling) {
        let Fill { worker, call, fetch, lead, mut filling, .. } = self;
        filling.answered(&head);
        (Storing { worker, key: fetch.key, lead, head, service: call.goal.services() }, filling)
    }
}

/// A fill whose answer is coming.
struct Storing {
    worker: Rc<Worker>,
    key: Key,
    lead: Lead<Error>,
    head: Head,
    service: Arc<str>,
}

impl Storing {
    /// Reads the whole answer, for the client and for the store. One that grows too large is the client's alone.
    async fn store(self, mut body: Body, tee: Tee) {
        let cache = &self.worker.resources.cache;
        for pieces in 1_u32.. {
            match body.frame().await.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    let large = tee.len() + data.len() > cache.object();
                    if large || !tee.push(&data) {
                        // Too large it will be the next time, too; that there is no room may be over by then.
                        if large {
                            cache.pass(&self.key, Instant::now());
                        }
                        self.lead.tell(Outcome::Pass);
                        return tee.hand_over(Frame::data(data), body);
                    }
                }
                // Trailers: the client gets them, the store has no place for them.
                Some(Ok(Err(trailers))) => {
                    cache.pass(&self.key, Instant::now());
                    self.lead.tell(Outcome::Pass);
                    return tee.hand_over(trailers, body);
                }
                Some(Err(error)) => {
                    self.lead.tell(match &error {
                        body::Error::Deadline | body::Error::Request | body::Error::Departed => Outcome::Again,
                        body::Error::Idle => Outcome::Failed(Error::Attempt(verdict::Outcome::Idle)),
                        _ => Outcome::Failed(Error::Attempt(verdict::Outcome::Cut)),
                    });
                    return tee.fail(error);
                }
                None => break,
            }
            // What was read at once may hold many small pieces: others have their turn between them.
            if pieces % PIECES == 0 {
                tokio::task::yield_now().await;
            }
        }
        let Storing { worker, key, lead, head, service } = self;
        // Its place on the way is free before it takes its own.
        let whole = tee.whole();
        tee.end();
        lead.tell(reusable(worker.resources.cache.store(&key, head, whole, service, worker.id)));
    }
}

/// An answer whose connection and verdict are settled when its body ends, whoever reads it.
pub(super) fn settled(passed: Box<Passed>, began: Instant) -> Response<Body> {
    let Passed { response, answered, settlement, pace, .. } = *passed;
    let ending = Ending { exchange: None, began, settlement };
    response.map(|body| follow(body, ending, pace, answered))
}

/// What those who wait get of an answer that is stored: itself, unless it must be asked about each time.
fn reusable(answer: Answer) -> Outcome<Error> {
    if answer.entry.is_fresh(Instant::now()) { Outcome::Stored(answer) } else { Outcome::Pass }
}
