//! How many further attempts a service's requests may cost: a share of the number of requests in the last seconds, plus a few. So
//! retries cannot multiply the load on a service that fails.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::config;
use crate::worker::{PerWorker, WorkerId};

/// A window has so many parts of equal length: the current one and those before it.
const PARTS: u64 = 10;

/// One service's budget, shared by all workers. A request costs a count that its worker has to itself; only a further attempt
/// takes a lock.
#[derive(Debug)]
pub struct Budget {
    policy: config::Budget,
    epoch: Instant,
    /// The length of a part, in ms.
    part_ms: u64,
    requests: PerWorker<Ring>,
    /// Further attempts.
    spent: Mutex<Ring>,
}

/// For each part of a window, the part's number and a count. A part of an older window, as its number shows, counts nothing.
/// There is one writer at a time.
#[derive(Debug, Default)]
struct Ring([(AtomicU64, AtomicU64); PARTS as usize]);

impl Ring {
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
            requests: PerWorker::new(workers, Ring::default),
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
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(&config::Budget { percent: 20, plus: 3, within: Duration::from_secs(10) }, 2)
    }

    fn spend(budget: &Budget) -> u64 {
        (0..1000).take_while(|_| budget.try_spend()).count() as u64
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_allows_its_share_of_all_workers_requests_and_a_few_more() {
        let budget = budget();
        for number in 0..100 {
            budget.request(WorkerId(number % 2), Instant::now());
        }
        assert_eq!(spend(&budget), 23);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_count_for_ten_seconds_although_nobody_spends() {
        let budget = budget();
        for _ in 0..9 {
            (0..10).for_each(|_| budget.request(WorkerId(0), Instant::now()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(spend(&budget), 21);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(spend(&budget), 3);
    }
}
