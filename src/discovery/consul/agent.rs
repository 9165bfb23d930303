//! One agent, as all its watches share it: the connections to it, how they are divided, and what is known by it.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use super::client::Client;
use super::state::State;
use super::watch::Timings;

/// What all watches of one agent share.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) client: Arc<Client>,
    pub(super) state: State,
    pub(super) timings: Timings,
    pub(super) budget: Budget,
    /// A permit is the right of one service to keep a connection for a watch of its own.
    pub(super) watches: Arc<Semaphore>,
    /// The agent answers again: who pauses after an error need not wait any longer.
    pub(super) revived: Notify,
}

impl Agent {
    pub(super) fn new(client: Arc<Client>, timings: Timings, budget: Budget) -> Agent {
        Agent {
            client,
            state: State::new(budget.watches),
            timings,
            budget,
            watches: Arc::new(Semaphore::new(budget.watches)),
            revived: Notify::new(),
        }
    }
}

/// How the connections to the agent are divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// All of them.
    pub(super) connections: usize,
    /// Those for services with a watch of their own.
    pub(super) watches: usize,
    /// Those that are kept free of watches: for first reads of new services, and for services that are read in rotation.
    pub(super) spare: usize,
}

impl Budget {
    pub(super) fn new(connections: usize) -> Budget {
        // One for the catalog, one for a watch, one that is spare.
        let connections = connections.max(3);
        let spare = (connections / 8).clamp(1, 4);
        Budget { connections, watches: connections - 1 - spare, spare }
    }
}
