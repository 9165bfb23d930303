//! What a token that holds says of its caller.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::json;
use super::rejection::Rejection;
use super::rules::{self, Ruled};
use crate::config::identity::{Audience, ClaimPath, Demanded, Iss, Issuer, PlanOf};

/// The claims of a token that holds.
#[derive(Clone, PartialEq)]
pub struct Claims {
    members: Arc<Map<String, Value>>,
    kid: Option<Box<str>>,
    expires: SystemTime,
    bound: Option<Box<str>>,
    /// How many bytes they were read from.
    bytes: usize,
}

impl Claims {
    /// Those of a token that was found to hold, read from so many bytes.
    pub(super) fn of(
        (members, bytes): (Map<String, Value>, usize),
        kid: Option<&str>,
        expires: SystemTime,
        bound: Option<Box<str>>,
    ) -> Claims {
        Claims { members: Arc::new(members), kid: kid.map(Into::into), expires, bound, bytes }
    }

    /// What an issuer answers about an opaque token (RFC 7662 section 2.2), by the rules that signed tokens are held to. Only `iss` and
    /// `exp` may be missing: the issuer was asked itself, and an answer without an end holds for as long as it is remembered. Where nobody
    /// looks at `aud`, the answer must say that this is an access token.
    ///
    /// # Errors
    /// When the token does not hold, or when the answer is none.
    pub fn introspected(answer: &[u8], issuer: &Issuer, now: SystemTime) -> Result<Claims, Rejection> {
        let mut members = json::object(answer).map_err(|_| Rejection::IssuerUnavailable)?;
        // Servers write null for what they have nothing to say of.
        members.retain(|_, value| !value.is_null());
        match members.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(Rejection::Inactive),
            _ => return Err(Rejection::IssuerUnavailable),
        }
        let ruled = Ruled::of(&members);
        let expires = rules::times(&ruled, issuer.leeway, now)?;
        let bound = rules::check(&members, &ruled, false, issuer)?;
        // Of several tenants it must say whose token it is: each names its users by itself.
        let named = ruled.iss().map(|name| rules::is_name_of(&issuer.iss, name));
        if !named.unwrap_or(matches!(issuer.iss, Iss::Exact(_))) {
            return Err(Rejection::UnknownIssuer);
        }
        if issuer.audience == Audience::Unchecked && !rules::says_access(&ruled, issuer) {
            return Err(Rejection::Kind);
        }
        let remember = issuer.opaque.as_ref().map(|opaque| opaque.remember).unwrap_or_default();
        Ok(Claims::of((members, answer.len()), None, expires.unwrap_or(now + remember), bound))
    }

    /// All of them, in the order of the token.
    pub fn all(&self) -> &Arc<Map<String, Value>> {
        &self.members
    }

    /// The value at the end of a path.
    pub fn get(&self, claim: &ClaimPath) -> Option<&Value> {
        rules::find(&self.members, claim)
    }

    /// The text at the end of a path.
    pub fn text(&self, claim: &ClaimPath) -> Option<&str> {
        self.get(claim)?.as_str()
    }

    /// The text of a claim at the top, as `jti` and `sub` are (RFC 7519 section 4.1).
    pub fn top(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// The scopes that it has: those of the first of `scopes_from` that is there, a text with spaces between them (RFC 8693 section 4.2)
    /// or a list. One that is null is not there.
    pub fn scopes(&self, issuer: &Issuer) -> Vec<&str> {
        self.each_scope(issuer).collect()
    }

    /// Whether it has a scope.
    pub fn has_scope(&self, issuer: &Issuer, scope: &str) -> bool {
        self.each_scope(issuer).any(|own| own == scope)
    }

    fn each_scope(&self, issuer: &Issuer) -> impl Iterator<Item = &str> {
        let found = issuer.scopes_from.iter().find_map(|claim| self.get(claim).filter(|found| !found.is_null()));
        let text = found.and_then(Value::as_str).unwrap_or_default().split(' ');
        let list = found.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        text.chain(list.iter().filter_map(Value::as_str)).filter(|scope| !scope.is_empty())
    }

    /// Whether a claim is as it is demanded.
    pub fn holds(&self, demanded: &Demanded) -> bool {
        rules::holds(&self.members, demanded)
    }

    /// Whether it is for one of these: a route may want less than what its issuer allows.
    pub fn is_for(&self, audience: &[Arc<str>]) -> bool {
        rules::is_for(self.members.get("aud"), audience).unwrap_or(false)
    }

    /// Whether it is for the gateway's routes: some tokens are for `/admin` alone.
    pub fn is_for_routes(&self, issuer: &Issuer) -> bool {
        match &issuer.audience {
            Audience::OneOf(ours) => self.is_for(ours),
            Audience::Unchecked => true,
        }
    }

    /// The bytes of memory that it takes, as they are estimated: some, and four for each byte that it was read from.
    pub fn weight(&self) -> u64 {
        512 + 4 * self.bytes as u64
    }

    /// When it ends.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// When it was issued, if it says so (RFC 7519 section 4.1.6).
    pub fn issued(&self) -> Option<SystemTime> {
        let seconds = self.members.get("iat")?.as_f64()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
    }

    /// The name of the key that made its signature.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The thumbprint of the key that it is bound to (RFC 9449 section 6.1): whoever sends it must prove to have that key.
    pub fn cnf_jkt(&self) -> Option<&str> {
        self.bound.as_deref()
    }

    /// Who calls: the first of the issuer's `consumer` that is there, and what it says. With the issuer's name that is the consumer,
    /// never joined to one text (decision 36).
    ///
    /// # Errors
    /// When none is there, or the first one is no text: another claim would be another consumer.
    pub fn consumer<'a>(&'a self, issuer: &'a Issuer) -> Result<(&'a ClaimPath, &'a str), Rejection> {
        let there = |claim: &'a ClaimPath| self.get(claim).filter(|value| !value.is_null()).map(|value| (claim, value));
        let (claim, value) = issuer.consumer.iter().find_map(there).ok_or(Rejection::NoConsumer)?;
        let name = value.as_str().filter(|name| !name.is_empty()).ok_or(Rejection::NoConsumer)?;
        Ok((claim, name))
    }

    /// The consumer's tenant, where the token says it.
    pub fn tenant(&self, issuer: &Issuer) -> Option<&str> {
        self.text(issuer.tenant.as_ref()?).filter(|tenant| !tenant.is_empty())
    }

    /// The name of the consumer's plan.
    pub fn plan<'a>(&self, issuer: &'a Issuer) -> Option<&'a Arc<str>> {
        match issuer.plan.as_ref()? {
            PlanOf::Always(plan) => Some(plan),
            PlanOf::Claim { claim, map, other } => {
                let said = self.text(claim);
                let entry = map.iter().find(|(value, _)| said == Some(&**value));
                entry.map(|(_, plan)| plan).or(other.as_ref())
            }
        }
    }

    /// Whether its caller may see `/admin`.
    pub fn is_admin(&self, issuer: &Issuer) -> bool {
        issuer.admin.as_ref().is_some_and(|demanded| self.holds(demanded))
    }

    /// Whether its caller may steer the gateway.
    pub fn is_operator(&self, issuer: &Issuer) -> bool {
        issuer.operator.as_ref().is_some_and(|demanded| self.holds(demanded))
    }
}

/// Names and addresses of people are in there: no log may show them by accident.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(claims)")
    }
}
