//! What RFC 9111 lets a shared cache keep and reuse: heads in, decisions out. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::directives::{Directives, LONGEST, Quotes, parts};
use crate::config::policy::Cache;
use crate::fields::{self, Traits};
use crate::filter::auth::is_api_key;

/// The most request headers that an answer may depend on: each of them is looked for in every request for it.
const NAMES: usize = 64;

/// What a request asks of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It goes past the cache, neither answered from it nor stored.
    Past(Forward),
    /// It may be answered from the cache.
    Cached {
        /// Something stored must not be older than this; zero: it must be asked about.
        max_age: Option<Duration>,
        /// It carries what identifies somebody: only what is said to be for everybody may answer it.
        personal: bool,
    },
}

/// Why a request goes to an instance (RFC 9211 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache is not for requests of this kind.
    Bypass,
    /// Its method asks for it.
    Method,
    /// It asks for it itself.
    Request,
    /// Nothing is stored for it.
    UriMiss,
    /// What is stored is for other requests.
    VaryMiss,
    /// What is stored is too old.
    Stale,
}

impl Forward {
    /// The word of RFC 9211.
    pub fn as_str(self) -> &'static str {
        match self {
            Forward::Bypass => "bypass",
            Forward::Method => "method",
            Forward::Request => "request",
            Forward::UriMiss => "uri-miss",
            Forward::VaryMiss => "vary-miss",
            Forward::Stale => "stale",
        }
    }
}

/// What a request asks for, and whether it wants rather nothing than to ask an instance.
pub(super) fn wish(method: &Method, headers: &HeaderMap, has_body: bool) -> (Wish, bool) {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return (Wish::Past(Forward::Method), false);
    }
    // Most say nothing that a cache listens to, and one pass over what they have finds that out.
    if !has_body && !headers.keys().any(heeded) {
        return (Wish::Cached { max_age: None, personal: false }, false);
    }
    let asked = Directives::of(headers);
    // Parts of things are asked from the instance, and so is what depends on its present state.
    let special = [header::RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];
    let bypass = has_body || special.iter().any(|name| headers.contains_key(name)) || hides(headers);
    let wish = if bypass {
        Wish::Past(Forward::Bypass)
    } else if asked.no_store {
        Wish::Past(Forward::Request)
    } else {
        let max_age = if asked.no_cache { Some(Duration::ZERO) } else { asked.max_age };
        Wish::Cached { max_age, personal: personal(headers) }
    };
    (wish, asked.only_if_cached)
}

/// Whether a cache looks at this field of a request.
fn heeded(name: &HeaderName) -> bool {
    fields::of(name.as_str()).any(Traits::HEEDED)
}

/// Whether `Connection` takes headers away that the instance's answer may depend on: what is stored for a request with them
/// would be an answer to one without.
fn hides(headers: &HeaderMap) -> bool {
    let known = ["close", "keep-alive", "te", "upgrade", "http2-settings"];
    let mut named = headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    named.any(|name| !known.iter().any(|known| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes())))
}

/// How long an answer may be used, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// From its making on.
    pub(super) fresh: Duration,
    /// How old it was when it came.
    pub(super) age: Duration,
    /// It says itself that it is for everybody: also for requests that carry what identifies somebody.
    pub(super) for_all: bool,
}

/// Whether an answer may be stored, and for how long it is fresh. `None`: it may not.
pub(super) fn life(
    request: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    policy: &Cache,
    now: SystemTime,
) -> Option<Life> {
    let said = Directives::of(answer);
    if said.no_store || for_one(&said, answer) { None } else { life_of(&said, request, status, answer, policy, now) }
}

/// Whether an answer is for who asked alone, or depends on more than can be looked for.
fn for_one(said: &Directives, answer: &HeaderMap) -> bool {
    said.private || answer.contains_key(header::SET_COOKIE) || vary(answer).is_none()
}

/// The life of an answer that is neither for one alone nor not to be stored.
fn life_of(
    said: &Directives,
    request: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    policy: &Cache,
    now: SystemTime,
) -> Option<Life> {
    // Parts are not stored; what is not final is no answer. Requests that identify somebody are never filled from; here
    // they are looked at all the same, so that this function alone is right.
    let known = matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 302 | 307 | 308 | 404 | 405 | 410 | 414 | 501);
    let for_all = said.for_all();
    if !known || (authorized(request) && !for_all) {
        return None;
    }
    let validator = answer.contains_key(header::ETAG) || answer.contains_key(header::LAST_MODIFIED);
    let lives = said.s_maxage.or(said.max_age);
    // Most say nothing at all.
    if lives.is_none() && !validator && policy.ttl.is_none() && !answer.contains_key(header::EXPIRES) {
        return None;
    }
    let date = date(answer, now);
    let fresh = match lives.or_else(|| expires(answer, date)) {
        Some(fresh) => fresh,
        // Nothing about caching in it: the route's word holds, for plain answers to requests that identify nobody.
        None if !said.present && !personal(request) && matches!(status.as_u16(), 200 | 203 | 301 | 308) => {
            policy.ttl.unwrap_or_default()
        }
        None => Duration::ZERO,
    };
    let fresh = if said.no_cache { Duration::ZERO } else { fresh.min(LONGEST) };
    let age = age(answer, date, now);
    // What can be neither used nor asked about again only takes room.
    (fresh > age || validator).then_some(Life { fresh, age, for_all })
}

/// The life of an answer that may not be given again: it is as old as it says.
pub(super) fn spent(answer: &HeaderMap, now: SystemTime) -> Life {
    Life { fresh: Duration::ZERO, age: age(answer, date(answer, now), now), for_all: false }
}

/// What an answer says to whoever makes another one of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// For how long it stays fresh from now on; zero: it must be asked about each time.
    pub left: Duration,
    /// How old it is.
    pub age: Duration,
    /// It is for who asked only.
    pub private: bool,
    /// Nobody may store it.
    pub no_store: bool,
}

/// How long an answer that came now may be used, and by whom. Where it says one thing to shared caches and another to all, the shorter holds.
pub fn lifetime(
    request: &HeaderMap,
    status: StatusCode,
    answer: &HeaderMap,
    policy: &Cache,
    now: SystemTime,
) -> Lifetime {
    let said = Directives::of(answer);
    let for_one = for_one(&said, answer);
    let private = for_one || personal(request) && !said.for_all();
    let life = match said.no_store || for_one {
        true => None,
        false => life_of(&said, request, status, answer, policy, now),
    };
    let (fresh, age) = match life {
        Some(Life { fresh, age, .. }) => (said.max_age.map_or(fresh, |max| max.min(fresh)), age),
        None if private && !said.no_cache => (said.max_age.unwrap_or_default(), age(answer, date(answer, now), now)),
        None => (Duration::ZERO, Duration::ZERO),
    };
    Lifetime { left: fresh.saturating_sub(age), age, private, no_store: said.no_store }
}

/// What identifies somebody to the instance.
fn personal(request: &HeaderMap) -> bool {
    authorized(request) || request.contains_key(header::COOKIE)
}

/// An `Authorization` that goes on to the instance; ours does not.
fn authorized(request: &HeaderMap) -> bool {
    request.get_all(header::AUTHORIZATION).iter().any(|value| !is_api_key(value))
}

/// RFC 9111 4.2.3, without the delay of the request: the larger of what the answer says and what the clocks say. What says it in a way
/// that is not understood may be of any age.
fn age(answer: &HeaderMap, date: Option<SystemTime>, now: SystemTime) -> Duration {
    let said = answer.get_all(header::AGE).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let said = said.map(|text| std::str::from_utf8(text.trim_ascii()).unwrap_or_default()).map(|text| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse().map_or(LONGEST, Duration::from_secs) } else { LONGEST }
    });
    let apparent = date.map_or(LONGEST, |date| now.duration_since(date).unwrap_or_default());
    said.fold(apparent, Duration::max).min(LONGEST)
}

/// `Expires`; one that is no date means "already" (RFC 9111 5.3), and so does one beside a `Date` that is none.
fn expires(answer: &HeaderMap, date: Option<SystemTime>) -> Option<Duration> {
    let all = answer.get_all(header::EXPIRES).iter();
    all.map(|value| parsed(value)?.duration_since(date?).ok()).map(Option::unwrap_or_default).min()
}

/// When an answer was made: now, where it does not say it. `None` when it says it in a way that is not understood, or several times.
fn date(answer: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let mut all = answer.get_all(header::DATE).iter();
    let Some(first) = all.next() else { return Some(now) };
    parsed(first).filter(|_| all.next().is_none())
}

fn parsed(date: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(date.to_str().ok()?).ok()
}

/// The request headers that an answer depends on. `None` when one of the names is no name, when the answer depends on
/// everything, or on what is another for every request that an instance sees, or on too much.
pub(super) fn vary(answer: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in answer.get_all(header::VARY) {
        for name in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let name = HeaderName::from_bytes(name).ok().filter(|name| *name != "*")?;
            let traits = fields::of(name.as_str());
            if traits.any(Traits::UNIQUE) {
                return None;
            }
            if !traits.any(Traits::IN_KEY) {
                names.push(name);
            }
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    (names.len() <= NAMES).then_some(names)
}

/// Whether a client already has what is stored: its conditions hold, so that 304 is the answer (RFC 9110 13.2.2).
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if !request.keys().any(|name| matches!(name.as_str(), "if-none-match" | "if-modified-since")) {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = stored.get(header::ETAG) else {
            return request.get_all(header::IF_NONE_MATCH).iter().any(|value| value.as_bytes() == b"*");
        };
        let all = request.get_all(header::IF_NONE_MATCH).iter();
        return all
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| parts(text, Quotes::Tags))
            .any(|tag| tag == "*" || same(tag, etag));
    }
    let date = |headers: &HeaderMap, name| headers.get(name).and_then(parsed);
    let Some(since) = date(request, header::IF_MODIFIED_SINCE) else { return false };
    date(stored, header::LAST_MODIFIED).is_some_and(|modified| modified <= since)
}

/// Weak comparison (RFC 9110 8.8.3.2).
fn same(tag: &str, etag: &HeaderValue) -> bool {
    let bare = |text: &[u8]| text.strip_prefix(b"W/").unwrap_or(text).to_vec();
    bare(tag.as_bytes()) == bare(etag.as_bytes())
}

/// Turns a request into one that asks whether what is stored still holds.
pub(super) fn ask_again(request: &mut HeaderMap, stored: &HeaderMap) {
    if let Some(etag) = stored.get(header::ETAG) {
        request.insert(header::IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}

/// A client's own conditions do not go to the instance: what is stored must be whole.
pub(super) fn drop_conditions(request: &mut HeaderMap) {
    request.remove(header::IF_NONE_MATCH);
    request.remove(header::IF_MODIFIED_SINCE);
}

#[cfg(test)]
mod tests;
