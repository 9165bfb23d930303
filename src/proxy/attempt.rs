//! A request to its service: one attempt at an instance, and another where the rules allow it.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use super::Worker;
use super::error::Error;
use super::upload::{self, Failed, Progress};
use super::websocket;
use crate::body::Body;
use crate::config::Policy;
use crate::upstream::breaker::Failure;
use crate::upstream::instance::{InFlight, Permit};
use crate::upstream::pool::{Lease, Local};
use crate::upstream::wire::{ConnectError, Head, SendError};
use crate::upstream::{LocalService, Pick, Unavailable};

/// The longest that a 503 with `Retry-After` keeps an instance out of the rotation.
const PAUSE: Duration = Duration::from_secs(10);

/// The rules that hold for a request's attempts.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    /// When the request must be over.
    pub(super) total: Option<Instant>,
    /// It asks for a WebSocket: what the 101 must say.
    pub(super) accept: Option<&'a HeaderValue>,
}

/// The answer of an instance, with what is settled when its body ends.
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    /// When its head had come.
    pub(super) answered: Instant,
    pub(super) local: Rc<Local>,
    pub(super) lease: Lease,
    pub(super) flight: InFlight,
    /// `None` when its status was verdict enough, or none at all.
    pub(super) permit: Option<Permit>,
}

/// What is asked.
pub(super) struct Asked {
    pub(super) head: Head,
    /// The client's fields, which the head has in its own way by now: their memory holds the answer's.
    pub(super) fields: HeaderMap,
    pub(super) body: Body,
}

/// What an attempt brought, and the request's body again when it may be sent to another instance instead.
type Outcome = (Result<Reply, Error>, Option<Body>);

/// Attempts until one is answered, or the rules or the instances are used up. `began` is now; `attempts` counts them.
pub(super) async fn run(
    worker: &Worker,
    service: &LocalService,
    rules: Rules<'_>,
    asked: &mut Asked,
    began: Instant,
    attempts: &mut u32,
) -> Result<Reply, Error> {
    let Asked { head, fields, body } = asked;
    let (mut body, progress) = upload::follow(std::mem::take(body), rules.policy.timeouts.idle, rules.policy.body);
    let twice = progress.is_none() && rules.accept.is_none() && rules.policy.retry.methods.contains(head.method());
    let sending = Sending { rules, progress, twice };
    let mut tried: Vec<usize> = Vec::new();
    let mut last: Option<Box<Result<Reply, Error>>> = None;
    service.shared.budget.request(worker.id, began);
    loop {
        let pick = match service.pick(&tried) {
            Ok(pick) => pick,
            Err(why) => return last.map_or_else(|| Err(unavailable(why)), |last| *last),
        };
        drop(last.take());
        *attempts += 1;
        let member = pick.member;
        let now = if *attempts == 1 { began } else { Instant::now() };
        let (outcome, again) = sending.attempt(worker, service, pick, now, (&*head, &mut *fields), body).await;
        let Some(again) = again else { return outcome };
        tried.push(member);
        if *attempts > rules.policy.retry.more || !service.has_other(&tried) || !service.shared.budget.try_spend() {
            return outcome;
        }
        body = again;
        last = Some(Box::new(outcome));
    }
}

fn unavailable(why: Unavailable) -> Error {
    match why {
        Unavailable::NoInstances | Unavailable::AllTried => Error::NoInstances,
        Unavailable::AllTripped(wait) => Error::AllTripped(wait),
    }
}

/// How one request is sent.
struct Sending<'a> {
    rules: Rules<'a>,
    /// Of its body, when it has one.
    progress: Option<Rc<Progress>>,
    /// It may be sent again although an instance may have acted on it.
    twice: bool,
}

impl Sending<'_> {
    /// One attempt at one instance. A connection that died idle is no attempt: the next one is tried.
    async fn attempt(
        &self,
        worker: &Worker,
        service: &LocalService,
        pick: Pick,
        began: Instant,
        (head, fields): (&Head, &mut HeaderMap),
        mut body: Body,
    ) -> Outcome {
        let Pick { local, permit, .. } = pick;
        // Where the route says so, its requests are no evidence: one that was let through as a probe leaves its place free.
        let permit = Some(permit).filter(|_| self.rules.policy.breaker);
        let flight = local.instance.enter(worker.id);
        let mut sending = began;
        let mut reuse = true;
        loop {
            let pooled = if reuse { local.reuse(!self.twice, began) } else { None };
            let mut lease = match pooled {
                Some(lease) => lease,
                // Boxed: few requests need a new connection, and the others need not have room for it.
                None => match Box::pin(local.connect(self.limit(self.rules.policy.timeouts.connect))).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        let (failure, error) = unconnected(&error);
                        if self.rules.total.is_some_and(|total| total <= Instant::now()) {
                            return (Err(Error::TotalTimeout), None);
                        }
                        self.blame(service, permit, failure, &flight);
                        return (Err(error), Some(body));
                    }
                },
            };
            if !lease.reused {
                sending = Instant::now();
            }
            // Only what has no body may be sent twice.
            let spare = self.twice.then_some(Body::Empty);
            match self.send(&lease, sending, (head, fields), body).await {
                Ok(response) => {
                    let answered = Instant::now();
                    flight.answered(answered - began);
                    if self.progress.is_some() {
                        lease.send_on();
                    }
                    return self.judge(service, Reply { response, answered, local, lease, flight, permit }, spare);
                }
                Err(Sent::Refused(SendError::Unwritten(again))) if lease.reused => body = again,
                Err(Sent::Refused(SendError::Reset(_))) if lease.reused && spare.is_some() && !self.failed() => {
                    body = Body::Empty;
                }
                Err(sent) => return self.missed(service, permit, &flight, sent, spare),
            }
            reuse = false;
        }
    }

    /// Sends, and waits for the answer's head before the deadline; a slow client's upload does not count against the
    /// instance.
    async fn send(
        &self,
        lease: &Lease,
        began: Instant,
        (head, fields): (&Head, &mut HeaderMap),
        body: Body,
    ) -> Result<Response<Body>, Sent> {
        let allowed = self.rules.policy.timeouts.first_byte;
        let mut sent = std::pin::pin!(lease.connection.send(head, fields, body));
        let mut deadline = began + self.limit(allowed);
        loop {
            tokio::select! {
                biased;
                result = &mut sent => return result.map_err(Sent::Refused),
                () = lease.connection.until(deadline) => {}
            }
            if self.rules.total.is_some_and(|total| total <= Instant::now()) {
                return Err(Sent::Total);
            }
            match self.progress.as_deref().and_then(|upload| extended(upload, allowed)) {
                Some(later) => deadline = self.rules.total.map_or(later, |total| total.min(later)),
                None => return Err(Sent::Late),
            }
        }
    }

    /// What an answer's status says of its instance; 502, 503 and 504 may be tried elsewhere.
    fn judge(&self, service: &LocalService, mut reply: Reply, spare: Option<Body>) -> Outcome {
        let status = reply.response.status();
        let again = match status {
            StatusCode::SWITCHING_PROTOCOLS => {
                let agreed = |accept| websocket::agreed(reply.response.headers(), accept);
                if self.rules.accept.is_some_and(agreed) {
                    return (Ok(reply), None);
                }
                self.blame(service, reply.permit.take(), Failure::BadAnswer, &reply.flight);
                return (Err(Error::BadAnswer), None);
            }
            StatusCode::SERVICE_UNAVAILABLE => match retry_after(reply.response.headers()) {
                Some(wait) => {
                    reply.permit = None;
                    service.pause(&reply.local.instance, wait.min(PAUSE));
                    return (Ok(reply), spare);
                }
                None => spare,
            },
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => spare,
            StatusCode::TOO_MANY_REQUESTS => {
                reply.permit = None;
                return (Ok(reply), None);
            }
            _ => return (Ok(reply), None),
        };
        self.blame(service, reply.permit.take(), Failure::Status(status.as_u16()), &reply.flight);
        (Ok(reply), again)
    }

    /// What a missing answer says of its instance - nothing, when the client failed.
    fn missed(
        &self,
        service: &LocalService,
        permit: Option<Permit>,
        flight: &InFlight,
        sent: Sent,
        spare: Option<Body>,
    ) -> Outcome {
        if let Some(failed) = self.progress.as_deref().and_then(|upload| upload.failed.get()) {
            return (Err(blamed_on_client(failed)), None);
        }
        let (failure, error) = match sent {
            Sent::Total => return (Err(Error::TotalTimeout), None),
            Sent::Late => (Failure::FirstByteTimeout, Error::FirstByteTimeout),
            Sent::Refused(SendError::Body) => return (Err(Error::ClientGone), None),
            Sent::Refused(SendError::BadAnswer(error)) => {
                tracing::debug!("an instance's answer is not HTTP: {error}");
                (Failure::BadAnswer, Error::BadAnswer)
            }
            Sent::Refused(SendError::Reset(error)) => {
                tracing::debug!("an instance reset the connection: {error}");
                (Failure::Reset, Error::Reset)
            }
            Sent::Refused(SendError::Unwritten(body)) => {
                self.blame(service, permit, Failure::Reset, flight);
                return (Err(Error::Reset), Some(body));
            }
        };
        self.blame(service, permit, failure, flight);
        // An answer that is not HTTP would be the same elsewhere only by chance, but it is no transport fault either.
        let again = if failure == Failure::BadAnswer { None } else { spare };
        (Err(error), again)
    }

    /// A verdict against an instance, where the request gives one.
    fn blame(&self, service: &LocalService, permit: Option<Permit>, failure: Failure, flight: &InFlight) {
        match permit {
            Some(permit) => service.failed(permit, failure, flight),
            None => flight.failed(),
        }
    }

    fn failed(&self) -> bool {
        self.progress.as_deref().is_some_and(|upload| upload.failed.get().is_some())
    }

    /// A timeout, cut to what the total deadline leaves.
    fn limit(&self, timeout: Duration) -> Duration {
        match self.rules.total {
            Some(total) => timeout.min(total.saturating_duration_since(Instant::now())),
            None => timeout,
        }
    }
}

/// Why no head came.
enum Sent {
    Refused(SendError),
    Late,
    Total,
}

/// The later deadline of an attempt whose request is still on its way: the wait counts from the last piece written, and
/// while the client owes the next piece its own deadline runs.
fn extended(upload: &Progress, allowed: Duration) -> Option<Instant> {
    let now = Instant::now();
    if upload.waiting.get() && !upload.done.get() {
        return Some(now + allowed);
    }
    Some(upload.moved.get() + allowed).filter(|&later| later > now)
}

fn blamed_on_client(failed: Failed) -> Error {
    match failed {
        Failed::Broken => Error::ClientGone,
        Failed::Idle => Error::BodyTimeout,
        Failed::TooLarge => Error::BodyTooLarge,
    }
}

fn unconnected(error: &ConnectError) -> (Failure, Error) {
    match error {
        ConnectError::Refused(error) => {
            tracing::debug!("cannot connect to an instance: {error}");
            (Failure::ConnectRefused, Error::ConnectRefused)
        }
        ConnectError::Timeout => (Failure::ConnectTimeout, Error::ConnectTimeout),
    }
}

/// `Retry-After` in seconds (RFC 9110 10.2.3). A date is taken as the longest pause: clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    Some(text.parse().map_or(PAUSE, Duration::from_secs))
}
