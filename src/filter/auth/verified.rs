//! Who a token's caller is, once it holds: a consumer, and what instances get to see of its claims.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::config::identity::{Iss, Issuer};
use crate::request::{Consumer, LimitsKey, Roles, Source, Vouched};
use crate::token::counts::Counted;
use crate::token::revoked::{Presented, Revocations};
use crate::token::{Claims, Rejection};

/// A token that holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) issuer: Arc<Issuer>,
    pub(super) claims: Arc<Claims>,
    pub(super) consumer: Arc<Consumer>,
    pub(super) vouched: Arc<Vouched>,
    pub(super) counted: Arc<Counted>,
    /// It is for the gateway's routes, not for `/admin` alone.
    pub(super) for_routes: bool,
}

impl Verified {
    /// Whom the claims of a token name.
    ///
    /// # Errors
    /// When they name nobody.
    pub(super) fn new(issuer: &Arc<Issuer>, claims: Arc<Claims>, counted: Arc<Counted>) -> Result<Verified, Rejection> {
        let (claim, value) = claims.consumer(issuer)?;
        // Each tenant names its users by itself.
        let tenant = if let Iss::Pattern { .. } = issuer.iss { claims.top("iss") } else { None };
        let roles = Roles { admin: claims.is_admin(issuer), operator: claims.is_operator(issuer) };
        let consumer = Consumer {
            name: value.into(),
            tenant: claims.tenant(issuer).map(Into::into),
            plan: claims.plan(issuer).cloned(),
            roles,
            limits_key: LimitsKey::of_claim((&issuer.name, tenant), &claim.0, value),
            source: Source::Token,
        };
        let fields: Box<[_]> = issuer
            .forward
            .iter()
            .filter_map(|(claim, name)| Some((name.clone(), value_of(claims.get(claim)?)?)))
            .collect();
        let (digest, members) = (digest(&fields), claims.all().clone());
        let kid = claims.kid().map(Into::into);
        let vouched = Vouched { issuer: issuer.name.clone(), kid, digest, fields, claims: members };
        let (consumer, vouched) = (Arc::new(consumer), Arc::new(vouched));
        let for_routes = claims.is_for_routes(issuer);
        Ok(Verified { issuer: issuer.clone(), claims, consumer, vouched, counted, for_routes })
    }

    /// Whether it was revoked.
    pub(super) fn is_revoked(&self, revoked: &Revocations) -> bool {
        if revoked.is_empty() {
            return false;
        }
        let presented = Presented {
            issuer: &self.issuer.name,
            jti: self.claims.top("jti"),
            sub: self.claims.top("sub"),
            issued: self.claims.issued(),
            leeway: self.issuer.leeway,
        };
        revoked.holds(presented, SystemTime::now())
    }
}

/// A claim as the value of a field: texts, numbers, booleans, and lists of these with commas between them. What is no visible ASCII, `%`,
/// and in lists the comma are percent-encoded, so that nothing in a claim can be read as anything else.
fn value_of(claim: &Value) -> Option<HeaderValue> {
    let mut text = String::new();
    match claim {
        Value::Array(members) => {
            for (index, member) in members.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                scalar(&mut text, member, true)?;
            }
        }
        other => scalar(&mut text, other, false)?,
    }
    let mut value = HeaderValue::from_str(&text).ok()?;
    // It is somebody's name or address: no log may show it by accident.
    value.set_sensitive(true);
    Some(value)
}

fn scalar(into: &mut String, value: &Value, listed: bool) -> Option<()> {
    match value {
        Value::String(text) => {
            for byte in text.bytes() {
                match byte {
                    b'%' => into.push_str("%25"),
                    b',' if listed => into.push_str("%2C"),
                    byte if byte.is_ascii_graphic() => into.push(byte.into()),
                    byte => write!(into, "%{byte:02X}").ok()?,
                }
            }
        }
        Value::Bool(flag) => into.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => write!(into, "{number}").ok()?,
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    }
    Some(())
}

/// A digest of all that is forwarded: answers may depend on any of it.
fn digest(fields: &[(HeaderName, HeaderValue)]) -> Box<str> {
    if fields.is_empty() {
        return "".into();
    }
    let mut context = Context::new(&SHA256);
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), value.as_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    }
    let mut text = String::new();
    for byte in context.finish().as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::identity::ClaimPath;
    use crate::issuers::tests::issuer;
    use crate::token::counts::Counts;

    #[test]
    fn users_of_one_name_are_one_consumer_unless_they_are_of_different_tenants() {
        let iss = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        let values = vec!["a".into(), "b".into()];
        let pattern = Iss::Pattern { before: "https://login.example/".into(), after: "/v2.0".into(), values };
        let consumer = vec![ClaimPath(vec!["sub".into()])];
        let one = Arc::new(Issuer { consumer, ..issuer("corp", &iss("a")) });
        let many = Arc::new(Issuer { iss: pattern, ..(*one).clone() });
        let key = |issuer: &Arc<Issuer>, tenant: &str| {
            let says =
                json!({ "active": true, "typ": "Bearer", "sub": "alice", "iss": iss(tenant), "exp": 4_000_000_000u64 });
            let claims = Claims::introspected(says.to_string().as_bytes(), issuer, SystemTime::now());
            let counted = Counts::new(1).of(&issuer.name);
            let verified = Verified::new(issuer, Arc::new(claims.expect("it holds")), counted);
            verified.expect("it names somebody").consumer.limits_key
        };
        assert_eq!(key(&many, "a"), key(&many, "a"));
        assert_ne!(key(&many, "a"), key(&many, "b"));
        assert_ne!(key(&many, "a"), key(&one, "a"), "the configuration knows it by another name");
    }

    #[test]
    fn a_claim_is_forwarded_so_that_nothing_in_it_can_be_read_as_anything_else() {
        let written = |value: Value| value_of(&value).map(|value| value.to_str().expect("ASCII").to_owned());
        assert_eq!(written(json!("a b,c%\r\nX: y")).as_deref(), Some("a%20b,c%25%0D%0AX:%20y"));
        assert_eq!(written(json!(["a,b", "ü", 1, true])).as_deref(), Some("a%2Cb,%C3%BC,1,true"));
        assert_eq!(written(json!(12.5)).as_deref(), Some("12.5"));
        assert_eq!(written(json!("")).as_deref(), Some(""));
        assert_eq!(written(json!({ "a": 1 })), None);
        assert_eq!(written(json!([["a"]])), None);
    }

    #[test]
    fn what_is_forwarded_has_a_digest_of_names_and_values() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let fields = fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
            digest(&fields.collect::<Vec<_>>())
        };
        assert_eq!(&*of(&[]), "");
        assert_ne!(of(&[("x-a", "bc")]), of(&[("x-ab", "c")]));
        assert_ne!(of(&[("x-a", "1"), ("x-b", "")]), of(&[("x-a", ""), ("x-b", "1")]));
    }
}
