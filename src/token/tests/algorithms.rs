//! Tokens by algorithm: which ones an issuer's keys and configuration allow.

use std::sync::LazyLock;

use super::keys::{EDWARDS, P256, P384, RSA, SECRET, Signer};
use super::mint::token;
use super::{Row, fails, holds};
use crate::config::Secret;
use crate::config::identity::{Algorithm, Encoding, Issuer, Keys};
use crate::token::Rejection::{Algorithm as WrongAlgorithm, Signature, Unsigned};

/// The issuer's secret, where it has one.
static SHARED: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(SECRET.to_vec()));
/// Public keys, taken for secrets.
static RSA_AS_SECRET: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(RSA.public_bytes()));
static P256_AS_SECRET: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(P256.public_bytes()));
static NO_SECRET: LazyLock<Signer> = LazyLock::new(|| Signer::Secret(Vec::new()));

pub(super) fn rows() -> Vec<Row> {
    [own(), unsigned(), confused(), configured(), shared()].into_iter().flatten().collect()
}

/// Each algorithm with the key that it is for.
fn own() -> Vec<Row> {
    vec![
        holds("RS256", token().by(&RSA, "RS256", "rsa")),
        holds("RS384", token().by(&RSA, "RS384", "rsa")),
        holds("RS512", token().by(&RSA, "RS512", "rsa")),
        holds("PS256", token().by(&RSA, "PS256", "rsa")),
        holds("PS384", token().by(&RSA, "PS384", "rsa")),
        holds("PS512", token().by(&RSA, "PS512", "rsa")),
        holds("ES256", token().by(&P256, "ES256", "p256")),
        holds("ES384", token().by(&P384, "ES384", "p384")),
        holds("EdDSA", token().by(&EDWARDS, "EdDSA", "ed")),
        holds("EdDSA by its name of RFC 9864", token().by(&EDWARDS, "Ed25519", "ed")),
    ]
}

/// Nobody signed.
fn unsigned() -> Vec<Row> {
    let unsigned = |name: &str| token().header("alg", name).sent(cut);
    vec![
        fails("none, without a signature", unsigned("none"), Unsigned),
        fails("None, without a signature", unsigned("None"), Unsigned),
        fails("NONE, without a signature", unsigned("NONE"), Unsigned),
        fails("nOnE, without a signature", unsigned("nOnE"), Unsigned),
        fails("none, with a signature that would be right", token().header("alg", "none"), Unsigned),
        fails("none under a typ of its own", unsigned("none").header("typ", "at+jwt"), Unsigned),
        fails("none with a space", unsigned("none "), WrongAlgorithm),
        fails("no name of an algorithm", unsigned(""), WrongAlgorithm),
        fails("no alg at all", token().no_header("alg"), Unsigned),
        fails("RS256, without a signature", token().sent(cut), Signature),
    ]
}

fn cut(token: String) -> String {
    token[..=token.rfind('.').expect("three parts")].to_owned()
}

/// Algorithms and keys that do not belong together.
fn confused() -> Vec<Row> {
    vec![
        fails("HS256 with the RSA key as its secret", token().by(&RSA_AS_SECRET, "HS256", "rsa"), WrongAlgorithm),
        fails("HS256 with the EC key as its secret", token().by(&P256_AS_SECRET, "HS256", "p256"), WrongAlgorithm),
        fails("HS256 with an empty secret", token().by(&NO_SECRET, "HS256", "rsa").no_header("kid"), WrongAlgorithm),
        fails("HS512 with the RSA key as its secret", token().by(&RSA_AS_SECRET, "HS512", "rsa"), WrongAlgorithm),
        fails("ES256 under the name of the RSA key", token().by(&P256, "ES256", "rsa"), WrongAlgorithm),
        fails("RS256 under the name of the EC key", token().by(&RSA, "RS256", "p256"), WrongAlgorithm),
        fails("EdDSA under the name of the EC key", token().by(&EDWARDS, "EdDSA", "p256"), WrongAlgorithm),
        fails("ES256 with the key on P-384", token().by(&P384, "ES256", "p384"), WrongAlgorithm),
        fails("ES384 with the key on P-256", token().by(&P256, "ES384", "p256"), WrongAlgorithm),
        fails("ES512, which is not verified here", token().by(&P384, "ES512", "p384"), WrongAlgorithm),
        fails("ES256K, which is not verified here", token().by(&P256, "ES256K", "p256"), WrongAlgorithm),
        fails("an algorithm for encryption", token().header("alg", "RSA-OAEP"), WrongAlgorithm),
        fails("an algorithm in lower case", token().header("alg", "rs256"), WrongAlgorithm),
        fails("RS384, said to be RS256", token().by(&RSA, "RS384", "rsa").header_text(SAYS_RS256), Signature),
        fails("PS256, said to be RS256", token().by(&RSA, "PS256", "rsa").header_text(SAYS_RS256), Signature),
        fails("RS256, said to be PS256", token().header_text(r#"{"alg":"PS256","kid":"rsa"}"#), Signature),
    ]
}

const SAYS_RS256: &str = r#"{"alg":"RS256","kid":"rsa"}"#;

/// What the configuration allows of what the keys could verify.
fn configured() -> Vec<Row> {
    let only =
        |algorithms: &'static [Algorithm]| move |issuer: &mut Issuer| issuer.algorithms = Some(algorithms.to_vec());
    vec![
        holds("RS256, the only one allowed", token()).under(only(&[Algorithm::RS256])),
        holds("ES256, one of two allowed", token().by(&P256, "ES256", "p256"))
            .under(only(&[Algorithm::RS256, Algorithm::ES256])),
        fails("PS256, where RS256 is allowed", token().by(&RSA, "PS256", "rsa"), WrongAlgorithm)
            .under(only(&[Algorithm::RS256])),
        fails("EdDSA, where RS256 is allowed", token().by(&EDWARDS, "EdDSA", "ed"), WrongAlgorithm)
            .under(only(&[Algorithm::RS256])),
        fails(
            "HS256, allowed by mistake beside public keys",
            token().by(&RSA_AS_SECRET, "HS256", "rsa"),
            WrongAlgorithm,
        )
        .under(only(&[Algorithm::RS256, Algorithm::HS256])),
    ]
}

/// An issuer with a secret.
fn shared() -> Vec<Row> {
    let secret = |issuer: &mut Issuer| issuer.keys = Keys::Secret(Secret::Text("elsewhere".to_owned()), Encoding::Text);
    let only_hs256 = move |issuer: &mut Issuer| {
        secret(issuer);
        issuer.algorithms = Some(vec![Algorithm::HS256]);
    };
    vec![
        holds("HS256 with the secret", token().by(&SHARED, "HS256", "any")).under(secret),
        holds("HS384 with the secret", token().by(&SHARED, "HS384", "any")).under(secret),
        holds("HS512 with the secret", token().by(&SHARED, "HS512", "any").no_header("kid")).under(secret),
        fails("HS512, where HS256 is allowed", token().by(&SHARED, "HS512", "any"), WrongAlgorithm).under(only_hs256),
        fails("HS256 with another secret", token().by(&NO_SECRET, "HS256", "any"), Signature).under(secret),
        fails(
            "HS256, with half of its code",
            token().by(&SHARED, "HS256", "any").resigned(|code| code[..16].to_vec()),
            Signature,
        )
        .under(secret),
        fails("RS256, where a secret is shared", token(), WrongAlgorithm).under(secret),
        fails("none, where a secret is shared", token().header("alg", "none").sent(cut), Unsigned).under(secret),
        fails("the secret, where there are public keys", token().by(&SHARED, "HS256", "any"), WrongAlgorithm),
    ]
}
