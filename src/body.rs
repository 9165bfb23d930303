//! What a message carries, streamed: the only word for a body outside the rooms that speak hyper.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A body on its way, either direction.
#[derive(Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// All of it, at hand.
    Bytes(Bytes),
    /// From a connection to an instance, as it is read: the body of that connection's so many-th message.
    Upstream(Rc<dyn Source>, u64),
    /// Someone follows it to its end: reads it from a client, counts, judges, returns a connection.
    Followed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error>>>),
}

/// Where a body comes from, when whoever reads the body reads the connection. A body that is read after its end is empty, whatever
/// the connection carries by then.
pub trait Source {
    /// The next piece of a message.
    fn poll_frame(&self, message: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    /// Nothing more will come of a message.
    fn is_end_stream(&self, message: u64) -> bool;
    /// How much will come of a message, where that was said.
    fn size_hint(&self, message: u64) -> SizeHint;
}

/// Why a body ended before its end.
#[derive(Debug)]
pub enum Error {
    /// The connection that it came from failed, or its framing was broken.
    Broken(io::Error),
    /// It is an answer, and the request that it answers broke off.
    Request,
    /// No byte came for the idle deadline.
    Idle,
    /// The request's total deadline passed.
    Deadline,
    /// It grew over the configured limit.
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
