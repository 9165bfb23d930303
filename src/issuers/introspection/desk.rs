//! The questions about one issuer's tokens: each is asked once for all who wait, no more at once than a bound, and none while the breaker is
//! open. It is told the time and does no I/O.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answers::Answers;
use super::breaker::{Breaker, Permit};
use super::call::Said;
use super::figures::{Figures, count};
use crate::config::identity::{Introspection, Issuer};
use crate::issuers::http::Failure;
use crate::token::asking::{About, Introspected, SOON};

/// How many questions may be under way at once.
const AT_ONCE: usize = 64;

/// How many requests may wait for answers.
const WAITING: usize = 4096;

/// The questions about one issuer's tokens.
pub(crate) struct Desk {
    /// Whose tokens.
    pub(crate) issuer: Arc<Issuer>,
    /// Where it is asked.
    pub(crate) endpoint: Introspection,
    /// Distinguishes it from others of its name.
    pub(crate) serial: u64,
    /// What is counted.
    pub(crate) figures: Arc<Figures>,
    answers: Answers,
    breaker: Breaker,
    asking: HashMap<[u8; 32], Asking>,
    /// Those that are not asked yet, the first first.
    queue: VecDeque<[u8; 32]>,
    waiting: usize,
    under_way: usize,
    /// The ways in which it refused questions: each is logged once, because strangers can bring them about.
    odd: BTreeSet<String>,
}

/// A token that is asked about, and who waits for the answer.
struct Asking {
    token: Box<str>,
    replies: Vec<oneshot::Sender<Introspected>>,
}

/// A question that is to be asked now.
pub(crate) struct Call {
    /// The token's digest.
    pub(crate) digest: [u8; 32],
    /// The token.
    pub(crate) token: Box<str>,
    /// The breaker's permit.
    pub(crate) permit: Permit,
}

impl Desk {
    /// Instead of another one, of which the configuration said other things: what was answered there does not count, who waits there waits
    /// here, and the counts go on.
    pub(crate) fn new(issuer: Arc<Issuer>, endpoint: Introspection, serial: u64, before: Option<Desk>) -> Desk {
        let (asking, figures) = before.map(|before| (before.asking, before.figures)).unwrap_or_default();
        Desk {
            answers: Answers::new(endpoint.remember),
            issuer,
            endpoint,
            serial,
            figures,
            breaker: Breaker::default(),
            queue: asking.keys().copied().collect(),
            waiting: asking.values().map(|asking| asking.replies.len()).sum(),
            asking,
            under_way: 0,
            odd: BTreeSet::new(),
        }
    }

    /// A request asks about a token.
    pub(crate) fn ask(&mut self, About { digest, token, reply, .. }: About, now: Instant) {
        if let Some(answer) = self.answers.get(&digest, now) {
            count(&self.figures.remembered);
            let _ = reply.send(answer);
            return;
        }
        if self.waiting >= WAITING {
            count(&self.figures.unavailable);
            let _ = reply.send(Introspected::Away { retry_after: SOON });
            return;
        }
        self.waiting += 1;
        match self.asking.get_mut(&digest) {
            Some(asking) => {
                count(&self.figures.coalesced);
                asking.replies.push(reply);
            }
            None => {
                self.asking.insert(digest, Asking { token, replies: vec![reply] });
                self.queue.push_back(digest);
            }
        }
    }

    /// The next question to be asked, if one may be asked now. While the breaker is open nobody waits.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Call> {
        while self.under_way < AT_ONCE {
            let digest = self.queue.pop_front()?;
            let given_up = |asking: &Asking| asking.replies.iter().all(oneshot::Sender::is_closed);
            let Some(asking) = self.asking.get(&digest).filter(|asking| !given_up(asking)) else {
                self.settle(&digest);
                continue;
            };
            match self.breaker.permit(now) {
                Ok(permit) => {
                    self.under_way += 1;
                    self.figures.under_way.store(self.under_way as u64, Ordering::Relaxed);
                    return Some(Call { digest, token: asking.token.clone(), permit });
                }
                Err(wait) => self.away(&digest, wait.max(SOON)),
            }
        }
        None
    }

    /// A question was answered, or not.
    pub(crate) fn end(
        &mut self,
        (digest, permit): ([u8; 32], Permit),
        result: Result<Said, Failure>,
        random: f64,
        (now, wall): (Instant, SystemTime),
    ) {
        self.under_way -= 1;
        self.figures.under_way.store(self.under_way as u64, Ordering::Relaxed);
        match result {
            Ok(said) => {
                self.breaker.succeeded(permit);
                said.odd.into_iter().for_each(|reason| self.declined(reason));
                self.recovered();
                let answer = match said.of_token {
                    Ok(claims) => {
                        count(&self.figures.active);
                        self.answers.hold((digest, said.bytes), claims, now, wall)
                    }
                    Err(rejection) => {
                        count(&self.figures.refused);
                        self.answers.refuse(digest, rejection, now)
                    }
                };
                self.settle(&digest).into_iter().for_each(|reply| drop(reply.send(answer.clone())));
            }
            Err(failure) => {
                self.breaker.failed(permit, random, now);
                count(&self.figures.failed);
                self.failed(failure.reason);
                let replies = self.settle(&digest);
                replies.into_iter().for_each(|reply| drop(reply.send(Introspected::Away { retry_after: SOON })));
            }
        }
        self.figures.tripped.store(!self.breaker.is_closed(), Ordering::Relaxed);
    }

    /// There are no more ways than there are statuses.
    fn declined(&mut self, reason: String) {
        count(&self.figures.declined);
        if !self.odd.contains(&reason) {
            let issuer = &*self.issuer.name;
            tracing::warn!(issuer, "it refuses to say whether a token holds, and that token does not count: {reason}");
            self.odd.insert(reason.clone());
        }
        *self.figures.declined_why.lock() = Some(reason);
    }

    fn recovered(&self) {
        if self.figures.error.lock().take().is_some() {
            tracing::info!(issuer = &*self.issuer.name, "it answers questions about tokens again");
        }
    }

    fn failed(&self, reason: String) {
        let mut error = self.figures.error.lock();
        if error.as_ref() != Some(&reason) {
            tracing::warn!(issuer = &*self.issuer.name, "it does not say whether a token holds: {reason}");
        }
        *error = Some(reason);
    }

    fn away(&mut self, digest: &[u8; 32], retry_after: Duration) {
        for reply in self.settle(digest) {
            count(&self.figures.unavailable);
            let _ = reply.send(Introspected::Away { retry_after });
        }
    }

    /// Nobody waits for an answer about this token any more.
    fn settle(&mut self, digest: &[u8; 32]) -> Vec<oneshot::Sender<Introspected>> {
        let replies = self.asking.remove(digest).map(|asking| asking.replies).unwrap_or_default();
        self.waiting -= replies.len();
        replies
    }
}
