//! Signature algorithms: their names in tokens and keys, and which type of key each is for.

use crate::config::identity::Algorithm;

/// The algorithm of a name in `alg` (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864 section 2.2); `None`: none that is verified here.
pub(super) fn named(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// Those of RSA keys.
pub(super) const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// Those of secrets, each with the fewest bytes that a secret for it has (RFC 7518 section 3.2).
pub(super) const SECRET: &[(Algorithm, usize)] =
    &[(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)];

/// Whether who verifies could sign as well (RFC 7518 section 3.2).
pub(super) fn is_symmetric(algorithm: Algorithm) -> bool {
    SECRET.iter().any(|(symmetric, _)| *symmetric == algorithm)
}
