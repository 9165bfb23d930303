//! Tokens that are made for something else than calling an API, and tokens that are bound to a key.

use serde_json::json;

use super::mint::token;
use super::{NOW, Row, fails, holds, one_of};
use crate::config::identity::{Dpop, Issuer};
use crate::token::Rejection::{Bound, Kind, Required, Unbound};

pub(super) fn rows() -> Vec<Row> {
    [others(), uses(), keycloak(), nonces(), bound(), demanded()].into_iter().flatten().collect()
}

fn others() -> Vec<Row> {
    let event = "http://schemas.openid.net/event/backchannel-logout";
    vec![
        fails("an ID token with at_hash", token().claim("at_hash", "MTIzNDU2Nzg5MDEyMzQ1Ng"), Kind),
        fails("an ID token with c_hash", token().claim("c_hash", "LDktKdoQak3Pk0cnXxCltA"), Kind),
        fails("an ID token with nonce", token().claim("nonce", "n-0S6_WzA2Mj"), Kind),
        fails("an ID token whose nonce is null", token().claim("nonce", json!(null)), Kind),
        fails("a logout token", token().claim("events", json!({ event: {} })), Kind),
        fails("events of another sort", token().claim("events", json!([])), Kind),
        holds("claims that an ID token may have, too", token().claim("auth_time", NOW).claim("azp", "shop")),
    ]
}

/// Claims by which some issuers say what a token is for.
fn uses() -> Vec<Row> {
    let used = |what, value: serde_json::Value| (what, token().claim("token_use", value));
    let typed = |what, value: serde_json::Value| (what, token().claim("token_type", value));
    let good = [
        used("an access token of Cognito's", json!("access")),
        used("an access token of Hydra's", json!("access_token")),
        used("an access token in capitals", json!("Access")),
        typed("the type Bearer", json!("Bearer")),
        typed("the type DPoP", json!("DPoP")),
        typed("the type access", json!("access")),
        typed(
            "the type of an access token, as RFC 8693 writes it",
            json!("urn:ietf:params:oauth:token-type:access_token"),
        ),
    ];
    let bad = [
        used("an ID token of Cognito's", json!("id")),
        used("a refresh token of Hydra's", json!("refresh_token")),
        used("a use that nobody knows", json!("consent")),
        used("no use", json!("")),
        used("a use that is null", json!(null)),
        used("a use that is no text", json!(["access"])),
        typed("the type refresh", json!("refresh")),
        typed("the type of a refresh token", json!("Refresh_Token")),
        typed(
            "the type of a refresh token, as RFC 8693 writes it",
            json!("urn:ietf:params:oauth:token-type:refresh_token"),
        ),
        typed("the type id", json!("id")),
        typed("the type of an ID token", json!("id_token")),
        typed("a type that is no text", json!(["refresh"])),
    ];
    let good = good.into_iter().map(|(what, mint)| holds(what, mint));
    good.chain(bad.into_iter().map(|(what, mint)| fails(what, mint, Kind))).collect()
}

/// Keycloak up to version 24 copies what an ID token has into access tokens, too.
fn nonces() -> Vec<Row> {
    let nonce = || token().claim("nonce", "n-0S6_WzA2Mj");
    let custom = |issuer: &mut Issuer| issuer.typ = vec!["corp+jwt".to_owned()];
    vec![
        holds("a nonce in an access token of Keycloak's", nonce().claim("typ", "Bearer")),
        holds("a nonce in a bound access token of Keycloak's", nonce().claim("typ", "DPoP")),
        holds("a nonce in an access token of RFC 9068", nonce().header("typ", "at+jwt")),
        holds("the same with its whole media type", nonce().header("typ", "application/AT+JWT")),
        fails("a nonce in an ID token of Keycloak's", nonce().claim("typ", "ID"), Kind),
        fails(
            "a nonce in an ID token that says it is one, though its header does not",
            nonce().header("typ", "at+jwt").claim("typ", "ID"),
            Kind,
        ),
        fails("a nonce in a JWT of some kind", nonce().claim("typ", "JWT"), Kind),
        fails("a nonce beside a typ that is no text", nonce().claim("typ", json!(["Bearer"])), Kind),
        fails("a nonce and a hash", nonce().claim("typ", "Bearer").claim("at_hash", "MTIzNDU2Nzg5MDEyMzQ1Ng"), Kind),
        fails("a nonce without a typ", nonce().no_header("typ"), Kind),
        fails("a nonce in a token of a type of the issuer's own", nonce().header("typ", "corp+jwt"), Kind)
            .under(custom),
        fails(
            "an ID token by its use, whatever its header says",
            token().header("typ", "at+jwt").claim("token_use", "id"),
            Kind,
        ),
    ]
}

/// Keycloak says in a claim what a token is for.
fn keycloak() -> Vec<Row> {
    let refresh = |issuer: &mut Issuer| issuer.require = vec![one_of(&["typ"], &[json!("corp-access")])];
    vec![
        holds("Bearer", token().claim("typ", "Bearer")),
        holds("bearer in lower case", token().claim("typ", "bearer")),
        fails("ID", token().claim("typ", "ID"), Kind),
        fails("Refresh", token().claim("typ", "Refresh"), Kind),
        fails("Offline", token().claim("typ", "Offline"), Kind),
        fails("Logout", token().claim("typ", "Logout"), Kind),
        fails("a link in a mail", token().claim("typ", "reset-credentials"), Kind),
        fails("a registration's token", token().claim("typ", "RegistrationAccessToken"), Kind),
        fails("a claim typ that is no text", token().claim("typ", json!(["Bearer"])), Kind),
        holds("a claim typ that is required", token().claim("typ", "corp-access")).under(refresh),
        fails("another claim typ than is required", token().claim("typ", "Refresh"), Required).under(refresh),
    ]
}

fn jkt() -> serde_json::Value {
    json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })
}

/// Tokens that are bound, where nobody would check it.
fn bound() -> Vec<Row> {
    vec![
        fails("a token for a key", token().claim("cnf", jkt()), Bound),
        fails(
            "a token for a certificate",
            token().claim("cnf", json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" })),
            Bound,
        ),
        fails("a token for a key that is in it", token().claim("cnf", json!({ "jwk": {} })), Bound),
        fails("a token for a key of this name", token().claim("cnf", json!({ "kid": "rsa" })), Bound),
        fails("a token for nobody", token().claim("cnf", json!({})), Bound),
        fails("a binding that is null", token().claim("cnf", json!(null)), Bound),
        fails("a binding that is a text", token().claim("cnf", "jkt"), Bound),
    ]
}

/// Tokens that are bound, where it is checked.
fn demanded() -> Vec<Row> {
    let accept = |issuer: &mut Issuer| issuer.dpop = Dpop::Accept;
    let require = |issuer: &mut Issuer| issuer.dpop = Dpop::Require;
    let both = || json!({ "jkt": jkt()["jkt"], "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" });
    vec![
        holds("a token for a key, where it may be", token().claim("cnf", jkt())).under(accept),
        holds("a token for everybody, where it may be for a key", token()).under(accept),
        holds("a token for a key, where it must be", token().claim("cnf", jkt())).under(require),
        fails("a token for everybody, where it must be for a key", token(), Unbound).under(require),
        fails(
            "a token for a certificate, where it may be for a key",
            token().claim("cnf", json!({ "x5t#S256": "a" })),
            Bound,
        )
        .under(accept),
        fails("a token for a key and a certificate", token().claim("cnf", both()), Bound).under(accept),
        fails("a thumbprint that is no text", token().claim("cnf", json!({ "jkt": 1 })), Bound).under(accept),
        fails("a binding of no sort, where it must be one", token().claim("cnf", json!({})), Bound).under(require),
    ]
}
