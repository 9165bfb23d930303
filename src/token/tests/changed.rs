//! Tokens that somebody changed, byte by byte, and texts that never were tokens.

use proptest::prelude::*;
use serde_json::json;

use super::keys::{P256, encoded};
use super::mint::token;
use super::{issuer, key_set, verified};
use crate::token::proof::Proof;
use crate::token::{Claims, KeySet, Unverified};

#[test]
fn no_byte_of_a_token_can_be_changed_taken_away_or_added() {
    let good = token().by(&P256, "ES256", "p256").token().into_bytes();
    let keys = key_set(&[P256.jwk("p256")], &issuer());
    let refused = |token: &[u8]| verified(token, issuer(), &keys).is_err();
    assert!(!refused(&good));
    for at in 0..good.len() {
        for other in [b'A', b'B', b'w', b'9', b'-', b'_', b'.', b'=', b'+', b' ', b'\n', 0, 0xff] {
            let mut changed = good.clone();
            changed[at] = other;
            assert!(changed == good || refused(&changed), "byte {at} is {other}");
            let mut longer = good.clone();
            longer.insert(at, other);
            assert!(refused(&longer), "before byte {at} is {other}");
        }
        let mut shorter = good.clone();
        shorter.remove(at);
        assert!(refused(&shorter), "without byte {at}");
        assert!(refused(&good[..at]), "up to byte {at}");
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in ".{0,300}") {
        let parts = |header: &[u8]| format!("{}.{}.{}", encoded(header), encoded(text.as_bytes()), encoded(&bytes));
        for sent in [&bytes[..], text.as_bytes(), parts(br#"{"alg":"ES256"}"#).as_bytes(), parts(&bytes).as_bytes()] {
            let _ = (Unverified::read(sent).is_ok(), Proof::read(sent).is_ok());
        }
        let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": text }, { "kty": text, "n": text }] });
        for sent in [&bytes[..], text.as_bytes(), jwks.to_string().as_bytes()] {
            let _ = (KeySet::parse(sent, &issuer()).is_ok(), Claims::introspected(sent, &issuer(), super::now()).is_ok());
        }
    }
}
