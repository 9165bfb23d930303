//! A stored answer: copied to its exact size, so that the store's bound is true.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::policy::{self, Life};
use crate::fields::{self, RATELIMIT, RATELIMIT_POLICY, Traits, X_REQUEST_ID};
use crate::filter::limit::Remaining;

/// What an entry costs besides its bytes: its place in the store, the tables of its headers, the places of [`OWN`].
const OVERHEAD: usize = 1024;

/// What each header costs besides its bytes.
const FIELD: usize = 128;

/// What each answer says anew. Among the fields that are stored these have an empty place: a copy of them is filled and need not
/// grow.
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
    /// Whether those places are the first in the map, in the order of [`OWN`]: it keeps the order of insertion today, and promises none.
    pub(super) places_first: bool,
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

    /// How long it stays fresh at this age, in seconds; negative: for how long it has not been.
    pub fn ttl(&self, age: Duration) -> i64 {
        self.life.fresh.as_secs() as i64 - age.as_secs() as i64
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
        let stored = self.headers.iter().filter(|(name, _)| !is_own(name));
        let fields: usize = stored.map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum();
        (OVERHEAD + fields + self.body.len() + self.path.len() + self.signature.len()) as u64
    }

    /// Its headers with what a 304 says of them now (RFC 9111 4.3.4); one without a date is of now.
    pub(super) fn headers_after(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(header::DATE);
        // A 304 has no body: what it says of one's coding is not about the stored one.
        let counts = |name: &HeaderName| !fields::of(name.as_str()).any(Traits::OF_STORED);
        for name in answer.keys().filter(|name| counts(name)) {
            headers.remove(name);
        }
        for (name, value) in answer.iter().filter(|(name, _)| counts(name)) {
            headers.append(name, value.clone());
        }
        headers
    }

    /// The same with these headers.
    pub(super) fn refreshed(&self, headers: HeaderMap, life: Life, epoch: super::Epoch, now: Instant) -> Entry {
        Entry {
            status: self.status,
            places_first: places_first(&headers),
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
    pub fn answer(&self, own: Own, age: Duration) -> HeaderMap {
        let mut headers = self.headers.clone();
        let Own { status, id, limit } = own;
        let limited = limit.is_some();
        let (policy, left) = limit.map(|Remaining { policy, left }| (policy, left)).unzip();
        let values = [Some(number(age.as_secs())), Some(status), Some(id), policy, left];
        if self.places_first {
            let places = headers.values_mut().zip(values);
            places.for_each(|(place, value)| value.into_iter().for_each(|value| *place = value));
        } else {
            for (name, value) in OWN.into_iter().zip(values) {
                value.into_iter().for_each(|value| drop(headers.insert(&name, value)));
            }
        }
        if !limited {
            headers.remove(RATELIMIT_POLICY);
            headers.remove(RATELIMIT);
        }
        headers
    }

    /// Those of a 304, for a client that has it already.
    pub fn answer_304(&self, own: Own, age: Duration) -> HeaderMap {
        let mut headers = self.answer(own, age);
        let of_body = |name: &&HeaderName| fields::of(name.as_str()).any(Traits::OF_BODY);
        while let Some(name) = headers.keys().find(of_body).cloned() {
            headers.remove(name);
        }
        headers
    }
}

/// The headers that are stored, each copied: hyper's are slices of whole read buffers.
pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len() + OWN.len() + 1);
    kept.extend(OWN.map(|name| (name, HeaderValue::from_static(""))));
    for (name, value) in headers.iter().filter(|(name, _)| !is_own(name)) {
        kept.append(name.clone(), exact(value));
    }
    if !kept.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        kept.extend(HeaderValue::from_str(&now).map(|now| (header::DATE, now)));
    }
    kept
}

/// Whether the places of [`OWN`] are the first of these fields, in that order.
pub(super) fn places_first(headers: &HeaderMap) -> bool {
    headers.keys().take(OWN.len()).eq(&OWN)
}

/// Whether each answer from the store says it anew.
fn is_own(name: &HeaderName) -> bool {
    fields::of(name.as_str()).any(Traits::NOT_STORED)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_answer_says_anew_is_what_the_table_of_fields_says() {
        let table = fields::TABLE.iter().filter(|(_, traits)| traits.any(Traits::NOT_STORED)).map(|(name, _)| *name);
        let mut own = OWN.map(|name| name.as_str().to_owned());
        own.sort_unstable();
        assert!(table.eq(own));
    }
}
