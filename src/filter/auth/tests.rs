//! API keys: which consumer they name, and what becomes of those that nobody has.

mod passwords;
mod providers;
mod tokens;

use http::{HeaderName, HeaderValue};

use super::*;
use crate::fields::X_API_KEY;

fn auth() -> Auth {
    let key: [u8; 32] = digest(&SHA256, b"right").as_ref().try_into().expect("32 bytes");
    let consumer = config::Consumer {
        name: "shop".into(),
        keys: vec![key],
        password: None,
        admin: false,
        operator: false,
        plan: None,
    };
    of(consumer)
}

fn of(consumer: config::Consumer) -> Auth {
    let config = Config { consumers: vec![consumer], ..config::for_tests() };
    Auth::new(&config, &Arc::default(), &Arc::new(Shared::new(None, Counts::new(1))))
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
        password: None,
        admin: false,
        operator: true,
        plan: Some(Arc::new(plan)),
    };
    let auth = of(written);
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
    assert_eq!(check(&auth, &[("x-api-key", "right"), ("authorization", "ApiKey right")]), Err(Denied::SeveralKeys));
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
