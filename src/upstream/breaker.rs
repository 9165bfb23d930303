//! One instance's circuit breaker: trips after too many failures, probes with a limited number of requests, recovers.
//!
//! The `failsafe` crate counts the failures in a row, says when they are too many, and gives the open time, which it takes from a
//! series that it begins anew after a recovery. The series and the state machine are ours: failsafe's own series knows only whole
//! seconds, and its state machine lets every caller through when half open, changes state when it is merely asked, and takes the
//! verdict on a request from before the trip for one on the probe.

mod failure;
mod history;
mod state;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config;
pub use failure::{Failure, Weight};
use history::History;
pub use state::State;

/// After this long, another probe may take the place of one that has no verdict yet.
const PROBE: Duration = Duration::from_secs(5);

/// The lower part of [`Breaker::due`]: milliseconds.
const MS: u64 = (1 << 44) - 1;

/// The part of a [`Packed::turn`] that fits above it.
const TURN: u64 = (1 << 20) - 1;

/// One instance's breaker, shared by all workers.
pub struct Breaker {
    /// A [`Packed`].
    state: AtomicU64,
    /// When an open breaker is due for a probe, or the place of half-open probes is free again, in ms since `epoch` (the lower 44
    /// bits), and the turn that this holds for (the upper 20 bits, the turn's lower ones). Any other turn is not due.
    due: AtomicU64,
    /// Something failed since the last success. Only then does a success take the lock.
    failed_lately: AtomicBool,
    enabled: AtomicBool,
    probes: AtomicU64,
    epoch: Instant,
    /// How many times each state was entered, in the order of `State::ALL`.
    entered: [AtomicU64; 3],
    history: Mutex<History>,
}

/// What admin shows of a breaker.
#[derive(Clone, Debug)]
pub struct View {
    /// Its state.
    pub state: State,
    /// How long it has been in that state.
    pub since: Duration,
    /// The last failure, unless there was a success after it.
    pub why: Option<Failure>,
    /// How long until the next probe, when open.
    pub next_probe: Option<Duration>,
    /// Failures in a row.
    pub consecutive: u32,
    /// How many times each state was entered, in the order of [`State::ALL`].
    pub entered: [u64; 3],
}

/// State, number of probes under way, round and generation. Each change of state begins a new generation; verdicts on attempts of an
/// older one change nothing. Where probes take too long, a new round begins: their places are free for others, and their verdicts
/// still count.
///
/// Bits 0-1 hold the state, 2-9 the probes, 10-17 the round, 18-63 the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u64);

impl Packed {
    fn new(state: State, probes: u64, round: u8, generation: u64) -> Packed {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        Packed(generation << 18 | u64::from(round) << 10 | probes << 2 | state)
    }

    fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn probes(self) -> u64 {
        self.0 >> 2 & 0xff
    }

    fn round(self) -> u8 {
        (self.0 >> 10) as u8
    }

    fn generation(self) -> u64 {
        self.0 >> 18
    }

    /// Round and generation: what a time that is due belongs to.
    fn turn(self) -> u64 {
        self.0 >> 10
    }
}

/// The right to make one attempt: in which generation and round it was given, and whether the attempt is a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    generation: u64,
    round: u8,
    probe: bool,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.packed().state().as_str())
    }
}

impl Breaker {
    /// A closed one.
    pub fn new(policy: &config::Breaker) -> Breaker {
        Breaker::seeded(policy, fastrand::u64(..))
    }

    /// A closed one whose jitter is known, for tests.
    pub(super) fn seeded(policy: &config::Breaker, seed: u64) -> Breaker {
        let now = Instant::now();
        Breaker {
            state: AtomicU64::new(Packed::new(State::Closed, 0, 0, 0).0),
            due: AtomicU64::new(0),
            failed_lately: AtomicBool::new(false),
            enabled: AtomicBool::new(policy.enabled),
            probes: AtomicU64::new(policy.probes.max(1).into()),
            epoch: now,
            entered: Default::default(),
            history: Mutex::new(History::new(policy, seed, now)),
        }
    }

    /// Another policy from now on. The state stays, except that a breaker that is switched off closes; failures in a row are
    /// counted anew.
    pub fn tune(&self, policy: &config::Breaker) {
        let mut history = self.history.lock();
        self.enabled.store(policy.enabled, Ordering::Relaxed);
        self.probes.store(policy.probes.max(1).into(), Ordering::Relaxed);
        history.tune(policy);
        let packed = self.packed();
        if !policy.enabled && packed.state() != State::Closed {
            let grant = Grant { generation: packed.generation(), round: 0, probe: false };
            self.change(&mut history, grant, State::Closed, Instant::now());
        }
    }

    /// Whether an attempt would be let through; asking changes nothing. The clock is read only when the breaker is not closed,
    /// and only where `now` does not hold its time yet.
    pub fn eligible(&self, now: &mut Option<Instant>) -> bool {
        let packed = self.packed();
        match packed.state() {
            State::Closed => true,
            State::Open => self.is_due(packed, *now.get_or_insert_with(Instant::now)),
            State::HalfOpen => {
                packed.probes() < self.probes() || self.is_due(packed, *now.get_or_insert_with(Instant::now))
            }
        }
    }

    /// How long until an attempt would be let through.
    pub fn eligible_in(&self, now: Instant) -> Duration {
        let mut at = Some(now);
        if self.eligible(&mut at) {
            return Duration::ZERO;
        }
        let due = self.epoch + Duration::from_millis(self.due.load(Ordering::Acquire) & MS);
        due.saturating_duration_since(now)
    }

    /// The right to make an attempt, where the breaker lets one through. An open breaker that is due becomes half open by this.
    pub(super) fn acquire(&self) -> Option<Grant> {
        let mut packed = self.packed();
        loop {
            let (probes, round, generation) = match packed.state() {
                State::Closed => {
                    return Some(Grant { generation: packed.generation(), round: packed.round(), probe: false });
                }
                State::HalfOpen if packed.probes() < self.probes() => {
                    (packed.probes() + 1, packed.round(), packed.generation())
                }
                State::HalfOpen if self.is_due(packed, Instant::now()) => {
                    (1, packed.round().wrapping_add(1), packed.generation())
                }
                State::Open if self.is_due(packed, Instant::now()) => (1, 0, packed.generation() + 1),
                State::Open | State::HalfOpen => return None,
            };
            let next = Packed::new(State::HalfOpen, probes, round, generation);
            let grant = Grant { generation, round, probe: true };
            match self.state.compare_exchange_weak(packed.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if packed.turn() != next.turn() {
                        self.set_due(next.turn(), Instant::now() + PROBE);
                    }
                    if packed.generation() != generation {
                        self.entered[State::HalfOpen.figure()].fetch_add(1, Ordering::Relaxed);
                    }
                    return Some(grant);
                }
                // Another worker was faster: look again.
                Err(current) => packed = Packed(current),
            }
        }
    }

    /// What an attempt is judged by that has had its verdict, and failed after it: none where the breaker is not closed.
    pub(super) fn sample(&self) -> Option<Grant> {
        let packed = self.packed();
        let grant = Grant { generation: packed.generation(), round: packed.round(), probe: false };
        (packed.state() == State::Closed).then_some(grant)
    }

    /// The attempt succeeded.
    pub(super) fn succeeded(&self, grant: Grant) {
        if !grant.probe && !self.failed_lately.load(Ordering::Relaxed) {
            return;
        }
        let mut history = self.history.lock();
        if !self.is_current(grant) {
            return;
        }
        history.succeeded();
        if grant.probe && self.change(&mut history, grant, State::Closed, Instant::now()) {
            history.recovered();
        }
        self.failed_lately.store(false, Ordering::Relaxed);
    }

    /// The attempt failed. Returns whether the breaker tripped.
    ///
    /// `too_many` says whether too large a share of the last seconds' attempts failed; it is called only where the failures in a
    /// row are not too many. `may_trip` may veto; it is called only where this failure would trip a closed breaker.
    pub(super) fn failed(
        &self,
        grant: Grant,
        failure: Failure,
        too_many: impl FnOnce() -> bool,
        may_trip: impl FnOnce() -> bool,
    ) -> bool {
        if !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        let rate_only = failure.weight() == Weight::Rate;
        if rate_only && grant.probe {
            // It is no verdict on a single attempt.
            self.returned(grant);
            return false;
        }
        let mut history = self.history.lock();
        if !self.is_current(grant) {
            return false;
        }
        // An open time means: too many in a row. Where a trip was vetoed before, its open time is still the one to use.
        let in_a_row = if rate_only {
            None
        } else {
            self.failed_lately.store(true, Ordering::Relaxed);
            history.failed(failure)
        };
        // A probe's failure always opens again. Any other needs too many failures, and may be vetoed.
        if !grant.probe {
            if in_a_row.is_none() && !too_many() {
                return false;
            }
            if !may_trip() {
                if !rate_only {
                    history.veto(in_a_row);
                }
                return false;
            }
        }
        history.why = Some(failure);
        let open = in_a_row.unwrap_or_else(|| history.next_open_time());
        self.open(&mut history, grant, open)
    }

    fn open(&self, history: &mut History, grant: Grant, open: Duration) -> bool {
        let due = Instant::now() + history.jittered(open);
        self.change(history, grant, State::Open, due)
    }

    /// The attempt ended without a verdict: where it was a probe, another may take its place.
    pub(super) fn returned(&self, grant: Grant) {
        if !grant.probe {
            return;
        }
        let without = |packed: u64| {
            let packed = Packed(packed);
            let (probes, round, generation) = (packed.probes(), packed.round(), packed.generation());
            let same = packed.state() == State::HalfOpen && (generation, round) == (grant.generation, grant.round);
            (same && probes > 0).then(|| Packed::new(State::HalfOpen, probes - 1, round, generation).0)
        };
        // Where a new round or generation began since, its place is free already.
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, without);
    }

    /// Another process has the instance's address, says the provider: an open breaker is due at once. Its history is kept.
    pub fn probe_now(&self) {
        let _history = self.history.lock();
        let packed = self.packed();
        if packed.state() == State::Open {
            self.set_due(packed.turn(), self.epoch);
        }
    }

    /// What admin shows.
    pub fn view(&self) -> View {
        let now = Instant::now();
        let history = self.history.lock();
        let state = self.packed().state();
        View {
            state,
            since: now - history.since,
            why: history.why,
            next_probe: (state == State::Open).then(|| self.eligible_in(now)),
            consecutive: history.consecutive,
            entered: self.entered.each_ref().map(|count| count.load(Ordering::Relaxed)),
        }
    }

    fn probes(&self) -> u64 {
        self.probes.load(Ordering::Relaxed)
    }

    fn packed(&self) -> Packed {
        Packed(self.state.load(Ordering::Acquire))
    }

    /// Whether the state has not changed since the grant.
    pub(super) fn is_current(&self, grant: Grant) -> bool {
        self.packed().generation() == grant.generation
    }

    fn is_due(&self, packed: Packed, now: Instant) -> bool {
        let due = self.due.load(Ordering::Acquire);
        let now = now.saturating_duration_since(self.epoch).as_millis() as u64;
        due >> 44 == packed.turn() & TURN && due & MS <= now
    }

    /// Sets when a turn is due. A thread may be held up between its change of state and this: then a later turn's time, which is
    /// set already, stays.
    fn set_due(&self, turn: u64, at: Instant) {
        let ms = at.saturating_duration_since(self.epoch).as_millis() as u64;
        let new = (turn & TURN) << 44 | ms & MS;
        let is_later = |old: u64| (old >> 44).wrapping_sub(turn) & TURN;
        let step = |old: u64| (is_later(old) == 0 || is_later(old) > TURN / 2).then_some(new);
        let _ = self.due.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
    }

    /// Changes the state, which begins a new generation. False, without a change, where the grant's generation is over already.
    fn change(&self, history: &mut History, grant: Grant, state: State, due: Instant) -> bool {
        let next = Packed::new(state, 0, 0, grant.generation + 1);
        let step = |packed: u64| (Packed(packed).generation() == grant.generation).then_some(next.0);
        let changed = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok();
        if changed {
            self.set_due(next.turn(), due);
            self.entered[state.figure()].fetch_add(1, Ordering::Relaxed);
            history.since = Instant::now();
        }
        changed
    }
}

#[cfg(test)]
mod tests;
