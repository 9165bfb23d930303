//! Admin's pages as tables.

use std::collections::BTreeMap;
use std::io::Write;

use anstyle::{AnsiColor, Style as Ansi};
use tabwriter::TabWriter;

use super::plain::clean;
use crate::pages::{cache, limits, services};

/// How a table looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: bool,
}

impl Style {
    fn paint(self, text: &str, ansi: Ansi) -> String {
        if self.colour && !text.is_empty() { format!("{ansi}{text}{ansi:#}") } else { text.to_owned() }
    }

    pub(super) fn head(self, names: &[&str]) -> String {
        names.iter().map(|name| self.paint(name, Ansi::new().bold())).collect::<Vec<_>>().join("\t")
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint(text, AnsiColor::Green.on_default())
    }

    pub(super) fn odd(self, text: &str) -> String {
        self.paint(text, AnsiColor::Yellow.on_default())
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint(text, AnsiColor::Red.on_default())
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.paint(text, Ansi::new().dimmed())
    }
}

/// Services and instances, how discovery fares, and what is not exposed.
pub(super) fn services(page: &services::Page, style: Style) -> String {
    let names = ["SERVICE", "INSTANCE", "HEALTH", "BREAKER", "WEIGHT", "IN FLIGHT", "REQUESTS", "FAILURES"];
    let mut rows = vec![style.head(&names)];
    for service in &page.services {
        // Only the first row of a service names it.
        let mut name = clean(&service.name);
        if service.instances.is_empty() {
            rows.push(format!("{name}\t{}", style.bad("no instances")));
        }
        for instance in &service.instances {
            let row = [
                std::mem::take(&mut name),
                clean(&instance.address),
                health(instance, style),
                breaker(instance, style),
                instance.weight.to_string(),
                instance.in_flight.to_string(),
                instance.requests.to_string(),
                instance.failures.to_string(),
            ];
            rows.push(row.join("\t"));
        }
        for bad in &service.unroutable {
            let why = clean(&format!("{} {}: {}", bad.id, bad.address, bad.reason));
            rows.push(format!("{}\t{}", std::mem::take(&mut name), style.odd(why.trim())));
        }
    }
    let mut text = aligned(&rows);
    text.push('\n');
    for provider in &page.discovery {
        text += &format!("{}\n", discovery(provider, style));
    }
    // Why, and how many: a crowd of them has one reason.
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for suspect in page.services.iter().flat_map(|service| &service.instances).filter_map(|one| one.suspect.as_ref()) {
        *reasons.entry(&suspect.reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        text += &format!("{}\n", style.odd(&format!("{count} suspect: {}", clean(reason))));
    }
    for hidden in &page.not_exposed {
        let line = clean(&format!("not exposed: {}: {}", hidden.name, hidden.reason));
        text += &format!("{}\n", style.faint(&line));
    }
    text
}

fn health(instance: &services::Instance, style: Style) -> String {
    let word = clean(&instance.health);
    if instance.suspect.is_some() {
        return style.odd(&format!("{word}, suspect"));
    }
    match instance.health.as_str() {
        "passing" => style.good(&word),
        "critical" => style.bad(&word),
        _ => style.odd(&word),
    }
}

fn breaker(instance: &services::Instance, style: Style) -> String {
    let breaker = &instance.breaker;
    let state = clean(&breaker.state);
    let why = breaker.why.as_deref().unwrap_or_default();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", clean(why)) };
    match (breaker.state.as_str(), instance.paused_ms) {
        // The instance answered 503 with Retry-After.
        ("closed", Some(pause)) => style.odd(&format!("{state}, paused for {}", duration(pause))),
        ("closed", None) => style.good(&state),
        ("open", _) => {
            let next = breaker.next_probe_ms.map(|ms| format!(", probe in {}", duration(ms)));
            style.bad(&format!("{state}{why}{}", next.unwrap_or_default()))
        }
        _ => style.odd(&format!("{}{why}", state.replace('_', " "))),
    }
}

fn discovery(provider: &services::Provider, style: Style) -> String {
    let age = provider.last_answer_age_ms.map(|ms| format!(", last answer {} ago", duration(ms))).unwrap_or_default();
    let place = clean(&format!("{} {}", provider.provider, provider.source));
    let line = format!("{}: {}{age}", place.trim(), clean(&provider.state));
    match provider.error.as_deref().unwrap_or_default() {
        "" => line,
        error => style.bad(&format!("{line}; {}", clean(error))),
    }
}

/// Who is how near which limit; where nobody has used any, which limits there are.
pub(super) fn limits(page: &limits::Page, style: Style) -> String {
    if page.usage.is_empty() {
        let rate = |limit: &limits::Limit| format!("{} {}", clean(&limit.name), rate(limit.count, limit.period_ms));
        let all: Vec<_> = page.limits.iter().map(rate).collect();
        return match all.is_empty() {
            true => "There are no limits.\n".to_owned(),
            false => format!("Nobody has used any limit lately. There are: {}\n", all.join(", ")),
        };
    }
    let mut rows = vec![style.head(&["CLIENT", "LIMIT", "RATE", "REMAINING", "WHOLE IN", "REFUSED"])];
    for usage in &page.usage {
        let (remaining, refused) = (usage.remaining.to_string(), usage.refused.to_string());
        let row = [
            clean(usage.consumer.as_ref().or(usage.address.as_ref()).map_or("everyone", String::as_str)),
            clean(&usage.limit),
            rate(usage.count, usage.period_ms),
            if usage.remaining == 0 { style.bad(&remaining) } else { remaining },
            duration(usage.whole_in_ms),
            if usage.refused == 0 { refused } else { style.odd(&refused) },
        ];
        rows.push(row.join("\t"));
    }
    aligned(&rows)
}

/// A rate as the configuration writes it: `100/min`.
fn rate(count: u32, period_ms: u64) -> String {
    let period = match period_ms {
        1000 => "s".to_owned(),
        60_000 => "min".to_owned(),
        3_600_000 => "h".to_owned(),
        86_400_000 => "day".to_owned(),
        other => duration(other),
    };
    format!("{count}/{period}")
}

/// What the cache holds, and what came of requests.
pub(super) fn cache(page: &cache::Page, style: Style) -> String {
    let answered = page.hits + page.coalesced;
    let all = answered + page.misses + page.stale;
    let share = (100 * answered).checked_div(all).unwrap_or(0);
    let mut text = format!(
        "{}, {} of {}; {share} % of {all} requests answered without an instance ({} hits, {} coalesced, {} misses, {} stale), {} bypassed\n",
        answers(page.entries),
        bytes(page.bytes),
        bytes(page.size),
        page.hits,
        page.coalesced,
        page.misses,
        page.stale,
        page.bypassed,
    );
    if !page.services.is_empty() {
        let mut rows = vec![style.head(&["SERVICE", "ANSWERS", "SIZE"])];
        let row = |s: &cache::Service| [clean(&s.service), s.entries.to_string(), bytes(s.bytes)].join("\t");
        rows.extend(page.services.iter().map(row));
        text += &format!("\n{}", aligned(&rows));
    }
    text
}

/// What a clear did.
pub(super) fn cleared(cleared: &cache::Cleared) -> String {
    format!("{} cleared\n", answers(cleared.cleared))
}

fn answers(count: u64) -> String {
    if count == 1 { "1 answer".to_owned() } else { format!("{count} answers") }
}

/// Rows of cells with a tab between them, as a table.
pub(super) fn aligned(rows: &[String]) -> String {
    let mut writer = TabWriter::new(Vec::new()).padding(2).ansi(true);
    let written = writer.write_all((rows.join("\n") + "\n").as_bytes()).and_then(|()| writer.flush());
    let bytes = written.ok().and_then(|()| writer.into_inner().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

pub(super) fn duration(ms: u64) -> String {
    match ms {
        0 => "-".to_owned(),
        1..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{:.1}s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{}m {}s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{}h {}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests;
