//! The rules of blocking queries, for one query: which index to send, when to ask again, and which answers to doubt.
//! <https://developer.hashicorp.com/consul/api-docs/features/blocking>

use std::time::Duration;

use tokio::time::Instant;

use super::client::{Answer, Failure, Lane, Patience};
use super::state::Evidence;

/// Waits and pauses; tests make them short.
#[derive(Clone, Debug)]
pub(crate) struct Timings {
    /// How long a blocking query may wait at the agent.
    pub(crate) wait: Duration,
    /// How much longer an answer may take.
    pub(crate) slack: Duration,
    /// The first pause after an error, and the longest.
    pub(crate) backoff: (Duration, Duration),
    /// The longest pause after an error of the catalog watch, which finds out for all others that the agent is back; and its pause while
    /// the token does not see what it must see.
    pub(crate) canary: Duration,
    /// How often something small is asked while queries wait, to notice that the agent answers nothing any more.
    pub(crate) liveness: Duration,
    /// How long the head of an answer that does not wait may take; it doubles after each that took longer, up to `slack`.
    pub(crate) first: Duration,
    /// How long a query must have waited at the agent for its end to be no error: some agents, and what stands before them, cut
    /// connections that are silent for some time.
    pub(crate) cut: Duration,
    /// How often everything is read without an index, whatever the indexes say.
    pub(crate) reread: Duration,
    /// How long the agent must fail until another one is asked, and how long one that is preferred must be well until it is asked again.
    pub(crate) failover: Duration,
    pub(crate) failback: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            wait: Duration::from_secs(60),
            slack: Duration::from_secs(10),
            backoff: (Duration::from_millis(200), Duration::from_secs(10)),
            canary: Duration::from_secs(2),
            liveness: Duration::from_secs(5),
            first: Duration::from_secs(2),
            cut: Duration::from_millis(100),
            reread: Duration::from_secs(600),
            failover: Duration::from_secs(5),
            failback: Duration::from_secs(60),
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// `None`: the next query does not block.
    pub(crate) index: Option<u64>,
    /// The highest index of any answer so far.
    highest: u64,
}

impl Cursor {
    /// The same for an agent that is followed after another one: its first answer counts as one whose index is below one seen before.
    pub(crate) fn doubting(self) -> Cursor {
        Cursor { highest: if self.highest == 0 { u64::MAX } else { self.highest }, ..self }
    }

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

/// An answer that was understood.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    /// What it says.
    pub(crate) content: T,
    /// Its index beside the one before.
    pub(crate) moved: Moved,
    /// What bears on whether to believe that what it lacks is gone.
    pub(crate) evidence: Evidence,
    /// It was asked for a second time, because there was doubt.
    pub(crate) doubted: bool,
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
    /// Parameters of each query.
    parameters: Vec<(&'static str, String)>,
    timings: Timings,
    cursor: Cursor,
    pace: Pace,
    failures: u32,
    /// How many answers in a row were late.
    late: u32,
    /// When it is read without an index again.
    reread: Instant,
    longest_pause: Duration,
}

/// A body of more bytes is parsed on a thread of its own, so that other answers do not wait for it.
const LARGE: usize = 128 << 10;

/// The longest that a server may not have heard of its leader for its answer to remove something.
const OUT_OF_TOUCH: Duration = Duration::from_secs(5);

impl Watch {
    /// A watch of this path; it has asked nothing yet.
    pub(crate) fn new(path: String, parameters: Vec<(&'static str, String)>, timings: &Timings) -> Watch {
        Watch {
            path,
            parameters,
            cursor: Cursor::default(),
            pace: Pace::new(),
            failures: 0,
            late: 0,
            reread: Instant::now() + timings.reread.mul_f64(0.9 + fastrand::f64() / 5.0),
            longest_pause: timings.backoff.1,
            timings: timings.clone(),
        }
    }

    /// The same with another longest pause after errors.
    pub(crate) fn pausing_at_most(self, longest_pause: Duration) -> Watch {
        Watch { longest_pause, ..self }
    }

    /// The same, which goes on where another one for this path ended. What that one was not told in time gets more time now.
    pub(crate) fn resuming(self, cursor: Cursor, failures: u32) -> Watch {
        Watch { cursor, failures, late: failures, ..self }
    }

    /// Where it stands.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
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
    /// An answer that `removes` something is asked for again in default mode, which the leader answers, where there is doubt: its server
    /// knows no leader or has not heard of it for long, its index is below one seen before, or it is empty and was streamed. An agent
    /// that has just started answers stale reads from a store that it has not filled yet
    /// (<https://developer.hashicorp.com/consul/api-docs/features/consistency>).
    pub(crate) async fn ask<T: Send + 'static>(
        &mut self,
        lane: &mut Lane,
        blocking: bool,
        parse: impl Fn(&[u8]) -> Result<T, String> + Clone + Send + 'static,
        removes: impl Fn(&T) -> bool,
    ) -> Result<Reply<T>, Failure> {
        let result = self.asked(lane, blocking, parse, removes).await;
        match result {
            Ok((content, index, evidence, doubted)) => {
                (self.failures, self.late) = (0, 0);
                Ok(Reply { content, moved: self.cursor.take(index), evidence, doubted })
            }
            Err(failure) if failure.kind == Failure::CUT => {
                // An agent that came back with a lower index would not be heard for a whole wait.
                self.cursor.index = None;
                Err(failure)
            }
            Err(failure) => {
                self.late = if failure.kind == Failure::LATE { self.late.saturating_add(1) } else { 0 };
                self.fail();
                Err(failure)
            }
        }
    }

    async fn asked<T: Send + 'static>(
        &mut self,
        lane: &mut Lane,
        blocking: bool,
        parse: impl Fn(&[u8]) -> Result<T, String> + Clone + Send + 'static,
        removes: impl Fn(&T) -> bool,
    ) -> Result<(T, Option<u64>, Evidence, bool), Failure> {
        let (query, patience) = self.query(blocking);
        let mut answer = lane.get(&self.path, &query, patience).await?;
        let (index, filtered) = (answer.index, answer.filtered);
        let forgetful = index.is_some_and(|index| index < self.cursor.highest);
        let mut doubt = forgetful
            || answer.known_leader == Some(false)
            || answer.last_contact > OUT_OF_TOUCH
            || answer.streamed && answer.body.len() < 8;
        let mut content = parsed(&mut answer, parse.clone()).await?;
        let mut evidence = Evidence { forgetful, filtered };
        let mut index = index;
        doubt &= removes(&content);
        if doubt {
            let patience = Patience { head: self.timings.slack, waits: None };
            let mut answer = lane.get(&self.path, &self.parameters, patience).await?;
            content = parsed(&mut answer, parse).await?;
            index = answer.index;
            evidence.filtered |= answer.filtered;
        }
        if forgetful {
            // The store was replaced, or is behind: only its indexes count from now on. Had the second read failed, the next answer would
            // be as forgetful as this one.
            self.cursor.highest = 0;
        }
        Ok((content, index, evidence, doubt))
    }

    /// Counts an error: the index is forgotten, and the next pause is longer.
    pub(crate) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.cursor.index = None;
    }

    /// The same where its answer is of no use without another one, which failed: there were `failures` before it.
    pub(crate) fn fail_after(&mut self, failures: u32) {
        self.failures = failures;
        self.fail();
    }

    /// The pause after an answer; almost always none.
    pub(crate) fn pause(&mut self, moved: Moved, changed: bool) -> Duration {
        self.pace.pay(moved, changed)
    }

    /// The pause after an error, or after a query that was cut: doubled with each error, and between a half and all of that by chance, so
    /// that not all watches return at once.
    pub(crate) fn backoff(&mut self, failure: &Failure) -> Duration {
        if failure.kind == Failure::CUT {
            return self.pace.pay(Moved::Still, false);
        }
        let doubled = self.timings.backoff.0.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        doubled.min(self.longest_pause).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The next query, and how long its answer may take. The agent itself adds up to a sixteenth of the wait, so that not all return at
    /// once.
    fn query(&mut self, blocking: bool) -> (Vec<(&'static str, String)>, Patience) {
        let mut query = self.parameters.clone();
        query.push(("stale", String::new()));
        let now = Instant::now();
        if self.reread <= now {
            self.reread = now + self.timings.reread.mul_f64(0.9 + fastrand::f64() / 5.0);
            self.cursor.index = None;
        }
        let Timings { wait, slack, first, cut, .. } = self.timings;
        match self.cursor.index {
            Some(index) if blocking => {
                query.push(("index", index.to_string()));
                query.push(("wait", format!("{}ms", wait.as_millis())));
                (query, Patience { head: wait + wait / 16 + slack, waits: Some(cut) })
            }
            _ => (query, Patience { head: (first * (1 << self.late.min(4))).min(slack.max(first)), waits: None }),
        }
    }
}

/// Parses an answer, a large one on a thread of its own.
async fn parsed<T: Send + 'static>(
    answer: &mut Answer,
    parse: impl Fn(&[u8]) -> Result<T, String> + Send + 'static,
) -> Result<T, Failure> {
    let body = std::mem::take(&mut answer.body);
    let parsed = match body.len() > LARGE {
        false => parse(&body),
        true => match tokio::task::spawn_blocking(move || parse(&body)).await {
            Ok(parsed) => parsed,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err("the gateway is stopping".into()),
            },
        },
    };
    parsed.map_err(Failure::not_understood)
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
    fn who_was_not_answered_in_time_gets_more_time_also_where_another_watch_goes_on() {
        let timings = Timings::default();
        let head = |failures| {
            let watch = Watch::new("/".into(), Vec::new(), &timings);
            watch.resuming(Cursor::default(), failures).query(false).1.head.as_secs()
        };
        assert_eq!([0, 1, 2, 3, u32::MAX].map(head), [2, 4, 8, 10, 10]);
    }

    #[test]
    fn pauses_after_errors_double_up_to_the_longest() {
        let timings = Timings::default();
        let mut watch = Watch::new("/".into(), Vec::new(), &timings);
        let failure = Failure::not_understood("nonsense".into());
        for (failures, at_most) in [(1, 200), (2, 400), (6, 6_400), (7, 10_000), (u32::MAX, 10_000)] {
            watch.failures = failures;
            let pause = watch.backoff(&failure).as_millis();
            assert!((at_most / 2..=at_most).contains(&pause), "{failures}: {pause}");
        }
    }
}
