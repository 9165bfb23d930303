//! What is kept for an endpoint while it exists: for all workers its breaker and its counts, which each snapshot takes over from the
//! one before by the endpoint's key; and for each worker its idle connections.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::ServiceState;
use super::breaker::{Breaker, Failure, Grant, Weight};
use super::recent::{Evidence, Totals};
use super::wire::{ConnectError, Connection, Connector};
use crate::catalog::Key;
use crate::config;
use crate::telemetry::metrics::Histogram;
use crate::worker::{WorkerId, add};

/// Its provider lists it, or it is gone for good.
const CONFIRMED: u8 = 0;

/// It has vanished, but that is not believed yet.
const SUSPECT: u8 = 1;

/// The same, and it has refused a connection.
const REFUSED: u8 = 2;

/// A live instance, shared by all workers.
#[derive(Debug)]
pub struct Instance {
    /// Its identity.
    pub key: Key,
    /// Its breaker.
    pub breaker: Breaker,
    /// What was seen of it.
    pub(super) evidence: Evidence,
    departed: AtomicBool,
    /// [`CONFIRMED`], [`SUSPECT`] or [`REFUSED`].
    standing: AtomicU8,
    /// Until when it is not picked because it asked for a pause (`Retry-After`), in ms since `epoch`; 0 when it never asked.
    paused_ms: AtomicU64,
    epoch: Instant,
}

impl Instance {
    /// An instance that has had no attempt yet.
    pub fn new(key: Key, policy: &config::Breaker, workers: usize) -> Instance {
        Instance {
            key,
            breaker: Breaker::new(policy),
            evidence: Evidence::new(policy.rate.as_ref(), workers),
            departed: AtomicBool::new(false),
            standing: AtomicU8::new(CONFIRMED),
            paused_ms: AtomicU64::new(0),
            epoch: Instant::now(),
        }
    }

    /// Whether it may be picked; asking changes nothing. The clock is read only where it matters, and `now` then holds its time.
    pub fn eligible(&self, now: &mut Option<Instant>) -> bool {
        !self.departed() && self.sound(now)
    }

    /// The same, whether it has departed or not: whether its breaker lets an attempt through and it did not ask for a pause.
    pub(super) fn sound(&self, now: &mut Option<Instant>) -> bool {
        self.breaker.eligible(now) && !self.paused(now)
    }

    /// How long until it may be picked, for all that its breaker and a pause say.
    pub fn eligible_in(&self, now: Instant) -> Duration {
        self.breaker.eligible_in(now).max(self.paused_for(now))
    }

    /// Whether its provider does not list it any more, or lists it as unavailable.
    pub fn departed(&self) -> bool {
        self.departed.load(Ordering::Relaxed)
    }

    /// Only the writer of snapshots calls this.
    pub fn set_departed(&self, departed: bool) {
        self.departed.store(departed, Ordering::Relaxed);
    }

    /// Whether it has departed, and that is believed: then what goes on with it for hours is to end.
    pub fn gone(&self) -> bool {
        self.departed() && self.standing.load(Ordering::Relaxed) == CONFIRMED
    }

    /// Only the writer of snapshots calls this: it has vanished in a way that is not believed yet, or that is settled.
    pub fn set_suspect(&self, suspect: bool) {
        self.standing.store(if suspect { SUSPECT } else { CONFIRMED }, Ordering::Relaxed);
    }

    /// It has refused a connection. True for a suspect, the first time: it is gone.
    pub fn refused_as_suspect(&self) -> bool {
        self.standing.compare_exchange(SUSPECT, REFUSED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The right to one attempt, where its breaker gives one.
    pub fn acquire(self: &Arc<Instance>, worker: WorkerId) -> Option<Permit> {
        let grant = self.breaker.acquire()?;
        Some(Permit { instance: self.clone(), grant: Some(grant), worker })
    }

    /// The right to give a verdict on what went wrong after an attempt had succeeded; none while its breaker is not closed.
    pub(super) fn sample(self: &Arc<Instance>, worker: WorkerId) -> Option<Permit> {
        let grant = self.breaker.sample()?;
        Some(Permit { instance: self.clone(), grant: Some(grant), worker })
    }

    /// Another policy for its breaker.
    pub fn tune(&self, policy: &config::Breaker) {
        self.breaker.tune(policy);
        self.evidence.tune(policy.rate.as_ref());
    }

    /// It asked for a pause until then.
    pub(super) fn pause(&self, until: Instant) {
        let ms = until.saturating_duration_since(self.epoch).as_millis() as u64;
        self.paused_ms.store(ms.max(1), Ordering::Relaxed);
    }

    /// Whether the pause that it asked for lasts.
    pub fn paused(&self, now: &mut Option<Instant>) -> bool {
        self.paused_ms.load(Ordering::Relaxed) != 0 && !self.paused_for(*now.get_or_insert_with(Instant::now)).is_zero()
    }

    /// How long that pause still lasts.
    pub fn paused_for(&self, now: Instant) -> Duration {
        let until = self.epoch + Duration::from_millis(self.paused_ms.load(Ordering::Relaxed));
        until.saturating_duration_since(now)
    }

    /// Counts an attempt as under way until the guard is dropped.
    pub fn enter(self: &Arc<Instance>, worker: WorkerId) -> InFlight {
        let seen = &self.evidence.seen[worker];
        add(&seen.in_flight, 1);
        add(&seen.requests, 1);
        InFlight { instance: self.clone(), worker }
    }

    /// The sums over all workers.
    pub fn totals(&self) -> Totals {
        self.evidence.totals()
    }

    /// How long its answers took to begin, over all workers.
    pub fn first_bytes(&self) -> Histogram {
        Histogram::of(self.evidence.seen.iter().map(|seen| &seen.first_bytes))
    }

    /// Counts a verdict in the rate window, unless the attempt began before the last change of the breaker's state.
    fn count(&self, grant: Grant, worker: WorkerId, failed: Option<Weight>, now: Instant) {
        if self.breaker.is_current(grant) {
            self.evidence.count(worker, failed, now);
        }
    }
}

/// An attempt, which counts as under way until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    worker: WorkerId,
}

impl InFlight {
    /// The instance that it goes to.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The answer began `took` after the attempt did.
    pub fn answered(&self, took: Duration) {
        self.instance.evidence.seen[self.worker].first_bytes.record(took);
    }

    /// The attempt failed through the instance's fault.
    pub fn failed(&self) {
        add(&self.instance.evidence.seen[self.worker].failures, 1);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        add(&self.instance.evidence.seen[self.worker].in_flight, u64::MAX);
    }
}

/// The right to make one attempt. `succeeded` or `failed` gives the verdict on it; dropping the permit means that there is none.
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

    /// The attempt succeeded.
    pub fn succeeded(mut self, now: Instant) {
        if let Some(grant) = self.grant.take() {
            self.instance.count(grant, self.worker, None, now);
            self.instance.breaker.succeeded(grant);
        }
    }

    /// The attempt failed through the instance's fault. Returns whether the breaker tripped. `may_trip` says whether it may, for a
    /// failure that must not trip the last eligible instance; it is called under the service's lock, so that two workers cannot trip
    /// the last two at the same time.
    pub fn failed(mut self, failure: Failure, service: &ServiceState, may_trip: impl FnOnce() -> bool) -> bool {
        let Some(grant) = self.grant.take() else { return false };
        let Instance { evidence, breaker, .. } = &*self.instance;
        self.instance.count(grant, self.worker, Some(failure.weight()), Instant::now());
        let tripped = if failure.weight() == Weight::Failure {
            breaker.failed(grant, failure, || evidence.too_many(false), || true)
        } else {
            let _one_at_a_time = service.tripping.lock();
            breaker.failed(grant, failure, || evidence.too_many(failure.weight() == Weight::Rate), may_trip)
        };
        if tripped {
            evidence.restart();
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

/// Connections idle for longer never carry a method that may not be sent twice: Node and others close after 5 s.
const FRESH: Duration = Duration::from_secs(4);

/// What a worker's pools share.
#[derive(Debug)]
pub struct Settings {
    /// How connections are made.
    pub connector: Connector,
    /// Idle connections per instance, on this worker.
    pub idle: usize,
    /// How long an idle connection is kept.
    pub idle_age: Duration,
}

/// An instance as one worker sees it.
#[derive(Debug)]
pub struct Local {
    /// What all workers share of it.
    pub instance: Arc<Instance>,
    idle: RefCell<Vec<Idle>>,
    settings: Rc<Settings>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    age: Duration,
}

/// A connection in use. Dropped, it is closed; given back, it waits for the next request.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: Connection,
    /// It has carried a request before: it may have been closed under us.
    pub reused: bool,
    home: Rc<Local>,
    sending: Option<Sending>,
}

/// A task that sends what is left of a request; it ends with its connection's lease.
#[derive(Debug)]
struct Sending(JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Local {
    /// An instance without connections.
    pub fn new(instance: Arc<Instance>, settings: Rc<Settings>) -> Rc<Local> {
        Rc::new(Local { instance, idle: RefCell::default(), settings })
    }

    /// The connection that was used last, if one waits; `once` asks for one that surely lives.
    pub fn reuse(self: &Rc<Local>, once: bool, now: Instant) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.last() {
            let lain = now.saturating_duration_since(candidate.since);
            let usable = candidate.connection.is_ready() && lain < candidate.age;
            if usable && once && lain > FRESH {
                return None;
            }
            let candidate = idle.pop()?;
            if usable {
                return Some(Lease {
                    connection: candidate.connection,
                    reused: true,
                    home: self.clone(),
                    sending: None,
                });
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// When nobody answers, or not in time.
    pub async fn connect(self: &Rc<Local>, deadline: Duration) -> Result<Lease, ConnectError> {
        let io = self.settings.connector.open(self.instance.key.address, deadline).await?;
        let connection = Connection::new(io);
        Ok(Lease { connection, reused: false, home: self.clone(), sending: None })
    }

    /// Closes what is too old, or closed already; everything when the instance is gone.
    pub fn prune(&self, now: Instant) {
        let departed = self.instance.departed();
        let keep = |idle: &Idle| !departed && now - idle.since < idle.age && !idle.connection.is_closed();
        self.idle.borrow_mut().retain(keep);
    }

    /// How many connections lie idle here.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Keeps a connection that is free.
    fn keep(&self, connection: Connection, since: Instant, age: Duration) {
        let mut idle = self.idle.borrow_mut();
        if !age.is_zero() && !self.instance.departed() && idle.len() < self.settings.idle {
            idle.push(Idle { connection, since, age });
        }
    }
}

impl Lease {
    /// The answer has begun: what is left of the request goes on by itself.
    pub fn send_on(&mut self) {
        self.sending = self.connection.rest().map(|rest| Sending(tokio::task::spawn_local(rest)));
    }

    /// The answer was read to its end, now. `keep_alive` is what it said of `Keep-Alive: timeout`. What is left of the request goes on,
    /// and is in flight: for as long as it does not stand still for `idle` (or twice that at most), and not beyond `total`.
    pub fn give_back(
        mut self,
        keep_alive: Option<Duration>,
        (idle, total): (Duration, Option<Instant>),
        flight: InFlight,
        now: Instant,
    ) {
        let told = keep_alive.map_or(Duration::MAX, |told| told.saturating_sub(Duration::from_secs(1)));
        let age = self.home.settings.idle_age.min(told);
        // Whether the instance closed it is seen when it is used again.
        if self.connection.is_free() {
            return self.home.keep(self.connection, now, age);
        }
        if self.connection.is_closed() {
            return;
        }
        // The request is still being written.
        self.sending = None;
        tokio::task::spawn_local(async move {
            let moving = async {
                loop {
                    let written = self.connection.written();
                    match tokio::time::timeout(idle, self.connection.ready()).await {
                        Ok(ready) => return ready,
                        Err(_) if self.connection.written() == written => return false,
                        Err(_) => {}
                    }
                }
            };
            let ready = match total {
                Some(total) => tokio::time::timeout_at(total, moving).await.unwrap_or(false),
                None => moving.await,
            };
            if ready {
                self.home.keep(self.connection, Instant::now(), age);
            }
            drop(flight);
        });
    }
}
