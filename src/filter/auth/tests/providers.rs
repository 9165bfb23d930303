//! The README's entries for providers, held to tokens of the shapes that these document. Their keys are replaced by a secret.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::tokens::{SECRET, in_seconds, signed};
use crate::config::identity::{Encoding, Issuer, Keys};
use crate::config::{Config, Environment, Overrides, Secret, parse};
use crate::token::{KeySet, Rejection, Unverified, issuer_of};

/// The configuration of the README that begins so.
fn readme(beginning: &str) -> Config {
    let text = include_str!("../../../../README.md");
    let block = text.split("```toml\n").find(|block| block.starts_with(beginning)).expect("the entries");
    let block = block.split("```").next().unwrap_or_default();
    let env = Environment::of(&[("LICTOR_API_KEY", "k")]);
    parse(Some(block), "README.md", Overrides::default(), &env).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Who calls, their tenant, their scopes, and whether they are an admin; by which entry.
type Said = (String, String, Option<String>, Vec<String>, bool);

fn said(config: &Config, claims: &Value) -> Result<Said, Rejection> {
    let token = signed(SECRET, claims);
    let unverified = Unverified::read(token.as_bytes())?;
    let issuer = issuer_of(&unverified, &config.issuers)?;
    let secret = Keys::Secret(Secret::Text(SECRET.into()), Encoding::Text);
    let issuer = Issuer { keys: secret, ..Issuer::clone(issuer) };
    let keys = KeySet::of_secret(SECRET.as_bytes(), &issuer).expect("a key");
    let claims = unverified.verify(&issuer, &keys, SystemTime::now())?;
    let (_, consumer) = claims.consumer(&issuer)?;
    let scopes = claims.scopes(&issuer).into_iter().map(str::to_owned).collect();
    let tenant = claims.tenant(&issuer).map(str::to_owned);
    Ok((issuer.name.to_string(), consumer.to_owned(), tenant, scopes, claims.is_admin(&issuer)))
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

#[test]
fn the_readmes_entries_take_access_tokens_of_their_providers_and_refuse_others() {
    let config = readme("# Keycloak");
    let exp = in_seconds(300);
    let keycloak = json!({
        "exp": exp, "iss": "https://login.example.com/realms/corp", "aud": ["orders", "account"], "sub": "f:6a2d:ada",
        "typ": "Bearer", "realm_access": { "roles": ["offline_access", "gateway-admin"] }, "scope": "email profile",
    });
    let auth0 = json!({
        "exp": exp, "iss": "https://corp.eu.auth0.com/", "sub": "auth0|507f", "scope": "openid",
        "aud": ["https://api.example.com", "https://corp.eu.auth0.com/userinfo"], "permissions": ["orders:read"],
    });
    let entra = json!({
        "exp": exp, "iss": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", "sub": "HKZ",
        "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3", "oid": "690222be", "scp": "access_as_user",
        "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    });
    let cognito = json!({
        "exp": exp, "iss": "https://cognito-idp.us-west-2.amazonaws.com/us-west-2_example", "sub": "aaaa",
        "client_id": "xxexample", "token_use": "access", "scope": "phone",
    });
    let google = json!({
        "exp": exp, "iss": "https://accounts.google.com", "sub": "1084", "aud": "https://api.example.com",
        "email": "job@corp.iam.gserviceaccount.com", "email_verified": true,
    });
    let held = |name: &str, consumer: &str, tenant: Option<&str>, scopes: &[&str], admin| {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Ok((name.to_owned(), consumer.to_owned(), tenant.map(str::to_owned), scopes, admin))
    };
    let tenant = Some("72f988bf-86f1-41af-91ab-2d7cd011db47");
    for (claims, wanted) in [
        (&keycloak, held("keycloak", "f:6a2d:ada", None, &["email", "profile"], true)),
        (&with(&keycloak, "typ", json!("Refresh")), Err(Rejection::Required)),
        (&with(&keycloak, "aud", json!("account")), Err(Rejection::Audience)),
        (&auth0, held("auth0", "auth0|507f", None, &["orders:read"], false)),
        (&with(&auth0, "iss", json!("https://corp.eu.auth0.com")), Err(Rejection::UnknownIssuer)),
        (&entra, held("entra", "690222be", tenant, &["access_as_user"], false)),
        (&with(&entra, "iss", json!("https://login.microsoftonline.com/9188040d/v2.0")), Err(Rejection::UnknownIssuer)),
        (&cognito, held("cognito", "aaaa", None, &["phone"], false)),
        (&with(&cognito, "client_id", json!("other")), Err(Rejection::Required)),
        (&with(&cognito, "token_use", json!("id")), Err(Rejection::Required)),
        (&google, held("google", "job@corp.iam.gserviceaccount.com", None, &[], false)),
        (&with(&google, "email_verified", json!(false)), Err(Rejection::Required)),
    ] {
        let found = said(&config, claims).map_err(|rejection| match rejection {
            Rejection::Kind => Rejection::Required,
            rejection => rejection,
        });
        assert_eq!(found, wanted, "{claims}");
    }
}

#[test]
fn the_readmes_routes_for_callers_are_valid() {
    let config = readme("[[issuer]]\nname = \"corp\"");
    assert_eq!((config.issuers.len(), config.routes.len()), (1, 3));
}
