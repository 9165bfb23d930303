//! Requests at a fixed rate, each timed from when it was due.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use integration::process::pause;

use super::Outcome;
use super::crowd::ASKED;
use super::gateway::{connect, get};

/// Each has a thread, which sends a request and waits for its answer.
const CONNECTIONS: u32 = 8;

/// What came of them, in milliseconds.
pub(super) struct Figures {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) longest: f64,
}

/// Asks for the first services for some time, so many times a second.
pub(super) fn run(address: SocketAddr, time: Duration, rate: u32) -> Outcome<Figures> {
    let begun = Instant::now() + Duration::from_millis(10);
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|number| std::thread::spawn(move || one(address, (begun, time), Duration::from_secs(1) / rate, number)))
        .collect();
    let mut all = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
    let mut failed = 0;
    for thread in threads {
        let (times, errors) = thread.join().map_err(|_| "a thread of the load panicked")??;
        all.add(times).map_err(|error| error.to_string())?;
        failed += errors;
    }
    let of = |quantile| all.value_at_quantile(quantile) as f64 / 1e6;
    Ok(Figures { requests: all.len(), failed, p50: of(0.5), p99: of(0.99), longest: of(1.0) })
}

/// One connection: every eighth request is its own.
fn one(
    address: SocketAddr,
    (begun, time): (Instant, Duration),
    every: Duration,
    number: u32,
) -> Outcome<(Histogram<u64>, u64)> {
    let mut times = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
    let mut stream = connect(address).map_err(|error| error.to_string())?;
    let mut failed = 0;
    for nth in (number..).step_by(CONNECTIONS as usize) {
        let due = begun + every * nth;
        if due >= begun + time {
            break;
        }
        pause(due.saturating_duration_since(Instant::now()));
        let path = format!("/api/service-{}/x", nth as usize / CONNECTIONS as usize % ASKED);
        match get(&mut stream, &path) {
            Ok((200, _)) => {}
            Ok(_) => failed += 1,
            Err(_) => {
                failed += 1;
                stream = connect(address).map_err(|error| error.to_string())?;
            }
        }
        let took = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        times.record(took).map_err(|error| error.to_string())?;
    }
    Ok((times, failed))
}
