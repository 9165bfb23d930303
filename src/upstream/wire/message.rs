//! A request on its way out (RFC 9112 sections 3, 6 and 7).

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, Method};
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::upload::{Again, Upload};
use crate::fields;
use crate::io::Io;
use crate::io::body::Body;

/// Memory for a head's text that is kept from one request to the next, in bytes.
const KEPT: usize = 4 * 1024;

/// Memory for a head's text, to begin with, in bytes.
const ROOM: usize = 512;

/// Why a request could not be sent.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not a byte of it was written.
    Unwritten(Body),
    /// Its own body failed.
    Body,
    /// The connection takes no more of it.
    Io,
}

/// A request's head as data: what it says, whatever protocol carries it. It borrows all of that, and is made anew for each attempt.
/// What belongs to the connection - how the body is framed, `Connection`, `TE`, `Upgrade` - is not among the fields: the connection
/// writes it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a, F> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as the instance gets them.
    pub target: &'a str,
    /// The host that the request is for; `None` says nothing of it.
    pub authority: Option<&'a [u8]>,
    /// All other fields.
    pub fields: F,
    /// The client takes trailers (`TE: trailers`, RFC 9110 section 10.1.4).
    pub trailers: bool,
    /// It asks to speak WebSocket from here on (RFC 6455 section 4.1).
    pub websocket: bool,
}

/// The fields of a head.
pub trait Fields {
    /// Hands over each field, one after the other: its name in lower case, and its value.
    fn each(&self, field: impl FnMut(&str, &[u8]));
}

impl Fields for &http::HeaderMap {
    fn each(&self, mut field: impl FnMut(&str, &[u8])) {
        self.iter().for_each(|(name, value)| field(name.as_str(), value.as_bytes()));
    }
}

impl<F: Fields> Head<'_, F> {
    /// Writes the head as HTTP/1.1 has it (RFC 9112 sections 3 and 5). `body` is the length of the body, when there is a body and its
    /// length is known. Returns the trailers that it announces.
    fn write(&self, out: &mut Vec<u8>, body: Option<Option<u64>>) -> Vec<HeaderName> {
        out.reserve(ROOM);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Some(authority) = self.authority {
            write_field(out, "host", authority);
        }
        let (mut says_length, mut trailers) = (false, Vec::new());
        self.fields.each(|name, value| {
            match name {
                // How the body is framed is this connection's to say, and is said below.
                "transfer-encoding" => return,
                "content-length" => {
                    says_length = true;
                    return;
                }
                // RFC 9110 section 6.6.2
                "trailer" => trailers.extend(fields::names(value)),
                _ => {}
            }
            write_field(out, name, value);
        });
        if self.trailers {
            // RFC 9110 section 10.1.4: who sends TE names it in Connection.
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        if self.websocket {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        match body {
            // The client said that there is no body, instead of saying nothing.
            None if says_length => out.extend_from_slice(b"content-length: 0\r\n"),
            None => {}
            Some(Some(length)) => {
                write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Some(None) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        trailers
    }
}

/// A request that is being written.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// The head, or the line before a piece.
    line: Vec<u8>,
    /// A piece of the body, never copied.
    piece: Bytes,
    /// What comes after it.
    tail: &'static [u8],
    /// How much of the three was written.
    at: usize,
    /// Something of the request was written.
    begun: bool,
    /// The connection took nothing when it was written to last.
    blocked: bool,
    /// Bytes of all requests that were written.
    written: u64,
    upload: Option<Upload>,
    /// What the body was, where its end is in the line and nothing was written yet.
    ended: Option<Body>,
}

impl Message {
    /// Another request.
    pub(super) fn begin<F: Fields>(&mut self, head: &Head<'_, F>, body: Body) {
        self.clear();
        (self.begun, self.blocked, self.ended) = (false, false, None);
        let length = match &body {
            Body::Empty => None,
            body => Some(http_body::Body::size_hint(body).exact()),
        };
        let trailers = head.write(&mut self.line, length);
        self.upload = length.map(|left| Upload::new(body, left, trailers));
    }

    /// Whether nothing is left of it.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_none() && self.unwritten() == 0
    }

    /// Whether something is here that the connection did not take.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Counts what is written of all requests.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn unwritten(&self) -> usize {
        self.line.len() + self.piece.len() + self.tail.len() - self.at
    }

    fn clear(&mut self) {
        self.line.clear();
        if self.line.capacity() > KEPT {
            self.line = Vec::new();
        }
        (self.piece, self.tail, self.at) = (Bytes::new(), b"", 0);
    }

    /// Writes as much as can be written now. A body's first piece goes out with its head.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let mut waits = false;
            if self.upload.is_some() && self.piece.is_empty() && self.tail.is_empty() {
                match self.next(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(self.give_up(fault))),
                    Poll::Pending => waits = true,
                }
            }
            while self.unwritten() > 0 {
                match std::task::ready!(self.write(io, cx)) {
                    Ok(written) => self.at += written,
                    Err(_) => return Poll::Ready(Err(self.failed())),
                }
            }
            self.clear();
            match self.upload {
                Some(_) if waits => return Poll::Pending,
                Some(_) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let written = if self.piece.is_empty() && self.tail.is_empty() {
            Pin::new(io).poll_write(cx, &self.line[self.at..])
        } else {
            let mut slices = [IoSlice::new(&self.line), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let mut slices = &mut slices[..];
            IoSlice::advance_slices(&mut slices, self.at);
            Pin::new(io).poll_write_vectored(cx, slices)
        };
        // What it did not take before it broke, it never took.
        self.blocked = written.is_pending() || self.blocked && matches!(written, Poll::Ready(Err(_)));
        match std::task::ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                self.begun = true;
                self.written += count as u64;
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The next piece of the body, ready to be written.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        let frame = std::task::ready!(upload.frame(cx));
        let Some(frame) = frame else {
            match upload.left {
                Some(0) => {}
                Some(_) => return Poll::Ready(Err(Fault::Body)),
                None => self.line.extend_from_slice(b"0\r\n\r\n"),
            }
            self.end(None);
            return Poll::Ready(Ok(()));
        };
        let frame = frame.or(Err(Fault::Body))?;
        match frame.into_data() {
            Ok(data) => self.data(data),
            Err(frame) => {
                self.trailers(frame);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn data(&mut self, data: Bytes) -> Poll<Result<(), Fault>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        match &mut upload.left {
            Some(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Err(Fault::Body)),
            },
            // A chunk of no bytes would end the body.
            None if data.is_empty() => return Poll::Ready(Ok(())),
            None => {
                // Writing to a Vec cannot fail.
                let _ = write!(self.line, "{:x}\r\n", data.len());
                self.tail = b"\r\n";
            }
        }
        self.piece = data;
        if upload.left == Some(0) && upload.is_over() {
            self.upload = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Trailers end a body of chunks; those go on that the head announces, for which the rules of the head were asked.
    fn trailers(&mut self, frame: Frame<Bytes>) {
        let Some(upload) = self.upload.take_if(|upload| upload.left.is_none()) else { return };
        self.line.extend_from_slice(b"0\r\n");
        for (name, value) in frame.trailers_ref().into_iter().flatten() {
            if upload.trailers.contains(name) && fields::may_be_trailer(name.as_str()) {
                write_field(&mut self.line, name.as_str(), value.as_bytes());
            }
        }
        self.line.extend_from_slice(b"\r\n");
        self.end(Some(frame));
    }

    /// Nothing more comes of the body, after this frame.
    fn end(&mut self, last: Option<Frame<Bytes>>) {
        self.upload = None;
        if !self.begun {
            self.ended = Some(Again::body(last.map(Ok), Body::Empty));
        }
    }

    /// The connection does not take it: where nothing was written, the body is whole again.
    fn failed(&mut self) -> Fault {
        let piece = std::mem::take(&mut self.piece);
        let fault = match (self.upload.take(), self.ended.take()) {
            _ if self.begun => Fault::Io,
            (Some(upload), _) if piece.is_empty() => Fault::Unwritten(upload.rest()),
            (Some(upload), _) => Fault::Unwritten(Again::body(Some(Ok(Frame::data(piece))), upload.rest())),
            (None, Some(ended)) => Fault::Unwritten(ended),
            (None, None) => Fault::Unwritten(Body::from(piece)),
        };
        self.give_up(fault)
    }

    fn give_up(&mut self, fault: Fault) -> Fault {
        self.upload = None;
        self.clear();
        fault
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
