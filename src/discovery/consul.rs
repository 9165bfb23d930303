//! Consul as a provider: which services exist, and how each of them fares, by blocking queries within a connection budget.

mod address;
mod assemble;
mod board;
mod client;
mod follow;
mod judge;
mod model;
mod names;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use self::address::Trust;
use self::assemble::Rules;
use self::board::Board;
use self::client::Client;
use self::watch::Timings;
use super::{Error, Outlet, Provider};
use crate::config;

/// One agent, watched.
#[derive(Debug)]
pub struct Consul {
    source: String,
    rules: Rules,
    timings: Timings,
    budget: Budget,
    client: Arc<Client>,
    notes: Vec<(&'static str, String)>,
}

/// How the connections are divided.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// All of them.
    connections: usize,
    /// Services with a watch of their own.
    watches: usize,
    /// Kept free of watches: first reads of new services, and those that are read in rotation.
    spare: usize,
}

impl Budget {
    fn new(connections: usize) -> Budget {
        // One for the catalog, one for a watch, one that is spare.
        let connections = connections.max(3);
        let spare = (connections / 8).clamp(1, 4);
        Budget { connections, watches: connections - 1 - spare, spare }
    }
}

/// What all watches of one agent share.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    board: Board,
    timings: Timings,
    budget: Budget,
    /// A permit is the right to keep a connection for one's own watch.
    watches: Arc<Semaphore>,
    /// The agent answers again: whoever pauses after an error need not wait any longer.
    revived: Notify,
}

impl Consul {
    /// A provider for this agent; connects to nothing yet. `own`: where the gateway itself listens.
    ///
    /// # Errors
    /// An address or a file that no waiting will mend.
    pub fn new(config: &config::Consul, own: Vec<SocketAddr>) -> Result<Consul, Error> {
        Consul::with_timings(config, own, Timings::default())
    }

    fn with_timings(config: &config::Consul, own: Vec<SocketAddr>, timings: Timings) -> Result<Consul, Error> {
        let budget = Budget::new(config.connections);
        // The catalog's connection is one of the lanes; it is taken first and never given back.
        let client = Arc::new(Client::new(config, budget.connections)?);
        let mut notes = Vec::new();
        if !client.has_token() {
            notes.push(("token", "no token: the agent's default token is used".to_owned()));
        }
        if config.connections < budget.connections {
            notes.push(("connections", format!("consul.connections is {}, 3 are used", config.connections)));
        }
        let trust = Trust {
            allow_loopback: config.allow_loopback,
            agent_is_local: client.is_local(),
            own_node: Err("it was not asked yet".into()),
            own,
        };
        let rules = Rules { expose: config.expose.clone(), trust };
        Ok(Consul { source: config.address.clone(), rules, timings, budget, client, notes })
    }
}

impl Provider for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn run(self: Box<Self>, outlet: Outlet) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let shared = Arc::new(Shared {
                client: self.client,
                board: Board::new(self.budget.watches),
                timings: self.timings,
                budget: self.budget,
                watches: Arc::new(Semaphore::new(self.budget.watches)),
                revived: Notify::new(),
            });
            for (topic, note) in self.notes {
                tracing::info!(agent = self.source, "{note}");
                shared.board.note(topic, Some(note));
            }
            // Dropped with this future, it ends the publisher, too.
            let mut publisher = JoinSet::new();
            let board = shared.clone();
            publisher.spawn(async move { board.board.publish(outlet).await });
            names::watch(shared, self.rules).await;
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
