//! A configuration as written: a reader that asks for each key by name and type, collects every mistake with its line,
//! and at the end knows which keys of the file it never asked for.

pub(super) mod canonical;
mod document;
mod known;
mod section;
mod values;

pub(super) use document::Document;
pub use document::Mistake;
pub(super) use known::{Kind, Known};
pub(super) use section::{ReadClaims, ReadJson, Section, Switch, TextOrSection, TextOrSections, Written};
pub(super) use values::{format_duration, format_size, parse_duration};
