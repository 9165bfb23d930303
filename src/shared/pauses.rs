//! How long a connection pauses after it failed.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause and the longest. It doubles from one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The pause after a connection broke that had been well: the server may only have closed it because it was idle, or have restarted.
const BROKEN: Duration = Duration::from_millis(100);

/// A connection that worked for this long since its last pause is well: the pause begins anew.
const WELL: Duration = Duration::from_secs(10);

/// The pauses of one connection.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    /// When the last pause ended, or will end.
    ended: Instant,
}

impl Pauses {
    pub(super) fn new() -> Pauses {
        Pauses { next: PAUSES.0, ended: Instant::now() }
    }

    /// The pause that is due after a failure at `now`: up to a quarter shorter than its turn, so that a fleet does not come back at once.
    pub(super) fn pause(&mut self, now: Instant, broke: bool) -> Duration {
        let whole = match (now >= self.ended + WELL, broke) {
            (true, true) => BROKEN,
            (true, false) => PAUSES.0,
            (false, _) => self.next,
        };
        self.next = (2 * whole).clamp(PAUSES.0, PAUSES.1);
        let pause = whole.mul_f64(1.0 - fastrand::f64() / 4.0);
        self.ended = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_from_a_second_to_ten_and_begin_anew_after_ten_seconds_without_a_failure() {
        let mut pauses = Pauses::new();
        let mut now = Instant::now();
        for whole in [1, 2, 4, 8, 10, 10] {
            let pause = pauses.pause(now, true).as_secs_f64();
            assert!(pause <= f64::from(whole) && pause >= 0.75 * f64::from(whole), "{pause} of {whole}");
            now += Duration::from_secs_f64(pause);
        }
        now += WELL;
        assert!(pauses.pause(now, false) >= Duration::from_millis(750));
        now += WELL + PAUSES.0;
        assert!(pauses.pause(now, true) <= BROKEN, "one that was well and broke is made again soon");
        assert!(pauses.pause(now, true) >= Duration::from_millis(750), "once");
    }
}
