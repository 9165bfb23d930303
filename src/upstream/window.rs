//! What share of an instance's attempts failed in the last seconds. Each worker counts for itself; the counts are added up only
//! when an attempt failed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::policy::FailureRate;
use crate::worker::{PerWorker, WorkerId};

/// A window has so many parts of equal length: the current one and those before it.
const PARTS: u64 = 10;

/// The verdicts of the last seconds.
#[derive(Debug)]
pub(super) struct Window {
    epoch: Instant,
    /// The length of a part, in ms; 0 when nothing is to be counted.
    part_ms: AtomicU64,
    /// The number of the first part that counts: verdicts from before the last trip do not.
    from: AtomicU64,
    /// The share of failures that is too large, in percent.
    failed: AtomicU32,
    /// How many verdicts there must be for a share to mean anything.
    of: AtomicU32,
    rings: PerWorker<Ring>,
}

/// One worker's counts, for each part of a window. A part of an older window, as its number shows, counts nothing.
#[derive(Debug, Default)]
struct Ring([Part; PARTS as usize]);

#[derive(Debug, Default)]
struct Part {
    number: AtomicU64,
    verdicts: AtomicU32,
    failures: AtomicU32,
}

impl Window {
    pub(super) fn new(rate: Option<&FailureRate>, workers: usize) -> Window {
        let window = Window {
            epoch: Instant::now(),
            part_ms: AtomicU64::new(0),
            from: AtomicU64::new(0),
            failed: AtomicU32::new(0),
            of: AtomicU32::new(0),
            rings: PerWorker::new(workers, Ring::default),
        };
        window.tune(rate);
        window
    }

    /// Another rate from now on; `None` counts nothing.
    pub(super) fn tune(&self, rate: Option<&FailureRate>) {
        let within = rate.map_or(Duration::ZERO, |rate| rate.within);
        self.failed.store(rate.map_or(0, |rate| rate.failed), Ordering::Relaxed);
        self.of.store(rate.map_or(0, |rate| rate.of), Ordering::Relaxed);
        self.part_ms.store(within.as_millis() as u64 / PARTS, Ordering::Relaxed);
        self.restart();
    }

    /// What was counted so far, counts no more.
    pub(super) fn restart(&self) {
        if let Some(part) = self.part(Instant::now()) {
            self.from.store(part + 1, Ordering::Relaxed);
        }
    }

    /// Counts a verdict.
    pub(super) fn count(&self, worker: WorkerId, failed: bool, now: Instant) {
        let Some(now) = self.part(now) else { return };
        let part = &self.rings[worker].0[(now % PARTS) as usize];
        // Only this worker writes the part: loads and stores cost less than atomic additions.
        let fresh = part.number.load(Ordering::Relaxed) != now;
        let add = |counter: &AtomicU32, by: u32| {
            let before = if fresh { 0 } else { counter.load(Ordering::Relaxed) };
            counter.store(before.saturating_add(by), Ordering::Relaxed);
        };
        add(&part.verdicts, 1);
        add(&part.failures, failed.into());
        part.number.store(now, Ordering::Relaxed);
    }

    /// Whether the share of failures is too large, and there are enough verdicts.
    pub(super) fn too_many(&self) -> bool {
        let Some(now) = self.part(Instant::now()) else { return false };
        let oldest = now.saturating_sub(PARTS - 1).max(self.from.load(Ordering::Relaxed));
        let parts = self.rings.iter().flat_map(|ring| &ring.0);
        let counted = parts.filter(|part| (oldest..=now).contains(&part.number.load(Ordering::Relaxed)));
        let (verdicts, failures) = counted.fold((0u64, 0u64), |(verdicts, failures), part| {
            let load = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
            (verdicts + load(&part.verdicts), failures + load(&part.failures))
        });
        verdicts >= u64::from(self.of.load(Ordering::Relaxed))
            && failures * 100 >= verdicts * u64::from(self.failed.load(Ordering::Relaxed))
    }

    /// The number of the part that a moment is in; `None` when nothing is to be counted. Numbers begin at 1: a new ring holds 0.
    fn part(&self, now: Instant) -> Option<u64> {
        let ms = now.saturating_duration_since(self.epoch).as_millis() as u64;
        ms.checked_div(self.part_ms.load(Ordering::Relaxed)).map(|part| part + 1)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn window() -> Window {
        Window::new(Some(&FailureRate { failed: 50, of: 20, within: Duration::from_secs(10) }), 2)
    }

    async fn fresh() -> Window {
        let window = window();
        advance(Duration::from_secs(2)).await;
        window
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_twenty_over_all_workers_are_too_many_and_fewer_verdicts_say_nothing() {
        let window = fresh().await;
        for number in 0..19 {
            window.count(WorkerId(number % 2), number % 2 == 0, Instant::now());
            assert!(!window.too_many(), "{number}");
        }
        window.count(WorkerId(0), false, Instant::now());
        assert!(window.too_many());
        window.count(WorkerId(1), false, Instant::now());
        assert!(!window.too_many(), "10 of 21");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_or_than_the_last_trip_does_not_count() {
        let window = fresh().await;
        (0..30).for_each(|_| window.count(WorkerId(0), true, Instant::now()));
        assert!(window.too_many());
        advance(Duration::from_secs(11)).await;
        assert!(!window.too_many());
        (0..30).for_each(|_| window.count(WorkerId(0), true, Instant::now()));
        window.restart();
        assert!(!window.too_many());
        window.tune(None);
        (0..30).for_each(|_| window.count(WorkerId(0), true, Instant::now()));
        assert!(!window.too_many());
    }
}
