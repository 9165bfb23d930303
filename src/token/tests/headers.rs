//! Tokens by header: what it may say, what is refused, and what is said in vain.

use serde_json::json;

use super::keys::{OTHER_P256, OTHER_RSA};
use super::mint::token;
use super::{Row, fails, holds};
use crate::config::identity::Issuer;
use crate::token::Rejection::{
    Critical, Duplicate, Encrypted, Malformed, Nested, NotJwt, Signature, Typ, UnknownKey, Unsigned,
};

pub(super) fn rows() -> Vec<Row> {
    [found_keys(), demands(), types(), wanted_types(), contents(), forms()].into_iter().flatten().collect()
}

/// Where keys may be found, as a token says it: it may say so, but nobody looks there. A token of our issuer holds whatever it says
/// there; one of a stranger does not.
fn found_keys() -> Vec<Row> {
    let evil = "https://evil.example/keys";
    let own = || OTHER_RSA.jwk("rsa");
    let stranger = || token().by(&OTHER_RSA, "RS256", "rsa");
    vec![
        holds("jku in a token of our issuer", token().header("jku", evil)),
        holds("x5u in a token of our issuer", token().header("x5u", evil)),
        holds("x5c in a token of our issuer", token().header("x5c", json!(["MIIC"]))),
        holds("x5t, as Entra has it", token().header("x5t", "nOo3ZDrODXEK1jKWhXslHR_KXEg")),
        holds("jwk in a token of our issuer", token().header("jwk", own())),
        holds("a parameter that nobody knows", token().header("http://example.com/more", true)),
        fails("jku to a stranger's keys", stranger().header("jku", evil), Signature),
        fails("x5u to a stranger's certificate", stranger().header("x5u", evil), Signature),
        fails("x5c with a stranger's certificate", stranger().header("x5c", json!(["MIIC"])), Signature),
        fails("jwk with the stranger's key that signed", stranger().header("jwk", own()), Signature),
        fails("jwk with a kid that nobody has", stranger().header("jwk", own()).header("kid", "mine"), UnknownKey),
        fails(
            "jwk on another curve, and no kid",
            token().by(&OTHER_P256, "ES256", "").no_header("kid").header("jwk", OTHER_P256.bare_jwk()),
            Signature,
        ),
    ]
}

/// What would have to be understood.
fn demands() -> Vec<Row> {
    vec![
        fails("crit", token().header("crit", json!(["exp"])).header("exp", 1), Critical),
        fails("crit with what is known anyway", token().header("crit", json!(["alg"])), Critical),
        fails("crit with nothing in it", token().header("crit", json!([])), Critical),
        fails("crit that is no list", token().header("crit", "b64"), Critical),
        fails("crit that is null", token().header("crit", json!(null)), Critical),
        fails("b64 that is false", token().header("b64", false).header("crit", json!(["b64"])), Critical),
        fails("b64 that is true", token().header("b64", true), Critical),
        fails("zip", token().header("zip", "DEF"), Critical),
        fails("enc", token().header("enc", "A256GCM"), Encrypted),
    ]
}

/// What `typ` may be where the configuration says nothing.
fn types() -> Vec<Row> {
    vec![
        holds("no typ", token().no_header("typ")),
        holds("typ JWT in lower case", token().header("typ", "jwt")),
        holds("typ at+jwt", token().header("typ", "at+jwt")),
        holds("typ application/at+jwt", token().header("typ", "application/at+jwt")),
        holds("typ in capitals", token().header("typ", "APPLICATION/AT+JWT")),
        fails("typ of a logout token", token().header("typ", "logout+jwt"), Typ),
        fails("typ of an event", token().header("typ", "secevent+jwt"), Typ),
        fails("typ of a proof", token().header("typ", "dpop+jwt"), Typ),
        fails("typ of an introspection's answer", token().header("typ", "token-introspection+jwt"), Typ),
        fails("typ of a client's assertion", token().header("typ", "client-authentication+jwt"), Typ),
        fails("typ of an authorization request", token().header("typ", "oauth-authz-req+jwt"), Typ),
        fails("typ JOSE", token().header("typ", "JOSE"), Typ),
        fails("an empty typ", token().header("typ", ""), Typ),
        fails("typ with a space", token().header("typ", "JWT "), Typ),
        fails("typ text/jwt", token().header("typ", "text/jwt"), Typ),
    ]
}

/// What `typ` may be where the configuration says it.
fn wanted_types() -> Vec<Row> {
    let at = |issuer: &mut Issuer| issuer.typ = vec!["at+jwt".to_owned()];
    let own = |issuer: &mut Issuer| issuer.typ = vec!["corp+jwt".to_owned(), "jwt".to_owned()];
    vec![
        holds("at+jwt, where it is wanted", token().header("typ", "at+jwt")).under(at),
        holds("application/AT+JWT, where at+jwt is wanted", token().header("typ", "application/AT+JWT")).under(at),
        fails("JWT, where at+jwt is wanted", token(), Typ).under(at),
        fails("no typ, where at+jwt is wanted", token().no_header("typ"), Typ).under(at),
        holds("a typ of the issuer's own, where it is wanted", token().header("typ", "Corp+JWT")).under(own),
        holds("JWT, where it is wanted among others", token()).under(own),
        fails("at+jwt, where others are wanted", token().header("typ", "at+jwt"), Typ).under(own),
    ]
}

/// What the payload is, as the header says it.
fn contents() -> Vec<Row> {
    vec![
        fails("a token in a token", token().header("cty", "JWT").payload_text(token().token()), Nested),
        fails("cty in another form", token().header("cty", "application/jwt"), Nested),
        fails("a token in a token that does not say so", token().payload_text(token().token()), Malformed),
        holds("cty of something else", token().header("cty", "json")),
    ]
}

/// Headers that are none.
fn forms() -> Vec<Row> {
    vec![
        fails(
            "a header with a member twice",
            token().header_text(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#),
            Duplicate,
        ),
        fails("a header with kid twice", token().header_text(r#"{"alg":"RS256","kid":"rsa","kid":"rsa"}"#), Duplicate),
        fails(
            "a header with a member twice, once escaped",
            token().header_text(r#"{"alg":"RS256","\u0061lg":"none"}"#),
            Duplicate,
        ),
        fails("a header that is a list", token().header_text("[]"), NotJwt),
        fails("a header that is no JSON", token().header_text("alg=RS256"), NotJwt),
        fails("a header that is null", token().header_text("null"), NotJwt),
        fails("an empty header", token().header_text(""), NotJwt),
        fails("a header without members", token().header_text("{}"), Unsigned),
        fails("a header with something behind it", token().header_text(r#"{"alg":"RS256","kid":"rsa"}{}"#), NotJwt),
        fails("alg that is a number", token().header("alg", 256), Malformed),
        fails("alg that is a list", token().header("alg", json!(["RS256"])), Malformed),
        fails("alg that is null", token().header("alg", json!(null)), Malformed),
        fails("kid that is a number", token().header("kid", 1), Malformed),
        fails("kid that is a list", token().header("kid", json!(["rsa"])), Malformed),
        fails("kid that is null", token().header("kid", json!(null)), Malformed),
        fails("typ that is a list", token().header("typ", json!(["JWT"])), Malformed),
        holds("a header with white space", token().header_text("\n{ \"alg\" : \"RS256\",\t\"kid\":\"rsa\" }\n")),
    ]
}
