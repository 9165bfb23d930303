//! What a breaker has seen: only failures, and the first success after one, read and write it.

use std::time::Duration;

use failsafe::FailurePolicy;
use failsafe::failure_policy::{self, ConsecutiveFailures};
use tokio::time::Instant;

use super::failure::Failure;
use crate::config;

/// What only failures, and the first success after one, read and write.
pub(super) struct History {
    policy: ConsecutiveFailures<OpenTimes>,
    /// The open time of a trip that was vetoed, because no other instance was eligible. The next failure tries to trip with it
    /// again.
    vetoed: Option<Duration>,
    random: fastrand::Rng,
    /// Failures in a row.
    pub(super) consecutive: u32,
    /// When the state was entered.
    pub(super) since: Instant,
    /// The last failure, unless there was a success after it.
    pub(super) why: Option<Failure>,
}

/// The open times of trips without a recovery in between: each is twice the one before, up to `longest`.
#[derive(Clone)]
struct OpenTimes {
    next: Duration,
    longest: Duration,
}

impl Iterator for OpenTimes {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let open = self.next;
        self.next = open.saturating_mul(2).min(self.longest);
        Some(open)
    }
}

/// Counts failures in a row, by failsafe. Times are at least 1 ms, the unit of `Breaker::due`.
fn consecutive_failures(policy: &config::Breaker) -> ConsecutiveFailures<OpenTimes> {
    let open = policy.open.max(Duration::from_millis(1));
    let times = OpenTimes { next: open, longest: policy.open_max.max(open) };
    failure_policy::consecutive_failures(policy.consecutive, times)
}

impl History {
    /// Of a breaker that has seen nothing yet. `seed` decides on the jitter.
    pub(super) fn new(policy: &config::Breaker, seed: u64, now: Instant) -> History {
        History {
            policy: consecutive_failures(policy),
            vetoed: None,
            random: fastrand::Rng::with_seed(seed),
            consecutive: 0,
            since: now,
            why: None,
        }
    }

    /// Another policy from now on: failures in a row are counted anew.
    pub(super) fn tune(&mut self, policy: &config::Breaker) {
        self.policy = consecutive_failures(policy);
        (self.consecutive, self.vetoed) = (0, None);
    }

    /// An attempt succeeded: a row of failures ends.
    pub(super) fn succeeded(&mut self) {
        self.policy.record_success();
        (self.consecutive, self.vetoed, self.why) = (0, None, None);
    }

    /// The breaker recovered: the open times begin anew.
    pub(super) fn recovered(&mut self) {
        self.policy.revived();
    }

    /// An attempt failed. Where the failures in a row are too many now, the open time of a trip.
    pub(super) fn failed(&mut self, failure: Failure) -> Option<Duration> {
        self.consecutive = self.consecutive.saturating_add(1);
        self.why = Some(failure);
        self.vetoed.take().or_else(|| self.policy.mark_dead_on_failure())
    }

    /// The trip may not be: the next failure tries again with its open time.
    pub(super) fn veto(&mut self, open: Option<Duration>) {
        self.vetoed = open;
    }

    /// The open time of a trip that is not due to failures in a row. failsafe gives one only when it has counted enough failures,
    /// so it is told of further ones until it does: of none where the breaker tripped before without recovering since.
    pub(super) fn next_open_time(&mut self) -> Duration {
        loop {
            if let Some(open) = self.policy.mark_dead_on_failure() {
                return open;
            }
        }
    }

    /// An open time, up to 25 % shorter or longer by chance, so that the gateways of a fleet do not probe at the same moment.
    pub(super) fn jittered(&mut self, open: Duration) -> Duration {
        open.mul_f64(0.75 + 0.5 * self.random.f64())
    }
}
