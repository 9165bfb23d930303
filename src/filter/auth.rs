//! Who calls: an API key in, a consumer out.

mod unknown_keys;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::limit::{Limits, Meter};
use crate::config;
use crate::io::Learnt;
use unknown_keys::UnknownKeys;

/// The header that carries the key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Keys beyond this many bytes are refused unread: nobody has such keys, and reading them costs.
const LONGEST: usize = 256;

/// All consumers, by the digests of their keys.
#[derive(Debug)]
pub struct Auth {
    keys: HashMap<[u8; 32], Arc<Consumer>, foldhash::fast::RandomState>,
    unknown_keys: UnknownKeys,
}

/// Who a key belongs to.
#[derive(Debug)]
pub struct Consumer {
    /// The name that logs and admin show.
    pub name: Arc<str>,
    /// May see `/admin`.
    pub admin: bool,
    /// Its place among all consumers, where its use of limits is kept.
    pub number: u32,
    /// How often it may ask.
    pub plan: Option<Arc<Meter>>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key was sent.
    NoKey,
    /// Nobody has this key.
    UnknownKey,
    /// More than one key was sent.
    SeveralKeys,
    /// Too many unknown keys from this address; they are looked at again after this long.
    TooManyUnknown(Duration),
    /// Known, but without the role.
    NoRole,
}

impl Denied {
    /// The answer's status.
    pub fn status(&self) -> u16 {
        match self {
            Denied::NoKey | Denied::UnknownKey => 401,
            Denied::SeveralKeys => 400,
            Denied::TooManyUnknown(_) => 429,
            Denied::NoRole => 403,
        }
    }

    /// One stable word.
    pub fn reason(&self) -> &'static str {
        match self {
            Denied::NoKey => "no_key",
            Denied::UnknownKey => "unknown_key",
            Denied::SeveralKeys => "several_keys",
            Denied::TooManyUnknown(_) => "too_many_unknown_keys",
            Denied::NoRole => "no_role",
        }
    }

    /// A sentence for the caller.
    pub fn detail(&self) -> &'static str {
        match self {
            Denied::NoKey => "An API key is needed in the header X-API-Key",
            Denied::UnknownKey => "The key in the header X-API-Key is not known",
            Denied::SeveralKeys => "One API key is enough, more than one was sent",
            Denied::TooManyUnknown(_) => "Too many unknown keys came from this address",
            Denied::NoRole => "This key's consumer lacks the role that is needed here",
        }
    }

    /// When it is worth to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Denied::TooManyUnknown(wait) => Some(*wait),
            _ => None,
        }
    }
}

impl Auth {
    /// The consumers of a configuration.
    pub fn new(consumers: &[config::Consumer], limits: &Limits) -> Auth {
        let keys = consumers.iter().flat_map(|written| {
            let consumer = Arc::new(Consumer {
                name: written.name.as_str().into(),
                admin: written.admin,
                number: limits.number(&written.name),
                plan: written.plan.as_ref().and_then(|plan| limits.plan(plan)),
            });
            written.keys.iter().map(move |digest| (*digest, consumer.clone()))
        });
        Auth { keys: keys.collect(), unknown_keys: UnknownKeys::default() }
    }

    /// The consumer whose key a request carries, in `X-API-Key` or `Authorization: ApiKey`.
    ///
    /// # Errors
    /// Why there is none. Only then is anything remembered of the address.
    pub fn check(
        &self,
        headers: &HeaderMap,
        learnt: &Learnt,
        client: IpAddr,
        now: Instant,
    ) -> Result<&Arc<Consumer>, Denied> {
        let key = presented(headers)?.ok_or(Denied::NoKey)?;
        self.known(key, learnt).ok_or_else(|| match self.unknown_keys.count(client, now) {
            Some(wait) => Denied::TooManyUnknown(wait),
            None => Denied::UnknownKey,
        })
    }

    fn known(&self, key: &[u8], learnt: &Learnt) -> Option<&Arc<Consumer>> {
        if key.is_empty() || key.len() > LONGEST {
            return None;
        }
        let before = learnt.digest(key, |known, key| verify_slices_are_equal(known, key).is_ok());
        let given: [u8; 32] = match before {
            Some(digest) => digest,
            None => digest(&SHA256, key).as_ref().try_into().ok()?,
        };
        let consumer = self.keys.get(&given)?;
        if before.is_none() {
            learnt.learn(key, given);
        }
        Some(consumer)
    }
}

fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Denied> {
    let mut key = None;
    for (name, value) in headers {
        let given = match name.as_str() {
            "x-api-key" => value.as_bytes(),
            "authorization" if is_api_key(value) => value.as_bytes()[7..].trim_ascii(),
            _ => continue,
        };
        if key.replace(given).is_some() {
            return Err(Denied::SeveralKeys);
        }
    }
    Ok(key)
}

/// Whether an `Authorization` is ours: it is answered here and goes no further.
pub fn is_api_key(value: &HeaderValue) -> bool {
    value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"apikey "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let key: [u8; 32] = digest(&SHA256, b"right").as_ref().try_into().expect("32 bytes");
        let consumer =
            config::Consumer { name: "shop".into(), keys: vec![key], admin: false, operator: false, plan: None };
        Auth::new(&[consumer], &Limits::new(&config::for_tests(), None))
    }

    fn check(auth: &Auth, lines: &[(&'static str, &str)]) -> Result<String, Denied> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().expect("a header value"));
        }
        auth.check(&headers, &Learnt::default(), [10, 0, 0, 1].into(), Instant::now())
            .map(|consumer| consumer.name.to_string())
    }

    #[test]
    fn a_known_key_names_its_consumer_in_either_header() {
        let auth = auth();
        assert_eq!(check(&auth, &[("x-api-key", "right")]), Ok("shop".into()));
        assert_eq!(check(&auth, &[("authorization", "ApiKey right")]), Ok("shop".into()));
        assert_eq!(check(&auth, &[("authorization", "apikey  right")]), Ok("shop".into()));
        assert_eq!(check(&auth, &[("authorization", "Bearer right"), ("x-api-key", "right")]), Ok("shop".into()));
    }

    #[test]
    fn no_key_a_wrong_one_an_endless_one_and_two_are_told_apart() {
        let auth = auth();
        assert_eq!(check(&auth, &[]), Err(Denied::NoKey));
        assert_eq!(check(&auth, &[("authorization", "Bearer right")]), Err(Denied::NoKey));
        assert_eq!(check(&auth, &[("x-api-key", "wrong")]), Err(Denied::UnknownKey));
        assert_eq!(check(&auth, &[("x-api-key", "")]), Err(Denied::UnknownKey));
        assert_eq!(check(&auth, &[("x-api-key", &"k".repeat(257))]), Err(Denied::UnknownKey));
        assert_eq!(check(&auth, &[("x-api-key", "right"), ("x-api-key", "right")]), Err(Denied::SeveralKeys));
        assert_eq!(
            check(&auth, &[("x-api-key", "right"), ("authorization", "ApiKey right")]),
            Err(Denied::SeveralKeys)
        );
    }

    #[test]
    fn after_twenty_unknown_keys_an_address_gets_429_and_its_known_key_still_passes() {
        let auth = auth();
        for _ in 0..20 {
            assert_eq!(check(&auth, &[("x-api-key", "wrong")]), Err(Denied::UnknownKey));
        }
        assert!(matches!(check(&auth, &[("x-api-key", "wrong")]), Err(Denied::TooManyUnknown(_))));
        assert_eq!(check(&auth, &[("x-api-key", "right")]), Ok("shop".into()));
    }
}
