//! How connections are asked to move while the end is announced: an answer says `Connection: close`, so that its client connects anew,
//! and gets to another gateway where a balancer knows of the end. Were all asked at once, all would come to the others at once: so
//! each connection has its turn, and the turns are spread over the announcement.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// By when in the announcement all turns have come, in hundredths of it. What is left is for those who seldom ask: who asks once in it
/// moves, and is not closed while idle, when its next request may be on its way already.
const ALL_BY: u32 = 80;

/// Turns are below this.
const ALL: u32 = 1 << 31;

/// Where a worker's connections stand on the way to the end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Connections whose turn is below this move. Each answer looks at it.
    pub(super) come: Cell<u32>,
    /// When the end was announced, and for how much later.
    announced: Cell<Option<(Instant, Duration)>>,
    draining: Cell<bool>,
    /// How many turns were given.
    given: Cell<u32>,
}

impl Ending {
    /// The turn of a new connection: when it moves, as a share of [`ALL`]. Multiples of the golden ratio fill any span evenly, however many there are of them.
    pub(super) fn turn(&self) -> u32 {
        let number = self.given.get().wrapping_add(1);
        self.given.set(number);
        number.wrapping_mul(0x9E37_79B9) >> 1
    }

    /// The end comes in this time.
    pub(super) fn announce(&self, time: Duration) {
        self.announced.set(Some((Instant::now(), time)));
    }

    /// Has the turns come whose time it is. Called at each tick of the worker, so that no request looks at a clock.
    pub(super) fn go_on(&self) {
        let Some((began, time)) = self.announced.get() else { return };
        let span = time * ALL_BY / 100;
        let come = began.elapsed().as_secs_f64() / span.as_secs_f64().max(f64::MIN_POSITIVE);
        self.come.set(self.come.get().max((come.min(1.0) * f64::from(ALL)) as u32));
    }

    /// The end is there: all move.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.come.set(ALL);
    }

    /// Whether it is there.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these have come.
    fn come(ending: &Ending, turns: &[u32]) -> usize {
        turns.iter().filter(|turn| **turn < ending.come.get()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_evenly_over_the_announcement_and_all_have_come_before_its_end() {
        let ending = Ending::default();
        let turns: Vec<_> = (0..1000).map(|_| ending.turn()).collect();
        ending.go_on();
        assert_eq!(come(&ending, &turns), 0, "nothing is announced");
        ending.announce(Duration::from_secs(10));
        for tenth in 0..=10 {
            ending.go_on();
            assert!(come(&ending, &turns).abs_diff((tenth * 125).min(1000)) <= 3, "{tenth}: {}", come(&ending, &turns));
            assert!(!ending.is_draining());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // Who comes late moves with the first answer.
        assert_eq!(come(&ending, &[ending.turn()]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn few_connections_move_one_at_a_time_and_none_waits_for_a_drain_or_an_announcement_of_no_time() {
        for few in [2, 3, 5, 8] {
            let ending = Ending::default();
            let turns: Vec<_> = (0..few).map(|_| ending.turn()).collect();
            ending.announce(Duration::from_secs(10));
            let mut before = 0;
            while before < few {
                tokio::time::advance(Duration::from_millis(100)).await;
                ending.go_on();
                let now = come(&ending, &turns);
                assert!(now - before <= 1, "{now} of {few} after {before}");
                before = now;
            }
        }
        let (drained, hasty) = (Ending::default(), Ending::default());
        drained.drain();
        assert!(come(&drained, &[drained.turn()]) == 1 && drained.is_draining());
        hasty.announce(Duration::ZERO);
        tokio::time::advance(Duration::from_millis(1)).await;
        hasty.go_on();
        assert_eq!(come(&hasty, &[hasty.turn()]), 1);
    }
}
