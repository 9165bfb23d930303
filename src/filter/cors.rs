//! Cross-origin sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>): preflights are answered here, and other answers say
//! which pages may read them.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{Passing, Step};
use crate::config::routes::Cors;

/// What is remembered of a request until its answer passes.
#[derive(Debug, Default)]
pub struct Notes {
    /// The method that a preflight asks about, when the request is one that the gateway answers.
    pub preflight: Option<Method>,
    /// The origin of the page that asks.
    origin: Option<HeaderValue>,
}

/// The method that a preflight asks about, if the request is a preflight.
pub fn preflight_for(head: &Parts) -> Option<Method> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let method = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// Answers a preflight; of any other request it notes where it comes from.
pub(super) fn before(cors: &Cors, passing: &mut Passing<'_>) -> Step {
    let notes = passing.notes.cors.get_or_insert_default();
    notes.origin = passing.head.headers.get(header::ORIGIN).cloned();
    match &notes.preflight {
        Some(method) => Step::Answer(preflight(cors, passing.head, method)),
        None => Step::Continue,
    }
}

/// Says which pages may read an answer.
pub(super) fn after(cors: &Cors, notes: Option<Notes>, headers: &mut HeaderMap) {
    allow(cors, notes.and_then(|notes| notes.origin).as_ref(), headers);
}

/// The answer to a preflight: what is allowed, or nothing.
fn preflight(cors: &Cors, head: &Parts, method: &Method) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.insert(header::VARY, HeaderValue::from_static(vary));
    if !allows(cors, head.headers.get(header::ORIGIN)) {
        return response;
    }
    if cors.methods.is_empty() || cors.methods.contains(method) || simple(method) {
        let all = if cors.methods.is_empty() { vec![method.clone()] } else { cors.methods.clone() };
        let all: Vec<_> = all.iter().map(Method::as_str).collect();
        headers.extend(HeaderValue::from_str(&all.join(", ")).map(|v| (header::ACCESS_CONTROL_ALLOW_METHODS, v)));
    }
    let wanted = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let allowed = match cors.headers.is_empty() {
        true => wanted.cloned(),
        false => {
            let names: Vec<_> = cors.headers.iter().map(http::HeaderName::as_str).collect();
            HeaderValue::from_str(&names.join(", ")).ok()
        }
    };
    headers.extend(allowed.map(|allowed| (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed)));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    response
}

/// Says to a page of the origin that asked what it may read. What the instance said about that goes.
fn allow(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        headers.remove(name);
    }
    if !cors.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.filter(|origin| allows(cors, Some(origin))) else { return };
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, if cors.origins.is_empty() { any } else { origin.clone() });
    if cors.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if !cors.expose.is_empty() {
        let names: Vec<_> = cors.expose.iter().map(http::HeaderName::as_str).collect();
        let value = HeaderValue::from_str(&names.join(", "));
        headers.extend(value.map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value)));
    }
}

fn allows(cors: &Cors, origin: Option<&HeaderValue>) -> bool {
    origin.is_some_and(|origin| cors.origins.is_empty() || cors.origins.contains(origin))
}

/// Methods that need no permission (Fetch, "CORS-safelisted method").
fn simple(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::POST)
}
