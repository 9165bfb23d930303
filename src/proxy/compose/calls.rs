//! Which call is made when: as soon as what it needs is there, and those that need nothing of each other at once.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use serde_json::Value as Json;
use tokio::time::timeout_at;

use super::content::Content;
use super::failure::{Failure, Stop};
use super::part::{self, Got};
use super::render::{self, Known, Rendered, Requests};
use super::{BRIEF, GRACE, INLINE, Run, freshness};
use crate::config::compose::{Call, Fallback, Template, Value as Named};
use crate::filter::cache::Lifetime;
use crate::proxy::error::{Error, PartFailed};
use crate::shape::{Budget, Object, Value};

/// What it takes to make one request, as bytes that are gone through meanwhile.
const REQUEST: usize = 256;

/// Likewise for asking its condition, for which claims, query and the fields that it names are put together.
const CONDITION: usize = 4096;

/// Futures that borrow the run that they belong to.
type Boxed<'r, T> = Pin<Box<dyn Future<Output = T> + 'r>>;

/// What stands for a call in the answer.
#[derive(Debug)]
pub(super) struct Answered {
    /// `None`: nothing, its member is left out.
    pub(super) content: Option<Content>,
    /// What is missing of it.
    pub(super) missing: Vec<Missing>,
    pub(super) life: Lifetime,
    /// Bytes of the text that it was made of, each as often as it is in it.
    pub(super) bytes: usize,
}

/// A part of an answer that failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Missing {
    /// For which element, where the call is made for each.
    pub(super) element: Option<usize>,
    /// Why.
    pub(super) reason: &'static str,
    /// The status of its answer, where there is one.
    pub(super) status: Option<StatusCode>,
}

/// What came of the calls that were made, by their places.
pub(super) type Answers = Vec<Option<Answered>>;

/// Makes the calls.
///
/// # Errors
/// When one fails in a way that its `on_error` lets the whole fail, or when there is no room.
pub(super) async fn make(run: &Run<'_>) -> Result<Answers, Error> {
    let compose = &run.composed().compose;
    let mut answers: Answers = compose.calls.iter().map(|_| None).collect();
    let mut begun = vec![false; answers.len()];
    let mut under_way: FuturesUnordered<Boxed<'_, _>> = FuturesUnordered::new();
    loop {
        for (place, call) in compose.calls.iter().enumerate() {
            let waits = call.needs.iter().any(|&needed| answers[needed].is_none());
            if run.makes[place] && !begun[place] && !waits {
                begun[place] = true;
                let needed = call.needs.iter().filter_map(|&needed| Some((needed, answers[needed].as_ref()?)));
                let (known, bytes) = known(run, needed);
                under_way.push(Box::pin(async move { (place, one(run, place, known, bytes).await) }));
            }
        }
        match under_way.next().await {
            Some((place, answered)) => answers[place] = Some(answered?),
            None => return Ok(answers),
        }
    }
}

/// What a call may read, and how many bytes of text that was.
fn known<'a>(run: &Run<'_>, needed: impl Iterator<Item = (usize, &'a Answered)>) -> (Known, usize) {
    let (mut answers, mut bytes) = (Vec::new(), 0);
    for (place, answered) in needed {
        bytes += answered.bytes;
        answers.push((place, answered.content.as_ref().map_or(Value::Null, Content::value)));
    }
    let (compose, caller) = (run.composed().compose.clone(), run.caller.clone());
    (Known { compose, caller, answers, budget: BRIEF, bodies: run.room.most().saturating_sub(run.room.taken()) }, bytes)
}

/// What the configuration says in place of an answer; it is read once, however many elements it is for.
fn configured(run: &Run<'_>, value: &Json) -> Value {
    let mut values = run.values.borrow_mut();
    if let Some((_, known)) = values.iter().find(|(own, _)| std::ptr::eq(*own, value)) {
        return known.clone();
    }
    let read = render::of_json(value);
    values.push((value, read.clone()));
    read
}

/// What stands for one request of a call.
#[derive(Clone, Debug)]
struct Element {
    content: Option<Content>,
    missing: Option<(&'static str, Option<StatusCode>)>,
    life: Lifetime,
    bytes: usize,
}

impl Element {
    /// It came from nobody.
    fn of(value: Option<Value>) -> Element {
        Element { content: value.map(Content::from), missing: None, life: freshness::UNBOUNDED, bytes: 0 }
    }
}

impl From<Got> for Element {
    fn from(Got { content, life, bytes }: Got) -> Element {
        Element { content: Some(content), missing: None, life, bytes }
    }
}

/// Makes one call: for each element of its list, where it has one.
async fn one(run: &Run<'_>, place: usize, known: Known, bytes: usize) -> Result<Answered, Error> {
    let call = &run.composed().compose.calls[place];
    let Requests { different, elements: wanted } = match requests(run, place, known, bytes).await? {
        Ok(requests) => requests,
        Err(failure) => return Ok(whole(stand_in(run, place, &failure, None).await?)),
    };
    // They are there at once, however many of them are under way.
    let bodies = different.iter().filter_map(|rendered| Some(rendered.body.as_ref()?.len())).sum();
    if bodies > 0 {
        run.room.take(bodies).await?;
    }
    if let (None, [rendered]) = (&call.each, &*different) {
        return Ok(whole(ask(run, place, None, rendered).await?));
    }
    let mut elements = Vec::with_capacity(wanted.len());
    for (item, request) in wanted {
        let element = match request {
            Ok(None) => Ok(Element::of(Some(Value::Null))),
            Ok(Some(request)) => Err(request),
            Err(failure) => Ok(stand_in(run, place, &failure, None).await?),
        };
        elements.push((item, element));
    }
    let asked = ask_all(run, place, &different, &elements).await?;
    let mut elements = elements.into_iter().map(|(item, element)| {
        let element = element.unwrap_or_else(|request| asked[request].clone().unwrap_or_else(|| Element::of(None)));
        (item, element)
    });
    match (&call.each, elements.next()) {
        (None, Some((_, element))) => Ok(whole(element)),
        (_, first) => Ok(pairs(first.into_iter().chain(elements))),
    }
}

/// What is to be asked for a call: found out by the worker itself where that is little.
async fn requests(
    run: &Run<'_>,
    place: usize,
    mut known: Known,
    bytes: usize,
) -> Result<Result<Requests, Failure>, Error> {
    let call = &run.composed().compose.calls[place];
    if effort(&known, call, bytes) <= INLINE {
        let requests = render::requests(&known, call);
        let failed = |(_, request): &(Value, Result<_, Failure>)| matches!(request, Err(failure) if failure.reason == "bad_condition");
        // A condition may have taken more than it may here.
        if !requests.as_ref().is_ok_and(|requests| requests.elements.iter().any(failed)) {
            return Ok(requests);
        }
    }
    known.budget = Budget::default();
    let rendered = run.worker.resources.composing.help(move || render::requests(&known, &known.compose.calls[place]));
    timeout_at(run.deadline, rendered).await.unwrap_or_else(|_| Ok(Err(Failure::late())))
}

/// About how many bytes are gone through for what a call asks, of answers with so many in all. What is not an element's own is gone
/// through for each of them.
pub(super) fn effort(known: &Known, call: &Call, bytes: usize) -> usize {
    let Some(each) = &call.each else { return bytes };
    let answer = known.answers.iter().find(|(place, _)| *place == each.call).map(|(_, answer)| answer);
    let list = answer.and_then(|answer| each.members.iter().try_fold(answer, |value, name| value.member(name)));
    let Some(Value::Array(elements)) = list else { return bytes };
    let reads = |template: &Template| template.values().any(|value| matches!(value, Named::Answer { .. }));
    let mut templates = call.query.iter().map(|(_, template)| template).chain(call.headers.iter().map(|(_, own)| own));
    let condition = if call.when.is_some() { CONDITION } else { 0 };
    let all = condition > 0 || call.body.is_some() || reads(&call.path) || templates.any(reads);
    bytes + elements.len() * (REQUEST + condition + if all { bytes } else { 0 })
}

/// Asks, and has what stands in for an answer that failed.
async fn ask(run: &Run<'_>, place: usize, element: Option<usize>, rendered: &Rendered) -> Result<Element, Error> {
    match part::ask(run, place, element, rendered).await {
        Ok(got) => Ok(got.into()),
        Err(Stop::Failed(failure)) => stand_in(run, place, &failure, Some(rendered)).await,
        Err(Stop::Ended(error)) => Err(error),
    }
}

/// Asks each request once, so many of them at once. One that lets the whole fail ends the others.
async fn ask_all(
    run: &Run<'_>,
    place: usize,
    different: &[Rendered],
    elements: &[(Value, Result<Element, usize>)],
) -> Result<Vec<Option<Element>>, Error> {
    let each = run.composed().compose.calls[place].each.as_ref();
    let at_once = each.map_or(1, |each| each.at_once);
    let ask = |(at, rendered)| async move {
        let element = elements.iter().position(|(_, element)| matches!(element, Err(request) if *request == at));
        ask(run, place, element, rendered).await.map(|element| (at, element))
    };
    let mut asked = vec![None; different.len()];
    let mut under_way = futures_util::stream::iter(different.iter().enumerate().map(ask)).buffer_unordered(at_once);
    while let Some(next) = under_way.next().await {
        let (at, element) = next?;
        asked[at] = Some(element);
    }
    Ok(asked)
}

/// What stands in for an answer that failed.
///
/// # Errors
/// When the whole fails with it.
async fn stand_in(
    run: &Run<'_>,
    place: usize,
    failure: &Failure,
    rendered: Option<&Rendered>,
) -> Result<Element, Error> {
    let call = &run.composed().compose.calls[place];
    let value = match failure.fallback(call) {
        Fallback::Null => Some(Value::Null),
        Fallback::Omit => None,
        Fallback::Value(value) => Some(configured(run, value)),
        Fallback::Pass if failure.status.is_some_and(|status| status.as_u16() >= 400) => {
            return Err(failed(call, failure, failure.status));
        }
        Fallback::Stale => match rendered {
            Some(rendered) => match timeout_at(run.deadline + GRACE / 2, part::stale(run, place, rendered)).await {
                Ok(Some(got)) => {
                    let missing = Some((failure.reason, failure.status));
                    return Ok(Element { missing, ..got.into() });
                }
                _ => return Err(failed(call, failure, None)),
            },
            None => return Err(failed(call, failure, None)),
        },
        Fallback::Fail | Fallback::Pass => return Err(failed(call, failure, None)),
    };
    Ok(Element { missing: Some((failure.reason, failure.status)), ..Element::of(value) })
}

/// The whole fails with a call: with its status, or as a gateway fails whose service does.
fn failed(call: &Call, failure: &Failure, status: Option<StatusCode>) -> Error {
    let own = if failure.is_late() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    Error::Part(Box::new(PartFailed {
        call: call.name.clone(),
        reason: failure.reason,
        answered: failure.status,
        status: status.unwrap_or(own),
        retry_after: failure.retry_after.filter(|_| status.is_some()),
        challenges: if status.is_some() { failure.challenges.clone() } else { Vec::new() },
    }))
}

/// A call that is made once.
fn whole(element: Element) -> Answered {
    let Element { content, missing, life, bytes } = element;
    let missing = missing.map(|(reason, status)| Missing { element: None, reason, status });
    Answered { content, missing: missing.into_iter().collect(), life, bytes }
}

/// A call that is made for each element of a list: its answer has as many, in their order.
fn pairs(elements: impl Iterator<Item = (Value, Element)>) -> Answered {
    let mut answered = Answered { content: None, missing: Vec::new(), life: freshness::UNBOUNDED, bytes: 0 };
    let mut list = Vec::new();
    for (at, (item, Element { content, missing, life, bytes })) in elements.enumerate() {
        let missing = missing.map(|(reason, status)| Missing { element: Some(at), reason, status });
        answered.missing.extend(missing);
        answered.life = freshness::both(answered.life, life);
        answered.bytes += bytes;
        let members = [("item", item), ("answer", content.map_or(Value::Null, |content| content.value()))];
        list.push(Value::from(members.into_iter().collect::<Object>()));
    }
    answered.content = Some(Value::from(list).into());
    answered
}
