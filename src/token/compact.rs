//! The compact form of a signed token (RFC 7515 section 7.1): its parts, decoded so that each content has one form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::{self, Fault};
use super::rejection::Rejection;

/// Tokens of more bytes than this are refused unread (decision 32): servers of identity keep below what header fields may have.
const LONGEST: usize = 8 * 1024;

/// A token, taken apart.
pub(super) struct Compact<'a> {
    /// What its header says (RFC 7515 section 4).
    pub(super) header: Map<String, Value>,
    /// What its payload says.
    pub(super) payload: Map<String, Value>,
    /// What was signed: header and payload as they were sent.
    pub(super) signed: &'a [u8],
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart, and refuses what must not be read on: what is encrypted, what its header demands to understand, and what two
    /// readers could read differently.
    pub(super) fn read(token: &'a [u8]) -> Result<Compact<'a>, Rejection> {
        if token.len() > LONGEST {
            return Err(Rejection::TooLong);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Rejection::NotJwt);
        };
        match parts.count() {
            0 => {}
            2 => return Err(Rejection::Encrypted),
            _ => return Err(Rejection::NotJwt),
        }
        let signed = &token[..header.len() + 1 + payload.len()];
        let header = match object(header) {
            Err(Rejection::Malformed) => return Err(Rejection::NotJwt),
            header => header?,
        };
        heeded(&header)?;
        Ok(Compact { header, payload: object(payload)?, signed, signature: decoded(signature)? })
    }

    /// A header parameter that is a text where it is there.
    pub(super) fn parameter(&self, name: &str) -> Result<Option<&str>, Rejection> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Rejection::Malformed),
        }
    }
}

/// Refuses headers whose demands nobody here would meet. Where keys may be found (`jku`, `jwk`, `x5u`, `x5c`) is said in vain: nobody
/// looks there.
fn heeded(header: &Map<String, Value>) -> Result<(), Rejection> {
    let (mut encrypted, mut critical, mut nested) = (false, false, false);
    for (name, value) in header {
        match name.as_str() {
            "enc" => encrypted = true,
            "crit" | "b64" | "zip" => critical = true,
            "cty" => nested = value.as_str().is_some_and(|content| is_media_type(content, "jwt")),
            _ => {}
        }
    }
    match () {
        () if encrypted => Err(Rejection::Encrypted),
        () if critical => Err(Rejection::Critical),
        () if nested => Err(Rejection::Nested),
        () => Ok(()),
    }
}

/// Whether a media type is this one, in any case, with or without `application/` (RFC 7515 section 4.1.9).
pub(super) fn is_media_type(written: &str, name: &str) -> bool {
    const TREE: &str = "application/";
    let start = written.get(..TREE.len()).filter(|start| start.eq_ignore_ascii_case(TREE));
    written[start.map_or(0, str::len)..].eq_ignore_ascii_case(name)
}

/// The bytes that a part stands for. Padding, characters of other alphabets, white space, and bits at the end that say nothing are
/// refused: two texts would be the same token.
pub(super) fn decoded(part: &[u8]) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed)
}

fn object(part: &[u8]) -> Result<Map<String, Value>, Rejection> {
    json::object(&decoded(part)?).map_err(|fault| match fault {
        Fault::Malformed => Rejection::Malformed,
        Fault::Duplicate => Rejection::Duplicate,
    })
}
