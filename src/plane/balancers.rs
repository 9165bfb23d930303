//! Connections that were closed because they did not begin as a TCP balancer's must: with who it is that connects (PROXY protocol).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// One line of the log in so much time: who connects without being a balancer may do so as often as it likes.
const QUIET: Duration = Duration::from_secs(10);

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It came from a network that is not one of the balancers'.
    Stranger,
    /// It began with something that is no PROXY header.
    Missing,
    /// Its PROXY header is not valid, or too long.
    Invalid,
    /// Its PROXY header was not whole in time, or broke off.
    Incomplete,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 4] = [Reason::Stranger, Reason::Missing, Reason::Invalid, Reason::Incomplete];

    /// As metrics and the log name it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Stranger => "stranger",
            Reason::Missing => "missing",
            Reason::Invalid => "invalid",
            Reason::Incomplete => "incomplete",
        }
    }

    /// What an operator should look at.
    fn advice(self) -> &'static str {
        match self {
            Reason::Stranger => "it is in none of the networks of [[listener]] proxy_protocol",
            Reason::Missing => "it sent something else than a PROXY header: switch PROXY on at the balancer",
            Reason::Invalid => "its PROXY header is not valid, or longer than 536 bytes",
            Reason::Incomplete => "its PROXY header was not whole within a second",
        }
    }
}

/// How many there were, by reason. They are counted once a connection, and only where it is closed.
#[derive(Debug, Default)]
pub struct Unannounced {
    counts: [AtomicU64; Reason::ALL.len()],
    /// When the log last said so, and how many there were by then.
    said: Mutex<Option<(Instant, u64)>>,
}

impl Unannounced {
    /// How many were closed for this reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts one, and logs it unless the log said something of the kind a moment ago.
    pub fn add(&self, reason: Reason, peer: SocketAddr) {
        self.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(since) = self.news() {
            let why = reason.name();
            tracing::warn!(%peer, why, since, "a connection without a balancer's word was closed: {}", reason.advice());
        }
    }

    /// How many there were since the log last said so; `None` while it is to be quiet.
    fn news(&self) -> Option<u64> {
        let all = Reason::ALL.iter().map(|reason| self.count(*reason)).sum();
        let mut said = self.said.lock();
        let before = match *said {
            Some((at, _)) if at.elapsed() < QUIET => return None,
            Some((_, before)) => before,
            None => 0,
        };
        *said = Some((Instant::now(), all));
        Some(all - before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_counted_and_the_log_says_once_in_a_while_how_many_there_were() {
        let unannounced = Unannounced::default();
        let mut said = Vec::new();
        for reason in [Reason::Stranger, Reason::Missing, Reason::Stranger] {
            unannounced.counts[reason as usize].fetch_add(1, Ordering::Relaxed);
            said.push(unannounced.news());
        }
        tokio::time::advance(QUIET).await;
        said.push(unannounced.news());
        assert_eq!(said, [Some(1), None, None, Some(2)]);
        assert_eq!(Reason::ALL.map(|reason| unannounced.count(reason)), [2, 1, 0, 0]);
    }
}
