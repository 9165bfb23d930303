//! The rules of blocking queries, for one query that is asked for ever:
//! <https://developer.hashicorp.com/consul/api-docs/features/blocking>.

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Block, Client, Error};

/// How long an agent is asked to hold a query.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// The pause after the first error; doubled with each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// The longest pause after an error: a dead agent that comes back is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// An agent that answers sooner than this without news is held back.
const IDLE: Duration = Duration::from_millis(500);

/// One query and what is known of its answers.
#[derive(Debug)]
pub(super) struct Query {
    path: String,
    wait: Duration,
    index: u64,
    errors: u32,
    hasty: u32,
    last: Option<Vec<u8>>,
}

/// What an answer was.
#[derive(Debug)]
pub(super) enum News {
    /// Something else than before.
    Changed(Answer),
    /// The same as before: the wait ended, or something else moved the index.
    Same(u64),
}

impl Query {
    pub(super) fn new(path: String, wait: Duration) -> Query {
        Query { path, wait, index: 0, errors: 0, hasty: 0, last: None }
    }

    /// The next answer. Errors pause before they return, longer each time; the index is forgotten, so that the next
    /// answer is whole and comes at once.
    ///
    /// ## Cancel safety
    /// Dropped, it has asked in vain; the next call asks the same again.
    pub(super) async fn next(&mut self, client: &Client) -> Result<News, Error> {
        let wait = if self.index > 0 { self.wait } else { Duration::ZERO };
        let asked = Instant::now();
        match client.get(&self.path, Block { index: self.index, wait }).await {
            Ok(answer) => Ok(self.took(answer, asked).await),
            Err(error) => {
                self.index = 0;
                self.errors = self.errors.saturating_add(1);
                Err(error)
            }
        }
    }

    /// After an error: a while that grows, with jitter, so that many watches do not come back in step.
    pub(super) async fn pause(&self) {
        let grown = PAUSE.saturating_mul(1 << self.errors.saturating_sub(1).min(10)).min(PAUSE_MAX);
        tokio::time::sleep(grown.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }

    /// How often in a row it failed.
    pub(super) fn errors(&self) -> u32 {
        self.errors
    }

    async fn took(&mut self, answer: Answer, asked: Instant) -> News {
        self.errors = 0;
        // Backwards: a restored snapshot or another server; start over. Never 0 with a wait: that would not block.
        self.index = match answer.index {
            index if index < self.index => 0,
            index => index.max(1),
        };
        if self.last.as_ref() == Some(&answer.body) {
            self.hold_back(asked).await;
            return News::Same(answer.index);
        }
        self.hasty = 0;
        self.last = Some(answer.body.clone());
        News::Changed(answer)
    }

    /// News apply at once, however fast they come; an agent that answers at once without any is asked more and more
    /// slowly.
    async fn hold_back(&mut self, asked: Instant) {
        if asked.elapsed() >= IDLE {
            self.hasty = 0;
            return;
        }
        self.hasty = (self.hasty + 1).min(6);
        tokio::time::sleep(Duration::from_millis(50) * (1 << self.hasty)).await;
    }
}
