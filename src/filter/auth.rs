//! Who calls: finds the consumer whose API key a request carries.

mod unknown_keys;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Passing, Refusal, Step};
use tokio::time::Instant;

use crate::config;
use crate::io::Learnt;
use crate::request::{Consumer, LimitsKey, Roles, Source};
use unknown_keys::UnknownKeys;

/// The scheme of an `Authorization` with a key (RFC 9110 section 11.1).
const SCHEME: &[u8] = b"ApiKey";

/// Keys of more bytes than this are unknown without a look: nobody has such a key, and to digest it would cost time.
const LONGEST: usize = 256;

/// The consumers of a configuration, by the SHA-256 digests of their keys.
#[derive(Debug)]
pub struct Auth {
    keys: HashMap<[u8; 32], Arc<Consumer>, foldhash::fast::RandomState>,
    unknown_keys: UnknownKeys,
}

/// Why a request is refused before it reaches its route's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key was sent.
    NoKey,
    /// No consumer has this key.
    UnknownKey,
    /// More than one key was sent.
    SeveralKeys,
    /// This address has sent too many unknown keys; after so long it may try again.
    TooManyUnknown(Duration),
    /// The key is known, but its consumer lacks the role.
    NoRole,
}

impl Denied {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Denied::NoKey | Denied::UnknownKey => 401,
            Denied::SeveralKeys => 400,
            Denied::TooManyUnknown(_) => 429,
            Denied::NoRole => 403,
        }
    }

    /// A stable word for the access line and the problem page.
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

    /// After how long another request may succeed, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Denied::TooManyUnknown(wait) => Some(*wait),
            _ => None,
        }
    }
}

/// Finds out who asks.
pub(super) fn before(auth: &Auth, passing: &mut Passing<'_>) -> Step {
    let Passing { head, client, facts, .. } = passing;
    match auth.check(&head.headers, &client.learnt, facts.client, facts.began) {
        Ok(consumer) => {
            facts.consumer = Some(consumer.clone());
            Step::Continue
        }
        Err(denied) => Step::Refuse(denied.into()),
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let challenge = HeaderValue::from_static("ApiKey header=\"X-API-Key\"");
        Refusal {
            status,
            reason: denied.reason(),
            detail: denied.detail(),
            retry_after: denied.retry_after(),
            challenge: (status == StatusCode::UNAUTHORIZED).then_some(challenge),
        }
    }
}

impl Auth {
    /// Takes the consumers of a configuration.
    pub fn new(consumers: &[config::Consumer]) -> Auth {
        let keys = consumers.iter().flat_map(|written| {
            let consumer = Arc::new(identity(written));
            written.keys.iter().map(move |digest| (*digest, consumer.clone()))
        });
        Auth { keys: keys.collect(), unknown_keys: UnknownKeys::default() }
    }

    /// The consumer whose key a request carries, in `X-API-Key` or `Authorization: ApiKey`.
    ///
    /// # Errors
    /// When there is no such consumer. Only an unknown key is counted, for the client's address.
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

    /// The consumer of a key. Of each connection's last key the digest is kept, so that only another key is digested.
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

/// A consumer as the configuration describes them.
fn identity(written: &config::Consumer) -> Consumer {
    Consumer {
        name: written.name.as_str().into(),
        tenant: None,
        plan: written.plan.as_ref().map(|plan| plan.name.clone()),
        roles: Roles { admin: written.admin, operator: written.operator },
        limits_key: LimitsKey::of(Source::Configuration, &written.name),
        source: Source::Configuration,
    }
}

/// The one key that a request carries.
fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Denied> {
    let mut key = None;
    for (name, value) in headers {
        let given = match name.as_str() {
            "x-api-key" => value.as_bytes(),
            "authorization" if is_api_key(value) => value.as_bytes()[SCHEME.len()..].trim_ascii(),
            _ => continue,
        };
        if key.replace(given).is_some() {
            return Err(Denied::SeveralKeys);
        }
    }
    Ok(key)
}

/// Whether an `Authorization` is meant for the gateway, also one without a key: then it is not forwarded. A scheme ends with a space, or
/// with what some take for one.
pub fn is_api_key(value: &HeaderValue) -> bool {
    let (scheme, rest) = value.as_bytes().split_at(SCHEME.len().min(value.len()));
    scheme.eq_ignore_ascii_case(SCHEME) && matches!(rest, [] | [b' ' | b'\t', ..])
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::fields::X_API_KEY;

    fn auth() -> Auth {
        let key: [u8; 32] = digest(&SHA256, b"right").as_ref().try_into().expect("32 bytes");
        let consumer =
            config::Consumer { name: "shop".into(), keys: vec![key], admin: false, operator: false, plan: None };
        Auth::new(&[consumer])
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
        assert_eq!(check(&auth, &[("authorization", "APIKEY\tright")]), Ok("shop".into()));
        assert_eq!(check(&auth, &[("authorization", "Bearer right"), ("x-api-key", "right")]), Ok("shop".into()));
    }

    #[test]
    fn a_consumer_is_an_identity_of_its_own_with_its_plans_name_its_roles_and_a_limits_key_by_its_name() {
        let plan = config::LimitSet { name: "silver".into(), limits: Vec::new() };
        let key: [u8; 32] = digest(&SHA256, b"right").as_ref().try_into().expect("32 bytes");
        let written = config::Consumer {
            name: "shop".into(),
            keys: vec![key],
            admin: false,
            operator: true,
            plan: Some(Arc::new(plan)),
        };
        let auth = Auth::new(&[written]);
        let headers = HeaderMap::from_iter([(X_API_KEY, HeaderValue::from_static("right"))]);
        let found = auth.check(&headers, &Learnt::default(), [10, 0, 0, 1].into(), Instant::now());
        let expected = Consumer {
            name: "shop".into(),
            tenant: None,
            plan: Some("silver".into()),
            roles: Roles { admin: false, operator: true },
            limits_key: LimitsKey::of(Source::Configuration, "shop"),
            source: Source::Configuration,
        };
        assert_eq!(**found.expect("it is known"), expected);
    }

    #[test]
    fn no_key_a_wrong_one_an_endless_one_and_two_are_told_apart() {
        let auth = auth();
        assert_eq!(check(&auth, &[]), Err(Denied::NoKey));
        assert_eq!(check(&auth, &[("authorization", "Bearer right")]), Err(Denied::NoKey));
        assert_eq!(check(&auth, &[("authorization", "ApiKey")]), Err(Denied::UnknownKey));
        assert_eq!(check(&auth, &[("authorization", "ApiKeys right")]), Err(Denied::NoKey));
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
