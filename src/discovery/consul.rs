//! Consul as a provider: which services exist and which instances each has, by blocking queries within a budget of
//! connections.

mod address;
mod agent;
mod assemble;
mod client;
mod follow;
mod health;
mod model;
mod names;
mod state;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use self::address::{AgentPorts, Trust};
use self::agent::{Agent, Budget};
use self::assemble::Rules;
use self::client::Client;
use self::watch::Timings;
use super::outlet::Outlet;
use super::provider::{Error, Provider};
use crate::config;
use crate::supervisor::Running;

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

impl Consul {
    /// A provider for this agent, which it does not connect to yet. `listeners` are the gateway's own addresses.
    ///
    /// # Errors
    /// An address or a file that no waiting will mend.
    pub fn new(config: &config::Consul, listeners: Vec<SocketAddr>) -> Result<Consul, Error> {
        Consul::with_timings(config, listeners, Timings::default())
    }

    fn with_timings(config: &config::Consul, listeners: Vec<SocketAddr>, timings: Timings) -> Result<Consul, Error> {
        let budget = Budget::new(config.connections);
        // One of the lanes is for the catalog, which takes it first and never gives it back.
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
            listeners,
            agent: AgentPorts::default(),
        };
        let rules = Rules { expose: config.expose.clone(), trust };
        Ok(Consul { source: config.addresses[0].clone(), rules, timings, budget, client, notes })
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
        Box::pin(async move {
            let agent = Arc::new(Agent::new(self.client.clone(), self.timings.clone(), self.budget));
            for (topic, note) in &self.notes {
                tracing::info!(agent = self.source, "{note}");
                agent.state.note(topic, Some(note.clone()));
            }
            // In one task: without the one, the other would work in vain.
            tokio::join!(agent.state.publish(outlet), names::watch(agent.clone(), self.rules.clone()));
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
