//! What every response of an instance has: the type of its body, and the header that names the instance.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::shared::Shared;

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// A response with a JSON body.
pub(crate) fn json_reply(shared: &Shared, status: StatusCode, body: &Value) -> Response<Body> {
    let text = Bytes::from(format!("{body}\n"));
    let mut response = Response::new(Full::new(text).map_err(|never: Infallible| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    name_instance(response.headers_mut(), shared);
    response
}

/// Adds `X-Instance`, which says which instance answers.
pub(crate) fn name_instance(headers: &mut HeaderMap, shared: &Shared) {
    if let Ok(name) = HeaderValue::from_str(shared.name()) {
        headers.insert("x-instance", name);
    }
}
