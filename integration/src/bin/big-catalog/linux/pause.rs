//! Waiting for the end of a window.

use std::time::Duration;

/// Waits for so long.
#[expect(clippy::disallowed_methods, reason = "the windows of a measurement, outside of any runtime")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
