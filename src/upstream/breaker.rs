//! One instance's circuit breaker: trips after failures in a row, probes with exactly N requests, recovers.
//!
//! failsafe decides when a row of failures is too long and for how long the breaker then stays open; the state machine
//! is ours, because failsafe's lets every caller through when half open, changes state when merely asked, and takes the
//! verdict of a request from before the trip for one about the probe.

mod failure;
mod word;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::backoff::{self, Exponential};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config;
pub use failure::Failure;
pub use word::State;
use word::Word;

/// A probe without a verdict for this long counts as lost: its place is free for another.
const PROBE: Duration = Duration::from_secs(5);

/// The parts of the word that says when: 20 bits of generation, 44 of ms.
const MS: u64 = (1 << 44) - 1;
const GENERATION: u64 = (1 << 20) - 1;

/// One instance's breaker, shared by all workers.
pub struct Breaker {
    word: AtomicU64,
    /// When an open breaker is due for a probe, or half-open probes count as lost: the low 20 bits of the generation
    /// that it holds for, then 44 bits of ms since `epoch`. For another generation it says nothing: not due.
    due: AtomicU64,
    /// Something failed since the last success: only then does a success take the lock.
    failed_lately: AtomicBool,
    enabled: AtomicBool,
    probes: AtomicU64,
    epoch: Instant,
    /// How often each state was entered, in the order of `State::ALL`.
    entered: [AtomicU64; 3],
    history: Mutex<History>,
}

struct History {
    policy: ConsecutiveFailures<Exponential>,
    /// The policy wanted to trip, but this was the last eligible instance: the next failure asks again with it.
    vetoed: Option<Duration>,
    random: fastrand::Rng,
    consecutive: u32,
    since: Instant,
    why: Option<Failure>,
}

/// What admin shows of a breaker.
#[derive(Clone, Debug)]
pub struct View {
    /// Where it stands.
    pub state: State,
    /// For how long.
    pub since: Duration,
    /// The last failure, while there was no success after it.
    pub why: Option<Failure>,
    /// Until the next probe, when open.
    pub next_probe: Option<Duration>,
    /// Failures in a row.
    pub consecutive: u32,
    /// How often each state was entered, in the order of [`State::ALL`].
    pub entered: [u64; 3],
}

/// The right to make one attempt, as the breaker gave it: of which generation, and whether as a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    generation: u64,
    probe: bool,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({})", self.word().state().as_str())
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
            word: AtomicU64::new(Word::new(State::Closed, 0, 0).0),
            due: AtomicU64::new(0),
            failed_lately: AtomicBool::new(false),
            enabled: AtomicBool::new(policy.enabled),
            probes: AtomicU64::new(policy.probes.max(1).into()),
            epoch: now,
            entered: Default::default(),
            history: Mutex::new(History {
                policy: row(policy),
                vetoed: None,
                random: fastrand::Rng::with_seed(seed),
                consecutive: 0,
                since: now,
                why: None,
            }),
        }
    }

    /// Another policy from now on. Where the breaker stands stays; a row of failures begins anew.
    pub fn tune(&self, policy: &config::Breaker) {
        let mut history = self.history.lock();
        self.enabled.store(policy.enabled, Ordering::Relaxed);
        self.probes.store(policy.probes.max(1).into(), Ordering::Relaxed);
        history.policy = row(policy);
        (history.consecutive, history.vetoed) = (0, None);
        let word = self.word();
        if !policy.enabled && word.state() != State::Closed {
            let grant = Grant { generation: word.generation(), probe: false };
            self.change(&mut history, grant, State::Closed, Instant::now());
        }
    }

    /// Whether an attempt would be let through: without side effects. The clock is only asked when the breaker is not
    /// closed, and once per `now`.
    pub fn eligible(&self, now: &mut Option<Instant>) -> bool {
        let word = self.word();
        match word.state() {
            State::Closed => true,
            State::Open => self.due(word, *now.get_or_insert_with(Instant::now)),
            State::HalfOpen => word.probes() < self.probes() || self.due(word, *now.get_or_insert_with(Instant::now)),
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

    /// The right to make an attempt, if there is one. An open breaker whose time has come becomes half open here.
    pub(super) fn acquire(&self) -> Option<Grant> {
        let mut word = self.word();
        loop {
            let (next, grant) = match word.state() {
                State::Closed => return Some(Grant { generation: word.generation(), probe: false }),
                State::HalfOpen if word.probes() < self.probes() => {
                    let next = Word::new(State::HalfOpen, word.probes() + 1, word.generation());
                    (next, Grant { generation: word.generation(), probe: true })
                }
                // Due again while half open: the probes under way are lost, a new generation begins.
                State::Open | State::HalfOpen if self.due(word, Instant::now()) => {
                    let generation = word.generation() + 1;
                    (Word::new(State::HalfOpen, 1, generation), Grant { generation, probe: true })
                }
                State::Open | State::HalfOpen => return None,
            };
            match self.word.compare_exchange_weak(word.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if word.generation() != next.generation() {
                        self.set_due(next.generation(), Instant::now() + PROBE);
                        self.entered[State::HalfOpen.figure()].fetch_add(1, Ordering::Relaxed);
                    }
                    return Some(grant);
                }
                Err(current) => word = Word(current),
            }
        }
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
        history.policy.record_success();
        (history.consecutive, history.vetoed, history.why) = (0, None, None);
        if grant.probe && self.change(&mut history, grant, State::Closed, Instant::now()) {
            history.policy.revived();
        }
        self.failed_lately.store(false, Ordering::Relaxed);
    }

    /// The attempt failed. `too_many` says whether lately too large a share did; it is asked when the row is not too long.
    /// `may_trip` is asked only when this failure would trip a closed breaker. True when it tripped.
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
        let mut history = self.history.lock();
        if !self.is_current(grant) {
            return false;
        }
        self.failed_lately.store(true, Ordering::Relaxed);
        history.consecutive = history.consecutive.saturating_add(1);
        history.why = Some(failure);
        let told = history.vetoed.take().or_else(|| history.policy.mark_dead_on_failure());
        let open = match told {
            // A failed probe opens again, however short the row: the policy only gives the time.
            None if grant.probe => history.force(),
            None if too_many() => {
                if !may_trip() {
                    return false;
                }
                let open = history.force();
                return self.open(&mut history, grant, open);
            }
            None => return false,
            Some(open) if grant.probe || may_trip() => open,
            Some(open) => {
                history.vetoed = Some(open);
                return false;
            }
        };
        self.open(&mut history, grant, open)
    }

    fn open(&self, history: &mut History, grant: Grant, open: Duration) -> bool {
        let due = Instant::now() + history.jittered(open);
        self.change(history, grant, State::Open, due)
    }

    /// No verdict: a probe's place is free again.
    pub(super) fn returned(&self, grant: Grant) {
        if !grant.probe {
            return;
        }
        let free = |word: u64| {
            let word = Word(word);
            let mine = word.state() == State::HalfOpen && word.generation() == grant.generation && word.probes() > 0;
            mine.then(|| Word::new(State::HalfOpen, word.probes() - 1, word.generation()).0)
        };
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
    }

    /// Another process stands at the instance's address: an open breaker is due at once, its history kept.
    pub fn probe_now(&self) {
        let _history = self.history.lock();
        let word = self.word();
        if word.state() == State::Open {
            self.set_due(word.generation(), self.epoch);
        }
    }

    /// What admin shows.
    pub fn view(&self) -> View {
        let now = Instant::now();
        let history = self.history.lock();
        let state = self.word().state();
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

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Whether nothing was decided since the grant.
    pub(super) fn is_current(&self, grant: Grant) -> bool {
        self.word().generation() == grant.generation
    }

    fn due(&self, word: Word, now: Instant) -> bool {
        let due = self.due.load(Ordering::Acquire);
        let now = now.saturating_duration_since(self.epoch).as_millis() as u64;
        due >> 44 == word.generation() & GENERATION && due & MS <= now
    }

    /// Who was held up between its change of state and this must not overwrite what a later generation said.
    fn set_due(&self, generation: u64, at: Instant) {
        let ms = at.saturating_duration_since(self.epoch).as_millis() as u64;
        let new = (generation & GENERATION) << 44 | ms & MS;
        let is_later = |old: u64| (old >> 44).wrapping_sub(generation) & GENERATION;
        let step = |old: u64| (is_later(old) == 0 || is_later(old) > GENERATION / 2).then_some(new);
        let _ = self.due.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
    }

    /// From the grant's generation to the next; false when that generation is over already.
    fn change(&self, history: &mut History, grant: Grant, state: State, due: Instant) -> bool {
        let next = Word::new(state, 0, grant.generation + 1);
        let step = |word: u64| (Word(word).generation() == grant.generation).then_some(next.0);
        let changed = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok();
        if changed {
            self.set_due(next.generation(), due);
            self.entered[state.figure()].fetch_add(1, Ordering::Relaxed);
            history.since = Instant::now();
        }
        changed
    }
}

/// failsafe's backoff counts in whole seconds and wants at least one; ours counts in milliseconds. So it is told
/// seconds, and what it says is read as milliseconds.
fn row(policy: &config::Breaker) -> ConsecutiveFailures<Exponential> {
    let scale = |d: Duration| Duration::from_secs((d.as_millis() as u64).max(1));
    let open = scale(policy.open);
    let backoff = backoff::exponential(open, scale(policy.open_max).max(open));
    failure_policy::consecutive_failures(policy.consecutive, backoff)
}

impl History {
    /// Asks the policy until it names a time: after a trip its count stands at the threshold, so this is at once; after
    /// a revival that a probe of the same breath contradicts, it takes a few.
    fn force(&mut self) -> Duration {
        loop {
            if let Some(open) = self.policy.mark_dead_on_failure() {
                return open;
            }
        }
    }

    /// failsafe's time in our unit, give or take 25 %, so that a fleet does not probe in step.
    fn jittered(&mut self, open: Duration) -> Duration {
        let ms = open.as_secs() as f64 * (0.75 + 0.5 * self.random.f64());
        Duration::from_millis(ms as u64)
    }
}

#[cfg(test)]
mod tests;
