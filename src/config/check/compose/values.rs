//! Values in the texts of a call: `{id}`, `{query.page}`, `{header.Accept-Language}`, `{claim.org}`, `{item.id}`, `{order.user_id}`.

use std::cell::{Cell, RefCell};

use http::HeaderName;
use serde_json::Value as Json;

use super::super::{actions, paths};
use crate::config::compose::{Body, Piece, Place, Template, Value};
use crate::config::identity::ClaimPath;
use crate::fields::{self, Traits};

/// What the values of a call can be.
pub(super) struct Scope<'a> {
    /// The calls of the compose, as they are written.
    pub(super) calls: &'a [Name],
    /// There is an element: the call has `each`.
    pub(super) item: bool,
    /// The parameters of the path that were named so far.
    pub(super) parameters: &'a RefCell<Vec<Parameter>>,
    /// A line that names claims of the caller's token, if any does.
    pub(super) claims: &'a Cell<Option<usize>>,
    /// A line that names the parameter `fields` of the request's query, if any does.
    pub(super) fields: &'a Cell<Option<usize>>,
    /// The fields in which issuers' claims are forwarded.
    pub(super) claimed: &'a [HeaderName],
}

/// The name of a call.
pub(super) struct Name {
    pub(super) text: String,
    /// Its answer is a list, because it has `each`.
    pub(super) list: bool,
    /// Its answer, or each element of the list, is a text, because it expects one.
    pub(super) string: bool,
}

/// A parameter of the path, and the first line that names it.
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) line: usize,
}

/// The place of a parameter among those that were named so far.
pub(super) fn parameter(name: &str, line: usize, scope: &Scope<'_>) -> usize {
    let mut parameters = scope.parameters.borrow_mut();
    let known = parameters.iter().position(|parameter| *parameter.name == *name);
    known.unwrap_or_else(|| {
        parameters.push(Parameter { name: name.into(), line });
        parameters.len() - 1
    })
}

/// A path. What stands between its values must have the form of any other path.
pub(super) fn path(text: &str, line: usize, scope: &Scope<'_>) -> Result<Template, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` does not begin with /: a path alone is written, the host is the service's"));
    }
    let template = template(text, line, Place::Segment, scope)?;
    let plain: String = template.0.iter().map(|p| if let Piece::Literal(text) = p { text } else { "x" }).collect();
    if let Some(odd) = plain.chars().find(|character| "{}*".contains(*character)) {
        let code = u32::from(odd);
        return Err(format!("`{text}`: {odd} itself does not stand in a path: percent-encode it, %{code:02X}"));
    }
    plain[1..].split('/').try_for_each(|part| paths::segment(part).map(|_| ()))?;
    Ok(template)
}

/// A body: each text in it is a template.
pub(super) fn body(json: &Json, line: usize, scope: &Scope<'_>) -> Result<Body, String> {
    Ok(match json {
        Json::String(text) => Body::Text(template(text, line, Place::Json, scope)?),
        Json::Array(items) => Body::Array(items.iter().map(|item| body(item, line, scope)).collect::<Result<_, _>>()?),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| Ok((name.as_str().into(), body(value, line, scope)?));
            Body::Object(members.iter().map(member).collect::<Result<_, String>>()?)
        }
        other => Body::Fixed(other.clone()),
    })
}

/// A text with values in it; `{{` and `}}` stand for braces.
pub(super) fn template(text: &str, line: usize, place: Place, scope: &Scope<'_>) -> Result<Template, String> {
    let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        let (brace, after) = from.split_at(1);
        if let Some(next) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = next;
            continue;
        }
        let closed = if brace == "{" { after.split_once('}') } else { None };
        let Some((inside, next)) = closed else {
            return Err(format!("`{text}`: a {brace} stands alone: write {brace}{brace} for the character itself"));
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Value(value(inside, line, scope)?, place));
        rest = next;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    let template = Template(pieces);
    lists(&template, place, scope)?;
    Ok(template)
}

/// A list fits only where it is alone in a body.
fn lists(template: &Template, place: Place, scope: &Scope<'_>) -> Result<(), String> {
    let list = |value: &Value| match value {
        Value::Answer { call, members } => Some(&scope.calls[*call]).filter(|name| name.list && members.is_empty()),
        _ => None,
    };
    match template.values().find_map(list).filter(|_| place != Place::Json || template.alone().is_none()) {
        Some(Name { text, .. }) => Err(format!(
            "`{text}` has `each`, so that its answer is a list, which fits only alone in a body: write each = \"{text}\" and {{item}}"
        )),
        None => Ok(()),
    }
}

/// What stands between braces.
fn value(text: &str, line: usize, scope: &Scope<'_>) -> Result<Value, String> {
    let mut names = names(text)?;
    let members = names.split_off(1);
    let alone = |example: &str| match members.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(format!("`{{{text}}}` needs one name behind the dot: write e.g. {{{example}}}")),
    };
    match &*names[0] {
        "query" => {
            let name = alone("query.page")?;
            if *name == *"fields" {
                scope.fields.set(Some(line));
            }
            Ok(Value::Query(name))
        }
        "header" => Ok(Value::Header(field(&alone("header.Accept-Language")?)?)),
        "claim" if members.is_empty() => Err("`{claim}` names none: write e.g. {claim.org}".to_owned()),
        "claim" => {
            scope.claims.set(Some(line));
            Ok(Value::Claim(ClaimPath(members.into_iter().map(Into::into).collect())))
        }
        "item" if !scope.item => {
            Err(format!("`{{{text}}}` is an element of a list, and the call has none: write each = \"call.list\""))
        }
        "item" => Ok(Value::Item(members)),
        root => match scope.calls.iter().position(|call| call.text == root) {
            Some(call) => answer(call, members, scope),
            None if members.is_empty() => Ok(Value::Parameter(parameter(root, line, scope))),
            None => Err(unknown(root, scope)),
        },
    }
}

/// The name of a field of the client's that calls may read. What ends at the gateway says nothing yet that calls could rely on.
pub(super) fn field(text: &str) -> Result<HeaderName, String> {
    let name = actions::header_name(text)?;
    match fields::of(name.as_str()).any(Traits::ENDS_HERE) {
        true => Err(format!("`{text}` is a client's word to the gateway alone: no call can read it")),
        false => Ok(name),
    }
}

/// The list of `each`: a call's name, and those of members of its answer.
pub(super) fn list(text: &str, scope: &Scope<'_>) -> Result<(usize, Vec<Box<str>>), String> {
    if text.contains(['{', '}']) {
        return Err(format!("`{text}` is a list of an earlier answer, without braces: write e.g. \"order.items\""));
    }
    let mut names = names(text)?;
    let members = names.split_off(1);
    let call = scope.calls.iter().position(|call| *call.text == *names[0]).ok_or_else(|| unknown(&names[0], scope))?;
    if let Name { text, list: false, string: true } = &scope.calls[call] {
        return Err(format!("`{text}` expects a text, in which there is no list"));
    }
    match answer(call, members, scope)? {
        Value::Answer { call, members } => Ok((call, members)),
        _ => Err(unknown(&names[0], scope)),
    }
}

/// The answer of a call, or a member of it. What has `each` answers with a list, which has no members, and neither has a text.
fn answer(call: usize, members: Vec<Box<str>>, scope: &Scope<'_>) -> Result<Value, String> {
    let Name { text, list, string } = &scope.calls[call];
    match members.first() {
        Some(member) if *list => Err(format!(
            "`{text}.{member}`: `{text}` has `each`, so that its answer is a list: ask for all of it, or write each = \"{text}\""
        )),
        Some(member) if *string => Err(format!(
            "`{text}.{member}`: `{text}` expects a text, which has no members: ask for all of it, or write expects = \"json\""
        )),
        _ => Ok(Value::Answer { call, members }),
    }
}

/// That a name is that of no call, with those that there are.
pub(super) fn unknown(name: &str, scope: &Scope<'_>) -> String {
    let known: Vec<_> = scope.calls.iter().map(|call| &*call.text).collect();
    format!("`{name}` is no call of this compose; there are: {}", known.join(", "))
}

/// Names between dots. One that has other characters than letters, digits, `_` and `-` stands in quotes.
fn names(text: &str) -> Result<Vec<Box<str>>, String> {
    let wrong = || format!("`{text}` is no value: write names with dots between, e.g. order.user_id or claim.\"a b\"");
    let bare = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let (mut found, mut rest) = (Vec::new(), text);
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').ok_or_else(wrong)?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if !rest.starts_with('"') && !bare(name) {
            return Err(wrong());
        }
        found.push(name.into());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(found),
            None => return Err(wrong()),
        }
    }
}
