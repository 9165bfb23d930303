//! The keys of an issuer (RFC 7517 section 5), and which of them a token names.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::algorithm::SECRET;
use super::json::{self, Fault};
use super::jwk;
use super::key::{Key, Kind, Material};
use super::rejection::Rejection;
use super::revoked::Revocations;
use crate::config::identity::{Algorithm, Iss, Issuer, Keys};

/// The keys of one issuer. Sets with the same keys are equal, in whichever order they are.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Those that can be used.
    pub keys: Vec<Key>,
    /// Those that were told and cannot be used.
    pub left_out: Vec<LeftOut>,
    /// There is one key, and it is a secret.
    pub secret: bool,
}

/// A key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// Why: the end of a sentence that begins with "the key".
    pub why: String,
}

impl KeySet {
    /// The keys of a JWK Set.
    ///
    /// # Errors
    /// When it is none, when the issuer has a secret, or when no key of the set can be used: that is no answer to work with.
    pub fn parse(json: &[u8], issuer: &Issuer) -> Result<KeySet, String> {
        if let Keys::Secret(..) = issuer.keys {
            return Err("the issuer has a secret, and then no public keys".to_owned());
        }
        let set = json::object(json).map_err(|fault| match fault {
            Fault::Malformed => "it is no JSON object",
            Fault::Duplicate => "an object in it has two members of one name",
        })?;
        let Some(Value::Array(written)) = set.get("keys") else {
            return Err("it is no JWK Set: the list `keys` is missing".to_owned());
        };
        let mut found = KeySet { keys: Vec::new(), left_out: Vec::new(), secret: false };
        for jwk in written {
            match fitting(jwk, issuer) {
                Ok(key) => found.keys.push(key),
                Err(why) => {
                    let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
                    found.left_out.push(LeftOut { kid, why });
                }
            }
        }
        found.leave_out_ambiguous();
        match found.left_out.first() {
            _ if !found.keys.is_empty() => Ok(found),
            None => Err("it has no keys".to_owned()),
            Some(LeftOut { why, .. }) => {
                Err(format!("none of its {} keys can be used; the first one {why}", written.len()))
            }
        }
    }

    /// A secret as the only key (RFC 7518 section 3.2).
    ///
    /// # Errors
    /// When it is too short for each algorithm that the issuer may use.
    pub fn of_secret(secret: &[u8], issuer: &Issuer) -> Result<KeySet, String> {
        let long_enough = SECRET.iter().filter(|(_, bytes)| secret.len() >= *bytes).map(|(algorithm, _)| *algorithm);
        let algorithms: Vec<_> = long_enough.filter(|algorithm| may_use(issuer, *algorithm)).collect();
        if algorithms.is_empty() {
            return Err(format!(
                "the secret has {} bytes: HS256 needs 32, HS384 48 and HS512 64 (RFC 7518 section 3.2)",
                secret.len()
            ));
        }
        let mut whole = [0; 32];
        whole.copy_from_slice(digest(&SHA256, secret).as_ref());
        let material = Material::secret(secret);
        let key = Key { kid: None, kind: Kind::Secret, algorithms, issuer: None, digest: whole, material };
        Ok(KeySet { keys: vec![key], left_out: Vec::new(), secret: true })
    }

    /// Leaves out a key that is there already, and all keys of one name of which a token could mean each: nobody can say which of them it
    /// means. Keys of different types may share a name (RFC 7517 section 4.5), and so may keys of different issuers; keys without one fit by
    /// their type.
    fn leave_out_ambiguous(&mut self) {
        let shared =
            |a: &Key, b: &Key| a.kid == b.kid && a.algorithms.iter().any(|algorithm| b.algorithms.contains(algorithm));
        let twice = |a: &Key, b: &Key| shared(a, b) && a.digest == b.digest && a.issuer == b.issuer;
        let either = |a: &Key, b: &Key| shared(a, b) && a.digest != b.digest && a.shares_issuer(b);
        let keys = std::mem::take(&mut self.keys);
        for (at, key) in keys.iter().enumerate() {
            let why = if keys[..at].iter().any(|other| twice(key, other)) {
                "is there twice"
            } else if key.kid.is_some() && keys.iter().any(|other| either(key, other)) {
                "has the kid of another key, so that nobody can say which of them a token means"
            } else {
                self.keys.push(key.clone());
                continue;
            };
            self.left_out.push(LeftOut { kid: key.kid().map(str::to_owned), why: why.to_owned() });
        }
    }

    /// Whether one of these can have signed a token that names this key, or none.
    pub fn has(&self, kid: Option<&str>) -> bool {
        self.secret || kid.is_none() || self.keys.iter().any(|key| key.kid() == kid)
    }

    /// The key that must have made the signature of a token that says this in `iss`. A secret has no name, whatever a token calls it, and
    /// a key of another issuer is as good as none.
    pub(super) fn pick(&self, kid: Option<&str>, iss: &str, algorithm: Algorithm) -> Result<&Key, Rejection> {
        let named = |key: &&Key| self.secret || kid.is_none() || key.kid() == kid;
        let mut candidates = self.keys.iter().filter(named).filter(|key| key.is_of(iss)).peekable();
        if kid.is_some() && candidates.peek().is_none() {
            return Err(Rejection::UnknownKey);
        }
        let mut fitting = candidates.filter(|key| key.algorithms.contains(&algorithm));
        let first = fitting.next().ok_or(Rejection::Algorithm)?;
        // One key may be there for several issuers.
        if fitting.all(|other| other.digest == first.digest) { Ok(first) } else { Err(Rejection::NoKid) }
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &KeySet) -> bool {
        let left_out = |set: &KeySet| {
            let mut left_out = set.left_out.clone();
            left_out.sort_unstable();
            left_out
        };
        // No key is there twice.
        self.secret == other.secret
            && self.keys.len() == other.keys.len()
            && (self.keys == other.keys || self.keys.iter().all(|key| other.keys.contains(key)))
            && left_out(self) == left_out(other)
    }
}

/// The key that a JWK is, for the algorithms that this issuer may use, or why there is none.
fn fitting(jwk: &Value, issuer: &Issuer) -> Result<Key, String> {
    let Value::Object(members) = jwk else { return Err("is no JSON object".to_owned()) };
    // Some servers write null for what they have nothing to say of.
    let said = members.iter().filter(|(_, value)| !value.is_null());
    let members = said.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut key = jwk::key(&members).map_err(jwk::Unfit::why)?;
    key.issuer = jwk::text(&members, "issuer").map_err(jwk::Unfit::why)?.map(Into::into);
    key.algorithms.retain(|algorithm| may_use(issuer, *algorithm));
    if key.algorithms.is_empty() {
        return Err("is for algorithms that the configuration does not allow".to_owned());
    }
    Ok(key)
}

/// Whether the configuration lets an issuer use an algorithm; what it says nothing of depends on the keys alone.
fn may_use(issuer: &Issuer, algorithm: Algorithm) -> bool {
    issuer.algorithms.as_ref().is_none_or(|allowed| allowed.contains(&algorithm))
}

/// The keys of all issuers whose keys are known: an input of the snapshot.
#[derive(Clone, Debug, Default)]
pub struct KeySets {
    sets: HashMap<Arc<str>, (Arc<Issuer>, Arc<KeySet>), foldhash::fast::RandomState>,
    /// Grows with each change.
    version: u64,
    revoked: Revocations,
}

impl KeySets {
    /// Where the keys of an issuer's tokens are kept: at its name; at `iss` where each tenant's keys are discovered for themselves, because no
    /// tenant's key may sign for another one.
    pub fn place<'a>(issuer: &'a Issuer, iss: &'a str) -> &'a str {
        match (&issuer.iss, &issuer.keys) {
            (Iss::Pattern { .. }, Keys::Discovery) => iss,
            _ => &issuer.name,
        }
    }

    /// The keys of an issuer that are kept at a place; `None` as long as none are known. Those of another one, which a configuration before
    /// had there, are not its keys.
    pub fn of(&self, place: &str, issuer: &Arc<Issuer>) -> Option<&Arc<KeySet>> {
        let (own, keys) = self.sets.get(place)?;
        (Arc::ptr_eq(own, issuer) || own == issuer).then_some(keys)
    }

    /// The keys that are kept at a place, whosever they are.
    #[cfg(test)]
    pub(crate) fn at(&self, place: &str) -> Option<&Arc<KeySet>> {
        self.sets.get(place).map(|(_, keys)| keys)
    }

    /// What was revoked: it is asked for tokens that are remembered, too, because it grows without another version.
    pub fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// Grows with each change: what was found out by other keys holds no longer.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The same, with other keys of an issuer at a place; `None` forgets them.
    pub fn with(&self, place: &Arc<str>, keys: Option<(Arc<Issuer>, Arc<KeySet>)>) -> KeySets {
        let mut next = KeySets { version: self.version + 1, ..self.clone() };
        match keys {
            Some(keys) => next.sets.insert(place.clone(), keys),
            None => next.sets.remove(place),
        };
        next
    }

    /// The same keys, where other tokens are revoked.
    pub fn revoking(&self, revoked: Revocations) -> KeySets {
        KeySets { revoked, ..self.clone() }
    }
}
