//! Follows one service: by a blocking query of its own while the budget lasts, else read in rotation.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::assemble::{self, Assembled, Rules};
use super::client::Lane;
use super::watch::Watch;
use super::{Shared, model};
use crate::catalog::ServiceName;

/// Reads per second of all services without a watch together, at most.
const READS_PER_SECOND: usize = 50;

/// How often each of these many services is read in rotation.
pub(super) fn rotation(swept: usize, at_least: Duration) -> Duration {
    at_least.max(Duration::from_secs_f64(swept as f64 / READS_PER_SECOND as f64))
}

/// Follows a service. Never ends; dropped, it closes its connection.
pub(super) async fn follow(name: ServiceName, shared: Arc<Shared>, rules: Rules) {
    let path = format!("/v1/health/service/{name}");
    let watch = Watch::new(path, &shared.timings, shared.timings.backoff.1);
    let mut follower = Follower { name, shared, rules, watch, warned: BTreeSet::new() };
    // The first reads of all services queue for all lanes; the watches line up behind them.
    follower.read_once().await;
    let mut first = true;
    loop {
        if let Ok(_own) = follower.shared.watches.clone().try_acquire_owned() {
            let mut lane = follower.shared.client.lane().await;
            loop {
                follower.round(&mut lane, true).await;
            }
        }
        let period = rotation(follower.shared.board.swept(), follower.shared.timings.sweep);
        // Spread over the whole period first, then kept apart by a little chance.
        let share = if first { fastrand::f64() } else { 0.95 + fastrand::f64() / 10.0 };
        first = false;
        tokio::time::sleep(period.mul_f64(share)).await;
        follower.read_once().await;
    }
}

struct Follower {
    name: ServiceName,
    shared: Arc<Shared>,
    rules: Rules,
    watch: Watch,
    /// Addresses with several registrations that were warned of.
    warned: BTreeSet<SocketAddr>,
}

impl Follower {
    /// Reads without blocking, until there is an answer; a lane is held only while asking.
    async fn read_once(&mut self) {
        loop {
            let mut lane = self.shared.client.lane().await;
            let answered = self.ask(&mut lane, false).await;
            drop(lane);
            match answered {
                Some(_) => return,
                None => self.pause_after_error().await,
            }
        }
    }

    /// One question and the pause after it.
    async fn round(&mut self, lane: &mut Lane, blocking: bool) {
        match self.ask(lane, blocking).await {
            Some(pause) => tokio::time::sleep(pause).await,
            None => self.pause_after_error().await,
        }
    }

    /// Asks and tells the board; the pause that is due after an answer, or none after an error.
    async fn ask(&mut self, lane: &mut Lane, blocking: bool) -> Option<Duration> {
        let (name, rules, board) = (&self.name, &self.rules, &self.shared.board);
        let parse = |body: &[u8]| model::entries(body).map(|entries| assemble::service(name, &entries, rules));
        match self.watch.ask(lane, blocking, parse, |answer| board.removes(name, answer)).await {
            Ok((answer, moved)) => {
                self.warn_of_shared(&answer);
                let changed = self.shared.board.put(&self.name, answer);
                Some(self.watch.pause(moved, changed))
            }
            Err(failure) => {
                self.shared.board.service_failed(&self.name, &failure, self.watch.failures());
                None
            }
        }
    }

    async fn pause_after_error(&self) {
        tokio::select! {
            () = tokio::time::sleep(self.watch.backoff()) => {}
            () = self.shared.revived.notified() => {}
        }
    }

    fn warn_of_shared(&mut self, answer: &Assembled) {
        let Assembled::Exposed(_, shared) = answer else { return };
        let shared: BTreeSet<SocketAddr> = shared.iter().copied().collect();
        for address in shared.difference(&self.warned) {
            tracing::warn!(service = %self.name, %address, "several registrations on one address are one instance");
        }
        self.warned = shared;
    }
}
