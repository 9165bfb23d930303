//! A message made into the next hop's: what belongs to one connection goes no further, what strangers claim is replaced, what the next
//! hop should know is added, and the route's changes are made.

mod location;

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version, header};

use super::call::{Call, Path, Request};
use super::error::Error;
use super::forwarded::Told;
use super::head::Target;
use crate::config::routes::{Action, HeaderRules, PathChange};
use crate::fields::{self, Traits};
use crate::fields::{
    KEEP_ALIVE, TRACEPARENT, TRACESTATE, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO, X_REAL_IP, X_REQUEST_ID,
};
use crate::filter::auth;
use crate::io::body::Body;
use crate::request;
use crate::request::trace::{self, Parent};
use crate::route::Found;
use crate::upstream::wire::{Fields, Head};

/// `Via` names the protocol in which a message was received, not the one in which it goes on (RFC 9110 section 7.6.3).
fn via(received: Version) -> &'static str {
    match received {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 lictor",
        _ => "1.1 lictor",
    }
}

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
        Action::Compose { .. } | Action::Redirect { .. } | Action::Respond { .. } => return Ok(None),
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
    let parent = if seen.traceparent { Parent::of(&head.headers) } else { None };
    let traceparent = request::traceparent(parent.as_ref(), &call.id, random);
    let state = parent.and_then(|_| trace::state(&head.headers));
    let named = if seen.connection { fields::named_by_connection(&head.headers) } else { Vec::new() };
    let announced = if seen.trailer { announced(&head.headers) } else { Vec::new() };
    let rules = Rules::of(&call.route.route.request_headers, &head.headers, &announced);
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
        fields: Onward { asked, call, traceparent, state, named, announced, rules },
    }
}

/// The fields of a request on their way to its instance.
pub(super) struct Onward<'a> {
    asked: &'a Request,
    call: &'a Call,
    traceparent: [u8; 55],
    /// What systems noted of the client's trace, when it goes on.
    state: Option<Vec<u8>>,
    /// What the client's `Connection` names.
    named: Vec<HeaderName>,
    /// The trailers that the client's `Trailer` announces.
    announced: Vec<HeaderName>,
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
        if !call.forwarded.scheme.is_empty() {
            write(&X_FORWARDED_PROTO, call.forwarded.scheme.as_bytes());
        }
        if let Some(host) = host(call, target) {
            write(&X_FORWARDED_HOST, host.as_bytes());
        }
        match &call.forwarded.told {
            None if call.path.stripped > 0 => write(&X_FORWARDED_PREFIX, prefix(call, target).as_bytes()),
            None => {}
            Some(told) => told.each(prefix(call, target), &mut write),
        }
        for (name, value) in call.token.iter().flat_map(|token| &token.fields) {
            write(name, value.as_bytes());
        }
        write(&X_REQUEST_ID, call.id.as_bytes());
        write(&header::VIA, call.via.as_deref().unwrap_or_else(|| via(head.version)).as_bytes());
        write(&TRACEPARENT, &self.traceparent);
        if let Some(state) = &self.state {
            write(&TRACESTATE, state);
        }
        if !self.announced.is_empty()
            && let Some(trailers) = list(self.announced.iter().filter(|name| self.goes_as_trailer(name)))
        {
            write(&header::TRAILER, trailers.as_bytes());
        }
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
            // Said by the head's authority, or written anew.
            "host" | "traceparent" | "tracestate" | "trailer" => false,
            "authorization" => !auth::is_api_key(value),
            _ => true,
        }
    }

    /// Whether a trailer of the client's goes on: by the rules that hold for a field of its head. Only what is announced does.
    fn goes_as_trailer(&self, name: &HeaderName) -> bool {
        let touched = self.rules.as_ref().is_some_and(|rules| rules.touch(name));
        let claimed = fields::is_spelt(name, &self.call.route.route.claimed);
        fields::may_be_trailer(name.as_str()) && !self.named.contains(name) && !touched && !claimed
    }
}

impl Told {
    /// The fields that say it to an instance, where the route took this off the path besides.
    fn each(&self, stripped: &str, write: &mut impl FnMut(&HeaderName, &[u8])) {
        let prefix = [self.prefix.as_deref().unwrap_or_default(), stripped].concat();
        if !prefix.is_empty() {
            write(&X_FORWARDED_PREFIX, prefix.as_bytes());
        }
        for (name, value) in [(&X_FORWARDED_PORT, &self.port), (&X_REAL_IP, &self.real_ip)] {
            if let Some(value) = value {
                write(name, value.as_bytes());
            }
        }
    }
}

/// How many trailers a message may announce: each is compared with what `Connection` names.
const ANNOUNCED: usize = 100;

/// The trailers that the `Trailer` of a head announces (RFC 9110 section 6.6.2).
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(header::TRAILER).iter().flat_map(|value| fields::names(value.as_bytes()));
    names.take(ANNOUNCED).collect()
}

/// Names as a list; `None` where there are none.
fn list<'n>(names: impl Iterator<Item = &'n HeaderName>) -> Option<HeaderValue> {
    let names: Vec<_> = names.map(HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|list| !list.is_empty())
}

/// A route's changes of a request's fields, and the other spellings of what they set or remove.
struct Rules<'a> {
    rules: &'a HeaderRules,
    aliases: Vec<HeaderName>,
}

impl<'a> Rules<'a> {
    fn of(rules: &'a HeaderRules, headers: &HeaderMap, trailers: &[HeaderName]) -> Option<Rules<'a>> {
        let HeaderRules { remove, set, add } = rules;
        let any = !(remove.is_empty() && set.is_empty() && add.is_empty());
        any.then(|| Rules { rules, aliases: aliases(rules, headers, trailers) })
    }

    /// Whether they replace or remove this field.
    fn touch(&self, name: &HeaderName) -> bool {
        changes(self.rules, name) || self.aliases.contains(name)
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

/// Whether a route's changes replace or remove a field.
fn changes(HeaderRules { remove, set, .. }: &HeaderRules, name: &HeaderName) -> bool {
    remove.contains(name) || set.iter().any(|(own, _)| own == name)
}

/// Fields that some servers would take for one that a route sets, adds or removes: `X_Tenant` becomes `X-Tenant` in CGI and WSGI.
fn aliases(rules: &HeaderRules, headers: &HeaderMap, trailers: &[HeaderName]) -> Vec<HeaderName> {
    let given = || headers.keys().chain(trailers);
    let named = || rules.set.iter().chain(&rules.add).map(|(name, _)| name).chain(&rules.remove);
    if !given().chain(named()).any(has_other_spellings) {
        return Vec::new();
    }
    let is_alias = |name: &HeaderName| {
        let same = |own: &HeaderName| fields::usual_spelling(own.as_str()) == fields::usual_spelling(name.as_str());
        named().any(|own| own != name && (has_other_spellings(own) || has_other_spellings(name)) && same(own))
    };
    let written = fields::TABLE.iter().filter(|(_, traits)| traits.any(Traits::WRITTEN));
    let written = written.map(|(name, _)| HeaderName::from_static(name));
    given().cloned().chain(written).filter(is_alias).collect()
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
pub(super) fn answer(
    response: &mut Response<Body>,
    asked: &Request,
    call: &Call,
    instance: SocketAddr,
) -> Option<Duration> {
    // What the instance speaks is said of its connection: the client's has a version of its own.
    let received = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let headers = response.headers_mut();
    // One look at all names finds out which of the rarer ones there are.
    let (mut hops, mut keep_alive, mut connection, mut location, mut trailer) = (false, false, false, false, false);
    for name in headers.keys() {
        let name = name.as_str();
        let traits = fields::of(name);
        if traits != Traits::default() {
            match name {
                "connection" => connection = true,
                "keep-alive" => keep_alive = true,
                "location" => location = true,
                "trailer" => trailer = true,
                _ => hops |= traits.any(Traits::HOP),
            }
        }
    }
    let kept = if keep_alive { headers.get(KEEP_ALIVE).and_then(kept_for) } else { None };
    let named = if connection { fields::named_by_connection(headers) } else { Vec::new() };
    if connection {
        for name in &named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if hops || keep_alive {
        while let Some(name) = headers.keys().find(|name| fields::of(name.as_str()).any(Traits::HOP)).cloned() {
            headers.remove(name);
        }
    }
    if trailer {
        announce(headers, &named, &call.route.route.response_headers);
    }
    headers.append(header::VIA, HeaderValue::from_static(via(received)));
    if location
        && let Some(location) = headers.get(header::LOCATION)
        && let Some(outside) = location::outside(call, &asked.target, location, instance)
    {
        headers.insert(header::LOCATION, outside);
    }
    kept
}

/// Announces those trailers of an answer that go on: by the rules that hold for a field of its head. Those that are not announced do not
/// come to the client.
fn announce(headers: &mut HeaderMap, named: &[HeaderName], rules: &HeaderRules) {
    let announced = announced(headers);
    headers.remove(header::TRAILER);
    let goes =
        |name: &&HeaderName| fields::may_be_trailer(name.as_str()) && !named.contains(name) && !changes(rules, name);
    headers.extend(list(announced.iter().filter(goes)).map(|trailers| (header::TRAILER, trailers)));
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
