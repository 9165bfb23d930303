//! The annotated file and the schema say what the reader understands: neither more nor less.

use std::collections::BTreeSet;

use super::*;
use crate::config::{Environment, Overrides, parse};

fn env() -> Environment {
    Environment::of(&[("LICTOR_API_KEY", "k")])
}

/// The file with its examples switched on.
fn enabled() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    DEFAULTS.lines().map(|line| on(line) + "\n").collect()
}

/// Every key of a table, items of a list as `route[].name`.
fn paths(table: &toml::Table, above: &str, into: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = format!("{above}{name}");
        match value {
            toml::Value::Table(table) => paths(table, &format!("{path}."), into),
            toml::Value::Array(items) => {
                for table in items.iter().filter_map(toml::Value::as_table) {
                    paths(table, &format!("{path}[]."), into);
                }
            }
            _ => {}
        }
        into.insert(path);
    }
}

#[test]
fn the_annotated_file_is_the_defaults() {
    let read = |text: Option<&str>| {
        let text = text.map(str::to_owned).unwrap_or_default();
        let config = parse(Some(&text), "defaults", Overrides::default(), &env());
        format!("{:#?}", config.unwrap_or_else(|errors| panic!("{errors}")))
    };
    assert_eq!(read(Some(DEFAULTS)), read(None));
}

#[test]
fn its_examples_are_valid_and_name_every_key() {
    let text = enabled();
    let config = parse(Some(&text), "examples", Overrides::default(), &Environment::default());
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.routes.len(), config.plans.len(), config.consumers.len()), (7, 1, 1));
    assert_eq!((config.issuers.len(), config.composes.len()), (1, 1));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let mut written = BTreeSet::new();
    paths(&text.parse().expect("valid TOML"), "", &mut written);
    let known = check::known();
    let elsewhere = |path: &str| {
        let rest = path.split_once('.').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        [format!("route[].{rest}"), format!("plan[].{rest}"), format!("plan[].{path}"), rest]
            .into_iter()
            .any(|path| written.contains(&path))
    };
    let instead = |path: &str| DEFAULTS.contains(&format!("\n##{} = ", path.rsplit('.').next().unwrap_or_default()));
    // What stands in one line is shown in one of its forms, and described with it.
    let form = |path: &str| [".keys.", ".admin.", ".operator."].iter().any(|part| path.contains(part));
    // It has the same keys as `[redis]`.
    let same =
        |path: &str| path.strip_prefix("redis.cache.").is_some_and(|key| written.contains(&format!("redis.{key}")));
    let elsewhere = |path: &str| elsewhere(path) || instead(path) || form(path) || same(path);
    let lost: Vec<_> = known.iter().map(|k| &k.path).filter(|p| !written.contains(*p) && !elsewhere(p)).collect();
    assert!(lost.is_empty(), "not in the annotated file: {lost:#?}");
}

#[test]
fn what_stands_in_its_examples_is_the_default_where_there_is_one() {
    let text = enabled();
    let table: toml::Table = text.parse().expect("valid TOML");
    let listener = table["listener"][0].as_table().expect("a table");
    let (head, most) = (listener["head"].as_str(), listener["max_connections"].as_integer());
    let cors = &table["route"][0]["cors"];
    let shown = (head, most, cors["max_age"].as_str(), cors["credentials"].as_bool());
    let find = |path: &str| check::known().into_iter().find(|k| k.path == path).expect("a known key").kind;
    let duration = |path: &str| match find(path) {
        Kind::Duration { default, .. } => default.map(format_duration).expect("a default"),
        other => panic!("{other:?}"),
    };
    let Kind::Number { default, .. } = find("listener[].max_connections") else { panic!("a number") };
    let (head, age) = (duration("listener[].head"), duration("route[].cors.max_age"));
    assert_eq!(shown, (Some(&*head), Some(default as i64), Some(&*age), Some(false)));
}

fn validate(text: &str) -> Result<(), String> {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("lictor.json", schema()).expect("a schema");
    let index = compiler.compile("lictor.json", &mut schemas).expect("a valid schema");
    let table: toml::Table = text.parse().expect("valid TOML");
    let value = serde_json::to_value(&table).expect("TOML is JSON, but for dates");
    schemas.validate(&value, index).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    for text in [DEFAULTS, &enabled(), ""] {
        validate(text).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_values_of_the_wrong_kind() {
    for text in [
        "worker = 2",
        "workers = 0",
        "workers = \"2\"",
        "[listener]\naddress = \"127.0.0.1:1\"",
        "[[listener]]\naddress = 1",
        "[timeouts]\nconnect = 1",
        "[timeouts]\nconnect = \"soon\"",
        "[breaker]\nprobes = 256",
        "[log]\nformat = \"xml\"",
        "[consul]\ntoken = { vault = \"x\" }",
        "[[route]]\nservice = \"s\"\ncash = true",
        "[[route]]\nservice = \"s\"\nquery = { a = 1 }",
        "[cache]\nsize = \"8 apples\"",
    ] {
        assert!(validate(text).is_err(), "{text}");
    }
}

#[test]
fn every_key_of_the_schema_has_a_description() {
    fn lacking(value: &Value, path: &str, into: &mut Vec<String>) {
        let below = [&value["properties"], &value["items"]["properties"]];
        let any = value["anyOf"].as_array().into_iter().flatten().map(|one| &one["properties"]);
        let item = value["items"]["anyOf"].as_array().into_iter().flatten().map(|one| &one["properties"]);
        for (name, value) in below.into_iter().chain(any).chain(item).filter_map(Value::as_object).flatten() {
            let path = format!("{path}.{name}");
            // The parts of a list's item, of a secret and of what stands on one line are described with it.
            let part = [
                "limits.",
                "instances.",
                ".token.",
                ".password.",
                ".sentinel_password.",
                ".http_auth.",
                ".snapshot.",
                ".secret.",
                ".keys.",
                ".auth.",
                ".admin.",
                ".operator.",
                ".path.",
                ".redirect.",
                ".respond.",
                "_headers.",
                ".cache.",
                ".answer.",
            ];
            if value["description"].is_null() && !part.iter().any(|part| path.contains(part)) {
                into.push(path.clone());
            }
            lacking(value, &path, into);
        }
    }
    let mut found = Vec::new();
    lacking(&schema(), "", &mut found);
    assert!(found.is_empty(), "without a description: {found:#?}");
}
