//! One request of a call: asked like any other, its answer read whole and held to what was expected of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::content::Content;
use super::failure::{Failure, Stop};
use super::render::Rendered;
use super::{INLINE, LIGHT, Run, freshness};
use crate::config::compose::{Call, Expects};
use crate::fields::{TRACEPARENT, TRACESTATE};
use crate::filter::cache::Lifetime;
use crate::io::body::Body;
use crate::proxy::call::{Given, Goal, Reply, Request};
use crate::proxy::exchange::CLIENT_CLOSED;
use crate::proxy::fetch::{self, Fetched};
use crate::proxy::fill::settled;
use crate::proxy::head::Target;
use crate::request::parts::Part;
use crate::request::{Facts, RequestId, Vouched};
use crate::route::Found;
use crate::route::journal::Ending;
use crate::shape::{self, Value};
use crate::upstream::LocalService;

/// The body of an answer that counts as failed is read to this many bytes, so that its connection can be used again.
const DRAINED: u64 = 64 * 1024;

/// Why a part has no answer when the whole had failed before it came.
const ABANDONED: &str = "abandoned";

/// What came of a request.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) content: Content,
    /// How long it may be used, and by whom.
    pub(super) life: Lifetime,
    /// Bytes of its text.
    pub(super) bytes: usize,
}

/// What was found out on the way, whatever came of it.
#[derive(Default)]
struct Seen {
    status: Option<StatusCode>,
    cache: &'static str,
    bytes: usize,
}

/// A request under way, which is a part of the whole however it ends.
struct UnderWay<'r> {
    run: &'r Run<'r>,
    place: usize,
    began: Instant,
    part: Part,
}

impl<'r> UnderWay<'r> {
    /// One that begins now. What is not said of it until it ends is that nobody waited for it any more.
    fn new(run: &'r Run<'r>, place: usize, element: Option<usize>, began: Instant) -> UnderWay<'r> {
        let part = Part {
            call: run.composed().compose.calls[place].name.clone(),
            element,
            began: began.saturating_duration_since(run.aggregate.began),
            took: Duration::ZERO,
            status: None,
            reason: ABANDONED,
            instance: None,
            attempts: 0,
            cache: "",
            bytes: 0,
        };
        UnderWay { run, place, began, part }
    }
}

impl UnderWay<'_> {
    /// Its service may have been asked: it counts there as a request whose client has left.
    fn abandoned(&self) {
        let Run { worker, .. } = self.run;
        let service = self.run.composed().compose.calls[self.place].service.as_str();
        if let Some(service) = worker.upstreams.named(service) {
            service.shared.state.recorder.record(worker.id, CLIENT_CLOSED, Some(self.part.took));
        }
        self.run.composed().requests[self.place].record(worker.id, Ending::Failed, self.part.took);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.part.took = self.began.elapsed();
        if self.part.reason == ABANDONED {
            self.abandoned();
        }
        self.run.parts.borrow_mut().push(self.part.clone());
    }
}

/// Asks, for the call at a place, and for an element of its list where it has one.
pub(super) async fn ask(run: &Run<'_>, place: usize, element: Option<usize>, rendered: &Rendered) -> Result<Got, Stop> {
    let call = &run.composed().compose.calls[place];
    let began = Instant::now();
    let mut under_way = UnderWay::new(run, place, element, began);
    let mut facts = Facts::new(id(run, call, element), began, run.aggregate.address, call.method.clone(), None);
    facts.consumer = run.aggregate.consumer.clone();
    facts.token = vouched(run, rendered);
    let mut seen = Seen::default();
    let service = run.worker.upstreams.named(call.service.as_str());
    let outcome = match &service {
        None => Err(Failure::because("no_instances").into()),
        Some(_) if began >= run.deadline => Err(Failure::late().into()),
        Some(service) => {
            let answered = answered(run, place, service, rendered, (&mut facts, &mut seen));
            match timeout_at(run.deadline, answered).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::late().into()),
            }
        }
    };
    let took = began.elapsed();
    let outcome = outcome.map_err(|stop| match stop {
        Stop::Failed(failure) => Stop::Failed(Failure { status: failure.status.or(seen.status), ..failure }),
        ended => ended,
    });
    let failure = outcome.as_ref().err().map(Stop::failure);
    let status = seen.status.or_else(|| failure.as_ref().and_then(|failure| failure.own));
    // What the deadline kept from being sent is no service's doing.
    if let Some(service) = service.as_ref().filter(|_| began < run.deadline) {
        let status = status.map_or(502, |status| status.as_u16());
        let recorder = &service.shared.state.recorder;
        recorder.record(run.worker.id, status, Some(took));
        if facts.attempts.count() > 1 {
            recorder.retried(run.worker.id, facts.attempts.count() - 1);
        }
    }
    let ending = match (&failure, seen.cache) {
        (Some(_), _) => Ending::Failed,
        (None, "hit" | "collapsed" | "revalidated") => Ending::Stored,
        _ => Ending::Answered,
    };
    run.composed().requests[place].record(run.worker.id, ending, took);
    under_way.part = Part {
        status: seen.status.map(|status| status.as_u16()),
        reason: failure.map_or("", |failure| failure.reason),
        instance: facts.attempts.last().map(|attempt| attempt.instance),
        attempts: facts.attempts.count(),
        cache: seen.cache,
        bytes: seen.bytes,
        ..under_way.part.clone()
    };
    outcome
}

/// What the caller's token says to the service, and what the call's fields say besides: an answer to these is stored for these.
fn vouched(run: &Run<'_>, rendered: &Rendered) -> Option<Arc<Vouched>> {
    let token = run.call.token.clone();
    let Some(own) = &rendered.digest else { return token };
    let (issuer, kid, fields, claims, digest) = match token.as_deref() {
        Some(Vouched { issuer, kid, fields, claims, digest }) => {
            (issuer.clone(), kid.clone(), fields.clone(), claims.clone(), &**digest)
        }
        None => Default::default(),
    };
    Some(Arc::new(Vouched { issuer, kid, fields, claims, digest: format!("{digest}+{own}").into() }))
}

/// The id of the whole with the call's name, and the element's number where there is one.
fn id(run: &Run<'_>, call: &Call, element: Option<usize>) -> RequestId {
    let whole = &run.call.id;
    let name = match element {
        Some(element) => format!("{}.{}.{element}", whole.as_str(), call.name),
        None => [whole.as_str(), ".", &call.name].concat(),
    };
    whole.clone().named(name.as_bytes())
}

/// Asks and reads.
async fn answered(
    run: &Run<'_>,
    place: usize,
    service: &Rc<LocalService>,
    rendered: &Rendered,
    (facts, seen): (&mut Facts, &mut Seen),
) -> Result<Got, Stop> {
    let call = &run.composed().compose.calls[place];
    let entry = &run.composed().calls[place];
    let (worker, began) = (run.worker, facts.began);
    let mut request = request(run, call, rendered);
    let found = (Found::of(entry.clone()), Goal::Service(service.clone()));
    let fetched = fetch::fetch(worker, &mut request, &run.aggregate.client, found, facts, began);
    let reply = match fetched.map_err(|error| Failure::of(&error))? {
        Fetched::Now(reply) => reply,
        Fetched::Later(mut wanted) => {
            wanted.call_mut().via = Some(run.composed().via.clone());
            let reply = fetch::ask(worker, &mut request, facts, wanted, began).await;
            reply.map_err(|error| Failure::of(&error))?
        }
    };
    let (response, life) = match reply {
        Reply::Stored { entry, how, now, .. } => {
            seen.cache = match how {
                Given::Hit => "hit",
                Given::Collapsed(_) => "collapsed",
                Given::Revalidated(_) => "revalidated",
            };
            (entry.response(), entry.left(now))
        }
        Reply::Filling(response, _) => {
            seen.cache = "miss";
            let life = freshness::of(&rendered.headers, &response, &entry.route.policy.cache);
            (*response, life)
        }
        Reply::Passed(passed, past) => {
            seen.cache = if past.is_some() { "pass" } else { "" };
            let life = freshness::of(&rendered.headers, &passed.response, &entry.route.policy.cache);
            (settled(passed, began), life)
        }
    };
    seen.status = Some(response.status());
    let content = read(run, place, response, seen).await?;
    Ok(Got { content, life, bytes: seen.bytes })
}

/// The request as a client of its service would send it. Of what the client of the whole sent, only what concerns its trace and its way
/// here goes along by itself.
fn request(run: &Run<'_>, call: &Call, rendered: &Rendered) -> Request {
    let Rendered { path, headers, body, .. } = rendered;
    let given = &run.request.head.headers;
    let mut head = http::Request::new(()).into_parts().0;
    head.method = call.method.clone();
    head.uri = path.clone().into();
    head.headers = headers.clone();
    let on_the_way = |name: &str| matches!(name, "via" | "x-real-ip") || name.starts_with("x-forwarded-");
    for (name, value) in given {
        let trace = name == TRACEPARENT || name == TRACESTATE;
        if (trace || on_the_way(name.as_str())) && !headers.contains_key(name) {
            head.headers.append(name, value.clone());
        }
    }
    let body = body.clone().map_or(Body::Empty, Body::from);
    let target = &run.request.target;
    Request { head, body, target: Target::of_call(path.clone(), target.host.clone(), target.seen.traceparent) }
}

/// Reads an answer, if it is what is expected.
async fn read(run: &Run<'_>, place: usize, response: Response<Body>, seen: &mut Seen) -> Result<Content, Stop> {
    let call = &run.composed().compose.calls[place];
    let (head, body) = response.into_parts();
    let status = head.status;
    if status.as_u16() >= 400 {
        drain(body);
        return Err(Failure::by_status(status, &head.headers).into());
    }
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
        drain(body);
        return Ok(Value::Null.into());
    }
    if is_coded(&head.headers) || call.expects == Expects::Json && !is_json(&head.headers) {
        drain(body);
        return Err(Failure::because(unlike(call)).into());
    }
    let text = collect(run, body, call.object, seen).await?;
    let (expects, whole) = (call.expects, run.passes_on[place]);
    let parse = move || match expects {
        Expects::Json if whole => shape::is_value(&text).then_some((Content::Text(text), 0)),
        Expects::Json => shape::read_within(&text, usize::MAX).ok().map(|(value, weight)| (value.into(), weight)),
        Expects::Text => std::str::from_utf8(&text).ok().map(|text| (Value::from(text).into(), text.len())),
    };
    let content = match seen.bytes > INLINE {
        true => run.worker.resources.composing.help(parse).await.map_err(Stop::Ended)?,
        false => parse(),
    };
    let (content, weight) = content.ok_or_else(|| Failure::because(unlike(call)))?;
    if run.room.taken() + weight > LIGHT {
        run.heavy.keep(&content);
    }
    // Its text, which was counted, is let go of.
    run.room.take(weight.saturating_sub(seen.bytes)).await.map_err(Stop::Ended)?;
    Ok(content)
}

/// What an answer is that is not what was expected.
fn unlike(call: &Call) -> &'static str {
    match call.expects {
        Expects::Json => "not_json",
        Expects::Text => "not_text",
    }
}

/// `application/json`, `application/problem+json` and the like (RFC 6839 section 3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// Whether a body has a coding, which was not asked for.
fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The whole body, within its limit and within what aggregates may hold.
async fn collect(run: &Run<'_>, mut body: Body, most: usize, seen: &mut Seen) -> Result<Bytes, Stop> {
    let too_large = || Err(Failure::because("too_large").into());
    if body.size_hint().lower() > most as u64 {
        return too_large();
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::of_body(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        seen.bytes += data.len();
        if seen.bytes > most {
            return too_large();
        }
        run.room.take(data.len()).await.map_err(Stop::Ended)?;
        match (first.is_empty(), all.is_empty()) {
            (true, true) => first = data,
            (false, true) => {
                all.reserve(
                    usize::try_from(body.size_hint().lower()).unwrap_or(0).min(most) + first.len() + data.len(),
                );
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
            }
            _ => all.extend_from_slice(&data),
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A stored answer to a request of a call, however old, if there is one.
pub(super) async fn stale(run: &Run<'_>, place: usize, rendered: &Rendered) -> Option<Got> {
    let call = &run.composed().compose.calls[place];
    let request = request(run, call, rendered);
    let (token, entry) = (vouched(run, rendered), &run.composed().calls[place]);
    let entry = fetch::stored(run.worker, &request, (run.call, entry), token.as_deref())?;
    let life = Lifetime { no_store: true, ..entry.left(Instant::now()) };
    let mut seen = Seen::default();
    let content = read(run, place, entry.response(), &mut seen).await.ok()?;
    Some(Got { content, life, bytes: seen.bytes })
}

/// Reads what nobody wants, if it is little and comes soon: its connection can be used again.
fn drain(mut body: Body) {
    let little = body.size_hint().upper().is_some_and(|length| length <= DRAINED);
    if little && !body.is_end_stream() {
        let all = async move { while let Some(Ok(_)) = body.frame().await {} };
        tokio::task::spawn_local(tokio::time::timeout(Duration::from_secs(1), all));
    }
}
