//! A proof that who sends a token has the key that it is bound to: DPoP (RFC 9449 section 4).

mod uri;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::named;
use super::compact::{Compact, is_media_type};
use super::jwk::{self, Unfit};
use super::key::Key;
use super::rejection::{ProofFault, Rejection};
use super::rules;
use crate::config::identity::Algorithm;

/// How far the time of a proof may lie from ours, in either direction (decision 36).
const WINDOW: Duration = Duration::from_secs(60);

/// The most bytes of a `jti`: each is remembered for a while, by its digest.
const JTI: usize = 256;

/// A proof that was read. Its form is right and its key can be used; nothing else is known of it.
pub struct Proof<'a> {
    compact: Compact<'a>,
    algorithm: Algorithm,
    key: Key,
}

/// What tells a proof from all others, so that it counts once. It must be remembered, by who takes proofs, until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jti {
    /// A digest of the proof's key and its `jti`: what one client calls its proofs says nothing of those of another.
    pub digest: [u8; 32],
    /// When the proof would be too old anyway.
    pub expires: SystemTime,
}

impl<'a> Proof<'a> {
    /// Reads what the field `DPoP` carries.
    ///
    /// # Errors
    /// When it is no proof, or its key cannot be used.
    pub fn read(proof: &'a [u8]) -> Result<Proof<'a>, Rejection> {
        let compact = Compact::read(proof).map_err(fault)?;
        let parameter = |name| compact.parameter(name).map_err(fault);
        if !parameter("typ")?.is_some_and(|typ| is_media_type(typ, "dpop+jwt")) {
            return Err(ProofFault::Typ.into());
        }
        let algorithm = parameter("alg")?.and_then(named).ok_or(ProofFault::Algorithm)?;
        let key = match compact.header.get("jwk") {
            None => return Err(ProofFault::NoKey.into()),
            Some(Value::Object(jwk)) => jwk::key(jwk).map_err(|unfit| match unfit {
                Unfit::Private => ProofFault::PrivateKey,
                Unfit::Other(_) => ProofFault::Key,
            })?,
            Some(_) => return Err(ProofFault::Key.into()),
        };
        // No public key has a symmetric algorithm.
        if !key.algorithms().contains(&algorithm) {
            return Err(ProofFault::Algorithm.into());
        }
        Ok(Proof { compact, algorithm, key })
    }

    /// The nonce that it was made with (RFC 9449 section 9).
    pub fn nonce(&self) -> Option<&str> {
        self.compact.payload.get("nonce")?.as_str()
    }

    /// Checks that the proof was made now, for this request and this token, with the key that the token is bound to: the key whose
    /// thumbprint is `jkt`. `uri` is the one that the client called, from its scheme on. That it was not used before must be found out by
    /// who remembers what this returns, as the last of all checks.
    ///
    /// # Errors
    /// When it does not count.
    pub fn verify(&self, method: &str, uri: &str, token: &[u8], now: SystemTime, jkt: &str) -> Result<Jti, Rejection> {
        let claims = &self.compact.payload;
        let text = |name, fault: ProofFault| rules::text(claims, name).ok().flatten().ok_or(fault);
        if encoded(self.key.thumbprint()) != jkt {
            return Err(ProofFault::OtherKey.into());
        }
        if !self.key.verifies(self.algorithm, self.compact.signed, &self.compact.signature) {
            return Err(ProofFault::Signature.into());
        }
        let jti = text("jti", ProofFault::Jti)?;
        if !(1..=JTI).contains(&jti.len()) {
            return Err(ProofFault::Jti.into());
        }
        if text("htm", ProofFault::Method)? != method {
            return Err(ProofFault::Method.into());
        }
        if !uri::same(text("htu", ProofFault::Uri)?, uri) {
            return Err(ProofFault::Uri.into());
        }
        let expires = self.expires(now)?;
        if text("ath", ProofFault::Token)? != encoded(digest(&SHA256, token).as_ref()) {
            return Err(ProofFault::Token.into());
        }
        let whole = [&self.key.thumbprint()[..], jti.as_bytes()].concat();
        let mut jti = [0; 32];
        jti.copy_from_slice(digest(&SHA256, &whole).as_ref());
        Ok(Jti { digest: jti, expires })
    }

    /// When it is too old, if it is neither that nor made in the future.
    fn expires(&self, now: SystemTime) -> Result<SystemTime, ProofFault> {
        let made = rules::time(self.compact.payload.get("iat")).ok().flatten().ok_or(ProofFault::NoTime)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let window = WINDOW.as_secs_f64();
        if made + window < now {
            return Err(ProofFault::Old);
        }
        if made > now + window {
            return Err(ProofFault::Ahead);
        }
        // A moment more, because the comparison above lets the last instant pass.
        Ok(UNIX_EPOCH + Duration::from_secs_f64((made + window).max(0.0)) + Duration::from_secs(1))
    }
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(proof)")
    }
}

/// What is wrong with a token, said of a proof.
fn fault(rejection: Rejection) -> ProofFault {
    match rejection {
        Rejection::TooLong => ProofFault::TooLong,
        Rejection::Duplicate => ProofFault::Duplicate,
        Rejection::Critical => ProofFault::Critical,
        _ => ProofFault::Malformed,
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
