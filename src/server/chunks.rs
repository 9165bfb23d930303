//! Tiny chunks of a request's body, joined before hyper sees them (RFC 9112 section 7.1). hyper hands over one chunk at a time, which
//! costs a turn of the connection's task for each: a million chunks of one byte would cost seconds. A recipient may combine chunks as
//! it likes.
//!
//! hyper has read the body's beginning already when the first tiny chunks are seen, and it does not say how far into a chunk it is.
//! So the joiner first finds a chunk's end: it hands over bytes in small pieces, and compares them with the data that hyper finds in
//! them. From a chunk's end on, it reads the chunks itself. What is no plain, complete, tiny chunk is left to hyper as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::io::Io;

/// The most data that a tiny chunk has, in bytes.
pub(super) const TINY: usize = 1024;

/// The most digits of a tiny chunk's size: it may have leading zeros.
const DIGITS: usize = 16;

/// How much is read from the socket at once.
const READ: usize = 16 * 1024;

/// The size line of a joined chunk, before its size is known.
const LINE: &[u8; 10] = b"00000000\r\n";

/// How far hyper's decoder is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is known.
    Seeking,
    /// All of the last piece was a chunk's data.
    Data,
    /// The last piece was the carriage return after a chunk's data.
    Return,
    /// It is at the beginning of a chunk, and gets whole chunks only.
    Boundary,
    /// It gets everything as it is.
    Plain,
}

/// Joins the chunks of one body.
#[derive(Debug)]
pub(super) struct Joiner {
    /// What was read from the socket and not handed over yet lies in `raw[start..end]`.
    raw: Box<[u8]>,
    start: usize,
    end: usize,
    state: State,
    /// How many bytes of data hyper had found before the last piece.
    data: u32,
    /// The last piece: its length, and its last byte.
    piece: (usize, u8),
}

/// What comes next in the raw bytes.
enum Next {
    /// A tiny chunk: where its data begins, and how long it is.
    Chunk(usize, usize),
    /// Perhaps a tiny chunk, of which more must come first.
    More,
    /// Something that hyper is to see as it is: the last chunk, a large one, an extension, an error.
    Other,
}

impl Joiner {
    /// For a body of which `ahead` was read from the socket and not handed over, and hyper found so many bytes of data.
    pub(super) fn new(ahead: &[u8], data: u32) -> Joiner {
        let mut raw = vec![0; READ.max(ahead.len())].into_boxed_slice();
        raw[..ahead.len()].copy_from_slice(ahead);
        Joiner { raw, start: 0, end: ahead.len(), state: State::Seeking, data, piece: (0, 0) }
    }

    /// Begins anew to look for a chunk's end, if it gave up.
    pub(super) fn seek(&mut self, data: u32) {
        if self.state == State::Plain {
            (self.state, self.data, self.piece) = (State::Seeking, data, (0, 0));
        }
    }

    /// What was read from the socket and not handed over.
    pub(super) fn rest(&self) -> &[u8] {
        &self.raw[self.start..self.end]
    }

    /// Reads for hyper, which has found `data` bytes of data in all that it read before.
    pub(super) fn poll_read(
        &mut self,
        io: &mut Io,
        data: u32,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.learn(data);
        if self.state == State::Boundary {
            std::task::ready!(self.poll_joined(io, cx, buf))?;
            if self.piece.0 > 0 {
                return Poll::Ready(Ok(()));
            }
            self.state = State::Plain;
        }
        if self.rest().is_empty() && std::task::ready!(self.poll_fill(io, cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let count = match self.state {
            State::Plain => self.rest().len(),
            _ => piece(self.rest()),
        };
        self.hand_over(count.min(buf.remaining()), buf);
        Poll::Ready(Ok(()))
    }

    /// Concludes from the data in the last piece how far hyper's decoder is. All data that it found is known when it reads again,
    /// because it holds one chunk at most that was not taken.
    fn learn(&mut self, data: u32) {
        let found = data.wrapping_sub(self.data) as usize;
        self.data = data;
        self.state = match (self.state, self.piece) {
            (State::Boundary, _) => State::Boundary,
            (State::Plain, _) => State::Plain,
            (_, (length, _)) if length > 0 && found == length => State::Data,
            // After a chunk's data, only its end is no data.
            (State::Data, (1, b'\r')) => State::Return,
            (State::Return, (1, b'\n')) => State::Boundary,
            _ => State::Seeking,
        };
        self.piece = (0, 0);
    }

    fn hand_over(&mut self, count: usize, buf: &mut ReadBuf<'_>) {
        let bytes = &self.raw[self.start..self.start + count];
        buf.put_slice(bytes);
        self.piece = (count, bytes.last().copied().unwrap_or_default());
        self.start += count;
    }

    /// Hands over one chunk with the data of all tiny chunks that are ready, and notes its length as the last piece's: 0 where
    /// something else comes next.
    fn poll_joined(&mut self, io: &mut Io, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let begin = buf.filled().len();
        loop {
            let joined = buf.filled().len() - begin;
            match next(self.rest()) {
                Next::Chunk(at, length) if length + LINE.len() + 2 <= buf.remaining() => {
                    if joined == 0 {
                        buf.put_slice(LINE);
                    }
                    buf.put_slice(&self.raw[self.start + at..][..length]);
                    self.start += at + length + 2;
                }
                Next::More => match self.poll_fill(io, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Err(error)) if joined == 0 => return Poll::Ready(Err(error)),
                    Poll::Pending if joined == 0 => return Poll::Pending,
                    // An end or an error is found again by the next read.
                    _ => break,
                },
                Next::Chunk(..) | Next::Other => break,
            }
        }
        let joined = buf.filled().len() - begin;
        if joined > 0 {
            let size = format!("{:08x}", joined - LINE.len());
            buf.filled_mut()[begin..begin + size.len()].copy_from_slice(size.as_bytes());
            buf.put_slice(b"\r\n");
        }
        self.piece = (joined, 0);
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket. Returns how many bytes came, 0 at the end.
    fn poll_fill(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.raw.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let mut room = ReadBuf::new(&mut self.raw[self.end..]);
        std::task::ready!(Pin::new(io).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

/// How many bytes are handed over together while a chunk's end is looked for. A line's end goes byte by byte.
fn piece(raw: &[u8]) -> usize {
    raw.iter().position(|b| matches!(b, b'\r' | b'\n')).map_or(raw.len(), |at| at.max(1))
}

/// What these bytes begin with.
fn next(raw: &[u8]) -> Next {
    let digits = raw.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let size = std::str::from_utf8(&raw[..digits]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
    match (&raw[digits..], size) {
        (_, Some(size)) if size > TINY => Next::Other,
        ([] | [b'\r'], _) if digits <= DIGITS => Next::More,
        ([b'\r', b'\n', ..], Some(size @ 1..)) => {
            let (at, end) = (digits + 2, digits + 2 + size);
            match raw[end.min(raw.len())..] {
                [b'\r', b'\n', ..] => Next::Chunk(at, size),
                [] | [b'\r'] => Next::More,
                _ => Next::Other,
            }
        }
        _ => Next::Other,
    }
}
