//! The body of a request on its way out, as pieces that are worth a write.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderName;
use http_body::{Frame, SizeHint};

use super::{JOINED, SMALL};
use crate::io::body::{self, Body};

/// What is to come of a body.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) body: Body,
    /// How many bytes are to come; `None` where chunks say it.
    pub(super) left: Option<u64>,
    /// Trailers that the head announces.
    pub(super) trailers: Vec<HeaderName>,
    /// What came after pieces that were joined, and is not to be joined with them.
    ahead: Option<Came>,
}

/// What comes of a body: a frame, its failure, or its end.
pub(super) type Came = Option<Result<Frame<Bytes>, body::Error>>;

impl Upload {
    /// A body of which nothing was taken yet.
    pub(super) fn new(body: Body, left: Option<u64>, trailers: Vec<HeaderName>) -> Upload {
        Upload { body, left, trailers, ahead: None }
    }

    /// Whether nothing more comes of it, as far as is known without asking.
    pub(super) fn is_over(&self) -> bool {
        self.ahead.is_none() && http_body::Body::is_end_stream(&self.body)
    }

    /// What comes next. Small pieces that are all here are joined, so that each does not cost a write of its own.
    pub(super) fn frame(&mut self, cx: &mut Context<'_>) -> Poll<Came> {
        let first = match self.ahead.take() {
            Some(first) => first,
            None => std::task::ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)),
        };
        let Some(piece) = small(&first).filter(|_| !http_body::Body::is_end_stream(&self.body)) else {
            return Poll::Ready(first);
        };
        let mut joined = BytesMut::new();
        loop {
            match http_body::Body::poll_frame(Pin::new(&mut self.body), cx) {
                Poll::Pending => break,
                Poll::Ready(next) => match small(&next) {
                    Some(next) => {
                        if joined.is_empty() {
                            joined.reserve(JOINED);
                            joined.extend_from_slice(piece);
                        }
                        joined.extend_from_slice(next);
                    }
                    None => {
                        self.ahead = Some(next);
                        break;
                    }
                },
            }
            if joined.len() > JOINED - SMALL {
                break;
            }
        }
        Poll::Ready(if joined.is_empty() { first } else { Some(Ok(Frame::data(joined.freeze()))) })
    }

    /// What has not been taken of it.
    pub(super) fn rest(self) -> Body {
        match self.ahead {
            None => self.body,
            Some(None) => Body::Empty,
            Some(first) => Again::body(first, self.body),
        }
    }
}

/// A piece of data that is worth copying.
fn small(came: &Came) -> Option<&Bytes> {
    came.as_ref()?.as_ref().ok()?.data_ref().filter(|data| data.len() <= SMALL)
}

/// A body whose first frame was taken already.
pub(super) struct Again {
    first: Came,
    rest: Body,
}

impl Again {
    pub(super) fn body(first: Came, rest: Body) -> Body {
        Body::Followed(Box::pin(Again { first, rest }))
    }
}

impl http_body::Body for Again {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            None => Some(0),
            // Trailers only come in chunks.
            Some(Ok(frame)) => frame.data_ref().map(|data| data.len() as u64),
            Some(Err(_)) => None,
        };
        match (first, self.rest.size_hint().exact()) {
            (Some(first), Some(rest)) => SizeHint::with_exact(first + rest),
            _ => SizeHint::default(),
        }
    }
}
