//! Consul: blocking queries say which services exist and how each one's instances fare.
//!
//! <https://developer.hashicorp.com/consul/api-docs/features/blocking>. An error is never an empty answer: what is known
//! stays until an answer says otherwise.

mod client;
mod judge;
mod model;
mod query;
mod watch;

use std::net::SocketAddr;

use super::{Desk, Provider};
use crate::config;

pub use client::Error;

/// The provider.
#[derive(Debug)]
pub struct Consul {
    client: client::Client,
    config: config::Consul,
    own: Vec<SocketAddr>,
}

impl Consul {
    /// For an agent; `own` are the gateway's own addresses.
    ///
    /// # Errors
    /// When the CA or the client certificate cannot be used.
    pub fn new(config: config::Consul, own: Vec<SocketAddr>) -> Result<Consul, Error> {
        Ok(Consul { client: client::Client::new(&config)?, config, own })
    }
}

impl Provider for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn source(&self) -> String {
        self.config.address.clone()
    }

    async fn run(self, desk: Desk) {
        if self.config.token.is_none() {
            desk.status(|status| status.notes.push("no token: the agent's default token is used".into()));
        }
        watch::Watch::new(self.client, self.config, self.own, desk).run().await;
    }
}

#[cfg(test)]
mod tests;
