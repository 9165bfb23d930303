//! A configuration as written: a reader that asks for each key by name and type, collects every mistake with its line,
//! and then knows which keys nobody asked for.

mod known;
mod typed;
mod values;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) use known::{Kind, Known};
pub(super) use typed::Switch;
use values::distance;
pub(super) use values::{shown, shown_size, span};

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
    text: PhantomData<&'a str>,
    /// Where each line but the first begins.
    lines: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
    /// Every key that was asked for, when that is what is wanted: then each list has one item, so that its keys are
    /// asked for too.
    known: Option<RefCell<Vec<Known>>>,
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
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Document { text: PhantomData, lines, mistakes: RefCell::default(), known: None }
    }

    /// Without a text, to find out which keys there are.
    pub(super) fn asking() -> Document<'a> {
        Document { known: Some(RefCell::default()), ..Document::new("") }
    }

    /// The keys that were asked for.
    pub(super) fn known(self) -> Vec<Known> {
        self.known.map(RefCell::into_inner).unwrap_or_default()
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
        self.line_at(value.span().start)
    }

    fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|&begin| begin <= offset) + 1
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

    /// Whether a key of it is written.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether a key is not written, or written as an empty list.
    pub(super) fn lacks(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.is_none_or(|value| value.get_ref().as_array().is_some_and(|items| items.is_empty()))
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

    fn get(&self, key: &'static str, kind: Kind) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.borrow_mut().push(key);
        if let Some(known) = &self.document.known {
            known.borrow_mut().push(Known { path: self.key(key), kind });
        }
        self.table?.get(key)
    }

    /// A section as one of a list would be, for a document that only asks.
    fn sample(&self, key: &str) -> Option<Section<'a>> {
        self.document.known.as_ref()?;
        let path = format!("{}[]", self.key(key));
        Some(Section { document: self.document, path, line: 0, table: None, asked: RefCell::default() })
    }

    /// A table below.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        let (line, table) = match self.get(key, Kind::Section) {
            None => (0, None),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (self.document.line(value), Some(table)),
                _ => {
                    self.wrong(key, self.document.line(value), format!("is a section: write [{}]", self.key(key)));
                    (0, None)
                }
            },
        };
        self.below(key, line, table)
    }

    fn below(&self, key: &str, line: usize, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section { document: self.document, path: self.key(key), line, table, asked: RefCell::default() }
    }

    /// Tables below, written `[[key]]`.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key, Kind::Sections) else { return self.sample(key).into_iter().collect() };
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
        let Some(value) = self.get(key, Kind::Mixed) else { return self.sample(key).into_iter().map(Err).collect() };
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
            let line = self.document.line_at(key.span().start);
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
