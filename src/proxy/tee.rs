//! An answer that is read for the store, on its way to the client as well: the client's pace does not hold up the store,
//! and what the client has not taken yet is at most one object.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::filter::cache::fills::Filling;
use crate::io::body::{Body, Error};

/// The store's end.
pub(super) struct Tee(Rc<RefCell<Shared>>);

/// The client's end.
struct Reading(Rc<RefCell<Shared>>);

#[derive(Default)]
struct Shared {
    queue: VecDeque<Frame<Bytes>>,
    /// What comes after the queue.
    then: Then,
    waker: Option<Waker>,
    /// Bytes that are still to come in all, when that is known.
    left: Option<u64>,
    /// The client does not read any more.
    gone: bool,
    /// The bytes count for as long as either end has them.
    filling: Option<Rc<Filling>>,
}

#[derive(Default)]
enum Then {
    /// More, from the store's end.
    #[default]
    More,
    /// The rest, which the client reads by itself.
    Rest(Body),
    /// It broke off.
    Failed(Error),
    /// Nothing.
    End,
}

impl Tee {
    /// Both ends, for a body of this size.
    pub(super) fn new(body: &Body, filling: &Rc<Filling>) -> Tee {
        let left = http_body::Body::size_hint(body).exact();
        Tee(Rc::new(RefCell::new(Shared { left, filling: Some(filling.clone()), ..Shared::default() })))
    }

    /// The client's end.
    pub(super) fn body(&self) -> Body {
        Body::Followed(Box::pin(Reading(self.0.clone())))
    }

    /// One more piece.
    pub(super) fn push(&self, data: Bytes) {
        self.push_frame(Frame::data(data));
    }

    /// One more frame.
    pub(super) fn push_frame(&self, frame: Frame<Bytes>) {
        let mut shared = self.0.borrow_mut();
        if !shared.gone {
            shared.queue.push_back(frame);
        }
        shared.wake();
    }

    /// The client reads the rest by itself.
    pub(super) fn hand_over(self, rest: Body) {
        self.then(Then::Rest(rest));
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
        // What is not stored holds no room, however slowly it is read.
        if matches!(then, Then::Rest(_)) {
            shared.filling = None;
        }
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
            shared.then = Then::Failed(Error::Idle);
            shared.wake();
        }
    }
}

impl Shared {
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
        let mut shared = self.0.borrow_mut();
        if let Some(frame) = shared.queue.pop_front() {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            shared.left = shared.left.map(|left| left.saturating_sub(length));
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut shared.then {
            Then::Rest(rest) => return Pin::new(rest).poll_frame(cx),
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
            Then::Rest(rest) => http_body::Body::is_end_stream(rest),
            Then::End => true,
            Then::More | Then::Failed(_) => false,
        };
        rest && shared.queue.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.gone = true;
        shared.queue.clear();
        shared.filling = None;
        if matches!(shared.then, Then::Rest(_)) {
            shared.then = Then::End;
        }
    }
}
