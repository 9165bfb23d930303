//! The endpoints: what is asked of an issuer, and what it answers.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use super::client::{Form, client, form};
use super::dpop::bound_to;
use super::{Algorithm, Rotation, State, Wanted};

/// What an issuer answers.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
}

const DISCOVERY: [&str; 2] = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];

/// Answers a request; `None` for a path that is not the issuer's.
pub(super) fn answer(state: &State, head: &Parts, body: &[u8]) -> Option<Reply> {
    let path = head.uri.path();
    if let Some(tenant) = DISCOVERY.iter().find_map(|end| path.strip_suffix(end)) {
        return Some(read(state, head, discovery(state, tenant)));
    }
    let (tenant, endpoint) = path.rsplit_once('/')?;
    let issuer = format!("{}{tenant}", state.url());
    Some(match endpoint {
        "jwks" => {
            let other = state.settings().keys;
            read(state, head, if other.is_null() { state.shown() } else { other })
        }
        "token" | "introspect" | "revoke" if head.method != Method::POST => not_allowed("POST"),
        "token" => token(state, &issuer, head, &form(body)),
        "introspect" => introspect(state, head, &form(body)),
        "revoke" => revoke(state, head, &form(body)),
        _ => return None,
    })
}

/// Answers a command; `None` for a path that is none.
pub(super) fn command(state: &State, head: &Parts, body: &[u8]) -> Option<Reply> {
    let done = match (head.uri.path(), &head.method) {
        ("/_mock/settings", &Method::GET) => Ok(json!(state.settings())),
        ("/_mock/settings", &Method::POST) => serde_json::from_slice(body).map(|wanted| {
            state.set(|settings| *settings = wanted);
            json!(state.settings())
        }),
        ("/_mock/rotate", &Method::POST) => {
            let body = if body.is_empty() { b"{}" } else { body };
            serde_json::from_slice::<Rotation>(body).map(|rotation| json!({ "shown": state.rotate(rotation) }))
        }
        ("/_mock/token", &Method::POST) => serde_json::from_slice::<Wanted>(body)
            .map(|wanted| json!({ "access_token": state.token(state.url(), &wanted) })),
        _ => return None,
    };
    Some(done.map_or_else(
        |error| error_page(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()),
        |body| Reply { status: StatusCode::OK, body, header: None },
    ))
}

/// OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2.
fn discovery(state: &State, tenant: &str) -> Value {
    let settings = state.settings();
    let own = format!("{}{tenant}", state.url());
    let or = |wanted: String, usual: String| if wanted.is_empty() { usual } else { wanted };
    json!({
        "issuer": or(settings.issuer, own.clone()),
        "jwks_uri": or(settings.jwks_uri, format!("{own}/jwks")),
        "token_endpoint": format!("{own}/token"),
        "introspection_endpoint": format!("{own}/introspect"),
        "revocation_endpoint": format!("{own}/revoke"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "id_token_signing_alg_values_supported": Algorithm::ALL,
        "dpop_signing_alg_values_supported": Algorithm::ALL,
    })
}

/// An answer that may be kept for as long as the settings say.
fn read(state: &State, head: &Parts, body: Value) -> Reply {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    let age = state.settings().max_age_s;
    let kept = (age > 0).then(|| HeaderValue::try_from(format!("public, max-age={age}")).ok()).flatten();
    Reply { status: StatusCode::OK, body, header: kept.map(|value| (header::CACHE_CONTROL, value)) }
}

/// Client credentials (RFC 6749 section 4.4). Besides `scope`, and `resource` (RFC 8707) or `audience`, a form may ask for an `alg` and for
/// `format=opaque`, as real issuers are configured by client.
fn token(state: &State, issuer: &str, head: &Parts, form: &Form) -> Reply {
    let Some(client) = client(&head.headers, form) else { return unknown_client() };
    if form.get("grant_type").is_none_or(|grant| grant != "client_credentials") {
        return error_page(StatusCode::BAD_REQUEST, "unsupported_grant_type", "there is client_credentials");
    }
    let bound = match bound_to(head) {
        Ok(bound) => bound,
        Err(why) => return error_page(StatusCode::BAD_REQUEST, "invalid_dpop_proof", why),
    };
    let algorithm = form.get("alg").map_or(Ok(Algorithm::default()), |name| serde_json::from_value(json!(name)));
    let Ok(algorithm) = algorithm else {
        return error_page(StatusCode::BAD_REQUEST, "invalid_request", "there are RS256, ES256 and EdDSA");
    };
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(client));
    claims.insert("client_id".into(), json!(client));
    let scope = form.get("scope").filter(|scope| !scope.is_empty());
    claims.extend(scope.map(|scope| ("scope".to_owned(), json!(scope))));
    let audience = form.get("resource").or_else(|| form.get("audience"));
    claims.extend(audience.map(|audience| ("aud".to_owned(), json!(audience))));
    let kind = if bound.is_some() { "DPoP" } else { "Bearer" };
    claims.extend(bound.map(|jkt| ("cnf".to_owned(), json!({ "jkt": jkt }))));
    let opaque = form.get("format").is_some_and(|format| format == "opaque");
    let wanted = Wanted { claims, algorithm, opaque, ..Wanted::default() };
    let mut body = json!({
        "access_token": state.token(issuer, &wanted),
        "token_type": kind,
        "expires_in": state.settings().lifetime_s,
    });
    if let Some(scope) = scope {
        body["scope"] = json!(scope);
    }
    no_store(body)
}

/// RFC 7662 section 2.
fn introspect(state: &State, head: &Parts, form: &Form) -> Reply {
    if client(&head.headers, form).is_none() {
        return unknown_client();
    }
    let Some(claims) = form.get("token").and_then(|token| state.explained(token)) else {
        return no_store(json!({ "active": false }));
    };
    let kind = if claims.contains_key("cnf") { "DPoP" } else { "Bearer" };
    let mut body = json!({ "active": true, "token_type": kind });
    if let Value::Object(body) = &mut body {
        body.extend(claims);
    }
    no_store(body)
}

/// RFC 7009 section 2: a token that is none is no mistake.
fn revoke(state: &State, head: &Parts, form: &Form) -> Reply {
    if client(&head.headers, form).is_none() {
        return unknown_client();
    }
    if let Some(token) = form.get("token") {
        state.revoke(token);
    }
    no_store(json!({}))
}

fn no_store(body: Value) -> Reply {
    Reply { status: StatusCode::OK, body, header: Some((header::CACHE_CONTROL, HeaderValue::from_static("no-store"))) }
}

fn unknown_client() -> Reply {
    let basic = HeaderValue::from_static("Basic realm=\"clients\"");
    let page = error_page(StatusCode::UNAUTHORIZED, "invalid_client", "the secret of a client is its name and -secret");
    Reply { header: Some((header::WWW_AUTHENTICATE, basic)), ..page }
}

fn not_allowed(methods: &'static str) -> Reply {
    let page = error_page(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this method is not for this path");
    Reply { header: Some((header::ALLOW, HeaderValue::from_static(methods))), ..page }
}

/// RFC 6749 section 5.2.
fn error_page(status: StatusCode, error: &str, why: &str) -> Reply {
    Reply { status, body: json!({ "error": error, "error_description": why }), header: None }
}
