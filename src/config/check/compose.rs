//! `[[compose]]`: calls that make one answer together, and routes that use it. What can be known before any request is checked
//! here: that each value has somebody who provides it, and that calls can be made in some order.

mod calls;
mod expressions;
mod failure;
mod order;
mod route;
mod values;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::issuers::claimed;
use crate::config::StaticService;
use crate::config::compose::{Aggregates, Call, Compose};
use crate::config::file::{Section, Written, format_size};
use crate::config::identity::Issuer;
use crate::config::policy::Policy;
use crate::config::routes::{Action, Route};
use calls::Bounds;
pub(super) use route::{Callers, aggregate};
use values::{Name, Parameter, Scope};

/// What values begin with that is no call.
const RESERVED: [&str; 4] = ["query", "header", "claim", "item"];

/// A `[[compose]]` that was read.
pub(super) struct Composed {
    name: Arc<str>,
    line: usize,
    /// `None` where it has a mistake without which nothing can be said of it.
    compose: Option<Arc<Compose>>,
    /// The names of its calls, whatever else is wrong with them.
    calls: Vec<String>,
    /// Where the parameters of the compose are named, in their order.
    parameters: Vec<Parameter>,
    /// A line that names claims of the caller's token, if any does.
    claims: Option<usize>,
    /// A line that names the parameter `fields` of the request's query, if any does.
    fields: Option<usize>,
    /// What of its calls is right and does less than it seems to.
    warnings: Vec<String>,
}

/// All composes. `base` is what holds for calls where they say nothing else.
pub(super) fn composes(root: &Section<'_>, base: &Policy, issuers: &[Arc<Issuer>]) -> Vec<Composed> {
    let claimed = claimed(issuers);
    let mut found: Vec<Composed> = Vec::new();
    for section in root.sections("compose") {
        let composed = compose(&section, base, &claimed);
        if let Some(first) = found.iter().find(|known| known.name == composed.name && !known.name.is_empty()) {
            let why = format!("`{}` is also that of line {}: give each a name of its own", first.name, first.line);
            section.mistake_at("name", why);
        }
        section.end();
        found.push(composed);
    }
    found
}

/// Those that are complete.
pub(super) fn complete(composed: &[Composed]) -> Vec<Arc<Compose>> {
    composed.iter().filter_map(|composed| composed.compose.clone()).collect()
}

/// `[aggregates]`. Where an answer is larger than all of it, it could never be given; where all parts of one together are, one
/// alone may find no room, which is a warning.
pub(super) fn aggregates(section: Section<'_>, composed: &[Composed], warnings: &mut Vec<String>) -> Aggregates {
    let memory = section.size("memory", 64 << 20, 1 << 20..=1 << 36);
    let wait = section.pause("wait", Duration::from_secs(1));
    // The default has no line: then it is that of the compose which takes more.
    let line = |composed: &Composed| if section.is_written("memory") { None } else { Some(composed.line) };
    for (own, compose) in composed.iter().filter_map(|own| Some((line(own), own.compose.as_ref()?))) {
        let sizes = || compose.calls.iter().map(|call| call.object).chain([compose.size]);
        let (largest, all) = (sizes().max().unwrap_or_default(), sizes().sum::<usize>());
        let (name, memory_is) = (&compose.name, format_size(memory as u64));
        if largest > memory {
            let largest = format_size(largest as u64);
            let why = format!(
                "is {memory_is}, and [[compose]] `{name}` may take {largest} for one answer (size) or part (object): raise it, or lower these"
            );
            match own {
                Some(line) => section.mistake("memory", line, why),
                None => section.mistake_at("memory", why),
            }
        } else if all > memory {
            let all = format_size(all as u64);
            warnings.push(format!(
                "[[compose]] `{name}` may take {all} (`object` of its calls and `size`), and all aggregates together have {memory_is}: raise memory of [aggregates], or lower these"
            ));
        }
    }
    section.end();
    Aggregates { memory, wait }
}

fn compose(section: &Section<'_>, base: &Policy, claimed: &[HeaderName]) -> Composed {
    let name = name(section);
    let deadline = section.duration("deadline", Duration::from_secs(5));
    let answer = section.text("answer");
    let errors = section.flag("errors", false);
    let most_calls = section.number("most_calls", 32, 1..=256) as usize;
    let bounds = Bounds {
        most: section.number("most", 32, 1..=1024) as usize,
        at_once: section.number("at_once", 8, 1..=128) as usize,
        object: section.size("object", 1 << 20, 1 << 10..=1 << 30),
    };
    let size = section.size("size", 4 << 20, 1 << 10..=1 << 30);
    // Names come first: a call may name one that is written below it.
    let sections = section.sections("call");
    let names = names(&sections);
    if sections.is_empty() {
        section.mistake("call", 0, "is needed: write [[compose.call]] for each request");
    }
    if sections.len() > most_calls {
        let why = format!("are {}, more than most_calls = {most_calls}: raise it if that is meant", sections.len());
        section.mistake("call", 0, why);
    }
    let (parameters, claims, fields) = (RefCell::default(), Cell::default(), Cell::default());
    let (mut read, mut warnings) = (Vec::new(), Vec::new());
    for (own, each) in sections.iter().zip(&names) {
        let (parameters, claims, fields) = (&parameters, &claims, &fields);
        let scope = Scope { calls: &names, item: each.list, parameters, claims, fields, claimed };
        let call = calls::call(own, &each.text, &scope, base, &bounds);
        warnings.extend(call.as_ref().and_then(|call| calls::unstored(own, call, &name)));
        read.push(call);
        own.finish();
    }
    if let Some((own, _)) = sections.iter().zip(&names).find(|(_, name)| errors && name.text == "errors") {
        own.mistake_at(
            "name",
            "`errors` is the member for what is missing (errors = true): give the call another name",
        );
    }
    let calls = in_order(read, &names, &sections);
    let names: Vec<String> = names.into_iter().map(|name| name.text).collect();
    let answer = answer.and_then(|text| expressions::shape(section, &text, &names));
    let parameters: Vec<Parameter> = parameters.into_inner();
    let compose = calls.map(|calls| {
        let parameters = parameters.iter().map(|parameter| parameter.name.clone()).collect();
        Arc::new(Compose { name: name.clone(), deadline, answer, errors, calls, parameters, size })
    });
    Composed {
        name,
        line: section.line(),
        compose,
        calls: names,
        parameters,
        claims: claims.get(),
        fields: fields.get(),
        warnings,
    }
}

/// The name of a compose.
fn name(section: &Section<'_>) -> Arc<str> {
    let name = section.text("name").map(|written| written.value).unwrap_or_default();
    if name.is_empty() {
        section.mistake_at("name", "is needed: routes say it, compose = \"order_page\"");
    } else if !is_name(&name, b"_-") {
        let why =
            "it begins with a letter, and has up to 64 letters, digits, _ and -, because fields of answers hold it";
        section.mistake_at("name", format!("`{name}` is no name of a compose: {why}"));
    }
    name.into()
}

/// Whether a name can stand in header fields as it is: it begins with a letter, and has no signs but these.
fn is_name(name: &str, signs: &[u8]) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic();
    name.len() <= 64
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|b| letter(b) || b.is_ascii_digit() || signs.contains(&b))
}

/// The names of calls, which values and shapes begin with.
fn names(sections: &[Section<'_>]) -> Vec<Name> {
    let mut seen = HashSet::new();
    let read = |section: &Section<'_>| {
        let written = section.text("name").unwrap_or(Written { value: String::new(), line: 0 });
        let name = written.value;
        if RESERVED.contains(&name.as_str()) {
            let why = format!("`{name}` stands for something else in values: give the call another name");
            section.mistake("name", written.line, why);
        } else if !is_name(&name, b"_") {
            let why = "it begins with a letter, and has up to 64 letters, digits and _, as {order.user_id} names it";
            section.mistake("name", written.line, format!("`{name}` is no call's name: {why}"));
        } else if !seen.insert(name.clone()) {
            let why = format!("`{name}` is the name of two calls: give each its own");
            section.mistake("name", written.line, why);
        }
        Name { text: name, list: section.is_written("each"), string: section.says("expects", "text") }
    };
    sections.iter().map(read).collect()
}

/// The calls in the order in which they can be made. `None` where there is none, which is a mistake, or where one of them could
/// not be read: the order of the others is checked all the same.
fn in_order(mut calls: Vec<Option<Call>>, names: &[Name], sections: &[Section<'_>]) -> Option<Vec<Call>> {
    let mut needs: Vec<Vec<usize>> = Vec::new();
    for call in &mut calls {
        let mut of_call = Vec::new();
        call.iter_mut().for_each(|call| call.visit_needs(&mut |need| of_call.push(*need)));
        of_call.sort_unstable();
        of_call.dedup();
        needs.push(of_call);
    }
    let line = |chain: &[usize], arrow: &str| {
        let names: Vec<&str> = chain.iter().map(|call| &*names[*call].text).collect();
        names.join(arrow)
    };
    let order = match order::order(&needs) {
        Ok(order) => order,
        Err(mut circle) => {
            let first = circle[0];
            circle.push(first);
            let why = format!("is part of a circle, in which each needs the next: {}", line(&circle, " -> "));
            sections[first].mistake("", 0, why);
            return None;
        }
    };
    if let Some(chain) = order::too_deep(&needs, &order) {
        let last = chain[chain.len() - 1];
        let why = format!("comes after {} others, one by one, and 8 calls in a row are the most", chain.len() - 1);
        let remedy = "ask for what is needed earlier in one call";
        sections[last].mistake("", 0, format!("{why} ({}): {remedy}", line(&chain, ", ")));
    }
    let mut calls: Vec<Call> = calls.into_iter().collect::<Option<_>>()?;
    // From places as written to places in the order.
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, from)| place[*from] = to);
    for (call, needs) in calls.iter_mut().zip(needs) {
        call.visit_needs(&mut |need| *need = place[*need]);
        call.needs = needs.into_iter().map(|need| place[need]).collect();
        call.needs.sort_unstable();
        call.when.iter_mut().for_each(|when| when.calls.sort_unstable());
    }
    let mut calls: Vec<(usize, Call)> = place.into_iter().zip(calls).collect();
    calls.sort_unstable_by_key(|(place, _)| *place);
    Some(calls.into_iter().map(|(_, call)| call).collect())
}

/// Warnings: those of calls, a compose that no route uses, and, for a configuration without Consul, calls to services that nobody
/// provides.
pub(super) fn idle(composed: &[Composed], routes: &[Arc<Route>], services: Option<&[StaticService]>) -> Vec<String> {
    let mut warnings: Vec<String> = composed.iter().flat_map(|composed| composed.warnings.iter().cloned()).collect();
    for Composed { name, .. } in composed {
        let uses =
            |route: &Arc<Route>| matches!(&route.action, Action::Compose { compose, .. } if compose.name == *name);
        if !routes.iter().any(uses) {
            warnings
                .push(format!("[[compose]] `{name}` is used by no route: write compose = \"{name}\" in a [[route]]"));
        }
    }
    for compose in composed.iter().filter_map(|composed| composed.compose.as_ref()) {
        for Call { name, service, .. } in &compose.calls {
            if services.is_some_and(|services| services.iter().all(|known| known.name != *service)) {
                let compose = &compose.name;
                warnings.push(format!(
                    "the call `{name}` of [[compose]] `{compose}` leads to `{service}`, which no [[service]] is, and there is no [consul]"
                ));
            }
        }
    }
    warnings
}
