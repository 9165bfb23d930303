//! A JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037 section 2): which key it is, or why it cannot be used.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, VerificationAlgorithm};
use curve25519_dalek::edwards::CompressedEdwardsY;
use serde_json::{Map, Value};

use super::algorithm::{RSA, named};
use super::compact::decoded;
use super::key::{Key, Kind, Material};
use crate::config::identity::Algorithm;

/// Members that only who signs may know (RFC 7518 section 6, RFC 8037 section 2).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The bits that the modulus of an RSA key may have: fewer can be broken (RFC 7518 section 3.3), more cost too much to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The primes by which keys of one maker's chips betray themselves: see [`is_of_weak_chip`].
const SMALL_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Why a JWK cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It has private members: whoever reads it can sign.
    Private,
    /// Anything else.
    Other(String),
}

impl Unfit {
    fn because(why: impl Into<String>) -> Unfit {
        Unfit::Other(why.into())
    }

    /// As a sentence's end: "the key ...".
    pub(super) fn why(self) -> String {
        match self {
            Unfit::Private => "has private members, so that everybody who reads it could sign".to_owned(),
            Unfit::Other(why) => why,
        }
    }
}

/// The public key that a JWK is, for all algorithms that its type and its own `alg` allow.
pub(super) fn key(jwk: &Map<String, Value>) -> Result<Key, Unfit> {
    let kid = text(jwk, "kid")?.map(Into::into);
    let kty = text(jwk, "kty")?.ok_or_else(|| Unfit::because("has no kty"))?;
    if kty == "oct" {
        return Err(Unfit::because("is a secret, and secrets have no place in a set of public keys"));
    }
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return Err(Unfit::Private);
    }
    purpose(jwk)?;
    let (kind, material, thumbprint) = match kty {
        "RSA" => rsa(jwk)?,
        "EC" => elliptic(jwk)?,
        "OKP" => edwards(jwk)?,
        other => return Err(Unfit::because(format!("has the kty {other:?}, which is not known"))),
    };
    let allowed: &[Algorithm] = match kind {
        Kind::Rsa { .. } => RSA,
        Kind::P256 => &[Algorithm::ES256],
        Kind::P384 => &[Algorithm::ES384],
        Kind::Ed25519 => &[Algorithm::EdDSA],
        Kind::Secret => &[],
    };
    let algorithms = match text(jwk, "alg")? {
        None => allowed.to_vec(),
        Some(name) => match named(name).filter(|algorithm| allowed.contains(algorithm)) {
            Some(algorithm) => vec![algorithm],
            None => return Err(Unfit::because(format!("is for {name:?}, which nobody can verify with {kind}"))),
        },
    };
    let mut whole = [0; 32];
    whole.copy_from_slice(digest(&SHA256, thumbprint.as_bytes()).as_ref());
    Ok(Key { kid, kind, algorithms, issuer: None, digest: whole, material })
}

/// Refuses a key that says it is for something else than verifying (RFC 7517 sections 4.2 and 4.3).
fn purpose(jwk: &Map<String, Value>) -> Result<(), Unfit> {
    if let Some(other) = text(jwk, "use")?.filter(|purpose| *purpose != "sig") {
        return Err(Unfit::because(format!("has the use {other:?}, not \"sig\"")));
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(_) => Err(Unfit::because("has key_ops without \"verify\"")),
    }
}

/// RFC 7518 section 6.3.1.
fn rsa(jwk: &Map<String, Value>) -> Result<(Kind, Material, String), Unfit> {
    let (n_text, e_text) = (needed(jwk, "n")?, needed(jwk, "e")?);
    let (n, e) = (bytes("n", n_text)?, bytes("e", e_text)?);
    // Some issuers write the sign's zero of their language's integers, though section 2 forbids it.
    let (n, e) = (significant(&n), significant(&e));
    let bits = bit_length(n);
    if !RSA_BITS.contains(&bits) {
        return Err(Unfit::because(format!("is RSA with {bits} bits; 2048 to 8192 are taken")));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    // With e = 1 a signature is its own message; AWS-LC takes no exponent of more than 33 bits.
    if !odd(n) || !odd(e) || !(2..=33).contains(&bit_length(e)) {
        return Err(Unfit::because("is RSA with numbers that no such key has"));
    }
    if is_of_weak_chip(n) {
        return Err(Unfit::because("was made by a chip whose keys can be factored (CVE-2017-15361)"));
    }
    let thumbprint = format!(r#"{{"e":"{e_text}","kty":"RSA","n":"{n_text}"}}"#);
    Ok((Kind::Rsa { bits }, Material::rsa(n, e), thumbprint))
}

/// Whether a modulus is one of those that chips of one maker made of too few random bits (CVE-2017-15361; Nemec et al., "The Return of
/// Coppersmith's Attack", 2017, section 2): by each small prime it leaves a power of 65537. Of other moduli one in 100 million does.
fn is_of_weak_chip(n: &[u8]) -> bool {
    SMALL_PRIMES.iter().all(|prime| {
        let left = n.iter().fold(0, |left, byte| (left * 256 + u32::from(*byte)) % prime);
        let mut powers = (0..*prime).scan(1, |power, _| {
            *power = *power * (65_537 % prime) % prime;
            Some(*power)
        });
        powers.any(|power| power == left)
    })
}

/// RFC 7518 section 6.2.1.
fn elliptic(jwk: &Map<String, Value>) -> Result<(Kind, Material, String), Unfit> {
    let curve = needed(jwk, "crv")?;
    let (kind, size, algorithm): (_, _, &'static dyn VerificationAlgorithm) = match curve {
        "P-256" => (Kind::P256, 32, &ECDSA_P256_SHA256_FIXED),
        "P-384" => (Kind::P384, 48, &ECDSA_P384_SHA384_FIXED),
        other => return Err(Unfit::because(format!("lies on the curve {other:?}, which is not known"))),
    };
    let (x_text, y_text) = (needed(jwk, "x")?, needed(jwk, "y")?);
    let (x, y) = (bytes("x", x_text)?, bytes("y", y_text)?);
    if x.len() != size || y.len() != size {
        return Err(Unfit::because(format!("has coordinates that have not {size} bytes, as those of {curve} have")));
    }
    let point = [&[4], &x[..], &y[..]].concat();
    if ParsedPublicKey::new(algorithm, &point).is_err() {
        return Err(Unfit::because(format!("is no point on {curve}")));
    }
    let thumbprint = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x_text}","y":"{y_text}"}}"#);
    Ok((kind, Material::elliptic(&point), thumbprint))
}

/// RFC 8037 section 2. AWS-LC takes any 32 bytes for a key, also those under which everybody can sign.
fn edwards(jwk: &Map<String, Value>) -> Result<(Kind, Material, String), Unfit> {
    let curve = needed(jwk, "crv")?;
    if curve != "Ed25519" {
        return Err(Unfit::because(format!("lies on the curve {curve:?}, which is not known")));
    }
    let text = needed(jwk, "x")?;
    let x = bytes("x", text)?;
    let point = CompressedEdwardsY::from_slice(&x).ok().and_then(|point| point.decompress());
    match point {
        Some(point) if !point.is_small_order() => {}
        _ => return Err(Unfit::because("is no point on Ed25519 that can be a key")),
    }
    let thumbprint = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{text}"}}"#);
    Ok((Kind::Ed25519, Material::edwards(&x), thumbprint))
}

/// A member that is a text where it is there.
pub(super) fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Unfit> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unfit::because(format!("has a {name} that is no text"))),
    }
}

fn needed<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, Unfit> {
    text(jwk, name)?.ok_or_else(|| Unfit::because(format!("has no {name}")))
}

fn bytes(name: &str, written: &str) -> Result<Vec<u8>, Unfit> {
    decoded(written.as_bytes()).map_err(|_| Unfit::because(format!("has a {name} that is no base64url")))
}

/// A number without the zeros before it.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The bits of a number that begins with no zero.
fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
