//! One agent: the connections to it, how they are divided among watches and reads, and what it said of itself. All tasks that ask it
//! share this.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::assemble::Rules;
use super::client::Client;
use super::watch::Timings;

/// An agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) client: Arc<Client>,
    pub(super) timings: Timings,
    /// The datacenters that are followed through it; none: only its own.
    pub(super) datacenters: Vec<String>,
    /// Another agent was followed before this one: what its first answers lack is held as suspect.
    pub(super) successor: bool,
    /// Which instances of each datacenter are taken, once it has said who it is.
    pub(super) rules: watch::Sender<Option<Vec<Arc<Rules>>>>,
    /// The datacenter that it says it is in; empty until it has.
    pub(super) datacenter: Mutex<String>,
    /// Wakes whoever pauses after an error, because the agent answers again.
    pub(super) revived: Notify,
    /// Changes when it answers again after it hung: what waits there may wait for an answer that never comes.
    pub(super) hung: watch::Sender<()>,
    /// Since when it fails; `None` while it answers.
    failing: Mutex<Option<Instant>>,
    /// What may be asked besides the watches.
    pub(super) allowance: Allowance,
    /// How many connections the agent seems to allow, and when that was found out; `None` while it takes all that are configured.
    allowed: Mutex<Option<(usize, Instant)>>,
}

impl Agent {
    pub(super) fn new(client: Arc<Client>, timings: Timings, datacenters: Vec<String>, successor: bool) -> Agent {
        Agent {
            client,
            timings,
            datacenters,
            successor,
            rules: watch::Sender::new(None),
            datacenter: Mutex::default(),
            revived: Notify::new(),
            hung: watch::Sender::new(()),
            failing: Mutex::default(),
            allowance: Allowance::new(),
            allowed: Mutex::default(),
        }
    }

    /// Which instances of a datacenter are taken, once the agent has said who it is.
    pub(super) fn rules(&self, dc: usize) -> Option<Arc<Rules>> {
        self.rules.borrow().as_ref().and_then(|rules| rules.get(dc)).cloned()
    }

    /// How its connections are divided now.
    pub(super) fn budget(&self) -> Budget {
        let allowed = self.allowed.lock().map_or(usize::MAX, |(allowed, _)| allowed);
        Budget::new(self.client.lanes().min(allowed), self.datacenters.len().max(1))
    }

    /// How many connections it seems to allow; `None` while it takes all that are configured.
    pub(super) fn allowed(&self) -> Option<usize> {
        self.allowed.lock().map(|(allowed, _)| allowed)
    }

    /// Uses fewer connections from now on, because the agent has refused one: others on this address may use up what it allows.
    pub(super) fn yields(&self) {
        let fewest = fewest(self.datacenters.len());
        let mut allowed = self.allowed.lock();
        let now = allowed.map_or(usize::MAX, |(allowed, _)| allowed);
        // The one that failed is in use, too. Where many fail at once, each of them is one too many.
        let fewer = self.client.in_use().min(now).saturating_sub(1).max(fewest);
        *allowed = Some((fewer, Instant::now()));
    }

    /// Tries twice as many connections, where the agent has refused none for some time.
    pub(super) fn recovers(&self) {
        let mut allowed = self.allowed.lock();
        let Some((number, since)) = *allowed else { return };
        if since.elapsed() < YIELDS {
            return;
        }
        *allowed = (number * 2 < self.client.lanes()).then(|| (number * 2, Instant::now()));
    }

    /// Notes that it answered: what failed before may be tried again at once. True if it failed until now.
    pub(super) fn answers(&self) -> bool {
        let failed = self.failing.lock().take().is_some();
        if failed {
            *self.allowed.lock() = None;
            self.revived.notify_waiters();
        }
        failed
    }

    /// Notes that it failed.
    pub(super) fn fails(&self) {
        self.failing.lock().get_or_insert_with(Instant::now);
    }

    /// Since when it fails; `None` while it answers.
    pub(super) fn failing(&self) -> Option<Instant> {
        *self.failing.lock()
    }
}

/// How many requests may be under way at once, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// For services with a watch of their own, while all services have one.
    pub(super) watches: usize,
    /// The same where not all services have one, and the others are followed by signals.
    pub(super) watches_beside_signals: usize,
    /// Those that are kept free of watches: for first reads of new services, and for services without a watch.
    pub(super) spare: usize,
    /// Whether there is room for the watches that are signals.
    pub(super) signals: bool,
}

/// The fewest connections: for each datacenter one for its list and one for reads, and one for a watch.
pub(super) fn fewest(datacenters: usize) -> usize {
    2 * datacenters.max(1) + 1
}

impl Budget {
    /// Divides so many requests at once, of which one for each datacenter watches its list of services.
    pub(super) fn new(lanes: usize, datacenters: usize) -> Budget {
        // One for each datacenter: the first one reads although the others, on which it cannot rely, hang.
        let spare = (lanes / 8).clamp(datacenters, datacenters.max(4));
        let watches = lanes.saturating_sub(datacenters + spare).max(1);
        let signals = watches > 4;
        Budget { watches, watches_beside_signals: if signals { watches - 2 } else { watches }, spare, signals }
    }

    /// The same for each of so many datacenters that stand in for the first: they share what that one keeps free, but for one request, which
    /// is its own. They may all hang.
    pub(super) fn of_others(self, others: usize) -> Budget {
        let each = self.spare.saturating_sub(1) / others.max(1);
        let watches = each / 2;
        Budget { watches, watches_beside_signals: watches, spare: each - watches, signals: false }
    }
}

/// How long fewer connections are used than are configured, until more are tried.
const YIELDS: Duration = Duration::from_secs(60);

/// How many reads a second there may be on average, besides the watches and the first fill.
const RATE: f64 = 40.0;

/// How much may be asked besides the watches and the first fill: a token bucket that holds those of a second. A sweep
/// pays in advance.
#[derive(Debug)]
pub(super) struct Allowance(Mutex<(f64, Instant)>);

impl Allowance {
    fn new() -> Allowance {
        Allowance(Mutex::new((RATE, Instant::now())))
    }

    /// Pays for a request.
    ///
    /// # Errors
    /// That it cannot be paid for yet: the time until it can.
    pub(super) fn pay(&self) -> Result<(), Duration> {
        let mut bucket = self.0.lock();
        let missing = 1.0 - refill(&mut bucket);
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / RATE));
        }
        bucket.0 -= 1.0;
        Ok(())
    }

    /// Pays for requests that are sent whatever the bucket holds: others wait for longer.
    pub(super) fn owe(&self, requests: usize) {
        self.0.lock().0 -= requests as f64;
    }

    /// Pays for so many requests in advance, so that nobody else can use up what they need, and waits until they may be sent.
    pub(super) async fn take(&self, requests: usize) {
        let missing = {
            let mut bucket = self.0.lock();
            refill(&mut bucket);
            bucket.0 -= requests as f64;
            -bucket.0
        };
        if missing > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(missing / RATE)).await;
        }
    }
}

/// What a bucket holds by now.
fn refill((tokens, since): &mut (f64, Instant)) -> f64 {
    let now = Instant::now();
    *tokens = (*tokens + (now - *since).as_secs_f64() * RATE).min(RATE);
    *since = now;
    *tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_are_divided_so_that_none_is_missing() {
        for (lanes, datacenters) in [(3, 1), (4, 1), (8, 1), (16, 2), (64, 1), (64, 3), (6301, 1)] {
            let budget = Budget::new(lanes, datacenters);
            assert!(datacenters + budget.watches + budget.spare <= lanes.max(3), "{budget:?}");
            let signals = if budget.signals { 2 } else { 0 };
            assert_eq!(budget.watches_beside_signals + signals, budget.watches, "{budget:?}");
            let others = (datacenters - 1) * budget.of_others(datacenters - 1).watches;
            assert!(datacenters + budget.watches + others < lanes.max(3), "no request is left for reads: {budget:?}");
        }
        for (lanes, others) in [(5, 1), (7, 2), (9, 3), (16, 2), (16, 3), (64, 1), (64, 2), (64, 3), (64, 5)] {
            let (budget, each) = (Budget::new(lanes, 1 + others), Budget::new(lanes, 1 + others).of_others(others));
            assert!(others * (each.watches + each.spare) < budget.spare, "none is left while they all hang: {each:?}");
            assert!(each.spare > 0 && lanes >= fewest(1 + others), "they are never read: {each:?}");
            assert!(1 + others + budget.watches + budget.spare <= lanes, "{budget:?}");
        }
        assert_eq!(Budget::new(64, 1).watches, 59);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_moment_in_which_connections_were_refused_all_are_used_again_within_minutes() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = "http://127.0.0.1:1";
        let client = Client::new(&super::super::tests::config(address.into()), address, 64).expect("a client");
        let agent = Agent::new(Arc::new(client), Timings::default(), Vec::new(), false);
        (0..70).for_each(|_| agent.yields());
        let mut allowed = Vec::new();
        while let Some(now) = agent.allowed() {
            allowed.push(now);
            tokio::time::advance(YIELDS).await;
            agent.recovers();
        }
        assert_eq!(allowed, [3, 6, 12, 24, 48]);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_besides_the_watches_are_bounded_on_average_and_a_sweep_may_come_at_once() {
        let (allowance, start) = (Allowance::new(), Instant::now());
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..2 {
            allowance.take(1000).await;
        }
        assert!(allowance.pay().is_err());
        for _ in 0..1000 {
            while let Err(wait) = allowance.pay() {
                tokio::time::sleep(wait).await; // paused time
            }
        }
        let (took, rate) = (start.elapsed() - Duration::from_secs(60), 3000.0 / 40.0);
        assert!(took.as_secs_f64() > rate - 1.1 && took.as_secs_f64() < rate + 1.0, "{took:?}");
    }
}
