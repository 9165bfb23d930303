//! Issuers as tables: their keys, how they fare, and what became of their tokens.

use std::collections::BTreeMap;

use super::plain::clean;
use super::table::{Style, aligned, duration};
use crate::pages::issuers::{Introspection, Issuer, KeySet, Page};

/// Each issuer with its keys; then what became of its tokens, and what is wrong.
pub(super) fn issuers(page: &Page, style: Style) -> String {
    if page.issuers.is_empty() {
        return "There are no issuers.\n".to_owned();
    }
    let mut rows = vec![style.head(&["ISSUER", "KEY", "KIND", "ALGORITHMS", "USE", "AGE", "REFRESH IN"])];
    page.issuers.iter().for_each(|issuer| keys(issuer, style, &mut rows));
    let mut text = aligned(&rows);
    text.push('\n');
    for issuer in &page.issuers {
        let name = clean(&issuer.name);
        text += &format!("{name}: {} tokens accepted{}\n", issuer.accepted, refused(&issuer.refused, style));
        if let Some(asked) = &issuer.introspection {
            text += &format!("{name}: {}\n", introspection(asked, style));
        }
        for set in &issuer.key_sets {
            text += &troubles(&name, set, issuer.key_sets.len() > 1, style);
        }
    }
    if !page.refused.is_empty() {
        text += &format!("of no issuer{}\n", refused(&page.refused, style));
    }
    if page.revocations > 0 {
        text += &format!("revocations: {}\n", page.revocations);
    }
    text
}

fn keys(issuer: &Issuer, style: Style, rows: &mut Vec<String>) {
    // Only the first row of an issuer names it.
    let mut name = clean(&issuer.name);
    for set in &issuer.key_sets {
        if set.keys.is_empty() {
            rows.push(format!("{}\t{}", std::mem::take(&mut name), style.bad("no keys")));
        }
        for (number, key) in set.keys.iter().enumerate() {
            // The set was fetched as a whole.
            let first = |text: String| if number == 0 { text } else { String::new() };
            let row = [
                std::mem::take(&mut name),
                clean(key.kid.as_deref().unwrap_or("-")),
                clean(&key.kty),
                clean(&key.alg.join(" ")),
                clean(key.usage.as_deref().unwrap_or("-")),
                first(set.age_ms.map(duration).unwrap_or_default()),
                first(set.next_refresh_ms.map_or("now".to_owned(), duration)),
            ];
            rows.push(row.join("\t"));
        }
    }
}

/// What is wrong with a set of keys, a line each.
fn troubles(name: &str, set: &KeySet, several: bool, style: Style) -> String {
    let place = if several { format!("{name} {}", clean(&set.issuer)) } else { name.to_owned() };
    let mut text = String::new();
    if let Some(error) = &set.error {
        text += &format!("{}\n", style.bad(&format!("{place}: {}", clean(error))));
    }
    for key in &set.left_out {
        let kid = clean(key.kid.as_deref().unwrap_or("without kid"));
        text += &format!("{}\n", style.odd(&format!("{place}: left out: key {kid} {}", clean(&key.why))));
    }
    text
}

fn refused(reasons: &BTreeMap<String, u64>, style: Style) -> String {
    let all: u64 = reasons.values().sum();
    if all == 0 {
        return String::new();
    }
    let each: Vec<_> = reasons.iter().map(|(reason, count)| format!("{} {count}", clean(reason))).collect();
    style.odd(&format!(", {all} refused ({})", each.join(", ")))
}

fn introspection(asked: &Introspection, style: Style) -> String {
    let counts = format!(
        "introspection: {} active, {} refused, {} failed, {} remembered, {} coalesced, {} unavailable",
        asked.active, asked.refused, asked.failed, asked.remembered, asked.coalesced, asked.unavailable
    );
    let declined = match (asked.declined, &asked.declined_why) {
        (0, _) => String::new(),
        (count, why) => {
            let why = clean(why.as_deref().unwrap_or("-"));
            style.odd(&format!("; {count} questions refused, the last one: {why}"))
        }
    };
    let state = if asked.breaker == "closed" { String::new() } else { format!("; breaker {}", clean(&asked.breaker)) };
    match &asked.error {
        Some(error) => style.bad(&format!("{counts}{state}; {}", clean(error))) + &declined,
        None => format!("{counts}{state}{declined}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn issuers_are_shown_with_their_keys_what_became_of_tokens_and_what_is_wrong() {
        let key = |kid: &str, use_: Option<&str>| json!({ "kid": kid, "kty": "RSA 2048", "alg": ["RS256", "PS256"], "use": use_ });
        let words = json!({
            "issuers": [
                { "name": "corp", "accepted": 1200, "refused": { "expired": 2, "wrong_audience": 1 }, "key_sets": [
                    { "issuer": "https://corp.example", "source": "discovery", "keys": [key("k1", Some("sig")), key("k\u{1b}2", None)],
                      "left_out": [{ "kid": "k3", "why": "is too small" }], "age_ms": 90_000, "next_refresh_ms": 500_000 },
                ], "introspection": { "breaker": "open", "active": 3, "error": "corp.example: no answer within 1.9s" } },
                { "name": "shut", "introspection": { "breaker": "closed", "refused": 9, "declined": 7, "declined_why": "it answers 403 Forbidden" } },
                { "name": "away", "key_sets": [{ "issuer": "https://a.example", "error": "a.example: it answers 500" }] },
            ],
            "refused": { "not_a_jwt": 7 },
            "revocations": 2,
        });
        let page: Page = serde_json::from_value(words).expect("a page");
        let wanted = "\
ISSUER  KEY  KIND      ALGORITHMS   USE  AGE     REFRESH IN
corp    k1   RSA 2048  RS256 PS256  sig  1m 30s  8m 20s
        k\u{fffd}2  RSA 2048  RS256 PS256  -
away    no keys

corp: 1200 tokens accepted, 3 refused (expired 2, wrong_audience 1)
corp: introspection: 3 active, 0 refused, 0 failed, 0 remembered, 0 coalesced, 0 unavailable; breaker open; corp.example: no answer within 1.9s
corp: left out: key k3 is too small
shut: 0 tokens accepted
shut: introspection: 0 active, 9 refused, 0 failed, 0 remembered, 0 coalesced, 0 unavailable; 7 questions refused, the last one: it answers 403 Forbidden
away: 0 tokens accepted
away: a.example: it answers 500
of no issuer, 7 refused (not_a_jwt 7)
revocations: 2
";
        assert_eq!(issuers(&page, Style { colour: false }), wanted);
        assert_eq!(issuers(&Page::default(), Style { colour: false }), "There are no issuers.\n");
    }
}
