//! A stored answer: copied to its exact size, so that the store's bound is true.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::body::Blocks;
use super::directives::Directives;
use super::memory::{SHARED, Share, allocation, tables};
use super::policy::{self, Life, Lifetime};
use crate::fields::{self, RATELIMIT, RATELIMIT_POLICY, Traits, X_REQUEST_ID};
use crate::filter::limit::Remaining;
use crate::io::body::Body;

/// The most fields of a stored answer, and the most bytes of their values: what an instance may send at once. Each 304 can add some.
const MOST: (usize, usize) = (100, 64 * 1024);

/// What each answer says anew. Among the fields that are stored these have an empty place: a copy of them is filled and need not
/// grow.
static OWN: [HeaderName; 5] = [header::AGE, header::CACHE_STATUS, X_REQUEST_ID, RATELIMIT_POLICY, RATELIMIT];

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

/// The fields that are stored of an answer.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Those that do not belong to one hop or one request; with places for [`OWN`].
    pub(super) fields: HeaderMap,
    /// What they take of memory.
    taken: usize,
}

/// A stored answer.
#[derive(Debug)]
pub struct Entry {
    /// Its status.
    pub status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Its body, whole.
    pub body: Blocks,
    pub(super) life: Life,
    pub(super) born: Instant,
    /// The service that it came from, or those of an aggregate with a space between them, for whoever clears by service.
    pub(super) service: Arc<str>,
    /// What was cleared and changed when it was asked for.
    pub(super) epoch: super::Epoch,
    /// What it takes of memory besides its body.
    pub(super) share: Share,
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

    /// How long it may be used from now on.
    pub fn left(&self, now: Instant) -> Lifetime {
        let age = self.age(now);
        let said = Directives::of(&self.headers).max_age;
        let fresh = said.map_or(self.life.fresh, |said| said.min(self.life.fresh));
        Lifetime { left: fresh.saturating_sub(age), age, private: false, no_store: false }
    }

    /// It as it came.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(self.body.body());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// Whether it may be given to anybody without asking.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.fresh(now, None)
    }

    pub(super) fn fresh(&self, now: Instant, max_age: Option<Duration>) -> bool {
        let age = self.age(now);
        age < self.life.fresh && max_age.is_none_or(|max| age < max || (age == max && !max.is_zero()))
    }

    /// What it takes of memory, with its body, in bytes.
    pub(super) fn weight(&self) -> u64 {
        (self.share.bytes() + self.body.taken()) as u64
    }

    /// What an entry with these fields takes besides its body and its key: itself, with the counts of its owners, and its fields.
    pub(super) fn taken(kept: &Kept) -> usize {
        allocation(size_of::<Entry>() + size_of::<[usize; 2]>()) + kept.taken
    }

    /// Its fields.
    pub(super) fn kept(&self) -> Kept {
        Kept { fields: self.headers.clone(), taken: self.share.bytes() }
    }

    /// The same with these fields.
    pub(super) fn refreshed(
        &self,
        kept: Kept,
        life: Life,
        (epoch, share): (super::Epoch, Share),
        now: Instant,
    ) -> Entry {
        let (body, service) = (self.body.clone(), self.service.clone());
        Entry { status: self.status, headers: kept.fields, body, life, born: now, service, epoch, share }
    }

    /// Its headers with what a 304 says of them now (RFC 9111 4.3.4); one without a date is of now.
    pub(super) fn headers_after(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = self.headers.clone();
        // The empty places say nothing: what the 304 says of its age counts.
        for name in OWN.iter().chain([&header::DATE]) {
            headers.remove(name);
        }
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

    /// The headers of an answer from the store.
    pub fn answer(&self, own: Own, age: Duration) -> HeaderMap {
        let mut headers = self.headers.clone();
        let Own { status, id, limit } = own;
        let limited = limit.is_some();
        // Their places came first, and a map mostly keeps that order: it need not be searched for them. It promises no order, so each
        // place is taken only by its name.
        let (mut places, mut elsewhere) = (headers.iter_mut(), Vec::new());
        let mut put = |own: &'static HeaderName, value| match places.next() {
            Some((name, place)) if name == own => *place = value,
            _ => elsewhere.push((own, value)),
        };
        put(&OWN[0], number(age.as_secs()));
        put(&OWN[1], status);
        put(&OWN[2], id);
        if let Some(Remaining { policy, left }) = limit {
            put(&OWN[3], policy);
            put(&OWN[4], left);
        }
        for (own, value) in elsewhere {
            headers.insert(own, value);
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

/// The headers that are stored, copied into one buffer of their size: those that came are slices of whole read buffers. `None` when
/// they are too many.
pub(super) fn kept(headers: &HeaderMap) -> Option<Kept> {
    let now = (!headers.contains_key(header::DATE)).then(|| httpdate::fmt_http_date(SystemTime::now()));
    let stored = || headers.iter().filter(|(name, _)| !is_own(name));
    let (count, size) = stored().fold((0, 0), |(count, size), (_, value)| (count + 1, size + value.len()));
    if count > MOST.0 || size > MOST.1 {
        return None;
    }
    let mut values = Vec::with_capacity(size + now.as_ref().map_or(0, String::len));
    stored().for_each(|(_, value)| values.extend_from_slice(value.as_bytes()));
    values.extend_from_slice(now.as_deref().unwrap_or_default().as_bytes());
    let taken = allocation(values.len()) + SHARED;
    let mut values = Bytes::from(values);
    let mut kept = Kept { fields: HeaderMap::with_capacity(count + OWN.len() + 1), taken };
    kept.fields.extend(OWN.iter().map(|name| (name.clone(), HeaderValue::from_static(""))));
    for (name, value) in stored() {
        let copied = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
        // Names that everybody knows lie in the program, others in an allocation of their own.
        if copied.as_str().as_ptr() != name.as_str().as_ptr() {
            kept.taken += allocation(name.as_str().len()) + SHARED;
        }
        let bytes = values.split_to(value.len());
        kept.fields.append(copied, HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone()));
    }
    if now.is_some() {
        kept.fields.extend(HeaderValue::from_maybe_shared(values).map(|now| (header::DATE, now)));
    }
    kept.taken += tables(&kept.fields);
    Some(kept)
}

/// Whether each answer from the store says it anew.
fn is_own(name: &HeaderName) -> bool {
    fields::of(name.as_str()).any(Traits::NOT_STORED)
}

/// The numbers below a hundred, in two digits each.
const DIGITS: &str = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
                      5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/// A number as a header's value. Small ones are in the program: most ages are.
fn number(number: u64) -> HeaderValue {
    if let Some(end @ ..200) = usize::try_from(number).ok().and_then(|number| number.checked_mul(2)) {
        return HeaderValue::from_static(&DIGITS[end + usize::from(number < 10)..end + 2]);
    }
    HeaderValue::from(number)
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
        let mut own = OWN.each_ref().map(HeaderName::as_str);
        own.sort_unstable();
        assert!(table.eq(own));
    }

    #[test]
    fn numbers_are_written_as_their_digits() {
        for written in (0..110).chain([999, 1000, u64::MAX / 2, u64::MAX]) {
            assert_eq!(number(written), written.to_string(), "{written}");
        }
    }

    #[test]
    fn an_answer_is_filled_by_the_names_of_its_fields_in_whatever_order_a_map_has_them() {
        let mut fields = HeaderMap::new();
        for name in ["x-other", "ratelimit", "age", "x-request-id", "ratelimit-policy", "etag", "cache-status"] {
            fields.insert(name, HeaderValue::from_static(""));
        }
        let memory = Arc::new(super::super::memory::Memory::default());
        let life = policy::spent(&HeaderMap::new(), SystemTime::now());
        let entry = Entry {
            status: StatusCode::OK,
            headers: fields,
            body: Blocks::default(),
            life,
            born: Instant::now(),
            service: "orders".into(),
            epoch: super::super::Epoch { clears: 0, slot: 0, changes: 0 },
            share: memory.share(0),
        };
        let limit = Some(Remaining { policy: HeaderValue::from_static("p"), left: HeaderValue::from_static("l") });
        let own = Own { status: HeaderValue::from_static("s"), id: HeaderValue::from_static("i"), limit };
        let answer = entry.answer(own, Duration::from_secs(7));
        let wanted = [("age", "7"), ("cache-status", "s"), ("x-request-id", "i"), ("ratelimit-policy", "p")];
        for (name, value) in wanted.into_iter().chain([("ratelimit", "l"), ("x-other", ""), ("etag", "")]) {
            assert_eq!(answer.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        assert_eq!(answer.len(), 7);
    }
}
