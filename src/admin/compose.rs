//! `/admin/compose` and `/admin/compose/NAME`: which calls make one answer, what of them runs at once, and how that went.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::config;
use super::response::{json, not_found};
use super::sources::Sources;
use super::words;
use crate::config::compose;
use crate::config::routes::Route as Configured;
use crate::pages::compose::{Answers, Call, Compose, Detail, Each, Front, Memory, OfLate, Page, Part, Route, Run};
use crate::request::parts;
use crate::route::journal::{Ending, Outcome, Run as Past};
use crate::route::{self, Composed};
use crate::snapshot::Snapshot;
use crate::telemetry::access::rfc3339;
use crate::telemetry::metrics::Histogram;

/// A route whose answers are aggregates, with what is kept for it.
type Used<'a> = (&'a Configured, &'a Composed);

/// One run, with its route.
type Ran<'a> = (Used<'a>, Arc<Past>);

/// All of them.
pub(super) fn page(sources: &Sources) -> Page {
    let snapshot = sources.current.load();
    let figures = sources.room.figures();
    Page {
        listeners: snapshot.config.listeners.iter().map(|listener| listener.address.to_string()).collect(),
        memory: Memory {
            bound: figures.bound as u64,
            held: figures.held as u64,
            waiting: figures.waiting as u64,
            waited: figures.waited,
            refused: figures.refused,
        },
        composes: snapshot
            .config
            .composes
            .iter()
            .map(|compose| described(compose, &used(&snapshot, compose)))
            .collect(),
    }
}

/// One, by its name as it stands in the path.
pub(super) fn one(sources: &Sources, name: &str) -> Response<Bytes> {
    let snapshot = sources.current.load();
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    let Some(compose) = snapshot.config.composes.iter().find(|compose| *compose.name == *name) else {
        let names: Vec<&str> = snapshot.config.composes.iter().map(|compose| &*compose.name).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return not_found(format!("there is no [[compose]] of this name; there are: {there}"));
    };
    let used = used(&snapshot, compose);
    let runs = runs(&used).into_iter().map(|(used, past)| run(used, &past)).collect();
    json(&Detail { compose: described(compose, &used), runs })
}

/// The routes that use a compose.
pub(super) fn used<'a>(snapshot: &'a Snapshot, compose: &compose::Compose) -> Vec<Used<'a>> {
    let entries = snapshot.routes.all().iter();
    let composed = entries.filter_map(|entry| Some((&*entry.route, entry.composed.as_deref()?)));
    composed.filter(|(_, composed)| composed.compose.name == compose.name).collect()
}

/// The last runs of these routes, the newest first.
fn runs<'a>(used: &[Used<'a>]) -> Vec<Ran<'a>> {
    let of = |&used: &Used<'a>| used.1.journal.runs().into_iter().map(move |run| (used, run));
    let mut runs: Vec<_> = used.iter().flat_map(of).collect();
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.at));
    runs
}

fn described(compose: &compose::Compose, used: &[Used<'_>]) -> Compose {
    // Each route counts for all of them.
    let counted = |outcome| used.first().map_or(0, |(_, composed)| composed.journal.counted(outcome));
    Compose {
        name: compose.name.to_string(),
        deadline_ms: compose.deadline.as_millis() as u64,
        size: compose.size as u64,
        answers: Answers {
            complete: counted(Outcome::Complete),
            partial: counted(Outcome::Partial),
            failed: counted(Outcome::Failed),
        },
        of_late: of_late(&runs(used)),
        routes: used.iter().map(route).collect(),
        rounds: rounds(compose),
        calls: (0..compose.calls.len()).map(|place| call(compose, place, used)).collect(),
    }
}

fn of_late(runs: &[Ran<'_>]) -> Option<OfLate> {
    let (_, first) = runs.last()?;
    let count = |outcome| runs.iter().filter(|(_, run)| run.outcome == outcome).count() as u64;
    let mut took: Vec<_> = runs.iter().map(|(_, run)| run.took).collect();
    took.sort_unstable();
    Some(OfLate {
        since: rfc3339(first.at).to_string(),
        count: runs.len() as u64,
        partial: count(Outcome::Partial),
        failed: count(Outcome::Failed),
        median_ms: ms(took[(took.len() - 1) / 2]),
        longest_ms: ms(took[took.len() - 1]),
    })
}

fn route((route, composed): &Used<'_>) -> Route {
    let front = |front: &route::Front| Front {
        plan: front.plan.as_ref().map(ToString::to_string),
        claims: front.claims.iter().map(config::claim).collect(),
        shape: front.expression.as_ref().map(|expression| expression.text.to_string()),
        not_made: names(&composed.left_out(&front.makes)),
    };
    // Nobody gets those behind the first one that is for everybody.
    let everybody = composed.fronts.iter().position(|front| front.plan.is_none() && front.claims.is_empty());
    let reached = everybody.map_or(composed.fronts.len(), |place| place + 1);
    Route {
        name: route.name.to_string(),
        path: route.path.to_string(),
        fields: composed.fields,
        fronts: composed.fronts[..reached].iter().map(front).collect(),
    }
}

fn names(names: &[Arc<str>]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A call is in the round after the last one of those that it needs.
fn rounds(compose: &compose::Compose) -> Vec<Vec<String>> {
    let (mut places, mut rounds) = (Vec::<usize>::new(), Vec::<Vec<String>>::new());
    for call in &compose.calls {
        let place = call.needs.iter().map(|&needed| places[needed] + 1).max().unwrap_or_default();
        places.push(place);
        rounds.resize_with(rounds.len().max(place + 1), Vec::new);
        rounds[place].push(call.name.to_string());
    }
    rounds
}

fn call(compose: &compose::Compose, place: usize, used: &[Used<'_>]) -> Call {
    let call = &compose.calls[place];
    let requests = used.first().and_then(|(_, composed)| composed.requests.get(place));
    let counted = |ending| requests.map_or(0, |requests| requests.count(ending));
    let timings: Histogram = requests.map(|requests| requests.timings()).into_iter().sum();
    Call {
        name: call.name.to_string(),
        service: call.service.as_str().to_owned(),
        method: call.method.to_string(),
        path: words::template(compose, &call.path),
        needs: call.needs.iter().map(|&needed| compose.calls[needed].name.to_string()).collect(),
        each: call.each.as_ref().map(|each| Each {
            list: words::way(&compose.calls[each.call].name, &each.members),
            most: each.most as u64,
            at_once: each.at_once as u64,
        }),
        when: call.when.as_ref().map(|when| when.expression.text.to_string()),
        on_error: words::on_error(&call.on_error),
        cached: call.policy.cache.enabled,
        answered: counted(Ending::Answered),
        stored: counted(Ending::Stored),
        failed: counted(Ending::Failed),
        mean_ms: (timings.count() > 0).then(|| rounded(timings.sum * 1000.0 / timings.count() as f64)),
    }
}

fn run((route, _): Used<'_>, past: &Past) -> Run {
    Run {
        id: past.id.to_string(),
        route: route.name.to_string(),
        at: rfc3339(past.at).to_string(),
        took_ms: ms(past.took),
        outcome: past.outcome.as_str().to_owned(),
        reason: word(past.reason),
        failed: past.parts.failed.as_ref().map(ToString::to_string),
        not_made: names(&past.left_out),
        parts: past.parts.all.iter().map(part).collect(),
    }
}

fn part(part: &parts::Part) -> Part {
    Part {
        call: part.call.to_string(),
        element: part.element.map(|element| element as u64),
        began_ms: ms(part.began),
        took_ms: ms(part.took),
        status: part.status,
        reason: word(part.reason),
        instance: part.instance.map(|instance| instance.to_string()),
        attempts: part.attempts,
        cache: word(part.cache),
        bytes: part.bytes as u64,
    }
}

fn word(word: &str) -> Option<String> {
    Some(word).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// To microseconds, where these are milliseconds.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
