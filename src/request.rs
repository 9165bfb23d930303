//! What is known of one request, as plain data: who asks, and what became of it. Written by the stages of a request, read by
//! filters while it goes on, and by the access line and the metrics when it is over.

use std::sync::Arc;

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

/// What says who a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `[[consumer]]` of the configuration.
    Configuration,
}
