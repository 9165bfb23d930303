//! Values of any kind, as the JSON that they stand for.

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::claims::scalar;
use super::{Kind, Section, Written, values};

/// How JSON is read from a section.
pub(in crate::config) trait ReadJson {
    /// Anything that JSON has, written as TOML: a text, a number, `true`, `false`, a list or a table.
    fn json(&self, key: &'static str) -> Option<Written<Value>>;
}

impl ReadJson for Section<'_> {
    fn json(&self, key: &'static str) -> Option<Written<Value>> {
        self.read(key, Kind::Json, json)
    }
}

fn json(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let member = |(name, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
                Ok((name.get_ref().to_string(), json(value.get_ref())?))
            };
            Ok(Value::Object(table.iter().map(member).collect::<Result<Map<_, _>, String>>()?))
        }
        other => scalar(other).filter(|value| !value.is_null()).ok_or_else(|| {
            let kind = values::type_name(other);
            format!("has {kind} that JSON has not: write a text in quotes")
        }),
    }
}
