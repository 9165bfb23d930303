//! The process's environment as data: read once at start and passed on, so that tests can make one up.

use std::collections::BTreeMap;

/// Environment variables.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment that this process was started with. What of a value is no UTF-8 is replaced, so that a variable which is set does not
    /// count as one that is not: whoever reads it will not understand it, and say so.
    pub fn from_process() -> Environment {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Environment(std::env::vars_os().filter_map(text).collect())
    }

    /// An environment of these names and values.
    pub fn of(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    /// A variable's value; an empty one counts as not set, as Consul's tools have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A secret's value without the white space around it; one of nothing else counts as not set.
    pub fn secret(&self, name: &str) -> Option<&str> {
        self.get(name).map(trimmed).filter(|value| !value.is_empty())
    }
}

/// A secret without the white space around it, wherever it was read: editors and `echo` end a file with a line feed, and none of the
/// secrets here begins or ends with white space.
pub fn trimmed(secret: &str) -> &str {
    secret.trim()
}
