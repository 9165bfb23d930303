//! The arithmetic of one limit (GCRA): each request moves an arrival time by one interval, at most one period ahead of now. All times
//! are nanoseconds since the limits' epoch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::policy::Limit;

/// A limit, ready to be counted.
#[derive(Debug)]
pub(super) struct Rate {
    /// As the configuration has it.
    pub(super) limit: Limit,
    /// Its number among all limits that this process has ever had: the table tells limits apart by it.
    pub(super) number: u32,
    /// The time between two requests that come evenly, rounded down, so that `count` of them fit into a period.
    interval: u64,
    /// The length of `count` intervals.
    burst: u64,
    /// Its name in headers, as a structured field's string (RFC 9651 section 3.3.3).
    pub(super) label: String,
}

/// What a limit still lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// How many more requests may come at once.
    pub(super) count: u32,
    /// After how long the whole quota is there again.
    pub(super) whole_in: Duration,
}

impl Rate {
    pub(super) fn new(limit: &Limit, number: u32, label: String) -> Rate {
        let interval = (limit.period.as_nanos() as u64 / u64::from(limit.count)).max(1);
        Rate { number, interval, burst: interval * u64::from(limit.count), label, limit: limit.clone() }
    }

    /// What a quota leaves that nobody has used.
    pub(super) fn untouched(&self) -> Left {
        Left { count: self.limit.count, whole_in: Duration::ZERO }
    }

    /// What a quota leaves that is used up.
    pub(super) fn exhausted(&self) -> Left {
        Left { count: 0, whole_in: Duration::from_nanos(self.burst) }
    }

    /// The arrival time after one more request.
    ///
    /// # Errors
    /// How long to wait, when the limit lets no more through.
    pub(super) fn step(&self, arrival: u64, now: u64) -> Result<u64, Duration> {
        let next = arrival.max(now) + self.interval;
        match (next - now).checked_sub(self.burst) {
            None | Some(0) => Ok(next),
            Some(over) => Err(Duration::from_nanos(over)),
        }
    }

    /// The arrival time before the last request.
    pub(super) fn step_back(&self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval)
    }

    /// What an arrival time leaves.
    pub(super) fn left(&self, arrival: u64, now: u64) -> Left {
        let used = arrival.saturating_sub(now);
        let left = self.burst.saturating_sub(used) / self.interval;
        Left { count: left as u32, whole_in: Duration::from_nanos(used) }
    }

    /// Takes one request from an arrival time that several workers share.
    ///
    /// # Errors
    /// How long to wait, when the limit lets no more through.
    pub(super) fn take(&self, arrival: &AtomicU64, now: u64) -> Result<Left, Duration> {
        let mut seen = arrival.load(Ordering::Relaxed);
        loop {
            let next = self.step(seen, now)?;
            match arrival.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(self.left(next, now)),
                Err(other) => seen = other,
            }
        }
    }

    /// Gives one request back to an arrival time that several workers share. If it was reset meanwhile, it stays reset.
    pub(super) fn give_back(&self, arrival: &AtomicU64) {
        let _ = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| seen.checked_sub(self.interval));
    }
}
