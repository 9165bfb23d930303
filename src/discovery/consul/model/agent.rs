//! What an agent says of itself, in any of its versions.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

/// What `/v1/agent/self` says of the agent, as far as it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct AgentSelf {
    /// The name of its node.
    pub(crate) node: String,
    /// The id of its node, which another node of the same name has not; empty where it tells none.
    pub(crate) id: String,
    /// Its datacenter; empty where it tells none.
    pub(crate) datacenter: String,
    /// Its version: `1.8.7`; empty where it names none.
    pub(crate) version: String,
    /// How many connections it takes from one address; 0 is any number (`limits.http_max_conns_per_client`).
    pub(crate) most_connections: Option<u64>,
    /// The addresses of its node that it names.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its HTTP, HTTPS and gRPC ports; empty where it names none.
    pub(crate) ports: Vec<u16>,
}

/// Reads `/v1/agent/self`. What it says beside the node's name is meant for people and differs between versions: what is not where it
/// should be is left out.
pub(crate) fn agent(body: &[u8]) -> Result<AgentSelf, String> {
    let whole: Value = serde_json::from_slice(body).map_err(|e| format!("Consul's JSON is not understood: {e}"))?;
    let node = whole["Config"]["NodeName"].as_str().unwrap_or_default().to_owned();
    if node.is_empty() {
        return Err("the agent does not tell its node's name".into());
    }
    let debug = &whole["DebugConfig"];
    let xds = &whole["xDS"];
    // Where it listens, as `tcp://10.0.0.1:8500`; and what it tells others of its node.
    let listens = ["HTTPAddrs", "HTTPSAddrs", "GRPCAddrs", "GRPCTLSAddrs"].map(|key| &debug[key]);
    let listens: Vec<SocketAddr> = listens.into_iter().flat_map(texts).filter_map(listener).collect();
    let names =
        ["AdvertiseAddrLAN", "AdvertiseAddrWAN", "BindAddr", "ClientAddrs", "TaggedAddresses"].map(|key| &debug[key]);
    let named = names.into_iter().chain([&whole["Member"]["Addr"]]).flat_map(texts);
    let named = named.filter_map(|text| text.parse().ok()).chain(listens.iter().map(SocketAddr::ip));
    let mut addresses: Vec<IpAddr> =
        named.map(|ip: IpAddr| ip.to_canonical()).filter(|ip| !ip.is_unspecified()).collect();
    let numbers = ["HTTPPort", "HTTPSPort", "GRPCPort", "GRPCTLSPort"].map(|key| &debug[key]);
    let numbers = numbers.into_iter().chain([&xds["Port"], &xds["Ports"]["Plaintext"], &xds["Ports"]["TLS"]]);
    let numbers =
        numbers.filter_map(Value::as_u64).filter_map(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
    let mut ports: Vec<u16> = numbers.chain(listens.iter().map(SocketAddr::port)).collect();
    addresses.sort();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    let named = |key: &str| whole["Config"][key].as_str().unwrap_or_default().to_owned();
    let (id, datacenter, version) = (named("NodeID"), named("Datacenter"), named("Version"));
    let most_connections = debug["HTTPMaxConnsPerClient"].as_u64();
    Ok(AgentSelf { node, id, datacenter, version, most_connections, addresses, ports })
}

/// The texts of a value that is a text, a list, or a table of them.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Object(table) => table.values().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// `tcp://10.0.0.1:8500`, as Consul writes an address that it listens on; `None` for a unix socket.
fn listener(text: &str) -> Option<SocketAddr> {
    text.strip_prefix("tcp://").unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_tells_its_node_its_addresses_and_its_ports_in_any_of_its_versions() {
        let told = |body: Value| agent(body.to_string().as_bytes()).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let new = told(serde_json::json!({
            "Config": {"NodeName": "mine", "Datacenter": "dc1", "Version": "1.12.0"},
            "DebugConfig": {
                "HTTPMaxConnsPerClient": 200,
                "HTTPAddrs": ["tcp://10.0.0.1:8500", "unix:///run/consul.sock"], "HTTPPort": 8500,
                "HTTPSAddrs": ["tcp://[::]:8501"], "HTTPSPort": 8501, "GRPCPort": -1, "GRPCTLSAddrs": null,
                "AdvertiseAddrLAN": "10.0.0.1", "TaggedAddresses": {"lan": "10.0.0.1", "wan": "192.0.2.1"},
            },
            "Member": {"Addr": "::ffff:10.0.0.2"}, "xDS": {"Port": 8502, "Ports": {"Plaintext": 8502, "TLS": 8503}},
        }));
        assert_eq!(
            (new.node.as_str(), new.datacenter.as_str(), &new.ports[..]),
            ("mine", "dc1", &[8500, 8501, 8502, 8503][..])
        );
        assert_eq!((new.version.as_str(), new.most_connections), ("1.12.0", Some(200)));
        assert_eq!(new.addresses, ["10.0.0.1", "10.0.0.2", "192.0.2.1"].map(ip));
        let old = told(serde_json::json!({"Config": {"NodeName": "mine"}, "DebugConfig": 7, "Member": []}));
        assert_eq!(old, AgentSelf { node: "mine".into(), ..AgentSelf::default() });
    }
}
