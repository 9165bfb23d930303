//! One set of keys for several issuers: its keys say by a member `issuer` whose they are, as those of Entra ID do.

use serde_json::{Value, json};

use super::keys::{OTHER_RSA, P256, RSA, but};
use super::mint::{Mint, token};
use super::{ISS, Row, fails, holds, issuer, key_set};
use crate::config::identity::{Iss, Issuer};
use crate::token::Rejection::{Algorithm, Signature, UnknownKey};

/// The tenant of everybody who has an account of his own.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// One of ours.
const OURS: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn name(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

fn of(jwk: Value, iss: impl Into<Value>) -> Value {
    but(jwk, "issuer", iss.into())
}

fn pattern(issuer: &mut Issuer) {
    issuer.iss = Iss::Pattern {
        before: "https://login.microsoftonline.com/".into(),
        after: "/v2.0".into(),
        values: vec![OURS.into(), CONSUMERS.into()],
    };
}

pub(super) fn rows() -> Vec<Row> {
    let from = |tenant: &str| token().claim("iss", name(tenant));
    let row = |row: Row, keys: &[Value]| row.under(pattern).with_keys(keys);
    let unnamed = |mint: Mint| mint.no_header("kid");
    let all = || of(RSA.jwk("rsa"), name("{tenantid}"));
    let theirs = || of(RSA.jwk("rsa"), name(CONSUMERS));
    vec![
        row(holds("a key of each tenant", from(OURS)), &[all()]),
        row(holds("a key of each tenant, and another tenant", from(CONSUMERS)), &[all()]),
        row(holds("a key of the tenant alone", from(CONSUMERS)), &[theirs()]),
        row(fails("a key of another tenant", from(OURS), UnknownKey), &[theirs()]),
        row(fails("a key of another tenant, and no kid", unnamed(from(OURS)), Algorithm), &[theirs()]),
        row(holds("a key of no tenant", from(OURS)), &[RSA.jwk("rsa")]),
        row(holds("one key for two issuers: the first", from(OURS)), &[all(), theirs()]),
        row(holds("one key for two issuers: both", from(CONSUMERS)), &[all(), theirs()]),
        row(
            holds("no kid, and only one key is of the tenant", unnamed(from(OURS))),
            &[of(RSA.jwk("a"), name(OURS)), of(OTHER_RSA.jwk("b"), name(CONSUMERS))],
        ),
        row(
            holds("one kid for keys of two tenants", from(CONSUMERS)),
            &[of(OTHER_RSA.jwk("rsa"), name(OURS)), theirs()],
        ),
        row(
            fails("one kid for keys of two tenants, signed with the other's", from(OURS), Signature),
            &[of(OTHER_RSA.jwk("rsa"), name(OURS)), theirs()],
        ),
        row(
            fails("one kid for keys of which one is of each tenant", from(CONSUMERS), UnknownKey),
            &[all(), of(OTHER_RSA.jwk("rsa"), name(CONSUMERS)), P256.jwk("p256")],
        ),
        row(
            fails("a key of another host's tenants", from(OURS), UnknownKey),
            &[of(RSA.jwk("rsa"), "https://login.example.com/{tenantid}/v2.0")],
        ),
        row(fails("a key of no issuer's", from(OURS), UnknownKey), &[of(RSA.jwk("rsa"), "")]),
        holds("a key of the only issuer", token()).with_keys(&[of(RSA.jwk("rsa"), ISS)]),
        holds("a key of each realm", token()).with_keys(&[of(RSA.jwk("rsa"), ISS.replace("corp", "{tenantid}"))]),
        fails("a key of another issuer", token(), UnknownKey).with_keys(&[of(RSA.jwk("rsa"), format!("{ISS}/"))]),
        fails("a tenant is no way of several steps", token(), UnknownKey)
            .with_keys(&[of(RSA.jwk("rsa"), "https://login.example.com/{tenantid}")]),
    ]
}

#[test]
fn a_key_that_goes_to_another_issuer_is_another_key() {
    let set = |iss: &str| key_set(&[of(RSA.jwk("rsa"), iss), P256.jwk("p256")], &issuer());
    assert_eq!(set(ISS), set(ISS));
    assert_ne!(set(ISS), set("https://login.example.com/{tenantid}"));
    assert_eq!(set(ISS).keys.iter().map(|key| key.issuer()).collect::<Vec<_>>(), [Some(ISS), None]);
    let twice = key_set(&[of(RSA.jwk("rsa"), json!(ISS)), of(RSA.jwk("rsa"), json!(ISS))], &issuer());
    assert_eq!((twice.keys.len(), twice.left_out.len()), (1, 1));
}
