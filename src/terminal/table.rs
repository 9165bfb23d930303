//! Admin's JSON as tables.

use std::io::Write;

use anstyle::{AnsiColor, Style as Ansi};
use serde_json::Value;
use tabwriter::TabWriter;

/// How a table looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: bool,
}

impl Style {
    fn paint(self, text: &str, ansi: Ansi) -> String {
        if self.colour && !text.is_empty() { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }

    fn head(self, names: &[&str]) -> String {
        names.iter().map(|name| self.paint(name, Ansi::new().bold())).collect::<Vec<_>>().join("\t")
    }

    fn good(self, text: &str) -> String {
        self.paint(text, AnsiColor::Green.on_default())
    }

    fn odd(self, text: &str) -> String {
        self.paint(text, AnsiColor::Yellow.on_default())
    }

    fn bad(self, text: &str) -> String {
        self.paint(text, AnsiColor::Red.on_default())
    }

    fn faint(self, text: &str) -> String {
        self.paint(text, Ansi::new().dimmed())
    }
}

/// Services and instances, what discovery says of itself, and what is not exposed.
pub(super) fn services(words: &Value, style: Style) -> String {
    let names = ["SERVICE", "INSTANCE", "HEALTH", "BREAKER", "WEIGHT", "IN FLIGHT", "REQUESTS", "FAILURES"];
    let mut rows = vec![style.head(&names)];
    for service in list(&words["services"]) {
        let mut name = text(&service["name"]);
        let instances = list(&service["instances"]);
        if instances.is_empty() {
            rows.push(format!("{name}\t{}", style.bad("no instances")));
        }
        for instance in instances {
            let row = [
                std::mem::take(&mut name),
                text(&instance["address"]),
                health(&instance["health"], style),
                breaker(instance, style),
                text(&instance["weight"]),
                text(&instance["in_flight"]),
                text(&instance["requests"]),
                text(&instance["failures"]),
            ];
            rows.push(row.join("\t"));
        }
        for bad in list(&service["unroutable"]) {
            let why = format!("{} {}: {}", text(&bad["id"]), text(&bad["address"]), text(&bad["reason"]));
            rows.push(format!("{}\t{}", std::mem::take(&mut name), style.odd(why.trim())));
        }
    }
    let mut page = aligned(&rows);
    page.push('\n');
    for provider in list(&words["discovery"]) {
        page += &format!("{}\n", discovery(provider, style));
    }
    for hidden in list(&words["not_exposed"]) {
        let line = format!("not exposed: {}: {}", text(&hidden["name"]), text(&hidden["reason"]));
        page += &format!("{}\n", style.faint(&line));
    }
    page
}

fn health(value: &Value, style: Style) -> String {
    let word = text(value);
    match word.as_str() {
        "passing" => style.good(&word),
        "critical" => style.bad(&word),
        _ => style.odd(&word),
    }
}

fn breaker(instance: &Value, style: Style) -> String {
    let value = &instance["breaker"];
    let state = text(&value["state"]);
    let why = text(&value["why"]);
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    match state.as_str() {
        // It said 503 with Retry-After.
        "closed" if instance["paused_ms"].as_u64().is_some() => {
            let pause = duration(instance["paused_ms"].as_u64().unwrap_or_default());
            style.odd(&format!("{state}, paused for {pause}"))
        }
        "closed" => style.good(&state),
        "open" => {
            let next = value["next_probe_ms"].as_u64().map(|ms| format!(", probe in {}", duration(ms)));
            style.bad(&format!("{state}{why}{}", next.unwrap_or_default()))
        }
        _ => style.odd(&format!("{}{why}", state.replace('_', " "))),
    }
}

fn discovery(provider: &Value, style: Style) -> String {
    let age = provider["last_answer_age_ms"].as_u64();
    let age = age.map(|ms| format!(", last answer {} ago", duration(ms))).unwrap_or_default();
    let place = [&provider["provider"], &provider["source"]].map(text).join(" ");
    let line = format!("{}: {}{age}", place.trim(), text(&provider["state"]));
    match text(&provider["error"]).as_str() {
        "" => line,
        error => style.bad(&format!("{line}; {error}")),
    }
}

/// Who is how near which limit.
pub(super) fn limits(words: &Value, style: Style) -> String {
    let mut rows = vec![style.head(&["CLIENT", "LIMIT", "RATE", "REMAINING", "WHOLE IN", "REFUSED"])];
    for usage in list(&words["usage"]) {
        let named = [&usage["consumer"], &usage["address"]].into_iter().find(|who| who.is_string());
        let client = named.map_or_else(|| "everyone".to_owned(), text);
        let left = text(&usage["remaining"]);
        let refused = text(&usage["refused"]);
        let row = [
            client,
            text(&usage["limit"]),
            rate(usage),
            if left == "0" { style.bad(&left) } else { left },
            duration(usage["whole_in_ms"].as_u64().unwrap_or_default()),
            if refused == "0" { refused } else { style.odd(&refused) },
        ];
        rows.push(row.join("\t"));
    }
    if rows.len() == 1 {
        let all: Vec<_> = list(&words["limits"]).iter().map(|l| format!("{} {}", text(&l["name"]), rate(l))).collect();
        return match all.is_empty() {
            true => "There are no limits.\n".to_owned(),
            false => format!("Nobody has used any limit lately. There are: {}\n", all.join(", ")),
        };
    }
    aligned(&rows)
}

fn rate(limit: &Value) -> String {
    let period = match limit["period_ms"].as_u64().unwrap_or_default() {
        1000 => "s".to_owned(),
        60_000 => "min".to_owned(),
        3_600_000 => "h".to_owned(),
        86_400_000 => "day".to_owned(),
        other => duration(other),
    };
    format!("{}/{period}", text(&limit["count"]))
}

/// What the cache holds and did.
pub(super) fn cache(words: &Value, style: Style) -> String {
    let number = |name: &str| words[name].as_u64().unwrap_or_default();
    let answered = number("hits") + number("coalesced");
    let all = answered + number("misses") + number("stale");
    let share = (100 * answered).checked_div(all).unwrap_or(0);
    let mut page = format!(
        "{}, {} of {}; {share} % of {all} requests answered without an instance ({} hits, {} coalesced, {} misses, {} stale), {} bypassed\n",
        answers(number("entries")),
        bytes(number("bytes")),
        bytes(number("size")),
        number("hits"),
        number("coalesced"),
        number("misses"),
        number("stale"),
        number("bypassed"),
    );
    let services = list(&words["services"]);
    if !services.is_empty() {
        let mut rows = vec![style.head(&["SERVICE", "ANSWERS", "SIZE"])];
        let row =
            |s: &Value| [text(&s["service"]), text(&s["entries"]), bytes(s["bytes"].as_u64().unwrap_or_default())];
        rows.extend(services.iter().map(|service| row(service).join("\t")));
        page += &format!("\n{}", aligned(&rows));
    }
    page
}

/// What a clear did.
pub(super) fn cleared(words: &Value) -> String {
    format!("{} cleared\n", answers(words["cleared"].as_u64().unwrap_or_default()))
}

fn answers(count: u64) -> String {
    if count == 1 { "1 answer".to_owned() } else { format!("{count} answers") }
}

fn aligned(rows: &[String]) -> String {
    let mut writer = TabWriter::new(Vec::new()).padding(2).ansi(true);
    let written = writer.write_all((rows.join("\n") + "\n").as_bytes()).and_then(|()| writer.flush());
    let bytes = written.ok().and_then(|()| writer.into_inner().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as a word of a table: what another gateway says moves no cursor here.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn duration(ms: u64) -> String {
    match ms {
        0 => "-".to_owned(),
        1..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{:.1}s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{}m {}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}h {}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests;
