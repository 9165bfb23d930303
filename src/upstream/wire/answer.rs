//! The head of an answer (RFC 9112 sections 4 and 6.3).

use std::cell::RefCell;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;

use super::LARGEST;
use super::body::Framing;

/// The most header fields that an answer may have.
const FIELDS: usize = 100;

/// An answer's head, and what follows it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// Another request may follow on this connection.
    pub(super) keep_alive: bool,
}

/// A header map's memory that waits for its next use: a worker passes it from the head of one message to that of another, so that
/// neither allocates. It holds one, since requests and answers alternate.
#[derive(Debug, Default)]
pub struct Memory(RefCell<HeaderMap>);

impl Memory {
    /// Memory for more fields than this is not kept.
    const MOST: usize = 64;

    /// Keeps the memory of a map that nobody needs any more.
    pub fn keep(&self, mut map: HeaderMap) {
        map.clear();
        if map.capacity() <= Memory::MOST {
            self.0.replace(map);
        }
    }

    /// An empty map, in the memory that was kept last.
    fn take(&self) -> HeaderMap {
        self.0.take()
    }
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// It does not begin with a status line (RFC 9112 section 4).
    NotHttp(&'static str),
    /// It does, and has a form that we refuse.
    Form(&'static str),
}

impl From<&'static str> for Malformed {
    fn from(why: &'static str) -> Malformed {
        Malformed::Form(why)
    }
}

/// What is wrong with bytes that are no whole head, by how they begin.
fn malformed(input: &[u8], why: &'static str) -> Malformed {
    let line = matches!(input, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', status @ ..]
        if matches!(status, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\r' | b'\n', ..]));
    if line { Malformed::Form(why) } else { Malformed::NotHttp(why) }
}

/// A head that is being received.
#[derive(Debug)]
pub(super) struct Expected {
    /// It answers a HEAD: whatever it says of a body, there is none.
    bodiless: bool,
    /// How far it was looked at without finding its end.
    seen: usize,
    /// Bytes of interim answers so far.
    interim: usize,
}

impl Expected {
    /// The answer to a request of this method.
    pub(super) fn to(method: &Method) -> Expected {
        Expected { bodiless: *method == Method::HEAD, seen: 0, interim: 0 }
    }

    /// The next answer in these bytes, if its head is complete. Interim answers (1xx) are skipped.
    pub(super) fn read(&mut self, input: &mut BytesMut, memory: &Memory) -> Result<Option<Answer>, Malformed> {
        while !input.is_empty() {
            // A head that comes in pieces is parsed at its first and at its last, not at each.
            if self.seen > 0 && !ends(&input[self.seen.saturating_sub(3)..]) {
                return self.more(input);
            }
            let before = input.len();
            let Some(answer) = parse(input, memory, self.bodiless)? else {
                return self.more(input);
            };
            self.seen = 0;
            let status = answer.response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(answer));
            }
            self.interim += before - input.len();
            if self.interim > LARGEST {
                return Err("its interim answers do not end".into());
            }
        }
        Ok(None)
    }

    /// The head is not complete: whether more of it may come.
    fn more(&mut self, input: &[u8]) -> Result<Option<Answer>, Malformed> {
        self.seen = input.len();
        if self.seen > LARGEST { Err(malformed(input, "its head is too large")) } else { Ok(None) }
    }

    /// Whether something of an answer has come already.
    pub(super) fn heard(&self) -> bool {
        self.seen > 0 || self.interim > 0
    }
}

/// Whether an empty line is in here.
fn ends(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn parse(input: &mut BytesMut, memory: &Memory, bodiless: bool) -> Result<Option<Answer>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("it has too many header fields".into()),
        Err(_) => return Err(malformed(input, "its head is not HTTP/1")),
    };
    if length > LARGEST {
        return Err("its head is too large".into());
    }
    let status =
        StatusCode::from_u16(parsed.code.unwrap_or_default()).or(Err("its status is not a number of three digits"))?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let odd = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = odd.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let start = input.as_ptr() as usize;
    // Where names and values are: below 64 KiB.
    let mut places = [[0u16; 4]; FIELDS];
    let count = parsed.headers.len();
    for (place, field) in places.iter_mut().zip(parsed.headers.iter()) {
        let (name, value) = (field.name.as_ptr() as usize - start, field.value.as_ptr() as usize - start);
        *place = [name, name + field.name.len(), value, value + field.value.len()].map(|at| at as u16);
    }
    let head = input.split_to(length).freeze();
    let mut headers = memory.take();
    // With room for what the gateway adds.
    headers.reserve(count + 4);
    let mut persistence = Persistence { kept: version == Version::HTTP_11, closed: false };
    for place in &places[..count] {
        let [name, name_end, value, value_end] = place.map(usize::from);
        let name = HeaderName::from_bytes(&head[name..name_end]).or(Err("a header's name is not a token"))?;
        if name == header::CONNECTION && persistence.read(&head[value..value_end]) {
            continue;
        }
        headers.append(name, value_of(&head, value, value_end)?);
    }
    let keep_alive = persistence.kept && !persistence.closed;
    let (framing, framed) = framing(status, version, bodiless, &mut headers)?;
    let mut response = Response::new(());
    (*response.status_mut(), *response.version_mut(), *response.headers_mut()) = (status, version, headers);
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    Ok(Some(Answer { response, framing, keep_alive: keep_alive && framed }))
}

fn value_of(head: &Bytes, start: usize, end: usize) -> Result<HeaderValue, &'static str> {
    HeaderValue::from_maybe_shared(head.slice(start..end)).or(Err("a header's value holds a control character"))
}

/// Whether another request may follow (RFC 9112 section 9.3).
struct Persistence {
    kept: bool,
    closed: bool,
}

impl Persistence {
    /// Reads a value of `Connection`. True when it says only whether the connection stays open: then it is dropped here, since nobody
    /// behind this connection needs it.
    fn read(&mut self, value: &[u8]) -> bool {
        let mut alone = true;
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                // Who writes odd bytes beside it is believed less easily.
                self.kept |= value.is_ascii();
            } else if option.eq_ignore_ascii_case(b"close") {
                self.closed = true;
            } else {
                alone = false;
            }
        }
        alone
    }
}

/// How the body is framed (RFC 9112 section 6.3), and whether its end is the end of the message rather than of the connection.
fn framing(
    status: StatusCode,
    version: Version,
    bodiless: bool,
    headers: &mut HeaderMap,
) -> Result<(Framing, bool), &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok((Framing::None, false));
    }
    if bodiless || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok((Framing::None, true));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if version == Version::HTTP_10 {
            return Err("HTTP/1.0 has no Transfer-Encoding");
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !codings.next().is_some_and(chunked) || codings.next().is_some() {
            return Err("its Transfer-Encoding is not just chunked");
        }
        // Both, and somebody on the way may believe the other one: it ends with this answer.
        let both = headers.remove(header::CONTENT_LENGTH).is_some();
        return Ok((Framing::chunked(), !both));
    }
    match content_length(headers)? {
        Some(0) => Ok((Framing::None, true)),
        Some(length) => Ok((Framing::Length(length), true)),
        None => Ok((Framing::Close, false)),
    }
}

/// RFC 9110 section 8.6: what was said twice must be the same, and is passed on once.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, &'static str> {
    const BAD: &str = "its Content-Length is not one number";
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if let (Some(length), None) = (number(first.as_bytes()), values.next()) {
        return Ok(Some(length));
    }
    let all = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut numbers =
        all.flat_map(|value| value.as_bytes().split(|&b| b == b',')).map(|text| number(text.trim_ascii()));
    let first = numbers.next().flatten().ok_or(BAD)?;
    if numbers.any(|other| other != Some(first)) {
        return Err(BAD);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(first));
    Ok(Some(first))
}

/// Digits only: neither a sign nor a space. The largest would be mistaken for no length at all.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let digit = |sum: u64, &b: &u8| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    };
    text.iter().try_fold(0, digit).filter(|&length| length < u64::MAX - 1)
}
