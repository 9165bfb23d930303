//! What `lictor doctor` found out, as text.

use super::plain::{clean, clean_json};
use super::table::Style;
use crate::pages::doctor::{Finding, Level, Page};

/// How many lines each list has at most; the JSON has all.
const MOST: usize = 10;

/// The findings for a terminal: for people, or as JSON.
pub(super) fn text(page: &Page, json: bool, style: Style) -> String {
    if json {
        let text = serde_json::to_string_pretty(page).unwrap_or_default();
        return clean_json(&format!("{text}\n"));
    }
    let mut text = String::new();
    for subject in &page.subjects {
        text += &format!("{}\n", clean(&subject.name));
        subject.findings.iter().for_each(|finding| text += &line(finding, style));
    }
    let served =
        page.served.iter().map(|one| format!("{}: {} of {} instances", one.name, one.available, one.instances));
    text += &list("would be served", served, style);
    let not_served = page.not_served.iter().map(|one| format!("{}: {}", one.name, one.reason));
    text += &list("would not be served", not_served, style);
    let (fails, warns) = (page.count(Level::Fail), page.count(Level::Warn));
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let result = format!("{}, {}", count(fails, "failure"), count(warns, "warning"));
    text + &match (fails, warns) {
        (0, 0) => style.good("all is well"),
        (0, _) => style.odd(&result),
        _ => style.bad(&result),
    } + "\n"
}

fn line(finding: &Finding, style: Style) -> String {
    let level = match finding.level {
        Level::Ok => style.good("ok  "),
        Level::Warn => style.odd("warn"),
        Level::Fail => style.bad("fail"),
    };
    let mut line = format!("  {level}  {:<14} {}\n", clean(&finding.what), clean(&finding.text));
    if let Some(advice) = &finding.advice {
        line += &style.faint(&format!("{:23}{}", "", clean(advice)));
        line.push('\n');
    }
    line
}

/// A list under its title; nothing where it is empty.
fn list(title: &str, items: impl ExactSizeIterator<Item = String>, style: Style) -> String {
    let count = items.len();
    let mut text = if count == 0 { String::new() } else { format!("{title}\n") };
    items.take(MOST).for_each(|item| text += &format!("  {}\n", clean(&item)));
    if count > MOST {
        text += &style.faint(&format!("  and {} more; --json shows all", count - MOST));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::doctor::{NotServed, Served, Subject};

    fn page() -> Page {
        let finding = |level, what: &str, advice: Option<&str>| Finding {
            level,
            what: what.into(),
            text: "said \u{1b}[2J".into(),
            advice: advice.map(str::to_owned),
        };
        let findings = vec![finding(Level::Ok, "reachable", None), finding(Level::Fail, "token", Some("write one"))];
        let name = |number: usize| format!("s{number:02}");
        Page {
            subjects: vec![Subject { name: "agent http://a:1".into(), findings }],
            served: (0..12).map(|n| Served { name: name(n), instances: 2, available: 1 }).collect(),
            not_served: vec![NotServed { name: "consul".into(), reason: "has no tag `gateway`".into() }],
        }
    }

    #[test]
    fn each_finding_has_a_line_with_what_to_do_below_and_long_lists_are_cut() {
        let text = text(&page(), false, Style { colour: false });
        let expected = "agent http://a:1\n\
                        \u{20} ok    reachable      said \u{fffd}[2J\n\
                        \u{20} fail  token          said \u{fffd}[2J\n\
                        \u{20}                      write one\n\
                        would be served\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("  s09: 1 of 2 instances\n  and 2 more; --json shows all\nwould not be served\n"),
            "{text}"
        );
        assert!(text.ends_with("  consul: has no tag `gateway`\n1 failure, 0 warnings\n"), "{text}");
    }

    #[test]
    fn the_json_has_everything_and_steers_no_terminal() {
        let text = text(&page(), true, Style { colour: false });
        assert!(!text.contains('\u{1b}'));
        assert_eq!(serde_json::from_str::<Page>(&text).expect("the page"), page());
    }
}
