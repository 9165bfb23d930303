//! How long an aggregate may be used, and by whom: as its parts say it, the shortest and the least shareable.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Response, header};

use crate::config::policy::Cache;
use crate::filter::cache::{self, Lifetime};
use crate::io::body::Body;

/// What the head of an answer says, to a request with these fields.
pub(super) fn of(request: &HeaderMap, response: &Response<Body>, policy: &Cache) -> Lifetime {
    cache::lifetime(request, response.status(), response.headers(), policy, SystemTime::now())
}

/// What holds before any part said anything: for ever, for everybody.
pub(super) const UNBOUNDED: Lifetime =
    Lifetime { left: Duration::MAX, age: Duration::ZERO, private: false, no_store: false };

/// What of both holds for something that is made of them.
pub(super) fn both(one: Lifetime, other: Lifetime) -> Lifetime {
    Lifetime {
        left: one.left.min(other.left),
        age: one.age.max(other.age),
        private: one.private || other.private,
        no_store: one.no_store || other.no_store,
    }
}

/// Says it (RFC 9111 section 5.2.2).
pub(super) fn say(life: Lifetime, headers: &mut HeaderMap) {
    let Lifetime { left, age, private, no_store } = life;
    let who = if private { "private, " } else { "" };
    // Of what was made of nothing there is nothing to be said.
    let (left, age) = (if left == Duration::MAX { 0 } else { left.as_secs() }, age.as_secs());
    let control = match left {
        _ if no_store => "no-store".to_owned(),
        0 => format!("{who}no-cache"),
        left => format!("{who}max-age={}", left.saturating_add(age)),
    };
    headers.extend(HeaderValue::from_str(&control).map(|control| (header::CACHE_CONTROL, control)));
    if age > 0 && left > 0 && !no_store {
        headers.insert(header::AGE, age.into());
    }
}
