//! The body of a message, as a stream. Rooms other than those that speak HTTP themselves know no other type of body.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The body of a request or an answer.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// A whole body in memory.
    Bytes(Bytes),
    /// The body of an answer, read from a connection to an instance. The number says which message of that connection it belongs
    /// to.
    Upstream(Rc<dyn Source>, u64),
    /// A body with something that happens as it flows or when it ends: bytes are counted, a verdict is given, a connection
    /// returns to its pool. Also a client's body.
    Followed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error>>>),
}

/// A connection whose bodies are read by whoever holds them, without a task in between. Each body has its message's number: one
/// that is read after its end is empty, although the connection may carry the next message by then.
pub trait Source {
    /// The next piece of a message.
    fn poll_frame(&self, message: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    /// Whether nothing more will come of a message.
    fn is_end_stream(&self, message: u64) -> bool;
    /// How many bytes will come of a message, where its head said so.
    fn size_hint(&self, message: u64) -> SizeHint;
}

/// Why a body ended before it was complete.
#[derive(Debug)]
pub enum Error {
    /// The connection that it came from failed, or its framing was invalid.
    Broken(io::Error),
    /// This is an answer's body, and its request's body broke off.
    Request,
    /// No byte came for the idle deadline.
    Idle,
    /// The request's total deadline passed.
    Deadline,
    /// It became larger than the configured limit.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Broken(_) => "the body broke off",
            Error::Request => "the request's body broke off",
            Error::Idle => "no byte of the body came before the idle deadline",
            Error::Deadline => "the body was not complete before the total deadline",
            Error::TooLarge => "the body is larger than the limit",
        })
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Broken(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Empty => "Empty",
            Body::Bytes(_) => "Bytes",
            Body::Upstream(..) => "Upstream",
            Body::Followed(_) => "Followed",
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        if bytes.is_empty() { Body::Empty } else { Body::Bytes(bytes) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Body::Empty => Poll::Ready(None),
            this @ Body::Bytes(_) => match std::mem::take(this) {
                Body::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Body::Upstream(body, message) => body.poll_frame(*message, cx),
            Body::Followed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Bytes(bytes) => bytes.is_empty(),
            Body::Upstream(body, message) => body.is_end_stream(*message),
            Body::Followed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Upstream(body, message) => body.size_hint(*message),
            Body::Followed(body) => body.size_hint(),
        }
    }
}
