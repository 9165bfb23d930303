//! Where a gateway says that it is reached, pure: by clients, by other gateways, and by the agent that checks whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What is known of where a gateway is.
#[derive(Clone, Debug)]
pub(super) struct Known<'a> {
    /// Its first public listener, as it is bound.
    pub(super) public: SocketAddr,
    /// Its admin listener, as it is bound.
    pub(super) admin: SocketAddr,
    /// The host at which it is reached, where the configuration says so.
    pub(super) address: Option<&'a str>,
    /// The agent is on this host.
    pub(super) agent_is_local: bool,
    /// This host's address toward an agent that is elsewhere.
    pub(super) toward: Option<IpAddr>,
}

/// Where a gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The host for clients; `None`: that of the agent's node, as Consul has it for a service without one.
    pub(super) host: Option<String>,
    /// The port for clients.
    pub(super) port: u16,
    /// Host and port for other gateways; without a host it is that for clients.
    pub(super) peer: String,
    /// What the agent asks whether the gateway is ready.
    pub(super) check: String,
}

/// Where a gateway is reached, by what is known of it.
pub(super) fn place(known: &Known<'_>) -> Place {
    let Known { public, admin, address, agent_is_local, toward } = known;
    let by_itself = (!public.ip().is_unspecified()).then(|| public.ip().to_string());
    // An agent on this host knows its node's address better than we do: containers, and hosts with many addresses.
    let guessed = || toward.filter(|_| !agent_is_local).map(|ip| ip.to_string());
    let host = address.map(str::to_owned).or(by_itself).or_else(guessed);
    // Whoever can reach the public listener can reach that of admin, unless it is on loopback alone. It is the better one for gateways and
    // agents: no balancer stands before it.
    let beside = !admin.ip().is_loopback() || public.ip().is_loopback() && address.is_none();
    let door = if beside { *admin } else { *public };
    let peer = match door.ip() {
        ip if ip.is_unspecified() || door == *public => match &host {
            Some(host) => at(host, door.port()),
            None => format!(":{}", door.port()),
        },
        ip => SocketAddr::new(ip, door.port()).to_string(),
    };
    let near = *agent_is_local && address.is_none();
    let asked = if near { *admin } else { door };
    let check = match (asked.ip(), &host) {
        (ip, Some(host)) if ip.is_unspecified() => at(host, asked.port()),
        (IpAddr::V4(ip), None) if ip.is_unspecified() => at(&Ipv4Addr::LOCALHOST.to_string(), asked.port()),
        (IpAddr::V6(ip), None) if ip.is_unspecified() => at(&Ipv6Addr::LOCALHOST.to_string(), asked.port()),
        (_, Some(host)) if asked == *public => at(host, asked.port()),
        _ => asked.to_string(),
    };
    Place { host, port: public.port(), peer, check: format!("http://{check}/ready") }
}

/// Host and port; an IPv6 address stands in brackets.
pub(super) fn at(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// The address that this host has toward another one. Nothing is sent.
pub(super) fn toward(other: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(other).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// The id of a gateway in Consul: the same after a restart, so that a crash leaves no second one behind.
pub(super) fn id(service: &str, host: &str, public: SocketAddr) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '-' };
    let host: String = host.chars().map(fits).collect();
    match public.ip() {
        ip if ip.is_unspecified() => format!("{service}-{host}-{}", public.port()),
        ip => format!("{service}-{host}-{}-{}", ip.to_string().replace(':', "-"), public.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, peer and check of a gateway with these listeners.
    fn placed(public: &str, admin: &str, address: Option<&str>, local: bool, toward: Option<&str>) -> [String; 3] {
        let (public, admin) = (public.parse().expect("an address"), admin.parse().expect("an address"));
        let toward = toward.map(|ip| ip.parse().expect("an address"));
        let found = place(&Known { public, admin, address, agent_is_local: local, toward });
        assert_eq!(found.port, public.port());
        [found.host.unwrap_or_default(), found.peer, found.check]
    }

    #[test]
    fn a_gateway_is_reached_where_it_listens_or_else_where_its_agent_is() {
        let table = [
            // Everything on loopback, as without a configuration.
            (("127.0.0.1:5000", "127.0.0.1:5001", None, true, None), ["127.0.0.1", "127.0.0.1:5001", "127.0.0.1:5001"]),
            // One address of several.
            (("10.0.0.7:5000", "127.0.0.1:5001", None, true, None), ["10.0.0.7", "10.0.0.7:5000", "127.0.0.1:5001"]),
            (("10.0.0.7:5000", "10.1.0.7:5001", None, true, None), ["10.0.0.7", "10.1.0.7:5001", "10.1.0.7:5001"]),
            // All addresses: the agent knows its node's, and asks over loopback.
            (("0.0.0.0:5000", "127.0.0.1:5001", None, true, None), ["", ":5000", "127.0.0.1:5001"]),
            (("0.0.0.0:5000", "0.0.0.0:5001", None, true, None), ["", ":5001", "127.0.0.1:5001"]),
            (("[::]:5000", "[::]:5001", None, true, None), ["", ":5001", "[::1]:5001"]),
            // An agent elsewhere has another address than we.
            (
                ("0.0.0.0:5000", "127.0.0.1:5001", None, false, Some("10.0.0.9")),
                ["10.0.0.9", "10.0.0.9:5000", "10.0.0.9:5000"],
            ),
            (("[::]:5000", "[::]:5001", None, false, Some("fd00::9")), ["fd00::9", "[fd00::9]:5001", "[fd00::9]:5001"]),
            // The configuration says it.
            (
                ("0.0.0.0:5000", "127.0.0.1:5001", Some("edge.example"), true, None),
                ["edge.example", "edge.example:5000", "edge.example:5000"],
            ),
            (
                ("127.0.0.1:5000", "127.0.0.1:5001", Some("10.0.0.8"), true, None),
                ["10.0.0.8", "10.0.0.8:5000", "10.0.0.8:5000"],
            ),
            (
                ("0.0.0.0:5000", "0.0.0.0:5001", Some("10.0.0.8"), false, Some("10.0.0.9")),
                ["10.0.0.8", "10.0.0.8:5001", "10.0.0.8:5001"],
            ),
        ];
        for ((public, admin, address, local, toward), [host, peer, check]) in table {
            let expected = [host.to_owned(), peer.to_owned(), format!("http://{check}/ready")];
            assert_eq!(placed(public, admin, address, local, toward), expected, "{public} {admin} {address:?} {local}");
        }
    }

    #[test]
    fn an_id_is_the_same_after_a_restart_and_another_one_for_each_listener_of_a_host() {
        let of = |address: &str| id("lictor", "edge 1/a", address.parse().expect("an address"));
        assert_eq!(of("0.0.0.0:5000"), "lictor-edge-1-a-5000");
        assert_eq!(of("127.0.0.1:5000"), "lictor-edge-1-a-127.0.0.1-5000");
        assert_eq!(of("[::1]:5000"), "lictor-edge-1-a---1-5000");
    }

    #[test]
    fn the_address_toward_this_host_is_this_hosts() {
        assert_eq!(toward(([127, 0, 0, 1], 1).into()), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
