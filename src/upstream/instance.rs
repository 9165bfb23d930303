//! What we hold for an endpoint: its breaker and its counts. It hangs on the endpoint's key and survives snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{Breaker, Failure, Grant};
use super::window::Window;
use crate::catalog::Key;
use crate::config;
use crate::telemetry::metrics::{Histogram, Recorder, Timings};
use crate::worker::WorkerId;

/// A live instance, shared by all workers.
#[derive(Debug)]
pub struct Instance {
    /// Its identity.
    pub key: Key,
    /// Its breaker.
    pub breaker: Breaker,
    window: Window,
    departed: AtomicBool,
    /// Until when it is left alone because it asked for that, in ms since `epoch`; 0 when it did not.
    paused_ms: AtomicU64,
    epoch: Instant,
    shards: Box<[Shard]>,
    first_bytes: Timings,
}

/// One worker's counts: only that worker writes them, whoever asks sums them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    in_flight: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// What all instances of a service share over all snapshots.
#[derive(Debug)]
pub struct ServiceState {
    /// Held while it is decided whether the last eligible instance would go.
    tripping: Mutex<()>,
    /// Its requests.
    pub recorder: Recorder,
}

impl ServiceState {
    /// Of a service that was asked nothing yet.
    pub fn new(workers: usize) -> ServiceState {
        ServiceState { tripping: Mutex::default(), recorder: Recorder::new(workers) }
    }
}

/// Counts of an instance over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts now under way.
    pub in_flight: u64,
    /// Attempts begun.
    pub requests: u64,
    /// Attempts that failed by its fault.
    pub failures: u64,
}

impl Instance {
    /// One that has done nothing yet.
    pub fn new(key: Key, policy: &config::Breaker, workers: usize) -> Instance {
        Instance {
            key,
            breaker: Breaker::new(policy),
            window: Window::new(policy.rate.as_ref(), workers),
            departed: AtomicBool::new(false),
            paused_ms: AtomicU64::new(0),
            epoch: Instant::now(),
            shards: (0..workers.max(1)).map(|_| Shard::default()).collect(),
            first_bytes: Timings::new(workers),
        }
    }

    /// Whether it may be picked now; without side effects. `now` is filled when the clock had to be asked.
    pub fn eligible(&self, now: &mut Option<Instant>) -> bool {
        !self.departed() && self.sound(now)
    }

    /// Whether it may be picked as far as its breaker and its own word go.
    pub(super) fn sound(&self, now: &mut Option<Instant>) -> bool {
        self.breaker.eligible(now) && !self.paused(now)
    }

    /// How long until it may be picked, as far as its breaker and its own word go.
    pub fn eligible_in(&self, now: Instant) -> Duration {
        self.breaker.eligible_in(now).max(self.paused_for(now))
    }

    /// Its provider no longer lets it be picked.
    pub fn departed(&self) -> bool {
        self.departed.load(Ordering::Relaxed)
    }

    /// Told by the one writer of snapshots.
    pub fn set_departed(&self, departed: bool) {
        self.departed.store(departed, Ordering::Relaxed);
    }

    /// The right to one attempt.
    pub fn acquire(self: &Arc<Instance>, worker: WorkerId) -> Option<Permit> {
        let grant = self.breaker.acquire()?;
        Some(Permit { instance: self.clone(), grant: Some(grant), worker })
    }

    /// Another policy for its breaker.
    pub fn tune(&self, policy: &config::Breaker) {
        self.breaker.tune(policy);
        self.window.tune(policy.rate.as_ref());
    }

    /// It asked to be left alone for a while.
    pub(super) fn pause(&self, until: Instant) {
        let ms = until.saturating_duration_since(self.epoch).as_millis() as u64;
        self.paused_ms.store(ms.max(1), Ordering::Relaxed);
    }

    /// Whether it asked to be left alone.
    pub fn paused(&self, now: &mut Option<Instant>) -> bool {
        self.paused_ms.load(Ordering::Relaxed) != 0 && !self.paused_for(*now.get_or_insert_with(Instant::now)).is_zero()
    }

    /// For how long it still wants to be left alone.
    pub fn paused_for(&self, now: Instant) -> Duration {
        let until = self.epoch + Duration::from_millis(self.paused_ms.load(Ordering::Relaxed));
        until.saturating_duration_since(now)
    }

    /// Counts an attempt in; the guard counts it out.
    pub fn enter(self: &Arc<Instance>, worker: WorkerId) -> InFlight {
        let shard = self.shard(worker);
        add(&shard.in_flight, 1);
        add(&shard.requests, 1);
        InFlight { instance: self.clone(), worker }
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.shards.iter().fold(Totals::default(), |sum, shard| Totals {
            in_flight: sum.in_flight.wrapping_add(shard.in_flight.load(Ordering::Relaxed)),
            requests: sum.requests + shard.requests.load(Ordering::Relaxed),
            failures: sum.failures + shard.failures.load(Ordering::Relaxed),
        })
    }

    /// How long its answers took to begin.
    pub fn first_bytes(&self) -> Histogram {
        self.first_bytes.sum()
    }

    /// A verdict on what was begun before the last trip says nothing of now.
    fn count(&self, grant: Grant, worker: WorkerId, failed: bool, now: Instant) {
        if self.breaker.is_current(grant) {
            self.window.count(worker, failed, now);
        }
    }

    fn shard(&self, worker: WorkerId) -> &Shard {
        &self.shards[worker.0 % self.shards.len()]
    }
}

/// One writer: a load and a store, no locked instruction.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// An attempt that is under way, until dropped.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    worker: WorkerId,
}

impl InFlight {
    /// Whose it is.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The answer began, so long after the attempt.
    pub fn answered(&self, took: Duration) {
        self.instance.first_bytes.record(self.worker.0, took);
    }

    /// The attempt failed by the instance's fault.
    pub fn failed(&self) {
        add(&self.instance.shard(self.worker).failures, 1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        add(&self.instance.shard(self.worker).in_flight, u64::MAX);
    }
}

/// The right to make one attempt. It must be answered `succeeded` or `failed`; dropped, it means no verdict.
#[derive(Debug)]
pub struct Permit {
    instance: Arc<Instance>,
    grant: Option<Grant>,
    worker: WorkerId,
}

impl Permit {
    /// The instance that it is for.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The attempt brought what it should, by now.
    pub fn succeeded(mut self, now: Instant) {
        if let Some(grant) = self.grant.take() {
            self.instance.count(grant, self.worker, false, now);
            self.instance.breaker.succeeded(grant);
        }
    }

    /// The attempt failed by the instance's fault. `others` says whether another instance of the service is eligible; it
    /// is asked under the service's lock, so that two workers cannot take the last two at once. True when it tripped.
    pub fn failed(mut self, failure: Failure, service: &ServiceState, others: impl FnOnce() -> bool) -> bool {
        let Some(grant) = self.grant.take() else { return false };
        let Instance { window, breaker, .. } = &*self.instance;
        self.instance.count(grant, self.worker, true, Instant::now());
        let tripped = if failure.is_status() {
            let _one_at_a_time = service.tripping.lock();
            breaker.failed(grant, failure, || window.too_many(), others)
        } else {
            breaker.failed(grant, failure, || window.too_many(), || true)
        };
        if tripped {
            window.restart();
        }
        tripped
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take() {
            self.instance.breaker.returned(grant);
        }
    }
}
