//! An answer's body that comes piece by piece, as hyper gets it: tiny pieces are joined while others are ready, a client that does not
//! read is not read for, and what came before an error goes out before the error ends the connection.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};

use super::activity::Control;
use crate::io::body::{Body, Error};

/// A piece of more bytes is not copied to be joined with others.
const SMALL: usize = 1024;

/// How many bytes are joined at most, and how many pieces: then other connections get their turn.
const ROOM: usize = 16 * 1024;
const PIECES: usize = 1024;

/// hyper gets no further piece while so many bytes wait to be written: what a client does not read stays with the instance.
const WAITING: usize = 32 * 1024;

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// A body that comes piece by piece, as hyper is to get it.
pub(super) fn gathered(body: Body, control: &Rc<Control>) -> Body {
    Body::Followed(Box::pin(Gathered { body, next: None, control: control.clone() }))
}

struct Gathered {
    body: Body,
    /// What comes after the pieces that hyper has, if that is known.
    next: Option<Next>,
    control: Rc<Control>,
}

enum Next {
    /// A piece, or the end.
    Frame(Option<Frame<Bytes>>),
    /// The body breaks off.
    Broken(Error),
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if unflushed(&this.control) >= WAITING {
            return await_flush(&this.control, cx);
        }
        let frame = match this.next.take() {
            Some(Next::Broken(error)) => return Poll::Ready(Some(Err(error))),
            Some(Next::Frame(frame)) => frame,
            None => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => {
                    this.next = Some(Next::Broken(error));
                    hold(&this.control);
                    return await_flush(&this.control, cx);
                }
                Some(Ok(frame)) => Some(frame),
                None => None,
            },
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = match frame.into_data() {
            Ok(data) if data.len() <= SMALL => Frame::data(this.join(data, cx)),
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        };
        hand_over(&this.control, frame.data_ref().map_or(0, Bytes::len));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Gathered {
    /// A small piece, with all small ones that follow it at once.
    fn join(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut joined = BytesMut::new();
        for piece in 1.. {
            if piece == PIECES {
                hold(&self.control);
                break;
            }
            if joined.len() + SMALL > ROOM || self.body.is_end_stream() {
                break;
            }
            let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else { break };
            let next = match polled {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.len() <= SMALL => {
                        if joined.is_empty() {
                            joined.reserve(ROOM);
                            joined.extend_from_slice(&first);
                        }
                        joined.extend_from_slice(&data);
                        continue;
                    }
                    Ok(data) => Next::Frame(Some(Frame::data(data))),
                    Err(frame) => Next::Frame(Some(frame)),
                },
                Some(Err(error)) => {
                    hold(&self.control);
                    Next::Broken(error)
                }
                None => Next::Frame(None),
            };
            self.next = Some(next);
            break;
        }
        if joined.is_empty() { first } else { joined.freeze() }
    }
}

/// How many bytes of answers hyper has, and has not written.
fn unflushed(control: &Control) -> usize {
    control.activity.unflushed.load(Ordering::Relaxed)
}

/// hyper gets so many bytes more.
fn hand_over(control: &Control, count: usize) {
    control.activity.unflushed.store(unflushed(control) + count, Ordering::Relaxed);
}

/// hyper gets no more before it has written all that it has.
fn hold(control: &Control) {
    hand_over(control, WAITING);
}

/// Waits until hyper has written all that it has. It does so after each look at the body, and looks at the body again when it can go on
/// writing to a client that was slow; else it must be told to.
fn await_flush(control: &Control, cx: &Context<'_>) -> Polled {
    if !control.blocked() {
        cx.waker().wake_by_ref();
    }
    Poll::Pending
}
