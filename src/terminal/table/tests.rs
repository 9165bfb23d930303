//! Tables as a person sees them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const PLAIN: Style = Style { colour: false };

/// A page as the terminal receives it.
fn page<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("a page")
}

#[test]
fn services_are_shown_with_their_instances_breakers_and_what_is_wrong() {
    let words = json!({
        "services": [
            { "name": "orders", "instances": [
                { "address": "10.0.0.1:80", "health": "passing", "weight": 1, "in_flight": 2, "requests": 10, "failures": 0,
                  "breaker": { "state": "closed", "why": null, "next_probe_ms": null } },
                { "address": "10.0.0.9:80", "health": "warning", "weight": 1, "in_flight": 0, "requests": 1, "failures": 0,
                  "paused_ms": 2500, "breaker": { "state": "closed", "why": null, "next_probe_ms": null } },
                { "address": "10.0.0.2:80", "health": "critical", "weight": 1, "in_flight": 0, "requests": 7, "failures": 5,
                  "breaker": { "state": "open", "why": "reset", "next_probe_ms": 4200 } },
            ]},
            { "name": "users", "instances": [] },
        ],
        "discovery": [{ "provider": "consul", "source": "http://a:8500", "state": "watching", "last_answer_age_ms": 300 }],
        "not_exposed": [{ "name": "web", "reason": "has no tag `gateway`" }],
    });
    let wanted = "\
SERVICE  INSTANCE     HEALTH    BREAKER                      WEIGHT  IN FLIGHT  REQUESTS  FAILURES
orders   10.0.0.1:80  passing   closed                       1       2          10        0
         10.0.0.9:80  warning   closed, paused for 2.5s      1       0          1         0
         10.0.0.2:80  critical  open (reset), probe in 4.2s  1       0          7         5
users    no instances

consul http://a:8500: watching, last answer 300ms ago
not exposed: web: has no tag `gateway`
";
    let page: services::Page = page(words);
    assert_eq!(services(&page, PLAIN), wanted);
    let coloured = services(&page, Style { colour: true });
    assert!(coloured.contains("\x1b[31mcritical\x1b[0m"), "{coloured:?}");
    assert_eq!(anstyle_free(&coloured), wanted);
}

#[test]
fn suspects_are_shown_beside_the_others_and_each_reason_once() {
    let instance = |address: &str, reason: Option<&str>| {
        let suspect = reason.map(|reason| json!({ "reason": reason, "since": "", "until": "" }));
        json!({ "address": address, "health": "passing", "weight": 1, "breaker": { "state": "closed" }, "suspect": suspect })
    };
    let page: services::Page = page(json!({
        "services": [
            { "name": "orders", "instances": [instance("10.0.0.1:80", None), instance("10.0.0.2:80", Some("a crowd"))] },
            { "name": "users", "instances": [instance("10.0.0.3:80", Some("a crowd")), instance("10.0.0.4:80", Some("a \u{1b}"))] },
        ],
    }));
    let wanted = "\
SERVICE  INSTANCE     HEALTH            BREAKER  WEIGHT  IN FLIGHT  REQUESTS  FAILURES
orders   10.0.0.1:80  passing           closed   1       0          0         0
         10.0.0.2:80  passing, suspect  closed   1       0          0         0
users    10.0.0.3:80  passing, suspect  closed   1       0          0         0
         10.0.0.4:80  passing, suspect  closed   1       0          0         0

1 suspect: a \u{fffd}
2 suspect: a crowd
";
    assert_eq!(services(&page, PLAIN), wanted);
}

/// Without its colours.
fn anstyle_free(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once('\x1b') {
        out += before;
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    (out + rest).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn limits_are_shown_by_who_uses_them_or_as_they_are_when_nobody_does() {
    let limit = json!({ "name": "guest", "count": 100, "period_ms": 60_000 });
    let words = json!({ "limits": [limit], "usage": [
        { "limit": "guest", "count": 100, "period_ms": 60_000, "consumer": "visitor", "remaining": 0, "whole_in_ms": 59_500, "refused": 3 },
        { "limit": "orders", "count": 5, "period_ms": 30_000, "address": "192.0.2.7", "remaining": 4, "whole_in_ms": 6000, "refused": 0 },
    ]});
    let wanted = "\
CLIENT     LIMIT   RATE     REMAINING  WHOLE IN  REFUSED
visitor    guest   100/min  0          59.5s     3
192.0.2.7  orders  5/30.0s  4          6.0s      0
";
    assert_eq!(limits(&page(words), PLAIN), wanted);
    let unused = json!({ "limits": [limit], "usage": [] });
    assert_eq!(limits(&page(unused), PLAIN), "Nobody has used any limit lately. There are: guest 100/min\n");
    assert_eq!(limits(&page(json!({})), PLAIN), "There are no limits.\n");
}

#[test]
fn the_cache_says_how_much_it_spares() {
    let words = json!({ "entries": 2, "bytes": 2048, "size": 67_108_864, "hits": 6, "misses": 2, "stale": 1, "coalesced": 1,
        "bypassed": 4, "services": [{ "service": "orders", "entries": 2, "bytes": 2048 }] });
    let text = cache(&page(words), PLAIN);
    assert!(
        text.starts_with("2 answers, 2.0 KiB of 64.0 MiB; 70 % of 10 requests answered without an instance"),
        "{text}"
    );
    assert!(text.ends_with("SERVICE  ANSWERS  SIZE\norders   2        2.0 KiB\n"), "{text}");
    assert_eq!(cleared(&page(json!({ "cleared": 1 }))), "1 answer cleared\n");
    assert_eq!(cleared(&page(json!({ "cleared": 0 }))), "0 answers cleared\n");
}

#[test]
fn nothing_that_a_catalog_says_moves_the_cursor() {
    let words = json!({ "services": [{ "name": "a\u{1b}[2J\nb", "instances": [] }] });
    assert!(services(&page(words), PLAIN).contains("a\u{fffd}[2J\u{fffd}b"));
    let words = json!({ "usage": [{ "consumer": "a\u{1b}b", "limit": "x", "count": 1, "period_ms": 1000 }] });
    assert!(limits(&page(words), PLAIN).contains("a\u{fffd}b"));
    let words =
        json!({ "discovery": [{ "provider": "consul", "source": "a", "state": "failing", "error": "a\u{1b}b" }] });
    assert!(services(&page(words), PLAIN).contains("a\u{fffd}b"));
}
