//! An aggregate as a waterfall: a bar for each part, which says when it began and how long it took.

use super::canvas::Canvas;
use super::compose::{ms, painted};
use super::plain::clean;
use super::table::bytes;
use crate::pages::compose::{Part, Run, Tried};

/// The least and the most characters of a bar's place.
const BARS: (usize, usize) = (16, 120);

/// One line of the drawing.
struct Row {
    label: String,
    /// When it began and how long it took, in milliseconds.
    span: (f64, f64),
    failed: bool,
    /// How long, what came of it, from where, what the cache did.
    said: [String; 4],
}

/// What came of it, and what became of its parts.
pub(super) fn waterfall(tried: &Tried, canvas: Canvas) -> String {
    let mut head = format!("{}, {} in {}", tried.status, bytes(tried.bytes), ms(tried.took_ms));
    if let Some(cache) = &tried.cache {
        head += &format!(", cache {}", clean(cache));
    }
    let head = if tried.status < 400 { canvas.style.good(&head) } else { canvas.style.bad(&head) };
    let partial = tried.partial.as_ref().map(|partial| {
        let line = format!("Lictor-Partial: {}", clean(partial));
        canvas.style.odd(&line) + "\n"
    });
    let without_key = tried.without_key.as_ref().filter(|_| matches!(tried.status, 401 | 403)).map(|host| {
        let why = "it is not known to be the gateway's";
        format!("No key was sent to {}, because {why}: say -H 'X-API-Key: …' if it is.\n", clean(host))
    });
    let id = clean(tried.request_id.as_deref().unwrap_or("without an id"));
    let story = match (&tried.run, &tried.compose) {
        (Some(run), Some(compose)) => drawn(run, compose, canvas),
        _ => format!(
            "No calls are known that were made for this request ({id}): its route is no aggregate's, it was answered before its calls, the \
             store had its answer, or more than 32 came after it.\n"
        ),
    };
    format!("{head}\n{}{}{story}", partial.unwrap_or_default(), without_key.unwrap_or_default())
}

fn drawn(run: &Run, compose: &str, canvas: Canvas) -> String {
    let mut what = format!("{}: {} parts in {}", run.outcome, run.parts.len(), ms(run.took_ms));
    for why in run.failed.iter().chain(&run.reason) {
        what += &format!(", {why}");
    }
    let what = painted(&run.outcome, &clean(&what), canvas);
    let head = format!("{}, route {}, {what} ({})\n", clean(compose), clean(&run.route), clean(&run.id));
    let rows = rows(run);
    let mut text = head;
    if !rows.is_empty() {
        let end = rows.iter().map(|row| row.span.0 + row.span.1).fold(run.took_ms, f64::max);
        text += &format!("\n{}", lines(&rows, end, canvas));
    }
    if !run.not_made.is_empty() {
        text += &format!("not made, because the shape needs none of it: {}\n", clean(&run.not_made.join(", ")));
    }
    text
}

/// The parts by their calls, those first that began first; a call with elements has a line for all of them.
fn rows(run: &Run) -> Vec<Row> {
    let mut calls: Vec<(&str, Vec<&Part>)> = Vec::new();
    let mut parts: Vec<&Part> = run.parts.iter().collect();
    parts.sort_by(|a, b| a.began_ms.total_cmp(&b.began_ms));
    for part in parts {
        match calls.iter_mut().find(|(call, _)| *call == part.call) {
            Some((_, parts)) => parts.push(part),
            None => calls.push((&part.call, vec![part])),
        }
    }
    let mut rows = Vec::new();
    for (call, mut parts) in calls {
        if parts.iter().all(|part| part.element.is_none()) {
            rows.extend(parts.into_iter().map(|part| row(clean(call), part)));
            continue;
        }
        rows.push(all(call, &parts));
        parts.sort_by_key(|part| part.element);
        let label = |part: &Part| format!("  [{}]", part.element.unwrap_or_default());
        rows.extend(parts.into_iter().map(|part| row(label(part), part)));
    }
    rows
}

fn row(label: String, part: &Part) -> Row {
    let status = part.status.map(|status| status.to_string());
    let answer: Vec<&str> = status.iter().chain(&part.reason).map(String::as_str).collect();
    let attempts = if part.attempts > 1 { format!(" ({} attempts)", part.attempts) } else { String::new() };
    let instance = part.instance.as_deref().map_or(String::new(), |instance| clean(instance) + &attempts);
    let cache = clean(part.cache.as_deref().unwrap_or_default());
    let said = [ms(part.took_ms), clean(&answer.join(" ")), instance, cache];
    Row { label, span: (part.began_ms, part.took_ms), failed: part.reason.is_some(), said }
}

/// The elements of a call together.
fn all(call: &str, parts: &[&Part]) -> Row {
    let began = parts.iter().map(|part| part.began_ms).fold(f64::INFINITY, f64::min);
    let ended = parts.iter().map(|part| part.began_ms + part.took_ms).fold(0.0, f64::max);
    let failed = parts.iter().filter(|part| part.reason.is_some()).count();
    let count = match failed {
        0 => format!("{} asked", parts.len()),
        _ => format!("{} asked, {failed} failed", parts.len()),
    };
    let said = [ms(ended - began), count, String::new(), String::new()];
    Row { label: clean(call), span: (began, ended - began), failed: failed == parts.len(), said }
}

fn lines(rows: &[Row], end: f64, canvas: Canvas) -> String {
    let names = ["TOOK", "ANSWER", "INSTANCE", "CACHE"];
    let width = |text: &str| text.chars().count();
    let label = rows.iter().map(|row| width(&row.label)).fold(width("CALL"), usize::max);
    let columns: [usize; 4] =
        std::array::from_fn(|at| rows.iter().map(|row| width(&row.said[at])).fold(width(names[at]), usize::max));
    // Two spaces stand before the bar's place and before each column, and its two sides take one each.
    let others = label + columns.iter().map(|column| column + 2).sum::<usize>() + 4;
    let place = canvas.width.saturating_sub(others).clamp(BARS.0, BARS.1);
    let pens = canvas.pens();
    let scale = format!("0{:>1$}", ms(end), place - 1);
    let said = |said: [&str; 4]| -> String {
        said.iter().zip(columns).map(|(text, column)| format!("  {text:<column$}")).collect()
    };
    let head = format!("{:<label$}   {scale} {}", "CALL", said(names));
    let mut text = canvas.style.head(&[head.trim_end()]) + "\n";
    for row in rows {
        let (before, length) = bar(row.span, end, place);
        let pen = if row.failed { pens.failed } else { pens.well };
        let drawn: String = std::iter::repeat_n(pen, length).collect();
        let drawn = if row.failed { canvas.style.bad(&drawn) } else { canvas.style.good(&drawn) };
        let (left, right) = (" ".repeat(before), " ".repeat(place - before - length));
        let side = pens.side;
        let words = said(row.said.each_ref().map(String::as_str));
        let line = format!("{:<label$}  {side}{left}{drawn}{right}{side}{words}", row.label);
        text += &format!("{}\n", line.trim_end());
    }
    text
}

/// Where a bar begins in its place, and how long it is: at least one character, and never beyond the end.
fn bar((began, took): (f64, f64), end: f64, place: usize) -> (usize, usize) {
    let scaled = |ms: f64| if end > 0.0 { ms / end * place as f64 } else { 0.0 };
    let before = (scaled(began).floor().max(0.0) as usize).min(place - 1);
    let until = (scaled(began + took).round().max(0.0) as usize).min(place);
    (before, until.saturating_sub(before).max(1))
}

#[cfg(test)]
mod tests;
