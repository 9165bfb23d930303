//! A table of the file: its keys read by name and type. What is not as it must be is a mistake, and counts as not written.

mod claims;
mod json;

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::document::Document;
use super::known::{Kind, Known};
use super::values::{self, distance, type_name};
use crate::config::Secret;
use crate::config::env::{Environment, trimmed};
pub(in crate::config) use claims::{ReadClaims, TextOrSection, TextOrSections};
pub(in crate::config) use json::ReadJson;

/// A table of the file. Where the file has none, every key has its default.
pub(in crate::config) struct Section<'a> {
    document: &'a Document,
    path: String,
    line: usize,
    table: Option<&'a DeTable<'a>>,
    /// The keys that the reader has asked for so far: any other key of the table is a mistake.
    expected: RefCell<Vec<&'static str>>,
}

/// A value as written, and its line.
#[derive(Clone, Debug)]
pub(in crate::config) struct Written<T> {
    pub(in crate::config) value: T,
    pub(in crate::config) line: usize,
}

/// A key that is `true`, `false` or a section of its own.
pub(in crate::config) enum Switch<'a> {
    /// Not written.
    Absent,
    /// On or off, with no further settings.
    Flag(bool),
    /// With settings of its own.
    Section(Section<'a>),
}

impl<'a> Section<'a> {
    /// The top of a document.
    pub(in crate::config) fn root(document: &'a Document, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section { document, path: String::new(), line: 0, table, expected: RefCell::default() }
    }

    fn below(&self, path: String, line: usize, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section { document: self.document, path, line, table, expected: RefCell::default() }
    }

    /// Whether it is written at all.
    pub(in crate::config) fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Whether one of its keys is written.
    pub(in crate::config) fn is_written(&self, key: &str) -> bool {
        self.written(key).is_some()
    }

    /// Whether a key is written as a text.
    pub(in crate::config) fn is_text(&self, key: &str) -> bool {
        self.written(key).is_some_and(|value| value.get_ref().is_str())
    }

    /// Whether a key is written as this text.
    pub(in crate::config) fn says(&self, key: &str, text: &str) -> bool {
        self.written(key).is_some_and(|value| value.get_ref().as_str() == Some(text))
    }

    /// Whether a key is not written, or written as an empty list.
    pub(in crate::config) fn lacks(&self, key: &str) -> bool {
        self.written(key).is_none_or(|value| value.get_ref().as_array().is_some_and(|items| items.is_empty()))
    }

    /// The line in which it begins.
    pub(in crate::config) fn line(&self) -> usize {
        self.line
    }

    /// A mistake of one of its keys; line 0 stands for that of the section.
    pub(in crate::config) fn mistake(&self, key: &str, line: usize, message: impl Into<String>) {
        let line = if line == 0 { self.line } else { line };
        self.document.mistake(line, self.path_of(key), message);
    }

    /// A mistake in the line in which a key stands, or else in that of the section.
    pub(in crate::config) fn mistake_at(&self, key: &str, message: impl Display) {
        let line = self.written(key).map_or(0, |value| self.document.line(value));
        self.mistake(key, line, message.to_string());
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn written(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// The value of a key, which from now on is one that may be written.
    fn get(&self, key: &'static str, kind: Kind) -> Option<&'a Spanned<DeValue<'a>>> {
        self.expected.borrow_mut().push(key);
        self.document.record(|| Known { path: self.path_of(key), kind });
        self.written(key)
    }

    /// A key whose value `parse` understands, or refuses in a message that says what it must be.
    fn read<T>(
        &self,
        key: &'static str,
        kind: Kind,
        parse: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Written<T>> {
        let value = self.get(key, kind)?;
        let line = self.document.line(value);
        let value = self.accept(key, line, parse(value.get_ref()))?;
        Some(Written { value, line })
    }

    fn accept<T>(&self, key: &str, line: usize, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.mistake(key, line, message)).ok()
    }

    /// What `convert` makes of a text, or a mistake in its line.
    pub(in crate::config) fn convert<T>(
        &self,
        key: &str,
        text: &Written<String>,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.accept(key, text.line, convert(&text.value))
    }

    /// A text.
    pub(in crate::config) fn text(&self, key: &'static str) -> Option<Written<String>> {
        self.read(key, Kind::Text { example: "" }, values::text)
    }

    /// A text that `parse` understands; `example` shows one.
    pub(in crate::config) fn parsed<T>(
        &self,
        key: &'static str,
        example: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Written<T>> {
        self.read(key, Kind::Text { example }, |value| values::parsed(value, example, &parse))
    }

    /// `true` or `false`.
    pub(in crate::config) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.read(key, Kind::Flag { default }, values::flag).map_or(default, |written| written.value)
    }

    /// A whole number within bounds.
    pub(in crate::config) fn number(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let kind = Kind::Number { default, low: *bounds.start(), high: *bounds.end() };
        self.read(key, kind, |value| values::number(value, &bounds)).map_or(default, |written| written.value)
    }

    /// A duration of at least a millisecond and at most a day.
    pub(in crate::config) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.duration_from(key, default, Duration::from_millis(1))
    }

    /// A duration that may be zero.
    pub(in crate::config) fn pause(&self, key: &'static str, default: Duration) -> Duration {
        self.duration_from(key, default, Duration::ZERO)
    }

    fn duration_from(&self, key: &'static str, default: Duration, least: Duration) -> Duration {
        let kind = Kind::Duration { default: Some(default), or_none: false };
        self.read(key, kind, |value| values::duration(value, least)).map_or(default, |written| written.value)
    }

    /// A duration, or `"none"`.
    pub(in crate::config) fn duration_or_none(&self, key: &'static str, default: Option<Duration>) -> Option<Duration> {
        let read = self.read(key, Kind::Duration { default, or_none: true }, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => values::duration(value, Duration::from_millis(1)).map(Some),
        });
        read.map_or(default, |written| written.value)
    }

    /// Bytes.
    pub(in crate::config) fn size(&self, key: &'static str, default: usize, bounds: RangeInclusive<u64>) -> usize {
        let kind = Kind::Size { default: Some(default as u64), or_none: false };
        let read = self.read(key, kind, |value| values::size(value, &bounds));
        read.map_or(default, |written| usize::try_from(written.value).unwrap_or(usize::MAX))
    }

    /// Bytes, or `"none"`.
    pub(in crate::config) fn size_or_none(&self, key: &'static str, default: Option<u64>) -> Option<u64> {
        let read = self.read(key, Kind::Size { default, or_none: true }, |value| match value.as_str() {
            Some("none") => Ok(None),
            _ => values::size(value, &(1..=u64::MAX)).map(Some),
        });
        read.map_or(default, |written| written.value)
    }

    /// One of several words; the first is the default.
    pub(in crate::config) fn word<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> T {
        let kind = Kind::Word { words: words.iter().map(|(word, _)| *word).collect() };
        let read = self.read(key, kind, |value| {
            let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
            found.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                format!("is one of {}", all.join(", "))
            })
        });
        read.map_or(words[0].1, |written| written.value)
    }

    /// A secret: a text, `{ file = "path" }` or `{ env = "NAME" }`. `CONSUL_HTTP_TOKEN`, which the annotated file shows,
    /// may be missing in the environment; any other name must be there.
    pub(in crate::config) fn secret(&self, key: &'static str, env: &Environment) -> Option<Secret> {
        let value = self.get(key, Kind::Secret)?;
        if let DeValue::String(text) = value.get_ref() {
            if trimmed(text).is_empty() {
                self.mistake(
                    key,
                    self.document.line(value),
                    "is empty: write the secret, { file = \"path\" } or { env = \"NAME\" }",
                );
                return None;
            }
            return Some(Secret::Text(text.to_string()));
        }
        let table = self.item(key, 0, value)?;
        let secret = match (table.text("file"), table.text("env")) {
            (Some(file), None) => Some(Secret::File(file.value.into())),
            (None, Some(name)) => {
                let found = env.secret(&name.value).map(|text| Secret::Text(text.to_owned()));
                if found.is_none() && name.value != "CONSUL_HTTP_TOKEN" {
                    self.mistake(key, name.line, format!("the environment has no {}: set it", name.value));
                }
                found
            }
            _ => {
                self.mistake(key, table.line, "is a text, { file = \"path\" } or { env = \"NAME\" }");
                None
            }
        };
        table.end();
        secret
    }

    /// Texts: one, or a list of them.
    pub(in crate::config) fn texts(&self, key: &'static str) -> Vec<Written<String>> {
        let Some(value) = self.get(key, Kind::Texts) else { return Vec::new() };
        let items = value.get_ref().as_array().map_or(std::slice::from_ref(value), |items| &items[..]);
        let read = |item: &Spanned<DeValue<'_>>| {
            let line = self.document.line(item);
            let value = self.accept(key, line, values::text(item.get_ref()))?;
            Some(Written { value, line })
        };
        items.iter().filter_map(read).collect()
    }

    /// Names of the operator's choice, each with a text, or with `true` where that stands for any value.
    pub(in crate::config) fn pairs(&self, key: &'static str, any: bool) -> Vec<(Written<String>, Option<String>)> {
        let Some(value) = self.get(key, Kind::Pairs { any }) else { return Vec::new() };
        let DeValue::Table(table) = value.get_ref() else {
            let example = if any { "{ name = \"value\", other = true }" } else { "{ name = \"value\" }" };
            self.mistake(key, self.document.line(value), format!("is a table: write {example}"));
            return Vec::new();
        };
        let pair = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let line = self.document.line(value);
            let name = Written { value: name.get_ref().to_string(), line };
            match value.get_ref() {
                DeValue::String(text) => Some((name, Some(text.to_string()))),
                DeValue::Boolean(true) if any => Some((name, None)),
                other => {
                    let wanted = if any { "is a text, or true for any value" } else { "is a text in quotes" };
                    self.mistake(key, line, format!("`{}` {wanted}, not {}", name.value, type_name(other)));
                    None
                }
            }
        };
        table.iter().filter_map(pair).collect()
    }

    /// `true`, `false`, or a section.
    pub(in crate::config) fn switch(&self, key: &'static str) -> Switch<'a> {
        let Some(value) = self.get(key, Kind::Switch) else {
            // The keys of the section are of interest, too, where the document only records keys.
            let wanted = self.document.is_for_reference();
            return if wanted { Switch::Section(self.below(self.path_of(key), 0, None)) } else { Switch::Absent };
        };
        let line = self.document.line(value);
        match value.get_ref() {
            DeValue::Boolean(flag) => Switch::Flag(*flag),
            DeValue::Table(table) => Switch::Section(self.below(self.path_of(key), line, Some(table))),
            other => {
                self.mistake(key, line, format!("is true, false or a section, not {}", type_name(other)));
                Switch::Absent
            }
        }
    }

    /// A table below.
    pub(in crate::config) fn section(&self, key: &'static str) -> Section<'a> {
        let (line, table) = match self.get(key, Kind::Section) {
            None => (0, None),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (self.document.line(value), Some(table)),
                _ => {
                    let path = self.path_of(key);
                    let wanted = if path.contains('[') { format!("{key} = {{ … }}") } else { format!("[{path}]") };
                    let message = format!("is a section: write {wanted}");
                    self.mistake(key, self.document.line(value), message);
                    (0, None)
                }
            },
        };
        self.below(self.path_of(key), line, table)
    }

    /// Tables below, written `[[key]]`.
    pub(in crate::config) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key, Kind::Sections) else { return self.sample(key).into_iter().collect() };
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!("may stand more than once: write [[{}]]", self.path_of(key));
            self.mistake(key, self.document.line(value), message);
            return Vec::new();
        };
        items.iter().enumerate().filter_map(|(index, item)| self.item(key, index, item)).collect()
    }

    /// Items of a list that are texts or tables.
    pub(in crate::config) fn mixed(&self, key: &'static str) -> Vec<Result<Written<String>, Section<'a>>> {
        let Some(value) = self.get(key, Kind::Mixed) else { return self.sample(key).into_iter().map(Err).collect() };
        let DeValue::Array(items) = value.get_ref() else {
            self.mistake(key, self.document.line(value), "is a list: write [ … ]");
            return Vec::new();
        };
        let read = |(index, item): (usize, &'a Spanned<DeValue<'a>>)| match item.get_ref() {
            DeValue::String(text) => Some(Ok(Written { value: text.to_string(), line: self.document.line(item) })),
            _ => self.item(key, index, item).map(Err),
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    /// An item of a list that must be a table.
    fn item(&self, key: &str, index: usize, item: &'a Spanned<DeValue<'a>>) -> Option<Section<'a>> {
        let line = self.document.line(item);
        let path = format!("{}[{index}]", self.path_of(key));
        match item.get_ref() {
            DeValue::Table(table) => Some(self.below(path, line, Some(table))),
            _ => {
                self.document.mistake(line, path, "is a table: write { … }");
                None
            }
        }
    }

    /// An item of a list that is not written, for a document that only records keys.
    fn sample(&self, key: &str) -> Option<Section<'a>> {
        let path = format!("{}[]", self.path_of(key));
        self.document.is_for_reference().then(|| self.below(path, 0, None))
    }

    /// Ends the section: every key that the reader did not ask for is a mistake.
    pub(in crate::config) fn end(self) {
        self.finish();
    }

    /// As `end`, for a section that belongs to somebody else.
    pub(in crate::config) fn finish(&self) {
        let expected = self.expected.borrow();
        for (key, value) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if expected.contains(&name) {
                continue;
            }
            let line = self.document.line_at(key.span().start);
            let nearest = expected.iter().map(|known| (distance(name, known), known)).min();
            let message = match nearest {
                Some((d, known)) if d <= 2.max(name.len() / 3) => format!("is not a key here; did you mean `{known}`?"),
                _ if value.get_ref().is_table() => format!("is not a section; there are: {}", expected.join(", ")),
                _ => format!("is not a key here; there are: {}", expected.join(", ")),
            };
            self.mistake(name, line, message);
        }
    }
}
