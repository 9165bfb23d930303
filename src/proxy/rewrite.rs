//! A message made into the next hop's: what belongs to one connection goes no further, what strangers claim is replaced, what the next
//! hop should know is added, and the route's changes are made.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::call::{Call, Path, Request};
use super::error::Error;
use super::head::Target;
use crate::config::routes::{Action, HeaderRules, PathChange};
use crate::fields::{self, Traits};
use crate::fields::{
    KEEP_ALIVE, TRACEPARENT, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PREFIX, X_FORWARDED_PROTO, X_REQUEST_ID,
};
use crate::filter::auth;
use crate::request;
use crate::route::Found;
use crate::upstream::wire::{Fields, Head};

const VIA: HeaderValue = HeaderValue::from_static("1.1 lictor");

/// What a route makes of a target.
///
/// # Errors
/// When what it makes of it is no path.
pub(super) fn path(target: &Target, found: &Found) -> Result<Path, Error> {
    let stripped = found.stripped(target.path()).len();
    Ok(Path { stripped, rewritten: rewritten(target, found, stripped)? })
}

/// The instance's path and query, where they are not just what follows the prefix that is taken off.
fn rewritten(target: &Target, found: &Found, stripped: usize) -> Result<Option<String>, Error> {
    let given = target.as_str();
    let built = match &found.entry.route.action {
        Action::Forward { path: PathChange::Rewrite(template), .. } => {
            let host = target.host.as_ref().and_then(|host| host.to_str().ok());
            let path = found.fill(template, target.path(), host);
            match target.query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            }
        }
        Action::Forward { path: PathChange::Prefix { add, .. }, .. } => {
            let rest = &given[stripped..];
            match (add.as_str(), rest.as_bytes().first()) {
                ("", Some(b'/')) => return Ok(None),
                // A bare `/api/x` reaches the instance as `/`.
                ("", _) if stripped > 0 => format!("/{rest}"),
                ("", _) => return Ok(None),
                (add, _) => format!("{add}{rest}"),
            }
        }
        Action::Redirect { .. } | Action::Respond { .. } => return Ok(None),
    };
    match PathAndQuery::try_from(built) {
        Ok(valid) => Ok(Some(valid.as_str().to_owned())),
        Err(_) => Err(Error::BadRequest("bad_path", "The path is not valid")),
    }
}

/// Path and query, as the instance gets them.
fn path_for<'a>(call: &'a Call, target: &'a Target) -> &'a str {
    call.path.rewritten.as_deref().unwrap_or_else(|| &target.as_str()[call.path.stripped..])
}

/// What the route took off the path.
fn prefix<'a>(call: &Call, target: &'a Target) -> &'a str {
    &target.path()[..call.path.stripped]
}

/// The host that the client asked, as far as we know: a trusted proxy knows better than we do.
fn host<'a>(call: &'a Call, target: &'a Target) -> Option<&'a HeaderValue> {
    call.forwarded.host.as_ref().or(target.host.as_ref())
}

/// A request's head as its instance gets it, with a span of its own in the trace: each attempt has another one.
pub(super) fn head<'a>(asked: &'a Request, call: &'a Call, random: &mut fastrand::Rng) -> Head<'a, Onward<'a>> {
    let Request { head, target, .. } = asked;
    let seen = target.seen;
    let given = if seen.traceparent { head.headers.get(TRACEPARENT) } else { None };
    let (traceparent, goes_on) = request::traceparent(given, &call.id, random);
    let named = if seen.connection { fields::named_by_connection(&head.headers) } else { Vec::new() };
    let rules = Rules::of(&call.route.route.request_headers, &head.headers);
    let authority = match &rules {
        Some(rules) if rules.touch(&header::HOST) => None,
        _ => target.host.as_ref().map(HeaderValue::as_bytes),
    };
    Head {
        method: &head.method,
        target: path_for(call, target),
        authority,
        trailers: call.upgrade.is_none() && seen.te && wants_trailers(&head.headers),
        websocket: call.upgrade.is_some(),
        fields: Onward { asked, call, traceparent, goes_on, named, rules },
    }
}

/// The fields of a request on their way to its instance.
pub(super) struct Onward<'a> {
    asked: &'a Request,
    call: &'a Call,
    traceparent: [u8; 55],
    /// The client's trace goes on, and its `tracestate` with it.
    goes_on: bool,
    /// What the client's `Connection` names.
    named: Vec<HeaderName>,
    rules: Option<Rules<'a>>,
}

impl Fields for Onward<'_> {
    fn each(&self, mut field: impl FnMut(&str, &[u8])) {
        let Onward { asked: Request { head, target, .. }, call, rules, .. } = self;
        let mut write = |name: &HeaderName, value: &[u8]| {
            if !rules.as_ref().is_some_and(|rules| rules.touch(name)) {
                field(name.as_str(), value);
            }
        };
        for (name, value) in &head.headers {
            if self.goes(name, value) {
                write(name, value.as_bytes());
            }
        }
        write(&X_FORWARDED_FOR, call.forwarded.chain.as_bytes());
        write(&X_FORWARDED_PROTO, call.forwarded.scheme.as_bytes());
        if let Some(host) = host(call, target) {
            write(&X_FORWARDED_HOST, host.as_bytes());
        }
        if call.path.stripped > 0 {
            write(&X_FORWARDED_PREFIX, prefix(call, target).as_bytes());
        }
        write(&X_REQUEST_ID, call.id.as_bytes());
        write(&header::VIA, VIA.as_bytes());
        write(&TRACEPARENT, &self.traceparent);
        if let Some(rules) = rules {
            rules.each(field);
        }
    }
}

impl Onward<'_> {
    /// Whether a field of the client's goes on.
    fn goes(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        let traits = fields::of(name.as_str());
        if traits == Traits::default() {
            return self.named.is_empty() || !self.named.contains(name);
        }
        if traits.any(Traits::HOP.and(Traits::ENDS_HERE)) || self.named.contains(name) {
            return false;
        }
        match name.as_str() {
            // The head's authority says it.
            "host" | "traceparent" => false,
            "tracestate" => self.goes_on,
            "authorization" => !auth::is_api_key(value),
            _ => true,
        }
    }
}

/// A route's changes of a request's fields, and the other spellings of what they set or remove.
struct Rules<'a> {
    rules: &'a HeaderRules,
    aliases: Vec<HeaderName>,
}

impl<'a> Rules<'a> {
    fn of(rules: &'a HeaderRules, headers: &HeaderMap) -> Option<Rules<'a>> {
        let HeaderRules { remove, set, add } = rules;
        let any = !(remove.is_empty() && set.is_empty() && add.is_empty());
        any.then(|| Rules { rules, aliases: aliases(rules, headers) })
    }

    /// Whether they replace or remove this field.
    fn touch(&self, name: &HeaderName) -> bool {
        let HeaderRules { remove, set, .. } = self.rules;
        remove.contains(name) || set.iter().any(|(own, _)| own == name) || self.aliases.contains(name)
    }

    /// The fields that they set and add.
    fn each(&self, mut field: impl FnMut(&str, &[u8])) {
        let HeaderRules { set, add, .. } = self.rules;
        for (index, (name, value)) in set.iter().enumerate() {
            // Of two words on one header the later holds.
            if set[index + 1..].iter().all(|(later, _)| later != name) {
                field(name.as_str(), value.as_bytes());
            }
        }
        for (name, value) in add {
            field(name.as_str(), value.as_bytes());
        }
    }
}

/// Fields that some servers would take for one that a route sets, adds or removes: `X_Tenant` becomes `X-Tenant` in CGI and WSGI.
fn aliases(rules: &HeaderRules, given: &HeaderMap) -> Vec<HeaderName> {
    let named = || rules.set.iter().chain(&rules.add).map(|(name, _)| name).chain(&rules.remove);
    if !given.keys().chain(named()).any(has_other_spellings) {
        return Vec::new();
    }
    let is_alias = |name: &HeaderName| {
        let same = |own: &HeaderName| fields::usual_spelling(own.as_str()) == fields::usual_spelling(name.as_str());
        named().any(|own| own != name && (has_other_spellings(own) || has_other_spellings(name)) && same(own))
    };
    let written = fields::TABLE.iter().filter(|(_, traits)| traits.any(Traits::WRITTEN));
    let written = written.map(|(name, _)| HeaderName::from_static(name));
    given.keys().cloned().chain(written).filter(is_alias).collect()
}

fn has_other_spellings(name: &HeaderName) -> bool {
    name.as_str().contains(['_', '.'])
}

/// Makes a route's changes of an answer's fields.
pub(super) fn apply(rules: &HeaderRules, headers: &mut HeaderMap) {
    for name in &rules.remove {
        headers.remove(name);
    }
    for (name, value) in &rules.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &rules.add {
        headers.append(name, value.clone());
    }
}

/// Makes the head of an instance's answer into the client's. Returns how long the instance keeps an idle connection, if it says so.
pub(super) fn answer(headers: &mut HeaderMap, asked: &Request, call: &Call, instance: SocketAddr) -> Option<Duration> {
    // One look at all names finds out which of the rarer ones there are.
    let (mut hops, mut keep_alive, mut connection, mut location) = (false, false, false, false);
    for name in headers.keys() {
        let name = name.as_str();
        let traits = fields::of(name);
        if traits != Traits::default() {
            match name {
                "connection" => connection = true,
                "keep-alive" => keep_alive = true,
                "location" => location = true,
                _ => hops |= traits.any(Traits::HOP),
            }
        }
    }
    let kept = if keep_alive { headers.get(KEEP_ALIVE).and_then(kept_for) } else { None };
    if connection {
        for name in fields::named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if hops || keep_alive {
        while let Some(name) = headers.keys().find(|name| fields::of(name.as_str()).any(Traits::HOP)).cloned() {
            headers.remove(name);
        }
    }
    headers.append(header::VIA, VIA);
    if location
        && let Some(location) = headers.get(header::LOCATION)
        && let Some(outside) = outside(call, &asked.target, location, instance)
    {
        headers.insert(header::LOCATION, outside);
    }
    kept
}

/// A `Location` of the instance's own origin, as the client must see it: with the prefix that was stripped.
fn outside(call: &Call, target: &Target, location: &HeaderValue, instance: SocketAddr) -> Option<HeaderValue> {
    let Action::Forward { path: PathChange::Prefix { add, .. }, .. } = &call.route.route.action else { return None };
    let prefix = prefix(call, target);
    if prefix.is_empty() && add.is_empty() {
        return None;
    }
    let location = location.to_str().ok()?;
    let (origin, path) = own_origin(call, target, location, instance)?;
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
fn own_origin<'l>(call: &Call, target: &Target, location: &'l str, instance: SocketAddr) -> Option<(String, &'l str)> {
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
    let hosts = [host(call, target), target.host.as_ref()].into_iter().flatten();
    let mut hosts = hosts.filter_map(|host| host.to_str().ok());
    let asked = hosts.next()?;
    let own = asked.eq_ignore_ascii_case(authority) || hosts.any(|host| host.eq_ignore_ascii_case(authority));
    let changes = secure.is_some() && call.forwarded.scheme != "https";
    own.then(|| (if changes { format!("https://{asked}") } else { String::new() }, path))
}

/// Whether the client takes trailers (`TE: trailers`): then those of an answer go on, if its `Trailer` announces them.
fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TE).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// The timeout in `Keep-Alive: timeout=5, max=100`, in seconds.
fn kept_for(value: &HeaderValue) -> Option<Duration> {
    let mut parameters = value.to_str().ok()?.split(',').map(str::trim);
    parameters
        .find_map(|p| p.strip_prefix("timeout="))
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
