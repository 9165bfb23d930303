//! Request ids and W3C trace context: <https://www.w3.org/TR/trace-context/>.

use std::fmt;

use http::{HeaderName, HeaderValue};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's id: a trace id, 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId([u8; 32]);

impl TraceId {
    /// A new one, never all zero.
    pub(super) fn new(random: &mut fastrand::Rng) -> TraceId {
        TraceId(hex(&random.u128(1..).to_be_bytes()))
    }

    /// Its digits.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// As a header's value.
    pub(super) fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("hexadecimal digits are a header value")
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The client's trace with a span of ours, or one that begins with the request's id; whether it is the client's, whose
/// `tracestate` goes on then.
pub(super) fn continued(given: Option<&HeaderValue>, id: &TraceId, random: &mut fastrand::Rng) -> ([u8; 55], bool) {
    let span: [u8; 16] = hex(&random.u64(1..).to_be_bytes());
    let mut value = *b"00-................................-................-00";
    value[36..52].copy_from_slice(&span);
    let given = given.map(HeaderValue::as_bytes).filter(|given| valid(given));
    match given {
        Some(given) => {
            value[3..35].copy_from_slice(&given[3..35]);
            value[53..55].copy_from_slice(&given[53..55]);
        }
        None => value[3..35].copy_from_slice(&id.0),
    }
    (value, given.is_some())
}

/// Version 00, lower-case digits, neither id all zero (section 3.2); of a later version what we know of it.
fn valid(text: &[u8]) -> bool {
    let digits = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let some = |part: &[u8]| digits(part) && part.iter().any(|&b| b != b'0');
    text.len() >= 55
        && (text.len() == 55 || text[55] == b'-' && &text[..2] != b"00")
        && digits(&text[..2])
        && &text[..2] != b"ff"
        && [text[2], text[35], text[52]] == *b"---"
        && some(&text[3..35])
        && some(&text[36..52])
        && digits(&text[53..55])
}

/// The two digits of each byte.
const DIGITS: [[u8; 2]; 256] = {
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        digits[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        byte += 1;
    }
    digits
};

/// The digits of a number, two for each of its bytes.
fn hex<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut digits = [b'0'; N];
    for (pair, &byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&DIGITS[usize::from(byte)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(given: Option<&str>) -> (String, bool) {
        let mut random = fastrand::Rng::with_seed(7);
        let id = TraceId::new(&mut random);
        let given = given.map(|given| given.parse().expect("a header value"));
        let (value, goes_on) = continued(given.as_ref(), &id, &mut random);
        assert!(valid(&value));
        (String::from_utf8(value.to_vec()).expect("ASCII"), goes_on)
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_new_span() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (value, state) = after(Some(given));
        assert_eq!(value[..36], given[..36]);
        assert_ne!(value[36..52], given[36..52]);
        assert!(value.ends_with("-01") && state);
    }

    #[test]
    fn an_invalid_trace_is_replaced_and_its_state_dropped() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            let (value, state) = after(Some(bad));
            assert!(!bad.is_empty() && !state || bad.is_empty(), "{bad}");
            assert!(!value.contains("b7ad6b7169203331"), "{bad}");
        }
        assert!(!after(None).1);
    }
}
