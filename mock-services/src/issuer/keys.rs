//! Keys that sign: made here, shown as public keys, never written anywhere.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Rotation;

/// What a token is signed with (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, by a key of 2,048 bits.
    #[default]
    RS256,
    /// ECDSA on P-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
}

#[derive(Debug)]
enum Pair {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key and what others may know of it.
#[derive(Debug)]
pub(super) struct Key {
    pair: Pair,
    algorithm: Algorithm,
    /// The members of its JWK that its thumbprint covers, in the order that RFC 7638 section 3.2 wants.
    public: Value,
    kid: String,
}

impl Key {
    /// A new key. Its `kid` is its thumbprint, so that no two keys ever have the same, whoever made them.
    pub(super) fn make(algorithm: Algorithm) -> Key {
        const WHY: &str = "aws-lc makes keys as long as there is memory";
        let pair = match algorithm {
            Algorithm::RS256 => Pair::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).expect(WHY)),
            Algorithm::ES256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(WHY)),
            Algorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate().expect(WHY)),
        };
        let public = match &pair {
            Pair::Rsa(pair) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "e": encoded(&key.e), "kty": "RSA", "n": encoded(&key.n) })
            }
            Pair::Ec(pair) => {
                // An uncompressed point: a 4, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "crv": "P-256", "kty": "EC", "x": encoded(x), "y": encoded(y) })
            }
            Pair::Ed(pair) => json!({ "crv": "Ed25519", "kty": "OKP", "x": encoded(pair.public_key().as_ref()) }),
        };
        let kid = thumbprint(&public);
        Key { pair, algorithm, public, kid }
    }

    /// Its name, which is its thumbprint.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its public half and nothing else.
    pub(super) fn public(&self) -> &Value {
        &self.public
    }

    /// As a JWK Set shows it (RFC 7517 section 4).
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm);
        jwk["kid"] = json!(self.kid);
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        const WHY: &str = "a key of our own signs";
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect(WHY);
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect(WHY).as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// An issuer's keys: one of each algorithm signs, and some that have signed before are still shown.
#[derive(Debug)]
pub(super) struct KeyRing {
    signing: Vec<Key>,
    /// Shown, and next to sign.
    next: Vec<Key>,
    /// The newest first.
    retired: Vec<Key>,
    /// How many of these are shown.
    kept: usize,
}

impl KeyRing {
    pub(super) fn new() -> KeyRing {
        let signing = Algorithm::ALL.into_iter().map(Key::make).collect();
        KeyRing { signing, next: Vec::new(), retired: Vec::new(), kept: 0 }
    }

    /// The key that signs by this algorithm.
    pub(super) fn signing(&self, algorithm: Algorithm) -> &Key {
        self.signing.iter().find(|key| key.algorithm == algorithm).expect("there is one for each algorithm")
    }

    /// A key that signs, or one that has ever signed.
    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.signing.iter().chain(&self.retired).find(|key| key.kid == kid)
    }

    /// The algorithms of those that are next to sign.
    pub(super) fn next(&self) -> Vec<Algorithm> {
        self.next.iter().map(|key| key.algorithm).collect()
    }

    /// Puts keys in the place of those of their algorithms, or, ahead of that, beside them. Returns the `kid` of each that is shown now.
    pub(super) fn rotate(&mut self, fresh: Vec<Key>, rotation: Rotation) -> Vec<String> {
        self.next.extend(fresh);
        if !rotation.ahead {
            let of = |key: &mut Key| rotation.algorithm.is_none_or(|only| only == key.algorithm);
            for key in self.next.extract_if(.., of) {
                let place = self.signing.iter_mut().find(|old| old.algorithm == key.algorithm);
                let old = std::mem::replace(place.expect("there is one for each algorithm"), key);
                self.retired.insert(0, old);
            }
            self.kept = rotation.keep;
        }
        self.on_show().map(|key| key.kid.clone()).collect()
    }

    /// As a JWK Set.
    pub(super) fn shown(&self) -> Value {
        json!({ "keys": self.on_show().map(Key::jwk).collect::<Vec<_>>() })
    }

    fn on_show(&self) -> impl Iterator<Item = &Key> {
        self.signing.iter().chain(&self.next).chain(self.retired.iter().take(self.kept))
    }
}

/// Header and claims, signed, in compact form (RFC 7515 section 7.1).
pub(super) fn compact(header: &Value, claims: &Value, key: &Key) -> String {
    let message = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()));
    let signature = encoded(&key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The claims of a token that one of these keys has signed, whether it has expired or not.
pub(super) fn verified(token: &str, keys: &KeyRing) -> Option<Map<String, Value>> {
    let header = decode_header(token).ok()?;
    let jwk: Jwk = serde_json::from_value(keys.find(header.kid.as_deref()?)?.jwk()).ok()?;
    let mut rules = Validation::new(header.alg);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let token = decode::<Map<String, Value>>(token, &DecodingKey::from_jwk(&jwk).ok()?, &rules).ok()?;
    Some(token.claims)
}

/// The thumbprint of a public key whose members stand in the order that RFC 7638 section 3.2 wants.
fn thumbprint(public: &Value) -> String {
    encoded(digest(&SHA256, public.to_string().as_bytes()).as_ref())
}

/// A text that nobody guesses: 128 random bits.
pub(super) fn random() -> String {
    let mut bytes = [0; 16];
    fill(&mut bytes).expect("the system has random bytes");
    encoded(&bytes)
}

/// As tokens and keys write bytes (RFC 7515 section 2).
pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
