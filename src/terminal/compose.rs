//! Aggregates as trees: which calls run at once, and which wait for what.

use super::canvas::Canvas;
use super::plain::clean;
use super::table::{aligned, bytes, duration};
use crate::pages::compose::{Call, Compose, Detail, Front, Page, Run};
use crate::pages::config::Claim;

/// Every compose, and the memory that aggregates hold.
pub(super) fn all(page: &Page, canvas: Canvas) -> String {
    if page.composes.is_empty() {
        return "There are no aggregates.\n".to_owned();
    }
    let mut text: String = page.composes.iter().map(|compose| tree(compose, canvas) + "\n").collect();
    let memory = &page.memory;
    text += &format!("memory: {} of {} held, {} waiting", bytes(memory.held), bytes(memory.bound), memory.waiting);
    let troubles = format!(", {} had to wait, {} of them in vain", memory.waited, memory.refused);
    text += &if memory.waited > 0 { canvas.style.odd(&troubles) } else { String::new() };
    text + "\n"
}

/// One compose, and how it went the last times.
pub(super) fn one(detail: &Detail, canvas: Canvas) -> String {
    let mut text = tree(&detail.compose, canvas);
    if !detail.runs.is_empty() {
        let mut rows = vec![canvas.style.head(&["ENDED", "TOOK", "OUTCOME", "PARTS", "SLOWEST", "ROUTE", "REQUEST"])];
        rows.extend(detail.runs.iter().map(|run| row(run, canvas)));
        text += &format!("\n{}", aligned(&rows));
    }
    text
}

fn tree(compose: &Compose, canvas: Canvas) -> String {
    let answers = &compose.answers;
    let mut head = format!(
        "{}: within {}; {} complete, {} partial, {} failed",
        clean(&compose.name),
        duration(compose.deadline_ms),
        answers.complete,
        answers.partial,
        answers.failed
    );
    if let Some(late) = &compose.of_late {
        let (median, longest) = (ms(late.median_ms), ms(late.longest_ms));
        head += &format!("; of the last {}, half within {median}, all within {longest}", late.count);
    }
    let names = ["CALL", "AFTER", "REQUEST", "ON ERROR", "ANSWERED", "STORED", "FAILED", "MEAN"];
    let mut rows = vec![canvas.style.head(&names)];
    for (round, calls) in compose.rounds.iter().enumerate() {
        for (place, name) in calls.iter().enumerate() {
            let branch = branch(canvas, (round, compose.rounds.len()), (place, calls.len()));
            let call = compose.calls.iter().find(|call| call.name == *name).cloned().unwrap_or_default();
            rows.push(format!("{branch}{}\t{}", clean(name), cells(&call, canvas)));
        }
    }
    let mut text = format!("{head}\n{}", aligned(&rows));
    for route in &compose.routes {
        let fields = if route.fields { ", of which clients may choose fields" } else { "" };
        text += &format!("route {} {}{fields}\n", clean(&route.name), clean(&route.path));
        text += &route.fronts.iter().map(|front| self::front(front, route.fronts.len() > 1)).collect::<String>();
    }
    text
}

/// For whom a shape is, where there are several, and what it does not need.
fn front(front: &Front, several: bool) -> String {
    let claims = front.claims.iter().map(|Claim { claim, is, has }| {
        let values: Vec<String> = is.iter().chain(has).map(ToString::to_string).collect();
        let verb = if has.is_some() { "has" } else { "is" };
        format!("{} {verb} {}", claim.join("."), values.join(" or "))
    });
    let who: Vec<String> = front.plan.iter().map(|plan| format!("plan {plan}")).chain(claims).collect();
    let mut said = Vec::new();
    if several {
        said.push(if who.is_empty() { "for all others".to_owned() } else { format!("for {}", who.join(", ")) });
    }
    if !front.not_made.is_empty() {
        said.push(format!("not made, because its shape needs none of it: {}", front.not_made.join(", ")));
    }
    if said.is_empty() { String::new() } else { format!("  {}\n", clean(&said.join("; "))) }
}

/// What stands before a call: the number of its round, at the first one.
fn branch(canvas: Canvas, (round, rounds): (usize, usize), (place, places): (usize, usize)) -> String {
    let pens = canvas.pens();
    let last = round + 1 == rounds;
    let outer = match (place, last) {
        (0, false) => pens.branch,
        (0, true) => pens.last,
        (_, false) => pens.down,
        (_, true) => "   ",
    };
    let inner = match (place, places) {
        (0, 1) => format!("{} {}", round + 1, pens.only),
        (0, _) => format!("{} {}", round + 1, pens.fork),
        _ => {
            let spaces = " ".repeat((round + 1).to_string().len() + 2);
            spaces + if place + 1 == places { pens.last } else { pens.branch }
        }
    };
    outer.to_owned() + &inner
}

fn cells(call: &Call, canvas: Canvas) -> String {
    let mut request = format!("{} {} {}", call.method, call.service, call.path);
    if let Some(each) = &call.each {
        request += &format!(", for each of {} ({} at once, {} at most)", each.list, each.at_once, each.most);
    }
    if let Some(when) = &call.when {
        request += &format!(", when {when}");
    }
    let failed = call.failed.to_string();
    let cells = [
        clean(&call.needs.join(" ")),
        clean(&request),
        clean(&call.on_error),
        call.answered.to_string(),
        call.stored.to_string(),
        if call.failed == 0 { failed } else { canvas.style.bad(&failed) },
        call.mean_ms.map_or("-".to_owned(), ms),
    ];
    cells.join("\t")
}

fn row(run: &Run, canvas: Canvas) -> String {
    let outcome = match (&run.failed, &run.reason) {
        (Some(call), _) => format!("{}: {call}", run.outcome),
        (None, Some(reason)) => format!("{}: {reason}", run.outcome),
        (None, None) => run.outcome.clone(),
    };
    let slowest = run.parts.iter().max_by(|a, b| a.took_ms.total_cmp(&b.took_ms));
    let cells = [
        clean(&run.at),
        ms(run.took_ms),
        painted(&run.outcome, &clean(&outcome), canvas),
        run.parts.len().to_string(),
        slowest.map_or("-".to_owned(), |part| format!("{} {}", clean(&part.call), ms(part.took_ms))),
        clean(&run.route),
        clean(&run.id),
    ];
    cells.join("\t")
}

/// A text in the colour of an outcome.
pub(super) fn painted(outcome: &str, text: &str, canvas: Canvas) -> String {
    match outcome {
        "complete" => canvas.style.good(text),
        "partial" => canvas.style.odd(text),
        _ => canvas.style.bad(text),
    }
}

/// Milliseconds, as far as a person wants to know them.
pub(super) fn ms(ms: f64) -> String {
    if ms < 10_000.0 { format!("{ms:.1}ms") } else { format!("{:.1}s", ms / 1000.0) }
}

#[cfg(test)]
mod tests;
