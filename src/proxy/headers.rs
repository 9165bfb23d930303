//! Header hygiene: what belongs to one connection goes no further, what strangers claim is replaced, what the next hop
//! should know is added.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri};

use super::error::Error;
use super::gate;
use super::head;
use super::origin::{self, Address, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use super::trace::{self, TraceId};
use crate::config::routes::{Action, PathChange, Route};
use crate::filter::auth::{self, X_API_KEY};
use crate::io::Client;
use crate::route::Found;

/// The request's id, both ways.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const VIA: HeaderValue = HeaderValue::from_static("1.1 lictor");

/// What an answer's headers need to know of its request.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) address: Address,
    stripped: usize,
    route: Arc<Route>,
}

/// Makes a client's head into the instance's.
pub(super) fn request(
    parts: &mut Parts,
    address: Address,
    found: &Found<'_>,
    client: &Client,
    id: &TraceId,
    random: &mut fastrand::Rng,
) -> Result<Passage, Error> {
    let prefix = found.stripped();
    let mut built = uri::Parts::default();
    built.path_and_query = Some(head::upstream(&address.target, found)?);
    parts.uri = Uri::from_parts(built).or(Err(Error::BadRequest("bad_path", "The path is not valid")))?;
    // The hop to the instance is ours, whatever the client speaks.
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    let trailers = wants_trailers(headers);
    let chain = origin::chain(client, headers);
    drop_hops(headers, is_request_hop);
    headers.insert(X_FORWARDED_FOR, chain);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(address.scheme));
    headers.extend(address.host.clone().map(|host| (X_FORWARDED_HOST, host)));
    if !prefix.is_empty()
        && let Ok(prefix) = HeaderValue::from_str(prefix)
    {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
    headers.insert(X_REQUEST_ID, id.value());
    headers.append(header::VIA, VIA);
    trace::propagate(headers, id, random);
    if trailers {
        // RFC 9110 10.1.4: who sends TE names it in Connection.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    gate::drop_aliases(&found.route.request_headers, headers);
    gate::apply(&found.route.request_headers, headers);
    Ok(Passage { address, stripped: prefix.len(), route: found.route.clone() })
}

/// Makes an instance's answer's head into the client's; how long the instance keeps an idle connection, if it says so.
pub(super) fn response(
    headers: &mut HeaderMap,
    passage: &Passage,
    instance: SocketAddr,
    id: &TraceId,
) -> Option<Duration> {
    let keep_alive = headers.get(KEEP_ALIVE).and_then(told_timeout);
    drop_hops(headers, is_response_hop);
    headers.append(header::VIA, VIA);
    headers.insert(X_REQUEST_ID, id.value());
    if let Some(location) = headers.get(header::LOCATION)
        && let Some(outside) = passage.outside(location, instance)
    {
        headers.insert(header::LOCATION, outside);
    }
    keep_alive
}

impl Passage {
    /// A `Location` of the instance's own origin, as the client must see it: with the prefix that was stripped.
    fn outside(&self, location: &HeaderValue, instance: SocketAddr) -> Option<HeaderValue> {
        let Action::Forward { path: PathChange::Prefix { add, .. }, .. } = &self.route.action else { return None };
        if self.stripped == 0 && add.is_empty() {
            return None;
        }
        let location = location.to_str().ok()?;
        let (origin, path) = self.own_origin(location, instance)?;
        let prefix = &self.address.target.path()[..self.stripped];
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
        let hosts = [&self.address.host, &self.address.target.host].into_iter().flatten();
        let mut hosts = hosts.filter_map(|host| host.to_str().ok());
        let asked = hosts.next()?;
        let own = asked.eq_ignore_ascii_case(authority) || hosts.any(|host| host.eq_ignore_ascii_case(authority));
        let changes = secure.is_some() && self.address.scheme != "https";
        own.then(|| (if changes { format!("https://{asked}") } else { String::new() }, path))
    }
}

/// Whether the client can take trailers (`TE: trailers`): then hyper passes them on, if `Trailer` announces them.
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

/// Removes what belongs to this hop: what `hop` says, and what `Connection` names (RFC 9110 7.6.1), unless it names what
/// is not its to name.
fn drop_hops(headers: &mut HeaderMap, hop: impl Fn(&str, &HeaderValue) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !is_protected(name.as_str()))
        .collect();
    for name in named {
        headers.remove(name);
    }
    // One pass finds what is there; most requests have nothing to remove, or one thing.
    while let Some(name) = headers.iter().find(|(name, value)| hop(name.as_str(), value)).map(|(name, _)| name.clone())
    {
        headers.remove(name);
    }
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

fn is_response_hop(name: &str, _: &HeaderValue) -> bool {
    is_hop(name)
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
