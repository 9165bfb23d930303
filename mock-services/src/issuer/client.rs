//! Which client sends a form, and what stands in it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// The fields of a form; of a field that is there twice, the last counts.
pub(super) type Form = BTreeMap<String, String>;

/// Reads a form.
pub(super) fn form(body: &[u8]) -> Form {
    form_urlencoded::parse(body).into_owned().collect()
}

/// The client that a request comes from, by its name: from `Authorization: Basic`, or else from the form (RFC 6749 section 2.3.1). `None`
/// when there is none, or its secret is wrong.
pub(super) fn client(headers: &HeaderMap, form: &Form) -> Option<String> {
    let (name, secret) = match headers.get(header::AUTHORIZATION) {
        Some(value) => {
            let text = value.to_str().ok()?.strip_prefix("Basic ")?;
            let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
            let (name, secret) = pair.split_once(':')?;
            (decoded(name), decoded(secret))
        }
        None => (form.get("client_id")?.clone(), form.get("client_secret")?.clone()),
    };
    (secret.strip_suffix("-secret") == Some(&name)).then_some(name)
}

/// A name or a secret as a client encodes it before it goes into `Authorization`.
fn decoded(text: &str) -> String {
    form_urlencoded::parse(text.as_bytes()).next().map_or_else(String::new, |(text, _)| text.into_owned())
}
