//! An answer that is read for the store, on its way to the client as well: the client's pace does not hold up the store, both have
//! the same bytes, and what the client has not taken yet is at most one object.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::filter::cache::Blocks;
use crate::filter::cache::fills::Filling;
use crate::filter::cache::growing::Growing;
use crate::io::body::{Body, Error};

/// The store's end.
pub(super) struct Tee(Rc<RefCell<Shared>>);

/// The client's end.
struct Reading(Rc<RefCell<Shared>>);

struct Shared {
    body: Growing,
    /// Bytes of it that the client has taken.
    read: usize,
    /// What comes after it.
    then: Then,
    waker: Option<Waker>,
    /// Bytes that are still to come in all, when that is known.
    left: Option<u64>,
    /// The client does not read any more.
    gone: bool,
}

enum Then {
    /// More, from the store's end.
    More,
    /// The rest, which the client reads by itself, after a frame that is here already.
    Rest(Option<Frame<Bytes>>, Body),
    /// It broke off.
    Failed(Error),
    /// Nothing.
    End,
}

impl Tee {
    /// Both ends, for this body.
    pub(super) fn new(body: &Body, filling: Filling) -> Tee {
        let left = http_body::Body::size_hint(body).exact();
        let body = Growing::new(filling, left);
        Tee(Rc::new(RefCell::new(Shared { body, read: 0, then: Then::More, waker: None, left, gone: false })))
    }

    /// The client's end.
    pub(super) fn body(&self) -> Body {
        Body::Followed(Box::pin(Reading(self.0.clone())))
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().body.len()
    }

    /// One more piece; false, when there is no room for it.
    pub(super) fn push(&self, data: &[u8]) -> bool {
        let mut shared = self.0.borrow_mut();
        let taken = shared.body.push(data);
        shared.wake();
        taken
    }

    /// This frame, and the rest, which the client reads by itself.
    pub(super) fn hand_over(self, frame: Frame<Bytes>, rest: Body) {
        self.then(Then::Rest(Some(frame), rest));
    }

    /// The whole body, for the store.
    pub(super) fn whole(&self) -> Blocks {
        self.0.borrow_mut().body.finish()
    }

    /// It broke off.
    pub(super) fn fail(self, error: Error) {
        self.then(Then::Failed(error));
    }

    /// That was all.
    pub(super) fn end(self) {
        self.then(Then::End);
    }

    fn then(self, then: Then) {
        let mut shared = self.0.borrow_mut();
        shared.body.leave();
        // Nobody reads: the rest is given up here.
        if !shared.gone {
            shared.then = then;
        }
        shared.wake();
    }
}

impl Drop for Tee {
    /// The task ended without a word: the client learns that this is not all.
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        if matches!(shared.then, Then::More) {
            shared.body.leave();
            shared.then = Then::Failed(Error::Idle);
            shared.wake();
        }
    }
}

impl Shared {
    /// The client takes a frame. What it has taken of a body that is not stored is held for nobody.
    fn take(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.read += length;
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        if !matches!(self.then, Then::More) {
            self.body.forget(self.read);
        }
        frame
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl http_body::Body for Reading {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let shared = &mut *self.0.borrow_mut();
        if let Some(data) = shared.body.after(shared.read) {
            return Poll::Ready(Some(Ok(shared.take(Frame::data(data)))));
        }
        match &mut shared.then {
            Then::Rest(frame, rest) => match frame.take() {
                Some(frame) => return Poll::Ready(Some(Ok(shared.take(frame)))),
                None => return Pin::new(rest).poll_frame(cx),
            },
            Then::End => return Poll::Ready(None),
            Then::Failed(_) => {}
            Then::More => {
                shared.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        match std::mem::replace(&mut shared.then, Then::End) {
            Then::Failed(error) => Poll::Ready(Some(Err(error))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.0.borrow();
        let rest = match &shared.then {
            Then::Rest(frame, rest) => frame.is_none() && http_body::Body::is_end_stream(rest),
            Then::End => true,
            Then::More | Then::Failed(_) => false,
        };
        rest && shared.read >= shared.body.len()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.gone = true;
        if matches!(shared.then, Then::Rest(..)) {
            shared.then = Then::End;
        }
    }
}
