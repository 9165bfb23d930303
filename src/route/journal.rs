//! How the aggregates of a route went: how many had which outcome, the last ones with their parts, and what one takes of memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::request::parts::Parts;
use crate::telemetry::metrics::{Buckets, Histogram};
use crate::worker::{LazyPerWorker, PerWorker, WorkerId, add};

/// How many runs are remembered.
const RUNS: usize = 32;

/// What an aggregate is expected to take of memory before one was seen, in bytes.
const UNSEEN: usize = 1024 * 1024;

/// How the aggregates of a route went; it stays when the configuration is read again.
#[derive(Debug)]
pub struct Journal {
    /// What one takes of memory, in bytes: as much as the largest of late.
    takes: AtomicUsize,
    runs: Mutex<VecDeque<Arc<Run>>>,
    /// Aggregates of all routes that use the compose by their outcome, in the order of [`Outcome::ALL`].
    outcomes: Arc<PerWorker<[AtomicU64; 3]>>,
}

/// One aggregate whose calls were made.
#[derive(Debug)]
pub struct Run {
    /// The request's id.
    pub id: Box<str>,
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The calls that were not made, because nothing that its client gets needs them.
    pub left_out: Vec<Arc<str>>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why there was no answer: a stable word, or empty.
    pub reason: &'static str,
    /// Its parts.
    pub parts: Arc<Parts>,
}

/// What came of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is missing.
    Complete,
    /// There is an answer, and `Lictor-Partial` says what is missing.
    Partial,
    /// There is no answer.
    Failed,
}

/// What came of one request of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An instance answered as was expected.
    Answered,
    /// Its answer was in the store, or came there with another request.
    Stored,
    /// It brought nothing that counts.
    Failed,
}

/// How the requests of one call went.
#[derive(Debug)]
pub struct Requests(LazyPerWorker<Counts>);

/// One worker's requests of a call.
#[derive(Debug, Default)]
struct Counts {
    /// In the order of [`Ending::ALL`].
    endings: [AtomicU64; 3],
    timings: Buckets,
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Outcome; 3] = [Outcome::Complete, Outcome::Partial, Outcome::Failed];

    /// What admin and metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        }
    }
}

impl Ending {
    /// Each of them.
    pub const ALL: [Ending; 3] = [Ending::Answered, Ending::Stored, Ending::Failed];

    /// What admin and metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ending::Answered => "answered",
            Ending::Stored => "stored",
            Ending::Failed => "failed",
        }
    }
}

impl Requests {
    /// For this many workers; memory is taken when one of them counts.
    pub fn new(workers: usize) -> Requests {
        Requests(LazyPerWorker::new(workers))
    }

    /// One more. Only this worker itself may record it.
    pub fn record(&self, worker: WorkerId, ending: Ending, took: Duration) {
        let counts = &self.0[worker];
        add(&counts.endings[ending as usize], 1);
        counts.timings.record(took);
    }

    /// How many ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.0.iter().map(|counts| counts.endings[ending as usize].load(Ordering::Relaxed)).sum()
    }

    /// How long they took.
    pub fn timings(&self) -> Histogram {
        Histogram::of(self.0.iter().map(|counts| &counts.timings))
    }
}

impl Journal {
    /// Of a route that had no aggregate yet, for this many workers.
    pub fn new(workers: usize) -> Journal {
        let outcomes = Arc::new(PerWorker::new(workers, Default::default));
        Journal { takes: AtomicUsize::new(UNSEEN), runs: Mutex::default(), outcomes }
    }

    /// Of another route that had no aggregate yet and uses the same compose: outcomes are counted together, so that they do not
    /// go back when a route goes.
    pub fn beside(&self) -> Journal {
        Journal { takes: AtomicUsize::new(UNSEEN), runs: Mutex::default(), outcomes: self.outcomes.clone() }
    }

    /// What the next one is expected to take of memory, in bytes.
    pub fn expected(&self) -> usize {
        self.takes.load(Ordering::Relaxed)
    }

    /// One took so many bytes. A larger one counts at once, smaller ones bit by bit.
    pub fn took(&self, bytes: usize) {
        let expected = self.expected();
        let next = if bytes >= expected { bytes } else { expected - (expected - bytes).div_ceil(8) };
        if next != expected {
            self.takes.store(next, Ordering::Relaxed);
        }
    }

    /// Counts one. Only this worker itself may do so.
    pub fn count(&self, worker: WorkerId, outcome: Outcome) {
        add(&self.outcomes[worker][outcome as usize], 1);
    }

    /// Counts one, and remembers how it went. Whoever else writes or reads is waited for: neither takes longer than it takes to
    /// copy the pointers to the last ones.
    pub fn note(&self, worker: WorkerId, run: Run) {
        self.count(worker, run.outcome);
        let run = Arc::new(run);
        let mut runs = self.runs.lock();
        let oldest = if runs.len() == RUNS { runs.pop_front() } else { None };
        runs.push_back(run);
        drop(runs);
        // Its parts are freed when nobody waits for that.
        drop(oldest);
    }

    /// How many had this outcome, over all routes that use the compose.
    pub fn counted(&self, outcome: Outcome) -> u64 {
        self.outcomes.iter().map(|counts| counts[outcome as usize].load(Ordering::Relaxed)).sum()
    }

    /// The last ones, the newest first.
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.runs.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: usize, outcome: Outcome) -> Run {
        Run {
            id: id.to_string().into(),
            at: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            left_out: Vec::new(),
            outcome,
            reason: "",
            parts: Arc::default(),
        }
    }

    #[test]
    fn all_aggregates_are_counted_by_their_outcome_and_the_last_32_are_remembered() {
        let journal = Journal::new(2);
        for id in 0..40 {
            let outcome = if id % 4 == 0 { Outcome::Partial } else { Outcome::Complete };
            journal.note(WorkerId(id % 2), run(id, outcome));
        }
        journal.count(WorkerId(1), Outcome::Failed);
        assert_eq!(Outcome::ALL.map(|outcome| journal.counted(outcome)), [30, 10, 1]);
        let runs = journal.runs();
        assert_eq!((runs.len(), &*runs[0].id, &*runs[31].id), (32, "39", "8"));
    }

    #[test]
    fn an_aggregate_that_ends_while_somebody_reads_is_remembered_all_the_same() {
        let journal = Journal::new(1);
        std::thread::scope(|scope| {
            let reads = journal.runs.lock();
            let writer = scope.spawn(|| journal.note(WorkerId(0), run(7, Outcome::Complete)));
            while journal.counted(Outcome::Complete) == 0 {
                std::thread::yield_now();
            }
            drop(reads);
            writer.join().expect("no panic");
        });
        assert_eq!(journal.runs().len(), 1);
    }

    #[test]
    fn requests_of_a_call_are_counted_over_all_workers_by_what_came_of_them() {
        let requests = Requests::new(2);
        for (worker, ending) in [(0, Ending::Answered), (1, Ending::Answered), (1, Ending::Stored), (0, Ending::Failed)]
        {
            requests.record(WorkerId(worker), ending, Duration::from_millis(3));
        }
        assert_eq!(Ending::ALL.map(|ending| requests.count(ending)), [2, 1, 1]);
        assert_eq!(requests.timings().count(), 4);
    }
}
