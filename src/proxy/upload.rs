//! A request's body on its way to an instance: counted, under its own deadline, and watched for whose fault a wait is.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::io::body::{Body, Error};

/// Who waits for a client for so long in all, is kept waiting: what the instance does then is no fault of its own.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the attempt knows of the upload.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the last piece went on to the instance.
    pub(super) moved: Cell<Instant>,
    /// Since when the next piece is the client's to send, while it is.
    waiting: Cell<Option<Instant>>,
    /// For how long it was, in all, until the last piece.
    waited: Cell<Duration>,
    /// All of it went on.
    pub(super) done: Cell<bool>,
    /// It failed on the client's side.
    pub(super) failed: Cell<Option<Failed>>,
}

/// How a client failed to send its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The client went away, or its framing was broken.
    Broken,
    /// No byte for the idle deadline.
    Idle,
    /// More than the limit.
    TooLarge,
}

impl Progress {
    /// Whether the next piece is the client's to send.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.get().is_some() && !self.done.get()
    }

    /// Whether the client owes the rest of its body, and was waited for so long that the instance may have had enough. Pieces that
    /// trickle in do not begin the wait anew.
    pub(super) fn is_owed(&self, now: Instant) -> bool {
        let waits = self.waiting.get().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        !self.done.get() && self.waited.get() + waits >= PATIENCE
    }
}

struct Upload {
    body: Body,
    progress: Rc<Progress>,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    left: u64,
}

/// Follows a body that is not empty.
pub(super) fn follow(body: Body, idle: Duration, limit: Option<u64>) -> (Body, Rc<Progress>) {
    let progress = Rc::new(Progress {
        moved: Cell::new(Instant::now()),
        waiting: Cell::new(None),
        waited: Cell::new(Duration::ZERO),
        done: Cell::new(false),
        failed: Cell::new(None),
    });
    let left = limit.unwrap_or(u64::MAX);
    let upload = Upload { body, progress: progress.clone(), idle, timer: None, left };
    (Body::Followed(Box::pin(upload)), progress)
}

impl Upload {
    fn fail(&self, failed: Failed, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.progress.failed.set(Some(failed));
        Poll::Ready(Some(Err(error)))
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let (now, progress) = (Instant::now(), &self.progress);
        progress.moved.set(now);
        if let Some(since) = progress.waiting.take() {
            progress.waited.set(progress.waited.get() + now.saturating_duration_since(since));
        }
        self.timer = None;
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return self.fail(Failed::TooLarge, Error::TooLarge),
        }
        self.progress.done.set(http_body::Body::is_end_stream(&self.body));
        Poll::Ready(Some(Ok(frame)))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => this.pass(frame),
            Poll::Ready(Some(Err(error))) => this.fail(Failed::Broken, error),
            Poll::Ready(None) => {
                this.progress.done.set(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                if this.progress.waiting.get().is_none() {
                    this.progress.waiting.set(Some(Instant::now()));
                }
                let idle = this.idle;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                match timer.as_mut().poll(cx) {
                    Poll::Ready(()) => this.fail(Failed::Idle, Error::Idle),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
