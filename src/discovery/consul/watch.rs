//! The rules of blocking queries, for one query: which index to send, when to ask again, and which answers to doubt.
//! <https://developer.hashicorp.com/consul/api-docs/features/blocking>

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Failure, Lane};

/// Waits and pauses; tests make them short.
#[derive(Clone, Debug)]
pub(crate) struct Timings {
    /// How long a blocking query may wait at the agent.
    pub(crate) wait: Duration,
    /// How much longer an answer may take.
    pub(crate) slack: Duration,
    /// The first pause after an error, and the longest.
    pub(crate) backoff: (Duration, Duration),
    /// The longest pause after an error of the catalog watch, which finds out for all others that the agent is back.
    pub(crate) canary: Duration,
    /// How often a service without a watch of its own is read, at least.
    pub(crate) sweep: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            wait: Duration::from_secs(60),
            slack: Duration::from_secs(10),
            backoff: (Duration::from_millis(200), Duration::from_secs(10)),
            canary: Duration::from_secs(2),
            sweep: Duration::from_secs(10),
        }
    }
}

impl Timings {
    /// The deadline of a blocking query. The agent itself adds up to a sixteenth of the wait, so that not all return at once.
    fn deadline(&self) -> Duration {
        self.wait + self.wait / 16 + self.slack
    }
}

/// How an answer's index compares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// It grew, or is the first one.
    Forward,
    /// It is the same.
    Still,
    /// It went backwards or is missing: the next query does not block.
    Lost,
}

/// The index to send next.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// `None`: the next query does not block.
    pub(crate) index: Option<u64>,
    /// The highest index of any answer so far.
    highest: u64,
}

impl Cursor {
    /// Takes an answer's index; 0 counts as 1, because a query with 0 never blocks.
    pub(crate) fn take(&mut self, answered: Option<u64>) -> Moved {
        let answered = answered.map(|index| index.max(1));
        self.highest = self.highest.max(answered.unwrap_or(0));
        let moved = match (self.index, answered) {
            (_, None) => Moved::Lost,
            (Some(before), Some(now)) if now < before => Moved::Lost,
            (Some(before), Some(now)) if now == before => Moved::Still,
            _ => Moved::Forward,
        };
        self.index = if moved == Moved::Lost { None } else { answered };
        moved
    }
}

/// How often to ask: a token bucket that holds two and gains one a second. An agent that returns at once without news is
/// asked once a second; a real change costs a twentieth, so that up to 20 changes a second apply at once.
#[derive(Debug)]
pub(crate) struct Pace {
    tokens: f64,
    since: Instant,
}

impl Pace {
    const ROOM: f64 = 2.0;

    fn new() -> Pace {
        Pace { tokens: Pace::ROOM, since: Instant::now() }
    }

    /// Pays for an answer; the pause that is due before the next query.
    fn pay(&mut self, moved: Moved, changed: bool) -> Duration {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.since).as_secs_f64()).min(Pace::ROOM);
        self.since = now;
        self.tokens -= match (moved, changed) {
            (_, true) => 0.05,
            // The index also moves when nothing has changed here: a check has other output, another service has gone.
            (Moved::Forward, false) => 0.25,
            (Moved::Still | Moved::Lost, false) => 1.0,
        };
        Duration::from_secs_f64((-self.tokens).max(0.0))
    }
}

/// One query, asked again and again.
#[derive(Debug)]
pub(crate) struct Watch {
    path: String,
    timings: Timings,
    cursor: Cursor,
    pace: Pace,
    failures: u32,
    longest_pause: Duration,
}

impl Watch {
    /// A watch of this path; it has asked nothing yet.
    pub(crate) fn new(path: String, timings: &Timings, longest_pause: Duration) -> Watch {
        let (cursor, pace) = (Cursor::default(), Pace::new());
        Watch { path, timings: timings.clone(), cursor, pace, failures: 0, longest_pause }
    }

    /// The index that the next blocking query will send.
    pub(crate) fn index(&self) -> u64 {
        self.cursor.index.unwrap_or(0)
    }

    /// How many errors there were since the last answer.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Asks once. With `blocking` the query waits at the agent for a change, if there is an index to wait from; after any error
    /// the index is forgotten.
    ///
    /// An answer that `removes` something is confirmed by a consistent read, which the leader answers after it has asked a
    /// quorum, where there is doubt: there is no known leader, or the index is below one seen before. An agent that has just
    /// started answers stale reads from a store that it has not filled yet.
    pub(crate) async fn ask<T>(
        &mut self,
        lane: &mut Lane,
        blocking: bool,
        parse: impl Fn(&[u8]) -> Result<T, String>,
        removes: impl Fn(&T) -> bool,
    ) -> Result<(T, Moved), Failure> {
        let highest = self.cursor.highest;
        let result = async {
            let answer = lane.get(&self.path, &self.query(blocking), self.timings.deadline()).await?;
            let parsed = parse(&answer.body).map_err(Failure::not_understood)?;
            let doubt = answer.known_leader == Some(false) || answer.index.is_some_and(|index| index < highest);
            if !doubt || !removes(&parsed) {
                return Ok((parsed, answer.index, false));
            }
            let sure = [("consistent", String::new())];
            let answer = lane.get(&self.path, &sure, self.timings.deadline()).await?;
            Ok((parse(&answer.body).map_err(Failure::not_understood)?, answer.index, true))
        };
        match result.await {
            Ok((parsed, index, confirmed)) => {
                self.failures = 0;
                if confirmed {
                    // The store was replaced: only its indexes count from now on.
                    self.cursor.highest = 0;
                }
                Ok((parsed, self.cursor.take(index)))
            }
            Err(failure) => {
                self.fail();
                Err(failure)
            }
        }
    }

    /// Counts an error: the index is forgotten, and the next pause is longer.
    pub(crate) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.cursor.index = None;
    }

    /// The pause after an answer; almost always none.
    pub(crate) fn pause(&mut self, moved: Moved, changed: bool) -> Duration {
        self.pace.pay(moved, changed)
    }

    /// The pause after an error: doubled each time, and between a half and all of that by chance, so that not all watches
    /// return at once.
    pub(crate) fn backoff(&self) -> Duration {
        let doubled = self.timings.backoff.0.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        doubled.min(self.longest_pause).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    fn query(&self, blocking: bool) -> Vec<(&'static str, String)> {
        let mut query = vec![("stale", String::new())];
        if let (true, Some(index)) = (blocking, self.cursor.index) {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", self.timings.wait.as_millis())));
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_goes_backwards_is_dropped_and_zero_counts_as_one() {
        let mut cursor = Cursor::default();
        let table = [
            (Some(0), Moved::Forward, Some(1)),
            (Some(0), Moved::Still, Some(1)),
            (Some(9), Moved::Forward, Some(9)),
            (Some(9), Moved::Still, Some(9)),
            (Some(4), Moved::Lost, None),
            (Some(4), Moved::Forward, Some(4)),
            (None, Moved::Lost, None),
        ];
        for (answered, moved, next) in table {
            assert_eq!((cursor.take(answered), cursor.index), (moved, next), "{answered:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_returns_at_once_is_asked_once_a_second() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        for _ in 0..32 {
            tokio::time::sleep(pace.pay(Moved::Still, false)).await; // paused time
        }
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn real_changes_apply_at_once_and_a_full_wait_costs_nothing() {
        let mut pace = Pace::new();
        assert!((0..40).all(|_| pace.pay(Moved::Forward, true).is_zero()));
        assert!(pace.pay(Moved::Forward, true) < Duration::from_millis(100));
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(60)).await;
            assert!(pace.pay(Moved::Still, false).is_zero());
        }
    }

    #[test]
    fn pauses_after_errors_double_up_to_the_longest() {
        let timings = Timings::default();
        let mut watch = Watch::new("/".into(), &timings, timings.backoff.1);
        for (failures, at_most) in [(1, 200), (2, 400), (6, 6_400), (7, 10_000), (u32::MAX, 10_000)] {
            watch.failures = failures;
            let pause = watch.backoff().as_millis();
            assert!((at_most / 2..=at_most).contains(&pause), "{failures}: {pause}");
        }
    }
}
