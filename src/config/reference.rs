//! The reference of all keys: the annotated file for people, and a schema that says the same to editors.

use serde_json::{Map, Value, json};

use super::check;
use super::file::{Kind, format_duration, format_size};

/// Every key with its default and what it means.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// A JSON Schema (draft 7, which editors of TOML understand) of a configuration.
pub fn schema() -> Value {
    let mut root = Node::default();
    for known in check::known() {
        root.at(&known.path).kind = Some(known.kind);
    }
    let descriptions = descriptions(DEFAULTS);
    let mut schema = root.object("", &descriptions);
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
    /// The node of a path, which is made where it is missing.
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
    fn object(&self, path: &str, descriptions: &[(String, String)]) -> Map<String, Value> {
        let below = |(name, node): &(String, Node)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            (name.clone(), node.value(&path, descriptions))
        };
        let properties: Map<_, _> = self.below.iter().map(below).collect();
        let object = json!({ "type": "object", "additionalProperties": false, "properties": properties });
        match object {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }

    /// What may stand at the key, and what it means.
    fn value(&self, path: &str, descriptions: &[(String, String)]) -> Value {
        let mut value = match self.kind.as_ref().unwrap_or(&Kind::Section) {
            Kind::Section => Value::Object(self.object(path, descriptions)),
            Kind::Sections => json!({ "type": "array", "items": self.object(path, descriptions) }),
            Kind::Mixed => json!({ "type": "array", "items": { "anyOf": [text(), self.object(path, descriptions)] } }),
            Kind::Switch => json!({ "anyOf": [{ "type": "boolean" }, self.object(path, descriptions)] }),
            Kind::Text { example: "" } => text(),
            Kind::Text { example } => json!({ "type": "string", "examples": [example] }),
            Kind::TextOrSection => json!({ "anyOf": [text(), self.object(path, descriptions)] }),
            Kind::TextOrSections => {
                json!({ "anyOf": [text(), { "type": "array", "items": self.object(path, descriptions) }] })
            }
            Kind::Claims => json!({ "anyOf": [text(), { "type": "array" }] }),
            Kind::ClaimTable => json!({ "type": "object" }),
            Kind::Json => json!({}),
            Kind::Texts => json!({ "anyOf": [text(), { "type": "array", "items": text() }] }),
            Kind::Flag { default } => json!({ "type": "boolean", "default": default }),
            // The default of `workers` is the number of this machine's cores: no default of the schema.
            Kind::Number { low, high, .. } if path == "workers" => {
                json!({ "type": "integer", "minimum": low, "maximum": high })
            }
            Kind::Number { default, low, high } => {
                json!({ "type": "integer", "minimum": low, "maximum": high, "default": default })
            }
            Kind::Duration { default, or_none } => {
                let durations = json!({ "type": "string", "pattern": "^([0-9.]+ ?[a-zµ]+ ?)+$" });
                with_none(durations, *or_none, default.map(format_duration))
            }
            Kind::Size { default, or_none } => {
                let texts = json!({ "type": "string", "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB)?$" });
                let sizes = json!({ "anyOf": [{ "type": "integer" }, texts] });
                with_none(sizes, *or_none, default.map(format_size))
            }
            Kind::Word { words } => json!({ "enum": words, "default": words[0] }),
            Kind::Secret => json!({ "anyOf": [text(), one_text("file"), one_text("env")] }),
            Kind::Pairs { any } => {
                let value = if *any { json!({ "anyOf": [text(), { "const": true }] }) } else { text() };
                json!({ "type": "object", "additionalProperties": value })
            }
        };
        if let Some(text) = description(descriptions, path) {
            value["description"] = json!(text);
        }
        value
    }
}

/// Any text.
fn text() -> Value {
    json!({ "type": "string" })
}

/// A table with one key, whose value is a text.
fn one_text(name: &str) -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": [name], "properties": { name: text() } })
}

/// A value that may also be `"none"`, if `or_none`, with its default: `"none"` where there is no other.
fn with_none(mut value: Value, or_none: bool, default: Option<String>) -> Value {
    if or_none {
        value = json!({ "anyOf": [value, { "const": "none" }] });
    }
    if let Some(default) = default.or_else(|| or_none.then(|| "none".into())) {
        value["default"] = json!(default);
    }
    value
}

/// The description of a key: its own, or that of the same key at the top of the file or of a route.
fn description<'d>(descriptions: &'d [(String, String)], path: &str) -> Option<&'d str> {
    let parts = std::iter::successors(path.split_once('.'), |(_, below)| below.split_once('.'));
    let paths = parts.map(|(_, below)| below).flat_map(|below| [below.to_owned(), format!("route.{below}")]);
    let found = |path: String| descriptions.iter().find(|(known, _)| *known == path);
    [path.to_owned()].into_iter().chain(paths).find_map(found).map(|(_, text)| text.as_str())
}

/// The comments of the annotated file, by key: at the end of its line, or above a section.
fn descriptions(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut section, mut above) = (String::new(), String::new());
    for line in text.lines() {
        // A line that a `#` turns off is an example; one that begins with `# ` is a comment.
        let enabled = line.trim_start_matches('#');
        if line.is_empty() || line == "#" {
            above.clear();
        } else if enabled.starts_with(' ') {
            above += enabled;
        } else if enabled.starts_with('[') {
            section = enabled.trim_matches(['[', ']']).to_owned();
            found.push((section.clone(), std::mem::take(&mut above).trim().to_owned()));
        } else if let Some((key, rest)) = enabled.split_once(" = ") {
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            found.extend(rest.rsplit_once(" # ").map(|(_, comment)| (path, comment.to_owned())));
        }
    }
    found.retain(|(_, text)| !text.is_empty());
    found
}

#[cfg(test)]
mod tests;
