//! How to authenticate, said to whom is refused: one `WWW-Authenticate` for each method that counts (RFC 9110 section 11.6.1, RFC 6750
//! section 3, RFC 9449 section 7.1). A challenge says what was wrong with a token, and nothing that is in it.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::denied::Denied;
use crate::config::identity::{Demand, Dpop, Issuer, Method, Methods};
use crate::filter::Refusal;
use crate::token::Rejection;

/// That of API keys.
const KEY: HeaderValue = HeaderValue::from_static("ApiKey header=\"X-API-Key\"");

/// That of names and passwords.
const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"lictor\", charset=\"UTF-8\"");

/// The algorithms that a proof may be signed with.
const PROOFS: &str = "ES256 ES384 EdDSA PS256 PS384 PS512 RS256 RS384 RS512";

/// Of a route that asks for keys alone.
impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        let unauthorized = denied.status() == 401;
        refused(denied, if unauthorized { vec![KEY] } else { Vec::new() })
    }
}

/// Of a route with this demand.
pub(super) fn refusal(denied: Denied, demand: &Demand, issuers: &[Arc<Issuer>], metadata: Option<&str>) -> Refusal {
    let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
    let named = |name: &Arc<str>| issuers.iter().find(|issuer| issuer.name == *name);
    let of_issuer = |method: &Method| match method {
        Method::Issuer(name) => named(name),
        Method::Key | Method::Basic => None,
    };
    let tokens: Vec<_> = methods.iter().filter_map(of_issuer).collect();
    let mut challenges = Vec::new();
    if let Denied::Nonce(_) = denied {
        // No other method is worth a try, and there are clients that do not look for this word among several challenges.
        challenges.extend(written("DPoP", &algorithms(), &said(denied, demand, metadata)));
        return refused(denied, challenges);
    }
    if denied.status() == 401 {
        challenges.extend(methods.contains(&Method::Key).then_some(KEY));
        challenges.extend(methods.contains(&Method::Basic).then_some(BASIC));
    }
    if denied.status() == 401 || denied == Denied::Scope {
        let says = said(denied, demand, metadata);
        if tokens.iter().any(|issuer| issuer.dpop != Dpop::Require) {
            challenges.extend(written("Bearer", "", &says));
        }
        if tokens.iter().any(|issuer| issuer.dpop != Dpop::Off) {
            challenges.extend(written("DPoP", &algorithms(), &says));
        }
    }
    refused(denied, challenges)
}

/// The parameter that says how a proof may be signed.
fn algorithms() -> String {
    format!("algs=\"{PROOFS}\"")
}

fn refused(denied: Denied, challenges: Vec<HeaderValue>) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::UNAUTHORIZED),
        reason: denied.reason(),
        detail: denied.detail(),
        retry_after: denied.retry_after(),
        challenges,
        nonce: match denied {
            Denied::Nonce(nonce) => HeaderValue::from_bytes(nonce.as_bytes()).ok(),
            _ => None,
        },
    }
}

/// The parameters that say what was wrong, as far as tokens are concerned. Who sent none gets no error (RFC 6750 section 3.1).
fn said(denied: Denied, demand: &Demand, metadata: Option<&str>) -> Vec<String> {
    let mut says = Vec::new();
    match denied {
        Denied::Token(rejection) => {
            let error = match rejection {
                Rejection::Proof(_) => "invalid_dpop_proof",
                _ => "invalid_token",
            };
            says.push(format!("error=\"{error}\""));
            says.push(format!("error_description=\"{}\"", rejection.detail()));
        }
        Denied::Nonce(_) => {
            says.push("error=\"use_dpop_nonce\"".to_owned());
            says.push(format!("error_description=\"{}\"", denied.detail()));
        }
        Denied::Scope => {
            says.push("error=\"insufficient_scope\"".to_owned());
            says.push(format!("error_description=\"{}\"", denied.detail()));
        }
        _ => {}
    }
    if !demand.scopes.is_empty() {
        says.push(format!("scope=\"{}\"", demand.scopes.join(" ")));
    }
    says.extend(metadata.map(|url| format!("resource_metadata=\"{url}\"")));
    says
}

fn written(scheme: &str, first: &str, says: &[String]) -> Option<HeaderValue> {
    let parameters: Vec<&str> =
        [first].into_iter().chain(says.iter().map(String::as_str)).filter(|text| !text.is_empty()).collect();
    let space = if parameters.is_empty() { "" } else { " " };
    HeaderValue::from_str(&format!("{scheme}{space}{}", parameters.join(", "))).ok()
}
