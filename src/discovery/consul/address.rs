//! Which addresses may be called at all. Whoever can register a service chooses its address, and some addresses would turn
//! the gateway against its own host or its cloud.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The ports of an agent's HTTP, HTTPS and gRPC that holds to Consul's defaults
/// (<https://developer.hashicorp.com/consul/docs/reference/architecture/ports>).
const PORTS: [u16; 4] = [8500, 8501, 8502, 8503];

/// What decides whether an address is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trust {
    /// Loopback is taken from any node.
    pub(crate) allow_loopback: bool,
    /// The agent is reached over loopback or a unix socket: its loopback addresses are on this host.
    pub(crate) agent_is_local: bool,
    /// The agent's own node, or why it is not known.
    pub(crate) own_node: Result<String, String>,
    /// Where the gateway itself listens.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Where the agent itself listens.
    pub(crate) agent: AgentPorts,
    /// The node of this host, once an agent on it has told it, whichever agent is followed now.
    pub(crate) host: Option<Host>,
}

/// The node of this host, as an agent tells it that is reached over loopback or a unix socket.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) node: String,
    /// What is judged is in its datacenter: in another one, a node of that name is another node.
    pub(crate) near: bool,
    /// Where the agent on it listens.
    pub(crate) agent: AgentPorts,
}

/// Where an agent itself listens, as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentPorts {
    /// Where we found it.
    pub(crate) found: BTreeSet<SocketAddr>,
    /// The addresses of its node that it told.
    pub(crate) addresses: Vec<IpAddr>,
    /// Its ports. Where it does not tell them, they are assumed to be Consul's defaults.
    pub(crate) ports: Vec<u16>,
}

impl Default for AgentPorts {
    fn default() -> AgentPorts {
        AgentPorts { found: BTreeSet::new(), addresses: Vec::new(), ports: PORTS.into() }
    }
}

/// The address to call, or why it is never called, as a sentence for its owner.
pub(crate) fn accept(address: &str, port: i64, node: &str, trust: &Trust) -> Result<SocketAddr, String> {
    let port = match u16::try_from(port) {
        Ok(0) => return Err("it has no port".into()),
        Ok(port) => port,
        Err(_) => return Err(format!("{port} is not a port")),
    };
    if address.is_empty() {
        return Err("neither it nor its node has an address".into());
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err("its address is a host name, only IP addresses are supported for now".into());
    };
    let ip = unmapped(ip);
    if let Some(what) = never(ip) {
        return Err(format!("its address is {what}, which is never called"));
    }
    if ip.is_loopback() {
        loopback(node, trust)?;
    }
    let address = SocketAddr::new(ip, port);
    if trust.listeners.iter().any(|listener| reaches(address, *listener)) {
        return Err("it is the gateway's own listener".into());
    }
    if is_agents(address, node, trust) {
        return Err("it is a port of the agent itself, which only a [[service]] of the file may name".into());
    }
    Ok(address)
}

/// Whether a connection to an address would reach the agent that is followed, or the one on this host: whoever can register a service could
/// register others by it.
fn is_agents(address: SocketAddr, node: &str, trust: &Trust) -> bool {
    let own = trust.own_node.as_deref().ok();
    leads_to(&trust.agent, own, trust.agent_is_local, address, node)
        || trust.host.as_ref().is_some_and(|host| leads_to(&host.agent, Some(&host.node), true, address, node))
}

/// Whether an address leads to an agent. Each address of the agent's node counts, and so does whatever claims to be on that node.
fn leads_to(agent: &AgentPorts, own: Option<&str>, is_local: bool, address: SocketAddr, node: &str) -> bool {
    let AgentPorts { found, addresses, ports } = agent;
    if !ports.contains(&address.port()) && !found.iter().any(|found| found.port() == address.port()) {
        return false;
    }
    let ip = match address.ip() {
        IpAddr::V6(ip) => translated(ip).map_or(IpAddr::V6(ip), IpAddr::V4),
        ip => ip,
    };
    let is_here = || {
        let mut of_node = addresses.iter().filter(|own| !own.is_loopback());
        is_local
            || found.iter().any(|found| found.ip().is_loopback() || is_ours(found.ip()))
            || of_node.any(|&own| is_ours(own))
    };
    own == Some(node)
        || addresses.contains(&ip)
        || found.iter().any(|found| found.ip() == ip)
        || (ip.is_loopback() || is_ours(ip)) && is_here()
}

/// Whether loopback addresses of this node are on this host, or why they are refused.
fn loopback(node: &str, trust: &Trust) -> Result<(), String> {
    if trust.allow_loopback {
        return Ok(());
    }
    let own = match &trust.host {
        // It was told by an agent on this host: that another agent shows its instances now changes nothing.
        Some(host) if host.near => Ok(&host.node),
        _ if trust.agent_is_local => trust.own_node.as_ref(),
        _ => return Err("a loopback address, but the agent is on another host (consul.allow_loopback takes it)".into()),
    };
    match own {
        Ok(own) if own == node => Ok(()),
        Ok(own) => Err(format!("a loopback address of node `{node}`, but the gateway is on `{own}`")),
        Err(why) => Err(format!("a loopback address, and the agent's own node is unknown: {why}")),
    }
}

/// What an address is, if it is one that no service can have.
fn never(ip: IpAddr) -> Option<&'static str> {
    const METADATA_4: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
    const METADATA_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("unspecified"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local"),
        IpAddr::V4(ip) if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(ip) if METADATA_4.contains(&ip) => Some("a cloud's metadata service"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("unspecified"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(ip) if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V6(METADATA_6) => Some("a cloud's metadata service"),
        IpAddr::V6(ip) => translated(ip).and_then(|inner| match inner {
            inner if inner.is_loopback() => Some("a translated form of a loopback address"),
            inner => never(IpAddr::V4(inner)),
        }),
        IpAddr::V4(_) => None,
    }
}

/// `::ffff:10.0.0.1` is 10.0.0.1, and follows the same rules.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The IPv4 address inside an IPv6 address of NAT64 (RFC 6052), of 6to4 (RFC 3056) or of the old IPv4-compatible form (RFC
/// 4291 section 2.5.5.1).
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let (high, low) = match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => (g, h),
        (0x2002, _) => (b, c),
        (0, 0) if [c, d, e, f] == [0; 4] && !ip.is_loopback() && !ip.is_unspecified() => (g, h),
        _ => return None,
    };
    Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

/// Whether a connection to an address would reach this listener of the gateway.
fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    let (ip, bound) = (address.ip(), unmapped(listener.ip()));
    address.port() == listener.port() && (ip == bound || (bound.is_unspecified() && (ip.is_loopback() || is_ours(ip))))
}

/// Whether this machine has an address: then the system also chooses it as the source towards it. No packet is sent.
fn is_ours(ip: IpAddr) -> bool {
    let any = if ip.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let source = UdpSocket::bind((any, 0)).and_then(|s| s.connect((ip, 9)).and_then(|()| s.local_addr()));
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust() -> Trust {
        Trust {
            allow_loopback: false,
            agent_is_local: true,
            own_node: Ok("mine".into()),
            listeners: Vec::new(),
            agent: AgentPorts::default(),
            host: None,
        }
    }

    #[test]
    fn ordinary_addresses_are_taken_and_mapped_ones_unmapped() {
        let table = [
            ("10.0.0.1", "10.0.0.1:80"),
            ("::ffff:10.0.0.1", "10.0.0.1:80"),
            ("2001:db8::1", "[2001:db8::1]:80"),
            ("fd00::1", "[fd00::1]:80"),
        ];
        for (text, expected) in table {
            assert_eq!(accept(text, 80, "n", &trust()), Ok(expected.parse().unwrap()));
        }
    }

    #[test]
    fn dangerous_addresses_are_never_taken_in_any_spelling() {
        let all = Trust { allow_loopback: true, ..trust() };
        let table = [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.1.1",
            "fe80::1",
            "febf::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "::ffff:224.0.0.1",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "64:ff9b::7f00:1",
            "::127.0.0.1",
        ];
        for text in table {
            let reason = accept(text, 80, "mine", &all).expect_err(text);
            assert!(reason.ends_with("never called"), "{text}: {reason}");
        }
    }

    #[test]
    fn a_port_and_an_ip_address_are_needed() {
        for (address, port, word) in [
            ("10.0.0.1", 0, "no port"),
            ("10.0.0.1", 70_000, "not a port"),
            ("10.0.0.1", -1, "not a port"),
            ("", 80, "neither"),
            ("db.internal", 80, "host name"),
        ] {
            assert!(accept(address, port, "n", &trust()).unwrap_err().contains(word));
        }
    }

    #[test]
    fn loopback_is_taken_only_from_the_local_agents_own_node_or_where_allowed() {
        let remote = Trust { agent_is_local: false, ..trust() };
        let blind = Trust { own_node: Err("403".into()), ..trust() };
        let allowed = Trust { allow_loopback: true, agent_is_local: false, ..trust() };
        for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
            assert!(accept(address, 80, "mine", &trust()).is_ok());
            assert!(accept(address, 80, "other", &trust()).unwrap_err().contains("`mine`"));
            assert!(accept(address, 80, "mine", &remote).unwrap_err().contains("another host"));
            assert!(accept(address, 80, "mine", &blind).unwrap_err().contains("403"));
            assert!(accept(address, 80, "other", &allowed).is_ok());
        }
    }

    #[test]
    fn loopback_of_this_hosts_node_is_taken_from_an_agent_elsewhere_but_not_the_ports_of_the_agent_here() {
        let agent =
            AgentPorts { addresses: vec!["10.0.0.5".parse().unwrap()], ports: vec![18500], ..AgentPorts::default() };
        let elsewhere = AgentPorts { addresses: vec!["10.0.0.9".parse().unwrap()], ..AgentPorts::default() };
        for near in [true, false] {
            let host = Some(Host { node: "here".into(), near, agent: agent.clone() });
            // Its own node is the other agent's, which is on another host.
            let trust = Trust { agent_is_local: false, agent: elsewhere.clone(), host, ..trust() };
            let taken = |address, port, node| accept(address, port, node, &trust);
            for address in ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(taken(address, 80, "here").is_ok(), near, "{address}");
                assert!(taken(address, 80, "mine").is_err() && taken(address, 80, "other").is_err(), "{address}");
                assert!(taken(address, 18500, "here").is_err(), "{address}");
            }
            assert!(taken("10.0.0.5", 18500, "other").is_err() && taken("10.0.0.77", 18500, "here").is_err());
            assert!(taken("10.0.0.9", 8500, "other").is_err() && taken("10.0.0.77", 18500, "other").is_ok());
        }
    }

    #[test]
    fn the_gateways_own_listeners_are_refused() {
        let listeners =
            vec!["0.0.0.0:5000".parse().unwrap(), "10.1.1.1:5001".parse().unwrap(), "[::]:5002".parse().unwrap()];
        let trust = Trust { listeners, ..trust() };
        for (address, port, taken) in [
            ("127.0.0.1", 5000, false),
            ("127.0.0.9", 5000, false),
            ("::1", 5000, false),
            ("10.1.1.1", 5001, false),
            ("::ffff:10.1.1.1", 5001, false),
            ("127.0.0.1", 5002, false),
            ("192.0.2.77", 5000, true),
            ("127.0.0.1", 5001, true),
            ("10.1.1.2", 5001, true),
        ] {
            assert_eq!(accept(address, port, "mine", &trust).is_ok(), taken, "{address}:{port}");
        }
    }

    #[test]
    fn the_agents_own_ports_are_refused_on_every_address_of_its_node_in_any_spelling() {
        let agent = AgentPorts {
            found: BTreeSet::from(["10.0.0.5:18500".parse().unwrap()]),
            addresses: ["10.0.0.5", "192.0.2.5"].map(|ip| ip.parse().unwrap()).into(),
            ports: vec![8500, 8502],
        };
        let remote = Trust { allow_loopback: true, agent_is_local: false, agent: agent.clone(), ..trust() };
        for (address, port, node, taken) in [
            ("10.0.0.5", 18500, "other", false),
            ("10.0.0.5", 8500, "other", false),
            ("192.0.2.5", 8502, "other", false),
            ("::ffff:10.0.0.5", 8500, "other", false),
            ("64:ff9b::a00:5", 8500, "other", false),
            // What its node carries is on that node, whatever it says.
            ("10.0.0.77", 8500, "mine", false),
            ("10.0.0.77", 8500, "other", true),
            ("10.0.0.5", 8501, "mine", true),
            ("10.0.0.5", 80, "mine", true),
            // It is on another host.
            ("127.0.0.1", 8500, "other", true),
        ] {
            assert_eq!(accept(address, port, node, &remote).is_ok(), taken, "{address}:{port} of {node}");
        }
        let here = Trust { allow_loopback: true, agent, ..trust() };
        for address in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            assert!(accept(address, 8500, "other", &here).unwrap_err().contains("agent itself"), "{address}");
            assert!(accept(address, 8501, "other", &here).is_ok(), "{address}");
        }
    }

    #[test]
    fn an_agent_that_tells_no_ports_has_consuls_defaults_besides_the_one_that_we_use() {
        let found = BTreeSet::from(["127.0.0.1:25126".parse().unwrap()]);
        let trust = Trust { agent: AgentPorts { found, ..AgentPorts::default() }, ..trust() };
        for port in [8500, 8501, 8502, 8503, 25126] {
            assert!(accept("127.0.0.2", port, "mine", &trust).is_err(), "{port}");
        }
        assert!(accept("127.0.0.2", 25127, "mine", &trust).is_ok());
    }
}
