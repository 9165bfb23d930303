//! A key that verifies signatures.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rsa::PublicKeyComponents as RsaPublicKeyComponents;
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use crate::config::identity::Algorithm;

/// A key that verifies signatures, with the algorithms for which it may be used: never another one, whatever a token says.
#[derive(Clone)]
pub struct Key {
    pub(super) kid: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) algorithms: Vec<Algorithm>,
    /// The issuer that its set gives it to.
    pub(super) issuer: Option<Arc<str>>,
    pub(super) digest: [u8; 32],
    pub(super) material: Material,
}

/// What stands for a tenant in a key's `issuer`.
const TENANT: &str = "{tenantid}";

/// The key itself, as the crate that verifies takes it.
#[derive(Clone)]
pub(super) enum Material {
    /// An RSA key, which is read once: for each signature anew it would cost a sixth of it more.
    Rsa(Arc<Rsa>),
    /// Another one.
    Other(DecodingKey),
}

/// An RSA key.
pub(super) struct Rsa {
    components: RsaPublicKeyComponents<Vec<u8>>,
    /// It as it was read for each of [`PADDINGS`], when the first signature came.
    read: [OnceLock<Option<ParsedPublicKey>>; PADDINGS.len()],
}

/// How RSA signs (RFC 7518 sections 3.3 and 3.5). Keys of fewer than 2,048 bits are not taken.
static PADDINGS: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::PS384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::PS512, &RSA_PSS_2048_8192_SHA512),
];

impl Rsa {
    fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let Some(at) = PADDINGS.iter().position(|(own, _)| *own == algorithm) else { return false };
        let key = self.read[at].get_or_init(|| self.components.to_parsed_public_key(PADDINGS[at].1).ok());
        key.as_ref().is_some_and(|key| key.verify_sig(signed, signature).is_ok())
    }
}

impl Material {
    /// Modulus and exponent of an RSA key, without zeros before them.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Material {
        let components = RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() };
        Material::Rsa(Arc::new(Rsa { components, read: Default::default() }))
    }

    /// A point on P-256 or P-384, not compressed (SEC 1 section 2.3.3).
    pub(super) fn elliptic(point: &[u8]) -> Material {
        Material::Other(DecodingKey::from_ec_der(point))
    }

    /// A point on Ed25519's curve (RFC 8032 section 5.1.2).
    pub(super) fn edwards(point: &[u8]) -> Material {
        Material::Other(DecodingKey::from_ed_der(point))
    }

    /// A secret.
    pub(super) fn secret(secret: &[u8]) -> Material {
        Material::Other(DecodingKey::from_secret(secret))
    }
}

/// What type of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA, with so many bits.
    Rsa {
        /// The bits of its modulus.
        bits: usize,
    },
    /// A point on P-256.
    P256,
    /// A point on P-384.
    P384,
    /// A point on Ed25519's curve.
    Ed25519,
    /// A secret.
    Secret,
}

impl Key {
    /// Its name, if it has one (RFC 7517 section 4.5).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Its type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The algorithms for which it may be used, as type, `alg` and configuration allow.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The issuer that its set gives it to, if the set does so: a member `issuer`, which Entra ID has for sets of several tenants. The text
    /// `{tenantid}` in it stands for each tenant.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether it may sign tokens that say this in `iss`: a set may have keys of several issuers, and none of them must sign for another.
    pub(super) fn is_of(&self, iss: &str) -> bool {
        let Some(own) = self.issuer() else { return true };
        let Some((before, after)) = own.split_once(TENANT) else { return own == iss };
        let tenant = iss.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        tenant.is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/'))
    }

    /// Whether there can be tokens that both keys may sign, as far as their issuers say.
    pub(super) fn shares_issuer(&self, other: &Key) -> bool {
        match (self.issuer(), other.issuer()) {
            (Some(one), Some(two)) => one == two || one.contains(TENANT) || two.contains(TENANT),
            _ => true,
        }
    }

    /// Its thumbprint (RFC 7638) with SHA-256; of a secret its digest.
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether a signature was made by this key's other half, with this algorithm. The crate's own choice of a backend, which panics when
    /// another crate of the program turns on a second one, is not asked.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &Vec<u8>) -> bool {
        self.algorithms.contains(&algorithm)
            && match &self.material {
                Material::Rsa(key) => key.verifies(algorithm, signed, signature),
                Material::Other(key) => (DEFAULT_PROVIDER.verifier_factory)(&verified(algorithm), key)
                    .is_ok_and(|verifier| verifier.verify(signed, signature).is_ok()),
            }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        (&self.kid, self.kind, &self.algorithms, &self.issuer, &self.digest)
            == (&other.kid, other.kind, &other.algorithms, &other.issuer, &other.digest)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { kid, kind, algorithms, .. } = self;
        f.debug_struct("Key").field("kid", kid).field("kind", kind).field("algorithms", algorithms).finish()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Rsa { bits } => write!(f, "RSA {bits}"),
            Kind::P256 => f.write_str("EC P-256"),
            Kind::P384 => f.write_str("EC P-384"),
            Kind::Ed25519 => f.write_str("OKP Ed25519"),
            Kind::Secret => f.write_str("secret"),
        }
    }
}

/// An algorithm, as the crate that verifies calls it.
fn verified(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}
