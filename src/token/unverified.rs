//! A token of which only its form is known, and how it becomes claims that hold.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::algorithm::{is_symmetric, named};
use super::claims::Claims;
use super::compact::{Compact, is_media_type};
use super::key_set::KeySet;
use super::rejection::Rejection;
use super::rules::{self, Ruled};
use crate::config::identity::{Algorithm, Issuer, Keys};

/// The media types of access tokens that issuers need not name (RFC 7519 section 5.1, RFC 9068 section 2.1).
const TYPES: [&str; 2] = ["jwt", ACCESS];

/// The media type of access tokens and of nothing else (RFC 9068 section 2.1).
const ACCESS: &str = "at+jwt";

/// A token that was read, and that nobody vouches for yet.
pub struct Unverified<'a> {
    compact: Compact<'a>,
    algorithm: Algorithm,
}

impl<'a> Unverified<'a> {
    /// Reads a token. What is refused here is refused whoever made it.
    ///
    /// # Errors
    /// When its form is wrong, and when nobody here could say that it holds. [`Rejection::NotJwt`] may be an opaque token.
    pub fn read(token: &'a [u8]) -> Result<Unverified<'a>, Rejection> {
        let compact = Compact::read(token)?;
        let name = compact.parameter("alg")?.ok_or(Rejection::Unsigned)?;
        if name.eq_ignore_ascii_case("none") {
            return Err(Rejection::Unsigned);
        }
        let algorithm = named(name).ok_or(Rejection::Algorithm)?;
        compact.parameter("kid")?;
        compact.parameter("typ")?;
        Ok(Unverified { compact, algorithm })
    }

    /// The name of the key that is to have made its signature (RFC 7515 section 4.1.4).
    pub fn kid(&self) -> Option<&str> {
        self.compact.parameter("kid").unwrap_or_default()
    }

    /// The issuer whose token it says it is (RFC 7519 section 4.1.1).
    pub fn iss(&self) -> Option<&str> {
        rules::text(&self.compact.payload, "iss").unwrap_or_default()
    }

    /// All that its header says, and all that its payload does: for who explains a token. Nobody vouches for it.
    pub fn says(&self) -> (&Map<String, Value>, &Map<String, Value>) {
        (&self.compact.header, &self.compact.payload)
    }

    /// Its claims, if it holds: made by this issuer, with one of these keys, and for us, now.
    ///
    /// # Errors
    /// When it does not hold. After [`Rejection::UnknownKey`] it may be worth asking the issuer for its keys.
    pub fn verify(self, issuer: &Issuer, keys: &KeySet, now: SystemTime) -> Result<Claims, Rejection> {
        let ruled = Ruled::of(&self.compact.payload);
        let iss = ruled.iss().filter(|name| rules::is_name_of(&issuer.iss, name)).ok_or(Rejection::UnknownIssuer)?;
        if issuer.algorithms.as_ref().is_some_and(|allowed| !allowed.contains(&self.algorithm))
            || is_symmetric(self.algorithm) != matches!(issuer.keys, Keys::Secret(..))
        {
            return Err(Rejection::Algorithm);
        }
        let typ = self.compact.parameter("typ")?;
        if !is_fit(typ, issuer) {
            return Err(Rejection::Typ);
        }
        // Before its key: who sends a token that has ended must hear so, though its key is gone, and nobody need look for that.
        let expires = rules::times(&ruled, issuer.leeway, now)?;
        let key = keys.pick(self.kid(), iss, self.algorithm)?;
        if !key.verifies(self.algorithm, self.compact.signed, &self.compact.signature) {
            return Err(Rejection::Signature);
        }
        let access = typ.is_some_and(|typ| is_media_type(typ, ACCESS));
        let bound = rules::check(&self.compact.payload, &ruled, access, issuer)?;
        let expires = expires.ok_or(Rejection::NoExpiry)?;
        Ok(Claims::of((self.compact.payload, self.compact.signed.len()), key.kid(), expires, bound))
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(token)")
    }
}

/// Whether a token with this `typ` is for us: others are for something else (RFC 8725 section 3.11).
fn is_fit(typ: Option<&str>, issuer: &Issuer) -> bool {
    match typ {
        None => issuer.typ.is_empty(),
        Some(typ) if issuer.typ.is_empty() => TYPES.iter().any(|name| is_media_type(typ, name)),
        Some(typ) => issuer.typ.iter().any(|name| is_media_type(typ, name)),
    }
}

/// The issuer whose token it says it is. Nobody vouches for that before it is verified.
///
/// # Errors
/// When no issuer is called so.
pub fn issuer_of<'a>(unverified: &Unverified<'_>, issuers: &'a [Arc<Issuer>]) -> Result<&'a Arc<Issuer>, Rejection> {
    let name = unverified.iss().ok_or(Rejection::UnknownIssuer)?;
    issuers.iter().find(|issuer| rules::is_name_of(&issuer.iss, name)).ok_or(Rejection::UnknownIssuer)
}
