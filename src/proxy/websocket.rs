//! What a request for a WebSocket looks like, and an answer that agrees (RFC 6455 sections 4.1 and 4.2).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version, header};

/// What RFC 6455 appends to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the answer must say, when a request asks for a WebSocket. Other upgrades (h2c) are not passed on.
pub(super) fn wanted(parts: &Parts) -> Option<HeaderValue> {
    let mut keys = parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    // 16 bytes, in base64; two of them, and the instance may take the other one.
    let key = keys.next().filter(|key| asks(parts) && key.len() == 24)?;
    if keys.next().is_some() {
        return None;
    }
    let whole = [key.as_bytes(), GUID.as_bytes()].concat();
    let text = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &whole));
    HeaderValue::from_str(&text).ok()
}

fn asks(parts: &Parts) -> bool {
    parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && names(&parts.headers, &header::CONNECTION, "upgrade")
        && names(&parts.headers, &header::UPGRADE, "websocket")
}

/// Whether a request asks for a WebSocket and has a body, or one of a length that is not known yet: what follows its head could be taken
/// for that body by one side, and for the first frames by the other.
pub(super) fn has_body(parts: &Parts) -> bool {
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let framed = parts.headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|length| length != "0");
    framed && asks(parts)
}

/// Whether a 101 answers that request: an instance that says 101 to something else would get a tunnel for nothing.
pub(super) fn agreed(headers: &HeaderMap, accept: &HeaderValue) -> bool {
    names(headers, &header::UPGRADE, "websocket") && headers.get(header::SEC_WEBSOCKET_ACCEPT) == Some(accept)
}

fn names(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let mut tokens = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn wanted_by(method: &str, lines: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().method(method).uri("/x");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        wanted(&parts).map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn the_rfcs_own_example_is_answered_with_the_rfcs_own_accept() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let lines = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), key];
        assert_eq!(wanted_by("GET", &lines).as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(wanted_by("POST", &lines), None);
        assert_eq!(wanted_by("GET", &[("connection", "upgrade"), ("upgrade", "h2c"), key]), None);
        assert_eq!(wanted_by("GET", &[("upgrade", "websocket"), key]), None);
        let two = [("connection", "upgrade"), ("upgrade", "websocket"), key, key];
        assert_eq!((wanted_by("GET", &two[..3]).is_some(), wanted_by("GET", &two)), (true, None));
    }
}
