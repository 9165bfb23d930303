//! What the client gets: the parts in their shape, and what is to be said of it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use serde_json::json;
use twox_hash::XxHash3_128;

use super::calls::{Answers, Missing};
use super::content::Content;
use super::fields::Fields;
use super::render::of_json;
use crate::config::compose::Compose;
use crate::fields::LICTOR_PARTIAL;
use crate::proxy::error::Error;
use crate::shape::{self, Budget, Fault, Object, Shape, Text, Value};

/// What the body is made of; it belongs to no worker.
pub(super) struct Ingredients {
    pub(super) compose: Arc<Compose>,
    shape: Option<Arc<Shape>>,
    fields: Option<Fields>,
    /// The answers that there are, each with the place of its call.
    contents: Vec<(usize, Content)>,
    /// What is missing, each with the place of its call.
    pub(super) missing: Vec<(usize, Missing)>,
}

/// A body, and its tag.
pub(super) struct Whole {
    pub(super) text: Vec<u8>,
    pub(super) etag: HeaderValue,
}

impl Ingredients {
    pub(super) fn of(
        compose: &Arc<Compose>,
        (shape, fields): (Option<Arc<Shape>>, Option<Fields>),
        answers: Answers,
    ) -> Ingredients {
        let (mut contents, mut missing) = (Vec::new(), Vec::new());
        for (place, answered) in answers.into_iter().enumerate() {
            let Some(answered) = answered else { continue };
            contents.extend(answered.content.map(|content| (place, content)));
            missing.extend(answered.missing.into_iter().map(|missing| (place, missing)));
        }
        Ingredients { compose: compose.clone(), shape, fields, contents, missing }
    }

    /// The body, of so many bytes at most, if its shape takes no more than a budget; without one, what any shape may take.
    ///
    /// # Errors
    /// When the shape does not fit what came, or when it becomes too large, or takes more than the budget given.
    pub(super) fn mix(&self, most: usize, budget: Option<Budget>) -> Result<Whole, Error> {
        let plain = self.shape.is_none() && self.fields.is_none();
        let text = if plain { self.beside(most) } else { self.shaped(most, budget)? };
        let text = text.ok_or(Error::AnswerTooLarge)?;
        // Whoever can make two texts with one hash on purpose says himself what is in them.
        let tag = format!("\"{:032x}\"", XxHash3_128::oneshot(&text));
        Ok(Whole { text, etag: HeaderValue::from_str(&tag).or(Err(Error::Panicked))? })
    }

    /// An object with a member for each call, if it has no more bytes.
    fn beside(&self, most: usize) -> Option<Vec<u8>> {
        let Ingredients { compose, contents, missing, .. } = self;
        let size: usize =
            contents.iter().map(|(place, content)| compose.calls[*place].name.len() + 4 + content.bytes()).sum();
        let mut text = Vec::with_capacity(size.min(most) + 2);
        let errors = (compose.errors && !missing.is_empty()).then(|| problems(compose, missing).into());
        let members = contents.iter().map(|(place, content)| (&*compose.calls[*place].name, content));
        for (name, content) in members.chain(errors.iter().map(|errors| ("errors", errors))) {
            text.extend_from_slice(if text.is_empty() { b"{\"" } else { b",\"" });
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"\":");
            match content {
                Content::Text(own) => text.extend_from_slice(own.trim_ascii()),
                Content::Value(value) => text.append(&mut shape::write(value, most)?),
            }
            if text.len() >= most {
                return None;
            }
        }
        text.extend_from_slice(if text.is_empty() { b"{}" } else { b"}" });
        Some(text)
    }

    /// What the shape makes of it, if that has no more bytes.
    fn shaped(&self, most: usize, budget: Option<Budget>) -> Result<Option<Vec<u8>>, Error> {
        let Ingredients { compose, shape, fields, contents, missing } = self;
        let members = contents.iter().map(|(place, content)| (compose.calls[*place].name.clone(), content.value()));
        let parts = Value::from(members.collect::<Object>());
        let mut shaped = match shape {
            None => parts,
            Some(shape) => match shape.apply(&parts, budget.unwrap_or_default()) {
                Ok(shaped) => shaped,
                Err(Fault::Steps { .. } | Fault::Memory { .. }) if budget.is_some() => return Ok(None),
                Err(fault) => {
                    tracing::warn!(compose = &*compose.name, "the shape of an answer does not fit its parts: {fault}");
                    return Err(Error::NotShaped);
                }
            },
        };
        if let Some(fields) = fields {
            shaped = fields.of(&shaped);
        }
        if compose.errors && !missing.is_empty() {
            shaped = with_errors(shaped, problems(compose, missing));
        }
        Ok(shape::write(&shaped, most))
    }
}

/// An answer that is an object gets what is missing as `errors`; a member that the shape names so gives way.
fn with_errors(shaped: Value, errors: Value) -> Value {
    match shaped {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| name.as_str() != "errors");
            let kept = kept.map(|(name, member)| (name.clone(), member.clone()));
            kept.chain([(Text::from("errors"), errors)]).collect::<Object>().into()
        }
        other => other,
    }
}

/// What is missing, as problem objects (RFC 9457 section 3).
fn problems(compose: &Compose, missing: &[(usize, Missing)]) -> Value {
    let problem = |(place, Missing { element, reason, status }): &(usize, Missing)| {
        let mut problem = json!({
            "type": format!("urn:lictor:{reason}"),
            "title": "A part of this answer is missing",
            "call": &*compose.calls[*place].name,
            "reason": reason,
        });
        if let Some(status) = status {
            problem["status"] = status.as_u16().into();
        }
        if let Some(element) = element {
            problem["element"] = (*element).into();
        }
        of_json(&problem)
    };
    missing.iter().map(problem).collect()
}

/// Says in the head what is missing: a list of calls (RFC 9651 section 3.1), each with the reason and, where it is made for each element
/// of a list, how many of them.
pub(super) fn say_missing(compose: &Compose, missing: &[(usize, Missing)], headers: &mut HeaderMap) {
    let mut said: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some((place, Missing { element, reason, status })) = missing.get(at) {
        let count = missing[at..].iter().take_while(|(other, _)| other == place).count();
        let mut member = format!("{};reason={reason}", compose.calls[*place].name);
        if let Some(status) = status {
            member.push_str(&format!(";status={}", status.as_u16()));
        }
        if element.is_some() {
            member.push_str(&format!(";count={count}"));
        }
        said.push(member);
        at += count;
    }
    headers.extend(HeaderValue::from_str(&said.join(", ")).map(|said| (LICTOR_PARTIAL, said)));
}

/// The head of an answer.
pub(super) fn head(etag: HeaderValue, varies: &[http::HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, etag);
    let names: Vec<_> = varies.iter().map(http::HeaderName::as_str).collect();
    if !names.is_empty() {
        headers.extend(HeaderValue::from_str(&names.join(", ")).map(|names| (header::VARY, names)));
    }
    headers
}
