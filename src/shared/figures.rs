//! What became of calls: counts of one connection, which only its own tasks write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::away::Away;
use crate::telemetry::metrics::Buckets;
use crate::worker::add;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is an answer.
    Answered,
    /// No answer came within the deadline.
    Late,
    /// The connection broke, or could not be made.
    Lost,
    /// Redis refused.
    Refused,
    /// Nobody was asked, because the connection pauses.
    Paused,
}

impl Outcome {
    /// Each with its name in metrics.
    pub const ALL: [(&'static str, Outcome); 5] = [
        ("answered", Outcome::Answered),
        ("late", Outcome::Late),
        ("lost", Outcome::Lost),
        ("refused", Outcome::Refused),
        ("paused", Outcome::Paused),
    ];

    pub(super) fn of<T>(result: &Result<T, Away>) -> Outcome {
        match result {
            Ok(_) => Outcome::Answered,
            Err(Away::Late) => Outcome::Late,
            Err(Away::Lost(_)) => Outcome::Lost,
            Err(Away::Refused(_)) => Outcome::Refused,
            Err(Away::Paused) => Outcome::Paused,
        }
    }
}

/// The counts of one connection.
#[derive(Debug, Default)]
pub struct Figures {
    counts: [AtomicU64; Outcome::ALL.len()],
    /// How long calls took that Redis was asked, with an answer or without.
    pub timings: Buckets,
}

impl Figures {
    pub(super) fn record(&self, outcome: Outcome, took: Duration) {
        add(&self.counts[outcome as usize], 1);
        if outcome != Outcome::Paused {
            self.timings.record(took);
        }
    }

    /// How many calls ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }
}
