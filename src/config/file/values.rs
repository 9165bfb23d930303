//! Values by type: what each must look like, in messages that say what to write instead; and how near a misspelt key is
//! to a known one.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

/// How a size is written.
const SIZES: &str = "write e.g. \"64MiB\", \"8KiB\" or a number of bytes";

/// A text.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("is a text in quotes, not {}", type_name(other))),
    }
}

/// A text that `parse` understands; `example` shows one.
pub(super) fn parsed<T>(value: &DeValue<'_>, example: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    match value {
        DeValue::String(text) => {
            parse(text).ok_or_else(|| format!("`{text}` is not understood: write e.g. \"{example}\""))
        }
        other => Err(format!("is a text, not {}: write e.g. \"{example}\"", type_name(other))),
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("is true or false, not {}", type_name(value)))
}

/// A whole number within bounds.
pub(super) fn number(value: &DeValue<'_>, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let wanted = format!("is a whole number from {} to {}", bounds.start(), bounds.end());
    match value {
        DeValue::Integer(number) => integer(number)
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| format!("{wanted}, not {}", number.as_str())),
        other => Err(format!("{wanted}, not {}", type_name(other))),
    }
}

/// Bytes within bounds, as a number or as a text with a unit.
pub(super) fn size(value: &DeValue<'_>, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) => match integer(number) {
            Some(bytes) => within(bytes, bounds),
            None => Err(format!("`{}` is not a size: {SIZES}", number.as_str())),
        },
        DeValue::String(text) => bytes(text, bounds),
        other => Err(format!("is a size, not {}: {SIZES}", type_name(other))),
    }
}

/// A whole number that is not negative and fits 64 bits.
fn integer(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A size as a text, with or without its unit.
fn bytes(text: &str, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[end..].trim() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let number = text[..end].parse::<u64>().ok();
    match number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit)) {
        None => Err(format!("`{text}` is not a size: {SIZES}")),
        Some(bytes) => within(bytes, bounds),
    }
}

fn within(bytes: u64, bounds: &RangeInclusive<u64>) -> Result<u64, String> {
    match bounds.contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("is out of bounds: {} to {} bytes", bounds.start(), bounds.end())),
    }
}

/// A duration with its unit: at least `least`, at most a day.
pub(super) fn duration(value: &DeValue<'_>, least: Duration) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let Some(text) = value.as_str() else {
        return Err(format!(
            "is a duration with its unit, in quotes, not {}: write e.g. \"250ms\" or \"5s\"",
            type_name(value)
        ));
    };
    match parse_duration(text) {
        None => Err(format!("`{text}` is not a duration: write e.g. \"250ms\", \"5s\" or \"1m 30s\"")),
        Some(read) if read < least => Err(format!("\"{text}\" is too short: at least {}", format_duration(least))),
        Some(read) if read > DAY => Err(format!("\"{text}\" is too long: at most 24h")),
        Some(read) => Ok(read),
    }
}

/// A duration without bounds, when a text is one.
pub(in crate::config) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// A duration as the file writes it.
pub(in crate::config) fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Bytes as the file writes them, in the largest unit that divides them.
pub(in crate::config) fn format_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// The type of a value, as messages name it.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// How many letters must be changed, added or removed to make one word of the other (Levenshtein's distance).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // The distances of what was read of `a` so far to each beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
