//! What is known of one request, as plain data: who asks, and what became of it. Written by the stages of a request, read by
//! filters while it goes on, and by the access line and the metrics when it is over.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderValue, Method, StatusCode, Uri};
use tokio::time::Instant;

/// Everything that is known of a request. Names and figures only: what has to be done when it ends is kept elsewhere.
#[derive(Debug)]
pub struct Facts {
    /// Its id, which is the id of its trace where it does not continue one.
    pub id: RequestId,
    /// When its head was complete.
    pub began: Instant,
    /// When its answer's last byte was handed over, where somebody looked at the clock then.
    pub ended: Option<Instant>,
    /// The client's address: of who connected, or as a trusted proxy says it.
    pub client: IpAddr,
    /// Its method.
    pub method: Method,
    /// Its target as the client wrote it; only where an access line will want it.
    pub target: Option<Uri>,
    /// Who calls.
    pub consumer: Option<Arc<Consumer>>,
    /// The tries at instances.
    pub attempts: Attempts,
    /// The answer's status; `None` until there is an answer.
    pub status: Option<StatusCode>,
    /// Bytes of the answer's body so far.
    pub bytes: u64,
    /// The answer is a stream, whose duration says nothing of speed.
    pub stream: bool,
    /// What the cache did: `hit`, `miss`, `pass`, `collapsed`, `revalidated`; empty where it had no part.
    pub cache: &'static str,
    /// Why it ended otherwise than well: a stable word, or empty.
    pub reason: &'static str,
    /// Whose doing that is: `client`, `upstream`, `gateway`, or empty.
    pub blame: &'static str,
}

impl Facts {
    /// What is known of a request that has just begun.
    pub fn new(id: RequestId, began: Instant, client: IpAddr, method: Method, target: Option<Uri>) -> Facts {
        Facts {
            id,
            began,
            ended: None,
            client,
            method,
            target,
            consumer: None,
            attempts: Attempts::default(),
            status: None,
            bytes: 0,
            stream: false,
            cache: "",
            reason: "",
            blame: "",
        }
    }

    /// Notes why it ended as it did, and whose doing that is.
    pub fn because(&mut self, reason: &'static str, blame: &'static str) {
        (self.reason, self.blame) = (reason, blame);
    }
}

/// The tries of one request at instances, in their order. The first takes no memory of its own.
#[derive(Debug, Default)]
pub struct Attempts {
    earlier: Vec<Attempt>,
    last: Option<Attempt>,
}

/// One try at one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The instance.
    pub instance: SocketAddr,
    /// When it was picked.
    pub began: Instant,
    /// How long it took until the answer's head had come, or it was clear that none would.
    pub took: Option<Duration>,
    /// What came of it: `answered`, or why it brought no answer; empty while it lasts.
    pub outcome: &'static str,
}

impl Attempts {
    /// Another try begins.
    pub fn begin(&mut self, instance: SocketAddr, now: Instant) {
        let next = Attempt { instance, began: now, took: None, outcome: "" };
        self.earlier.extend(self.last.replace(next));
    }

    /// What came of the try under way, by now.
    pub fn ended(&mut self, outcome: &'static str, now: Instant) {
        if let Some(last) = &mut self.last {
            (last.took, last.outcome) = (Some(now.saturating_duration_since(last.began)), outcome);
        }
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.earlier.len() as u32 + u32::from(self.last.is_some())
    }

    /// The last one: who answered, if anybody did.
    pub fn last(&self) -> Option<&Attempt> {
        self.last.as_ref()
    }

    /// Those before the last one.
    pub fn earlier(&self) -> &[Attempt] {
        &self.earlier
    }
}

/// A request's id: 32 lower-case hexadecimal digits, as a trace id of W3C trace context, never all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A new one.
    pub fn new(random: &mut fastrand::Rng) -> RequestId {
        RequestId(hexadecimal(&random.u128(1..).to_be_bytes()))
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// Its digits, as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As a header's value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("hexadecimal digits are a header value")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `traceparent` with a new span (<https://www.w3.org/TR/trace-context/>, section 3.2): in the client's trace, if `given` is valid,
/// else in a trace that begins with the request's id. True when it is the client's trace: then its `tracestate` goes on, too.
pub fn traceparent(given: Option<&HeaderValue>, id: &RequestId, random: &mut fastrand::Rng) -> ([u8; 55], bool) {
    let span: [u8; 16] = hexadecimal(&random.u64(1..).to_be_bytes());
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

/// The digits of a number, two for each of its bytes. `N` is twice their count.
fn hexadecimal<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut digits = [b'0'; N];
    for (pair, &byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&DIGITS[usize::from(byte)]);
    }
    digits
}

/// Who calls, as their credential says it. It owns all that it says: of consumers that come from tokens there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The name that logs and admin show.
    pub name: Arc<str>,
    /// The customer whose user this is, where the credential says so.
    pub tenant: Option<Arc<str>>,
    /// The name of the plan that says how often they may ask.
    pub plan: Option<Arc<str>>,
    /// What they may do in `/admin`.
    pub roles: Roles,
    /// By what limits tell them from others.
    pub limits_key: LimitsKey,
    /// What says who they are.
    pub source: Source,
}

/// What a consumer may do in `/admin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// See its pages.
    pub admin: bool,
    /// Steer the gateway.
    pub operator: bool,
}

/// By what limits tell one consumer from all others: a digest of what says who they are and of what it says. Two consumers of the
/// same name from two sources share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LimitsKey(pub u128);

impl LimitsKey {
    /// The key of what a source calls by this name: the first 16 bytes of a SHA-256 digest of both.
    pub fn of(source: Source, name: &str) -> LimitsKey {
        let digest = digest(&SHA256, format!("{}\0{name}", source.tag()).as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest.as_ref()[..16]);
        LimitsKey(u128::from_be_bytes(first))
    }
}

/// What says who a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `[[consumer]]` of the configuration.
    Configuration,
}

impl Source {
    /// A word that no other source has. It keeps the limits' keys of two sources apart, so it must not change.
    fn tag(self) -> &'static str {
        match self {
            Source::Configuration => "configuration",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(given: Option<&str>) -> (String, bool) {
        let mut random = fastrand::Rng::with_seed(7);
        let id = RequestId::new(&mut random);
        let given = given.map(|given| given.parse().expect("a header value"));
        let (value, goes_on) = traceparent(given.as_ref(), &id, &mut random);
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

    #[test]
    fn every_try_is_remembered_with_its_instance_its_time_and_what_came_of_it() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        attempts.begin(address(1), now);
        attempts.ended("reset", now + Duration::from_millis(5));
        attempts.begin(address(2), now + Duration::from_millis(5));
        attempts.ended("answered", now + Duration::from_millis(8));
        assert_eq!(attempts.count(), 2);
        let first =
            Attempt { instance: address(1), began: now, took: Some(Duration::from_millis(5)), outcome: "reset" };
        assert_eq!(attempts.earlier(), [first]);
        let last = attempts.last().expect("there is one");
        assert_eq!((last.instance, last.took, last.outcome), (address(2), Some(Duration::from_millis(3)), "answered"));
    }

    #[test]
    fn a_limits_key_is_the_first_half_of_a_digest_of_source_and_name() {
        let key = LimitsKey::of(Source::Configuration, "shop");
        // printf 'configuration\0shop' | sha256sum
        assert_eq!(format!("{:032x}", key.0), "cce07862eea31f7a0987565637e930ac");
        assert_ne!(key, LimitsKey::of(Source::Configuration, "shop2"));
    }
}
