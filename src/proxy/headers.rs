//! Header hygiene: what belongs to one connection goes no further, what strangers claim is replaced, what the next hop
//! should know is added.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri};

use super::error::Error;
use super::gate;
use super::head::{self, Target};
use super::origin::{self, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
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
    target: Target,
    /// The host that the client asked, as far as we know.
    host: Option<HeaderValue>,
    stripped: usize,
    route: Arc<Route>,
}

/// Makes a client's head into the instance's.
pub(super) fn request(
    parts: &mut Parts,
    target: &Target,
    found: &Found<'_>,
    client: &Client,
    id: &TraceId,
    random: &mut fastrand::Rng,
) -> Result<Passage, Error> {
    let prefix = found.stripped();
    let mut built = uri::Parts::default();
    built.path_and_query = Some(head::upstream(target, found)?);
    parts.uri = Uri::from_parts(built).or(Err(Error::BadRequest("bad_path", "The path is not valid")))?;
    // The hop to the instance is ours, whatever the client speaks.
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    let trailers = wants_trailers(headers);
    let (chain, scheme) = (origin::chain(client, headers), origin::scheme(client, headers));
    let host = origin::host(client, headers, target);
    drop_hops(headers, is_request_hop);
    headers.insert(X_FORWARDED_FOR, chain);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.extend(host.clone().map(|host| (X_FORWARDED_HOST, host)));
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
    gate::apply(&found.route.request_headers, headers);
    Ok(Passage { target: target.clone(), host, stripped: prefix.len(), route: found.route.clone() })
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
    /// What the client asked for.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// The host that the client asked.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_ref().and_then(|host| host.to_str().ok())
    }

    /// A `Location` of the instance's own origin, as the client must see it: with the prefix that was stripped.
    fn outside(&self, location: &HeaderValue, instance: SocketAddr) -> Option<HeaderValue> {
        let location = location.to_str().ok()?;
        let path = match location.strip_prefix("http://").or_else(|| location.strip_prefix("https://")) {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                let sent = self.target.host.as_ref().and_then(|host| host.to_str().ok());
                let hosts = [sent, self.host()];
                let own = hosts.into_iter().flatten().any(|host| host.eq_ignore_ascii_case(authority))
                    || authority == instance.to_string();
                own.then_some(path)?
            }
            // `//elsewhere/` is an authority of its own.
            None if location.starts_with('/') && !location.starts_with("//") => location,
            None => return None,
        };
        let Action::Forward { path: PathChange::Prefix { add, .. }, .. } = &self.route.action else { return None };
        let prefix = &self.target.path()[..self.stripped];
        let below = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
        let path = path.strip_prefix(add.as_str()).filter(below).unwrap_or(path);
        let already =
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
        if already {
            return HeaderValue::from_str(path).ok();
        }
        HeaderValue::from_str(&format!("{prefix}{path}")).ok()
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
