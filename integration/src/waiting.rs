//! Waiting for a condition, never for time.

use std::time::{Duration, Instant};

/// Waits until `condition` holds. It is tried every few milliseconds.
///
/// # Panics
/// When it does not hold after 20 s; the message says `what` never came.
pub async fn eventually<F, R>(what: &str, mut condition: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "this never came: {what}");
        // Between two tries; what is waited for is the condition.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
