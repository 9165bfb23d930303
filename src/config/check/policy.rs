//! What holds for requests: read at the top for all of them, then for `[api]` and for each `[[route]]`, where a key that
//! is not written has the value of the top.

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::demands;
use crate::config::file::{Section, Switch, parse_duration};
use crate::config::identity::Issuer;
use crate::config::policy::{Breaker, Budget, By, Cache, FailureRate, Limit, LimitSet, Policy, Retry, Timeouts};
use crate::config::{RequestLimits, Store};

/// Methods that are sent again everywhere. RFC 9110 section 9.2.2 calls PUT and DELETE idempotent, too, but not every
/// service keeps to that: a route must allow them.
const SAFE: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

/// Methods that a route may allow to be sent again.
const IDEMPOTENT: [Method; 5] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];

/// Whose requests are counted together, by the words for that.
const BY: [(&str, By); 5] = [
    ("consumer", By::Consumer),
    ("user", By::User),
    ("app", By::App),
    ("address", By::Address),
    ("everyone", By::Everyone),
];

/// The rate window's defaults.
const RATE: FailureRate = FailureRate { failed: 50, of: 20, within: Duration::from_secs(10) };

/// The defaults of what holds for all requests.
fn defaults() -> Policy {
    Policy {
        auth: Some(demands::key()),
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            stream_idle: Duration::from_secs(300),
            total: None,
        },
        retry: Retry {
            more: 2,
            budget: Budget { percent: 20, plus: 30, within: Duration::from_secs(10) },
            methods: SAFE.to_vec(),
        },
        body: None,
        limits: None,
        cache: Cache::default(),
        breaker: true,
    }
}

/// The top of the file: what holds for all requests, and what cannot be set for a single route.
pub(super) fn top(root: &Section<'_>) -> (Policy, Breaker, RequestLimits, Store) {
    let base = defaults();
    let retry_section = root.section("retry");
    let mut retry = retry(&retry_section, &base.retry, &SAFE);
    retry.budget = budget(retry_section.section("budget"), &base.retry.budget);
    retry_section.end();
    let (request, body) = request(root.section("request"));
    let (cache, store) = store(root.section("cache"));
    let policy = Policy {
        timeouts: timeouts(root.section("timeouts"), &base.timeouts),
        retry,
        body,
        limits: limits(root, "default").or(base.limits),
        cache,
        ..base
    };
    (policy, breaker(root.section("breaker"), &default_breaker()), request, store)
}

/// `[api]` or a `[[route]]`: `base`, which holds at the top, with what is written here. `name` is what its limits are
/// called.
pub(super) fn over(section: &Section<'_>, base: &Policy, name: &str, issuers: &[Arc<Issuer>]) -> Policy {
    let request = section.section("request");
    let body = request.size_or_none("body", base.body);
    request.end();
    Policy {
        auth: demands::auth(section, &base.auth, issuers),
        body,
        limits: limits(section, name).or_else(|| base.limits.clone()),
        ..of_call(section, base)
    }
}

/// A call of a `[[compose]]`: of `base`, with what is written here, all that is about services. What is about clients - who may ask, how
/// often, how much they may send - holds for the aggregate's request, once.
pub(super) fn of_call(section: &Section<'_>, base: &Policy) -> Policy {
    let retry_section = section.section("retry");
    let retry = retry(&retry_section, &base.retry, &IDEMPOTENT);
    retry_section.end();
    let breaker = match section.switch("breaker") {
        Switch::Absent => base.breaker,
        Switch::Flag(flag) => flag,
        Switch::Section(section) => {
            let enabled = section.flag("enabled", true);
            section.end();
            enabled
        }
    };
    Policy {
        auth: None,
        timeouts: timeouts(section.section("timeouts"), &base.timeouts),
        retry,
        body: None,
        limits: None,
        cache: cache(section, &base.cache),
        breaker,
    }
}

/// The breaker's defaults.
fn default_breaker() -> Breaker {
    Breaker {
        enabled: true,
        consecutive: 5,
        rate: Some(RATE),
        open: Duration::from_secs(5),
        open_max: Duration::from_secs(60),
        probes: 1,
    }
}

/// `[breaker]`, or the breaker of a service, which starts from that of the top.
pub(super) fn breaker(section: Section<'_>, base: &Breaker) -> Breaker {
    let rate = match section.switch("rate") {
        Switch::Absent => base.rate.clone(),
        Switch::Flag(true) => Some(RATE),
        Switch::Flag(false) => None,
        Switch::Section(section) => Some(rate(section, base.rate.as_ref().unwrap_or(&RATE))),
    };
    let breaker = Breaker {
        enabled: section.flag("enabled", base.enabled),
        consecutive: section.number("consecutive", u64::from(base.consecutive), 1..=10_000) as u32,
        rate,
        open: section.duration("open", base.open),
        open_max: section.duration("open_max", base.open_max),
        probes: section.number("probes", u64::from(base.probes), 1..=255) as u8,
    };
    if breaker.open > breaker.open_max {
        section.mistake_at("open_max", "is shorter than `open`: make it at least as long");
    }
    section.end();
    breaker
}

fn rate(section: Section<'_>, base: &FailureRate) -> FailureRate {
    let failed = section.parsed("failed", "50%", |text| {
        text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|percent| (1..=100).contains(percent))
    });
    let rate = FailureRate {
        failed: failed.map_or(base.failed, |written| written.value),
        of: section.number("of", u64::from(base.of), 1..=1_000_000) as u32,
        within: section.duration("within", base.within),
    };
    if rate.within < Duration::from_secs(1) || rate.within > Duration::from_secs(600) {
        section.mistake_at("within", "is a window of 1s to 10m");
    }
    section.end();
    rate
}

fn budget(section: Section<'_>, base: &Budget) -> Budget {
    let budget = Budget {
        percent: section.number("percent", u64::from(base.percent), 0..=100) as u32,
        plus: section.number("plus", u64::from(base.plus), 0..=1_000_000) as u32,
        within: section.duration("within", base.within),
    };
    section.end();
    budget
}

/// When another attempt is made; `allowed` are the methods that may be listed here.
fn retry(section: &Section<'_>, base: &Retry, allowed: &[Method]) -> Retry {
    let more = section.number("more", u64::from(base.more), 0..=10) as u32;
    let written = section.texts("methods");
    let read = |text| section.convert("methods", &text, |text| repeatable(text, allowed));
    let methods = match written.is_empty() {
        true => base.methods.clone(),
        false => written.into_iter().filter_map(read).collect(),
    };
    Retry { more, methods, ..base.clone() }
}

/// A method that may be sent again.
fn repeatable(text: &str, allowed: &[Method]) -> Result<Method, String> {
    allowed.iter().find(|method| method.as_str() == text).cloned().ok_or_else(|| {
        let all: Vec<_> = allowed.iter().map(Method::as_str).collect();
        let more = if allowed.len() == SAFE.len() { " (a route may also say PUT and DELETE)" } else { "" };
        format!("`{text}` may not be sent twice: only {}{more}", all.join(", "))
    })
}

fn timeouts(section: Section<'_>, base: &Timeouts) -> Timeouts {
    let timeouts = Timeouts {
        connect: section.duration("connect", base.connect),
        first_byte: section.duration("first_byte", base.first_byte),
        idle: section.duration("idle", base.idle),
        stream_idle: section.duration("stream_idle", base.stream_idle),
        total: section.duration_or_none("total", base.total),
    };
    section.end();
    timeouts
}

fn request(section: Section<'_>) -> (RequestLimits, Option<u64>) {
    // The server's own limits (64 KiB, and hyper's 100 fields) are higher, so that an ordinary excess gets our page.
    let limits = RequestLimits {
        head: section.size("head", 32 << 10, 256..=48 << 10),
        fields: section.number("fields", 64, 4..=96) as usize,
        target: section.size("target", 8 << 10, 64..=32 << 10),
    };
    let body = section.size_or_none("body", None);
    section.end();
    (limits, body)
}

fn store(section: Section<'_>) -> (Cache, Store) {
    let enabled = section.flag("enabled", false);
    let ttl = section.duration_or_none("ttl", None);
    let store = Store {
        size: section.size("size", 64 << 20, 64 << 10..=1 << 40),
        object: section.size("object", 1 << 20, 1 << 10..=1 << 30),
    };
    if store.object > store.size / 16 {
        section
            .mistake_at("object", "is more than a sixteenth of `size`: make the store larger, or the objects smaller");
    }
    section.end();
    (Cache { enabled, ttl }, store)
}

/// `cache = { ttl = "30s" }`: a route that sets anything of its cache has one, unless it says `enabled = false`.
fn cache(section: &Section<'_>, base: &Cache) -> Cache {
    match section.switch("cache") {
        Switch::Absent => base.clone(),
        Switch::Flag(enabled) => Cache { enabled, ..base.clone() },
        Switch::Section(section) => {
            let cache =
                Cache { enabled: section.flag("enabled", true), ttl: section.duration_or_none("ttl", base.ttl) };
            section.end();
            cache
        }
    }
}

/// `limits = ["10/s", { rate = "1000/day", by = "address" }]`, called by `name`; `None` when nothing is written.
pub(super) fn limits(section: &Section<'_>, name: &str) -> Option<Arc<LimitSet>> {
    let example = "write e.g. \"10/s\", \"1000/day\" or \"5/30s\"";
    let mut limits = Vec::new();
    let mut written = false;
    for item in section.mixed("limits") {
        written = true;
        let (rate, line, by) = match item {
            Ok(text) => (Some(text.value), text.line, By::Consumer),
            Err(table) => {
                let rate = table.text("rate").map(|text| text.value);
                let by = table.word("by", &BY);
                let line = table.line();
                table.end();
                (rate, line, by)
            }
        };
        let rate = rate.unwrap_or_default();
        match parse_rate(&rate) {
            Some((count, period)) => limits.push(Limit { count, period, by }),
            None => section.mistake("limits", line, format!("`{rate}` is not a rate: {example}")),
        }
    }
    if limits.len() > 8 {
        section.mistake_at("limits", "are more than 8: nobody can predict what they let through together");
    }
    // An empty list stands for no limits here, although there are some at the top.
    let set = written || section.is_written("limits");
    set.then(|| Arc::new(LimitSet { name: name.into(), limits }))
}

/// A count of 1 to 1,000,000,000 requests and its period of 1 ms to 366 days: `10/s`, `1_000/day`, `5/30s`.
fn parse_rate(text: &str) -> Option<(u32, Duration)> {
    let (count, period) = text.split_once('/')?;
    let count =
        count.trim().replace('_', "").parse::<u32>().ok().filter(|count| (1..=1_000_000_000).contains(count))?;
    let period = match period.trim() {
        "s" | "sec" | "second" => Duration::from_secs(1),
        "min" | "minute" => Duration::from_secs(60),
        "h" | "hour" => Duration::from_secs(3600),
        "d" | "day" => Duration::from_secs(86_400),
        other => parse_duration(other)?,
    };
    (period >= Duration::from_millis(1) && period <= Duration::from_secs(366 * 86_400)).then_some((count, period))
}
