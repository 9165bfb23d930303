//! What is known of one request, as plain data: who asks, and what became of it. Written by the stages of a request, read by
//! filters while it goes on, and by the access line and the metrics when it is over.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

/// Who calls, as their credential says it. It owns all that it says: of consumers that come from tokens there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The name that logs and admin show.
    pub name: Arc<str>,
    /// The customer whose user this is, where the credential says so.
    pub tenant: Option<Arc<str>>,
    /// The name of the plan that says how often they may ask.
    pub plan: Option<Arc<str>>,
    /// What they may do in `/admin`.
    pub roles: Roles,
    /// By what limits tell them from others.
    pub limits_key: LimitsKey,
    /// What says who they are.
    pub source: Source,
}

/// What a consumer may do in `/admin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// See its pages.
    pub admin: bool,
    /// Steer the gateway.
    pub operator: bool,
}

/// By what limits tell one consumer from all others: a digest of what says who they are and of what it says. Two consumers of the
/// same name from two sources share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitsKey(pub u128);

impl LimitsKey {
    /// The key of what a source calls by this name: the first 16 bytes of a SHA-256 digest of both.
    pub fn of(source: Source, name: &str) -> LimitsKey {
        let digest = digest(&SHA256, format!("{}\0{name}", source.tag()).as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest.as_ref()[..16]);
        LimitsKey(u128::from_be_bytes(first))
    }
}

/// What says who a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `[[consumer]]` of the configuration.
    Configuration,
}

impl Source {
    /// A word that no other source has. It keeps the limits' keys of two sources apart, so it must not change.
    fn tag(self) -> &'static str {
        match self {
            Source::Configuration => "configuration",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limits_key_is_the_first_half_of_a_digest_of_source_and_name() {
        let key = LimitsKey::of(Source::Configuration, "shop");
        // printf 'configuration\0shop' | sha256sum
        assert_eq!(format!("{:032x}", key.0), "cce07862eea31f7a0987565637e930ac");
        assert_ne!(key, LimitsKey::of(Source::Configuration, "shop2"));
    }
}
