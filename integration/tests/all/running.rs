//! Consul as it is run, with real agents: TLS, tokens, datacenters, several agents, sockets, and agents that are killed, each with what
//! clients saw.

mod agents;
mod cold;
mod datacenters;
mod restarts;
mod stand;
mod tls;
mod tokens;
