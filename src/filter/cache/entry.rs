//! A stored answer: copied to its exact size, so that the store's bound is true.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::policy::{self, Life};
use crate::filter::limit::{RATELIMIT, RATELIMIT_POLICY, Remaining};

/// What an entry costs besides its bytes: its place in the store, the tables of its headers, the places of [`OWN`].
const OVERHEAD: usize = 1024;

/// What each header costs besides its bytes.
const FIELD: usize = 128;

/// A request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What each answer says of itself. Among the headers that are stored these have an empty place: a copy of them is filled, and need
/// not grow.
const OWN: [HeaderName; 5] = [header::AGE, header::CACHE_STATUS, X_REQUEST_ID, RATELIMIT_POLICY, RATELIMIT];

/// What an answer from the store says of itself, besides its age.
#[derive(Debug)]
pub struct Own {
    /// `Cache-Status` (RFC 9211).
    pub status: HeaderValue,
    /// `X-Request-Id`.
    pub id: HeaderValue,
    /// What is left of the client's limit.
    pub limit: Option<Remaining>,
}

/// A stored answer.
#[derive(Debug)]
pub struct Entry {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that belong to one hop or one request; with places for [`OWN`].
    pub(super) headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    pub(super) life: Life,
    pub(super) born: Instant,
    /// The request headers that it depends on, and what stood in them.
    pub(super) names: Box<[HeaderName]>,
    pub(super) signature: Box<str>,
    /// The service that it came from, for whoever clears by service.
    pub(super) service: Arc<str>,
    /// The path as clients ask for it.
    pub(super) path: Box<str>,
    /// What was cleared and changed when it was asked for.
    pub(super) epoch: super::Epoch,
}

impl Entry {
    /// How old it is.
    pub fn age(&self, now: Instant) -> Duration {
        self.life.age + now.saturating_duration_since(self.born)
    }

    /// How long it stays fresh, or for how long it has not been.
    pub fn ttl(&self, now: Instant) -> i64 {
        self.life.fresh.as_secs() as i64 - self.age(now).as_secs() as i64
    }

    /// Whether it also answers a request with these headers.
    pub fn fits(&self, request: &HeaderMap) -> bool {
        self.names.is_empty() || super::signature(&self.names, request).is_some_and(|own| *own == *self.signature)
    }

    /// Whether it may be given to anybody without asking.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.fresh(now, None)
    }

    pub(super) fn fresh(&self, now: Instant, max_age: Option<Duration>) -> bool {
        let age = self.age(now);
        age < self.life.fresh && max_age.is_none_or(|max| age < max || (age == max && !max.is_zero()))
    }

    /// Bytes in the store.
    pub(super) fn weight(&self) -> u64 {
        let said = self.headers.iter().filter(|(name, _)| !OWN.contains(name));
        let fields: usize = said.map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
        (OVERHEAD + fields + self.body.len() + self.path.len() + self.signature.len()) as u64
    }

    /// Its headers with what a 304 says of them now (RFC 9111 4.3.4); one without a date is of now.
    pub(super) fn headers_after(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(header::DATE);
        let said = |name: &&HeaderName| **name != header::CONTENT_LENGTH && !describes_body(name);
        for name in answer.keys().filter(said) {
            headers.remove(name);
        }
        for (name, value) in answer.iter().filter(|(name, _)| said(name)) {
            headers.append(name, value.clone());
        }
        headers
    }

    /// The same with these headers.
    pub(super) fn refreshed(&self, headers: HeaderMap, life: Life, epoch: super::Epoch, now: Instant) -> Entry {
        Entry {
            status: self.status,
            headers,
            body: self.body.clone(),
            life,
            born: now,
            names: self.names.clone(),
            signature: self.signature.clone(),
            service: self.service.clone(),
            path: self.path.clone(),
            epoch,
        }
    }

    /// The headers of an answer from the store.
    pub fn answer(&self, own: Own, now: Instant) -> HeaderMap {
        let mut headers = self.headers.clone();
        // Names stay in the order in which they came, as long as none is removed.
        debug_assert!(headers.keys().take(OWN.len()).eq(&OWN), "`kept` gives these the first places: {headers:?}");
        let mut places = headers.values_mut();
        let mut say = |said| {
            if let Some(place) = places.next() {
                *place = said;
            }
        };
        say(number(self.age(now).as_secs()));
        say(own.status);
        say(own.id);
        match own.limit {
            Some(Remaining { policy, left }) => {
                say(policy);
                say(left);
            }
            None => {
                headers.remove(RATELIMIT_POLICY);
                headers.remove(RATELIMIT);
            }
        }
        headers
    }

    /// Those of a 304, for a client that has it already.
    pub fn answer_304(&self, own: Own, now: Instant) -> HeaderMap {
        let mut headers = self.answer(own, now);
        let gone = [header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];
        gone.iter().for_each(|name| drop(headers.remove(name)));
        headers
    }
}

fn describes_body(name: &HeaderName) -> bool {
    [header::CONTENT_ENCODING, header::CONTENT_TYPE, header::CONTENT_RANGE].contains(name)
}

/// The headers that are stored, each copied: hyper's are slices of whole read buffers.
pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len() + OWN.len() + 1);
    kept.extend(OWN.map(|name| (name, HeaderValue::from_static(""))));
    for (name, value) in headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        kept.append(name.clone(), exact(value));
    }
    if !kept.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        kept.extend(HeaderValue::from_str(&now).map(|now| (header::DATE, now)));
    }
    kept
}

/// A number as a header's value.
fn number(number: u64) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    let digits = Bytes::copy_from_slice(digits.format(number).as_bytes());
    HeaderValue::from_maybe_shared(digits).unwrap_or_else(|_| HeaderValue::from(number))
}

fn exact(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// Pieces of a body, in one.
pub(super) fn joined(pieces: &[Bytes]) -> Bytes {
    let mut whole = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
    Bytes::from(whole.into_boxed_slice())
}

impl Entry {
    /// Whether a client's conditions say that it has this already.
    pub fn known_to(&self, request: &HeaderMap) -> bool {
        self.status == StatusCode::OK && policy::not_modified(request, &self.headers)
    }
}
