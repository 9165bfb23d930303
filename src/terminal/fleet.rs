//! The fleet as a table: every gateway, what is wrong, and who disagrees with whom.

use super::plain::clean;
use super::table::{Style, aligned, duration};
use crate::pages::fleet::{Disagreement, Gateway, Page};

/// Each gateway; then what is wrong, and what they say differently.
pub(super) fn fleet(page: &Page, style: Style) -> String {
    let names = ["GATEWAY", "ADDRESS", "HEALTH", "VERSION", "AGE", "CONFIGURATION", "SNAPSHOT", "TRIPPED"];
    let mut rows = vec![style.head(&names)];
    rows.extend(page.gateways.iter().map(|one| row(one, style)));
    let mut text = aligned(&rows);
    text.push('\n');
    match &page.registration {
        None => text += "This gateway is in no fleet: [fleet] in its configuration makes it one.\n",
        Some(own) => {
            let (service, agent) = (clean(&own.service), clean(&own.agent));
            let live = if page.living == 1 { "1 gateway lives" } else { &format!("{} gateways live", page.living) };
            text += &match own.registered {
                true => format!("{live}; registered as {service} at {agent}\n"),
                false => style.bad(&format!("{live}; this one is not registered as {service}")) + "\n",
            };
            text += &own.error.iter().map(|why| style.bad(&clean(why)) + "\n").collect::<String>();
        }
    }
    text +=
        &page.error.iter().map(|why| style.bad(&format!("of the others: {}", clean(why))) + "\n").collect::<String>();
    for one in &page.gateways {
        let why = one.error.iter().map(|why| style.bad(&format!("{}: {}", clean(&one.id), clean(why))) + "\n");
        text += &why.collect::<String>();
    }
    text += &page.disagreements.iter().map(|found| differs(found, style)).collect::<String>();
    text
}

fn row(one: &Gateway, style: Style) -> String {
    let name = if one.id.is_empty() { "this one".to_owned() } else { clean(&one.id) };
    let own = if one.own && !one.id.is_empty() { " *" } else { "" };
    let health = match &*one.health {
        "passing" => style.good("passing"),
        "critical" | "maintenance" => style.bad(&clean(&one.health)),
        other => style.odd(&clean(other)),
    };
    let mut cells = vec![format!("{name}{own}"), clean(&one.address), health];
    match &one.state {
        None => cells.push(style.bad("unknown")),
        Some(state) => cells.extend([
            clean(&state.version),
            duration(state.age_ms),
            clean(state.configuration.as_deref().unwrap_or("-")),
            clean(&state.snapshot),
            state.tripped.len().to_string(),
        ]),
    }
    cells.join("\t")
}

/// What gateways say differently, in one line.
fn differs(found: &Disagreement, style: Style) -> String {
    let sides: Vec<_> =
        found.sides.iter().map(|side| format!("{} ({})", side.says, side.gateways.join(", "))).collect();
    let what = if found.what.is_empty() { found.about.clone() } else { format!("{} {}", found.about, found.what) };
    format!("{}\n", style.odd(&clean(&format!("they disagree about {what}: {}", sides.join("; ")))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fleet_is_shown_with_who_is_away_and_who_disagrees() {
        let state = |configuration: &str| json!({ "version": "0.1.0", "age_ms": 90_000, "configuration": configuration, "snapshot": "5e1f", "tripped": ["a 1:1"] });
        let words = json!({
            "registration": { "service": "lictor", "id": "lictor-a", "registered": true, "agent": "http://127.0.0.1:8500" },
            "living": 2,
            "gateways": [
                { "id": "lictor-a", "address": "10.0.0.1:5000", "health": "passing", "own": true, "state": state("c1") },
                { "id": "lictor-\u{1b}b", "address": "10.0.0.2:5000", "health": "passing", "state": state("c2") },
                { "id": "lictor-c", "address": "10.0.0.3:5000", "health": "critical", "error": "its checks fail: it was not asked" },
            ],
            "disagreements": [{ "about": "configuration", "sides": [
                { "says": "c1", "gateways": ["lictor-a"] }, { "says": "c2", "gateways": ["lictor-b"] },
            ] }],
        });
        let page: Page = serde_json::from_value(words).expect("a page");
        let wanted = "\
GATEWAY     ADDRESS        HEALTH    VERSION  AGE     CONFIGURATION  SNAPSHOT  TRIPPED
lictor-a *  10.0.0.1:5000  passing   0.1.0    1m 30s  c1             5e1f      1
lictor-\u{fffd}b   10.0.0.2:5000  passing   0.1.0    1m 30s  c2             5e1f      1
lictor-c    10.0.0.3:5000  critical  unknown

2 gateways live; registered as lictor at http://127.0.0.1:8500
lictor-c: its checks fail: it was not asked
they disagree about configuration: c1 (lictor-a); c2 (lictor-b)
";
        assert_eq!(fleet(&page, Style { colour: false }), wanted);
        let alone =
            json!({ "registration": { "service": "lictor", "error": "refused" }, "living": 1, "error": "away" });
        let page: Page = serde_json::from_value(alone).expect("a page");
        let lines = "1 gateway lives; this one is not registered as lictor\nrefused\nof the others: away\n";
        assert!(fleet(&page, Style { colour: false }).ends_with(lines));
    }
}
