//! Values in words: durations, sizes, and how near a misspelt key is to a known one.

use std::time::Duration;

use toml::de::DeValue;

/// How a size is written.
pub(super) const SIZES: &str = "write e.g. \"64MiB\", \"8KiB\" or a number of bytes";

/// A size with or without its unit, within bounds.
pub(super) fn bytes(text: &str, bounds: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
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

/// Bytes within bounds.
pub(super) fn within(bytes: u64, bounds: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    match bounds.contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("is out of bounds: {} to {} bytes", bounds.start(), bounds.end())),
    }
}

/// How many letters must change (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
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

/// What a value is, in a sentence.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
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

/// A duration with its unit.
pub(super) fn duration(value: &DeValue<'_>, least: Duration) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let Some(text) = value.as_str() else {
        return Err(format!(
            "is a duration with its unit, in quotes, not {}: write e.g. \"250ms\" or \"5s\"",
            kind(value)
        ));
    };
    match humantime::parse_duration(text) {
        Err(_) => Err(format!("`{text}` is not a duration: write e.g. \"250ms\", \"5s\" or \"1m 30s\"")),
        Ok(read) if read < least => {
            Err(format!("\"{text}\" is too short: at least {}", humantime::format_duration(least)))
        }
        Ok(read) if read > DAY => Err(format!("\"{text}\" is too long: at most 24h")),
        Ok(read) => Ok(read),
    }
}

/// A duration as it is written.
pub(in crate::config) fn shown(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Bytes as they are written, in the largest unit that fits.
pub(in crate::config) fn shown_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// A duration without further bounds, when a text is one.
pub(in crate::config) fn span(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}
