//! Aggregates: which calls make one answer together, where their values come from, and what holds when one of them fails.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value as Json;

use super::identity::{ClaimPath, Demanded};
use super::policy::Policy;
use crate::catalog::ServiceName;
use crate::shape::Shape;

/// What is percent-encoded in a path or a query: all but unreserved characters (RFC 3986 section 2.3).
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A `[[compose]]`: calls that make one answer together. Any number of routes may use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Compose {
    /// What routes, logs and admin call it; no two have the same. A token of header fields: it stands in `Via`.
    pub name: Arc<str>,
    /// From the request's head to the end of the answer, whatever its calls may take.
    pub deadline: Duration,
    /// How the answer is shaped, where neither it nor the route says otherwise: an object with a member for each call.
    pub answer: Option<Expression>,
    /// An answer that is an object gets the member `errors`, a list with a problem object (RFC 9457) for each part that is
    /// missing, where any is; one that the shape has named so gives way. No call has this name then.
    pub errors: bool,
    /// Its calls, at least one, in an order in which each comes after those that it needs.
    pub calls: Vec<Call>,
    /// The parameters of the path that its values need, by name: every route that uses it has all of them.
    pub parameters: Vec<Box<str>>,
    /// The most bytes of the whole answer's body.
    pub size: usize,
}

/// A shape for some of a route's callers: those who have the plan and the claims that it names. One that names neither is for
/// all of them, and comes last.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The caller is a consumer with the plan of this name.
    pub plan: Option<Arc<str>>,
    /// The caller's token has these claims, each of them. Who has sent none does not fit.
    pub claims: Vec<Demanded>,
    /// The shape; `None` where it is that of the compose.
    pub expression: Option<Expression>,
}

/// `[aggregates]`: what all aggregates under way may take together. Another one holds from the next request on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregates {
    /// The most bytes of answers that they hold, from the first byte of a part to the last one that a client has taken. No
    /// less than any aggregate may need for its largest part, and for its whole answer.
    pub memory: usize,
    /// How long one that finds no room waits, before it is answered with 503 `overloaded`. Zero means that it does not.
    pub wait: Duration,
}

/// A `[[compose.call]]`: a request to one service, or one for each element of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name in the compose: of its answer in other calls and in the shape, and where something is missing. A token of
    /// structured fields (RFC 9651 section 3.3.4): it stands in `Lictor-Partial`.
    pub name: Arc<str>,
    /// Where it goes. A value can never choose this.
    pub service: ServiceName,
    /// Its method.
    pub method: Method,
    /// Its path. What a segment is once its values are in it must not be empty, `.` or `..`, which servers resolve also when
    /// it is percent-encoded: the call has failed then.
    pub path: Template,
    /// Its query, by name. One whose value is absent or null, and alone, is left out.
    pub query: Vec<(Box<str>, Template)>,
    /// Its header fields; likewise.
    pub headers: Vec<(HeaderName, Template)>,
    /// Its body, which is JSON.
    pub body: Option<Body>,
    /// The list that it is made for each element of.
    pub each: Option<Each>,
    /// It is made only when this holds.
    pub when: Option<When>,
    /// What becomes of the whole when it fails.
    pub on_error: OnError,
    /// What its answer must be.
    pub expects: Expects,
    /// The most bytes of its answer's body.
    pub object: usize,
    /// What holds for it as for a route's requests. It demands no credential, has no limits, and no limit of its body: the
    /// route's request, which has been admitted, has these.
    pub policy: Policy,
    /// The calls whose answers it needs, by their places in [`Compose::calls`], in ascending order.
    pub needs: Vec<usize>,
}

/// A list of an earlier answer: the call is made once for each element, and its answer is a list of `{ item, answer }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The call whose answer holds the list, by its place in [`Compose::calls`].
    pub call: usize,
    /// The names of the members on the way to the list; without any, the answer is the list.
    pub members: Vec<Box<str>>,
    /// The most elements; with more of them the call has failed.
    pub most: usize,
    /// How many requests are under way at once.
    pub at_once: usize,
}

/// A condition on what is known when a call could be made. A call that is not made has the answer null, and has not failed. With `each`
/// it is asked for each element.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    /// A JMESPath expression on an object that has the members of calls, parameters, `query`, `header`, `claim` and `item`. It
    /// holds when its result is true in JMESPath's sense.
    pub expression: Expression,
    /// The calls that it reads, by their places in [`Compose::calls`].
    pub calls: Vec<usize>,
    /// The parameters that it reads, by their places in [`Compose::parameters`].
    pub parameters: Vec<usize>,
}

/// A JMESPath expression (<https://jmespath.org/specification.html>). Two of the same text are equal, whichever lines they stand in:
/// what is stored for a route must not depend on the line.
#[derive(Clone)]
pub struct Expression {
    /// Its text.
    pub text: Arc<str>,
    /// What the text means, ready to be applied. It says which calls it needs ([`Shape::needs`]).
    pub shape: Arc<Shape>,
    /// Where it begins in the configuration.
    pub line: usize,
}

/// A text with values in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(pub Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// This text, in the form that its place needs.
    Literal(Box<str>),
    /// A value, which must be put into the form that its place needs.
    Value(Value, Place),
}

/// Where a value stands, which says how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In one segment of a path, the whole of it or a part: everything but unreserved characters is percent-encoded (RFC 3986
    /// section 2.3), so that no value ends the segment. Null, objects, arrays and texts with `/`, `\` or NUL cannot stand here:
    /// some servers decode a path before they take it apart.
    Segment,
    /// In one value of a query: likewise.
    Query,
    /// In a header field's value: what is no visible ASCII is percent-encoded, and so is `%`. Null, objects and arrays cannot
    /// stand here.
    Header,
    /// In a text of a JSON body: alone there it is what it is, beside others it is a part of the text.
    Json,
}

/// Something that is known only when a request is there.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A parameter of the path, by its place in [`Compose::parameters`].
    Parameter(usize),
    /// A parameter of the request's query, the first of this name.
    Query(Box<str>),
    /// A field of the request's head.
    Header(HeaderName),
    /// A claim of the caller's token.
    Claim(ClaimPath),
    /// The element of the list that the call is made for, or the member to which these names lead.
    Item(Vec<Box<str>>),
    /// The answer of an earlier call, by its place in [`Compose::calls`], or the member to which these names lead.
    Answer {
        /// The call.
        call: usize,
        /// The way into its answer.
        members: Vec<Box<str>>,
    },
}

/// A body of JSON with values in its texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A number, `true` or `false`.
    Fixed(Json),
    /// A text.
    Text(Template),
    /// A list.
    Array(Vec<Body>),
    /// An object: names are texts without values.
    Object(Vec<(Box<str>, Body)>),
}

/// What becomes of the whole when a call fails: it had no answer, a status of 400 or more, not what was expected, or too much.
#[derive(Clone, Debug, PartialEq)]
pub struct OnError {
    /// For these statuses of the call's answer.
    pub by_status: Vec<(StatusCode, Fallback)>,
    /// For all others, and where there is no status.
    pub other: Fallback,
}

/// What stands in for an answer that is not there.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// Nothing: the whole fails, with 502, or 504 where time was the reason.
    Fail,
    /// The whole gets the call's status. Where there is none, it fails.
    Pass,
    /// `null`.
    Null,
    /// Its member is left out; in a list of `each` it is null, because lists keep length and order.
    Omit,
    /// A stored answer, however old; where there is none, the whole fails.
    Stale,
    /// This.
    Value(Json),
}

/// What the answer of a call must be. One with the status 204 or 205 has no content (RFC 9110 sections 15.3.5 and 15.3.6): it
/// is null, whatever is expected, and the call has not failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// JSON, by its media type and its content.
    Json,
    /// Any text in UTF-8, which becomes a JSON string. An answer that is JSON is taken as text, too, and stays as it is written.
    Text,
}

impl OnError {
    /// Whether this stands in for some failure.
    pub fn can_be(&self, fallback: &Fallback) -> bool {
        self.other == *fallback || self.by_status.iter().any(|(_, other)| other == fallback)
    }

    /// What stands in for an answer that failed with this status, or without any.
    pub fn fallback(&self, status: Option<StatusCode>) -> &Fallback {
        let written = self.by_status.iter().find(|(known, _)| Some(*known) == status);
        written.map_or(&self.other, |(_, fallback)| fallback)
    }
}

impl Template {
    /// Each value that stands in it.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Value(value, _) => Some(value),
        })
    }

    /// Its only value, where it is nothing but that: in JSON it keeps its type, in a query or a header it may be absent.
    pub fn alone(&self) -> Option<&Value> {
        match self.0.as_slice() {
            [Piece::Value(value, _)] => Some(value),
            _ => None,
        }
    }
}

impl Call {
    /// Whether its method promises to change nothing (RFC 9110 section 9.2.1). Of those that calls have, one does.
    pub fn is_safe(&self) -> bool {
        self.method == Method::GET
    }

    /// Visits the place of each call that it needs, wherever one stands, once for each time that it stands there.
    pub(super) fn visit_needs(&mut self, visit: &mut dyn FnMut(&mut usize)) {
        let templates = [&mut self.path].into_iter();
        let templates = templates.chain(self.query.iter_mut().map(|(_, template)| template));
        let templates = templates.chain(self.headers.iter_mut().map(|(_, template)| template));
        templates.for_each(|template| visit_template(template, visit));
        self.body.iter_mut().for_each(|body| visit_body(body, visit));
        self.each.iter_mut().for_each(|each| visit(&mut each.call));
        self.when.iter_mut().flat_map(|when| &mut when.calls).for_each(visit);
    }
}

fn visit_template(template: &mut Template, visit: &mut dyn FnMut(&mut usize)) {
    for piece in &mut template.0 {
        if let Piece::Value(Value::Answer { call, .. }, _) = piece {
            visit(call);
        }
    }
}

fn visit_body(body: &mut Body, visit: &mut dyn FnMut(&mut usize)) {
    match body {
        Body::Fixed(_) => {}
        Body::Text(template) => visit_template(template, visit),
        Body::Array(items) => items.iter_mut().for_each(|item| visit_body(item, visit)),
        Body::Object(members) => members.iter_mut().for_each(|(_, member)| visit_body(member, visit)),
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
