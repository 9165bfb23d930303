//! An answer's body that comes piece by piece, as hyper gets it: tiny pieces are joined while others are ready, a client that does not
//! read is not read for, and what came before an error goes out before the error ends the connection.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};

use super::activity::Control;
use crate::io::body::{Body, Error};

/// A piece of more bytes is not copied to be joined with others.
const SMALL: usize = 1024;

/// How many bytes are joined at most, and how many pieces: then other connections get their turn.
const ROOM: usize = 16 * 1024;
const PIECES: usize = 1024;

/// hyper gets no further piece while so many bytes wait to be written: what a client does not read stays with the instance.
const WAITING: usize = 32 * 1024;

/// What comes after the pieces that hyper has.
pub(super) enum Next {
    /// A piece, or the end.
    Frame(Option<Frame<Bytes>>),
    /// The body breaks off.
    Broken(Error),
}

type Polled = Poll<Option<Result<Frame<Bytes>, Error>>>;

/// The next piece of a body. `next` keeps what comes after it.
pub(super) fn poll_frame(
    body: &mut Body,
    next: &mut Option<Box<Next>>,
    control: &Control,
    cx: &mut Context<'_>,
) -> Polled {
    if unflushed(control) >= WAITING {
        return await_flush(control, cx);
    }
    let frame = match next.take().map(|next| *next) {
        Some(Next::Broken(error)) => return Poll::Ready(Some(Err(error))),
        Some(Next::Frame(frame)) => frame,
        None => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Err(error)) => {
                *next = Some(Box::new(Next::Broken(error)));
                hold(control);
                return await_flush(control, cx);
            }
            Some(Ok(frame)) => Some(frame),
            None => None,
        },
    };
    let Some(frame) = frame else { return Poll::Ready(None) };
    let frame = match frame.into_data() {
        Ok(data) if data.len() <= SMALL && next.is_none() => Frame::data(join(data, body, next, control, cx)),
        Ok(data) => Frame::data(data),
        Err(frame) => frame,
    };
    hand_over(control, frame.data_ref().map_or(0, Bytes::len));
    Poll::Ready(Some(Ok(frame)))
}

/// A small piece, with all small ones that follow it at once.
fn join(first: Bytes, body: &mut Body, next: &mut Option<Box<Next>>, control: &Control, cx: &mut Context<'_>) -> Bytes {
    let mut joined = BytesMut::new();
    for _ in 1..PIECES {
        if joined.len() + SMALL > ROOM || body.is_end_stream() {
            break;
        }
        let Poll::Ready(polled) = Pin::new(&mut *body).poll_frame(cx) else { break };
        let later = match polled {
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
                hold(control);
                Next::Broken(error)
            }
            None => Next::Frame(None),
        };
        *next = Some(Box::new(later));
        break;
    }
    if joined.is_empty() { first } else { joined.freeze() }
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
