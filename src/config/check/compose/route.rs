//! `compose` of a route: whether it has what the calls need, and which of its callers gets which shape.

use std::sync::Arc;

use super::super::{consumers, demands, paths};
use super::Composed;
use super::expressions::{listed, shape};
use super::values::Parameter;
use crate::config::compose::Answer;
use crate::config::file::{ReadClaims, Section, TextOrSections, Written};
use crate::config::identity::{Demand, Demanded};
use crate::config::policy::LimitSet;
use crate::config::routes::{Action, Pattern};

/// Who may call a route.
pub(in crate::config::check) struct Callers<'a> {
    /// What it demands of them.
    pub(in crate::config::check) auth: &'a Option<Arc<Demand>>,
    /// The plans that there are.
    pub(in crate::config::check) plans: &'a [Arc<LimitSet>],
}

/// `compose = "order_page"` of a route, perhaps with an `answer` of its own; `None` where it is not written or not right.
pub(in crate::config::check) fn aggregate(
    section: &Section<'_>,
    path: Option<&Pattern>,
    callers: &Callers<'_>,
    composed: &[Composed],
) -> Option<Action> {
    let (entries, fields) = (entries(section), section.flag("fields", false));
    let Some(named) = section.text("compose") else {
        let alone = [("answer", "shapes"), ("fields", "lets clients choose members of")].into_iter();
        for (key, does) in alone.filter(|(key, _)| !section.is_written("compose") && section.is_written(key)) {
            section.mistake_at(key, format!("{does} an aggregate: write compose = \"…\" beside it, or remove it"));
        }
        return None;
    };
    let Some(found) = composed.iter().find(|composed| *composed.name == *named.value) else {
        let known: Vec<_> = composed.iter().map(|composed| &*composed.name).collect();
        let why = format!("`{}` is no [[compose]]; there are: {}", named.value, listed(&known));
        section.mistake("compose", named.line, why);
        return None;
    };
    let answers = answers(section, entries, callers, &found.calls);
    if let Some(line) = found.claims.filter(|_| !demands::takes_tokens(callers.auth)) {
        let name = &found.name;
        let why = format!(
            "`{name}` needs claims (line {line}), and no token counts on this route: name an [[issuer]] in auth"
        );
        section.mistake("compose", named.line, why);
    }
    if let Some(line) = found.fields.filter(|_| fields) {
        let why = "is what clients choose members by on this route, and a call gets it as well";
        section.mistake_at("fields", format!("{{query.fields}} (line {line}) {why}: call one of them otherwise"));
    }
    let parameters = parameters(section, named.line, path?, found);
    Some(Action::Compose { compose: found.compose.clone()?, parameters, answers, fields })
}

/// Where the parameters that the compose needs stand in the route's path.
fn parameters(section: &Section<'_>, line: usize, path: &Pattern, found: &Composed) -> Vec<usize> {
    let mistake = |why: String| section.mistake("compose", line, why);
    let compose = &found.name;
    for call in found.calls.iter().filter(|call| paths::parameters(path).any(|name| name == *call)) {
        mistake(format!(
            "`{call}` is a call of `{compose}` and a parameter of this route's path: give the parameter another name"
        ));
    }
    let mut places = Vec::new();
    for Parameter { name, line } in &found.parameters {
        let place = paths::parameters(path).position(|known| *known == **name);
        if place.is_none() {
            mistake(format!(
                "`{compose}` needs {{{name}}} (line {line}), which is neither one of its calls nor a parameter of this route's path ({path}), one segment each"
            ));
        }
        places.extend(place);
    }
    places
}

/// An entry of `answer` as it is written; a text alone is one without conditions.
struct Entry<'a> {
    table: Option<Section<'a>>,
    plan: Option<Written<String>>,
    claims: Vec<Demanded>,
    text: Option<Written<String>>,
}

/// `answer = "…"`, or `answer = [{ plan = "phone", answer = "…" }, { claims = { tier = "gold" }, answer = "…" }, { answer = "…" }]`.
fn entries<'a>(section: &Section<'a>) -> Vec<Entry<'a>> {
    let entry = |table: Section<'a>| {
        let (plan, claims, text) = (table.text("plan"), table.demands("claims"), table.text("answer"));
        table.finish();
        Entry { table: Some(table), plan, claims, text }
    };
    match section.text_or_sections("answer") {
        TextOrSections::Absent => Vec::new(),
        TextOrSections::Text(text) => vec![Entry { table: None, plan: None, claims: Vec::new(), text: Some(text) }],
        TextOrSections::Sections(tables) => tables.into_iter().map(entry).collect(),
    }
}

/// The shapes, in order. Each of them can be the first that fits a caller.
fn answers(section: &Section<'_>, entries: Vec<Entry<'_>>, callers: &Callers<'_>, calls: &[String]) -> Vec<Answer> {
    if section.is_written("answer") && section.lacks("answer") {
        section.mistake_at("answer", "is empty: write a shape, or remove it");
    }
    let last = entries.len().saturating_sub(1);
    let (mut found, mut lines): (Vec<Answer>, Vec<usize>) = Default::default();
    for (place, Entry { table, plan, claims, text }) in entries.into_iter().enumerate() {
        let own = table.as_ref().unwrap_or(section);
        let known = |name: &str| consumers::plan(name, callers.plans).map(|plan| plan.name.clone());
        let answer = Answer {
            plan: plan.and_then(|name| own.convert("plan", &name, known)),
            claims,
            expression: text.and_then(|text| shape(own, &text, calls)),
        };
        let before = found.iter().zip(&lines).find(|(other, _)| holds_wherever(other, &answer));
        if let Some(table) = &table {
            condition(table, &answer, place == last, before.map(|(other, line)| (other, *line)), callers);
        }
        found.push(answer);
        lines.push(own.line());
    }
    found
}

/// Whether the condition of an entry, which has one, holds for each caller for whom another's does.
fn holds_wherever(entry: &Answer, other: &Answer) -> bool {
    let has_condition = entry.plan.is_some() || !entry.claims.is_empty();
    let plan = entry.plan.is_none() || entry.plan == other.plan;
    has_condition && plan && entry.claims.iter().all(|claim| other.claims.contains(claim))
}

/// Mistakes of an entry's condition: that it never counts, or that no other one below it does. `before` is an earlier entry whose
/// condition holds wherever this one does, and its line.
fn condition(
    table: &Section<'_>,
    answer: &Answer,
    is_last: bool,
    before: Option<(&Answer, usize)>,
    callers: &Callers<'_>,
) {
    let for_all = !table.is_written("plan") && answer.claims.is_empty();
    if table.is_written("plan") && callers.auth.is_none() {
        table.mistake_at("plan", "is a consumer's, and nobody says on this route who they are: write auth = true");
    }
    if table.is_written("claims") && !demands::takes_tokens(callers.auth) {
        table.mistake_at("claims", "are a token's, and none counts on this route: name an [[issuer]] in auth");
    }
    if for_all {
        if !table.is_written("answer") {
            table.mistake("", 0, "says nothing: write answer = \"…\", or remove it");
        } else if !is_last {
            let why = "has neither plan nor claims, so that no entry below it ever counts: make it the last";
            table.mistake("", 0, why);
        }
    } else if let Some((before, line)) = before {
        let is_same = before.plan == answer.plan && before.claims.len() == answer.claims.len();
        let why = match is_same {
            true => format!("the entry of line {line} has the same condition: remove one"),
            false => format!("whoever fits it fits the entry of line {line}, too: write it above that one"),
        };
        table.mistake("", 0, format!("never counts, because {why}"));
    }
}
