//! Key sets: which keys are left out, which key a token names, and which answers are none.

use std::sync::Arc;

use serde_json::{Value, json};

use super::keys::{self, EDWARDS, OTHER_P256, OTHER_RSA, P256, P384, RSA, SECRET, Signer, but, encoded};
use super::mint::{Mint, token};
use super::{Row, fails, holds, issuer};
use crate::config::Secret;
use crate::config::identity::{Algorithm, Encoding, Keys};
use crate::token::Rejection::{Algorithm as WrongAlgorithm, NoKid, UnknownKey};
use crate::token::{KeySet, KeySets, Kind};

/// Tokens by what their issuer's keys are.
pub(super) fn rows() -> Vec<Row> {
    let unnamed = || token().no_header("kid");
    let on_p256 = |kid: &str| token().by(&P256, "ES256", kid);
    vec![
        holds("no kid, and one key that fits", unnamed()),
        holds("no kid, and one unnamed key", unnamed()).with_keys(&[RSA.bare_jwk()]),
        fails("no kid, and two keys that fit", unnamed(), NoKid).with_keys(&[RSA.jwk("a"), OTHER_RSA.jwk("b")]),
        holds("no kid, and one of two keys fits by its alg", unnamed())
            .with_keys(&[but(RSA.jwk("a"), "alg", json!("RS256")), but(OTHER_RSA.jwk("b"), "alg", json!("PS256"))]),
        fails("no kid, and no key that fits", unnamed(), WrongAlgorithm).with_keys(&[P256.jwk("p256")]),
        fails("a kid, and one unnamed key", token(), UnknownKey).with_keys(&[RSA.bare_jwk()]),
        holds("one kid for two types of keys: the RSA key", token().header("kid", "x"))
            .with_keys(&[P256.jwk("x"), RSA.jwk("x")]),
        holds("one kid for two types of keys: the EC key", on_p256("x")).with_keys(&[P256.jwk("x"), RSA.jwk("x")]),
        fails("one kid for two RSA keys", token(), UnknownKey).with_keys(&[
            RSA.jwk("rsa"),
            OTHER_RSA.jwk("rsa"),
            P256.jwk("p256"),
        ]),
        fails("one kid for two RSA keys, ours the second one", token(), UnknownKey).with_keys(&[
            OTHER_RSA.jwk("rsa"),
            RSA.jwk("rsa"),
            P256.jwk("p256"),
        ]),
        holds("one kid for two RSA keys that differ by their alg", token())
            .with_keys(&[but(OTHER_RSA.jwk("rsa"), "alg", json!("PS256")), but(RSA.jwk("rsa"), "alg", json!("RS256"))]),
        holds("a key that is there twice", token()).with_keys(&[RSA.jwk("rsa"), RSA.jwk("rsa")]),
        fails("a key for PS256 alone", token(), WrongAlgorithm).with_keys(&[but(
            RSA.jwk("rsa"),
            "alg",
            json!("PS256"),
        )]),
        holds("a key for signatures", token()).with_keys(&[but(RSA.jwk("rsa"), "use", json!("sig"))]),
        fails("a key for encryption", token(), UnknownKey)
            .with_keys(&[but(RSA.jwk("rsa"), "use", json!("enc")), P256.jwk("p256")]),
        fails("a key that must not verify", token(), UnknownKey)
            .with_keys(&[but(RSA.jwk("rsa"), "key_ops", json!(["encrypt"])), P256.jwk("p256")]),
        fails("a key that everybody can sign with", anybody(), UnknownKey).with_keys(&[small(), P256.jwk("p256")]),
        fails("a secret among public keys", token().by(&SHARED, "HS256", "oct"), WrongAlgorithm)
            .with_keys(&[SHARED.jwk("oct"), P256.jwk("p256")]),
        holds("a key that says nothing of what it might be for", token()).with_keys(&[with_nulls()]),
        holds("a key whose numbers begin with a zero", token()).with_keys(&[with_zeros()]),
    ]
}

static SHARED: std::sync::LazyLock<Signer> = std::sync::LazyLock::new(|| Signer::Secret(SECRET.to_vec()));

/// The neutral point of Ed25519's curve: a key under which one signature fits every message.
fn small() -> Value {
    let mut point = [0; 32];
    point[0] = 1;
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "small", "x": encoded(&point) })
}

fn anybody() -> Mint {
    token().by(&EDWARDS, "EdDSA", "small").resigned(|_| {
        let mut signature = vec![0; 64];
        signature[0] = 1;
        signature
    })
}

/// As some issuers write what they have nothing to say of.
fn with_nulls() -> Value {
    let names = ["use", "key_ops", "alg", "issuer", "d", "p", "q", "dp", "dq", "qi", "oth", "k", "crv", "x5c"];
    let mut jwk = RSA.jwk("rsa");
    names.into_iter().for_each(|name| jwk[name] = json!(null));
    jwk
}

/// As some issuers write them, because their language's integers have a sign.
fn with_zeros() -> Value {
    let zero = |jwk: Value, name: &str| {
        let number = crate::token::compact::decoded(jwk[name].as_str().expect("a text").as_bytes()).expect("base64url");
        but(jwk, name, json!(encoded(&[&[0], &number[..]].concat())))
    };
    zero(zero(RSA.jwk("rsa"), "n"), "e")
}

/// A modulus of such a chip's: the product of two primes that are powers of 65537 by each small prime.
const WEAK_CHIP: &str = "t_fyYVD989dwDmiJY7mEWEYdEA5Uwp64pm9q_QYHtC5z7XnSptwONcHwbRTneJ6QEeUfibY5jTk6iD-nuwuMKzryJZx3aivJcLJVbJk0fOf8pR\
    z_Md8zpcd6O-d4kFdFq_KpZJQ069uC6hpCKqrwQHxzeuHzG9iScq_iv04Rjto3qzssTvVlhWRPjLLcMMkYV4FeBRCmU59iW52rK1WD4uGASAN2\
    tKxkOnKvCDzmdSRXsslI6qcFNoHbD58A3rMrT4lf00Uv8lELnn6NrDZE-eQUQWphV45ssT3ITBPdzGgWIQ9tBM1d4YnBxlrtQ1Qt_I5TZ-F_zg\
    yaKqrk0Vm5RQ";

fn parse(jwks: &[Value]) -> Result<KeySet, String> {
    KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes(), &issuer())
}

/// Keys that cannot be used, each with a part of what is said of it.
fn unfit() -> Vec<(&'static str, Value, &'static str)> {
    let rsa = |name: &str, value: Value| but(RSA.jwk("x"), name, value);
    let p256 = |name: &str, value: Value| but(P256.jwk("x"), name, value);
    let ed = |name: &str, value: Value| but(EDWARDS.jwk("x"), name, value);
    let bits = |count: usize| json!(encoded(&vec![0xff; count / 8]));
    let mut off = P256.public_bytes()[33..].to_vec();
    off[31] ^= 1;
    vec![
        ("RSA 512", rsa("n", bits(512)), "512 bits"),
        ("RSA 1024", rsa("n", bits(1024)), "1024 bits"),
        ("RSA 2040", rsa("n", bits(2040)), "2040 bits"),
        ("RSA 1024 with zeros before it", rsa("n", json!(encoded(&[[0; 128], [0xff; 128]].concat()))), "1024 bits"),
        ("RSA 16384", rsa("n", bits(16384)), "16384 bits"),
        ("an even modulus", rsa("n", json!(encoded(&[0xfe; 256]))), "numbers"),
        ("the exponent 1", rsa("e", json!("AQ")), "numbers"),
        ("the exponent 0", rsa("e", json!("AA")), "numbers"),
        ("an even exponent", rsa("e", json!("AQAA")), "numbers"),
        ("an exponent of 64 bits", rsa("e", json!(encoded(&[0xff; 8]))), "numbers"),
        ("of a chip whose keys can be factored", rsa("n", json!(WEAK_CHIP)), "CVE-2017-15361"),
        ("no modulus", rsa("n", json!(null)), "no n"),
        ("an empty modulus", rsa("n", json!("")), "0 bits"),
        (
            "a modulus with padding",
            rsa("n", json!(format!("{}==", RSA.jwk("x")["n"].as_str().unwrap_or_default()))),
            "base64url",
        ),
        ("a modulus that is a number", rsa("n", json!(7)), "no text"),
        ("for encryption", rsa("use", json!("enc")), "use"),
        ("a use that is no text", rsa("use", json!(["sig"])), "use"),
        ("for signing alone", rsa("key_ops", json!(["sign"])), "key_ops"),
        ("for nothing", rsa("key_ops", json!([])), "key_ops"),
        ("key_ops that are a text", rsa("key_ops", json!("verify")), "key_ops"),
        ("RSA for ES256", rsa("alg", json!("ES256")), "ES256"),
        ("RSA for HS256", rsa("alg", json!("HS256")), "HS256"),
        ("RSA for OAEP", rsa("alg", json!("RSA-OAEP-256")), "RSA-OAEP-256"),
        ("RSA for none", rsa("alg", json!("none")), "none"),
        ("with its private half", rsa("d", json!("AQAB")), "private"),
        ("with a prime", rsa("p", json!("AQAB")), "private"),
        ("a point off its curve", p256("y", json!(encoded(&off))), "no point"),
        ("the point at infinity", but(p256("x", json!(encoded(&[0; 32]))), "y", json!(encoded(&[0; 32]))), "no point"),
        ("coordinates of P-384 on P-256", but(P384.jwk("x"), "crv", json!("P-256")), "32 bytes"),
        ("coordinates of P-256 on P-384", p256("crv", json!("P-384")), "48 bytes"),
        ("a coordinate a byte short", p256("x", json!(encoded(&[1; 31]))), "32 bytes"),
        ("no second coordinate", p256("y", json!(null)), "no y"),
        ("P-521", p256("crv", json!("P-521")), "curve"),
        ("secp256k1", p256("crv", json!("secp256k1")), "curve"),
        ("P-256 for ES384", p256("alg", json!("ES384")), "ES384"),
        ("EC with its private half", p256("d", json!(encoded(&[1; 32]))), "private"),
        ("a point off Ed25519", ed("x", json!(encoded(&[&[2], &[0; 31][..]].concat()))), "no point"),
        ("the neutral point of Ed25519", small(), "no point"),
        ("a point of order 2", ed("x", json!(encoded(&[&[0xec][..], &[0xff; 30], &[0x7f]].concat()))), "no point"),
        ("a point of order 4", ed("x", json!(encoded(&[0; 32]))), "no point"),
        ("a point of 31 bytes", ed("x", json!(encoded(&[1; 31]))), "no point"),
        ("X25519", ed("crv", json!("X25519")), "curve"),
        ("Ed448", ed("crv", json!("Ed448")), "curve"),
        ("a secret", but(SHARED.jwk("x"), "alg", json!("HS256")), "secret"),
        ("no kty", rsa("kty", json!(null)), "no kty"),
        ("a kty that nobody knows", rsa("kty", json!("AKP")), "kty"),
        ("a kty in lower case", rsa("kty", json!("rsa")), "kty"),
        ("a kid that is no text", rsa("kid", json!(1)), "kid"),
        ("an issuer that is no text", rsa("issuer", json!(["https://login.example.com"])), "issuer"),
        ("a text in place of a key", json!("rsa"), "object"),
    ]
}

#[test]
fn a_key_that_cannot_be_used_is_left_out_and_it_is_said_why_while_the_others_stay() {
    for (what, jwk, why) in unfit() {
        let set = parse(&[P384.jwk("good"), jwk.clone()]).expect(what);
        assert_eq!(set.keys.len(), 1, "{what}");
        let said = &set.left_out.first().expect(what).why;
        assert!(said.contains(why), "{what}: {said}");
        assert!(parse(&[jwk]).expect_err(what).contains(why), "{what}");
    }
}

#[test]
fn keys_with_one_name_stay_only_where_no_token_can_mean_both() {
    let (twice, kid) = ("is there twice", "has the kid of another key");
    let kept = |jwks: &[Value]| {
        let set = parse(jwks).expect("keys");
        let kept: Vec<_> = set.keys.iter().map(|key| (key.kid().unwrap_or_default().to_owned(), key.kind())).collect();
        (kept, set.left_out.into_iter().map(|left| (left.kid.unwrap_or_default(), left.why)).collect::<Vec<_>>())
    };
    let (rsa, named) = (Kind::Rsa { bits: 2048 }, |kid: &str| kid.to_owned());
    let (keys, out) = kept(&[RSA.jwk("x"), P256.jwk("x"), RSA.jwk("x"), OTHER_P256.jwk("y")]);
    assert_eq!(keys, [(named("x"), rsa), (named("x"), Kind::P256), (named("y"), Kind::P256)]);
    assert!(out.len() == 1 && out[0].0 == "x" && out[0].1 == twice, "{out:?}");
    let (keys, out) = kept(&[RSA.jwk("x"), OTHER_RSA.jwk("x"), P256.jwk("x")]);
    assert_eq!(keys, [(named("x"), Kind::P256)]);
    assert!(out.len() == 2 && out.iter().all(|(name, why)| name == "x" && why.starts_with(kid)), "{out:?}");
    let (keys, out) = kept(&[RSA.bare_jwk(), OTHER_RSA.bare_jwk()]);
    assert_eq!((keys.len(), out.len()), (2, 0), "keys without a name are no two of one name");
    assert!(parse(&[RSA.jwk("x"), OTHER_RSA.jwk("x")]).expect_err("none is left").contains(kid));
}

#[test]
fn an_answer_without_keys_or_with_none_that_can_be_used_is_an_error() {
    let whole = |text: &str| KeySet::parse(text.as_bytes(), &issuer()).map(|set| set.keys.len());
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[{}]}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"error":"server_error"}"#,
    ] {
        assert!(whole(text).is_err(), "{text}");
    }
    let strict = KeySet::parse(
        json!({ "keys": [P256.jwk("p256")] }).to_string().as_bytes(),
        &crate::config::identity::Issuer { algorithms: Some(vec![Algorithm::RS256]), ..issuer() },
    );
    assert!(strict.expect_err("nothing fits").contains("configuration"));
    let more = json!({ "keys": [RSA.jwk("rsa")], "more": { "of": [1] } }).to_string();
    assert_eq!(whole(&more), Ok(1), "what is not known is not heeded (RFC 7517 section 5)");
}

#[test]
fn an_issuer_with_a_secret_has_no_public_keys_and_a_secret_is_as_long_as_its_algorithms_need() {
    let shared = |algorithms: Option<Vec<Algorithm>>| crate::config::identity::Issuer {
        keys: Keys::Secret(Secret::Text(String::new()), Encoding::Text),
        algorithms,
        ..issuer()
    };
    let public = json!({ "keys": keys::public() }).to_string();
    assert!(KeySet::parse(public.as_bytes(), &shared(None)).is_err());
    let algorithms = |bytes: usize, allowed| {
        KeySet::of_secret(&SECRET[..bytes], &shared(allowed)).map(|set| set.keys[0].algorithms().to_vec()).ok()
    };
    assert_eq!(algorithms(31, None), None);
    assert_eq!(algorithms(32, None), Some(vec![Algorithm::HS256]));
    assert_eq!(algorithms(63, None), Some(vec![Algorithm::HS256, Algorithm::HS384]));
    assert_eq!(algorithms(64, None), Some(vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]));
    assert_eq!(algorithms(64, Some(vec![Algorithm::HS512])), Some(vec![Algorithm::HS512]));
    assert_eq!(algorithms(32, Some(vec![Algorithm::HS512])), None);
    assert_eq!(algorithms(64, Some(vec![Algorithm::RS256])), None);
}

#[test]
fn a_thumbprint_is_that_of_rfc_7638() {
    let jwk = json!({
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3\
              oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA\
              ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-\
              kEgU8awapJzKnqDKgw",
    });
    let set = parse(&[jwk]).expect("a key");
    assert_eq!(encoded(set.keys[0].thumbprint()), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037, appendix A.3.
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let set = parse(&[jwk]).expect("a key");
    assert_eq!(encoded(set.keys[0].thumbprint()), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn sets_are_equal_when_their_keys_are_and_a_change_is_a_new_version() {
    let set = parse(&[RSA.jwk("a"), P256.jwk("b")]).expect("keys");
    assert_eq!(Ok(&set), parse(&[RSA.jwk("a"), P256.jwk("b")]).as_ref());
    for other in [
        [RSA.jwk("a"), OTHER_P256.jwk("b")],
        [RSA.jwk("c"), P256.jwk("b")],
        [but(RSA.jwk("a"), "alg", json!("RS256")), P256.jwk("b")],
    ] {
        assert_ne!(Ok(&set), parse(&other).as_ref());
    }
    let mixed = [RSA.jwk("a"), json!({ "kid": "one" }), P256.jwk("b"), json!({ "kid": "two" })];
    let turned: Vec<_> = mixed.iter().rev().cloned().collect();
    assert_eq!(parse(&mixed), parse(&turned), "the order of keys is no change");
    assert_ne!(parse(&mixed), parse(&mixed[..3]));
    let moved = but(but(RSA.jwk("a"), "kty", json!(null)), "kty", json!("RSA"));
    assert_eq!(
        parse(&[moved]),
        parse(&[but(RSA.jwk("a"), "x5t", json!("new"))]),
        "nor is the order of a key's members"
    );
    let (empty, name): (_, Arc<str>) = (KeySets::default(), "corp".into());
    let (corp, other) =
        (Arc::new(issuer()), Arc::new(crate::config::identity::Issuer { name: "other".into(), ..issuer() }));
    let one = empty.with(&name, Some((corp.clone(), Arc::new(set))));
    let there = |sets: &KeySets, place: &str| sets.of(place, &corp).is_some();
    assert_eq!((there(&empty, "corp"), there(&one, "corp"), there(&one, "other")), (false, true, false));
    assert!(one.of("corp", &Arc::new(issuer())).is_some(), "a reload that leaves the issuer as it is keeps its keys");
    assert!(one.of("corp", &other).is_none(), "keys of the configuration before are not those of another issuer");
    assert!(one.version() > empty.version() && one.with(&name, None).version() > one.version());
    assert!(one.with(&name, None).at("corp").is_none());
}
