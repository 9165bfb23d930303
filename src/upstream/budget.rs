//! How many further attempts a service's requests may cost: a share of the requests of the last seconds, plus a few.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::config;
use crate::plane::WorkerId;

/// Parts of the window.
const BUCKETS: usize = 10;

/// One service's budget, shared by all workers. A request costs one uncontended count; only a further attempt takes the
/// lock.
#[derive(Debug)]
pub struct Budget {
    policy: config::Budget,
    requests: Box<[Shard]>,
    window: Mutex<Window>,
}

/// One worker's count of requests: only that worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

#[derive(Debug)]
struct Window {
    /// When the current part began.
    began: Instant,
    current: usize,
    /// The sum of all requests when each part began: the oldest says what came before the window.
    requests: [u64; BUCKETS],
    spent: [u64; BUCKETS],
}

impl Budget {
    /// Nothing spent.
    pub fn new(policy: &config::Budget, workers: usize) -> Budget {
        Budget {
            policy: policy.clone(),
            requests: (0..workers.max(1)).map(|_| Shard::default()).collect(),
            window: Mutex::new(Window {
                began: Instant::now(),
                current: 0,
                requests: [0; BUCKETS],
                spent: [0; BUCKETS],
            }),
        }
    }

    /// A request began.
    pub fn request(&self, worker: WorkerId) {
        let count = &self.requests[worker.0 % self.requests.len()].0;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes one further attempt, if the window has one left.
    pub fn try_spend(&self) -> bool {
        let sum = self.requests.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum::<u64>();
        let mut window = self.window.lock();
        window.turn(self.policy.within / BUCKETS as u32, sum);
        let oldest = window.requests[(window.current + 1) % BUCKETS];
        let allowed = (sum - oldest) * u64::from(self.policy.percent) / 100 + u64::from(self.policy.plus);
        let spent: u64 = window.spent.iter().sum();
        if spent >= allowed {
            return false;
        }
        let current = window.current;
        window.spent[current] += 1;
        true
    }
}

impl Window {
    /// Moves on to the part that holds now. Requests are only counted when somebody spends, so those since the last
    /// look go to the part that was current then.
    fn turn(&mut self, part: Duration, sum: u64) {
        let part = part.max(Duration::from_millis(1));
        let mut steps = 0;
        while self.began.elapsed() >= part && steps < BUCKETS {
            self.began += part;
            self.current = (self.current + 1) % BUCKETS;
            self.requests[self.current] = sum;
            self.spent[self.current] = 0;
            steps += 1;
        }
        if self.began.elapsed() >= part {
            self.began = Instant::now();
        }
    }
}
