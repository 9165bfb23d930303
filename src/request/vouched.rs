//! What a token says of its request.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// What a token says of its request besides the consumer.
#[derive(PartialEq, Eq)]
pub struct Vouched {
    /// The name of its issuer.
    pub issuer: Arc<str>,
    /// The name of the key that signed it.
    pub kid: Option<Box<str>>,
    /// The fields in which instances get to see claims.
    pub fields: Box<[(HeaderName, HeaderValue)]>,
    /// A digest of these fields, as text; empty where there are none. Requests with different ones have answers of their own.
    pub digest: Box<str>,
    /// All claims, for aggregates whose calls have some of them in their paths or bodies.
    pub claims: Arc<Map<String, Value>>,
}

impl Vouched {
    /// Of a token that does not hold, for the log.
    pub fn refused(issuer: Arc<str>, kid: Option<Box<str>>) -> Vouched {
        Vouched { issuer, kid, fields: [].into(), digest: "".into(), claims: Arc::default() }
    }
}

/// Without what the claims say: it is the caller's own.
impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|(name, _)| name).collect();
        let mut vouched = f.debug_struct("Vouched");
        vouched.field("issuer", &self.issuer).field("kid", &self.kid).field("fields", &names).finish_non_exhaustive()
    }
}
