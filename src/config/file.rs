//! A configuration as written: a reader that asks for each key by name and type, collects every mistake with its line,
//! and then knows which keys nobody asked for.

mod values;

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use values::{bytes, distance};

/// One mistake: where, what is wrong, what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line in the file; 0 when it is in no line (environment, something missing).
    pub line: usize,
    /// The key, from the top: `breaker.open`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// A text being read.
pub(super) struct Document<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// A table of it. Without one, every key has its default.
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    line: usize,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value as written, and where.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Document<'a> {
        Document { text, mistakes: RefCell::default() }
    }

    /// Parses; syntax errors are mistakes, what could be understood is still read.
    pub(super) fn parse(text: &'a str) -> (Spanned<DeTable<'a>>, Vec<Mistake>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line = |error: &toml::de::Error| error.span().map_or(0, |span| line_of(text, span.start));
        let mistake = |error: &toml::de::Error| Mistake {
            line: line(error),
            key: String::new(),
            message: format!("not valid TOML: {}", error.message()),
        };
        (table, errors.iter().map(mistake).collect())
    }

    pub(super) fn root(&'a self, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section { document: self, path: String::new(), line: 0, table, asked: RefCell::default() }
    }

    pub(super) fn mistake(&self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { line, key: key.into(), message: message.into() });
    }

    pub(super) fn mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_of(self.text, value.span().start)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

impl<'a> Section<'a> {
    /// Whether it is written at all.
    pub(super) fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Where it begins.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// A mistake of this section's key.
    pub(super) fn wrong(&self, key: &str, line: usize, message: impl Into<String>) {
        let line = if line == 0 { self.line } else { line };
        self.document.mistake(line, self.key(key), message);
    }

    fn key(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        self.table?.get(key)
    }

    /// A key of a later version: known, but not to be used yet.
    pub(super) fn later(&self, key: &'static str) {
        if let Some(value) = self.get(key) {
            let line = self.document.line(value);
            self.wrong(key, line, "is not supported by this version yet: remove it");
        }
    }

    /// A table below.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let (line, table) = match self.get(key) {
            None => (0, None),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (self.document.line(value), Some(table)),
                _ => {
                    self.wrong(key, self.document.line(value), format!("is a section: write [{}]", self.key(key)));
                    (0, None)
                }
            },
        };
        Section { document: self.document, path: self.key(key), line, table, asked: RefCell::default() }
    }

    /// Tables below, written `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(
                key,
                self.document.line(value),
                format!("may stand more than once: write [[{}]]", self.key(key)),
            );
            return Vec::new();
        };
        items.iter().enumerate().filter_map(|(index, item)| self.item(key, index, item)).collect()
    }

    fn item(&self, key: &str, index: usize, item: &'a Spanned<DeValue<'a>>) -> Option<Section<'a>> {
        let line = self.document.line(item);
        let path = format!("{}[{index}]", self.key(key));
        match item.get_ref() {
            DeValue::Table(table) => {
                Some(Section { document: self.document, path, line, table: Some(table), asked: RefCell::default() })
            }
            _ => {
                self.document.mistake(line, path, "is a table: write { … }");
                None
            }
        }
    }

    /// Items of an array that are texts or tables.
    pub(super) fn mixed(&self, key: &'static str) -> Vec<Result<Written<String>, Section<'a>>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, self.document.line(value), "is a list: write [ … ]");
            return Vec::new();
        };
        let read = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| match item.get_ref() {
            DeValue::String(text) => Some(Ok(Written { value: text.to_string(), line: self.document.line(item) })),
            _ => self.item(key, index, item).map(Err),
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    /// A key read by `parse`, which says what it wants when it cannot.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Written<T>> {
        let value = self.get(key)?;
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
    pub(super) fn text(&self, key: &'static str) -> Option<Written<String>> {
        self.read(key, |value| match value {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(format!("is a text in quotes, not {}", kind(other))),
        })
    }

    /// A text that `parse` understands; `example` shows one.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Written<T>> {
        self.read(key, |value| match value {
            DeValue::String(text) => {
                parse(text).ok_or_else(|| format!("`{text}` is not understood: write e.g. \"{example}\""))
            }
            other => Err(format!("is a text, not {}: write e.g. \"{example}\"", kind(other))),
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let read =
            self.read(key, |value| value.as_bool().ok_or_else(|| format!("is true or false, not {}", kind(value))));
        read.map_or(default, |written| written.value)
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
        let (low, high) = (*bounds.start(), *bounds.end());
        let wanted = format!("is a whole number from {low} to {high}");
        let read = self.read(key, |value| match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| bounds.contains(number))
                .ok_or_else(|| format!("{wanted}, not {}", number.as_str())),
            other => Err(format!("{wanted}, not {}", kind(other))),
        });
        read.map_or(default, |written| written.value)
    }

    /// A duration of at least a millisecond and at most a day.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.span(key, Duration::from_millis(1)).map_or(default, |written| written.value)
    }

    /// A duration that may be zero.
    pub(super) fn pause(&self, key: &'static str, default: Duration) -> Duration {
        self.span(key, Duration::ZERO).map_or(default, |written| written.value)
    }

    /// A duration, or `"none"`.
    pub(super) fn duration_or_none(&self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => duration(value, Duration::from_millis(1)).map(Some),
        });
        read.map_or(default, |written| written.value)
    }

    fn span(&self, key: &'static str, least: Duration) -> Option<Written<Duration>> {
        self.read(key, |value| duration(value, least))
    }

    /// Bytes.
    pub(super) fn size(&self, key: &'static str, default: usize, bounds: std::ops::RangeInclusive<u64>) -> usize {
        let read = self.read(key, |value| size(value, &bounds));
        read.map_or(default, |written| usize::try_from(written.value).unwrap_or(usize::MAX))
    }

    /// Bytes, or `"none"`.
    pub(super) fn size_or_none(&self, key: &'static str) -> Option<u64> {
        let read = self.read(key, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => size(value, &(1..=u64::MAX)).map(Some),
        });
        read.and_then(|written| written.value)
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let read = self.read(key, |value| {
            let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
            found.map(|(_, meaning)| *meaning).ok_or_else(|| format!("is one of {}", all.join(", ")))
        });
        read.map_or(default, |written| written.value)
    }

    /// A secret: a text, `{ file = "path" }` or `{ env = "NAME" }`. The default `CONSUL_HTTP_TOKEN` may be missing.
    pub(super) fn secret(&self, key: &'static str, env: &super::Environment) -> Option<super::Secret> {
        let value = self.get(key)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(super::Secret::Text(text.to_string()));
        }
        let table = self.item(key, 0, value)?;
        let (file, name) = (table.text("file"), table.text("env"));
        let secret = match (file, name) {
            (Some(file), None) => Some(super::Secret::File(file.value.into())),
            (None, Some(name)) => {
                let found = env.get(&name.value).map(|text| super::Secret::Text(text.to_owned()));
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

    /// The end: every key that nobody asked for is a mistake.
    pub(super) fn end(self) {
        self.finish();
    }

    /// As `end`, for a section that somebody else holds.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, value) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if asked.contains(&name) {
                continue;
            }
            let line = line_of(self.document.text, key.span().start);
            let near = asked.iter().map(|known| (distance(name, known), known)).min();
            let message = match near {
                Some((d, known)) if d <= 2.max(name.len() / 3) => format!("is not a key here; did you mean `{known}`?"),
                _ if value.get_ref().is_table() => format!("is not a section; there are: {}", asked.join(", ")),
                _ => format!("is not a key here; there are: {}", asked.join(", ")),
            };
            self.wrong(name, line, message);
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
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

fn duration(value: &DeValue<'_>, least: Duration) -> Result<Duration, String> {
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

fn size(value: &DeValue<'_>, bounds: &std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    match value {
        DeValue::Integer(number) => bytes(number.as_str(), bounds),
        DeValue::String(text) => bytes(text, bounds),
        other => Err(format!("is a size, not {}: {}", kind(other), values::SIZES)),
    }
}
