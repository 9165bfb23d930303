//! An answer's body, and where it ends (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::{JOINED, SMALL};

/// The most fields that a trailer section may have.
const FIELDS: usize = 100;

/// The most that all extensions of a body's chunks may have: nobody reads them.
const EXTENSIONS: usize = 16 * 1024;

/// The most digits that a chunk's size may have.
const DIGITS: usize = 16;

/// The most that a trailer section may have.
const TRAILERS: usize = 16 * 1024;

/// How a body is framed, and how much of it is to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// So many bytes more.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Until the connection closes.
    Close,
}

/// A body of chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: Chunk,
    /// Bytes of extensions so far.
    extensions: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Chunk {
    /// The line with its size.
    Size,
    /// So many bytes more.
    Data(u64),
    /// The line end after its data.
    End,
    /// After the last one: trailers, and an empty line; how many bytes of it were looked at.
    Trailers(usize),
    Over,
}

/// What there was to take.
#[derive(Debug)]
pub(super) enum Taken {
    Frame(Frame<Bytes>),
    /// The body is complete.
    End,
    /// More must be read first.
    More,
}

impl Framing {
    /// Chunks, from the first.
    pub(super) fn chunked() -> Framing {
        Framing::Chunked(Chunks { state: Chunk::Size, extensions: 0 })
    }

    /// Nothing more of it will come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Framing::None | Framing::Length(0) | Framing::Chunked(Chunks { state: Chunk::Over, .. }))
    }

    /// The next piece that is in these bytes.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Taken, &'static str> {
        match self {
            _ if self.is_over() => Ok(Taken::End),
            Framing::Length(left) => Ok(data(left, input)),
            Framing::Chunked(chunks) => chunks.take(input),
            Framing::Close if input.is_empty() => Ok(Taken::More),
            Framing::Close => Ok(Taken::Frame(Frame::data(input.split().freeze()))),
            Framing::None => Ok(Taken::End),
        }
    }
}

fn data(left: &mut u64, input: &mut BytesMut) -> Taken {
    if input.is_empty() {
        return Taken::More;
    }
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= count as u64;
    Taken::Frame(Frame::data(input.split_to(count).freeze()))
}

impl Chunks {
    /// The next piece that is in these bytes. The data of small chunks that are all here is joined.
    fn take(&mut self, input: &mut BytesMut) -> Result<Taken, &'static str> {
        let first = self.next(input, false)?;
        let Taken::Frame(frame) = &first else { return Ok(first) };
        let Some(piece) = frame.data_ref().filter(|piece| piece.len() <= SMALL && !input.is_empty()) else {
            return Ok(first);
        };
        let mut joined = BytesMut::new();
        // What is wrong further on is found again when this has been taken.
        while let Ok(Taken::Frame(frame)) = self.next(input, true) {
            if joined.is_empty() {
                joined.reserve(JOINED);
                joined.extend_from_slice(piece);
            }
            joined.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if joined.len() > JOINED - SMALL {
                break;
            }
        }
        Ok(if joined.is_empty() { first } else { Taken::Frame(Frame::data(joined.freeze())) })
    }

    /// The next step that these bytes allow. With `small` only the data of small chunks is taken, and nothing that follows the last
    /// chunk.
    fn next(&mut self, input: &mut BytesMut, small: bool) -> Result<Taken, &'static str> {
        loop {
            match &mut self.state {
                Chunk::Size => match self.size(input)? {
                    None => return Ok(Taken::More),
                    Some(0) => self.state = Chunk::Trailers(0),
                    Some(size) => self.state = Chunk::Data(size),
                },
                Chunk::Data(left) if small && *left > SMALL as u64 => return Ok(Taken::More),
                Chunk::Data(left) => {
                    let taken = data(left, input);
                    if *left == 0 {
                        self.state = Chunk::End;
                    }
                    return Ok(taken);
                }
                Chunk::End => match **input {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = Chunk::Size;
                    }
                    [] | [b'\r'] => return Ok(Taken::More),
                    _ => return Err("a chunk is longer than its size says"),
                },
                Chunk::Trailers(_) | Chunk::Over if small => return Ok(Taken::More),
                Chunk::Trailers(seen) => match section(input, *seen)? {
                    None => {
                        *seen = input.len();
                        return Ok(Taken::More);
                    }
                    Some(length) => {
                        let section = input.split_to(length).freeze();
                        self.state = Chunk::Over;
                        if length == 2 {
                            return Ok(Taken::End);
                        }
                        return trailers(section).map(|trailers| Taken::Frame(Frame::trailers(trailers)));
                    }
                },
                Chunk::Over => return Ok(Taken::End),
            }
        }
    }

    /// The next chunk's size, when its line is complete.
    fn size(&mut self, input: &mut BytesMut) -> Result<Option<u64>, &'static str> {
        const BAD: &str = "a chunk's size is not a number";
        let Some(end) = input.iter().position(|&b| b == b'\n') else {
            // What can never become a size is not waited for.
            let digits = input.iter().take_while(|b| b.is_ascii_hexdigit()).count();
            let odd = !input.is_empty() && (digits == 0 || digits > DIGITS);
            return if odd || input.len() > DIGITS + EXTENSIONS + 1 { Err(BAD) } else { Ok(None) };
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(BAD)?;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        // RFC 9112 7.1.1: an extension is told by its semicolon, with whitespace before it or not.
        let spaces = rest.iter().take_while(|&&b| b == b' ' || b == b'\t').count();
        if digits > DIGITS || !matches!(rest[spaces..], [] | [b';', ..]) || rest.contains(&b'\r') {
            return Err(BAD);
        }
        self.extensions += rest.len();
        if self.extensions > EXTENSIONS {
            return Err("the extensions of its chunks are too large");
        }
        let text = std::str::from_utf8(&line[..digits]).unwrap_or_default();
        let size = u64::from_str_radix(text, 16).or(Err(BAD))?;
        input.advance(end + 1);
        Ok(Some(size))
    }
}

/// How long the trailer section is, with its empty line, when it is complete.
fn section(input: &[u8], seen: usize) -> Result<Option<usize>, &'static str> {
    const LARGE: &str = "its trailers are too large";
    if input.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let from = seen.saturating_sub(3);
    let end = input[from..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| from + at + 4);
    match end {
        Some(length) if length > TRAILERS => Err(LARGE),
        None if input.len() > TRAILERS => Err(LARGE),
        end => Ok(end),
    }
}

/// The fields of a trailer section, which ends in these bytes (RFC 9112 section 7.1.2).
fn trailers(mut section: Bytes) -> Result<HeaderMap, &'static str> {
    const BAD: &str = "its trailers are not header fields";
    // The parser takes a line feed for a line's end: others on the way may not, and see one field where we saw two.
    if section.iter().zip(std::iter::once(&0).chain(&section)).any(|(&b, &before)| b == b'\n' && before != b'\r') {
        return Err(BAD);
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let bytes = section.clone();
    let Ok(httparse::Status::Complete((length, found))) = httparse::parse_headers(&bytes, &mut fields) else {
        return Err(BAD);
    };
    section.advance(length);
    let mut trailers = HeaderMap::with_capacity(found.len());
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes()).or(Err(BAD))?;
        trailers.append(name, HeaderValue::from_bytes(field.value).or(Err(BAD))?);
    }
    if section.is_empty() { Ok(trailers) } else { Err(BAD) }
}
