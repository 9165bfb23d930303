//! Tokens by their registered claims: `exp`, `nbf`, `iat`, `iss`, `aud`, and what an issuer's `require` asks for.

use std::time::Duration;

use serde_json::{Value, json};

use super::mint::token;
use super::{AUDIENCE, ISS, NOW, Row, fails, has, holds, one_of};
use crate::config::identity::{Audience, Demanded, Iss, Issuer};
use crate::token::Rejection::{
    Audience as WrongAudience, Claim, Expired, IssuedAhead, NoExpiry, NotYetValid, Required, UnknownIssuer,
};

pub(super) fn rows() -> Vec<Row> {
    [ends(), begins(), issued(), issuers(), tenants(), audiences(), required(), unchecked(), types()]
        .into_iter()
        .flatten()
        .collect()
}

/// `exp`, with 30 s between clocks.
fn ends() -> Vec<Row> {
    let strict = |issuer: &mut Issuer| issuer.leeway = Duration::ZERO;
    vec![
        holds("exp in a second", token().claim("exp", NOW + 1)).under(strict),
        fails("exp now", token().claim("exp", NOW), Expired).under(strict),
        holds("exp 29 s ago, which clocks may differ by", token().claim("exp", NOW - 29)),
        fails("exp 30 s ago", token().claim("exp", NOW - 30), Expired),
        fails(
            "exp an hour ago, under a key that is gone",
            token().claim("exp", NOW - 3600).header("kid", "gone"),
            Expired,
        ),
        fails("exp a year ago", token().claim("exp", NOW - 31_536_000), Expired),
        fails("exp 0", token().claim("exp", 0), Expired),
        fails("exp before 1970", token().claim("exp", -1), Expired),
        holds("exp with a fraction", token().claim("exp", NOW as f64 + 0.5)).under(strict),
        fails("exp with a fraction that has passed", token().claim("exp", NOW as f64 - 0.5), Expired).under(strict),
        holds("exp with an exponent", token().no_claim("exp").payload_end(r#","exp":1.9e9"#)),
        holds("exp in a hundred years", token().claim("exp", NOW + 3_153_600_000)),
        holds("exp beyond all clocks", token().claim("exp", json!(1e300))),
        fails("no exp", token().no_claim("exp"), NoExpiry),
        fails("exp that is a text", token().claim("exp", (NOW + 300).to_string()), Claim),
        fails("exp that is a date", token().claim("exp", "2099-01-01T00:00:00Z"), Claim),
        fails("exp that is null", token().claim("exp", json!(null)), Claim),
        fails("exp that is true", token().claim("exp", true), Claim),
        fails("exp that is a list", token().claim("exp", json!([NOW + 300])), Claim),
        fails("exp twice", token().payload_end(&format!(",\"exp\":{}", NOW + 300)), crate::token::Rejection::Duplicate),
    ]
}

/// `nbf`.
fn begins() -> Vec<Row> {
    vec![
        holds("nbf a while ago", token().claim("nbf", NOW - 300)),
        holds("nbf 30 s ahead, which clocks may differ by", token().claim("nbf", NOW + 30)),
        fails("nbf 31 s ahead", token().claim("nbf", NOW + 31), NotYetValid),
        fails("nbf beyond all clocks", token().claim("nbf", json!(1e300)), NotYetValid),
        fails("nbf that is a text", token().claim("nbf", "0"), Claim),
        fails("nbf that is null", token().claim("nbf", json!(null)), Claim),
    ]
}

/// `iat`.
fn issued() -> Vec<Row> {
    vec![
        holds("no iat", token().no_claim("iat")),
        holds("iat a year ago", token().claim("iat", NOW - 31_536_000)),
        holds("iat 30 s ahead, which clocks may differ by", token().claim("iat", NOW + 30)),
        fails("iat 31 s ahead", token().claim("iat", NOW + 31), IssuedAhead),
        fails("iat in milliseconds", token().claim("iat", NOW * 1000), IssuedAhead),
        fails("iat that is a text", token().claim("iat", "now"), Claim),
    ]
}

/// `iss`.
fn issuers() -> Vec<Row> {
    vec![
        fails("no iss", token().no_claim("iss"), UnknownIssuer),
        fails("another iss", token().claim("iss", "https://evil.example/realms/corp"), UnknownIssuer),
        fails("iss with a slash at its end", token().claim("iss", format!("{ISS}/")), UnknownIssuer),
        fails("iss in capitals", token().claim("iss", ISS.to_uppercase()), UnknownIssuer),
        fails("iss without its end", token().claim("iss", &ISS[..ISS.len() - 1]), UnknownIssuer),
        fails("iss with our iss behind it", token().claim("iss", format!("{ISS}.evil.example")), UnknownIssuer),
        fails("iss with a space", token().claim("iss", format!(" {ISS}")), UnknownIssuer),
        fails("an empty iss", token().claim("iss", ""), UnknownIssuer),
        fails("iss that is a list", token().claim("iss", json!([ISS])), UnknownIssuer),
        fails("iss that is null", token().claim("iss", json!(null)), UnknownIssuer),
    ]
}

/// An issuer with a name for each tenant.
fn tenants() -> Vec<Row> {
    let pattern = |issuer: &mut Issuer| {
        issuer.iss = Iss::Pattern {
            before: "https://login.example.com/".into(),
            after: "/v2.0".into(),
            values: vec!["t1".into(), "t2".into()],
        };
    };
    let named = |tenant: &str| token().claim("iss", format!("https://login.example.com/{tenant}/v2.0"));
    vec![
        holds("the first tenant", named("t1")).under(pattern),
        holds("the second tenant", named("t2")).under(pattern),
        fails("a tenant that is not listed", named("t3"), UnknownIssuer).under(pattern),
        fails("no tenant", named(""), UnknownIssuer).under(pattern),
        fails("the pattern itself", named("{tid}"), UnknownIssuer).under(pattern),
        fails("two tenants", named("t1/v2.0/t1"), UnknownIssuer).under(pattern),
        fails("a tenant of another host", token().claim("iss", "https://evil.example/t1/v2.0"), UnknownIssuer)
            .under(pattern),
        fails("a tenant without the end", token().claim("iss", "https://login.example.com/t1"), UnknownIssuer)
            .under(pattern),
    ]
}

/// `aud`.
fn audiences() -> Vec<Row> {
    let two = |issuer: &mut Issuer| issuer.audience = Audience::OneOf(vec!["orders".into(), "users".into()]);
    vec![
        holds("aud that is a list of one", token().claim("aud", json!([AUDIENCE]))),
        holds("aud that has ours among others", token().claim("aud", json!(["https://other.example", AUDIENCE]))),
        holds("aud that is the second of ours", token().claim("aud", "users")).under(two),
        fails("aud of somebody else", token().claim("aud", "https://other.example"), WrongAudience),
        fails("aud of others", token().claim("aud", json!(["https://a.example", "https://b.example"])), WrongAudience),
        fails("no aud", token().no_claim("aud"), WrongAudience),
        fails("an empty aud", token().claim("aud", ""), WrongAudience),
        fails("aud that is an empty list", token().claim("aud", json!([])), WrongAudience),
        fails("aud with ours and a slash", token().claim("aud", format!("{AUDIENCE}/")), WrongAudience),
        fails("aud with ours in capitals", token().claim("aud", AUDIENCE.to_uppercase()), WrongAudience),
        fails("aud with ours as a part", token().claim("aud", format!("{AUDIENCE} other")), WrongAudience),
        fails("aud that begins like ours", token().claim("aud", &AUDIENCE[..AUDIENCE.len() - 1]), WrongAudience),
        fails("aud with a number beside ours", token().claim("aud", json!([AUDIENCE, 1])), Claim),
        fails("aud that is an object", token().claim("aud", json!({ AUDIENCE: true })), Claim),
        fails("aud that is a list in a list", token().claim("aud", json!([[AUDIENCE]])), Claim),
        fails("aud that is null", token().claim("aud", json!(null)), Claim),
        fails("aud that is true", token().claim("aud", true), Claim),
    ]
}

/// Claims that must be so.
fn required() -> Vec<Row> {
    let require = |demanded: Demanded| move |issuer: &mut Issuer| issuer.require = vec![demanded];
    let level = || require(one_of(&["level"], &[json!(2), json!("two"), json!(true)]));
    let roles = || require(has(&["realm_access", "roles"], json!("user")));
    let with_roles = |roles: Value| token().claim("realm_access", json!({ "roles": roles }));
    vec![
        holds("a number that is required", token().claim("level", 2)).under(level()),
        holds("the same number with a fraction", token().claim("level", 2.0)).under(level()),
        holds("a text that is required", token().claim("level", "two")).under(level()),
        holds("a boolean that is required", token().claim("level", true)).under(level()),
        fails("another number than is required", token().claim("level", 3), Required).under(level()),
        fails("a text in place of the number", token().claim("level", "2"), Required).under(level()),
        fails("a list with the text that is required", token().claim("level", json!(["two"])), Required).under(level()),
        fails("null in place of what is required", token().claim("level", json!(null)), Required).under(level()),
        fails("nothing of what is required", token(), Required).under(level()),
        holds("a role that is required, among others", with_roles(json!(["admin", "user"]))).under(roles()),
        fails("other roles than the one that is required", with_roles(json!(["admin"])), Required).under(roles()),
        holds("one role that is written without a list", with_roles(json!("user"))).under(roles()),
        fails("another role that is written without a list", with_roles(json!("users")), Required).under(roles()),
        fails("a table in place of the list of roles", with_roles(json!({ "user": "user" })), Required).under(roles()),
        fails("roles in another place", token().claim("roles", json!(["user"])), Required).under(roles()),
        fails("roles under a name with a dot", token().claim("realm_access.roles", json!(["user"])), Required)
            .under(roles()),
    ]
}

/// An issuer whose tokens have no `aud`.
fn unchecked() -> Vec<Row> {
    let client = |issuer: &mut Issuer| {
        issuer.audience = Audience::Unchecked;
        issuer.require = vec![one_of(&["client_id"], &[json!("shop")])];
    };
    let shop = || token().no_claim("aud").claim("client_id", "shop");
    vec![
        holds("no aud, where the client counts", shop()).under(client),
        holds("another aud, where the client counts", shop().claim("aud", "https://other.example")).under(client),
        fails("no aud and another client", shop().claim("client_id", "evil"), Required).under(client),
        fails("no aud and no client", token().no_claim("aud"), Required).under(client),
    ]
}

/// Claims whose type says what they are.
fn types() -> Vec<Row> {
    vec![
        holds("no sub", token().no_claim("sub")),
        fails("sub that is a number", token().claim("sub", 7), Claim),
        fails("sub that is an object", token().claim("sub", json!({ "$ne": null })), Claim),
        fails("jti that is a number", token().claim("jti", 7), Claim),
        holds("jti that is a text", token().claim("jti", "7")),
    ]
}
