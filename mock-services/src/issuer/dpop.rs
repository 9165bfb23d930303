//! Proofs that a client sends to the token endpoint (RFC 9449 section 5).

use http::Method;
use http::request::Parts;
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::claims::now;

/// How old a proof may be, in seconds.
const WINDOW: u64 = 60;

/// The thumbprint of the key that a request proves to have; `Ok(None)` where it sends no proof.
///
/// # Errors
/// What is wrong with its proof.
pub(super) fn bound_to(head: &Parts) -> Result<Option<String>, &'static str> {
    let mut proofs = head.headers.get_all("dpop").iter();
    let Some(proof) = proofs.next() else { return Ok(None) };
    if proofs.next().is_some() {
        return Err("there are two proofs");
    }
    let proof = proof.to_str().map_err(|_| "the proof is no text")?;
    let header = decode_header(proof).map_err(|_| "the proof is no JWT")?;
    let jwk = header.jwk.as_ref().ok_or("the proof has no key")?;
    if header.typ.as_deref() != Some("dpop+jwt") {
        return Err("the proof's `typ` is another");
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "the proof's key cannot be used")?;
    let mut rules = Validation::new(header.alg);
    rules.required_spec_claims.clear();
    (rules.validate_exp, rules.validate_aud) = (false, false);
    let claims = decode::<Value>(proof, &key, &rules).map_err(|_| "the proof's signature is wrong")?.claims;
    let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let uri = format!("http://{host}{}", head.uri.path());
    if claims["htm"] != Method::POST.as_str() || claims["htu"] != uri.as_str() {
        return Err("the proof is for another request");
    }
    if claims["jti"].as_str().is_none_or(str::is_empty) {
        return Err("the proof has no `jti`");
    }
    if claims["iat"].as_u64().is_none_or(|made| made.abs_diff(now()) > WINDOW) {
        return Err("the proof is of another time");
    }
    jwk.thumbprint(ThumbprintHash::SHA256).map(Some).map_err(|_| "the proof's key has no thumbprint")
}
