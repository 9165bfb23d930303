//! A text being read: where its lines begin, and the mistakes that were found in it so far.

use std::cell::RefCell;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::known::Known;

/// One mistake: where it is, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line in the file; 0 when it is in no line (in the environment, or because something is missing).
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
pub(in crate::config) struct Document {
    /// The offset at which each line but the first begins.
    lines: Vec<usize>,
    mistakes: RefCell<Vec<Mistake>>,
    /// Every key that the reader asks for, in a document that is read only to find that out.
    known: Option<RefCell<Vec<Known>>>,
}

impl Document {
    pub(in crate::config) fn new(text: &str) -> Document {
        let lines = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Document { lines, mistakes: RefCell::default(), known: None }
    }

    /// A document without a text that records which keys the reader asks for. Each of its lists has one item, so that
    /// the reader also asks for the keys of items.
    pub(in crate::config) fn for_reference() -> Document {
        Document { known: Some(RefCell::default()), ..Document::new("") }
    }

    /// Parses its text. Syntax errors are mistakes; what could be parsed beside them is still read.
    pub(in crate::config) fn parse<'t>(&self, text: &'t str) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(0, |span| self.line_at(span.start));
            self.mistake(line, "", format!("not valid TOML: {}", error.message()));
        }
        table
    }

    /// Adds a mistake.
    pub(in crate::config) fn mistake(&self, line: usize, key: impl Into<String>, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { line, key: key.into(), message: message.into() });
    }

    /// All mistakes, in the order in which they were found.
    pub(in crate::config) fn mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }

    /// Records a key that the reader asks for.
    pub(super) fn record(&self, known: impl FnOnce() -> Known) {
        if let Some(keys) = &self.known {
            keys.borrow_mut().push(known());
        }
    }

    /// Whether this document only records the keys that the reader asks for.
    pub(super) fn is_for_reference(&self) -> bool {
        self.known.is_some()
    }

    /// The recorded keys.
    pub(in crate::config) fn known(self) -> Vec<Known> {
        self.known.map(RefCell::into_inner).unwrap_or_default()
    }

    /// The line in which a value begins, counted from 1.
    pub(super) fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        self.line_at(value.span().start)
    }

    /// The line of an offset, counted from 1.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|&begin| begin <= offset) + 1
    }
}
