//! What the claims of a token that holds say: consumer, tenant, plan, roles, scopes, and when they end.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::mint::{Mint, token};
use super::{AUDIENCE, ISS, NOW, has, holds, issuer, one_of, path};
use crate::config::identity::{Dpop, Issuer, PlanOf};
use crate::token::{Claims, Rejection, Unverified};

fn claims_of(mint: Mint) -> Claims {
    holds("a token", mint).answer().expect("it holds")
}

#[test]
fn the_first_consumer_claim_that_is_there_names_the_consumer_and_none_is_a_rejection() {
    let issuer = issuer();
    let consumer = |mint: Mint| {
        let claims = claims_of(mint);
        claims.consumer(&issuer).map(|(claim, name)| (claim.0[0].to_string(), name.to_owned()))
    };
    let named = |claim: &str, name: &str| Ok((claim.to_owned(), name.to_owned()));
    assert_eq!(consumer(token().claim("client_id", "shop")), named("sub", "ada"));
    assert_eq!(consumer(token().no_claim("sub").claim("client_id", "shop")), named("client_id", "shop"));
    assert_eq!(consumer(token().no_claim("sub")), Err(Rejection::NoConsumer));
    // A first claim that names nobody is no reason to take the second one for a name.
    assert_eq!(consumer(token().claim("sub", "").claim("client_id", "shop")), Err(Rejection::NoConsumer));
    let number = Issuer { consumer: vec![path(&["user", "id"]), path(&["sub"])], ..issuer.clone() };
    let with = |value| claims_of(token().claim("user", json!({ "id": value })));
    assert_eq!(with(json!(7)).consumer(&number).err(), Some(Rejection::NoConsumer));
    assert_eq!(with(json!(null)).consumer(&number).map(|(_, name)| name.to_owned()), Ok("ada".to_owned()));
    assert_eq!(with(json!("u-7")).consumer(&number).map(|(_, name)| name.to_owned()), Ok("u-7".to_owned()));
}

#[test]
fn scopes_are_a_text_or_a_list_and_the_first_claim_that_is_there_counts() {
    let issuer = issuer();
    for (mint, expected) in [
        (token(), vec!["orders:read"]),
        (token().claim("scope", "a  b c "), vec!["a", "b", "c"]),
        (token().claim("scope", "a\tb"), vec!["a\tb"]),
        (token().claim("scope", ""), vec![]),
        (token().claim("scope", json!(["a", "b c", 7, ""])), vec!["a", "b c"]),
        (token().claim("scope", 7), vec![]),
        (token().claim("scp", "x"), vec!["orders:read"]),
        (token().no_claim("scope").claim("scp", "x y"), vec!["x", "y"]),
        (token().no_claim("scope").claim("scp", json!(["x"])), vec!["x"]),
        (token().claim("scope", json!(null)).claim("scp", json!(["x"])), vec!["x"]),
        (token().no_claim("scope"), vec![]),
    ] {
        let claims = claims_of(mint);
        assert_eq!(claims.scopes(&issuer), expected);
        assert!(expected.iter().all(|scope| claims.has_scope(&issuer, scope)));
        assert!(!claims.has_scope(&issuer, "orders") && !claims.has_scope(&issuer, ""));
    }
}

#[test]
fn plan_tenant_and_roles_come_from_the_claims_that_the_configuration_names() {
    let plan = PlanOf::Claim {
        claim: path(&["tier"]),
        map: vec![("gold".into(), "partner".into())],
        other: Some("app".into()),
    };
    let issuer = Issuer {
        tenant: Some(path(&["org"])),
        plan: Some(plan),
        admin: Some(has(&["realm_access", "roles"], json!("gateway-admin"))),
        operator: Some(one_of(&["https://corp.example/operator"], &[json!(true)])),
        ..issuer()
    };
    let gold = claims_of(
        token()
            .claim("tier", "gold")
            .claim("org", "acme")
            .claim("realm_access", json!({ "roles": ["user", "gateway-admin"] }))
            .claim("https://corp.example/operator", true),
    );
    assert_eq!(gold.plan(&issuer).map(|plan| &**plan), Some("partner"));
    assert_eq!((gold.tenant(&issuer), gold.is_admin(&issuer), gold.is_operator(&issuer)), (Some("acme"), true, true));
    let plain = claims_of(token().claim("tier", "silver").claim("org", "").claim("realm_access", "gateway-admin"));
    assert_eq!(plain.plan(&issuer).map(|plan| &**plan), Some("app"));
    assert_eq!((plain.tenant(&issuer), plain.is_admin(&issuer), plain.is_operator(&issuer)), (None, false, false));
    let always = Issuer { plan: Some(PlanOf::Always("app".into())), admin: None, operator: None, ..issuer };
    assert_eq!(gold.plan(&always).map(|plan| &**plan), Some("app"));
    assert!(!gold.is_admin(&always) && !gold.is_operator(&always));
}

#[test]
fn claims_know_their_end_their_key_and_for_whom_they_are() {
    let claims = claims_of(token().claim("aud", json!([AUDIENCE, "orders"])).claim("jti", "t-1"));
    assert_eq!(claims.expires(), UNIX_EPOCH + Duration::from_secs(NOW as u64 + 300));
    assert_eq!(
        (claims.kid(), claims.top("jti"), claims.top("exp"), claims.cnf_jkt()),
        (Some("rsa"), Some("t-1"), None, None)
    );
    assert!(
        claims.is_for(&["other".into(), "orders".into()]) && !claims.is_for(&["other".into()]) && !claims.is_for(&[])
    );
    assert!(claims.get(&path(&["aud", "0"])).is_none() && claims.get(&path(&[])).is_none());
    let far = claims_of(token().claim("exp", json!(1e300)));
    assert_eq!(far.expires(), UNIX_EPOCH + Duration::from_secs(253_402_300_799), "the end of the year 9999");
}

#[test]
fn what_a_token_says_can_be_shown_before_anybody_vouches_for_it() {
    let sent = token().claim("exp", 0).token();
    let unverified = Unverified::read(sent.as_bytes()).expect("its form is right");
    let (header, payload) = unverified.says();
    assert_eq!((unverified.kid(), unverified.iss()), (Some("rsa"), Some(ISS)));
    assert_eq!((&header["alg"], &payload["exp"]), (&json!("RS256"), &json!(0)));
}

#[test]
fn a_bound_token_names_the_thumbprint_that_a_proof_must_have() {
    let bound =
        holds("a token", token().claim("cnf", json!({ "jkt": "thumb" }))).under(|issuer| issuer.dpop = Dpop::Accept);
    assert_eq!(bound.answer().expect("it holds").cnf_jkt(), Some("thumb"));
}

#[test]
fn every_reason_is_a_word_of_its_own_and_every_detail_fits_into_a_challenge() {
    use std::collections::BTreeSet;
    let all = every_rejection();
    let words: BTreeSet<_> = all.iter().map(|rejection| rejection.reason()).collect();
    assert_eq!(words.len(), all.len());
    for rejection in all {
        let detail = rejection.detail();
        // RFC 6750 section 3: no quotes, no backslash, no controls.
        assert!(detail.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'), "{detail}");
        let status = if rejection == Rejection::IssuerUnavailable { 503 } else { 401 };
        assert_eq!(rejection.status(), status);
        assert_eq!(rejection.to_string(), detail);
    }
}

fn every_rejection() -> Vec<Rejection> {
    use crate::token::ProofFault as F;
    let of_proofs = [
        F::Missing,
        F::Several,
        F::TooLong,
        F::Malformed,
        F::Duplicate,
        F::Critical,
        F::Typ,
        F::Algorithm,
        F::NoKey,
        F::Key,
        F::PrivateKey,
        F::Signature,
        F::Jti,
        F::Method,
        F::Uri,
        F::NoTime,
        F::Old,
        F::Ahead,
        F::Token,
        F::OtherKey,
        F::Replayed,
        F::Nonce,
    ];
    let of_tokens = [
        Rejection::TooLong,
        Rejection::NotJwt,
        Rejection::Encrypted,
        Rejection::Malformed,
        Rejection::Duplicate,
        Rejection::Critical,
        Rejection::Nested,
        Rejection::Unsigned,
        Rejection::Algorithm,
        Rejection::Typ,
        Rejection::UnknownIssuer,
        Rejection::UnknownKey,
        Rejection::NoKid,
        Rejection::Signature,
        Rejection::Claim,
        Rejection::NoExpiry,
        Rejection::Expired,
        Rejection::NotYetValid,
        Rejection::IssuedAhead,
        Rejection::Audience,
        Rejection::Required,
        Rejection::Kind,
        Rejection::Bound,
        Rejection::Unbound,
        Rejection::NoConsumer,
        Rejection::Inactive,
        Rejection::Revoked,
        Rejection::IssuerUnavailable,
    ];
    of_tokens.into_iter().chain(of_proofs.map(Rejection::from)).collect()
}
