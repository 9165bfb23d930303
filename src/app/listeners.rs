//! Where to listen, and what holds there.

use super::ADMIN_CONNECTIONS;
use crate::config::Config;
use crate::io::Door;
use crate::server::{self, Limits};

/// Where to listen; the admin listener is the last. It has the deadlines of the first public one.
pub(super) fn addresses(config: &Config) -> Vec<server::Address> {
    let mut addresses: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| server::Address {
            address: listener.address,
            optional: listener.optional,
            key: "[[listener]] address",
            limits: Limits {
                connections: listener.max_connections,
                head: listener.head,
                keep_alive: listener.keep_alive,
                write: config.policy.timeouts.idle,
                door: Door::Public,
                trusted: listener.trusted_proxies.clone(),
                balancers: listener.proxy_protocol.clone(),
            },
        })
        .collect();
    let first = addresses[0].limits.clone();
    let (connections, trusted) = (ADMIN_CONNECTIONS, [].into());
    let limits = Limits { door: Door::Admin, connections, trusted, balancers: None, ..first };
    addresses.push(server::Address { address: config.admin.address, optional: false, key: "[admin] address", limits });
    addresses
}
