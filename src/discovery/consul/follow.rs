//! Follows one service: by a blocking query of its own while the budget lasts, else read in rotation.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::agent::Agent;
use super::assemble::{self, Assembled, Rules};
use super::client::{Failure, Lane};
use super::model;
use super::watch::Watch;
use crate::catalog::ServiceName;
use crate::supervisor::{Backoff, outcome};

/// The most reads a second of all services without a watch together.
const READS_PER_SECOND: usize = 50;

/// The time after which each of `swept` services is read again in rotation: `shortest`, or longer where there are many.
pub(super) fn rotation(swept: usize, shortest: Duration) -> Duration {
    shortest.max(Duration::from_secs_f64(swept as f64 / READS_PER_SECOND as f64))
}

/// Follows a service. Never ends; dropped, it closes its connection. When it panics it is begun again: what is known of its service
/// stays, and all others are followed as before.
pub(super) async fn follow(name: ServiceName, agent: Arc<Agent>, rules: Rules) {
    let mut backoff = Backoff::default();
    let mut failures = 0;
    while let Err(panic) = outcome(read(name.clone(), agent.clone(), rules.clone())).await {
        let pause = backoff.pause();
        tracing::error!(service = %name, "its watch is begun again in {pause:?}: it panicked: {panic}");
        failures += 1;
        agent.state.service_failed(&name, &Failure::panicked(), failures);
        tokio::time::sleep(pause).await;
    }
}

/// Reads a service again and again. Never ends.
async fn read(name: ServiceName, agent: Arc<Agent>, rules: Rules) {
    let path = format!("/v1/health/service/{name}");
    let watch = Watch::new(path, &agent.timings, agent.timings.backoff.1);
    let mut follower = Follower { name, agent, rules, watch, warned: BTreeSet::new() };
    // The first reads of all services wait in one queue for all lanes; watches of new lanes begin behind them.
    follower.read_once().await;
    let mut first = true;
    loop {
        if let Ok(_own) = follower.agent.watches.clone().try_acquire_owned() {
            let mut lane = follower.agent.client.lane().await;
            loop {
                follower.round(&mut lane, true).await;
            }
        }
        let period = rotation(follower.agent.state.swept(), follower.agent.timings.sweep);
        // The first pauses spread the services over the whole period; a little chance later keeps them apart.
        let share = if first { fastrand::f64() } else { 0.95 + fastrand::f64() / 10.0 };
        first = false;
        tokio::time::sleep(period.mul_f64(share)).await;
        follower.read_once().await;
    }
}

struct Follower {
    name: ServiceName,
    agent: Arc<Agent>,
    rules: Rules,
    watch: Watch,
    /// Addresses with several registrations of which a warning was logged.
    warned: BTreeSet<SocketAddr>,
}

impl Follower {
    /// Reads without blocking, until there is an answer; a lane is held only while asking.
    async fn read_once(&mut self) {
        loop {
            let mut lane = self.agent.client.lane().await;
            let answered = self.ask(&mut lane, false).await;
            drop(lane);
            match answered {
                Some(_) => return,
                None => self.pause_after_error().await,
            }
        }
    }

    /// Asks once, and pauses as is due then.
    async fn round(&mut self, lane: &mut Lane, blocking: bool) {
        match self.ask(lane, blocking).await {
            Some(pause) => tokio::time::sleep(pause).await,
            None => self.pause_after_error().await,
        }
    }

    /// Asks, and writes the answer to the state; the pause that is due after an answer, or `None` after an error.
    async fn ask(&mut self, lane: &mut Lane, blocking: bool) -> Option<Duration> {
        let (name, rules, state) = (&self.name, &self.rules, &self.agent.state);
        let parse = |body: &[u8]| model::entries(body).map(|entries| assemble::service(name, &entries, rules));
        match self.watch.ask(lane, blocking, parse, |answer| state.removes(name, answer)).await {
            Ok((answer, moved)) => {
                self.warn_of_shared(&answer);
                let changed = self.agent.state.put(&self.name, answer);
                Some(self.watch.pause(moved, changed))
            }
            Err(failure) => {
                self.agent.state.service_failed(&self.name, &failure, self.watch.failures());
                None
            }
        }
    }

    /// Waits for the backoff, or until the agent answers another watch again.
    async fn pause_after_error(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.watch.backoff()) => {}
            () = self.agent.revived.notified() => {}
        }
    }

    /// Warns of each address with several registrations, once as long as it has them.
    fn warn_of_shared(&mut self, answer: &Assembled) {
        let Assembled::Exposed(_, shared) = answer else { return };
        let shared: BTreeSet<SocketAddr> = shared.iter().copied().collect();
        for address in shared.difference(&self.warned) {
            tracing::warn!(service = %self.name, %address, "several registrations on one address are one instance");
        }
        self.warned = shared;
    }
}
