//! Values of a section by type: each reader says what it wants when it is given something else.

use std::fmt::Display;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::known::Kind;
use super::values::{self, bytes, duration, kind};
use super::{Section, Written};
use crate::config::{Environment, Secret};

/// A key that is `true`, `false` or a section of its own.
pub(in crate::config) enum Switch<'a> {
    /// Not written.
    Absent,
    /// On or off, nothing else said.
    Flag(bool),
    /// Said in detail.
    Section(Section<'a>),
}

impl<'a> Section<'a> {
    /// A key read by `parse`, which says what it wants when it cannot.
    pub(in crate::config) fn read<T>(
        &self,
        key: &'static str,
        kind: Kind,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Written<T>> {
        let value = self.get(key, kind)?;
        let line = self.document.line(value);
        match parse(value.get_ref()) {
            Ok(value) => Some(Written { value, line }),
            Err(message) => {
                self.wrong(key, line, message);
                None
            }
        }
    }

    /// A text.
    pub(in crate::config) fn text(&self, key: &'static str) -> Option<Written<String>> {
        self.read(key, Kind::Text { example: "" }, |value| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(format!("is a text in quotes, not {}", kind(other))),
        })
    }

    /// A text that `parse` understands; `example` shows one.
    pub(in crate::config) fn parsed<T>(
        &self,
        key: &'static str,
        example: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Written<T>> {
        self.read(key, Kind::Text { example }, |value| match value {
            DeValue::String(text) => {
                parse(text).ok_or_else(|| format!("`{text}` is not understood: write e.g. \"{example}\""))
            }
            other => Err(format!("is a text, not {}: write e.g. \"{example}\"", kind(other))),
        })
    }

    /// `true` or `false`.
    pub(in crate::config) fn flag(&self, key: &'static str, default: bool) -> bool {
        let read = self.read(key, Kind::Flag { default }, |value| {
            value.as_bool().ok_or_else(|| format!("is true or false, not {}", kind(value)))
        });
        read.map_or(default, |written| written.value)
    }

    /// A whole number within bounds.
    pub(in crate::config) fn number(
        &self,
        key: &'static str,
        default: u64,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let (low, high) = (*bounds.start(), *bounds.end());
        let wanted = format!("is a whole number from {low} to {high}");
        let read = self.read(key, Kind::Number { default, low, high }, |value| match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| format!("{wanted}, not {}", number.as_str())),
            other => Err(format!("{wanted}, not {}", kind(other))),
        });
        read.map_or(default, |written| written.value)
    }

    /// A duration of at least a millisecond and at most a day.
    pub(in crate::config) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.span(key, Some(default), Duration::from_millis(1)).map_or(default, |written| written.value)
    }

    /// A duration that may be zero.
    pub(in crate::config) fn pause(&self, key: &'static str, default: Duration) -> Duration {
        self.span(key, Some(default), Duration::ZERO).map_or(default, |written| written.value)
    }

    /// A duration, or `"none"`.
    pub(in crate::config) fn duration_or_none(&self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        let read = self.read(key, Kind::Duration { default, or_none: true }, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => duration(value, Duration::from_millis(1)).map(Some),
        });
        read.map_or(default, |written| written.value)
    }

    fn span(&self, key: &'static str, default: Option<Duration>, least: Duration) -> Option<Written<Duration>> {
        self.read(key, Kind::Duration { default, or_none: false }, |value| duration(value, least))
    }

    /// Bytes.
    pub(in crate::config) fn size(
        &self,
        key: &'static str,
        default: usize,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> usize {
        let read =
            self.read(key, Kind::Size { default: Some(default as u64), or_none: false }, |value| size(value, &bounds));
        read.map_or(default, |written| usize::try_from(written.value).unwrap_or(usize::MAX))
    }

    /// Bytes, or `"none"`.
    pub(in crate::config) fn size_or_none(&self, key: &'static str, default: Option<u64>) -> Option<u64> {
        let read = self.read(key, Kind::Size { default, or_none: true }, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => size(value, &(1..=u64::MAX)).map(Some),
        });
        read.map_or(default, |written| written.value)
    }

    /// One of several words; the first is the default.
    pub(in crate::config) fn word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> T {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let kind = Kind::Word { words: words.iter().map(|(word, _)| *word).collect() };
        let read = self.read(key, kind, |value| {
            let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
            found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("is one of {}", all.join(", ")))
        });
        read.map_or(words[0].1, |written| written.value)
    }

    /// A secret: a text, `{ file = "path" }` or `{ env = "NAME" }`. The default `CONSUL_HTTP_TOKEN` may be missing.
    pub(in crate::config) fn secret(&self, key: &'static str, env: &Environment) -> Option<Secret> {
        let value = self.get(key, Kind::Secret)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(Secret::Text(text.to_string()));
        }
        let table = self.item(key, 0, value)?;
        let (file, name) = (table.text("file"), table.text("env"));
        let secret = match (file, name) {
            (Some(file), None) => Some(Secret::File(file.value.into())),
            (None, Some(name)) => {
                let found = env.get(&name.value).map(|text| Secret::Text(text.to_owned()));
                if found.is_none() && name.value != "CONSUL_HTTP_TOKEN" {
                    self.wrong(key, name.line, format!("the environment has no {}: set it", name.value));
                }
                found
            }
            _ => {
                self.wrong(key, table.line, "is a text, { file = \"path\" } or { env = \"NAME\" }");
                None
            }
        };
        table.end();
        secret
    }

    /// Texts: one, or a list of them.
    pub(in crate::config) fn texts(&self, key: &'static str) -> Vec<Written<String>> {
        let Some(value) = self.get(key, Kind::Texts) else { return Vec::new() };
        let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Some(Written { value: text.to_string(), line: self.document.line(item) }),
            other => {
                self.wrong(key, self.document.line(item), format!("is a text in quotes, not {}", kind(other)));
                None
            }
        };
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(text).collect(),
            _ => text(value).into_iter().collect(),
        }
    }

    /// Names of the operator's choice, each with a text, or with `true` where that means "any".
    pub(in crate::config) fn pairs(&self, key: &'static str, any: bool) -> Vec<(Written<String>, Option<String>)> {
        let Some(value) = self.get(key, Kind::Pairs { any }) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            let example = if any { "{ name = \"value\", other = true }" } else { "{ name = \"value\" }" };
            self.wrong(key, self.document.line(value), format!("is a table: write {example}"));
            return Vec::new();
        };
        let pair = |(name, value): (&Spanned<toml::de::DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let line = self.document.line(value);
            let name = Written { value: name.get_ref().to_string(), line };
            match value.get_ref() {
                DeValue::String(text) => Some((name, Some(text.to_string()))),
                DeValue::Boolean(true) if any => Some((name, None)),
                other => {
                    let wanted = if any { "is a text, or true for any value" } else { "is a text in quotes" };
                    self.wrong(key, line, format!("`{}` {wanted}, not {}", name.value, kind(other)));
                    None
                }
            }
        };
        table.iter().filter_map(pair).collect()
    }

    /// `true`, `false`, or a section.
    pub(in crate::config) fn switch(&self, key: &'static str) -> Switch<'a> {
        let Some(value) = self.get(key, Kind::Switch) else {
            return self.document.known.as_ref().map_or(Switch::Absent, |_| Switch::Section(self.below(key, 0, None)));
        };
        let line = self.document.line(value);
        match value.get_ref() {
            DeValue::Boolean(flag) => Switch::Flag(*flag),
            DeValue::Table(table) => Switch::Section(self.below(key, line, Some(table))),
            other => {
                self.wrong(key, line, format!("is true, false or a section, not {}", kind(other)));
                Switch::Absent
            }
        }
    }

    /// Whether a key is written as a text.
    pub(in crate::config) fn is_text(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_str())
    }

    /// A mistake at the place where a key stands, or would stand.
    pub(in crate::config) fn wrong_at(&self, key: &str, message: impl Display) {
        let line = self.table.and_then(|table| table.get(key)).map_or(0, |value| self.document.line(value));
        self.wrong(key, line, message.to_string());
    }
}

fn size(value: &DeValue<'_>, bounds: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) => match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => values::within(number, bounds),
            Err(_) => Err(format!("`{}` is not a size: {}", number.as_str(), values::SIZES)),
        },
        DeValue::String(text) => bytes(text, bounds),
        other => Err(format!("is a size, not {}: {}", kind(other), values::SIZES)),
    }
}
