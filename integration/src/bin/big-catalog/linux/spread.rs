//! How long it takes from an answer of the agent until the last worker routes by it, seen by a connection to each worker.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration::fake_agent::{FakeAgent, Instance};

use super::gateway::{Gateway, connect, get};
use super::{Outcome, pause};

/// The service that changes.
const NAME: &str = "moving";

/// The most connections that are tried to find one to each worker.
const MOST: usize = 256;

/// Moves a service between two instances, so many times; the times, sorted.
pub(super) fn measure(
    gateway: &Gateway,
    agent: &FakeAgent,
    ports: &[u16],
    workers: usize,
    changes: usize,
) -> Outcome<Vec<Duration>> {
    let (path, asked) = (format!("/v1/health/service/{NAME}"), format!("/api/{NAME}/x"));
    let at = |nth: usize| ports[nth % 2];
    let register = |nth| agent.register(Instance::new(NAME, NAME, SocketAddr::from(([127, 0, 0, 1], at(nth)))));
    register(0);
    let mut connections = to_each_worker(gateway, workers)?;
    // Until it is known, and followed by a watch of its own, because it is asked for.
    until_all(&mut connections, &asked, at(0))?;
    pause(Duration::from_secs(1));
    let mut times = Vec::new();
    for nth in 1..=changes {
        register(nth);
        let last = until_all(&mut connections, &asked, at(nth))?;
        let written = agent.written(&path).ok_or("the agent was not asked")?;
        times.push(last.saturating_duration_since(written));
        // A change at its own time, and not as fast as the watch allows.
        pause(Duration::from_millis(60));
    }
    agent.deregister(NAME);
    times.sort_unstable();
    Ok(times)
}

/// Asks on all connections in turn until all are answered by this instance; when the last one was.
fn until_all(connections: &mut [TcpStream], path: &str, port: u16) -> Outcome<Instant> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let wanted = format!("{port:05}");
    let mut left: Vec<_> = connections.iter_mut().collect();
    let mut last = Instant::now();
    while !left.is_empty() {
        if Instant::now() > deadline {
            return Err(format!("{} workers did not hear of a change", left.len()));
        }
        let mut old = Vec::new();
        for connection in left {
            let (_, body) = get(connection, path).map_err(|error| error.to_string())?;
            last = Instant::now();
            if body != wanted {
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
