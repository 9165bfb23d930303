//! A table of tokens, each with the answer that it must get. Every row is a line: what is special of a token that would hold otherwise,
//! how it is made, and what becomes of it.

mod algorithms;
mod changed;
mod claims;
mod encodings;
mod headers;
mod introspected;
mod key_sets;
mod keys;
mod kinds;
mod mint;
mod proofs;
mod providers;
mod said;
mod signatures;
mod tenants;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Claims, KeySet, Rejection, Unverified, issuer_of};
use crate::config::identity::{Audience, ClaimPath, Condition, Demanded, Dpop, Iss, Issuer, Keys};
use mint::Mint;

/// The time at which the table is true, in seconds since 1970.
const NOW: i64 = 1_800_000_000;

/// What tokens of the table say in `iss`.
const ISS: &str = "https://login.example.com/realms/corp";

/// Whom they are for.
const AUDIENCE: &str = "https://api.example.com";

/// A row of the table.
struct Row {
    what: &'static str,
    token: String,
    issuer: Issuer,
    keys: KeySet,
    must: Option<Rejection>,
}

/// A row with a token that holds.
fn holds(what: &'static str, mint: Mint) -> Row {
    let issuer = issuer();
    Row { what, token: mint.token(), keys: key_set(&keys::public(), &issuer), issuer, must: None }
}

/// A row with a token that is refused.
fn fails(what: &'static str, mint: Mint, why: Rejection) -> Row {
    Row { must: Some(why), ..holds(what, mint) }
}

impl Row {
    /// The same under another configuration.
    fn under(mut self, change: impl FnOnce(&mut Issuer)) -> Row {
        change(&mut self.issuer);
        self.keys = match &self.issuer.keys {
            Keys::Secret(..) => KeySet::of_secret(keys::SECRET, &self.issuer).expect("a long secret"),
            _ => key_set(&keys::public(), &self.issuer),
        };
        self
    }

    /// The same with other keys.
    fn with_keys(mut self, jwks: &[Value]) -> Row {
        self.keys = key_set(jwks, &self.issuer);
        self
    }

    fn answer(self) -> Result<Claims, Rejection> {
        verified(self.token.as_bytes(), self.issuer, &self.keys)
    }
}

/// What becomes of a token: as a filter would go about it.
fn verified(token: &[u8], issuer: Issuer, keys: &KeySet) -> Result<Claims, Rejection> {
    let issuers = [Arc::new(issuer)];
    let unverified = Unverified::read(token)?;
    let issuer = issuer_of(&unverified, &issuers)?;
    unverified.verify(issuer, keys, now())
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW as u64)
}

/// A set of keys that can all be used.
fn key_set(jwks: &[Value], issuer: &Issuer) -> KeySet {
    KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes(), issuer).expect("a key that can be used")
}

/// The issuer of the table, where a row says nothing else.
fn issuer() -> Issuer {
    Issuer {
        name: "corp".into(),
        iss: Iss::Exact(ISS.into()),
        keys: Keys::Discovery,
        keys_origin: Vec::new(),
        audience: Audience::OneOf(vec![AUDIENCE.into()]),
        admin_audience: Vec::new(),
        require: Vec::new(),
        typ: Vec::new(),
        algorithms: None,
        leeway: Duration::from_secs(30),
        consumer: vec![path(&["sub"]), path(&["client_id"])],
        tenant: None,
        scopes_from: vec![path(&["scope"]), path(&["scp"])],
        plan: None,
        admin: None,
        operator: None,
        forward: Vec::new(),
        opaque: None,
        dpop: Dpop::Off,
    }
}

fn path(names: &[&str]) -> ClaimPath {
    ClaimPath(names.iter().map(|name| (*name).into()).collect())
}

fn one_of(names: &[&str], values: &[Value]) -> Demanded {
    Demanded { claim: path(names), condition: Condition::OneOf(values.to_vec()) }
}

fn has(names: &[&str], member: Value) -> Demanded {
    Demanded { claim: path(names), condition: Condition::Has(member) }
}

/// The whole table.
fn table() -> Vec<Row> {
    let parts = [
        algorithms::rows(),
        signatures::rows(),
        headers::rows(),
        claims::rows(),
        kinds::rows(),
        encodings::rows(),
        key_sets::rows(),
        providers::rows(),
        tenants::rows(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn every_token_of_the_table_gets_the_answer_that_it_must_get() {
    let mut wrong = Vec::new();
    for row in table() {
        let (what, must) = (row.what, row.must);
        let answer = row.answer().err();
        if answer != must {
            wrong.push(format!("{what}: {answer:?} instead of {must:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_at_least_120_tokens_and_each_is_one_of_its_own() {
    let table = table();
    let (names, tokens): (BTreeSet<_>, BTreeSet<_>) = table.iter().map(|row| (row.what, &row.token)).unzip();
    assert_eq!(names.len(), table.len(), "no two rows have one name");
    assert!(tokens.len() > table.len() / 2, "most rows have a token of their own");
    assert!(table.len() >= 120, "there are {}", table.len());
}

#[test]
fn nothing_of_a_token_a_proof_or_a_secret_is_seen_where_somebody_debugs() {
    let row = holds("any", mint::token().claim("secret", "hush"));
    let secret = KeySet::of_secret(keys::SECRET, &issuer()).expect("a long secret");
    let unverified = Unverified::read(row.token.as_bytes()).expect("a token");
    assert_eq!(format!("{unverified:?}"), "(token)");
    assert_eq!(format!("{:?}", row.answer().expect("it holds")), "(claims)");
    let shown = format!("{secret:?}");
    assert!(!shown.contains(std::str::from_utf8(keys::SECRET).expect("a text")), "{shown}");
    assert!(shown.contains("Secret"), "{shown}");
}
