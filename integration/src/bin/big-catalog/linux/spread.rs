//! How long it takes from an answer of the agent until the last worker routes by it, seen by a connection to each worker.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration::fake_agent::{FakeAgent, Instance};
use integration::process::pause;

use super::Outcome;
use super::gateway::{Gateway, connect, get};

/// The service that changes.
const NAME: &str = "moving";

/// How often all workers are asked once while nothing changes.
const ROUNDS: u32 = 100;

/// The most connections that are tried to find one to each worker.
const MOST: usize = 256;

/// Makes a service critical and passing again, so many times: from each answer of the agent that says critical until the last worker refuses
/// by it, sorted; and how long it takes to ask all workers once, which is how exact that is.
pub(super) fn measure(
    gateway: &Gateway,
    agent: &FakeAgent,
    port: u16,
    workers: usize,
    changes: usize,
) -> Outcome<(Vec<Duration>, Duration)> {
    let path = format!("/v1/health/service/{NAME}");
    agent.register(Instance::new(NAME, NAME, SocketAddr::from(([127, 0, 0, 1], port))));
    let mut connections = to_each_worker(gateway, workers)?;
    // Until it is known, and followed by a watch of its own, because it is asked for.
    until_all(&mut connections, 200)?;
    pause(Duration::from_secs(1));
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        until_all(&mut connections, 200)?;
    }
    let round = begun.elapsed() / ROUNDS;
    let mut times = Vec::new();
    for _ in 0..changes {
        let begun = Instant::now();
        agent.change(|catalog| catalog.set_check(NAME, "critical"));
        // A refusal needs no instance: a worker's first request to one would take the time of a connection.
        let last = until_all(&mut connections, 503)?;
        // The agent notes it after it was sent: that may be read before it is noted.
        let written = loop {
            match agent.written(&path).filter(|written| *written >= begun) {
                Some(written) => break written,
                None => std::thread::yield_now(),
            }
        };
        times.push(last.saturating_duration_since(written));
        // Not as fast as the watch allows.
        pause(Duration::from_millis(50));
        agent.change(|catalog| catalog.set_check(NAME, "passing"));
        until_all(&mut connections, 200)?;
        pause(Duration::from_millis(50));
    }
    agent.deregister(NAME);
    times.sort_unstable();
    Ok((times, round))
}

/// Asks on all connections in turn until all are answered with this status; when the last one was.
fn until_all(connections: &mut [TcpStream], status: u16) -> Outcome<Instant> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut left: Vec<_> = connections.iter_mut().collect();
    let mut last = Instant::now();
    while !left.is_empty() {
        if Instant::now() > deadline {
            return Err(format!("{} workers did not hear of a change", left.len()));
        }
        let mut old = Vec::new();
        for connection in left {
            let (answered, _) = get(connection, &format!("/api/{NAME}/x")).map_err(|error| error.to_string())?;
            last = Instant::now();
            if answered != status {
                old.push(connection);
            }
        }
        left = old;
    }
    Ok(last)
}

/// A connection to each worker: which one answers is the one that wakes as often as it is asked.
fn to_each_worker(gateway: &Gateway, workers: usize) -> Outcome<Vec<TcpStream>> {
    const ASKED: u64 = 100;
    let (mut found, mut spare) = (Vec::<(u32, TcpStream)>::new(), Vec::new());
    for _ in 0..MOST {
        if found.len() == workers {
            return Ok(found.into_iter().map(|(_, stream)| stream).collect());
        }
        let mut stream = connect(gateway.address).map_err(|error| error.to_string())?;
        let before = gateway.sleeps()?;
        for _ in 0..ASKED {
            get(&mut stream, "/health").map_err(|error| error.to_string())?;
        }
        let after = gateway.sleeps()?;
        let woken = before.iter().zip(&after).filter(|((a, _), (b, _))| a == b).max_by_key(|((_, a), (_, b))| b - a);
        let Some((&(thread, _), _)) = woken else { return Err("no workers".into()) };
        match found.iter().any(|(known, _)| *known == thread) {
            true => spare.push(stream),
            false => found.push((thread, stream)),
        }
    }
    Err(format!("connections were found to {} of {workers} workers", found.len()))
}
