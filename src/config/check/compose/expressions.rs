//! JMESPath expressions: whether one can be applied, and which members of what it is given it reads.

use std::borrow::Borrow;
use std::sync::Arc;

use crate::config::compose::Expression;
use crate::config::file::{Section, Written};
use crate::shape::{Fault, Shape};

/// The longest expression, in bytes.
const LENGTH: usize = 16 << 10;

/// What there is, for whoever named something else.
pub(super) fn listed<T: Borrow<str>>(names: &[T]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// An expression, ready to be applied.
pub(super) fn expression(written: &Written<String>) -> Result<Expression, String> {
    let text = &written.value;
    if text.len() > LENGTH {
        return Err(format!("is longer than {LENGTH} bytes"));
    }
    let shape = Shape::parse(text).map_err(|fault| match fault {
        Fault::Syntax { at, why } => {
            let before = text.get(..at).map_or(at, |before| before.chars().count());
            format!("is no JMESPath (https://jmespath.org), at character {}: {why}", before + 1)
        }
        other => format!("is no JMESPath (https://jmespath.org): {other}"),
    })?;
    Ok(Expression { text: Arc::from(text.as_str()), shape: Arc::new(shape), line: written.line })
}

/// `answer = "…"`: a shape of an object that has a member for each call.
pub(super) fn shape(section: &Section<'_>, text: &Written<String>, calls: &[String]) -> Option<Expression> {
    let read = expression(text).map_err(|why| section.mistake("answer", text.line, why));
    let expression = read.ok()?;
    for unknown in expression.shape.names().into_iter().filter(|member| !calls.iter().any(|call| call == member)) {
        let why = format!("`{unknown}` is no call of the compose; there are: {}", listed(calls));
        section.mistake("answer", text.line, why);
    }
    Some(expression)
}
