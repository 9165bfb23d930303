//! Opaque tokens: what an issuer answers about them (RFC 7662), held to the rules of signed ones.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{AUDIENCE, ISS, NOW, issuer, now, one_of};
use crate::config::Secret;
use crate::config::identity::{Audience, Dpop, Introspection, Iss, Issuer};
use crate::token::{Claims, Rejection};

fn opaque() -> Issuer {
    let opaque = Introspection {
        url: "https://login.example.com/introspect".to_owned(),
        client: "lictor".to_owned(),
        secret: Secret::Text("hush".to_owned()),
        remember: Duration::from_secs(30),
    };
    Issuer { opaque: Some(opaque), ..issuer() }
}

fn answer(value: &Value) -> Result<Claims, Rejection> {
    Claims::introspected(value.to_string().as_bytes(), &opaque(), now())
}

#[test]
fn an_active_token_holds_until_its_end_or_as_long_as_it_is_remembered() {
    let active =
        json!({ "active": true, "sub": "ada", "aud": AUDIENCE, "scope": "orders:read", "iss": ISS, "exp": NOW + 300 });
    let claims = answer(&active).expect("it holds");
    assert_eq!(claims.expires(), UNIX_EPOCH + Duration::from_secs(NOW as u64 + 300));
    assert!(claims.has_scope(&opaque(), "orders:read"));
    let without = answer(&json!({ "active": true, "sub": "ada", "aud": AUDIENCE })).expect("it holds");
    assert_eq!(without.expires(), now() + Duration::from_secs(30));
}

#[test]
fn an_answer_that_says_no_or_that_the_rules_refuse_is_a_rejection_for_its_own_reason() {
    let active = |name: &str, value: Value| {
        let mut answer = json!({ "active": true, "sub": "ada", "aud": AUDIENCE });
        answer[name] = value;
        answer
    };
    for (said, why) in [
        (json!({ "active": false }), Rejection::Inactive),
        (json!({ "active": "true", "aud": AUDIENCE }), Rejection::IssuerUnavailable),
        (json!({ "active": 1, "aud": AUDIENCE }), Rejection::IssuerUnavailable),
        (json!({ "sub": "ada", "aud": AUDIENCE }), Rejection::IssuerUnavailable),
        (json!([]), Rejection::IssuerUnavailable),
        (json!({ "active": true, "sub": "ada" }), Rejection::Audience),
        (active("aud", json!("other")), Rejection::Audience),
        (active("exp", json!(NOW - 31)), Rejection::Expired),
        (active("nbf", json!(NOW + 31)), Rejection::NotYetValid),
        (active("iss", json!("https://evil.example")), Rejection::UnknownIssuer),
        (active("typ", json!("Refresh")), Rejection::Kind),
        (active("cnf", json!({ "jkt": "x" })), Rejection::Bound),
        (active("token_use", json!("refresh_token")), Rejection::Kind),
        (active("token_type", json!("refresh_token")), Rejection::Kind),
        (active("nonce", json!("n-0S6_WzA2Mj")), Rejection::Kind),
        (active("aud", json!(null)), Rejection::Audience),
        (active("active", json!(null)), Rejection::IssuerUnavailable),
    ] {
        assert_eq!(answer(&said).err(), Some(why), "{said}");
    }
    let twice = br#"{"active":false,"active":true,"aud":"https://api.example.com"}"#;
    assert_eq!(Claims::introspected(twice, &opaque(), now()).err(), Some(Rejection::IssuerUnavailable));
}

#[test]
fn a_member_that_is_null_in_an_answer_is_as_good_as_none() {
    let nulls = json!({
        "active": true, "aud": AUDIENCE, "sub": null, "scope": null, "scp": ["orders:read"], "iss": null, "exp": null, "nbf": null,
        "iat": null, "jti": null, "cnf": null, "typ": null, "token_type": null, "token_use": null, "nonce": null,
    });
    let claims = answer(&nulls).expect("it holds");
    assert_eq!((claims.cnf_jkt(), claims.expires()), (None, now() + Duration::from_secs(30)));
    assert!(claims.has_scope(&opaque(), "orders:read"));
    let require = Issuer { dpop: Dpop::Require, ..opaque() };
    let answered = Claims::introspected(nulls.to_string().as_bytes(), &require, now());
    assert_eq!(answered.err(), Some(Rejection::Unbound), "null binds to no key");
}

#[test]
fn of_several_tenants_an_answer_must_say_whose_token_it_is() {
    let iss = Iss::Pattern { before: "https://a/".into(), after: "".into(), values: vec!["one".into()] };
    let tenants = Issuer { iss, ..opaque() };
    let asked = |iss: Value| {
        let said = json!({ "active": true, "aud": AUDIENCE, "sub": "alice", "iss": iss });
        Claims::introspected(said.to_string().as_bytes(), &tenants, now()).err()
    };
    assert_eq!(asked(json!("https://a/one")), None);
    for other in [json!("https://a/two"), json!(null)] {
        assert_eq!(asked(other), Some(Rejection::UnknownIssuer));
    }
}

#[test]
fn an_access_token_of_keycloak_s_may_have_a_nonce_in_an_answer_too() {
    let answered = answer(&json!({ "active": true, "aud": AUDIENCE, "typ": "Bearer", "nonce": "n-0S6_WzA2Mj" }));
    assert!(answered.is_ok(), "{answered:?}");
}

#[test]
fn an_opaque_token_may_be_bound_as_a_signed_one_is() {
    let bound = json!({ "active": true, "aud": AUDIENCE, "cnf": { "jkt": "thumb" } });
    let accept = Issuer { dpop: Dpop::Accept, ..opaque() };
    let claims = Claims::introspected(bound.to_string().as_bytes(), &accept, now()).expect("it holds");
    assert_eq!(claims.cnf_jkt(), Some("thumb"));
}

#[test]
fn where_nobody_looks_whom_a_token_is_for_its_answer_must_say_that_it_is_an_access_token() {
    let mut unchecked = Issuer { audience: Audience::Unchecked, ..opaque() };
    unchecked.require = vec![one_of(&["client_id"], &[json!("shop")])];
    let answered = |issuer: &Issuer, marks: Value| {
        let mut said = json!({ "active": true, "sub": "ada", "client_id": "shop" });
        said.as_object_mut().expect("an object").extend(marks.as_object().expect("an object").clone());
        Claims::introspected(said.to_string().as_bytes(), issuer, now()).err()
    };
    for marks in [
        json!({ "token_type": "Bearer" }),
        json!({ "token_type": "DPoP" }),
        json!({ "token_type": "access_token" }),
        json!({ "token_type": "urn:ietf:params:oauth:token-type:Access_Token" }),
        json!({ "typ": "Bearer" }),
        json!({ "typ": "at+jwt" }),
        json!({ "token_use": "access" }),
        json!({ "token_use": "access_token", "typ": null }),
    ] {
        assert_eq!(answered(&unchecked, marks.clone()), None, "{marks}");
    }
    for marks in [
        json!({}),
        json!({ "token_type": null }),
        json!({ "token_type": "N_A" }),
        json!({ "token_type": "urn:ietf:params:oauth:token-type:jwt" }),
        json!({ "token_type": "urn:ietf:params:oauth:token-type:refresh_token" }),
        json!({ "token_type": "Bearer", "typ": "Refresh" }),
        json!({ "token_type": "Bearer", "token_use": "refresh" }),
    ] {
        assert_eq!(answered(&unchecked, marks.clone()), Some(Rejection::Kind), "{marks}");
    }
    // What an entry requires of such a claim is what its issuer's access tokens say there.
    unchecked.require.push(one_of(&["typ"], &[json!("corp-access")]));
    assert_eq!(answered(&unchecked, json!({ "typ": "corp-access" })), None);
    assert_eq!(answered(&unchecked, json!({ "typ": "corp-refresh" })), Some(Rejection::Required));
}
