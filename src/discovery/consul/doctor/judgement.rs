//! What a clock, a version or a token's answer says: pure.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::finding::{advised, ok, warn};
use crate::pages::doctor::Finding;

/// How far the agent's clock may be from ours.
const CLOCK: Duration = Duration::from_secs(2);

/// What the agent's clock says; its `Date` has no fractions of a second.
pub(super) fn clock(date: Option<SystemTime>, now: SystemTime, took: Duration) -> Finding {
    const WHAT: &str = "clock";
    let Some(date) = date else { return ok(WHAT, "the agent does not tell the time") };
    let theirs = date + Duration::from_millis(500) + took / 2;
    let apart = theirs.duration_since(now).unwrap_or_else(|behind| behind.duration());
    match apart > CLOCK {
        true => {
            let which = if theirs > now { "ahead of" } else { "behind" };
            let text = format!("the agent's is {} s {which} ours", apart.as_secs());
            advised(
                warn(WHAT, text),
                "keep both by NTP: times in logs do not agree, and a saved catalog may count as old",
            )
        }
        false => ok(WHAT, "the agent's and ours agree"),
    }
}

/// Whether the gateway was tried with a version.
pub(super) fn version(version: &str) -> Finding {
    const WHAT: &str = "version";
    let mut numbers = version.split(['.', '-', '+']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(8..))) | (Some(Ok(2)), _) => ok(WHAT, version),
        (Some(Ok(0 | 1)), _) => advised(
            warn(WHAT, format!("{version} is older than 1.8, with which the gateway was tried")),
            "update the agent",
        ),
        (Some(Ok(_)), _) => warn(WHAT, format!("{version} is newer than 2.x, with which the gateway was not tried")),
        _ => ok(WHAT, "the agent does not tell it"),
    }
}

/// The policies of a token and when it expires, from `/v1/acl/token/self`. Of all that stands there, nothing else is shown: the secret
/// is among it.
pub(super) fn policies(body: &[u8]) -> String {
    let token: Value = serde_json::from_slice(body).unwrap_or_default();
    let names = |key: &str| {
        let list = token[key].as_array().into_iter().flatten();
        list.filter_map(|one| one["Name"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut text = String::new();
    for (key, what) in [("Policies", "policies"), ("Roles", "roles")] {
        let names = names(key);
        if !names.is_empty() {
            text += &format!("; {what}: {}", names.join(", "));
        }
    }
    if let Some(time) = token["ExpirationTime"].as_str() {
        text += &format!("; until {time}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::doctor::Level;

    #[test]
    fn versions_from_1_8_to_2_are_known() {
        for known in ["1.8.7", "1.8.7+ent", "1.21.0-rc1", "2.0.0", "2.13"] {
            assert_eq!(version(known).level, Level::Ok, "{known}");
        }
        for (odd, part) in [("1.7.9", "older"), ("0.9.4", "older"), ("3.0.0", "newer")] {
            let finding = version(odd);
            assert!(finding.level == Level::Warn && finding.text.contains(part), "{finding:?}");
        }
        assert_eq!((version("").level, version("nightly").level), (Level::Ok, Level::Ok));
    }

    #[test]
    fn a_clock_that_is_more_than_two_seconds_apart_is_told_with_its_direction() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let told = |ms: i64| {
            let apart = Duration::from_millis(ms.unsigned_abs());
            let date = if ms < 0 { now - apart } else { now + apart };
            clock(Some(date), now, Duration::ZERO)
        };
        for near in [-2_400, -1_000, 0, 1_400] {
            assert_eq!(told(near).level, Level::Ok, "{near}");
        }
        for (far, part) in [(-3_000, "2 s behind ours"), (2_000, "2 s ahead of ours"), (-90_000, "89 s behind")] {
            let finding = told(far);
            assert!(finding.level == Level::Warn && finding.text.contains(part), "{finding:?}");
        }
        assert_eq!(clock(None, now, Duration::ZERO).level, Level::Ok);
    }

    #[test]
    fn of_a_token_only_the_names_of_its_policies_and_its_end_are_shown() {
        let token =
            br#"{"SecretID":"hush","AccessorID":"id","Policies":[{"ID":"1","Name":"a"},{"Name":"b"}],"Roles":null}"#;
        assert_eq!(policies(token), "; policies: a, b");
        for odd in [&b"7"[..], b"[]", b"{\"Policies\":7}", b"<html>"] {
            assert_eq!(policies(odd), "");
        }
    }
}
