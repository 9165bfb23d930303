//! Where a request comes from: from whoever connected, or from whom a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{canonical_host, valid_host};
use crate::fields::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REAL_IP, X_REQUEST_ID,
};
use crate::io::Client;
use crate::request::RequestId;

/// The most bytes of a prefix that a trusted proxy took off.
const LONGEST_PREFIX: usize = 256;

/// Where a request comes from, as its instance is told.
#[derive(Clone, Debug)]
pub(super) struct Forwarded {
    /// `http`, or `https` where a trusted proxy says so; empty where what it says is neither.
    pub(super) scheme: &'static str,
    /// The host that the client asked, where a trusted proxy says it.
    pub(super) host: Option<HeaderValue>,
    /// Who asked, through which proxies: the value of `X-Forwarded-For`.
    pub(super) chain: HeaderValue,
    /// What else a trusted proxy says.
    pub(super) told: Option<Box<Told>>,
}

/// What a trusted proxy says of a request besides its scheme, its host and its client.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// What it took off the path: `/shop`.
    pub(super) prefix: Option<String>,
    /// The port that the client asked.
    pub(super) port: Option<HeaderValue>,
    /// The client's address.
    pub(super) real_ip: Option<HeaderValue>,
    /// The part of this and of the host that answers may depend on: see [`asked`].
    pub(super) place: Option<HeaderValue>,
}

impl Forwarded {
    /// As the connection says it, and as a trusted proxy at its other end does.
    pub(super) fn of(client: &Client, headers: &HeaderMap) -> Forwarded {
        if client.trusted.is_none() {
            return Forwarded { scheme: "http", host: None, chain: client.forwarded_for.clone(), told: None };
        }
        let (scheme, place) = asked(client, headers);
        let told = Told {
            prefix: prefix(headers).map(str::to_owned),
            port: port(headers).cloned(),
            real_ip: real_ip(headers).and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok()),
            place,
        };
        Forwarded { scheme, host: host(headers), chain: chain(client, headers), told: Some(Box::new(told)) }
    }
}

/// The scheme that the client used, and what else of its origin a trusted proxy says that an answer may depend on, as one text: host,
/// port and prefix, with a space between them, which none of them can hold. A host alone is that text itself.
pub(super) fn asked(client: &Client, headers: &HeaderMap) -> (&'static str, Option<HeaderValue>) {
    if client.trusted.is_none() {
        return ("http", None);
    }
    let (host, port, prefix) = (host(headers), port(headers), prefix(headers));
    let place = match (&host, port, prefix) {
        (_, None, None) => host,
        (_, port, prefix) => {
            let host = host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
            let port = port.map_or(&b""[..], HeaderValue::as_bytes);
            HeaderValue::from_bytes(&[host, port, prefix.unwrap_or_default().as_bytes()].join(&b' ')).ok()
        }
    };
    (scheme(headers), place)
}

/// The id that a request gets: the one that a trusted proxy gave it, or else a new one.
pub(super) fn request_id(new: RequestId, headers: &HeaderMap) -> RequestId {
    match single(headers, &X_REQUEST_ID) {
        Some(given) => new.named(given.as_bytes()),
        None => new,
    }
}

/// The client's address. `X-Forwarded-For` of a trusted proxy is read from the right, as far as trusted proxies wrote it: what stands
/// left of the first stranger is the stranger's own claim. A proxy that does not send it may say the address in `X-Real-IP`.
pub(super) fn address(client: &Client, headers: &HeaderMap) -> IpAddr {
    let peer = client.ip();
    let Some(trusted) = &client.trusted else { return peer };
    if !headers.contains_key(X_FORWARDED_FOR) {
        return real_ip(headers).unwrap_or(peer);
    }
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
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    if let (true, Some(ip)) = (chain.is_empty(), real_ip(headers)) {
        chain.extend_from_slice(format!("{ip}, ").as_bytes());
    }
    chain.extend_from_slice(client.forwarded_for.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| client.forwarded_for.clone())
}

/// The scheme that the client used. A proxy that says nothing of it is asked over what it asks us. What it says may be a list, one word of
/// each proxy: where these differ, or one is not known, nobody can tell what the client used, and nothing is said of it.
fn scheme(headers: &HeaderMap) -> &'static str {
    let lines = headers.get_all(X_FORWARDED_PROTO).iter().map(HeaderValue::as_bytes);
    let words = lines.flat_map(|line| line.split(|&b| b == b',')).map(<[u8]>::trim_ascii);
    let mut schemes = words.map(|word| match word {
        _ if word.eq_ignore_ascii_case(b"https") || word.eq_ignore_ascii_case(b"wss") => "https",
        _ if word.eq_ignore_ascii_case(b"http") || word.eq_ignore_ascii_case(b"ws") => "http",
        _ => "",
    });
    let Some(first) = schemes.next() else { return "http" };
    if schemes.all(|other| other == first) { first } else { "" }
}

/// The host that the client asked.
fn host(headers: &HeaderMap) -> Option<HeaderValue> {
    single(headers, &X_FORWARDED_HOST).filter(|host| valid_host(host.as_bytes())).map(canonical_host)
}

/// The port that the client asked.
fn port(headers: &HeaderMap) -> Option<&HeaderValue> {
    let valid = |port: &&HeaderValue| {
        let text = port.to_str().unwrap_or_default();
        !text.starts_with(['0', '+']) && text.parse::<u16>().is_ok()
    };
    single(headers, &X_FORWARDED_PORT).filter(valid)
}

/// What was taken off the path, without a slash at its end: a path that is no other host's (`//`), has no segment that leads elsewhere, and
/// holds no query.
fn prefix(headers: &HeaderMap) -> Option<&str> {
    let text = single(headers, &X_FORWARDED_PREFIX)?.to_str().ok()?;
    let fits = |b: u8| b.is_ascii_graphic() && !b"?#\\\"<>^`{|},;".contains(&b);
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let mut segments = trimmed.split('/').skip(1);
    let valid = trimmed.len() <= LONGEST_PREFIX
        && trimmed.starts_with('/')
        && trimmed.bytes().all(fits)
        && !segments.any(|segment| matches!(segment, "" | "." | "..") || segment.contains('%'));
    valid.then_some(trimmed)
}

/// The client's address, as a proxy says it that does not list all of them.
fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    parse(single(headers, &X_REAL_IP)?.to_str().ok()?)
}

/// A field's value, if there is one line of it. Of two a proxy may have written one and passed on the other.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
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
        let chain = Forwarded::of(&client, &headers).chain;
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

    /// What is made of these fields by a client that is a trusted proxy, or none.
    fn told(trusted: bool, lines: &[(&'static str, &str)]) -> (Client, HeaderMap, Forwarded) {
        let networks = ["10.0.0.0/8".parse().expect("a network")].into();
        let peer = if trusted { [10, 0, 0, 1] } else { [192, 0, 2, 1] };
        let client = Client::new((peer, 1).into(), ([10, 0, 0, 9], 80).into(), Door::Public, &networks);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let forwarded = Forwarded::of(&client, &headers);
        (client, headers, forwarded)
    }

    #[test]
    fn a_scheme_that_is_not_known_or_not_agreed_on_is_neither_http_nor_https() {
        for (lines, scheme) in [
            (&[][..], "http"),
            (&["https"], "https"),
            (&["HTTPS"], "https"),
            (&["wss"], "https"),
            (&["ws"], "http"),
            (&["Http"], "http"),
            (&["https, https"], "https"),
            (&["https", " https"], "https"),
            (&["https, http"], ""),
            (&["http", "https"], ""),
            (&["spdy"], ""),
            (&["https://"], ""),
            (&[""], ""),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-proto", *line)).collect();
            assert_eq!(told(true, &lines).2.scheme, scheme, "{lines:?}");
            assert_eq!(told(false, &lines).2.scheme, "http");
        }
    }

    #[test]
    fn prefix_port_and_address_of_a_trusted_proxy_are_believed_when_they_are_valid() {
        let prefix = |text: &str| told(true, &[("x-forwarded-prefix", text)]).2.told.and_then(|told| told.prefix);
        for (given, wanted) in [("/shop", "/shop"), ("/shop/", "/shop"), ("/a/b-c_1.2", "/a/b-c_1.2")] {
            assert_eq!(prefix(given).as_deref(), Some(wanted));
        }
        for odd in [
            "",
            "/",
            "shop",
            "//evil.example",
            "/a//b",
            "/a/../b",
            "/.",
            "/a?b",
            "/a#b",
            "/a b",
            "/a, /b",
            "/%2e%2e",
            "/\u{e9}",
        ] {
            assert_eq!(prefix(odd), None, "{odd}");
        }
        let port = |text: &str| told(true, &[("x-forwarded-port", text)]).2.told.and_then(|told| told.port);
        assert!(port("443").is_some() && port("65535").is_some());
        for odd in ["", "0", "65536", "+1", "080", "443, 80", "x"] {
            assert_eq!(port(odd), None, "{odd}");
        }
        for (given, wanted) in
            [("203.0.113.7", Some("203.0.113.7")), ("::ffff:203.0.113.7", Some("203.0.113.7")), ("me", None)]
        {
            let (client, headers, forwarded) = told(true, &[("x-real-ip", given)]);
            let real = forwarded.told.and_then(|told| told.real_ip);
            assert_eq!(real.as_ref().map(|ip| ip.to_str().expect("ASCII")), wanted);
            assert_eq!(address(&client, &headers).to_string(), wanted.unwrap_or("10.0.0.1"));
            let chain = wanted.map_or_else(|| "10.0.0.1".to_owned(), |ip| format!("{ip}, 10.0.0.1"));
            assert_eq!(forwarded.chain, chain);
        }
        let both = [("x-real-ip", "6.6.6.6"), ("x-forwarded-for", "203.0.113.7")];
        let (client, headers, _) = told(true, &both);
        assert_eq!(address(&client, &headers).to_string(), "203.0.113.7", "the list says more");
    }

    #[test]
    fn of_two_lines_none_is_believed_and_of_a_stranger_no_line() {
        let fields = [
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/a"),
            ("x-real-ip", "203.0.113.7"),
        ];
        for lines in [(false, fields.to_vec()), (true, [fields, fields].concat())] {
            let (client, headers, forwarded) = told(lines.0, &lines.1);
            let told = forwarded.told.unwrap_or_default();
            assert!(forwarded.host.is_none() && told.prefix.is_none() && told.port.is_none() && told.real_ip.is_none());
            assert_eq!((address(&client, &headers), asked(&client, &headers).1), (client.ip(), None));
        }
    }

    #[test]
    fn what_an_answer_may_depend_on_is_one_text_that_says_each_part() {
        let (host, port, prefix) =
            (("x-forwarded-host", "a:"), ("x-forwarded-port", "443"), ("x-forwarded-prefix", "/443"));
        for (lines, place) in [
            (&[][..], None),
            (&[host], Some("a")),
            (&[port], Some(" 443 ")),
            (&[host, port], Some("a 443 ")),
            (&[prefix], Some("  /443")),
            (&[host, port, prefix], Some("a 443 /443")),
        ] {
            let (client, headers, forwarded) = told(true, lines);
            assert_eq!(asked(&client, &headers).1.as_ref().map(|place| place.to_str().expect("ASCII")), place);
            assert_eq!(forwarded.told.and_then(|told| told.place), asked(&client, &headers).1);
        }
    }

    #[test]
    fn a_trusted_proxys_name_for_a_request_stays_and_an_odd_one_is_replaced() {
        let new = RequestId::new(&mut fastrand::Rng::with_seed(1));
        let named = |lines: &[(&'static str, &str)]| request_id(new.clone(), &told(true, lines).1).as_str().to_owned();
        assert_eq!(named(&[("x-request-id", "a-1")]), "a-1");
        for lines in [&[][..], &[("x-request-id", "a b")], &[("x-request-id", "a"), ("x-request-id", "b")]] {
            assert_eq!(named(lines), new.as_str());
        }
    }
}
