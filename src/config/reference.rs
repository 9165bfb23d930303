//! What there is to be written: the annotated file, and a schema for editors that says the same in their language.

use serde_json::{Map, Value, json};

use super::check;
use super::file::{Kind, shown, shown_size};

/// Every key with its default and what it means.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A JSON Schema (draft 7, which editors of TOML understand) of a configuration.
pub fn schema() -> Value {
    let mut root = Node::default();
    for known in check::known() {
        root.at(&known.path).kind = Some(known.kind);
    }
    let words = words(DEFAULTS);
    let mut schema = root.object("", &words);
    schema.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".into(), json!("Lictor's configuration"));
    Value::Object(schema)
}

/// A key, and those below it.
#[derive(Default)]
struct Node {
    kind: Option<Kind>,
    below: Vec<(String, Node)>,
}

impl Node {
    fn at(&mut self, path: &str) -> &mut Node {
        path.split('.').fold(self, |node, part| {
            let name = part.trim_end_matches("[]");
            let place = node.below.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                node.below.push((name.to_owned(), Node::default()));
                node.below.len() - 1
            });
            &mut node.below[place].1
        })
    }

    /// A table of the keys below, and of no others.
    fn object(&self, path: &str, words: &[(String, String)]) -> Map<String, Value> {
        let below = |(name, node): &(String, Node)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            (name.clone(), node.value(&path, words))
        };
        let properties: Map<_, _> = self.below.iter().map(below).collect();
        let object = json!({ "type": "object", "additionalProperties": false, "properties": properties });
        match object {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }

    fn value(&self, path: &str, words: &[(String, String)]) -> Value {
        let text = || json!({ "type": "string" });
        let table = || Value::Object(self.object(path, words));
        let mut value = match self.kind.as_ref().unwrap_or(&Kind::Section) {
            Kind::Section => table(),
            Kind::Sections => json!({ "type": "array", "items": table() }),
            Kind::Mixed => json!({ "type": "array", "items": { "anyOf": [text(), table()] } }),
            Kind::Switch => json!({ "anyOf": [{ "type": "boolean" }, table()] }),
            Kind::Text { example: "" } => text(),
            Kind::Text { example } => json!({ "type": "string", "examples": [example] }),
            Kind::Texts => json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
            Kind::Flag { default } => json!({ "type": "boolean", "default": default }),
            Kind::Number { low, high, .. } if path == "workers" => {
                json!({ "type": "integer", "minimum": low, "maximum": high })
            }
            Kind::Number { default, low, high } => {
                json!({ "type": "integer", "minimum": low, "maximum": high, "default": default })
            }
            Kind::Duration { default, or_none } => with_none(
                json!({ "type": "string", "pattern": "^([0-9.]+ ?[a-zµ]+ ?)+$" }),
                *or_none,
                default.map(shown),
            ),
            Kind::Size { default, or_none } => {
                let sizes = json!({ "anyOf": [{ "type": "integer" }, { "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$" }] });
                with_none(sizes, *or_none, default.map(shown_size))
            }
            Kind::Word { words } => json!({ "enum": words, "default": words[0] }),
            Kind::Secret => {
                let from = |name: &str| json!({ "type": "object", "additionalProperties": false, "required": [name], "properties": { name: text() } });
                json!({ "anyOf": [text(), from("file"), from("env")] })
            }
            Kind::Pairs { any } => {
                let value = if *any { json!({ "anyOf": [text(), { "const": true }] }) } else { text() };
                json!({ "type": "object", "additionalProperties": value })
            }
        };
        if let Some(said) = said(words, path) {
            value["description"] = json!(said);
        }
        value
    }
}

fn with_none(mut value: Value, or_none: bool, default: Option<String>) -> Value {
    if or_none {
        value = json!({ "anyOf": [value, { "const": "none" }] });
    }
    if let Some(default) = default.or_else(|| or_none.then(|| "none".into())) {
        value["default"] = json!(default);
    }
    value
}

/// What is said of a key: at its own place, or where the same key stands for everything.
fn said<'w>(words: &'w [(String, String)], path: &str) -> Option<&'w str> {
    let own = |path: &str| words.iter().find(|(known, _)| known == path).map(|(_, said)| &**said);
    let short = || path.split_once('.').map(|(_, rest)| rest);
    own(path).or_else(|| own(short()?)).or_else(|| own(&format!("route.{}", short()?)))
}

/// The comments of the annotated file, by key: at the end of its line, or above a section.
fn words(text: &str) -> Vec<(String, String)> {
    let mut words = Vec::new();
    let (mut section, mut above) = (String::new(), String::new());
    for line in text.lines() {
        let enabled = line.trim_start_matches('#');
        if line.is_empty() || line == "#" {
            above.clear();
        } else if enabled.starts_with(' ') {
            above += enabled;
        } else if enabled.starts_with('[') {
            section = enabled.trim_matches(['[', ']']).to_owned();
            words.push((section.clone(), std::mem::take(&mut above).trim().to_owned()));
        } else if let Some((key, rest)) = enabled.split_once(" = ") {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            words.extend(rest.rsplit_once(" # ").map(|(_, said)| (path, said.to_owned())));
        }
    }
    words.retain(|(_, said)| !said.is_empty());
    words
}

#[cfg(test)]
mod tests;
