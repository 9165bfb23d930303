//! Keys of the table's issuer, and of strangers: made once for all tests.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The secret of an issuer that shares one: 64 bytes, enough for each algorithm.
pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A key that signs.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    Elliptic(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
    /// Anything that is used as a secret.
    Secret(Vec<u8>),
}

/// The issuer's RSA key.
pub(super) static RSA: LazyLock<Signer> = LazyLock::new(rsa);
/// An RSA key that the issuer does not have.
pub(super) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(rsa);
/// Its key on P-256.
pub(super) static P256: LazyLock<Signer> = LazyLock::new(|| elliptic(&signature::ECDSA_P256_SHA256_FIXED_SIGNING));
/// A key on P-256 that it does not have.
pub(super) static OTHER_P256: LazyLock<Signer> =
    LazyLock::new(|| elliptic(&signature::ECDSA_P256_SHA256_FIXED_SIGNING));
/// Its key on P-384.
pub(super) static P384: LazyLock<Signer> = LazyLock::new(|| elliptic(&signature::ECDSA_P384_SHA384_FIXED_SIGNING));
/// Its key for Ed25519.
pub(super) static EDWARDS: LazyLock<Signer> =
    LazyLock::new(|| Signer::Edwards(Ed25519KeyPair::generate().expect("a key")));

fn rsa() -> Signer {
    Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"))
}

fn elliptic(algorithm: &'static EcdsaSigningAlgorithm) -> Signer {
    Signer::Elliptic(EcdsaKeyPair::generate(algorithm).expect("a key"))
}

/// The public keys of the issuer, as it publishes them.
pub(super) fn public() -> Vec<Value> {
    vec![RSA.jwk("rsa"), P256.jwk("p256"), P384.jwk("p384"), EDWARDS.jwk("ed")]
}

/// A JWK with a member changed; null takes it away.
pub(super) fn but(mut jwk: Value, name: &str, value: Value) -> Value {
    let members = jwk.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    jwk
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// A signature by this algorithm, or by the one that the key has where the name is none of its own.
    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).expect("a signature");
                signature
            }
            Signer::Elliptic(pair) => pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec(),
            Signer::Edwards(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::Secret(secret) => {
                let algorithm = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
            }
        }
    }

    /// The public half.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        but(self.bare_jwk(), "kid", json!(kid))
    }

    /// The public half, without a name.
    pub(super) fn bare_jwk(&self) -> Value {
        match self {
            Signer::Rsa(pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": encoded(&parts.n), "e": encoded(&parts.e) })
            }
            Signer::Elliptic(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y) })
            }
            Signer::Edwards(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref()) })
            }
            Signer::Secret(secret) => json!({ "kty": "oct", "k": encoded(secret) }),
        }
    }

    /// The public key in the form in which it is mistaken for a secret.
    pub(super) fn public_bytes(&self) -> Vec<u8> {
        match self {
            Signer::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Elliptic(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Edwards(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Secret(secret) => secret.clone(),
        }
    }
}

/// The SHA-256 of a text, in base64url.
pub(super) fn sha256(text: &[u8]) -> String {
    encoded(digest::digest(&digest::SHA256, text).as_ref())
}
