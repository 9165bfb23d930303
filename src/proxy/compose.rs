//! Aggregates: one answer that is made of several calls, each of which is a request like any other: the store, a fill for all who wait,
//! breakers, further attempts. The worker asks; what is large is read, shaped and written by a helper.

mod answer;
mod calls;
mod content;
mod failure;
mod fields;
mod freshness;
mod part;
mod render;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::Value as Json;
use tokio::time::{Instant, timeout_at};

use super::call::{Call, Composing, Pace, Passed, Request};
use super::error::Error;
use super::exchange::{Exchange, Worker};
use super::room::Reservation;
use crate::config::RequestLimits;
use crate::fields::LICTOR_PARTIAL;
use crate::filter::auth::is_api_key;
use crate::filter::cache;
use crate::io::Client;
use crate::io::body::Body;
use crate::request::parts::{Part, Parts};
use crate::request::{Attempts, Consumer};
use crate::route::Found;
use crate::route::journal::{Outcome, Run as Past};
use crate::route::{Composed, Front, makes};
use crate::shape::{Budget, Value};
use crate::token::holds;
use crate::upstream::verdict;
use answer::{Ingredients, Whole};
use content::Heavy;
use fields::Fields;
use render::Caller;

/// What a worker reads or writes by itself, in bytes of JSON: more would keep other requests waiting for over 100 us.
const INLINE: usize = 16 * 1024;

/// What an expression may take of a worker by itself, likewise: 5,000 steps take 50 to 250 us.
const BRIEF: Budget = Budget { steps: 5_000, bytes: 64 * 1024 };

/// What a worker drops by itself of values, in bytes of memory that these take.
const LIGHT: usize = 8 * INLINE;

/// What is written of a part that is missing, in bytes, where `errors` says it.
const PROBLEM: usize = 256;

/// What a client is told that chooses in another form.
const BAD_FIELDS: &str =
    "fields names up to 64 members, with commas between them and up to 8 names with dots between them for each";

/// How long after its deadline an answer may still be put together; what is old may be read for half of that.
const GRACE: Duration = Duration::from_millis(40);

/// Which part of its time an aggregate that waits for another's keeps for itself, one in so many: should that hang, it asks in this time.
const KEPT: u32 = 4;

/// How many aggregates may need each other in a row, over all gateways on the way.
const NESTED: usize = 8;

/// An answer that calls are made for.
#[derive(Debug)]
pub(super) struct Aggregate {
    worker: Rc<Worker>,
    composed: Arc<Composed>,
    /// Which of its shapes it has.
    front: usize,
    client: Rc<Client>,
    /// The client's address, as a trusted proxy may say it.
    address: IpAddr,
    consumer: Option<Arc<Consumer>>,
    began: Instant,
    /// What the client chose of it.
    fields: Option<Fields>,
    /// The parameters of the path, decoded.
    parameters: Vec<String>,
    /// The most bytes of a call's target, and of its fields.
    limits: (usize, usize),
}

/// One aggregate while its calls are made.
struct Run<'a> {
    worker: &'a Rc<Worker>,
    aggregate: &'a Aggregate,
    /// What the client asked.
    request: &'a Request,
    call: &'a Call,
    caller: Arc<Caller>,
    /// When all of it must be over.
    deadline: Instant,
    room: Reservation,
    /// Which calls are made, by their places.
    makes: Box<[bool]>,
    /// The answers into which nobody looks.
    passes_on: Box<[bool]>,
    /// The requests that have ended.
    parts: RefCell<Vec<Part>>,
    /// What the configuration says in place of answers, each as soon as it is needed, by where it stands.
    values: RefCell<Vec<(*const Json, Value)>>,
    /// What of its answers takes long to be dropped.
    heavy: Heavy,
}

impl Aggregate {
    /// Its shape.
    fn front(&self) -> &Front {
        &self.composed.fronts[self.front]
    }

    /// When all of it must be over.
    fn deadline(&self, call: &Call) -> Instant {
        let own = self.began + self.composed.compose.deadline;
        call.total.map_or(own, |total| total.min(own))
    }

    /// Which calls are made: where there is no shape, a member that the client chooses is a call.
    fn makes(&self) -> Box<[bool]> {
        match (&self.fields, &self.front().expression) {
            (Some(fields), None) => makes(&self.composed.compose, |call| fields.choose(&call.name)),
            _ => self.front().makes.clone(),
        }
    }

    /// Into whose answers nobody looks: no shape, no choice, and no other call.
    fn passes_on(&self, makes: &[bool]) -> Box<[bool]> {
        let calls = &self.composed.compose.calls;
        let shaped = self.front().expression.is_some() || self.fields.is_some();
        let mut passes_on: Box<[bool]> = calls.iter().map(|call| !shaped && call.each.is_none()).collect();
        let made = calls.iter().zip(makes).filter(|(_, makes)| **makes);
        made.flat_map(|(call, _)| &call.needs).for_each(|&needed| passes_on[needed] = false);
        passes_on
    }
}

impl Composing for Aggregate {
    fn services(&self) -> Arc<str> {
        self.composed.services.clone()
    }

    fn patience(&self, call: &Call) -> Instant {
        let deadline = self.deadline(call);
        deadline - deadline.saturating_duration_since(self.began) / KEPT
    }

    fn answer<'a>(
        &'a self,
        request: &'a mut Request,
        call: &'a Call,
        attempts: &'a mut Attempts,
    ) -> LocalBoxFuture<'a, Result<Box<Passed>, Error>> {
        answer(request, call, self, attempts).boxed_local()
    }
}

impl Run<'_> {
    fn composed(&self) -> &Composed {
        &self.aggregate.composed
    }
}

/// The aggregate that a request is for.
///
/// # Errors
/// When the request comes from a call of the same aggregate, or from too many aggregates in a row.
pub(super) fn aggregate(
    exchange: &Exchange,
    found: &Found,
    composed: &Arc<Composed>,
    limits: &RequestLimits,
) -> Result<Rc<dyn Composing>, Error> {
    let Exchange { request, client, facts, effects, .. } = exchange;
    refuse_loops(&request.head.headers, composed)?;
    let path = request.target.path();
    let parameter = |&place: &usize| {
        let text = percent_decode_str(found.parameter(path, place)).decode_utf8();
        text.map(std::borrow::Cow::into_owned).or(Err(Error::BadRequest("bad_path", "The path is not in UTF-8")))
    };
    let fits = |front: &&Front| {
        let plan = facts.consumer.as_ref().and_then(|consumer| consumer.plan.as_deref());
        let claims = facts.token.as_ref().map(|token| &token.claims);
        let has = |demanded| claims.is_some_and(|claims| holds(claims, demanded));
        front.plan.as_deref().is_none_or(|own| plan == Some(own)) && front.claims.iter().all(has)
    };
    let query = request.target.query().filter(|_| composed.fields).unwrap_or_default();
    let fields = match render::parameter(query, "fields") {
        Some(text) => Some(Fields::parse(&text).ok_or(Error::BadRequest("bad_fields", BAD_FIELDS))?),
        None => None,
    };
    Ok(Rc::new(Aggregate {
        worker: effects.worker.clone(),
        fields,
        front: composed.fronts.iter().position(|front| fits(&front)).unwrap_or(0),
        client: client.clone(),
        address: facts.client,
        consumer: facts.consumer.clone(),
        began: facts.began,
        parameters: composed.parameters.iter().map(parameter).collect::<Result<_, _>>()?,
        limits: (limits.target, limits.head),
        composed: composed.clone(),
    }))
}

/// Each aggregate on the way here has put its name into `Via`, as a comment (RFC 9110 section 7.6.3).
fn refuse_loops(headers: &HeaderMap, composed: &Composed) -> Result<(), Error> {
    let mut before = 0;
    for line in headers.get_all(header::VIA) {
        let line = String::from_utf8_lossy(line.as_bytes());
        if line.contains(&*composed.via) {
            return Err(Error::Loop);
        }
        before += line.matches("lictor (").count();
    }
    if before >= NESTED { Err(Error::Loop) } else { Ok(()) }
}

/// Makes the calls, and an answer of what they bring.
async fn answer(
    request: &mut Request,
    call: &Call,
    aggregate: &Aggregate,
    attempts: &mut Attempts,
) -> Result<Box<Passed>, Error> {
    // Nothing of it goes on.
    request.body = Body::Empty;
    let Aggregate { composed, began, worker, .. } = aggregate;
    let deadline = aggregate.deadline(call);
    let mut noted = Noted { aggregate, noted: false };
    let bounds = worker.seen.borrow().config.aggregates.clone();
    let room = worker.resources.composing.reserve(&bounds, composed.journal.expected(), deadline).await?;
    let caller = Arc::new(caller(request, call, aggregate));
    let makes = aggregate.makes();
    let passes_on = aggregate.passes_on(&makes);
    let (parts, values, heavy) = Default::default();
    let run = Run { worker, aggregate, request, call, caller, deadline, room, makes, passes_on, parts, values, heavy };
    let whole = whole(&run).await;
    let Run { room, parts, makes, .. } = run;
    let parts = Arc::new(Parts { all: parts.into_inner(), failed: failed(&whole) });
    composed.journal.took(room.taken());
    let past = Past {
        id: call.id.as_str().into(),
        at: SystemTime::now(),
        took: began.elapsed(),
        left_out: composed.left_out(&makes),
        outcome: outcome(&whole),
        reason: whole.as_ref().err().map_or("", Error::reason),
        parts: parts.clone(),
    };
    composed.journal.note(worker.id, past);
    noted.noted = true;
    attempts.parts = Some(parts);
    let (Whole { text, .. }, headers) = whole?;
    Ok(passed(request, headers, room.holding(text)))
}

/// Counts an aggregate as failed that ends before it is noted: for want of room, or because its client has left.
struct Noted<'a> {
    aggregate: &'a Aggregate,
    noted: bool,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if !self.noted {
            let Aggregate { composed, worker, .. } = self.aggregate;
            composed.journal.count(worker.id, Outcome::Failed);
        }
    }
}

/// The call with which the whole failed, if it did.
fn failed<T>(whole: &Result<T, Error>) -> Option<Arc<str>> {
    match whole {
        Err(Error::Part(failed)) => Some(failed.call.clone()),
        _ => None,
    }
}

fn outcome(whole: &Result<(Whole, HeaderMap), Error>) -> Outcome {
    match whole {
        Ok((_, headers)) if headers.contains_key(LICTOR_PARTIAL) => Outcome::Partial,
        Ok(_) => Outcome::Complete,
        Err(_) => Outcome::Failed,
    }
}

/// The body and the head, of the calls that are to be made.
async fn whole(run: &Run<'_>) -> Result<(Whole, HeaderMap), Error> {
    let composed = run.composed();
    let front = run.aggregate.front();
    let (compose, fields) = (&composed.compose, &run.aggregate.fields);
    let answers = calls::make(run).await?;
    let made = || answers.iter().flatten();
    let problem = if compose.errors { PROBLEM } else { 0 };
    let bytes: usize = made().map(|answered| answered.bytes + answered.missing.len() * problem).sum();
    let mut life = made().map(|answered| answered.life).fold(freshness::UNBOUNDED, freshness::both);
    let shape = front.expression.as_ref().map(|expression| expression.shape.clone());
    let ingredients = Ingredients::of(compose, (shape, fields.clone()), answers);
    let missing = ingredients.missing.clone();
    // A shape may say a thing often, or look often at it: what becomes much of little is begun anew by a helper.
    let small = (bytes <= INLINE).then(|| ingredients.mix(compose.size.min(2 * INLINE), Some(BRIEF)));
    let whole = match small {
        None | Some(Err(Error::AnswerTooLarge)) => {
            // In this order they are dropped where no helper comes to it in time.
            let all = (ingredients, run.heavy.take());
            let mixed = run.worker.resources.composing.help(move || {
                let (ingredients, heavy) = all;
                let whole = ingredients.mix(ingredients.compose.size, None);
                drop(ingredients);
                heavy.drop_here();
                whole
            });
            timeout_at(run.deadline + GRACE, mixed)
                .await
                .or(Err(Error::Attempt(verdict::Outcome::TotalTimeout)))???
        }
        Some(whole) => whole?,
    };
    run.room.take_instead(whole.text.len()).await?;
    let mut headers = answer::head(whole.etag.clone(), &composed.varies);
    life.private |= composed.personal;
    life.no_store |= !missing.is_empty();
    life.no_store |= composed.compose.calls.iter().any(|call| !call.is_safe());
    freshness::say(life, &mut headers);
    if !missing.is_empty() {
        answer::say_missing(&composed.compose, &missing, &mut headers);
    }
    Ok((whole, headers))
}

/// What of a request values may say.
fn caller(request: &Request, call: &Call, aggregate: &Aggregate) -> Caller {
    let mut headers = HeaderMap::new();
    for name in &aggregate.composed.varies {
        for value in request.head.headers.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    // A key is for the gateway.
    if headers.get_all(header::AUTHORIZATION).iter().any(is_api_key) {
        headers.remove(header::AUTHORIZATION);
    }
    Caller {
        parameters: aggregate.parameters.clone(),
        query: request.target.query().map(str::to_owned),
        headers,
        claims: call.token.as_ref().map(|token| token.claims.clone()),
        target: aggregate.limits.0,
        head: aggregate.limits.1,
    }
}

/// The answer on its way: whole, or a 304 for a client that has it already.
fn passed(request: &Request, mut headers: HeaderMap, text: Bytes) -> Box<Passed> {
    let known =
        matches!(request.head.method, Method::GET | Method::HEAD) && cache::is_known(&request.head.headers, &headers);
    if known {
        headers.remove(header::CONTENT_TYPE);
    } else {
        headers.insert(header::CONTENT_LENGTH, text.len().into());
    }
    let empty = known || request.head.method == Method::HEAD;
    let mut response = Response::new(if empty { Body::Empty } else { Body::from(text) });
    *response.status_mut() = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    *response.headers_mut() = headers;
    let pace = Pace { idle: Duration::MAX, total: None, stream: false };
    Box::new(Passed { response, answered: Instant::now(), settlement: None, pace, upgrade: None })
}
