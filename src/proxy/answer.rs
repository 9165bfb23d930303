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

/// How long what goes on for hours may go on with a departed instance (it may have departed by mistake).
pub(super) const DEPARTED: Duration = Duration::from_secs(300);

/// What is settled when an answer's body ends.
pub(super) struct Ending {
    /// The request that it answers; none while it is only stored.
    pub(super) exchange: Option<Box<Exchange>>,
    /// When the request began.
    pub(super) began: Instant,
    /// When its answer did.
    pub(super) answered: Instant,
    /// The instance's side; none when somebody else settles it.
    pub(super) upstream: Option<Settlement>,
}

/// What is settled on the instance's side.
pub(super) struct Settlement {
    pub(super) service: Rc<LocalService>,
    pub(super) permit: Option<Permit>,
    pub(super) flight: InFlight,
    pub(super) lease: Lease,
    pub(super) keep_alive: Option<Duration>,
    /// The route's `idle` and the request's end, for what is left of an upload: whatever holds for its answer.
    pub(super) deadlines: (Duration, Option<Instant>),
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

impl Settlement {
    fn settle(mut self, end: End, now: Instant) {
        match (end, self.permit.take()) {
            (End::Complete, permit) => {
                permit.into_iter().for_each(|permit| permit.succeeded(now));
                self.lease.give_back(self.keep_alive, self.deadlines, self.flight, now);
            }
            (End::Broken, Some(permit)) => self.service.failed(permit, Failure::Reset, &self.flight),
            (End::Idle, Some(permit)) => self.service.failed(permit, Failure::Idle, &self.flight),
            (End::Broken | End::Idle | End::Late | End::Abandoned, _) => {}
        }
    }
}

impl Ending {
    fn settle(self, end: End, now: Instant) {
        if let Some(upstream) = self.upstream {
            upstream.settle(end, now);
        }
        let Some(mut exchange) = self.exchange else { return };
        exchange.ended = Some(now);
        match end {
            End::Complete => {}
            End::Broken => exchange.because("answer_broken", "upstream"),
            End::Idle => exchange.because("idle_timeout", "upstream"),
            End::Late => exchange.because("total_timeout", "upstream"),
            End::Abandoned => exchange.because("client_gone", "client"),
        }
    }

    /// The instance has proven itself: the verdict need not wait for the end.
    fn proven(&mut self, now: Instant) {
        let permit = self.upstream.as_mut().and_then(|upstream| upstream.permit.take());
        permit.into_iter().for_each(|permit| permit.succeeded(now));
    }
}

/// How long a body may take.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Between two pieces.
    pub(super) idle: Duration,
    /// When it must be over.
    pub(super) total: Option<Instant>,
    /// It may go on for hours: its first piece proves its instance.
    pub(super) stream: bool,
}

/// Follows an answer's body to its end; one that is here to its last byte is settled at once.
pub(super) fn follow(body: Body, mut ending: Ending, pace: Pace) -> Body {
    if matches!(body, Body::Bytes(_)) || http_body::Body::is_end_stream(&body) {
        if let (Body::Bytes(bytes), Some(exchange)) = (&body, &mut ending.exchange) {
            exchange.bytes = bytes.len() as u64;
        }
        let now = ending.answered;
        ending.settle(End::Complete, now);
        return if let Body::Bytes(_) = body { body } else { Body::Empty };
    }
    Body::Followed(Box::pin(Answer { body, ending: Some(ending), pace, timer: None, departed: None }))
}

struct Answer {
    body: Body,
    ending: Option<Ending>,
    pace: Pace,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when a stream's instance is gone, as far as was looked.
    departed: Option<Instant>,
}

impl Answer {
    /// Whether a stream goes on from an instance that departed long ago.
    fn overstays(&mut self) -> bool {
        let upstream = self.ending.as_ref().and_then(|ending| ending.upstream.as_ref()).filter(|_| self.pace.stream);
        if !upstream.is_some_and(|upstream| upstream.flight.instance().departed()) {
            self.departed = None;
            return false;
        }
        let now = Instant::now();
        now - *self.departed.get_or_insert(now) >= DEPARTED
    }

    fn settle(&mut self, end: End) {
        if let Some(ending) = self.ending.take() {
            ending.settle(end, Instant::now());
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Pace { idle, total, stream } = self.pace;
        if let Some(ending) = &mut self.ending {
            if stream {
                ending.proven(Instant::now());
            }
            if let Some(exchange) = &mut ending.exchange {
                exchange.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        }
        if http_body::Body::is_end_stream(&self.body) {
            self.settle(End::Complete);
        } else if let Some(timer) = &mut self.timer {
            // Only bodies that had to be waited for look at the clock.
            let now = Instant::now();
            timer.as_mut().reset(total.map_or(now + idle, |total| total.min(now + idle)));
            if let Some(ending) = &mut self.ending
                && now - ending.began > PROVEN
            {
                ending.proven(now);
            }
        }
        frame
    }

    /// Nothing came yet: has it been too long?
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Pace { idle, total, .. } = self.pace;
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
            Poll::Ready(Some(Ok(_))) if this.overstays() => {
                this.settle(End::Late);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(this.pass(frame)))),
            Poll::Ready(None) => {
                this.settle(End::Complete);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let by_client = matches!(error, Error::Request);
                this.settle(if by_client { End::Abandoned } else { End::Broken });
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
