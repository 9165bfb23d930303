//! One limit's arithmetic: an arrival time, moved by one interval for each request, at most one period ahead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::policy::{By, Limit};

/// A limit, ready to be counted.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) count: u32,
    pub(super) by: By,
    /// Its number among all limits of this process.
    pub(super) number: u32,
    /// Between two requests that come evenly, in ns, rounded down: so that `count` of them fit a period.
    interval: u64,
    /// `count` intervals.
    burst: u64,
    /// A name for headers, as a structured field's string (RFC 9651 section 3.3.3).
    pub(super) label: String,
}

/// One request taken, or none left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many more may come at once.
    pub(super) left: u32,
    /// When the quota is whole again.
    pub(super) whole_in: Duration,
}

impl Rate {
    pub(super) fn new(limit: &Limit, number: u32, label: String) -> Rate {
        let interval = (limit.period.as_nanos() as u64 / u64::from(limit.count)).max(1);
        Rate { count: limit.count, by: limit.by, number, interval, burst: interval * u64::from(limit.count), label }
    }

    /// The time that a whole quota takes to come back.
    pub(super) fn whole(&self) -> Duration {
        Duration::from_nanos(self.burst)
    }

    /// The arrival time after one more request.
    pub(super) fn step(&self, arrival: u64, now: u64) -> Result<u64, Duration> {
        let next = arrival.max(now) + self.interval;
        match (next - now).checked_sub(self.burst) {
            None | Some(0) => Ok(next),
            Some(over) => Err(Duration::from_nanos(over)),
        }
    }

    /// What an arrival time leaves.
    pub(super) fn left(&self, arrival: u64, now: u64) -> Taken {
        let used = arrival.saturating_sub(now);
        let left = self.burst.saturating_sub(used) / self.interval;
        Taken { left: left as u32, whole_in: Duration::from_nanos(used) }
    }

    /// Takes one request.
    pub(super) fn take(&self, arrival: &AtomicU64, now: u64) -> Result<Taken, Duration> {
        let mut seen = arrival.load(Ordering::Relaxed);
        loop {
            let next = self.step(seen, now)?;
            match arrival.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(self.left(next, now)),
                Err(other) => seen = other,
            }
        }
    }

    /// Gives one request back.
    pub(super) fn give_back(&self, arrival: &AtomicU64) {
        let _ = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| seen.checked_sub(self.interval));
    }

    pub(super) fn interval(&self) -> u64 {
        self.interval
    }
}
