//! Claims of tokens as the file writes them: the way to one is a name or a list of names; a table leads into the claim of its name.

use http::HeaderName;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Kind, Section, Written, values};
use crate::config::identity::{ClaimPath, Condition, Demanded};

/// How demands on claims are written.
const DEMANDS: &str = "is a text, a number, true, false, a list of these of which the claim must be one, or { has = \"…\" } for a list with that member";

/// How claims are read from a section, and what may be a text or sections.
pub(in crate::config) trait ReadClaims<'a> {
    /// A key that is a text, or a section with more to say.
    fn text_or_section(&self, key: &'static str) -> TextOrSection<'a>;

    /// A key that is a text, or a list of tables with more to say.
    fn text_or_sections(&self, key: &'static str) -> TextOrSections<'a>;

    /// The way to one claim: `"org"`, or `["realm_access", "roles"]` for one inside of another.
    fn claim(&self, key: &'static str) -> Option<ClaimPath>;

    /// Ways to claims: `["sub", ["realm_access", "roles"]]`.
    fn claims(&self, key: &'static str) -> Option<Vec<ClaimPath>>;

    /// Demands on claims: `{ org = "acme", client_id = ["a", "b"], realm_access = { roles = { has = "admin" } } }`.
    fn demands(&self, key: &'static str) -> Vec<Demanded>;

    /// Claims, each with the name of a header field: `{ sub = "X-User-Id" }`.
    fn claims_as_fields(
        &self,
        key: &'static str,
        name: impl Fn(&str) -> Result<HeaderName, String>,
    ) -> Vec<(ClaimPath, HeaderName)>;
}

impl<'a> ReadClaims<'a> for Section<'a> {
    fn text_or_section(&self, key: &'static str) -> TextOrSection<'a> {
        let Some(value) = self.get(key, Kind::TextOrSection) else {
            let wanted = self.document.is_for_reference();
            return if wanted {
                TextOrSection::Section(self.below(self.path_of(key), 0, None))
            } else {
                TextOrSection::Absent
            };
        };
        let line = self.document.line(value);
        match value.get_ref() {
            DeValue::String(text) => TextOrSection::Text(Written { value: text.to_string(), line }),
            DeValue::Table(table) => TextOrSection::Section(self.below(self.path_of(key), line, Some(table))),
            other => {
                let message = format!("is a text or a table, not {}", values::type_name(other));
                self.mistake(key, line, message);
                TextOrSection::Absent
            }
        }
    }

    fn text_or_sections(&self, key: &'static str) -> TextOrSections<'a> {
        let Some(value) = self.get(key, Kind::TextOrSections) else {
            return match self.sample(key) {
                Some(sample) => TextOrSections::Sections(vec![sample]),
                None => TextOrSections::Absent,
            };
        };
        let line = self.document.line(value);
        match value.get_ref() {
            DeValue::String(text) => TextOrSections::Text(Written { value: text.to_string(), line }),
            DeValue::Array(items) => {
                let items = items.iter().enumerate();
                TextOrSections::Sections(items.filter_map(|(index, item)| self.item(key, index, item)).collect())
            }
            other => {
                let message = format!("is a text or a list of tables, not {}", values::type_name(other));
                self.mistake(key, line, message);
                TextOrSections::Absent
            }
        }
    }

    fn claim(&self, key: &'static str) -> Option<ClaimPath> {
        let value = self.get(key, Kind::Texts)?;
        path_to(self, key, value)
    }

    fn claims(&self, key: &'static str) -> Option<Vec<ClaimPath>> {
        let value = self.get(key, Kind::Claims)?;
        match value.get_ref() {
            DeValue::Array(items) => Some(items.iter().filter_map(|item| path_to(self, key, item)).collect()),
            _ => Some(path_to(self, key, value).into_iter().collect()),
        }
    }

    fn demands(&self, key: &'static str) -> Vec<Demanded> {
        let mut found = Vec::new();
        leaves(self, key, &mut |path, value| {
            if let Some(has) = only_has(value) {
                found.push(Demanded { claim: path, condition: Condition::Has(has) });
                return Some(());
            }
            let values = match value {
                DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect(),
                other => scalar(other).map(|value| vec![value]),
            };
            let values = values.filter(|values: &Vec<Value>| !values.is_empty())?;
            found.push(Demanded { claim: path, condition: Condition::OneOf(values) });
            Some(())
        });
        found
    }

    fn claims_as_fields(
        &self,
        key: &'static str,
        name: impl Fn(&str) -> Result<HeaderName, String>,
    ) -> Vec<(ClaimPath, HeaderName)> {
        let mut found = Vec::new();
        let mut wrong = Vec::new();
        leaves(self, key, &mut |path, value| {
            match name(value.as_str()?) {
                Ok(name) => found.push((path, name)),
                Err(why) => wrong.push(why),
            }
            Some(())
        });
        wrong.into_iter().for_each(|why| self.mistake_at(key, why));
        found
    }
}

fn path_to(section: &Section<'_>, key: &'static str, value: &Spanned<DeValue<'_>>) -> Option<ClaimPath> {
    let names = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str().map(Into::into)).collect(),
        other => other.as_str().map(|name| vec![name.into()]),
    };
    let names = names.filter(|names: &Vec<std::sync::Arc<str>>| names.iter().all(|name| !name.is_empty()));
    let path = names.filter(|names| !names.is_empty()).map(ClaimPath);
    if path.is_none() {
        let why = "a claim is its name, or the names on the way to it: write \"org\" or [\"realm_access\", \"roles\"]";
        section.mistake(key, section.document.line(value), why);
    }
    path
}

/// Each claim that a table leads to; `leaf` says whether it understands what stands there.
fn leaves(section: &Section<'_>, key: &'static str, leaf: &mut dyn FnMut(ClaimPath, &DeValue<'_>) -> Option<()>) {
    let Some(value) = section.get(key, Kind::ClaimTable) else { return };
    match value.get_ref() {
        DeValue::Table(table) => walk(section, key, table, &mut Vec::new(), leaf),
        _ => section.mistake(key, section.document.line(value), "is a table: write { org = \"…\" }"),
    }
}

fn walk(
    section: &Section<'_>,
    key: &'static str,
    table: &DeTable<'_>,
    above: &mut Vec<std::sync::Arc<str>>,
    leaf: &mut dyn FnMut(ClaimPath, &DeValue<'_>) -> Option<()>,
) {
    for (name, value) in table {
        above.push(name.get_ref().as_ref().into());
        match value.get_ref() {
            DeValue::Table(below) if only_has(value.get_ref()).is_none() => walk(section, key, below, above, leaf),
            other => {
                if leaf(ClaimPath(above.clone()), other).is_none() {
                    let wanted = if key == "forward" { "is the name of a header field" } else { DEMANDS };
                    section.mistake(key, section.document.line(value), format!("`{}` {wanted}", name.get_ref()));
                }
            }
        }
        above.pop();
    }
}

/// What is written where a text may stand for a whole section.
pub(in crate::config) enum TextOrSection<'a> {
    /// Nothing.
    Absent,
    /// A text.
    Text(Written<String>),
    /// A section.
    Section(Section<'a>),
}

/// What is written where a text may stand for a list of sections.
pub(in crate::config) enum TextOrSections<'a> {
    /// Nothing.
    Absent,
    /// A text.
    Text(Written<String>),
    /// Sections.
    Sections(Vec<Section<'a>>),
}

/// The member of `{ has = … }`.
fn only_has(value: &DeValue<'_>) -> Option<Value> {
    let DeValue::Table(table) = value else { return None };
    if table.len() == 1 { scalar(table.get("has")?.get_ref()) } else { None }
}

/// A text, a number or a boolean as JSON has it.
pub(super) fn scalar(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map(Value::from),
        _ => None,
    }
}
