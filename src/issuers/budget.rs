//! How often strangers can have keys fetched: a few fetches at once, then one now and then, and the last ones not for names that nobody
//! asked for before.

use std::time::Duration;

use tokio::time::Instant;

/// How many fetches there may be at once.
const AT_ONCE: u32 = 5;

/// How many of them are a reserve. It is filled before there are others.
const RESERVE: u32 = 2;

/// After how long there may be one more.
const EACH: Duration = Duration::from_secs(30);

/// What somebody who asks for keys may have fetched. Whoever has more of a claim comes later here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// What others need less: no key of a name is sought, or one that was looked for in vain.
    Spare,
    /// The same, unless somebody else asks for this name, too: anybody can think of a name and ask for it once.
    First,
    /// Also what is in reserve: the name was asked for before, as that of a new key is by each token of it.
    Again,
}

impl Claim {
    /// How many fetches it leaves to others.
    fn leaves(self) -> u32 {
        match self {
            Claim::Spare | Claim::First => RESERVE,
            Claim::Again => 0,
        }
    }
}

/// How many fetches are left.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u32,
    /// Since when it has not been full, less what was given back since.
    since: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Budget {
        Budget { left: AT_ONCE, since: now }
    }

    /// Takes a fetch, if there is one for this claim.
    pub(crate) fn take(&mut self, claim: Claim, now: Instant) -> bool {
        let may = self.has(claim, now);
        self.left -= u32::from(may);
        may
    }

    /// Whether there is a fetch for this claim.
    pub(crate) fn has(&mut self, claim: Claim, now: Instant) -> bool {
        self.fill(now);
        self.left > claim.leaves()
    }

    /// After how long there is a fetch for this claim, if nobody takes one until then.
    pub(crate) fn wait(&self, claim: Claim, now: Instant) -> Duration {
        let missing = (claim.leaves() + 1).saturating_sub(self.left);
        (self.since + EACH * missing).saturating_duration_since(now)
    }

    fn fill(&mut self, now: Instant) {
        while self.left < AT_ONCE && now >= self.since + EACH {
            self.left += 1;
            self.since += EACH;
        }
        if self.left == AT_ONCE {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many fetches each claim gets at these seconds.
    fn allowed<const N: usize>(claim: Claim, seconds: [u32; N]) -> [usize; N] {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut budget = Budget::new(start);
        seconds.map(|after| (0..10).filter(|_| budget.take(claim, start + after * second)).count())
    }

    #[tokio::test(start_paused = true)]
    async fn five_fetches_are_allowed_at_once_then_one_more_every_thirty_seconds_and_never_more_than_five() {
        let times = [0, 29, 30, 59, 60, 119, 120, 100_000, 100_029, 100_030];
        assert_eq!(allowed(Claim::Again, times), [5, 0, 1, 0, 1, 1, 1, 5, 0, 1]);
        assert_eq!(allowed(Claim::First, times), [3, 0, 1, 0, 1, 1, 1, 3, 0, 1], "two stay in reserve");
        assert_eq!(allowed(Claim::Spare, times), allowed(Claim::First, times));
    }

    #[tokio::test(start_paused = true)]
    async fn the_reserve_is_filled_before_there_is_a_fetch_for_who_must_not_take_it() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut budget = Budget::new(start);
        assert_eq!((0..10).filter(|_| budget.take(Claim::Again, start)).count(), 5);
        let at = start + 10 * second;
        assert_eq!(budget.wait(Claim::Again, at), 20 * second);
        assert_eq!(budget.wait(Claim::Spare, at), 80 * second);
        for (after, spare, again) in [(29, false, false), (30, false, true), (89, false, true), (90, true, true)] {
            let now = start + after * second;
            assert_eq!((budget.has(Claim::Spare, now), budget.has(Claim::Again, now)), (spare, again), "{after}");
        }
        assert!(budget.take(Claim::Spare, start + 90 * second) && !budget.take(Claim::First, start + 90 * second));
        assert_eq!(budget.wait(Claim::Again, start + 90 * second), Duration::ZERO);
    }
}
