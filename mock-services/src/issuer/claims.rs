//! JSON objects, and the time as tokens count it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// The members of an object, none of anything else.
pub(super) fn fields(of: Value) -> Map<String, Value> {
    match of {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Replaces what is named, and leaves out what is null.
pub(super) fn overlay(onto: &mut Map<String, Value>, with: &Map<String, Value>) {
    for (name, value) in with {
        if value.is_null() {
            onto.shift_remove(name);
        } else {
            onto.insert(name.clone(), value.clone());
        }
    }
}

/// Whole seconds since 1970 (RFC 7519 section 2).
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
