//! Consul as a provider: which services exist and which instances each has, by blocking queries within a budget of
//! connections.

mod address;
mod agent;
mod assemble;
mod client;
pub mod doctor;
mod failover;
mod follow;
mod following;
mod guard;
mod health;
mod interner;
mod listing;
pub(super) mod membership;
mod model;
mod names;
mod own_node;
mod roster;
mod saved;
mod signals;
mod state;
mod view;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use self::assemble::Rules;
use self::client::Client;
use self::failover::Agents;
use self::following::Following;
use self::saved::{Saver, Scope};
use self::state::State;
use self::watch::Timings;
use super::outlet::Outlet;
use super::provider::{Error, Provider};
use crate::catalog::notice::Heard;
use crate::config;
use crate::supervisor::Running;

/// Consul, watched by the first of its agents that answers.
#[derive(Debug)]
pub struct Consul {
    source: String,
    agents: Agents,
    /// What is known outlives every agent, and the tasks that follow it.
    state: Arc<State>,
    heard: Heard,
    saver: Option<Saver>,
}

impl Consul {
    /// A provider for these agents, which it does not connect to yet. `listeners` are the gateway's own addresses; it is told by `heard` what is
    /// asked for.
    ///
    /// # Errors
    /// Which address or which file of the configuration cannot be used: to try again would not help.
    pub fn new(config: &config::Consul, listeners: Vec<SocketAddr>, heard: Heard) -> Result<Consul, Error> {
        Consul::with_timings(config, listeners, heard, Timings::default())
    }

    fn with_timings(
        config: &config::Consul,
        listeners: Vec<SocketAddr>,
        heard: Heard,
        timings: Timings,
    ) -> Result<Consul, Error> {
        let state = Arc::new(State::new(config.datacenters.len().max(1), config.hold));
        let connections = config.connections.max(agent::fewest(config.datacenters.len()));
        if config.connections < connections {
            let note = format!("consul.connections is {}, {connections} are used", config.connections);
            state.note("connections", Some(note));
        }
        let rules = Rules::new(config, false, listeners);
        let clients = config.addresses.iter().map(|address| Client::new(config, address, connections).map(Arc::new));
        let clients: Vec<_> = clients.collect::<Result<_, _>>()?;
        if !clients[0].has_token() {
            state.note("token", Some("no token: the agent's default token is used".to_owned()));
        }
        let local = clients.iter().any(|client| client.is_local());
        let saver = config.saved.as_ref().map(|place| {
            let scope = Scope::of(config);
            restore(&state, place, &scope, &Rules::new(config, local, rules.trust.listeners.clone()));
            Saver::new(place, scope)
        });
        let following = Arc::new(Following::new(clients.clone()));
        state.following(following.clone());
        let agents = Agents::new(config, clients, following, rules, timings);
        Ok(Consul { source: config.addresses.join(", "), agents, state, heard, saver })
    }
}

impl Provider for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn run<'a>(&'a mut self, outlet: &'a Outlet) -> Running<'a> {
        let Consul { agents, state, heard, saver, .. } = self;
        Box::pin(async move {
            let following = agents.following();
            let save = async {
                let Some(saver) = saver else { return };
                let report = |why| state.note("snapshot", why);
                saver.run(|| following.confirmed(state), report).await;
            };
            // In one task, because none of them is of use without the others.
            tokio::join!(state.publish(outlet), agents.follow(state, heard), save);
        })
    }
}

/// Takes the saved catalog, if there is one that may be used: until an agent answers, it is all that is known.
fn restore(state: &State, place: &config::SavedCatalog, scope: &Scope, rules: &Rules) {
    match saved::load(place, scope, rules, SystemTime::now()) {
        Ok(None) => {}
        Ok(Some(loaded)) => {
            let services: Vec<_> = loaded.services.values().map(|service| (**service).clone()).collect();
            let age = saved::in_words(SystemTime::now().duration_since(loaded.saved_at).unwrap_or_default());
            tracing::info!(
                services = services.len(),
                "the saved catalog is served until an agent answers: it is {age} old"
            );
            state.restore(services, loaded.saved_at, loaded.datacenter);
        }
        Err(why) => {
            tracing::warn!("the saved catalog is not used: {why}");
            state.note("snapshot", Some(format!("the saved catalog was not used: {why}")));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
