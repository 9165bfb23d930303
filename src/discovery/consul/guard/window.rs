//! The time over which losses are summed.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// What vanishes within this time is summed.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);

/// The moment, by the clock that measures and by the clock that people read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) clock: SystemTime,
}

impl Now {
    /// When the window began.
    pub(super) fn start(self) -> Instant {
        self.instant.checked_sub(WINDOW).unwrap_or(self.instant)
    }
}
