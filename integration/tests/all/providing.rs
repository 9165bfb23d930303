//! A certified OpenID provider that nobody here wrote: its keys and tokens of each kind are what these tests take them for. And the token that
//! is measured with.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use integration::provider::Provider;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use lictor::config::identity::{Audience, ClaimPath, Dpop, Iss, Issuer, Keys};
use lictor::token::proof::Proof;
use lictor::token::{KeySet, Rejection, Unverified};
use mock_services::issuer::{Algorithm, Prover};
use serde_json::{Value, json};

/// The claims of a token that a key of this set has signed.
fn verified(token: &str, keys: &Value, audience: &str) -> Result<Value, String> {
    let keys: JwkSet = serde_json::from_value(keys.clone()).map_err(|error| error.to_string())?;
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let jwk = keys.find(header.kid.as_deref().unwrap_or_default()).ok_or("no such key")?;
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[audience]);
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    decode(token, &key, &rules).map(|token| token.claims).map_err(|error| error.to_string())
}

fn text(answer: &Value) -> &str {
    answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn jwts_of_a_real_provider_are_signed_by_the_keys_that_its_discovery_names() {
    let Some(provider) = Provider::start().await else { return };
    let metadata = provider.get("/.well-known/openid-configuration").await;
    assert_eq!(metadata["issuer"], provider.url.as_str());
    let path = metadata["jwks_uri"].as_str().and_then(|uri| uri.strip_prefix(&provider.url)).expect("at its origin");
    let keys = provider.get(path).await;
    for kind in ["RS256", "ES256", "EdDSA"] {
        let answer = provider.token(kind, "orders:read orders:write", None).await;
        assert_eq!(json!(decode_header(text(&answer)).unwrap().alg), json!(kind));
        let claims = verified(text(&answer), &keys, &format!("urn:lictor:{kind}")).unwrap();
        assert_eq!((&claims["iss"], &claims["scope"]), (&json!(provider.url), &json!("orders:read orders:write")));
        assert_eq!(claims["client_id"], "gateway");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_provider_shows_old_keys_beside_new_ones_for_as_long_as_it_is_told() {
    let Some(provider) = Provider::start().await else { return };
    let old = provider.token("ES256", "orders:read", None).await;
    provider.rotate(1).await;
    let keys = provider.get("/jwks").await;
    let new = provider.token("ES256", "orders:read", None).await;
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(6));
    assert!(verified(text(&old), &keys, "urn:lictor:ES256").is_ok());
    assert!(verified(text(&new), &keys, "urn:lictor:ES256").is_ok());
    assert_ne!(decode_header(text(&old)).unwrap().kid, decode_header(text(&new)).unwrap().kid);
    provider.rotate(0).await;
    let keys = provider.get("/jwks").await;
    assert_eq!(verified(text(&new), &keys, "urn:lictor:ES256").unwrap_err(), "no such key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_provider_explains_an_opaque_token_until_it_is_revoked_and_over_a_rotation() {
    let Some(provider) = Provider::start().await else { return };
    let answer = provider.token("opaque", "orders:read", None).await;
    assert_eq!(text(&answer).split('.').count(), 1);
    provider.rotate(0).await;
    let meaning = provider.introspect(text(&answer)).await;
    let said = ["active", "client_id", "scope", "aud", "iss"].map(|name| meaning[name].clone());
    let meant = json!([true, "gateway", "orders:read", "urn:lictor:opaque", provider.url]);
    assert_eq!(json!(said), meant);
    provider.revoke(text(&answer)).await;
    assert_eq!(provider.introspect(text(&answer)).await, json!({ "active": false }));
    assert_eq!(provider.introspect("nonsense").await, json!({ "active": false }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_provider_binds_tokens_to_the_key_of_a_proof_as_the_mock_issuer_makes_it() {
    let Some(provider) = Provider::start().await else { return };
    let uri = format!("{}/token", provider.url);
    for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
        let prover = Prover::new(algorithm);
        let answer = provider.token("RS256", "orders:read", Some(&prover.proof("POST", &uri, None))).await;
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        let claims = verified(text(&answer), &provider.get("/jwks").await, "urn:lictor:RS256").unwrap();
        assert_eq!(claims["cnf"]["jkt"], prover.thumbprint());
        let answer = provider.token("opaque", "orders:read", Some(&prover.proof("POST", &uri, None))).await;
        assert_eq!(provider.introspect(text(&answer)).await["cnf"]["jkt"], prover.thumbprint());
        let wrong = provider.token("RS256", "orders:read", Some(&prover.proof("GET", &uri, None))).await;
        assert_eq!(wrong["error"], "invalid_dpop_proof");
    }
}

/// An issuer as a configuration names it, with nothing but what is needed.
fn issuer(iss: &str, audience: &[&str]) -> Issuer {
    Issuer {
        name: "provider".into(),
        iss: Iss::Exact(iss.into()),
        keys: Keys::Discovery,
        keys_origin: Vec::new(),
        audience: Audience::OneOf(audience.iter().copied().map(Arc::from).collect()),
        admin_audience: Vec::new(),
        require: Vec::new(),
        typ: vec!["at+jwt".into()],
        algorithms: None,
        leeway: Duration::from_secs(30),
        consumer: vec![path("sub")],
        tenant: None,
        scopes_from: vec![path("scope")],
        plan: None,
        admin: None,
        operator: None,
        forward: Vec::new(),
        opaque: None,
        dpop: Dpop::Accept,
    }
}

fn path(name: &str) -> ClaimPath {
    ClaimPath(vec![Arc::from(name)])
}

#[tokio::test(flavor = "multi_thread")]
async fn lictor_takes_a_real_providers_tokens_and_proofs_and_does_not_know_the_keys_of_the_next_rotation() {
    let Some(provider) = Provider::start().await else { return };
    let issuer = issuer(&provider.url, &["urn:lictor:RS256", "urn:lictor:ES256", "urn:lictor:EdDSA"]);
    let keys = KeySet::parse(provider.get("/jwks").await.to_string().as_bytes(), &issuer).unwrap();
    assert_eq!((keys.keys.len(), keys.left_out.len()), (3, 0), "{:?}", keys.left_out);
    let prover = Prover::new(Algorithm::ES256);
    for kind in ["RS256", "ES256", "EdDSA"] {
        let proof = prover.proof("POST", &format!("{}/token", provider.url), None);
        let answer = provider.token(kind, "orders:read", Some(&proof)).await;
        let token = text(&answer).as_bytes();
        let claims = Unverified::read(token).unwrap().verify(&issuer, &keys, SystemTime::now()).unwrap();
        assert_eq!((claims.scopes(&issuer), claims.cnf_jkt()), (vec!["orders:read"], Some(prover.thumbprint())));
        let proof = prover.proof("GET", "https://api.example.com/orders", Some(text(&answer)));
        let proof = Proof::read(proof.as_bytes()).unwrap();
        let now = SystemTime::now();
        proof.verify("GET", "https://api.example.com/orders", token, now, prover.thumbprint()).unwrap();
        let wrong = proof.verify("POST", "https://api.example.com/orders", token, now, prover.thumbprint());
        assert!(wrong.is_err());
    }
    provider.rotate(1).await;
    let answer = provider.token("ES256", "orders:read", None).await;
    let unverified = Unverified::read(text(&answer).as_bytes()).unwrap();
    assert_eq!(unverified.verify(&issuer, &keys, SystemTime::now()).unwrap_err(), Rejection::UnknownKey);
    let next = KeySet::parse(provider.get("/jwks").await.to_string().as_bytes(), &issuer).unwrap();
    let unverified = Unverified::read(text(&answer).as_bytes()).unwrap();
    assert!(unverified.verify(&issuer, &next, SystemTime::now()).is_ok());
}

#[test]
fn the_token_that_is_measured_with_is_held_by_the_key_beside_it_until_2100() {
    let issuer = issuer("https://issuer.example.com", &["https://api.example.com"]);
    let keys = KeySet::parse(include_bytes!("../../measure/jwt.jwks"), &issuer).unwrap();
    let token = include_str!("../../measure/jwt.token").trim().as_bytes();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let claims = Unverified::read(token).unwrap().verify(&issuer, &keys, SystemTime::now()).unwrap();
    assert_eq!(claims.expires(), at(4_102_444_800));
    let late = Unverified::read(token).unwrap().verify(&issuer, &keys, at(4_102_444_800 + 60));
    assert_eq!(late.unwrap_err(), Rejection::Expired);
}
