//! What the claims of a token must be, so that it holds (decision 32; RFC 7519 section 4.1, RFC 8725, RFC 9068).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::compact::is_media_type;
use super::rejection::Rejection;
use crate::config::identity::{Audience, ClaimPath, Condition, Demanded, Dpop, Iss, Issuer};

/// What access tokens say in a claim `typ`, which is Keycloak's: everything else there is for something else.
const ACCESS: [&str; 6] = ["bearer", "dpop", "jwt", "at+jwt", "access", "access_token"];

/// What a claim `typ` of Keycloak's says of access tokens and of nothing else.
const SURELY_ACCESS: [&str; 2] = ["bearer", "dpop"];

/// What access tokens say in a claim `token_use`, which Cognito and Hydra have: everything else there is for something else.
const USES: [&str; 2] = ["access", "access_token"];

/// What access tokens say in a claim `token_type`: what they are, or how they are sent (RFC 6749 section 7.1, RFC 9449 section 5).
const ACCESS_TYPES: [&str; 3] = ["bearer", "dpop", "access_token"];

/// What tokens for other ends say in a claim `token_type`.
const OTHER_TYPES: [&str; 4] = ["refresh", "refresh_token", "id", "id_token"];

/// What begins the name of a type where it is a URI (RFC 8693 section 3).
const TYPE_URI: &str = "urn:ietf:params:oauth:token-type:";

/// The most seconds that a time may lie after 1970: the end of the year 9999. What is later ends there.
const LATEST: f64 = 253_402_300_799.0;

/// The claims of a token that have rules of their own, found in one walk: to look each of them up would cost more than to check it.
#[derive(Default)]
pub(super) struct Ruled<'a> {
    iss: Option<&'a Value>,
    sub: Option<&'a Value>,
    jti: Option<&'a Value>,
    aud: Option<&'a Value>,
    exp: Option<&'a Value>,
    nbf: Option<&'a Value>,
    iat: Option<&'a Value>,
    cnf: Option<&'a Value>,
    typ: Option<&'a Value>,
    token_use: Option<&'a Value>,
    token_type: Option<&'a Value>,
    /// There is a `nonce`, as in ID tokens (OpenID Connect Core 1.0, section 2).
    nonce: bool,
    /// There is a claim that only tokens for other ends have: ID tokens (OpenID Connect Core 1.0, section 3.3.2.11), logout tokens and
    /// events (RFC 8417 section 2.2).
    of_others: bool,
}

impl<'a> Ruled<'a> {
    /// Those of these claims.
    pub(super) fn of(claims: &'a Map<String, Value>) -> Ruled<'a> {
        let mut found = Ruled::default();
        for (name, value) in claims {
            let place = match name.as_str() {
                "iss" => &mut found.iss,
                "sub" => &mut found.sub,
                "jti" => &mut found.jti,
                "aud" => &mut found.aud,
                "exp" => &mut found.exp,
                "nbf" => &mut found.nbf,
                "iat" => &mut found.iat,
                "cnf" => &mut found.cnf,
                "typ" => &mut found.typ,
                "token_use" => &mut found.token_use,
                "token_type" => &mut found.token_type,
                "nonce" => {
                    found.nonce = true;
                    continue;
                }
                "at_hash" | "c_hash" | "events" => {
                    found.of_others = true;
                    continue;
                }
                _ => continue,
            };
            *place = Some(value);
        }
        found
    }

    /// The issuer that it names.
    pub(super) fn iss(&self) -> Option<&'a str> {
        self.iss?.as_str()
    }
}

/// Refuses claims that do not hold, apart from their times, and returns the thumbprint of the key that the token is bound to. `access`: the
/// header says that this is an access token (RFC 9068 section 2.1).
pub(super) fn check(
    claims: &Map<String, Value>,
    ruled: &Ruled<'_>,
    access: bool,
    issuer: &Issuer,
) -> Result<Option<Box<str>>, Rejection> {
    if [ruled.iss, ruled.sub, ruled.jti].into_iter().flatten().any(|value| !value.is_string()) {
        return Err(Rejection::Claim);
    }
    kind(ruled, access, issuer)?;
    audience(ruled.aud, issuer)?;
    if !issuer.require.iter().all(|demanded| holds(claims, demanded)) {
        return Err(Rejection::Required);
    }
    bound(ruled.cnf, issuer.dpop)
}

/// Whether an issuer calls itself so.
pub(super) fn is_name_of(iss: &Iss, name: &str) -> bool {
    match iss {
        Iss::Exact(own) => **own == *name,
        Iss::Pattern { before, after, values } => {
            let value = name.strip_prefix(&**before).and_then(|rest| rest.strip_suffix(&**after));
            value.is_some_and(|value| values.iter().any(|known| **known == *value))
        }
    }
}

/// The value at the end of a path.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, path: &ClaimPath) -> Option<&'a Value> {
    let (first, rest) = path.0.split_first()?;
    rest.iter().try_fold(claims.get(&**first)?, |value, name| value.as_object()?.get(&**name))
}

/// Whether a claim is as it is demanded.
pub fn holds(claims: &Map<String, Value>, demanded: &Demanded) -> bool {
    let Some(found) = find(claims, &demanded.claim) else { return false };
    match &demanded.condition {
        Condition::OneOf(values) => values.iter().any(|value| equal(found, value)),
        // Some issuers write a list with one member as that member alone, as `aud` may be (RFC 7519 section 4.1.3).
        Condition::Has(member) => match found {
            Value::Array(members) => members.iter().any(|found| equal(found, member)),
            one => equal(one, member),
        },
    }
}

/// Whether two values are the same text, boolean or number: 1 and 1.0 are one number to JSON (RFC 8259 section 6).
fn equal(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()),
        (Value::String(_) | Value::Bool(_), _) => found == wanted,
        _ => false,
    }
}

/// Whether `aud`, a text or a list of texts (RFC 7519 section 4.1.3), has one of these.
pub(super) fn is_for(aud: Option<&Value>, audience: &[Arc<str>]) -> Result<bool, Rejection> {
    let ours = |value: &str| audience.iter().any(|own| **own == *value);
    match aud {
        None => Ok(false),
        Some(Value::String(one)) => Ok(ours(one)),
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            Ok(all.iter().filter_map(Value::as_str).any(ours))
        }
        Some(_) => Err(Rejection::Claim),
    }
}

/// Whether it is for the gateway at all, be it for `/admin` alone.
fn audience(aud: Option<&Value>, issuer: &Issuer) -> Result<(), Rejection> {
    match &issuer.audience {
        Audience::Unchecked => Ok(()),
        Audience::OneOf(ours) if is_for(aud, ours)? || is_for(aud, &issuer.admin_audience)? => Ok(()),
        Audience::OneOf(_) => Err(Rejection::Audience),
    }
}

/// Refuses what has ended or not begun, and returns its end. Clocks may differ by `leeway`, in either direction.
pub(super) fn times(ruled: &Ruled<'_>, leeway: Duration, now: SystemTime) -> Result<Option<SystemTime>, Rejection> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let leeway = leeway.as_secs_f64();
    let expires = time(ruled.exp)?;
    if expires.is_some_and(|expires| now >= expires + leeway) {
        return Err(Rejection::Expired);
    }
    if time(ruled.nbf)?.is_some_and(|begins| begins > now + leeway) {
        return Err(Rejection::NotYetValid);
    }
    if time(ruled.iat)?.is_some_and(|issued| issued > now + leeway) {
        return Err(Rejection::IssuedAhead);
    }
    Ok(expires.map(|seconds| UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, LATEST))))
}

/// A time in seconds since 1970, perhaps with a fraction (`NumericDate`, RFC 7519 section 2).
pub(super) fn time(claim: Option<&Value>) -> Result<Option<f64>, Rejection> {
    claim.map(|value| value.as_f64().ok_or(Rejection::Claim)).transpose()
}

/// Refuses tokens for other ends: one that names a user to an application is no right to call an API, and one that makes new tokens still
/// less. What an issuer's `require` says of the claim `typ` holds instead of the list.
fn kind(ruled: &Ruled<'_>, access: bool, issuer: &Issuer) -> Result<(), Rejection> {
    // Keycloak before version 25 copies the nonce into access tokens.
    let copied = || access || ruled.typ.is_some_and(|typ| is_one(typ, &SURELY_ACCESS));
    if ruled.of_others || (ruled.nonce && !copied()) {
        return Err(Rejection::Kind);
    }
    if ruled.typ.is_some_and(|typ| !is_one(typ, &ACCESS) && !requires(issuer, "typ")) {
        return Err(Rejection::Kind);
    }
    if ruled.token_use.is_some_and(|purpose| !is_one(purpose, &USES)) || ruled.token_type.is_some_and(is_other_type) {
        return Err(Rejection::Kind);
    }
    Ok(())
}

/// Whether claims that [`check`] let pass also say that this is an access token: what issuers answer about refresh tokens may say nothing
/// of the kind, and only `aud`, where somebody looks at it, keeps those out. What an entry requires of such a claim is said by access tokens.
pub(super) fn says_access(ruled: &Ruled<'_>, issuer: &Issuer) -> bool {
    ruled.typ.is_some_and(|typ| is_one(typ, &ACCESS))
        || ruled.token_use.is_some_and(|purpose| is_one(purpose, &USES))
        || ruled.token_type.is_some_and(|value| value.as_str().is_some_and(|name| is_type(name, &ACCESS_TYPES)))
        || ["typ", "token_use", "token_type"].iter().any(|claim| requires(issuer, claim))
}

/// Whether an issuer's entry says what a claim must be.
fn requires(issuer: &Issuer, claim: &str) -> bool {
    issuer.require.iter().any(|demanded| matches!(&demanded.claim.0[..], [name] if **name == *claim))
}

/// Whether a claim is one of these kinds.
fn is_one(value: &Value, kinds: &[&str]) -> bool {
    value.as_str().is_some_and(|kind| kinds.iter().any(|name| is_media_type(kind, name)))
}

/// Whether a claim `token_type` names a token for another end. It may be the type of RFC 6749 section 7.1, too, which is no end.
fn is_other_type(value: &Value) -> bool {
    value.as_str().is_none_or(|name| is_type(name, &OTHER_TYPES))
}

/// Whether a type is one of these, perhaps as a URI.
fn is_type(name: &str, types: &[&str]) -> bool {
    let start = name.get(..TYPE_URI.len()).filter(|start| start.eq_ignore_ascii_case(TYPE_URI));
    let name = &name[start.map_or(0, str::len)..];
    types.iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// The key that a token is bound to (RFC 7800 section 3.1, RFC 9449 section 6.1). Whatever else it may be bound to is not checked here, so
/// that it does not count.
fn bound(cnf: Option<&Value>, dpop: Dpop) -> Result<Option<Box<str>>, Rejection> {
    let Some(confirmation) = cnf else {
        return if dpop == Dpop::Require { Err(Rejection::Unbound) } else { Ok(None) };
    };
    let only = confirmation.as_object().filter(|members| members.len() == 1);
    match only.and_then(|members| members.get("jkt")) {
        Some(Value::String(thumbprint)) if dpop != Dpop::Off => Ok(Some(thumbprint.as_str().into())),
        _ => Err(Rejection::Bound),
    }
}

/// A claim that is a text where it is there.
pub(super) fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Rejection> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Rejection::Claim),
    }
}
