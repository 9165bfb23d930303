//! Tokens in the shape that providers document, each under the configuration that the README advises for it.

use serde_json::json;

use super::mint::{Mint, token};
use super::{NOW, Row, fails, has, holds, one_of, path};
use crate::config::identity::{Audience, Iss, Issuer};
use crate::token::Rejection::{Audience as WrongAudience, Kind, Required, UnknownIssuer, UnknownKey};

pub(super) fn rows() -> Vec<Row> {
    [keycloaks(), auth0s(), entras(), cognitos(), googles(), authentiks()].into_iter().flatten().collect()
}

/// Keycloak 26: roles lie deep, and a claim `typ` says what a token is for.
fn keycloak() -> Mint {
    token().only(json!({
        "exp": NOW + 300, "iat": NOW, "jti": "onrtac:0f6d1f2e-3f9c-4b8e-9a0e-6f0b1c2d3e4f",
        "iss": "https://login.example.com/realms/corp", "aud": ["orders", "account"],
        "sub": "f:6a2d:ada", "typ": "Bearer", "azp": "shop", "sid": "5f0e7c3a", "acr": "1",
        "allowed-origins": ["https://shop.example.com"],
        "realm_access": { "roles": ["offline_access", "uma_authorization", "gateway-admin"] },
        "resource_access": { "account": { "roles": ["manage-account", "view-profile"] } },
        "scope": "email profile", "email_verified": false, "preferred_username": "ada",
    }))
}

fn keycloaks() -> Vec<Row> {
    let advised = |issuer: &mut Issuer| {
        issuer.audience = Audience::OneOf(vec!["orders".into()]);
        issuer.require = vec![one_of(&["typ"], &[json!("Bearer")])];
        issuer.admin = Some(has(&["realm_access", "roles"], json!("gateway-admin")));
    };
    let id = || keycloak().claim("typ", "ID").claim("aud", "shop").claim("at_hash", "x2Y3b1nE4t5");
    vec![
        holds("Keycloak's access token", keycloak()).under(advised),
        fails("Keycloak's access token for another client", keycloak().claim("aud", "account"), WrongAudience)
            .under(advised),
        fails("Keycloak's ID token", id(), Kind).under(advised),
        fails("Keycloak's ID token without a hash", id().no_claim("at_hash").claim("aud", "orders"), Required)
            .under(advised),
        fails("Keycloak's refresh token", keycloak().claim("typ", "Refresh"), Required).under(advised),
        fails("Keycloak's refresh token, by a key of its own", keycloak().header("kid", "hs512"), UnknownKey)
            .under(advised),
    ]
}

/// Auth0: names of claims are URLs, and `aud` has the endpoint of user data, too.
fn auth0() -> Mint {
    token().only(json!({
        "iss": "https://corp.eu.auth0.com/", "sub": "auth0|507f1f77bcf86cd799439020",
        "aud": ["https://api.example.com", "https://corp.eu.auth0.com/userinfo"],
        "iat": NOW, "exp": NOW + 86_400, "azp": "my_client_id", "scope": "openid profile orders:read",
        "permissions": ["orders:read"], "https://corp.example/roles": ["editor"],
    }))
}

fn auth0s() -> Vec<Row> {
    let advised = |issuer: &mut Issuer| {
        issuer.iss = Iss::Exact("https://corp.eu.auth0.com/".into());
        issuer.scopes_from = vec![path(&["permissions"]), path(&["scope"])];
        issuer.require = vec![has(&["https://corp.example/roles"], json!("editor"))];
    };
    let without_slash = |issuer: &mut Issuer| {
        advised(issuer);
        issuer.iss = Iss::Exact("https://corp.eu.auth0.com".into());
    };
    vec![
        holds("Auth0's access token", auth0()).under(advised),
        fails("Auth0's access token, where the issuer is written without its slash", auth0(), UnknownIssuer)
            .under(without_slash),
        fails("Auth0's ID token", auth0().claim("aud", "my_client_id").claim("nonce", "x"), Kind).under(advised),
        fails(
            "Auth0's access token without the role",
            auth0().claim("https://corp.example/roles", json!([])),
            Required,
        )
        .under(advised),
    ]
}

/// Entra ID, version 2.0: an issuer for each tenant, scopes in `scp`.
fn entra(tenant: &str) -> Mint {
    token()
        .header("x5t", "nOo3ZDrODXEK1jKWhXslHR_KXEg")
        .only(json!({
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "iat": NOW, "nbf": NOW, "exp": NOW + 3_900,
            "aio": "AXQAi/8IAAAAtAaZLo3ChMif6KOnttRB7eBq4", "azp": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "azpacr": "0", "name": "Ada", "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            "preferred_username": "ada@corp.example", "rh": "I", "scp": "access_as_user",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ", "uti": "fqiBqXLPj0eQa82S-IYFAA", "ver": "2.0",
        }))
        .claim("iss", format!("https://login.microsoftonline.com/{tenant}/v2.0"))
        .claim("tid", tenant)
}

fn entras() -> Vec<Row> {
    const OURS: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let advised = |issuer: &mut Issuer| {
        issuer.iss = Iss::Pattern {
            before: "https://login.microsoftonline.com/".into(),
            after: "/v2.0".into(),
            values: vec![OURS.into()],
        };
        issuer.audience = Audience::OneOf(vec!["6e74172b-be56-4843-9ff4-e66a39bb12e3".into()]);
        issuer.consumer = vec![path(&["oid"])];
    };
    let other = "9188040d-6c67-4c5b-b112-36a304b66dad";
    vec![
        holds("Entra's access token", entra(OURS)).under(advised),
        fails("Entra's access token of another tenant", entra(other), UnknownIssuer).under(advised),
        fails(
            "Entra's access token of version 1.0",
            entra(OURS).claim("iss", format!("https://sts.windows.net/{OURS}/")),
            UnknownIssuer,
        )
        .under(advised),
        fails("Entra's ID token", entra(OURS).claim("nonce", "12345"), Kind).under(advised),
        fails(
            "Entra's access token for Graph",
            entra(OURS).claim("aud", "00000003-0000-0000-c000-000000000000"),
            WrongAudience,
        )
        .under(advised),
    ]
}

/// Cognito: access tokens have no `typ` and no `aud`, and say by `token_use` what they are.
fn cognito() -> Mint {
    token().no_header("typ").only(json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "device_key": "aaaaaaaa-bbbb", "cognito:groups": ["admin"],
        "iss": "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example", "version": 2, "client_id": "xxexample",
        "origin_jti": "aaaaaaaa", "event_id": "aaaaaaaa", "token_use": "access", "scope": "phone openid profile",
        "auth_time": NOW - 100, "exp": NOW + 3_600, "iat": NOW, "jti": "aaaaaaaa", "username": "ada",
    }))
}

fn cognitos() -> Vec<Row> {
    let advised = |issuer: &mut Issuer| {
        issuer.iss = Iss::Exact("https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example".into());
        issuer.audience = Audience::Unchecked;
        issuer.require =
            vec![one_of(&["client_id"], &[json!("xxexample")]), one_of(&["token_use"], &[json!("access")])];
    };
    let id = cognito().no_claim("client_id").claim("aud", "xxexample").claim("token_use", "id");
    vec![
        holds("Cognito's access token", cognito()).under(advised),
        fails("Cognito's access token for another client", cognito().claim("client_id", "other"), Required)
            .under(advised),
        fails("Cognito's ID token", id, Kind).under(advised),
    ]
}

/// Google: what a service account gets to call a service with is made as an ID token is, but nobody logged in for it.
fn google() -> Mint {
    token().only(json!({
        "aud": "https://api.example.com", "azp": "104029292853099978293",
        "email": "shop@corp.iam.gserviceaccount.com", "email_verified": true, "exp": NOW + 3_600, "iat": NOW,
        "iss": "https://accounts.google.com", "sub": "104029292853099978293",
    }))
}

fn googles() -> Vec<Row> {
    let advised = |issuer: &mut Issuer| issuer.iss = Iss::Exact("https://accounts.google.com".into());
    vec![
        holds("a service account's token of Google's", google()).under(advised),
        fails("a service account's token for another service", google().claim("aud", "https://other"), WrongAudience)
            .under(advised),
        fails("a user's ID token of Google's", google().claim("at_hash", "HK6E_P6Dh8Y93mRNtsDB1Q"), Kind)
            .under(advised),
        fails("Google's issuer in its older form", google().claim("iss", "accounts.google.com"), UnknownIssuer)
            .under(advised),
    ]
}

/// authentik 2025: access tokens and ID tokens of a client are alike but for `azp` and `uid`.
fn authentik() -> Mint {
    token().header("typ", "JWT").only(json!({
        "iss": "https://login.example.com/application/o/shop/", "sub": "b2f6", "aud": "shop-id", "exp": NOW + 300, "iat": NOW,
        "auth_time": NOW, "acr": "goauthentik.io/providers/oauth2/default", "sid": "9a1c", "preferred_username": "ada",
        "azp": "shop-id", "uid": "Yx2k8VbQ",
    }))
}

fn authentiks() -> Vec<Row> {
    let advised = |issuer: &mut Issuer| {
        issuer.iss = Iss::Exact("https://login.example.com/application/o/shop/".into());
        issuer.audience = Audience::OneOf(vec!["shop-id".into()]);
        issuer.require = vec![one_of(&["azp"], &[json!("shop-id")])];
    };
    let id = || authentik().no_claim("azp").no_claim("uid");
    vec![
        holds("authentik's access token for a client that sent no nonce", authentik()).under(advised),
        fails("authentik's access token with a nonce", authentik().claim("nonce", "n-0S6_WzA2Mj"), Kind).under(advised),
        fails("authentik's ID token", id().claim("nonce", "n-0S6_WzA2Mj"), Kind).under(advised),
        fails("authentik's ID token without a nonce", id(), Required).under(advised),
    ]
}
