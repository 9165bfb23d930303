//! What `lictor token explain` says.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::config::identity::{ClaimPath, Condition, Demanded};
use crate::issuers::explain::{Explanation, explain};

const SECRET: &str = "a secret of at least 32 characters";

/// A token that is signed with [`SECRET`], whatever its header says.
fn token(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

async fn explained(world: &World, token: &str) -> Explanation {
    let config = world.configs.borrow().clone();
    explain(&config, &world.issuers, token.as_bytes()).await
}

fn in_a_minute() -> u64 {
    (SystemTime::now() + MINUTE).duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_ended_is_explained_as_that_though_its_key_is_gone() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    for (kid, exp, reason) in
        [("gone", 1, "(expired)"), ("gone", in_a_minute(), "(unknown_kid)"), ("a", in_a_minute(), "(bad_signature)")]
    {
        let claims = json!({ "iss": "https://corp.example", "exp": exp });
        let said = explained(&world, &token(&json!({ "alg": "EdDSA", "kid": kid }), &claims)).await;
        let (what, last) = said.lines.last().expect("a verdict");
        assert!(*what == "refused" && last.contains(reason), "{kid} {exp}: {said:?}");
        assert!(said.lines.iter().any(|(what, text)| *what == "keys" && text.starts_with("1 from")), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_fetched_because_the_token_names_it_verifies_the_token() {
    let script = Script::default();
    let world = fetched(&script, &["a"]).await;
    script.says(KEYS, Reply::body(jwks(&["a", "b"])));
    let claims = json!({ "iss": "https://corp.example", "exp": in_a_minute() });
    let said = explained(&world, &token(&json!({ "alg": "EdDSA", "kid": "b" }), &claims)).await;
    assert!(said.lines.last().expect("a verdict").1.contains("(bad_signature)"), "it is not unknown: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn both_roles_that_a_token_gives_are_said() {
    let is = |role: &str| {
        let claim = ClaimPath(vec!["roles".into()]);
        Some(Demanded { claim, condition: Condition::Has(json!(role)) })
    };
    let corp = Issuer {
        keys: Keys::Secret(Secret::Text(SECRET.into()), Encoding::Text),
        consumer: vec![ClaimPath(vec!["sub".into()])],
        admin: is("admin"),
        operator: is("operator"),
        ..issuer("corp", "https://corp.example")
    };
    let world = World::scripted(&Script::default(), vec![corp]);
    for roles in [&["operator"][..], &["admin"], &["admin", "operator"], &[]] {
        let claims = json!({ "iss": "https://corp.example", "sub": "ada", "exp": in_a_minute(), "roles": roles });
        let said = explained(&world, &token(&json!({ "alg": "HS256" }), &claims)).await;
        let found: Vec<_> = said.lines.iter().filter(|(what, _)| *what == "role").map(|(_, role)| &**role).collect();
        assert!(said.holds, "{said:?}");
        assert_eq!(found, roles);
    }
}
