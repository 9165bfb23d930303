//! What RFC 9111 lets a shared cache keep and reuse: heads in, decisions out. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::config::policy::Cache;
use crate::fields::{self, Traits};
use crate::filter::auth::is_api_key;

/// Ages and lifetimes beyond this are all the same to us.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// `Cache-Control` of one message (RFC 9111 section 5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    /// There is a field at all, understood or not.
    pub(super) present: bool,
}

impl Directives {
    pub(super) fn of(headers: &HeaderMap) -> Directives {
        let mut found = Directives::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            found.present = true;
            // What is no text says nothing that could be trusted: the cautious reading is the safe one.
            let Ok(text) = value.to_str() else {
                found.no_store = true;
                continue;
            };
            for part in parts(text) {
                found.add(part);
            }
        }
        if !found.present && headers.get(header::PRAGMA).is_some_and(|value| value.as_bytes() == b"no-cache") {
            found.no_cache = true;
        }
        found
    }

    fn add(&mut self, part: &str) {
        let (name, value) =
            part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value.trim())));
        let seconds = || {
            let text = value.unwrap_or_default().trim_matches('"');
            // A number too large is as good as for ever; one that is none, as none at all: stale (section 4.2.1).
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            Some(if digits { text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST) } else { Duration::ZERO })
        };
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            // With field names, `no-cache` and `private` are about those fields only; we do not take messages apart.
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            // Given twice, the shorter holds.
            "max-age" => self.max_age = self.max_age.into_iter().chain(seconds()).min(),
            "s-maxage" => self.s_maxage = self.s_maxage.into_iter().chain(seconds()).min(),
            _ => {}
        }
    }
}

/// The parts of a list, commas inside quotes left alone.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

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
pub struct Life {
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
    if said.no_store || said.private || answer.contains_key(header::SET_COOKIE) || vary(answer).is_none() {
        return None;
    }
    // Parts are not stored; what is not final is no answer. Requests that identify somebody are never filled from; here
    // they are looked at all the same, so that this function alone is right.
    let known = matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 302 | 307 | 308 | 404 | 405 | 410 | 414 | 501);
    let for_all = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if !known || (authorized(request) && !for_all) {
        return None;
    }
    let date = date(answer, &header::DATE).unwrap_or(now);
    let fresh = match said.s_maxage.or(said.max_age).or_else(|| expires(answer, date)) {
        Some(fresh) => fresh,
        // Nothing about caching in it: the route's word holds, for plain answers to requests that identify nobody.
        None if !said.present && !personal(request) && matches!(status.as_u16(), 200 | 203 | 301 | 308) => {
            policy.ttl.unwrap_or_default()
        }
        None => Duration::ZERO,
    };
    let fresh = if said.no_cache { Duration::ZERO } else { fresh.min(LONGEST) };
    let validator = answer.contains_key(header::ETAG) || answer.contains_key(header::LAST_MODIFIED);
    // What can be neither used nor asked about again only takes room.
    (fresh > Duration::ZERO || validator).then(|| Life { fresh, age: age(answer, date, now), for_all })
}

/// The life of an answer that may not be given again: it is as old as it says.
pub(super) fn spent(answer: &HeaderMap, now: SystemTime) -> Life {
    let date = date(answer, &header::DATE).unwrap_or(now);
    Life { fresh: Duration::ZERO, age: age(answer, date, now), for_all: false }
}

/// What identifies somebody to the instance.
fn personal(request: &HeaderMap) -> bool {
    authorized(request) || request.contains_key(header::COOKIE)
}

/// An `Authorization` that goes on to the instance; ours does not.
fn authorized(request: &HeaderMap) -> bool {
    request.get_all(header::AUTHORIZATION).iter().any(|value| !is_api_key(value))
}

/// RFC 9111 4.2.3, without the delay of the request: the larger of what the answer says and what the clocks say.
fn age(answer: &HeaderMap, date: SystemTime, now: SystemTime) -> Duration {
    let said = answer.get(header::AGE).and_then(|value| value.to_str().ok());
    let digits = said.map(str::trim).filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let said = digits.map_or(Duration::ZERO, |text| text.parse().map_or(LONGEST, Duration::from_secs));
    now.duration_since(date).unwrap_or_default().max(said).min(LONGEST)
}

/// `Expires`; one that is no date means "already" (RFC 9111 5.3).
fn expires(answer: &HeaderMap, date: SystemTime) -> Option<Duration> {
    answer.get(header::EXPIRES)?;
    let at = self::date(answer, &header::EXPIRES);
    Some(at.and_then(|at| at.duration_since(date).ok()).unwrap_or_default())
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// The request headers that an answer depends on. `None` when one of the names is no name, when the answer depends on
/// everything, or on what is another for every request that an instance sees.
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
    Some(names)
}

/// Whether a client already has what is stored: its conditions hold, so that 304 is the answer (RFC 9110 13.2.2).
pub(super) fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if !request.keys().any(|name| matches!(name.as_str(), "if-none-match" | "if-modified-since")) {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = stored.get(header::ETAG) else {
            return request.get_all(header::IF_NONE_MATCH).iter().any(|value| value.as_bytes() == b"*");
        };
        let all = request.get_all(header::IF_NONE_MATCH).iter();
        return all.filter_map(|value| value.to_str().ok()).flat_map(parts).any(|tag| tag == "*" || same(tag, etag));
    }
    let Some(since) = date(request, &header::IF_MODIFIED_SINCE) else { return false };
    date(stored, &header::LAST_MODIFIED).is_some_and(|modified| modified <= since)
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
