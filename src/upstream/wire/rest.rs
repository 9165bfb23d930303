//! What is left of a request whose answer has begun.

use std::future::Future;
use std::pin::Pin;
use std::rc::Weak;
use std::task::{Context, Poll, Waker};

use super::Wire;

/// Sends what is left of a request; dropped, it leaves that to who reads the answer.
#[derive(Debug)]
pub struct Rest(pub(super) Weak<Wire>);

impl Future for Rest {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            // How it ended is seen by who reads on.
            Some(wire) => wire.0.borrow_mut().poll_send(cx).map(drop),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let reader = self.0.upgrade().and_then(|wire| wire.0.borrow_mut().driven.take());
        reader.into_iter().for_each(Waker::wake);
    }
}
