//! What workers have seen, each counting for itself: of an instance its attempts, and which share of the last seconds' failed; of a service
//! how many further attempts its requests may still cost. What decides on a request is added up only when an attempt has failed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::Weight;
use crate::config;
use crate::config::policy::FailureRate;
use crate::telemetry::metrics::Buckets;
use crate::worker::{LazyPerWorker, WorkerId};

/// The last seconds have so many parts of equal length: the current one and those before it.
const PARTS: u64 = 10;

/// What was seen of an instance.
#[derive(Debug)]
pub(super) struct Evidence {
    epoch: Instant,
    /// The length of a part, in ms; 0 when nothing is to be counted.
    part_ms: AtomicU64,
    /// The number of the first part that counts: verdicts from before the last trip do not.
    from: AtomicU64,
    /// The share of failures that is too large, in percent.
    failed: AtomicU32,
    /// How many verdicts there must be for a share to mean anything.
    of: AtomicU32,
    /// By each worker that has had an attempt at it.
    pub(super) seen: LazyPerWorker<Seen>,
}

/// What one worker has seen of an instance.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Attempts that are under way.
    pub(super) in_flight: AtomicU64,
    /// Attempts begun.
    pub(super) requests: AtomicU64,
    /// Attempts that failed through the instance's fault.
    pub(super) failures: AtomicU64,
    /// The verdicts in each part of the last seconds. A part of an older window, as its number shows, counts nothing.
    verdicts: [Part; PARTS as usize],
    /// How long its answers took to begin.
    pub(super) first_bytes: Buckets,
}

#[derive(Debug, Default)]
struct Part {
    number: AtomicU64,
    verdicts: AtomicU32,
    failures: AtomicU32,
    /// Failures that clients may have provoked; they are not among the others.
    provoked: AtomicU32,
}

/// Counts of an instance over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts that are under way.
    pub in_flight: u64,
    /// Attempts begun.
    pub requests: u64,
    /// Attempts that failed through its fault.
    pub failures: u64,
}

impl Evidence {
    /// Of an instance that has had no attempt yet; memory for a worker's counts is taken at its first one.
    pub(super) fn new(rate: Option<&FailureRate>, workers: usize) -> Evidence {
        let evidence = Evidence {
            epoch: Instant::now(),
            part_ms: AtomicU64::new(0),
            from: AtomicU64::new(0),
            failed: AtomicU32::new(0),
            of: AtomicU32::new(0),
            seen: LazyPerWorker::new(workers),
        };
        evidence.tune(rate);
        evidence
    }

    /// The sums over all workers.
    pub(super) fn totals(&self) -> Totals {
        self.seen.iter().fold(Totals::default(), |sum, seen| Totals {
            in_flight: sum.in_flight.wrapping_add(seen.in_flight.load(Ordering::Relaxed)),
            requests: sum.requests + seen.requests.load(Ordering::Relaxed),
            failures: sum.failures + seen.failures.load(Ordering::Relaxed),
        })
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
    pub(super) fn count(&self, worker: WorkerId, failed: Option<Weight>, now: Instant) {
        let Some(now) = self.part(now) else { return };
        let part = &self.seen[worker].verdicts[(now % PARTS) as usize];
        // Only this worker writes the part: loads and stores cost less than atomic additions.
        let fresh = part.number.load(Ordering::Relaxed) != now;
        let add = |counter: &AtomicU32, by: u32| {
            let before = if fresh { 0 } else { counter.load(Ordering::Relaxed) };
            counter.store(before.saturating_add(by), Ordering::Relaxed);
        };
        let provoked = failed == Some(Weight::Rate);
        add(&part.verdicts, (!provoked).into());
        add(&part.failures, (failed.is_some() && !provoked).into());
        add(&part.provoked, provoked.into());
        part.number.store(now, Ordering::Relaxed);
    }

    /// Whether the share of failures is too large, and there are enough verdicts; `provoked` says whether those count that clients may
    /// have provoked.
    pub(super) fn too_many(&self, provoked: bool) -> bool {
        let (failures, verdicts) = self.sums(provoked);
        verdicts > 0
            && verdicts >= u64::from(self.of.load(Ordering::Relaxed))
            && failures * 100 >= verdicts * u64::from(self.failed.load(Ordering::Relaxed))
    }

    /// The share of failures, from 0 to 1, those among them that clients may have provoked; `None` without any verdict.
    pub(super) fn share(&self) -> Option<f64> {
        let (failures, verdicts) = self.sums(true);
        (verdicts > 0).then(|| failures as f64 / verdicts as f64)
    }

    /// The failures of the last seconds, and all verdicts.
    fn sums(&self, provoked: bool) -> (u64, u64) {
        let Some(now) = self.part(Instant::now()) else { return (0, 0) };
        let oldest = now.saturating_sub(PARTS - 1).max(self.from.load(Ordering::Relaxed));
        let parts = self.seen.iter().flat_map(|seen| &seen.verdicts);
        let counted = parts.filter(|part| (oldest..=now).contains(&part.number.load(Ordering::Relaxed)));
        counted.fold((0, 0), |(failures, verdicts), part| {
            let load = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
            let more = if provoked { load(&part.provoked) } else { 0 };
            (failures + load(&part.failures) + more, verdicts + load(&part.verdicts) + more)
        })
    }

    /// The number of the part that a moment is in; `None` when nothing is to be counted. Numbers begin at 1: a new ring holds 0.
    fn part(&self, now: Instant) -> Option<u64> {
        let ms = now.saturating_duration_since(self.epoch).as_millis() as u64;
        ms.checked_div(self.part_ms.load(Ordering::Relaxed)).map(|part| part + 1)
    }
}

/// One service's budget, shared by all workers. A request costs a count that its worker has to itself; only a further attempt
/// takes a lock.
#[derive(Debug)]
pub struct Budget {
    policy: config::Budget,
    epoch: Instant,
    /// The length of a part, in ms.
    part_ms: u64,
    requests: LazyPerWorker<Counts>,
    /// Further attempts.
    spent: Mutex<Counts>,
}

/// For each part of a window, the part's number and a count. A part of an older window, as its number shows, counts nothing.
/// There is one writer at a time.
#[derive(Debug, Default)]
struct Counts([(AtomicU64, AtomicU64); PARTS as usize]);

impl Counts {
    fn add(&self, part: u64) {
        let (number, count) = &self.0[(part % PARTS) as usize];
        let before = if number.load(Ordering::Relaxed) == part { count.load(Ordering::Relaxed) } else { 0 };
        count.store(before + 1, Ordering::Relaxed);
        number.store(part, Ordering::Relaxed);
    }

    fn sum(&self, part: u64) -> u64 {
        let oldest = part.saturating_sub(PARTS - 1);
        let within = |(number, _): &&(AtomicU64, AtomicU64)| (oldest..=part).contains(&number.load(Ordering::Relaxed));
        self.0.iter().filter(within).map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(policy: &config::Budget, workers: usize) -> Budget {
        Budget {
            policy: policy.clone(),
            epoch: Instant::now(),
            part_ms: (policy.within.as_millis() as u64 / PARTS).max(1),
            requests: LazyPerWorker::new(workers),
            spent: Mutex::default(),
        }
    }

    /// A request began.
    pub fn request(&self, worker: WorkerId, now: Instant) {
        self.requests[worker].add(self.part(now));
    }

    /// Takes one further attempt, if the window has one left.
    pub fn try_spend(&self) -> bool {
        let part = self.part(Instant::now());
        let requests: u64 = self.requests.iter().map(|ring| ring.sum(part)).sum();
        let allowed = requests * u64::from(self.policy.percent) / 100 + u64::from(self.policy.plus);
        let spent = self.spent.lock();
        let left = spent.sum(part) < allowed;
        if left {
            spent.add(part);
        }
        left
    }

    /// The number of the part that a moment is in. Numbers begin at 1: a new ring holds 0.
    fn part(&self, now: Instant) -> u64 {
        let since: Duration = now.saturating_duration_since(self.epoch);
        since.as_millis() as u64 / self.part_ms + 1
    }
}

#[cfg(test)]
mod tests;
