//! Networks, from their text.

use std::net::IpAddr;

use ipnet::IpNet;

/// A network, or an address alone; `all` says why it may not be the network of all addresses.
pub(super) fn network(text: &str, all: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(alone) {
        Some(network) if network.prefix_len() == 0 => Err(format!("`{text}` {all}")),
        Some(network) => Ok(network.trunc()),
        None => Err(format!("`{text}` is not a network: write e.g. \"10.0.0.0/8\" or \"192.0.2.1\"")),
    }
}
