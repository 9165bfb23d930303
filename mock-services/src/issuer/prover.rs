//! A client that proves to have a key: DPoP (RFC 9449 section 4.2).

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::claims::{fields, now, overlay};
use super::keys::{Algorithm, Key, compact, encoded, random};

/// A client's key, made when the client is.
#[derive(Debug)]
pub struct Prover {
    key: Key,
}

impl Prover {
    /// A client with a new key of this algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Prover {
        Prover { key: Key::make(algorithm) }
    }

    /// The thumbprint of its key, which a token that is bound to it has in `cnf.jkt`.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        self.key.kid()
    }

    /// A proof for one request: its method, its URI without query, and the token that goes with it, if there is one.
    #[must_use]
    pub fn proof(&self, method: &str, uri: &str, token: Option<&str>) -> String {
        self.proof_but(method, uri, token, &json!({}), &json!({}))
    }

    /// A proof in which parameters of the header and claims are other ones, or, where they are null, missing.
    #[must_use]
    pub fn proof_but(&self, method: &str, uri: &str, token: Option<&str>, header: &Value, claims: &Value) -> String {
        let ath = token.map(|token| encoded(digest(&SHA256, token.as_bytes()).as_ref()));
        let mut with = fields(json!({ "jti": random(), "htm": method, "htu": uri, "iat": now() }));
        with.extend(ath.map(|ath| ("ath".to_owned(), json!(ath))));
        overlay(&mut with, &fields(claims.clone()));
        let mut head = fields(json!({ "typ": "dpop+jwt", "alg": self.key.algorithm(), "jwk": self.key.public() }));
        overlay(&mut head, &fields(header.clone()));
        compact(&head.into(), &with.into(), &self.key)
    }
}
