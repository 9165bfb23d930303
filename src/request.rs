//! What is known of one request, as plain data: who asks, and what became of it. Written by the stages of a request, read by
//! filters while it goes on, and by the access line and the metrics when it is over.

pub mod parts;
pub mod trace;
mod vouched;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};
use http::{HeaderValue, Method, StatusCode, Uri};
use parts::Parts;
use tokio::time::Instant;
use trace::Parent;
pub use vouched::Vouched;

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
    /// Who calls: the user, where both a user and an app are known.
    pub consumer: Option<Arc<Consumer>>,
    /// By which app a user calls, where that has a credential of its own.
    pub app: Option<Arc<Consumer>>,
    /// What the caller's token says besides.
    pub token: Option<Arc<Vouched>>,
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
            app: None,
            token: None,
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
    /// What was asked of services instead, where the answer is an aggregate.
    pub parts: Option<Arc<Parts>>,
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

/// A request's id: 32 lower-case hexadecimal digits, as a trace id of W3C trace context, never all zero; or the name that a trusted
/// proxy gave the request, beside such digits for a trace that begins here.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId {
    digits: [u8; 32],
    name: Option<Box<str>>,
}

impl RequestId {
    /// The most characters of a name.
    const LONGEST: usize = 128;

    /// A new one.
    pub fn new(random: &mut fastrand::Rng) -> RequestId {
        RequestId { digits: hexadecimal(&random.u128(1..).to_be_bytes()), name: None }
    }

    /// The id under the name that a trusted proxy gave the request. A name of other characters than ids are made of, which nobody
    /// between here and a log would have to escape, is not taken.
    pub fn named(mut self, name: &[u8]) -> RequestId {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:/+=@".contains(b);
        if !name.is_empty() && name.len() <= RequestId::LONGEST && name.iter().all(fits) {
            self.name = std::str::from_utf8(name).ok().map(Box::from);
        }
        self
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        match &self.name {
            None => std::str::from_utf8(&self.digits).expect("hexadecimal digits are ASCII"),
            Some(name) => name,
        }
    }

    /// Its text, as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.name {
            None => &self.digits,
            Some(name) => name.as_bytes(),
        }
    }

    /// As a header's value.
    pub fn value(&self) -> HeaderValue {
        let value = match &self.name {
            None => HeaderValue::from_bytes(&self.digits),
            Some(name) => HeaderValue::from_bytes(name.as_bytes()),
        };
        value.expect("digits and names are header values")
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A `traceparent` with a new span (<https://www.w3.org/TR/trace-context/>, section 3.2): in the client's trace, if there is one to
/// continue, else in a trace that begins with the request's id.
pub fn traceparent(parent: Option<&Parent>, id: &RequestId, random: &mut fastrand::Rng) -> [u8; 55] {
    let span: [u8; 16] = hexadecimal(&random.u64(1..).to_be_bytes());
    let mut value = *b"00-................................-................-00";
    value[36..52].copy_from_slice(&span);
    match parent {
        Some(parent) => {
            value[3..35].copy_from_slice(&parent.trace);
            value[54] = parent.flags;
        }
        None => value[3..35].copy_from_slice(&id.digits),
    }
    value
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
    /// See its pages, and do what they offer: clear the cache, reset limits, accept what discovery suspects, revoke tokens.
    pub admin: bool,
    /// Steer the gateway: there is nothing yet that asks for it.
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

    /// The key of what an issuer's claim says: the first 16 bytes of a SHA-256 digest of all three, each with its length before it, so that
    /// no two triples are one text. The issuer is its name, and what its token says in `iss` where each tenant says something else there.
    pub fn of_claim((issuer, tenant): (&str, Option<&str>), claim: &[Arc<str>], value: &str) -> LimitsKey {
        let mut context = Context::new(&SHA256);
        let count = claim.len().to_string();
        let names = claim.iter().map(|name| &**name);
        let issuer = [Source::Token.tag(), issuer, tenant.unwrap_or_default(), &count];
        for part in issuer.into_iter().chain(names).chain([value]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut first = [0; 16];
        first.copy_from_slice(&context.finish().as_ref()[..16]);
        LimitsKey(u128::from_be_bytes(first))
    }
}

/// What says who a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A `[[consumer]]` of the configuration.
    Configuration,
    /// A token: its issuer, a claim, and what the claim says.
    Token,
}

impl Source {
    /// A word that no other source has. It keeps the limits' keys of two sources apart, so it must not change.
    fn tag(self) -> &'static str {
        match self {
            Source::Configuration => "configuration",
            Source::Token => "token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_name_for_a_request_is_taken_when_it_needs_no_escape_and_the_trace_keeps_its_digits() {
        let mut random = fastrand::Rng::with_seed(7);
        let id = RequestId::new(&mut random);
        let named = id.clone().named(b"0f8fad5b-d9cb-469f-a165-70867728950e");
        assert_eq!(named.as_str(), "0f8fad5b-d9cb-469f-a165-70867728950e");
        assert_eq!(
            (named.value().as_bytes(), named.as_bytes()),
            (named.as_str().as_bytes(), named.as_str().as_bytes())
        );
        assert_eq!(traceparent(None, &named, &mut random)[3..35], id.digits);
        for odd in [&b""[..], b"a b", b"a\"b", b"a\\", b"a\xff", b"a,b", &[b'a'; 129]] {
            assert_eq!(id.clone().named(odd), id, "{odd:?}");
        }
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

    #[test]
    fn consumers_of_tokens_are_told_apart_by_issuer_claim_and_value_and_from_those_of_the_configuration() {
        let of = |(issuer, tenant), claim: &[&str], value| {
            let claim: Vec<Arc<str>> = claim.iter().map(|name| (*name).into()).collect();
            LimitsKey::of_claim((issuer, tenant), &claim, value)
        };
        let all = [
            of(("corp", None), &["sub"], "shop"),
            of(("corps", None), &["ub"], "shop"),
            of(("corp", None), &["client_id"], "shop"),
            of(("corp", None), &["sub", "shop"], ""),
            of(("corp", None), &["sub"], "shop\0"),
            of(("other", None), &["sub"], "shop"),
            of(("corp", Some("a")), &["sub"], "shop"),
            of(("corp", Some("b")), &["sub"], "shop"),
            LimitsKey::of(Source::Configuration, "shop"),
            LimitsKey::of(Source::Token, "shop"),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
