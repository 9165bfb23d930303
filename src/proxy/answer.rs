//! An answer's body on its way to the client: at its end the verdict falls, the connection returns, the line is written.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::exchange::Exchange;
use crate::body::{Body, Error};
use crate::upstream::LocalService;
use crate::upstream::breaker::Failure;
use crate::upstream::instance::{InFlight, Permit};
use crate::upstream::pool::Lease;

/// A body that has come for this long proves its instance: the verdict need not wait for the end of a stream.
const PROVEN: Duration = Duration::from_secs(5);

/// What is settled when an answer's body ends.
pub(super) struct Ending {
    pub(super) exchange: Exchange,
    pub(super) service: Rc<LocalService>,
    pub(super) permit: Option<Permit>,
    pub(super) flight: InFlight,
    pub(super) lease: Lease,
    pub(super) keep_alive: Option<Duration>,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// To its last byte.
    Complete,
    /// The instance broke it off.
    Broken,
    /// The instance sent nothing for the idle deadline.
    Idle,
    /// The request's total deadline cut it: no verdict.
    Late,
    /// The client left: no verdict.
    Abandoned,
}

impl Ending {
    fn settle(mut self, end: End) {
        match (end, self.permit.take()) {
            (End::Complete, permit) => {
                permit.into_iter().for_each(Permit::succeeded);
                self.lease.give_back(self.keep_alive);
            }
            (End::Broken, Some(permit)) => self.service.failed(permit, Failure::Reset, &self.flight),
            (End::Idle, Some(permit)) => self.service.failed(permit, Failure::Idle, &self.flight),
            (End::Broken | End::Idle | End::Late | End::Abandoned, _) => {}
        }
        match end {
            End::Complete => {}
            End::Broken => self.exchange.because("answer_broken", "upstream"),
            End::Idle => self.exchange.because("idle_timeout", "upstream"),
            End::Late => self.exchange.because("total_timeout", "upstream"),
            End::Abandoned => self.exchange.because("client_gone", "client"),
        }
    }
}

/// Follows an answer's body to its end; one that is already there is settled at once.
pub(super) fn follow(body: Body, ending: Ending, idle: Duration, total: Option<Instant>) -> Body {
    if http_body::Body::is_end_stream(&body) {
        ending.settle(End::Complete);
        return Body::Empty;
    }
    Body::Followed(Box::pin(Answer { body, ending: Some(ending), idle, total, timer: None }))
}

struct Answer {
    body: Body,
    ending: Option<Ending>,
    idle: Duration,
    total: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    fn settle(&mut self, end: End) {
        if let Some(ending) = self.ending.take() {
            ending.settle(end);
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(ending) = &mut self.ending {
            ending.exchange.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if http_body::Body::is_end_stream(&self.body) {
            self.settle(End::Complete);
        } else if let Some(timer) = &mut self.timer {
            // Only bodies that had to be waited for look at the clock.
            let now = Instant::now();
            timer.as_mut().reset(self.total.map_or(now + self.idle, |total| total.min(now + self.idle)));
            if let Some(ending) = &mut self.ending
                && now - ending.exchange.began > PROVEN
            {
                ending.permit.take().into_iter().for_each(Permit::succeeded);
            }
        }
        frame
    }

    /// Nothing came yet: has it been too long?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let (idle, total) = (self.idle, self.total);
        let timer = self.timer.get_or_insert_with(|| {
            let at = Instant::now() + idle;
            Box::pin(tokio::time::sleep_until(total.map_or(at, |total| total.min(at))))
        });
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        if total.is_some_and(|total| total <= Instant::now()) {
            self.settle(End::Late);
            return Poll::Ready(Some(Err(Error::Deadline)));
        }
        self.settle(End::Idle);
        Poll::Ready(Some(Err(Error::Idle)))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.pass(frame)))),
            Poll::Ready(None) => {
                this.settle(End::Complete);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.settle(End::Broken);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => this.wait(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.settle(End::Abandoned);
    }
}
