//! The keys that the reader knows, each with its type and default: recorded while it reads a document without a text.

use std::time::Duration;

/// A key that the reader knows.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) struct Known {
    /// From the top: `breaker.open`; items of a list as `route[].service`.
    pub(in crate::config) path: String,
    /// What may stand there.
    pub(in crate::config) kind: Kind,
}

/// What may stand at a key.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::config) enum Kind {
    /// A text; `example` shows one, or is empty where any text will do.
    Text { example: &'static str },
    /// A text or a list of texts.
    Texts,
    /// `true` or `false`.
    Flag { default: bool },
    /// A whole number.
    Number { default: u64, low: u64, high: u64 },
    /// A duration.
    Duration { default: Option<Duration>, or_none: bool },
    /// Bytes.
    Size { default: Option<u64>, or_none: bool },
    /// One of these; the first is the default.
    Word { words: Vec<&'static str> },
    /// A text, `{ file }` or `{ env }`.
    Secret,
    /// A table.
    Section,
    /// A list of tables.
    Sections,
    /// A list of texts or tables.
    Mixed,
    /// `true`, `false` or a table.
    Switch,
    /// A text, or a table with more to say.
    TextOrSection,
    /// A text, or a list of tables with more to say.
    TextOrSections,
    /// Claims, each a text or a list of texts.
    Claims,
    /// A table with a claim for each name, or a table of claims inside of it.
    ClaimTable,
    /// Anything that JSON has.
    Json,
    /// A table with names of the operator's choice.
    Pairs { any: bool },
}
