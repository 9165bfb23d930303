//! The load of `cargo demo --check`: a steady one, while instances die.

use std::time::Duration;

use integration::client::Client;
use rustix::process::Signal;

use super::Stage;

/// Requests in a second of the check's load, and for how long.
const RATE: u32 = 200;
const SECONDS: u32 = 20;

impl Stage {
    /// A steady load, whoever dies meanwhile: one mock in an orderly way, one by force. How many requests failed.
    pub(super) async fn load(&mut self) -> usize {
        println!("  {RATE} GET/s for {SECONDS} s, while one instance gets SIGTERM and another SIGKILL:");
        let client = Client::new(self.address());
        let start = tokio::time::Instant::now();
        let mut requests = Vec::new();
        for number in 0..RATE * SECONDS {
            let due = start + Duration::from_secs(1) * number / RATE;
            tokio::time::sleep_until(due).await;
            match number {
                n if n == RATE * 5 => self.mocks[0].signal(Signal::TERM),
                n if n == RATE * 12 => self.mocks[4].signal(Signal::KILL),
                _ => {}
            }
            let path = ["/api/user_service/users", "/api/order_service/orders"][number as usize % 2];
            let client = client.clone();
            // Counted from when it was due: what waits in this program waits for a client, too.
            requests.push(tokio::spawn(async move { (client.get(path).await, due.elapsed()) }));
        }
        let (mut failed, mut took) = (0, Vec::new());
        for request in requests {
            let Ok((answer, time)) = request.await else {
                failed += 1;
                continue;
            };
            took.push(time);
            if answer.status != 200 {
                failed += 1;
                println!("  failed: {} {}", answer.status, answer.body.trim());
            }
        }
        took.sort_unstable();
        let at = |share: f64| {
            took.get((took.len() as f64 * share) as usize).or(took.last()).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        let ([median, most, slowest], all) = ([0.5, 0.99, 1.0].map(at), RATE * SECONDS);
        println!("  {all} requests, {failed} failed; ms: median {median:.1}, 99 % {most:.1}, the slowest {slowest:.1}");
        failed
    }
}
