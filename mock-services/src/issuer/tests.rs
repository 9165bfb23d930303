//! What an issuer answers, and that its tokens are what they are said to be: verified by jsonwebtoken.

use jsonwebtoken::jwk::{JwkSet, ThumbprintHash};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use reqwest::header::{ALLOW, CACHE_CONTROL, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Algorithm, Prover, Rotation, Wanted};
use crate::Issuer;

struct Stand {
    issuer: Issuer,
    http: Client,
}

impl Stand {
    async fn new() -> Stand {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder().no_proxy().build().unwrap();
        Stand { issuer: Issuer::start(0).await.unwrap(), http }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.url())
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(self.at(path)).send().await.unwrap().json().await.unwrap()
    }

    /// A POST of a form, as the client `gateway`.
    fn post(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = self.http.post(self.at(path)).basic_auth("gateway", Some("gateway-secret"));
        request.header("content-type", "application/x-www-form-urlencoded").body(body.finish())
    }

    async fn token(&self, form: &[(&str, &str)]) -> Value {
        let form = [&[("grant_type", "client_credentials")], form].concat();
        json_of(self.post("/token", &form).send().await.unwrap()).await
    }

    async fn introspect(&self, token: &str) -> Value {
        json_of(self.post("/introspect", &[("token", token)]).send().await.unwrap()).await
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        json_of(self.http.post(self.at(path)).json(&body).send().await.unwrap()).await
    }
}

async fn json_of(response: Response) -> Value {
    response.json().await.unwrap()
}

/// The claims of a token that a key of this set has signed, for this audience.
fn verified(token: &str, keys: &Value, audience: &str) -> Result<Value, String> {
    let keys: JwkSet = serde_json::from_value(keys.clone()).map_err(|error| error.to_string())?;
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let jwk = keys.find(header.kid.as_deref().unwrap_or_default()).ok_or("no such key")?;
    let mut rules = Validation::new(header.alg);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    decode(token, &key, &rules).map(|token| token.claims).map_err(|error| error.to_string())
}

const API: &str = "https://api.example.com";

#[tokio::test]
async fn tokens_of_each_algorithm_are_verified_by_the_keys_that_discovery_names() {
    let stand = Stand::new().await;
    let metadata = stand.get("/.well-known/openid-configuration").await;
    assert_eq!(metadata["issuer"], stand.issuer.url());
    let keys = json_of(stand.http.get(metadata["jwks_uri"].as_str().unwrap()).send().await.unwrap()).await;
    assert_eq!(keys, stand.issuer.keys());
    assert!(!keys.to_string().contains("\"d\""), "a private key is shown");
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let answer = stand.token(&[("scope", "orders:read orders:write"), ("alg", algorithm)]).await;
        let token = answer["access_token"].as_str().unwrap();
        let header = decode_header(token).unwrap();
        assert_eq!((header.typ.as_deref(), json!(header.alg)), (Some("at+jwt"), json!(algorithm)));
        let claims = verified(token, &keys, API).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(stand.issuer.url()), &json!("gateway")));
        assert_eq!((&claims["scope"], &answer["scope"]), (&answer["scope"], &json!("orders:read orders:write")));
        assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("Bearer"), &json!(300)));
        assert!(verified(token, &keys, "https://another.example.com").is_err());
    }
    assert_eq!((stand.issuer.asked("/token"), stand.issuer.asked("/jwks")), (3, 1));
}

#[tokio::test]
async fn a_path_before_an_endpoint_belongs_to_the_issuers_name() {
    let stand = Stand::new().await;
    let metadata = stand.get("/acme/v2/.well-known/openid-configuration").await;
    assert_eq!(metadata["issuer"], stand.at("/acme/v2"));
    let form = [("grant_type", "client_credentials"), ("resource", "urn:orders")];
    let answer = json_of(stand.post("/acme/v2/token", &form).send().await.unwrap()).await;
    let claims = verified(answer["access_token"].as_str().unwrap(), &stand.get("/acme/v2/jwks").await, "urn:orders");
    assert_eq!(claims.unwrap()["iss"], stand.at("/acme/v2"));
}

#[tokio::test]
async fn a_client_without_its_secret_gets_no_token_and_no_explanation() {
    let stand = Stand::new().await;
    for path in ["/token", "/introspect", "/revoke"] {
        let none = stand.http.post(stand.at(path)).body("grant_type=client_credentials&token=x");
        let wrong = stand.http.post(stand.at(path)).basic_auth("gateway", Some("secret")).body("token=x");
        for request in [none, wrong] {
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.headers().contains_key(WWW_AUTHENTICATE)), (401, true));
        }
        let answer = stand.http.get(stand.at(path)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()[ALLOW]), (405, &"POST".parse().unwrap()));
    }
    let body = "grant_type=client_credentials&client_id=a%20b&client_secret=a%20b-secret";
    let answer = json_of(stand.http.post(stand.at("/token")).body(body).send().await.unwrap()).await;
    let claims = verified(answer["access_token"].as_str().unwrap(), &stand.issuer.keys(), API).unwrap();
    assert_eq!(claims["client_id"], "a b");
    let answer = json_of(stand.post("/token", &[("grant_type", "password")]).send().await.unwrap()).await;
    assert_eq!(answer["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn opaque_tokens_and_jwts_are_explained_until_they_are_revoked_or_expire() {
    let stand = Stand::new().await;
    for form in [&[("scope", "read"), ("format", "opaque")][..], &[("scope", "read")]] {
        let answer = stand.token(form).await;
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(token.split('.').count(), if form.len() == 2 { 1 } else { 3 });
        let meaning = stand.introspect(token).await;
        let expected = (json!(true), json!("read"), json!("gateway"), json!("Bearer"));
        let said = ["active", "scope", "client_id", "token_type"].map(|name| meaning[name].clone());
        assert_eq!(said, <[Value; 4]>::from(expected));
        let revoked = stand.post("/revoke", &[("token", token)]).send().await.unwrap();
        assert_eq!((revoked.status().as_u16(), &revoked.headers()[CACHE_CONTROL]), (200, &"no-store".parse().unwrap()));
        assert_eq!(stand.introspect(token).await, json!({ "active": false }));
    }
    let old = stand.issuer.token(&Wanted { opaque: true, ..Wanted::with(json!({ "exp": 1 })) });
    let forged = stand.issuer.token(&Wanted { forged: true, ..Wanted::default() });
    for token in [&old, &forged, "nonsense", "a.b.c"] {
        assert_eq!(stand.introspect(token).await, json!({ "active": false }), "{token}");
    }
}

#[tokio::test]
async fn a_rotation_replaces_keys_and_shows_the_old_ones_for_as_long_as_is_wanted() {
    let stand = Stand::new().await;
    let token = stand.issuer.token(&Wanted { algorithm: Algorithm::ES256, ..Wanted::default() });
    let shown = stand.command("/_mock/rotate", json!({ "algorithm": "ES256", "keep": 1 })).await;
    assert_eq!(shown["shown"].as_array().unwrap().len(), 4);
    assert!(verified(&token, &stand.get("/jwks").await, API).is_ok(), "the old key is shown still");
    let newer = stand.issuer.token(&Wanted { algorithm: Algorithm::ES256, ..Wanted::default() });
    assert_ne!(decode_header(&token).unwrap().kid, decode_header(&newer).unwrap().kid);
    let shown = stand.issuer.rotate(Rotation { algorithm: Some(Algorithm::ES256), keep: 0, ahead: false });
    assert_eq!(shown.len(), 3);
    assert_eq!(verified(&token, &stand.get("/jwks").await, API).unwrap_err(), "no such key");
    // The issuer itself knows what it has signed.
    assert_eq!(stand.introspect(&token).await["active"], true);
    assert_eq!(stand.issuer.rotate(Rotation::default()).len(), 6);
}

#[tokio::test]
async fn keys_that_are_shown_ahead_sign_from_the_next_rotation_on() {
    let stand = Stand::new().await;
    let wanted = Wanted { algorithm: Algorithm::EdDSA, ..Wanted::default() };
    let (only, kid) = (Some(Algorithm::EdDSA), |token: &str| decode_header(token).unwrap().kid);
    let before = kid(&stand.issuer.token(&wanted));
    let shown = stand.issuer.rotate(Rotation { algorithm: only, keep: 1, ahead: true });
    assert_eq!((shown.len(), kid(&stand.issuer.token(&wanted))), (4, before.clone()));
    let known = stand.get("/jwks").await;
    stand.issuer.rotate(Rotation { algorithm: only, keep: 1, ahead: false });
    let token = stand.issuer.token(&wanted);
    assert_ne!(kid(&token), before);
    assert!(verified(&token, &known, API).is_ok(), "the keys that were read before it signed have it");
    assert_eq!(stand.issuer.keys()["keys"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_token_is_bound_to_the_key_that_its_client_proves_to_have() {
    let stand = Stand::new().await;
    let uri = stand.at("/token");
    let form = [("grant_type", "client_credentials")];
    for algorithm in Algorithm::ALL {
        let prover = Prover::new(algorithm);
        let request = stand.post("/token", &form).header("DPoP", prover.proof("POST", &uri, None));
        let answer = json_of(request.send().await.unwrap()).await;
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        let claims = verified(token, &stand.issuer.keys(), API).unwrap();
        assert_eq!(claims["cnf"], json!({ "jkt": prover.thumbprint() }));
        let key = decode_header(prover.proof("GET", "http://x/", Some(token))).unwrap().jwk.unwrap();
        assert_eq!(key.thumbprint(ThumbprintHash::SHA256).unwrap(), prover.thumbprint());
        assert_eq!(stand.introspect(token).await["cnf"], claims["cnf"]);
    }
    let prover = Prover::new(Algorithm::ES256);
    let none = json!({});
    for (header, claims) in [
        (none.clone(), json!({ "htm": "GET" })),
        (none.clone(), json!({ "htu": "http://another.example.com/token" })),
        (none.clone(), json!({ "iat": 1 })),
        (none.clone(), json!({ "jti": null })),
        (json!({ "typ": "JWT" }), none.clone()),
        (json!({ "jwk": null }), none.clone()),
    ] {
        let proof = prover.proof_but("POST", &uri, None, &header, &claims);
        let answer = json_of(stand.post("/token", &form).header("DPoP", proof).send().await.unwrap()).await;
        assert_eq!(answer["error"], "invalid_dpop_proof", "{header} {claims}");
    }
    let other = decode_header(Prover::new(Algorithm::ES256).proof("POST", &uri, None)).unwrap().jwk.unwrap();
    let proof = prover.proof_but("POST", &uri, None, &json!({ "jwk": other }), &none);
    let answer = json_of(stand.post("/token", &form).header("DPoP", proof).send().await.unwrap()).await;
    assert_eq!(answer["error_description"], "the proof's signature is wrong");
}

#[tokio::test]
async fn any_token_is_signed_on_command_and_a_forged_one_is_no_token() {
    let stand = Stand::new().await;
    let wanted = json!({ "claims": { "aud": "urn:x", "jti": null, "realm_access": { "roles": ["a"] } }, "header": { "typ": "JWT" } });
    let answer = stand.command("/_mock/token", wanted).await;
    let token = answer["access_token"].as_str().unwrap();
    let claims = verified(token, &stand.issuer.keys(), "urn:x").unwrap();
    assert_eq!((&claims["realm_access"]["roles"][0], claims.get("jti")), (&json!("a"), None));
    assert_eq!(decode_header(token).unwrap().typ.as_deref(), Some("JWT"));
    let forged = stand.issuer.token(&Wanted { forged: true, ..Wanted::with(json!({ "aud": "urn:x" })) });
    assert_eq!(verified(&forged, &stand.issuer.keys(), "urn:x").unwrap_err(), "InvalidSignature");
    let mistake = stand.http.post(stand.at("/_mock/token")).json(&json!({ "claim": {} })).send().await.unwrap();
    assert_eq!(mistake.status().as_u16(), 400);
}

#[tokio::test]
async fn discovery_and_keys_say_what_they_are_told_to_say() {
    let stand = Stand::new().await;
    let settings =
        json!({ "issuer": "https://another.example.com", "jwks_uri": "http://10.0.0.1/", "keys": [], "max_age_s": 60 });
    let said = stand.command("/_mock/settings", settings).await;
    assert_eq!((&said["lifetime_s"], &said["max_age_s"]), (&json!(300), &json!(60)));
    let metadata = stand.get("/.well-known/oauth-authorization-server").await;
    assert_eq!(
        (&metadata["issuer"], &metadata["jwks_uri"]),
        (&json!("https://another.example.com"), &json!("http://10.0.0.1/"))
    );
    let keys = stand.http.get(stand.at("/jwks")).send().await.unwrap();
    assert_eq!(keys.headers()[CACHE_CONTROL], "public, max-age=60");
    assert_eq!(json_of(keys).await, json!([]));
    stand.issuer.set(|settings| settings.keys = Value::Null);
    assert_eq!(stand.get("/jwks").await, stand.issuer.keys());
}

#[tokio::test]
async fn one_endpoint_misbehaves_while_the_others_and_commands_answer() {
    let stand = Stand::new().await;
    stand.issuer.mock().behave(|behaviour| {
        behaviour.path = "/jwks".into();
        behaviour.error_percent = 100;
    });
    assert_eq!(stand.http.get(stand.at("/jwks")).send().await.unwrap().status().as_u16(), 500);
    assert_eq!(stand.token(&[]).await["token_type"], "Bearer");
    stand.issuer.mock().behave(|behaviour| behaviour.reset = true);
    assert!(stand.http.get(stand.at("/jwks")).send().await.is_err());
    assert_eq!(stand.command("/_mock/rotate", json!({})).await["shown"].as_array().unwrap().len(), 6);
    stand.command("/_mock/behaviour", json!({ "garbage": true })).await;
    let fresh = Client::builder().no_proxy().build().unwrap();
    assert!(fresh.get(stand.at("/jwks")).send().await.is_err());
}
