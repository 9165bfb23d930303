//! The rules for a request's head, checked before anything else looks at it: one canonical path for route, auth, cache,
//! limits and the instance. And which route it asks for.

use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Version, header};

use super::error::Error;
use super::websocket;
use crate::config::RequestLimits;
use crate::fields;
use crate::filter::{Notes, cors};
use crate::route::{self, Found, Lookup};
use crate::snapshot::Snapshot;

/// The longest method, in bytes. The longest one that is registered has 17; who gets a longer one than it knows answers 501 (RFC 9112
/// section 3).
const METHOD: usize = 64;

/// How many names `Connection` may have: each is looked for in the whole head.
const OPTIONS: usize = 100;

/// A request's target in its one canonical form.
#[derive(Clone, Debug)]
pub(super) struct Target {
    path_and_query: PathAndQuery,
    /// The authority that it is meant for, as the client wrote it; HTTP/1.0 may have none.
    pub host: Option<HeaderValue>,
    /// What else its head has.
    pub seen: Seen,
}

/// Which fields a head has: whoever asks for one of these would mostly look for what is not there, and one pass finds them all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub connection: bool,
    pub te: bool,
    pub traceparent: bool,
    pub trailer: bool,
    pub upgrade: bool,
    transfer_encoding: bool,
}

impl Default for Target {
    /// The root, of no host.
    fn default() -> Target {
        Target { path_and_query: PathAndQuery::from_static("/"), host: None, seen: Seen::default() }
    }
}

impl Target {
    /// Of a request of our own, whose head has nothing special but a trace, if the client's has one.
    pub(super) fn of_call(path_and_query: PathAndQuery, host: Option<HeaderValue>, traceparent: bool) -> Target {
        Target { path_and_query, host, seen: Seen { traceparent, ..Seen::default() } }
    }

    /// The canonical path: unreserved characters decoded, other encodings in upper case, no dot segments.
    pub(super) fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// Path and query.
    pub(super) fn as_str(&self) -> &str {
        self.path_and_query.as_str()
    }

    /// The query, as the client wrote it.
    pub(super) fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }
}

/// Checks a head against the rules and the limits.
///
/// # Errors
/// The first rule that it breaks.
pub(super) fn check(parts: &Parts, limits: &RequestLimits) -> Result<Target, Error> {
    let (seen, given) = look(&parts.headers, limits)?;
    if seen.transfer_encoding {
        codings(&parts.headers)?;
    }
    if seen.upgrade && websocket::has_body(parts) {
        return bad("bad_framing", "A WebSocket handshake has no body");
    }
    let many = |name| members(&parts.headers, name) > OPTIONS;
    if seen.connection && many(header::CONNECTION) || seen.trailer && many(header::TRAILER) {
        return Err(Error::HeadTooLarge);
    }
    if parts.method.as_str().len() > METHOD {
        return Err(Error::MethodTooLong);
    }
    let host = host(parts, given)?;
    if parts.method == Method::CONNECT || (parts.uri.scheme().is_none() && parts.uri.authority().is_some()) {
        return Err(Error::MethodNotAllowed);
    }
    let path_and_query = match parts.uri.path_and_query() {
        Some(given) if given.as_str().len() > limits.target => return Err(Error::TargetTooLong),
        Some(given) if given.path() == "*" => match parts.method {
            Method::OPTIONS => given.clone(),
            _ => return bad("bad_target", "The target * belongs to OPTIONS"),
        },
        Some(given) => canonical(given)?,
        None => PathAndQuery::from_static("/"),
    };
    if host.is_none() && !matches!(path_and_query.path(), "/health" | "/ready") {
        return bad("bad_host", "A Host header is needed");
    }
    Ok(Target { path_and_query, host, seen })
}

fn bad<T>(reason: &'static str, detail: &'static str) -> Result<T, Error> {
    Err(Error::BadRequest(reason, detail))
}

/// One look at all fields: their number and size, which of the special ones there are, the host, and no name that some servers would
/// take for one that the gateway manages.
fn look<'h>(headers: &'h HeaderMap, limits: &RequestLimits) -> Result<(Seen, Option<&'h HeaderValue>), Error> {
    if headers.len() > limits.fields {
        return Err(Error::HeadTooLarge);
    }
    let (mut seen, mut host, mut size) = (Seen::default(), None, 0);
    for (name, value) in headers {
        let name = name.as_str();
        size += name.len() + value.len() + 4;
        match name {
            "host" if host.is_some() => return bad("bad_host", "More than one Host header"),
            "host" => host = Some(value),
            "connection" => seen.connection = true,
            "te" => seen.te = true,
            "traceparent" => seen.traceparent = true,
            "trailer" => seen.trailer = true,
            "upgrade" => seen.upgrade = true,
            "transfer-encoding" => seen.transfer_encoding = true,
            _ => {}
        }
        if fields::is_other_spelling(name) {
            return bad("header_alias", "A header name with _ or . stands for one that the gateway manages");
        }
    }
    if size > limits.head { Err(Error::HeadTooLarge) } else { Ok((seen, host)) }
}

/// How many members the lists in a field have, empty ones included.
fn members(headers: &HeaderMap, name: header::HeaderName) -> usize {
    let lists = headers.get_all(name).iter();
    lists.map(|list| 1 + list.as_bytes().iter().filter(|&&b| b == b',').count()).sum()
}

/// hyper made sure that `Transfer-Encoding` ends in `chunked`; a coding before it would be forwarded undone.
fn codings(headers: &HeaderMap) -> Result<(), Error> {
    let mut chunked = 0;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        for coding in value.as_bytes().split(|&b| b == b',') {
            match coding.trim_ascii() {
                coding if coding.eq_ignore_ascii_case(b"chunked") => chunked += 1,
                _ => return Err(Error::CodingUnknown),
            }
        }
    }
    if chunked > 1 { bad("bad_framing", "chunked may be applied once (RFC 9112 6.1)") } else { Ok(()) }
}

/// RFC 9112 3.2: one valid Host; an absolute target's authority must be the same.
fn host(parts: &Parts, given: Option<&HeaderValue>) -> Result<Option<HeaderValue>, Error> {
    let Some(host) = given else {
        return match parts.version {
            Version::HTTP_10 | Version::HTTP_09 => Ok(None),
            _ => bad("bad_host", "A Host header is needed (RFC 9112 3.2)"),
        };
    };
    if !valid_host(host.as_bytes()) {
        return bad("bad_host", "The Host header is not a host and port");
    }
    if let (Some(scheme), Some(authority)) = (parts.uri.scheme_str(), parts.uri.authority()) {
        same_authority(scheme, authority, host)?;
    }
    Ok(Some(canonical_host(host)))
}

/// A valid host without the colon of a port that is empty (RFC 3986 section 3.2.3): `a:` is `a`.
pub(super) fn canonical_host(host: &HeaderValue) -> HeaderValue {
    match host.as_bytes() {
        [bare @ .., b':'] => HeaderValue::from_bytes(bare).unwrap_or_else(|_| host.clone()),
        _ => host.clone(),
    }
}

fn same_authority(scheme: &str, authority: &Authority, host: &HeaderValue) -> Result<(), Error> {
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return bad("bad_target", "The target's scheme is neither http nor https"),
    };
    if authority.as_str().contains('@') {
        return bad("bad_target", "The target carries user information");
    }
    let bare = |text: &str| {
        let text = text.strip_suffix(':').unwrap_or(text);
        text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase()
    };
    if host.to_str().is_ok_and(|host| bare(host) == bare(authority.as_str())) {
        return Ok(());
    }
    bad("bad_host", "The target's authority and the Host header differ")
}

/// A registered name, an IPv4 address or an IPv6 address in brackets, with or without a port, which may be empty (RFC 3986 3.2.2 and
/// 3.2.3).
pub(super) fn valid_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => match rest.iter().position(|&b| b == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => host.split_at(host.iter().position(|&b| !NAME[usize::from(b)]).unwrap_or(host.len())),
    };
    let bracketed = host.first() == Some(&b'[');
    let name_ok = |&b: &u8| NAME[usize::from(b)] || b == b':';
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => {
            let more = |port: u32, digit: &u8| digit.is_ascii_digit().then(|| port * 10 + u32::from(digit - b'0'));
            digits.iter().try_fold(0, |port, digit| more(port, digit).filter(|&port| port <= 65_535)).is_some()
        }
        _ => false,
    };
    !name.is_empty() && name.len() <= 255 && (!bracketed || name.iter().all(name_ok)) && port_ok
}

/// Bytes of a path that mean only themselves. A table: each byte of each path is looked up.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut b = b'!';
    while b <= b'~' {
        plain[b as usize] = !matches!(b, b'%' | b'\\' | b'.');
        b += 1;
    }
    plain
};

/// Bytes of a name or an IPv4 address.
const NAME: [bool; 256] = {
    let mut name = [false; 256];
    let mut b = b'!';
    while b <= b'~' {
        name[b as usize] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        b += 1;
    }
    name
};

/// The canonical form; what is in it already is shared, not copied.
fn canonical(given: &PathAndQuery) -> Result<PathAndQuery, Error> {
    let path = given.path();
    if !path.starts_with('/') {
        return bad("bad_target", "The path does not begin with /");
    }
    if given.query().is_some_and(|query| query.bytes().any(|b| !b.is_ascii_graphic())) {
        return bad("bad_target", "The query holds a character that must be percent-encoded");
    }
    if !given.as_str().starts_with('/') {
        // `http://host?x=1`: an empty path is the root (RFC 9110 4.2.3), and must be said.
        return PathAndQuery::try_from(format!("/{}", given.as_str()))
            .or_else(|_| bad("bad_path", "The path is not valid"));
    }
    // Without a branch for each byte: nearly every path is looked at to its end.
    if path.bytes().fold(true, |plain, b| plain & PLAIN[usize::from(b)]) {
        return Ok(given.clone());
    }
    let decoded = decode(path.as_bytes())?;
    dot_segments(&decoded)?;
    if decoded == path.as_bytes() {
        return Ok(given.clone());
    }
    let mut text = decoded;
    if let Some(query) = given.query() {
        text.push(b'?');
        text.extend_from_slice(query.as_bytes());
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).or_else(|_| bad("bad_path", "The path is not valid"))
}

/// RFC 3986 6.2.2: unreserved characters decoded, the other encodings in upper case.
fn decode(path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return bad("bad_path", "A percent-encoding is cut short") };
                let (Some(h), Some(l)) = ((*high as char).to_digit(16), (*low as char).to_digit(16)) else {
                    return bad("bad_path", "A percent-encoding has a digit that is none");
                };
                rest = after;
                match (h * 16 + l) as u8 {
                    0 | b'/' | b'\\' | b';' => return bad("bad_path", "The path holds an encoded NUL, /, \\ or ;"),
                    b @ (b'-' | b'.' | b'_' | b'~') => out.push(b),
                    b if b.is_ascii_alphanumeric() => out.push(b),
                    _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
                }
            }
            b'\\' => return bad("bad_path", "The path holds a backslash"),
            b if b.is_ascii_graphic() => out.push(*b),
            _ => return bad("bad_path", "The path holds a character that must be percent-encoded"),
        }
    }
    Ok(out)
}

/// `.` and `..` as segments are refused, not resolved: who resolves differently from the instance opens a hole. Some
/// servers cut a segment at `;` before they look.
fn dot_segments(path: &[u8]) -> Result<(), Error> {
    let name = |segment: &[u8]| segment.split(|&b| b == b';').next().map(<[u8]>::to_vec).unwrap_or_default();
    match path.split(|&b| b == b'/').any(|segment| matches!(name(segment).as_slice(), b"." | b"..")) {
        true => bad("bad_path", "The path holds a . or .. segment"),
        false => Ok(()),
    }
}

/// The route of a request. Of a preflight that the gateway answers it is the route of the method that the preflight asks about.
pub(super) fn find(snapshot: &Snapshot, head: &Parts, target: &Target, notes: &mut Notes) -> Result<Found, Error> {
    let host = target.host.as_ref().and_then(|host| host.to_str().ok());
    let (path, query) = (target.path(), target.query());
    let lookup = Lookup { host, path, query, method: &head.method, headers: &head.headers };
    if head.method == Method::OPTIONS
        && let Some(method) = cors::preflight_for(head)
        && let Ok(found) = route::find(&snapshot.routes, &Lookup { method: &method, ..lookup })
        && found.entry.route.cors.is_some()
    {
        notes.cors.get_or_insert_default().preflight = Some(method);
        return Ok(found);
    }
    match route::find(&snapshot.routes, &lookup) {
        Ok(found) if route::is_ambiguous(&snapshot.routes, &lookup, &found) => {
            let why = "An instance may read this path as one of another route: write it without // and ;, and plainly";
            Err(Error::BadRequest("bad_path", why))
        }
        Ok(found) => Ok(found),
        Err(missed) if missed.only_by_method() => Err(Error::MethodNotOfRoute(missed)),
        Err(_) => Err(Error::NoRoute),
    }
}

#[cfg(test)]
mod tests;
