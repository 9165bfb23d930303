//! The responses of admin: a page as JSON, a refusal as JSON, or a status alone.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::pages::Refusal;

/// A page, as JSON with its fields in their order.
pub(super) fn json(page: &impl Serialize) -> Response<Bytes> {
    let mut text = serde_json::to_vec_pretty(page).expect("a page's keys are texts");
    text.push(b'\n');
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 400, with a sentence that says what the request lacks.
pub(super) fn bad_request(error: impl Into<String>) -> Response<Bytes> {
    let mut response = json(&Refusal { error: Some(error.into()), detail: None });
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// 404, with a sentence that says what there is.
pub(super) fn not_found(error: impl Into<String>) -> Response<Bytes> {
    let mut response = json(&Refusal { error: Some(error.into()), detail: None });
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// 503, with a sentence that says what is missing.
pub(super) fn unavailable(error: impl Into<String>) -> Response<Bytes> {
    let mut response = json(&Refusal { error: Some(error.into()), detail: None });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// A status without a body.
pub(super) fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
