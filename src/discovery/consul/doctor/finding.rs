//! Findings, by level.

use crate::pages::doctor::{Finding, Level};

/// Something is as it should be.
pub(super) fn ok(what: &str, text: impl Into<String>) -> Finding {
    finding(Level::Ok, what, text.into())
}

/// Something works, and may not for long or not as it is meant.
pub(super) fn warn(what: &str, text: impl Into<String>) -> Finding {
    finding(Level::Warn, what, text.into())
}

/// Something does not work.
pub(super) fn fail(what: &str, text: impl Into<String>) -> Finding {
    finding(Level::Fail, what, text.into())
}

/// A finding with what to do.
pub(super) fn advised(finding: Finding, advice: impl Into<String>) -> Finding {
    Finding { advice: Some(advice.into()), ..finding }
}

/// A number of things: `1 service`, `2 services`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn finding(level: Level, what: &str, text: String) -> Finding {
    Finding { level, what: what.into(), text, advice: None }
}
