//! The breaker of an issuer's introspection endpoint: where that fails again and again, nobody waits for it until one question to it was
//! answered.

use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::backoff::{self, Exponential};
use failsafe::failure_policy::{self, ConsecutiveFailures};
use tokio::time::Instant;

/// How many failures in a row trip it.
const IN_A_ROW: u32 = 5;

/// How long it is open after the first trip, and at most. It doubles from one to the other.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Whether questions pass.
pub(crate) struct Breaker {
    policy: ConsecutiveFailures<Exponential>,
    state: State,
    /// Counts the trips and recoveries: what began before the last one decides nothing.
    epoch: u64,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open(Instant),
    /// One question is under way that decides.
    Probing,
}

/// The right to ask one question. It is to be answered by [`Breaker::succeeded`] or [`Breaker::failed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permit(u64);

impl Default for Breaker {
    fn default() -> Breaker {
        let times = backoff::exponential(OPEN.0, OPEN.1);
        let policy = failure_policy::consecutive_failures(IN_A_ROW, times);
        Breaker { policy, state: State::Closed, epoch: 0 }
    }
}

impl Breaker {
    /// Whether a question may be asked; else after how long that is worth another try.
    pub(crate) fn permit(&mut self, now: Instant) -> Result<Permit, Duration> {
        match self.state {
            State::Closed => {}
            State::Open(until) if now >= until => self.state = State::Probing,
            State::Open(until) => return Err(until - now),
            State::Probing => return Err(OPEN.0),
        }
        Ok(Permit(self.epoch))
    }

    /// A question was answered.
    pub(crate) fn succeeded(&mut self, permit: Permit) {
        if permit.0 != self.epoch {
            return;
        }
        self.policy.record_success();
        if self.state == State::Probing {
            self.policy.revived();
            self.state = State::Closed;
            self.epoch += 1;
        }
    }

    /// A question was not answered. `random` lies between 0 and 1.
    pub(crate) fn failed(&mut self, permit: Permit, random: f64, now: Instant) {
        if permit.0 != self.epoch {
            return;
        }
        if let Some(open) = self.policy.mark_dead_on_failure() {
            // Gateways that it failed for together do not try it together.
            self.state = State::Open(now + open.mul_f64(0.75 + 0.5 * random));
            self.epoch += 1;
        }
    }

    /// Whether it lets all questions pass.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_failures_in_a_row_trip_it_and_one_good_answer_after_a_pause_ends_that() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            let permit = breaker.permit(now).expect("closed");
            breaker.failed(permit, 0.5, now);
        }
        let permit = breaker.permit(now).expect("closed");
        breaker.succeeded(permit);
        for _ in 0..5 {
            let permit = breaker.permit(now).expect("four, then a success, then four");
            breaker.failed(permit, 0.5, now);
        }
        assert_eq!(breaker.permit(now), Err(SECOND));
        let probe = breaker.permit(now + SECOND).expect("a probe");
        assert!(breaker.permit(now + SECOND).is_err(), "one probe at a time");
        breaker.failed(probe, 0.5, now + SECOND);
        assert_eq!(breaker.permit(now + SECOND), Err(2 * SECOND), "longer each time");
        let probe = breaker.permit(now + 3 * SECOND).expect("a probe");
        breaker.succeeded(probe);
        assert!(breaker.is_closed() && breaker.permit(now + 3 * SECOND).is_ok());
    }

    #[test]
    fn it_is_never_open_for_long_and_what_began_before_it_tripped_decides_nothing() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        let old = breaker.permit(now).expect("closed");
        for _ in 0..100 {
            if let Ok(permit) = breaker.permit(now) {
                breaker.failed(permit, 1.0, now);
            }
            let wait = breaker.permit(now).err().unwrap_or_default();
            assert!(wait <= 38 * SECOND, "{wait:?}");
            now += wait;
        }
        breaker.succeeded(old);
        assert!(!breaker.is_closed());
    }
}
