//! What an issuer remembers of the tokens that it has issued.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::keys::random;

/// The most tokens that it remembers; before the next one it forgets all.
const MOST: usize = 100_000;

/// Opaque tokens with what they mean, and which tokens no longer hold.
#[derive(Debug, Default)]
pub(super) struct Books {
    opaque: HashMap<String, Map<String, Value>>,
    /// By their `jti`.
    revoked: HashSet<String>,
}

impl Books {
    /// A new token that means this.
    pub(super) fn note(&mut self, claims: Map<String, Value>) -> String {
        if self.opaque.len() >= MOST {
            self.opaque.clear();
        }
        let token = random() + &random();
        self.opaque.insert(token.clone(), claims);
        token
    }

    /// What an opaque token means.
    pub(super) fn explained(&self, token: &str) -> Option<Map<String, Value>> {
        self.opaque.get(token).cloned()
    }

    pub(super) fn revoke(&mut self, jti: &str) {
        if self.revoked.len() >= MOST {
            self.revoked.clear();
        }
        self.revoked.insert(jti.to_owned());
    }

    pub(super) fn is_revoked(&self, jti: &str) -> bool {
        self.revoked.contains(jti)
    }
}
