//! What an issuer of tokens knows and does: its keys, its tokens, and what it says of both. It knows every client: the secret of a client is
//! its name with `-secret` behind it.
//!
//! Its endpoints are answered below any path, which then belongs to its name: `http://ADDRESS/tenant/token` issues tokens of the issuer
//! `http://ADDRESS/tenant`. Its keys are made at its start and lie nowhere but in its memory.

mod books;
mod claims;
mod client;
mod dpop;
mod endpoints;
mod keys;
mod prover;

use std::sync::{Mutex, MutexGuard};

use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::books::Books;
use self::claims::{fields, now, overlay};
use self::keys::{Key, KeyRing, compact, random, verified};

pub(crate) use self::endpoints::Reply;
pub use self::keys::Algorithm;
pub use self::prover::Prover;

/// What an issuer says, and how: plain data that commands change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long its tokens hold, in seconds.
    pub lifetime_s: u64,
    /// Whom its tokens are for where a request names nobody.
    pub audience: String,
    /// The `max-age` of discovery and keys, in seconds; 0 sends none.
    pub max_age_s: u64,
    /// The name that discovery says it has; empty: its own.
    pub issuer: String,
    /// Where discovery says that its keys are; empty: where they are.
    pub jwks_uri: String,
    /// What is answered instead of its keys; null: its keys.
    pub keys: Value,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            lifetime_s: 300,
            audience: "https://api.example.com".into(),
            max_age_s: 0,
            issuer: String::new(),
            jwks_uri: String::new(),
            keys: Value::Null,
        }
    }
}

/// A token as it is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Claims besides those that every token has, or instead of them. One that is null is left out.
    pub claims: Map<String, Value>,
    /// Parameters of its header, likewise.
    pub header: Map<String, Value>,
    /// What it is signed with.
    pub algorithm: Algorithm,
    /// A text that says nothing, and that only the issuer can explain (RFC 7662).
    pub opaque: bool,
    /// Signed with a key that the issuer never had, whatever its header says.
    pub forged: bool,
}

impl Wanted {
    /// A token with these claims, which must be a JSON object.
    #[must_use]
    pub fn with(claims: Value) -> Wanted {
        Wanted { claims: fields(claims), ..Wanted::default() }
    }
}

/// New keys.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// Of this algorithm; null: of each.
    pub algorithm: Option<Algorithm>,
    /// How many of those that have signed before are still shown.
    pub keep: usize,
    /// They do not sign yet but are shown, as a careful issuer does it. The next rotation without this lets them sign.
    pub ahead: bool,
}

impl Default for Rotation {
    /// All keys are new, and those that signed until now are still shown.
    fn default() -> Rotation {
        Rotation { algorithm: None, keep: Algorithm::ALL.len(), ahead: false }
    }
}

/// What all connections of an issuer share.
#[derive(Debug)]
pub(crate) struct State {
    url: String,
    keys: Mutex<KeyRing>,
    books: Mutex<Books>,
    settings: Mutex<Settings>,
}

impl State {
    /// An issuer with new keys that is reached at this URL.
    pub(crate) fn new(url: String) -> State {
        State { url, keys: Mutex::new(KeyRing::new()), books: Mutex::default(), settings: Mutex::default() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Answers a request; `None` for a path that is not the issuer's.
    pub(crate) fn answer(&self, head: &Parts, body: &[u8]) -> Option<Reply> {
        endpoints::answer(self, head, body)
    }

    /// Answers a command: `None` for a path that is none of its commands.
    pub(crate) fn command(&self, head: &Parts, body: &[u8]) -> Option<Reply> {
        endpoints::command(self, head, body)
    }

    pub(crate) fn settings(&self) -> Settings {
        held(&self.settings).clone()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut held(&self.settings));
    }

    /// A token of the issuer of this name.
    pub(crate) fn token(&self, issuer: &str, wanted: &Wanted) -> String {
        let settings = self.settings();
        let begun = now();
        let mut claims = fields(json!({
            "iss": issuer,
            "sub": "somebody",
            "aud": settings.audience,
            "iat": begun,
            "exp": begun + settings.lifetime_s,
            "jti": random()
        }));
        overlay(&mut claims, &wanted.claims);
        if wanted.opaque {
            return held(&self.books).note(claims);
        }
        let forger = wanted.forged.then(|| Key::make(wanted.algorithm));
        let keys = held(&self.keys);
        let key = keys.signing(wanted.algorithm);
        let mut header = fields(json!({ "alg": wanted.algorithm, "typ": "at+jwt", "kid": key.kid() }));
        overlay(&mut header, &wanted.header);
        compact(&header.into(), &claims.into(), forger.as_ref().unwrap_or(key))
    }

    /// Makes the keys before it takes the lock: one for RSA takes a tenth of a second. Returns the `kid` of each that is shown now.
    pub(crate) fn rotate(&self, rotation: Rotation) -> Vec<String> {
        let of = |algorithm: &Algorithm| rotation.algorithm.is_none_or(|only| only == *algorithm);
        let ready = held(&self.keys).next();
        let fresh = Algorithm::ALL.into_iter().filter(of).filter(|algorithm| !ready.contains(algorithm));
        let fresh: Vec<_> = fresh.map(Key::make).collect();
        held(&self.keys).rotate(fresh, rotation)
    }

    /// Its public keys as a JWK Set (RFC 7517 section 5).
    pub(crate) fn shown(&self) -> Value {
        held(&self.keys).shown()
    }

    /// What a token means that holds.
    fn explained(&self, token: &str) -> Option<Map<String, Value>> {
        let claims = held(&self.books).explained(token).or_else(|| verified(token, &held(&self.keys)))?;
        let jti = claims.get("jti").and_then(Value::as_str)?;
        let holds = !held(&self.books).is_revoked(jti) && claims.get("exp")?.as_u64()? > now();
        holds.then_some(claims)
    }

    /// The token holds no longer, for who asks.
    fn revoke(&self, token: &str) {
        if let Some(claims) = self.explained(token)
            && let Some(jti) = claims.get("jti").and_then(Value::as_str)
        {
            held(&self.books).revoke(jti);
        }
    }
}

/// The state behind a lock.
fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().expect("no one panics while holding this")
}

#[cfg(test)]
mod tests;
