//! The only way to an instance: one attempt, and another where the rules allow it. It knows nothing of clients.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::call::{Call, Goal, Pace, Passed, Request, Settlement};
use super::error::Error;
use super::exchange::Worker;
use super::upload::{self, Failed, Progress};
use super::{rewrite, websocket};
use crate::catalog::notice::Notice;
use crate::config::Policy;
use crate::io::body::Body;
use crate::request::Attempts;
use crate::upstream::breaker::Failure;
use crate::upstream::instance::{InFlight, Instance, Lease, Local, Permit};
use crate::upstream::verdict::{self, Again, Outcome, Verdict};
use crate::upstream::wire::{ConnectError, SendError};
use crate::upstream::{LocalService, Pick, Service, Unavailable};

/// The longest that `Retry-After` can say: a date is taken as this, since clocks differ.
const LONG: Duration = Duration::from_secs(3600);

/// What an attempt brought: an answer, or an error with the request's body where it was not used up.
type Brought = (Result<Answered, Error>, Again, Option<Body>);

/// What answered an attempt.
struct Answered {
    response: Response<Body>,
    at: Instant,
    lease: Lease,
    flight: InFlight,
    permit: Option<Permit>,
}

/// Has an answer brought by whoever does that: an instance, or the calls of an aggregate.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn bring(
    worker: &Rc<Worker>,
    request: &mut Request,
    call: &Call,
    now: Instant,
    attempts: &mut Attempts,
) -> Result<Box<Passed>, Error> {
    match &call.goal {
        Goal::Service(service) => forward(worker, request, (call, service), now, attempts).await,
        Goal::Aggregate(aggregate) => aggregate.answer(request, call, attempts).await,
    }
}

/// Attempts until one is answered, or the rules or the instances are used up. `now` is when it is asked for, which may be long after
/// the request began.
pub(super) async fn forward(
    worker: &Worker,
    request: &mut Request,
    (call, service): (&Call, &Rc<LocalService>),
    now: Instant,
    attempts: &mut Attempts,
) -> Result<Box<Passed>, Error> {
    let policy = &call.route.route.policy;
    let body = std::mem::take(&mut request.body);
    let (mut body, upload) = match http_body::Body::is_end_stream(&body) {
        true => (Body::Empty, None),
        false => {
            let (body, upload) = upload::follow(body, policy.timeouts.idle, policy.body);
            (body, Some(upload))
        }
    };
    let repeatable = upload.is_none() && call.upgrade.is_none() && policy.retry.methods.contains(&request.head.method);
    let sending = Sending { worker, request, call, service, upload, repeatable };
    let mut tried: Vec<usize> = Vec::new();
    // What the last attempt brought: it stands when nobody else can be asked.
    let mut last: Option<Box<Result<Answered, Error>>> = None;
    let Service { name, state, budget, .. } = &*service.shared;
    budget.request(worker.id, now);
    // Discovery is told of the first request in each of its periods; the others pay for this comparison.
    let notices = &worker.resources.notices;
    if state.asked.0.load(Ordering::Relaxed) != notices.period.load(Ordering::Relaxed) {
        notices.asked(name, &state.asked);
    }
    let brought = loop {
        let pick = match service.pick(&tried) {
            Ok(pick) => pick,
            Err(why) => break last.map_or_else(|| Err(unavailable(why)), |last| *last),
        };
        // What another attempt replaces holds neither its connection nor its place any longer.
        drop(last.take());
        let member = pick.member;
        let began = if tried.is_empty() { now } else { Instant::now() };
        attempts.begin(pick.local.instance.key.address, began);
        let (brought, again, left) = sending.attempt(pick, began, body, attempts).await;
        let next = match again {
            Again::Never => None,
            Again::IfRepeatable => repeatable.then_some(Body::Empty),
            Again::Always => left,
            // These belong to an attempt.
            Again::Here | Again::HereIfRepeatable => None,
        };
        let Some(next) = next else { break brought };
        tried.push(member);
        let another = tried.len() <= policy.retry.more as usize && service.has_other(&tried);
        if !another || !budget.try_spend() {
            break brought;
        }
        body = next;
        last = Some(Box::new(brought));
    };
    let (answered, upload) = (brought?, sending.upload);
    Ok(passed(worker, request, (call, service), answered, upload))
}

/// An answer as the client gets it. No further attempt follows: the memory of the request's fields is free for the next answer's.
fn passed(
    worker: &Worker,
    request: &mut Request,
    (call, service): (&Call, &Rc<LocalService>),
    answered: Answered,
    upload: Option<Rc<Progress>>,
) -> Box<Passed> {
    let Answered { mut response, at, lease, flight, permit } = answered;
    let instance = flight.instance().key.address;
    let keep_alive = rewrite::answer(&mut response, request, call, instance);
    worker.memory.keep(std::mem::take(&mut request.head.headers));
    let timeouts = &call.route.route.policy.timeouts;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let pace = match upgraded || is_event_stream(response.headers()) {
        true => Pace { idle: timeouts.stream_idle, total: None, stream: true },
        false => Pace { idle: timeouts.idle, total: call.total, stream: false },
    };
    let deadlines = (timeouts.idle, call.total);
    let service = service.clone();
    let settlement = Settlement { service, permit, proven: false, upload, flight, lease, keep_alive, deadlines };
    Box::new(Passed { response, answered: at, settlement: Some(settlement), pace, upgrade: None })
}

/// An event stream may last for hours (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

fn unavailable(why: Unavailable) -> Error {
    match why {
        Unavailable::NoInstances | Unavailable::AllTried => Error::NoInstances,
        Unavailable::AllTripped(wait) => Error::AllTripped(wait),
    }
}

/// How one request is sent.
struct Sending<'a> {
    worker: &'a Worker,
    request: &'a Request,
    call: &'a Call,
    service: &'a LocalService,
    /// What is known of its body, when it has one.
    upload: Option<Rc<Progress>>,
    /// It may be sent again although an instance may have acted on it.
    repeatable: bool,
}

/// Why no head came.
enum Missed {
    Refused(SendError),
    Late,
    Total,
}

impl Sending<'_> {
    /// One attempt at one instance. A connection that died while it lay idle is no attempt: the next one is tried.
    async fn attempt(&self, pick: Pick, began: Instant, mut body: Body, attempts: &mut Attempts) -> Brought {
        let Pick { local, permit, .. } = pick;
        let policy = self.policy();
        // Where the route says so, its requests are no evidence: one that was let through as a probe leaves its place free.
        let permit = Some(permit).filter(|_| policy.breaker);
        let flight = local.instance.enter(self.worker.id);
        let mut sent_at = began;
        let mut reuse = true;
        loop {
            // A connection: one that waits, else a new one.
            let pooled = if reuse { local.reuse(!self.repeatable, began) } else { None };
            let mut lease = match pooled {
                Some(lease) => lease,
                None => match self.connect(&local).await {
                    Ok(lease) => lease,
                    Err(outcome) => return self.failed(outcome, (permit, &flight), Some(body), attempts),
                },
            };
            if !lease.reused {
                sent_at = Instant::now();
            }
            let missed = match self.send(&lease, sent_at, body).await {
                Ok(response) => {
                    let at = Instant::now();
                    flight.answered(at - began);
                    if self.upload.is_some() {
                        lease.send_on();
                    }
                    return self.judge(Answered { response, at, lease, flight, permit }, attempts);
                }
                Err(missed) => missed,
            };
            let outcome = self.outcome(&missed, &lease, &local.instance);
            let left = if let Missed::Refused(SendError::Unwritten(body)) = missed { Some(body) } else { None };
            body = match (verdict::of(outcome).again, left) {
                (Again::Here, Some(again)) => again,
                (Again::HereIfRepeatable, _) if self.repeatable => Body::Empty,
                (_, left) => return self.failed(outcome, (permit, &flight), left, attempts),
            };
            reuse = false;
        }
    }

    /// A new connection. Boxed: few requests need one, and the others need not have room for it.
    async fn connect(&self, local: &Rc<Local>) -> Result<Lease, Outcome> {
        let deadline = self.within_total(self.policy().timeouts.connect);
        let error = match Box::pin(local.connect(deadline)).await {
            Ok(lease) => return Ok(lease),
            Err(error) => error,
        };
        if self.is_over() {
            return Err(Outcome::TotalTimeout);
        }
        let (outcome, error) = match error {
            ConnectError::Refused(error) => {
                // Nobody listens where a suspect was: that its address cannot be reached may be the fault of our own network.
                if error.kind() == io::ErrorKind::ConnectionRefused && local.instance.refused_as_suspect() {
                    self.worker.resources.notices.tell(Notice::Refused(local.instance.key.clone()));
                }
                (Outcome::ConnectRefused, error)
            }
            ConnectError::Shortage(error) => (Outcome::Shortage, error),
            ConnectError::Timeout => return Err(Outcome::ConnectTimeout),
        };
        tracing::debug!(instance = %local.instance.key.address, request_id = self.call.id.as_str(), "cannot connect: {error}");
        Err(outcome)
    }

    /// Sends, and waits for the answer's head before the deadline; a slow client's upload does not count against the instance.
    async fn send(&self, lease: &Lease, began: Instant, body: Body) -> Result<Response<Body>, Missed> {
        let head = rewrite::head(self.request, self.call, &mut self.worker.random.borrow_mut());
        let allowed = self.policy().timeouts.first_byte;
        let mut sent = std::pin::pin!(lease.connection.send(&head, body, &self.worker.memory));
        let mut deadline = began + self.within_total(allowed);
        let mut written = None;
        loop {
            tokio::select! {
                biased;
                result = &mut sent => return result.map_err(Missed::Refused),
                () = lease.connection.until(deadline) => {}
            }
            if self.is_over() {
                return Err(Missed::Total);
            }
            let upload = self.upload.as_deref();
            match upload.and_then(|upload| extended(upload, lease, &mut written, allowed)) {
                Some(later) => deadline = self.call.total.map_or(later, |total| total.min(later)),
                None => return Err(Missed::Late),
            }
        }
    }

    /// What an answer's head says of its instance.
    fn judge(&self, mut answered: Answered, attempts: &mut Attempts) -> Brought {
        let status = answered.response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let accept = self.call.upgrade.as_ref().map(|(accept, _)| accept);
            let agreed = accept.is_some_and(|accept| websocket::agreed(answered.response.headers(), accept));
            if !agreed {
                let Answered { permit, flight, .. } = answered;
                return self.failed(Outcome::BadAnswer, (permit, &flight), None, attempts);
            }
        }
        let mut outcome = "answered";
        if status.as_u16() < 400 {
            attempts.ended(outcome, answered.at);
            return (Ok(answered), Again::Never, None);
        }
        let row = verdict::of(Outcome::Answered(status, retry_after(status, answered.response.headers())));
        match row.verdict {
            Verdict::Open | Verdict::Succeeded | Verdict::FailedLater(_) => {}
            Verdict::Nothing => answered.permit = None,
            Verdict::Pause(wait) => {
                answered.permit = None;
                self.service.pause(answered.flight.instance(), wait);
                outcome = "status_503";
            }
            Verdict::Failed(failure) => {
                self.blame(answered.permit.take(), failure, &answered.flight);
                outcome = failure.as_str();
            }
        }
        attempts.ended(outcome, answered.at);
        (Ok(answered), row.again, None)
    }

    /// How an attempt without an answer ended. Whoever failed first, the client's own failure is why it ended.
    fn outcome(&self, missed: &Missed, lease: &Lease, instance: &Instance) -> Outcome {
        if let Some(failed) = self.upload.as_deref().and_then(|upload| upload.failed.get()) {
            return match failed {
                Failed::Broken => Outcome::ClientGone,
                Failed::Idle => Outcome::ClientStalled,
                Failed::TooLarge => Outcome::TooLarge,
            };
        }
        let (outcome, why): (_, &dyn std::fmt::Display) = match missed {
            Missed::Total => return Outcome::TotalTimeout,
            Missed::Late => return Outcome::FirstByteTimeout,
            Missed::Refused(SendError::Body) => return Outcome::ClientGone,
            Missed::Refused(SendError::Unwritten(_)) if lease.reused => return Outcome::KeptUnwritten,
            Missed::Refused(SendError::Unwritten(_)) => return Outcome::Unwritten,
            Missed::Refused(SendError::NotHttp(why)) => (Outcome::NotHttp, why),
            Missed::Refused(SendError::BadAnswer(why)) => (Outcome::BadAnswer, why),
            Missed::Refused(SendError::Reset(why) | SendError::CutOff(why)) if owed(self.upload.as_deref(), lease) => {
                (Outcome::ResetOwed, why)
            }
            Missed::Refused(SendError::Reset(why)) if lease.reused => (Outcome::KeptSilent, why),
            Missed::Refused(SendError::Reset(why) | SendError::CutOff(why)) => (Outcome::Reset, why),
        };
        let (instance, id) = (instance.key.address, self.call.id.as_str());
        tracing::debug!(%instance, request_id = id, "no answer that can be passed on: {why}");
        outcome
    }

    /// An attempt without an answer: the verdict falls now.
    fn failed(
        &self,
        outcome: Outcome,
        (permit, flight): (Option<Permit>, &InFlight),
        body: Option<Body>,
        attempts: &mut Attempts,
    ) -> Brought {
        let row = verdict::of(outcome);
        if let Verdict::Failed(failure) = row.verdict {
            self.blame(permit, failure, flight);
        }
        let error = Error::Attempt(outcome);
        attempts.ended(error.reason(), Instant::now());
        (Err(error), row.again, body)
    }

    /// A verdict against an instance, where the request gives one.
    fn blame(&self, permit: Option<Permit>, failure: Failure, flight: &InFlight) {
        match permit {
            Some(permit) => self.service.failed(permit, failure, flight),
            None => flight.failed(),
        }
    }

    /// What holds for the requests of its route.
    fn policy(&self) -> &Policy {
        &self.call.route.route.policy
    }

    /// The request's own deadline has passed.
    fn is_over(&self) -> bool {
        self.call.total.is_some_and(|total| total <= Instant::now())
    }

    /// A timeout, cut to what the request's own deadline leaves.
    fn within_total(&self, timeout: Duration) -> Duration {
        match self.call.total {
            Some(total) => timeout.min(total.saturating_duration_since(Instant::now())),
            None => timeout,
        }
    }
}

/// The later deadline of an attempt whose request is still on its way: the wait counts from the last piece that went on, and while
/// the client owes the next piece its own deadline runs. An instance that takes a large piece slowly is not late. `written` is what
/// it had taken at the last deadline.
fn extended(upload: &Progress, lease: &Lease, written: &mut Option<u64>, allowed: Duration) -> Option<Instant> {
    let (now, blocked) = (Instant::now(), lease.connection.is_blocked());
    let before = written.replace(lease.connection.written());
    if upload.is_waiting() && !blocked || blocked && before != *written {
        return Some(now + allowed);
    }
    Some(upload.moved.get() + allowed).filter(|&later| later > now)
}

/// Whether the instance waits for the client, and has waited for long: all that came of the request's body was written.
pub(super) fn owed(upload: Option<&Progress>, lease: &Lease) -> bool {
    upload.is_some_and(|upload| upload.is_owed(Instant::now())) && !lease.connection.is_blocked()
}

/// `Retry-After` of a 503, in seconds (RFC 9110 section 10.2.3).
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    Some(text.parse().map_or(LONG, Duration::from_secs))
}
