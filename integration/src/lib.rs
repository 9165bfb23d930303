//! The gateway seen from outside: a world of gateway, Consul and mocks on ports of its own, and ways to wait for what
//! should happen in it.

pub mod agent;
pub mod client;
pub mod examples;
pub mod process;
pub mod training;
pub mod websocket;
pub mod world;

use std::time::{Duration, Instant};

/// Waits until `condition` holds; looks every few milliseconds, gives up after 20 s with the name of what did not come.
///
/// # Panics
/// When it does not come.
pub async fn eventually<F, R>(what: &str, mut condition: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "this never came: {what}");
        // The pace of looking, not a wait for time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
