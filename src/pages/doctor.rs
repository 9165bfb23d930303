//! What `lictor doctor` finds out. No gateway serves this page: the command makes it.

use serde::{Deserialize, Serialize};

/// All findings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// What was examined, one after the other.
    pub subjects: Vec<Subject>,
    /// The services that would be served.
    pub served: Vec<Served>,
    /// What is registered and would not be served.
    pub not_served: Vec<NotServed>,
}

/// One thing that was examined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// What it is: `agent http://127.0.0.1:8500`.
    pub name: String,
    /// What was found, in the order in which it was looked at.
    pub findings: Vec<Finding>,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is.
    #[default]
    Ok,
    /// It works, and may not for long or not as it is meant.
    Warn,
    /// It is not.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// Whether it is as it should be.
    pub level: Level,
    /// What was looked at, in a word or two: `token`.
    pub what: String,
    /// What was found, as a sentence.
    pub text: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

/// A service that would be served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Served {
    /// Its name.
    pub name: String,
    /// How many instances it has.
    pub instances: u64,
    /// How many of these would be picked: they pass or warn, and have a weight.
    pub available: u64,
}

/// Something that is registered and would not be served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NotServed {
    /// The service, and of an instance node and id.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Page {
    /// How many findings are of a level.
    pub fn count(&self, level: Level) -> usize {
        let findings = self.subjects.iter().flat_map(|subject| &subject.findings);
        findings.filter(|finding| finding.level == level).count()
    }
}
