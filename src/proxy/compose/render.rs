//! Templates and what is known -> requests. Pure, and without anything that belongs to a worker: large answers are looked through
//! elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value as Claim};

use super::failure::Failure;
use crate::config::compose::{Body, Call, Compose, Each, Expects, Piece, Place, RESERVED, Template, Value as Named};
use crate::shape::{self, Budget, Object, Text, Value};

/// What of a request values may say, and how long what is made of them may be.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// The parameters of its path, decoded, in the order of [`Compose::parameters`].
    pub(super) parameters: Vec<String>,
    /// Its query, as the client wrote it.
    pub(super) query: Option<String>,
    /// Those of its fields that calls read.
    pub(super) headers: HeaderMap,
    /// The claims of its token.
    pub(super) claims: Option<Arc<Map<String, Claim>>>,
    /// The most bytes of a call's path with its query.
    pub(super) target: usize,
    /// The most bytes of a call's fields.
    pub(super) head: usize,
}

/// What is known when a call can be made.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) compose: Arc<Compose>,
    pub(super) caller: Arc<Caller>,
    /// The answers that it needs, each with the place of its call.
    pub(super) answers: Vec<(usize, Value)>,
    /// What one condition may take.
    pub(super) budget: Budget,
    /// The most bytes of all bodies together: one for each element may be many times what they are made of.
    pub(super) bodies: usize,
}

/// A call as it is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// Of what values say in its fields, as text: part of where its answer is stored. `None` where they say nothing.
    pub(super) digest: Option<Box<str>>,
}

/// What is to be asked for a call.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Each different request once; those that change something, each time.
    pub(super) different: Vec<Rendered>,
    /// For each element, or for the one that a call without `each` has: itself, and which request is its own. `Ok(None)`: its
    /// condition does not hold.
    pub(super) elements: Vec<(Value, Result<Option<usize>, Failure>)>,
}

/// What a call asks for.
///
/// # Errors
/// When nothing can be asked: what should be a list is none, or has too many elements, or the bodies have too many bytes.
pub(super) fn requests(known: &Known, call: &Call) -> Result<Requests, Failure> {
    let list = match &call.each {
        None => vec![Value::Null],
        Some(each) => elements(known, each)?,
    };
    let mut requests = Requests::default();
    let mut places = Places::default();
    let mut left = known.bodies;
    for item in list {
        let scope = Scope { known, item: call.each.is_some().then_some(&item) };
        let different = &mut requests.different;
        let place = match scope.request(call) {
            // What changes something is asked for as often as it is written. What does not has no body.
            Ok(Some(rendered)) if call.each.is_some() && call.is_safe() => {
                let alike = places.entry((rendered.path.clone(), rendered.body.clone())).or_default();
                let known = alike.iter().find(|&&known| different[known] == rendered).copied();
                Ok(Some(known.unwrap_or_else(|| {
                    alike.push(different.len());
                    different.push(rendered);
                    different.len() - 1
                })))
            }
            Ok(Some(rendered)) => {
                let body = rendered.body.as_ref().map_or(0, Bytes::len);
                left = left.checked_sub(body).ok_or(Failure::because("too_large"))?;
                different.push(rendered);
                Ok(Some(different.len() - 1))
            }
            other => other.map(|_| None),
        };
        requests.elements.push((item, place));
    }
    Ok(requests)
}

/// Which requests there are of a path and a body: they differ in their fields.
type Places = HashMap<(PathAndQuery, Option<Bytes>), Vec<usize>>;

/// The elements for which a call is made: none where the list is not there.
fn elements(known: &Known, each: &Each) -> Result<Vec<Value>, Failure> {
    match descend(known.answer(each.call), &each.members) {
        Value::Null => Ok(Vec::new()),
        Value::Array(elements) if elements.len() > each.most => Err(Failure::because("too_many")),
        Value::Array(elements) => Ok(elements.to_vec()),
        _ => Err(Failure::because("bad_value")),
    }
}

impl Known {
    /// The answer of a call; null where it has none.
    fn answer(&self, call: usize) -> Value {
        let known = self.answers.iter().find(|(place, _)| *place == call);
        known.map_or(Value::Null, |(_, value)| value.clone())
    }
}

/// The member to which names lead; null where there is none.
fn descend(value: Value, members: &[Box<str>]) -> Value {
    members.iter().fold(value, |value, name| value.member(name).cloned().unwrap_or(Value::Null))
}

/// What the templates of one request are filled from.
struct Scope<'a> {
    known: &'a Known,
    item: Option<&'a Value>,
}

impl Scope<'_> {
    /// The request of a call; `None` where its condition does not hold.
    fn request(&self, call: &Call) -> Result<Option<Rendered>, Failure> {
        if let Some(when) = &call.when {
            let holds = when.expression.shape.apply(&self.root(call), self.known.budget);
            if !holds.map_err(|_| Failure::because("bad_condition"))?.is_true() {
                return Ok(None);
            }
        }
        let mut path = self.path(&call.path)?;
        for (name, template) in &call.query {
            if let Some(value) = self.text(template)? {
                path.push(if path.contains('?') { '&' } else { '?' });
                path.extend([&*utf8_percent_encode(name, RESERVED).to_string(), "=", &value]);
            }
        }
        if path.len() > self.known.caller.target {
            return Err(Failure::because("bad_value"));
        }
        let headers = self.headers(call)?;
        let digest =
            call.headers.iter().any(|(_, template)| template.values().next().is_some()).then(|| digest(&headers));
        let body = call.body.as_ref().map(|body| self.body(body)).transpose()?;
        let body =
            body.map(|body| shape::write(&body, call.object).ok_or(Failure::because("too_large"))).transpose()?;
        let path = PathAndQuery::try_from(path).or(Err(Failure::because("bad_value")))?;
        Ok(Some(Rendered { path, headers, body: body.map(Bytes::from), digest }))
    }

    /// A path whose values stay in their segments: none of these is empty, `.` or `..`, which some servers resolve also when it is
    /// percent-encoded, and some after they have cut it at a `;`.
    fn path(&self, template: &Template) -> Result<String, Failure> {
        let (mut path, mut segment, mut has_value) = (String::new(), 0, false);
        let resolved = |segment: &str| matches!(segment.split(';').next(), Some("" | "." | ".."));
        for piece in &template.0 {
            match piece {
                Piece::Literal(text) => {
                    for character in text.chars() {
                        if character == '/' && std::mem::take(&mut has_value) && resolved(&path[segment..]) {
                            return Err(Failure::because("bad_value"));
                        }
                        path.push(character);
                        segment = if character == '/' { path.len() } else { segment };
                    }
                }
                Piece::Value(value, place) => {
                    path.push_str(&self.scalar(value, *place)?);
                    has_value = true;
                }
            }
        }
        if has_value && resolved(&path[segment..]) { Err(Failure::because("bad_value")) } else { Ok(path) }
    }

    /// A text for a query or a field; `None` where it is nothing but a value that is not there.
    fn text(&self, template: &Template) -> Result<Option<String>, Failure> {
        if template.alone().is_some_and(|value| matches!(self.value(value), Value::Null)) {
            return Ok(None);
        }
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => Ok(text.to_string()),
            Piece::Value(value, place) => self.scalar(value, *place),
        };
        template.0.iter().map(piece).collect::<Result<String, Failure>>().map(Some)
    }

    fn headers(&self, call: &Call) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static(match call.expects {
                Expects::Json => "application/json",
                Expects::Text => "text/plain, */*;q=0.5",
            }),
        );
        if call.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut size = 0;
        for (name, template) in &call.headers {
            // What was a field's value can be one again as it is.
            let value = match template.alone() {
                Some(Named::Header(from)) => self.field(from),
                _ => self.text(template)?.and_then(|text| HeaderValue::from_str(&text).ok()),
            };
            if let Some(value) = value {
                size += name.as_str().len() + value.len() + 4;
                headers.insert(name, value);
            }
        }
        if size > self.known.caller.head { Err(Failure::because("bad_value")) } else { Ok(headers) }
    }

    fn body(&self, body: &Body) -> Result<Value, Failure> {
        match body {
            Body::Fixed(value) => Ok(of_json(value)),
            Body::Text(template) => match template.alone() {
                Some(value) => Ok(self.value(value)),
                None => Ok(self.text(template)?.map_or(Value::Null, Value::from)),
            },
            Body::Array(items) => items.iter().map(|item| self.body(item)).collect(),
            Body::Object(members) => {
                let member = |(name, body): &(Box<str>, Body)| Ok((Arc::from(&**name), self.body(body)?));
                members.iter().map(member).collect::<Result<Object, Failure>>().map(Value::from)
            }
        }
    }

    /// A value in the form that its place needs. Null, lists and objects have none.
    fn scalar(&self, value: &Named, place: Place) -> Result<String, Failure> {
        let text = match self.value(value) {
            Value::String(text) => text.to_string(),
            Value::Number(number) => number.as_str().to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return Err(Failure::because("bad_value")),
        };
        // Some servers decode a path before they take it apart.
        if place == Place::Segment && text.contains(['/', '\\', '\0']) {
            return Err(Failure::because("bad_value"));
        }
        Ok(match place {
            Place::Segment | Place::Query => utf8_percent_encode(&text, RESERVED).to_string(),
            Place::Header => visible(&text),
            Place::Json => text,
        })
    }

    fn value(&self, value: &Named) -> Value {
        let Scope { known: Known { caller, .. }, item } = self;
        match value {
            Named::Parameter(place) => caller.parameters.get(*place).map_or(Value::Null, |text| text.as_str().into()),
            Named::Query(name) => self.query(name),
            Named::Header(name) => {
                self.field(name).and_then(|value| Some(value.to_str().ok()?.into())).unwrap_or(Value::Null)
            }
            Named::Claim(path) => {
                caller.claims.as_ref().and_then(|claims| claim(claims, &path.0)).unwrap_or(Value::Null)
            }
            Named::Item(members) => item.map_or(Value::Null, |item| descend(item.clone(), members)),
            Named::Answer { call, members } => descend(self.known.answer(*call), members),
        }
    }

    /// A parameter of the query.
    fn query(&self, name: &str) -> Value {
        parameter(self.known.caller.query.as_deref().unwrap_or_default(), name).map_or(Value::Null, Value::from)
    }

    /// A field of the client's; of several lines of it their list.
    fn field(&self, name: &HeaderName) -> Option<HeaderValue> {
        let mut lines = self.known.caller.headers.get_all(name).iter();
        let first = lines.next()?;
        let rest: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
        if rest.is_empty() {
            return Some(first.clone());
        }
        HeaderValue::from_bytes(&[&[first.as_bytes()][..], &rest].concat().join(&b", "[..])).ok()
    }

    /// What conditions are asked of.
    fn root(&self, call: &Call) -> Value {
        let Known { compose, caller, .. } = self.known;
        let named = call.when.as_ref().and_then(|when| when.expression.shape.needs());
        let wants = |name: &str| named.as_ref().is_none_or(|named| named.contains(name));
        let mut root: Vec<(Text, Value)> = Vec::new();
        let mut put = |name: &str, value: Value| root.push((name.into(), value));
        for (call, value) in &self.known.answers {
            put(&compose.calls[*call].name, value.clone());
        }
        for (name, value) in compose.parameters.iter().zip(&caller.parameters) {
            put(name, value.as_str().into());
        }
        if wants("query") {
            put("query", self.all_of_query());
        }
        if wants("header") {
            let names = caller.headers.keys();
            let fields = names.filter_map(|name| Some((name.as_str(), Value::from(self.field(name)?.to_str().ok()?))));
            put("header", fields.collect::<Object>().into());
        }
        if wants("claim") {
            let claims =
                caller.claims.as_ref().map_or(Value::Null, |claims| of_json(&Claim::Object((**claims).clone())));
            put("claim", claims);
        }
        if let Some(item) = self.item {
            put("item", item.clone());
        }
        root.into_iter().collect::<Object>().into()
    }

    fn all_of_query(&self) -> Value {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in pairs(self.known.caller.query.as_deref().unwrap_or_default()) {
            if let (Some(name), Some(value)) = (decoded(name), decoded(value)) {
                all.entry(name).or_insert(value);
            }
        }
        all.into_iter().map(|(name, value)| (name, Value::from(value))).collect::<Object>().into()
    }
}

/// A digest of fields, each with its length before it.
fn digest(headers: &HeaderMap) -> Box<str> {
    let mut context = Context::new(&SHA256);
    for part in headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The first parameter of a query that has this name, decoded as forms are (<https://url.spec.whatwg.org/#urlencoded-parsing>).
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    pairs(query).find(|(own, _)| decoded(own).as_deref() == Some(name)).and_then(|(_, value)| decoded(value))
}

/// The parameters of a query, as they are written.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn claim(claims: &Map<String, Claim>, path: &[Arc<str>]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(&**first)?, |value, name| value.get(&**name)).map(of_json)
}

/// What a token or the configuration says, as a value.
pub(super) fn of_json(value: &Claim) -> Value {
    shape::read(value.to_string().as_bytes()).unwrap_or(Value::Null)
}

/// A text as a part of a field's value: what is no visible ASCII is percent-encoded, and so is `%`.
fn visible(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    text.bytes().fold(String::new(), |mut out, byte| {
        if plain(byte) {
            out.push(byte.into())
        } else {
            out.push_str(&format!("%{byte:02X}"))
        }
        out
    })
}
