//! Header hygiene: what belongs to one connection goes no further, what strangers claim is replaced, what the next hop
//! should know is added.

use std::net::SocketAddr;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::Error;
use super::gate;
use super::head::{self, Target};
use super::origin::{self, Address, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::trace::{self, TraceId};
use crate::config::routes::{Action, HeaderRules, PathChange, Route};
use crate::filter::auth::{self, X_API_KEY};
use crate::io::Client;
use crate::route::Found;
use crate::upstream::wire::Head;

/// The request's id, both ways.
pub(super) use crate::filter::cache::X_REQUEST_ID;
pub(super) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const VIA: HeaderValue = HeaderValue::from_static("1.1 lictor");

/// What a request's and its answer's headers need to know of where it goes.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) address: Address,
    path: Path,
    /// Who asked, as `X-Forwarded-For` says it.
    chain: HeaderValue,
}

/// What a route makes of a target.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// So much of it is taken off.
    stripped: usize,
    /// The path and query of the instance, where they are more than what follows the prefix.
    rewritten: Option<String>,
}

impl Path {
    pub(super) fn new(target: &Target, found: &Found<'_>) -> Result<Path, Error> {
        let stripped = found.stripped().len();
        Ok(Path { stripped, rewritten: head::rewritten(target, found, stripped)? })
    }
}

impl Passage {
    /// A request's way through its route.
    pub(super) fn new(address: Address, path: Path, client: &Client, headers: &HeaderMap) -> Passage {
        Passage { address, path, chain: origin::chain(client, headers) }
    }

    fn target(&self) -> &str {
        let Path { stripped, rewritten } = &self.path;
        rewritten.as_deref().unwrap_or_else(|| &self.address.target.as_str()[*stripped..])
    }

    /// What the route took off.
    fn prefix(&self) -> &str {
        &self.address.target.path()[..self.path.stripped]
    }

    /// A client's head as its instance gets it, over a hop that is ours, whatever the client speaks.
    pub(super) fn head(
        &self,
        parts: &Parts,
        rules: &HeaderRules,
        id: &TraceId,
        random: &mut fastrand::Rng,
        upgrade: bool,
    ) -> Head {
        let mut head = Head::new(&parts.method, self.target());
        let (headers, seen) = (&parts.headers, self.address.target.seen);
        let mut lines = Lines { head: &mut head, rules: Rules::of(rules, headers) };
        let named = if seen.connection { named_by_connection(headers) } else { Vec::new() };
        let given = if seen.traceparent { headers.get(trace::TRACEPARENT) } else { None };
        let (trace, goes_on) = trace::continued(given, id, random);
        for (name, value) in headers {
            let text = name.as_str();
            let replaced = text == "traceparent" || (text == "tracestate" && !goes_on);
            if !replaced && !is_request_hop(text, value) && !named.contains(name) {
                lines.field(name, value.as_bytes());
            }
        }
        lines.field(&X_FORWARDED_FOR, self.chain.as_bytes());
        lines.field(&X_FORWARDED_PROTO, self.address.scheme.as_bytes());
        if let Some(host) = self.address.host() {
            lines.field(&X_FORWARDED_HOST, host.as_bytes());
        }
        if !self.prefix().is_empty() {
            lines.field(&X_FORWARDED_PREFIX, self.prefix().as_bytes());
        }
        lines.field(&X_REQUEST_ID, id.as_str().as_bytes());
        lines.field(&header::VIA, VIA.as_bytes());
        lines.field(&trace::TRACEPARENT, &trace);
        if !upgrade && seen.te && wants_trailers(headers) {
            // RFC 9110 10.1.4: who sends TE names it in Connection.
            lines.field(&header::TE, b"trailers");
            lines.field(&header::CONNECTION, b"te");
        }
        lines.end();
        if upgrade {
            head.field(header::CONNECTION.as_str(), b"upgrade");
            head.field(header::UPGRADE.as_str(), b"websocket");
        }
        head
    }
}

/// The lines of a head, as a route changes them.
struct Lines<'a> {
    head: &'a mut Head,
    rules: Option<Rules<'a>>,
}

/// A route's changes of a request's headers, and what some servers would take for a header that they set or remove.
struct Rules<'a> {
    rules: &'a HeaderRules,
    aliases: Vec<HeaderName>,
}

impl<'a> Rules<'a> {
    fn of(rules: &'a HeaderRules, headers: &HeaderMap) -> Option<Rules<'a>> {
        (!rules.is_empty()).then(|| Rules { rules, aliases: gate::aliases(rules, headers) })
    }

    fn touch(&self, name: &HeaderName) -> bool {
        let HeaderRules { remove, set, .. } = self.rules;
        remove.contains(name) || set.iter().any(|(own, _)| own == name) || self.aliases.contains(name)
    }
}

impl Lines<'_> {
    fn field(&mut self, name: &HeaderName, value: &[u8]) {
        if !self.rules.as_ref().is_some_and(|rules| rules.touch(name)) {
            self.head.field(name.as_str(), value);
        }
    }

    fn end(self) {
        let Some(Rules { rules: HeaderRules { set, add, .. }, .. }) = self.rules else { return };
        for (index, (name, value)) in set.iter().enumerate() {
            // Of two words on one header the later holds.
            if set[index + 1..].iter().all(|(later, _)| later != name) {
                self.head.field(name.as_str(), value.as_bytes());
            }
        }
        for (name, value) in add {
            self.head.field(name.as_str(), value.as_bytes());
        }
    }
}

/// Makes an instance's answer's head into the client's; how long the instance keeps an idle connection, if it says so.
pub(super) fn response(
    headers: &mut HeaderMap,
    passage: &Passage,
    route: &Route,
    instance: SocketAddr,
    id: &TraceId,
) -> Option<Duration> {
    let (mut hops, mut keep_alive, mut connection, mut location) = (false, false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => connection = true,
            "keep-alive" => keep_alive = true,
            "location" => location = true,
            name => hops |= is_hop(name),
        }
    }
    let kept = if keep_alive { headers.get(KEEP_ALIVE).and_then(told_timeout) } else { None };
    if connection {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if hops || keep_alive {
        drop_hops(headers);
    }
    headers.append(header::VIA, VIA);
    headers.insert(X_REQUEST_ID, id.value());
    if location
        && let Some(location) = headers.get(header::LOCATION)
        && let Some(outside) = passage.outside(route, location, instance)
    {
        headers.insert(header::LOCATION, outside);
    }
    kept
}

impl Passage {
    /// A `Location` of the instance's own origin, as the client must see it: with the prefix that was stripped.
    fn outside(&self, route: &Route, location: &HeaderValue, instance: SocketAddr) -> Option<HeaderValue> {
        let Action::Forward { path: PathChange::Prefix { add, .. }, .. } = &route.action else { return None };
        let prefix = self.prefix();
        if prefix.is_empty() && add.is_empty() {
            return None;
        }
        let location = location.to_str().ok()?;
        let (origin, path) = self.own_origin(location, instance)?;
        let below = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
        let path = path.strip_prefix(add.as_str()).filter(below).unwrap_or(path);
        if !prefix.is_empty() && path.strip_prefix(prefix).filter(below).is_some() {
            return HeaderValue::from_str(&format!("{origin}{path}")).ok();
        }
        // A path that is empty so far, and one that begins with two slashes, would not be paths of this host.
        let path = path.trim_start_matches('/');
        let slash = if path.starts_with(['?', '#']) && !prefix.is_empty() { "" } else { "/" };
        HeaderValue::from_str(&format!("{origin}{prefix}{slash}{path}")).ok()
    }

    /// The origin that stays in a `Location`, and the path in it, when it is of the instance's own. Where the client is already
    /// needs no origin, and an address that only we reach is none for it; only that it is to change to https must be said.
    fn own_origin<'l>(&self, location: &'l str, instance: SocketAddr) -> Option<(String, &'l str)> {
        if location.starts_with('/') {
            // `//elsewhere/` is an authority of its own.
            return (!location.starts_with("//")).then_some((String::new(), location));
        }
        let secure = location.strip_prefix("https://");
        let rest = secure.or_else(|| location.strip_prefix("http://"))?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority == instance.to_string() {
            return Some((String::new(), path));
        }
        let hosts = [self.address.host(), self.address.target.host.as_ref()].into_iter().flatten();
        let mut hosts = hosts.filter_map(|host| host.to_str().ok());
        let asked = hosts.next()?;
        let own = asked.eq_ignore_ascii_case(authority) || hosts.any(|host| host.eq_ignore_ascii_case(authority));
        let changes = secure.is_some() && self.address.scheme != "https";
        own.then(|| (if changes { format!("https://{asked}") } else { String::new() }, path))
    }
}

/// Whether the client can take trailers (`TE: trailers`): then those of an answer go on, if `Trailer` announces them.
fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TE).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// `Keep-Alive: timeout=5, max=100`.
fn told_timeout(value: &HeaderValue) -> Option<Duration> {
    let mut parameters = value.to_str().ok()?.split(',').map(str::trim);
    parameters
        .find_map(|p| p.strip_prefix("timeout="))
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

/// Removes from an answer what belongs to its hop.
fn drop_hops(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_hop(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// What `Connection` names goes no further (RFC 9110 7.6.1), unless it is not its to name.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|&b| b == b',')).map(<[u8]>::trim_ascii);
    // Options that are no headers, or go anyway.
    let names = options.filter(|option| {
        let known: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
        !known.iter().any(|known| known.eq_ignore_ascii_case(option))
    });
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !is_protected(name.as_str())).collect()
}

fn is_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "http2-settings"
    )
}

/// Hops, our own key, and what only we may say of the client.
fn is_request_hop(name: &str, value: &HeaderValue) -> bool {
    is_hop(name)
        || matches!(name, "proxy-authorization" | "expect" | "forwarded" | "x-real-ip" | "x-request-id" | "x-api-key")
        || name.starts_with("x-forwarded-")
        || (name == "authorization" && auth::is_api_key(value))
}

/// What a client may not have removed by naming it in `Connection`.
fn is_protected(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || name.starts_with("sec-websocket-")
        || name == X_API_KEY.as_str()
        || matches!(
            name,
            "host"
                | "authorization"
                | "cookie"
                | "content-length"
                | "content-type"
                | "content-encoding"
                | "date"
                | "transfer-encoding"
                | "trailer"
                | "x-request-id"
                | "x-real-ip"
                | "forwarded"
                | "via"
                | "traceparent"
                | "tracestate"
                | "cache-control"
                | "set-cookie"
                | "location"
                | "etag"
                | "vary"
        )
}

#[cfg(test)]
mod tests;
