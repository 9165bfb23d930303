//! Where a request comes from: from whoever connected, or from whom a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::valid_host;
use crate::fields::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::io::Client;

/// Where a request comes from, as its instance is told.
#[derive(Clone, Debug)]
pub(super) struct Forwarded {
    /// `http`, or `https` where a trusted proxy says so.
    pub(super) scheme: &'static str,
    /// The host that the client asked, where a trusted proxy says it.
    pub(super) host: Option<HeaderValue>,
    /// Who asked, through which proxies: the value of `X-Forwarded-For`.
    pub(super) chain: HeaderValue,
}

impl Forwarded {
    /// As the connection says it, and as a trusted proxy at its other end does.
    pub(super) fn of(client: &Client, headers: &HeaderMap) -> Forwarded {
        let (scheme, host) = asked(client, headers);
        Forwarded { scheme, host: host.cloned(), chain: chain(client, headers) }
    }
}

/// The scheme that the client used, and the host that it asked, where a trusted proxy says it.
pub(super) fn asked<'h>(client: &Client, headers: &'h HeaderMap) -> (&'static str, Option<&'h HeaderValue>) {
    let host = trusted(client, headers, &X_FORWARDED_HOST).filter(|host| valid_host(host.as_bytes()));
    (scheme(client, headers), host)
}

/// The client's address. `X-Forwarded-For` of a trusted proxy is read from the right, as far as trusted proxies wrote it:
/// what stands left of the first stranger is the stranger's own claim.
pub(super) fn address(client: &Client, headers: &HeaderMap) -> IpAddr {
    let peer = client.ip();
    let Some(trusted) = &client.trusted else { return peer };
    let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let claims = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    let mut found = peer;
    for claim in claims {
        // What is no address was not written by a proxy that can be trusted to the left of it.
        let Some(ip) = parse(claim.trim()) else { break };
        found = ip;
        if !trusted.iter().any(|network| network.contains(&ip)) {
            break;
        }
    }
    found
}

/// `192.0.2.1`, `2001:db8::1`, and with a port, as some proxies write it.
fn parse(claim: &str) -> Option<IpAddr> {
    let bare = claim.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(claim);
    let ip = bare.parse().ok().or_else(|| claim.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

/// The chain as the instance sees it: what a trusted proxy sent, and who sent that.
fn chain(client: &Client, headers: &HeaderMap) -> HeaderValue {
    if client.trusted.is_none() {
        return client.forwarded_for.clone();
    }
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.forwarded_for.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| client.forwarded_for.clone())
}

/// The scheme that the client used.
fn scheme(client: &Client, headers: &HeaderMap) -> &'static str {
    match trusted(client, headers, &X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        _ => "http",
    }
}

/// What a trusted proxy says in a field; a stranger's word counts for nothing.
fn trusted<'h>(client: &Client, headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    client.trusted.as_ref().and_then(|_| headers.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Door;

    fn from(peer: &str, lines: &[&str]) -> (String, String) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network")).into();
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        let client = Client::new(peer, ([10, 0, 0, 9], 80).into(), Door::Public, &trusted);
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a value"));
        }
        let chain = chain(&client, &headers);
        (address(&client, &headers).to_string(), chain.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn the_first_stranger_from_the_right_is_the_client_and_nobody_elses_claims_count() {
        for (peer, lines, client) in [
            ("192.0.2.1", &["6.6.6.6"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["6.6.6.6", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["203.0.113.7, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            ("2001:db8::1", &["[2001:db9::7]:1"], "2001:db9::7"),
            ("::ffff:10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
        ] {
            assert_eq!(from(peer, lines).0, client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_trusted_chain_goes_on_with_its_sender_and_a_strangers_is_replaced() {
        assert_eq!(from("10.0.0.1", &["6.6.6.6", "203.0.113.7"]).1, "6.6.6.6, 203.0.113.7, 10.0.0.1");
        assert_eq!(from("192.0.2.1", &["6.6.6.6"]).1, "192.0.2.1");
    }
}
