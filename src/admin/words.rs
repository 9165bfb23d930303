//! What the configuration says of a call, in its own words again.

use crate::config::compose::{Compose, Fallback, OnError, Piece, Template, Value};

/// A text with its values in braces.
pub(super) fn template(compose: &Compose, Template(pieces): &Template) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Literal(text) => text.replace('{', "{{").replace('}', "}}"),
        Piece::Value(from, _) => format!("{{{}}}", value(compose, from)),
    };
    pieces.iter().map(piece).collect()
}

fn value(compose: &Compose, value: &Value) -> String {
    match value {
        Value::Parameter(place) => compose.parameters[*place].to_string(),
        Value::Query(name) => format!("query.{name}"),
        Value::Header(name) => format!("header.{name}"),
        Value::Claim(path) => way("claim", &path.0),
        Value::Item(members) => way("item", members),
        Value::Answer { call, members } => way(&compose.calls[*call].name, members),
    }
}

/// A name, and those of members with a dot before each.
pub(super) fn way<T: AsRef<str>>(root: &str, members: &[T]) -> String {
    members.iter().fold(root.to_owned(), |way, member| way + "." + member.as_ref())
}

/// What becomes of the whole when a call fails.
pub(super) fn on_error(OnError { by_status, other }: &OnError) -> String {
    let mut said: Vec<_> =
        by_status.iter().map(|(status, to)| format!("{}: {}", status.as_u16(), fallback(to))).collect();
    said.push(if by_status.is_empty() { fallback(other) } else { format!("else: {}", fallback(other)) });
    said.join(", ")
}

fn fallback(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Fail => "fail".to_owned(),
        Fallback::Pass => "pass".to_owned(),
        Fallback::Null => "null".to_owned(),
        Fallback::Omit => "omit".to_owned(),
        Fallback::Stale => "stale".to_owned(),
        Fallback::Value(value) => format!("value {value}"),
    }
}
