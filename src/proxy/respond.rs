//! The only exit: every answer leaves through [`respond`], whoever gave it. Then its body is followed to its end, where the verdict
//! falls, the connection returns to its pool, and the access line is written.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::call::{DEPARTED, Given, Pace, Passed, Reply, Settlement};
use super::error::{self, Error};
use super::exchange::Exchange;
use super::forward::owed;
use super::rewrite;
use super::tunnel::Tunnel;
use crate::fields::X_REQUEST_ID;
use crate::filter::Filter;
use crate::filter::cache::{Entry, Own};
use crate::io::body::{self, Body};
use crate::upstream::verdict::{self, Verdict};

/// How long a client waits for the next piece of an answer that is being stored: its own deadlines are behind it.
const FILLING: Duration = Duration::from_secs(24 * 3600);

/// A body that has come for this long proves its instance: the verdict need not wait for the end of a stream.
const PROVEN: Duration = Duration::from_secs(5);

/// What was asked for by nobody for so long, and for most of the time, is not read: that is no fault of its instance.
const UNREAD: Duration = Duration::from_secs(1);

/// What a request is answered with. What is large is boxed: it is passed on several times.
pub(super) enum Outcome {
    /// A page: the gateway's own, a route's, a preflight's.
    Page(Box<Response<Bytes>>),
    /// A page that explains an error, with a hint at what exists instead.
    Failed(Error, String),
    /// What was fetched.
    Fetched(Reply),
}

/// An answer on its way to the client. Only `respond` makes one.
#[derive(Debug)]
pub struct Sent(Response<Body>);

impl From<Sent> for Response<Body> {
    fn from(sent: Sent) -> Response<Body> {
        sent.0
    }
}

/// Sends an answer.
pub(super) fn respond(mut exchange: Box<Exchange>, outcome: Outcome) -> Sent {
    let mut whole = match outcome {
        Outcome::Page(page) => *page,
        Outcome::Failed(error, hint) => {
            exchange.facts.because(error.reason(), error.blame().as_str());
            error::page(&error, &exchange.facts.id, &hint)
        }
        Outcome::Fetched(Reply::Stored { entry, how, known, now }) => {
            let (response, length) = stored(&mut exchange, &entry, (how, known), now);
            return over(exchange, response, length);
        }
        Outcome::Fetched(Reply::Filling(mut response, why)) => {
            exchange.facts.cache = "miss";
            cache_status(response.headers_mut(), &format!("lictor; fwd={}; stored", why.as_str()));
            response.headers_mut().insert(X_REQUEST_ID, exchange.facts.id.value());
            finish_head(&mut exchange, response.status(), response.headers_mut());
            let pace = Pace { idle: FILLING, total: None, stream: false };
            let ending = Ending { began: exchange.facts.began, exchange: Some(exchange), settlement: None };
            return Sent(response.map(|body| follow(body, ending, pace, Instant::now())));
        }
        Outcome::Fetched(Reply::Passed(passed, past)) => {
            let Passed { mut response, answered, settlement, pace, upgrade } = *passed;
            if let Some(why) = past {
                exchange.facts.cache = "pass";
                cache_status(response.headers_mut(), &format!("lictor; fwd={}", why.as_str()));
            }
            exchange.facts.stream = pace.stream;
            response.headers_mut().insert(X_REQUEST_ID, exchange.facts.id.value());
            finish_head(&mut exchange, response.status(), response.headers_mut());
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                Tunnel::begin(exchange, upgrade, settlement, pace.idle, answered);
                return Sent(response.map(|_| Body::Empty));
            }
            let began = exchange.facts.began;
            let ending = Ending { exchange: Some(exchange), began, settlement };
            return Sent(response.map(|body| follow(body, ending, pace, answered)));
        }
    };
    whole.headers_mut().insert(X_REQUEST_ID, exchange.facts.id.value());
    let length = whole.body().len();
    over(exchange, whole.map(Body::from), length)
}

/// Sends a whole answer, with a body of this length: with that its request is over, and nothing has to be followed.
fn over(mut exchange: Box<Exchange>, mut whole: Response<Body>, length: usize) -> Sent {
    let bodiless = exchange.facts.method == Method::HEAD;
    exchange.facts.bytes = if bodiless { 0 } else { length as u64 };
    finish_head(&mut exchange, whole.status(), whole.headers_mut());
    Sent(whole)
}

/// Notes an answer's status, and gives it what every answer has besides its request's id: the changes of its route, then what each
/// filter adds that was entered, the last one first.
fn finish_head(exchange: &mut Exchange, status: StatusCode, headers: &mut HeaderMap) {
    exchange.facts.status = Some(status);
    let Some(entry) = &exchange.effects.route else { return };
    rewrite::apply(&entry.route.response_headers, headers);
    for filter in Filter::ORDER[..exchange.entered].iter().rev() {
        filter.after(&entry.route, &mut exchange.notes, headers);
    }
}

/// An answer from the store, or 304 when the client has it already; and the length of its body.
fn stored(
    exchange: &mut Exchange,
    entry: &Entry,
    (how, known): (Given, bool),
    now: Instant,
) -> (Response<Body>, usize) {
    let age = entry.age(now);
    let mut number = itoa::Buffer::new();
    let ttl = number.format(entry.ttl(age));
    let (word, status) = match how {
        Given::Hit => ("hit", ["lictor; hit; ttl=", ttl].concat()),
        Given::Collapsed(why) => ("collapsed", format!("lictor; fwd={}; collapsed; ttl={ttl}", why.as_str())),
        Given::Revalidated(why) => ("revalidated", format!("lictor; fwd={}; fwd-status=304; ttl={ttl}", why.as_str())),
    };
    exchange.facts.cache = word;
    let status = HeaderValue::from_maybe_shared(Bytes::from(status));
    // Stored fields keep an empty place for `RateLimit`: it is filled here, so that the filter's `after` need not append. Where the
    // route changes fields, that comes first, and it is left to `after`.
    let unchanged = exchange.effects.route.as_ref().is_some_and(|entry| entry.route.response_headers.is_empty());
    let own = Own {
        status: status.unwrap_or_else(|_| HeaderValue::from_static("lictor")),
        id: exchange.facts.id.value(),
        limit: if unchanged { exchange.notes.limit.iter_mut().find_map(Option::take) } else { None },
    };
    let (body, length) = if known { (Body::Empty, 0) } else { (entry.body.body(), entry.body.len()) };
    let mut response = Response::new(body);
    *response.status_mut() = if known { StatusCode::NOT_MODIFIED } else { entry.status };
    *response.headers_mut() = if known { entry.answer_304(own, age) } else { entry.answer(own, age) };
    (response, length)
}

/// Says what the cache had to do with an answer (RFC 9211). What caches before us said stays.
fn cache_status(headers: &mut HeaderMap, status: &str) {
    headers.extend(HeaderValue::from_str(status).map(|status| (header::CACHE_STATUS, status)));
}

/// What is settled when an answer's body ends.
pub(super) struct Ending {
    /// The request that it answers; none while it is only stored.
    pub(super) exchange: Option<Box<Exchange>>,
    /// When the request began.
    pub(super) began: Instant,
    /// The instance's side; none when somebody else settles it.
    pub(super) settlement: Option<Settlement>,
}

impl Settlement {
    /// The body came to its last byte.
    fn complete(self, now: Instant) {
        self.permit.into_iter().for_each(|permit| permit.succeeded(now));
        self.lease.give_back(self.keep_alive, self.deadlines, self.flight, now);
    }

    fn broken(self, verdict: Verdict, now: Instant) {
        match (verdict, self.permit) {
            (Verdict::Failed(failure), Some(permit)) => self.service.failed(permit, failure, &self.flight),
            (Verdict::FailedLater(failure), _) => self.service.failed_later(failure, &self.flight),
            (Verdict::Succeeded, Some(permit)) => permit.succeeded(now),
            _ => {}
        }
    }
}

impl Ending {
    /// The answer is over. `None`: it came to its last byte.
    fn settle(self, outcome: Option<verdict::Outcome>, now: Instant) {
        let row = outcome.map(verdict::of);
        match (self.settlement, row) {
            (Some(settlement), None) => settlement.complete(now),
            (Some(settlement), Some(row)) => settlement.broken(row.verdict, now),
            (None, _) => {}
        }
        let Some(mut exchange) = self.exchange else { return };
        exchange.facts.ended = Some(now);
        if let Some(told) = row.and_then(|row| row.told) {
            exchange.facts.because(told.reason, told.blame.as_str());
        }
    }

    /// The instance has proven itself: the verdict need not wait for the end.
    fn proven(&mut self, now: Instant) {
        let Some(settlement) = &mut self.settlement else { return };
        if let Some(permit) = settlement.permit.take() {
            settlement.proven = true;
            permit.succeeded(now);
        }
    }
}

/// Follows an answer's body to its end; one that is here to its last byte is settled at once.
pub(super) fn follow(body: Body, mut ending: Ending, pace: Pace, answered: Instant) -> Body {
    if matches!(body, Body::Bytes(_)) || http_body::Body::is_end_stream(&body) {
        if let (Body::Bytes(bytes), Some(exchange)) = (&body, &mut ending.exchange) {
            exchange.facts.bytes = bytes.len() as u64;
        }
        ending.settle(None, answered);
        return if let Body::Bytes(_) = body { body } else { Body::Empty };
    }
    let (ending, unread) = (Some(ending), Duration::ZERO);
    Body::Followed(Box::pin(Following {
        body,
        ending,
        pace,
        timer: None,
        answered,
        passed: None,
        unread,
        departed: None,
        over: false,
    }))
}

/// A body that is followed.
struct Following {
    body: Body,
    ending: Option<Ending>,
    pace: Pace,
    timer: Option<Pin<Box<Sleep>>>,
    /// When its head had come.
    answered: Instant,
    /// When the last piece was passed on, until its reader asks for the next one.
    passed: Option<Instant>,
    /// For how long its reader asked for nothing, in all.
    unread: Duration,
    /// Since when a stream's instance is gone, as far as was looked.
    departed: Option<Instant>,
    /// It is a stream whose instance departed too long ago.
    over: bool,
}

impl Following {
    /// Whether a stream goes on from an instance that departed long ago.
    fn overstays(&mut self, now: Instant) -> bool {
        let settlement =
            self.ending.as_ref().and_then(|ending| ending.settlement.as_ref()).filter(|_| self.pace.stream);
        if !settlement.is_some_and(|settlement| settlement.flight.instance().gone()) {
            self.departed = None;
            return false;
        }
        now - *self.departed.get_or_insert(now) >= DEPARTED
    }

    /// Settles the end; `None` means that it is complete.
    fn settle(&mut self, outcome: Option<verdict::Outcome>) {
        if let Some(ending) = self.ending.take() {
            ending.settle(outcome, Instant::now());
        }
    }

    fn end(
        &mut self,
        outcome: verdict::Outcome,
        error: body::Error,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        self.settle(Some(outcome));
        Poll::Ready(Some(Err(error)))
    }

    /// Whose doing it is that the instance broke the body off.
    fn cut(&self) -> verdict::Outcome {
        let settlement = self.ending.as_ref().and_then(|ending| ending.settlement.as_ref());
        let owed = settlement.is_some_and(|settlement| owed(settlement.upload.as_deref(), &settlement.lease));
        match settlement {
            _ if owed => verdict::Outcome::CutOwed,
            _ if self.unread >= UNREAD && self.unread >= self.answered.elapsed() / 2 => verdict::Outcome::CutUnread,
            Some(settlement) if settlement.proven => verdict::Outcome::CutLater,
            _ => verdict::Outcome::Cut,
        }
    }

    /// Until when an answer may wait for its request's body: `None` where that is through, or stands still at the instance.
    fn uploads(&self, idle: Duration) -> Option<Instant> {
        let settlement = self.ending.as_ref()?.settlement.as_ref()?;
        let upload = settlement.upload.as_deref().filter(|upload| !upload.done.get())?;
        let now = Instant::now();
        let waits = upload.is_waiting() && !settlement.lease.connection.is_blocked();
        if waits { Some(now + idle) } else { Some(upload.moved.get() + idle).filter(|&at| at > now) }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let now = Instant::now();
        if let Some(ending) = &mut self.ending {
            if self.pace.stream || now - ending.began > PROVEN {
                ending.proven(now);
            }
            if let Some(exchange) = &mut ending.exchange {
                exchange.facts.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        }
        if http_body::Body::is_end_stream(&self.body) {
            self.settle(None);
        }
        self.passed = Some(now);
        frame
    }

    /// Nothing came yet: has it been too long? The wait counts from when its reader began to ask.
    fn wait(&mut self, asks: Option<Instant>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let Pace { idle, total, stream } = self.pace;
        if let Some(now) = asks {
            let until = total.map_or(now + idle, |total| total.min(now + idle));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        if self.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        // While the request's body goes on, its instance may wait for the end of that before it says more.
        let later = self.uploads(idle).filter(|_| total.is_none_or(|total| total > Instant::now()));
        if let Some((later, timer)) = later.zip(self.timer.as_mut()) {
            timer.as_mut().reset(total.map_or(later, |total| total.min(later)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        match (total, stream) {
            (Some(total), _) if total <= Instant::now() => {
                self.end(verdict::Outcome::TotalTimeout, body::Error::Deadline)
            }
            (_, true) => self.end(verdict::Outcome::StreamIdle, body::Error::Idle),
            (_, false) => self.end(verdict::Outcome::Idle, body::Error::Idle),
        }
    }
}

impl http_body::Body for Following {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = self.get_mut();
        if this.over {
            return this.end(verdict::Outcome::Departed, body::Error::Departed);
        }
        let mut asks = None;
        if let Some(passed) = this.passed.take() {
            let now = Instant::now();
            this.unread += now - passed;
            asks = Some(now);
            if this.pace.total.is_some_and(|total| total <= now) {
                return this.end(verdict::Outcome::TotalTimeout, body::Error::Deadline);
            }
        } else if this.timer.is_none() {
            asks = Some(Instant::now());
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let frame = this.pass(frame);
                this.over = this.passed.is_some_and(|now| this.overstays(now));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.settle(None);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let outcome = match error {
                    body::Error::Request => verdict::Outcome::UploadBroken,
                    _ => this.cut(),
                };
                this.end(outcome, error)
            }
            Poll::Pending => this.wait(asks, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.settle(Some(verdict::Outcome::ClientGone));
    }
}
