//! Faults, and which requests they befall.

use std::time::Duration;

use serde_json::Value;

/// How an answer goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, with a sentence as body.
    Status(u16),
    /// The connection is reset instead of an answer.
    Reset,
    /// The connection is closed instead of an answer.
    Close,
    /// Nothing is answered, ever, on that connection: no byte and no end.
    Silent,
    /// The answer comes so much later.
    Late(Duration),
    /// A query that waits for a change is cut after this time: its connection is closed.
    CutWaiting(Duration),
    /// 200 with this body.
    Body(String),
    /// The body stops before its end, and the connection closes.
    Truncated,
    /// After its head and its first byte, the body trickles for ever, a byte at a time.
    Trickle,
    /// So many MiB of white space follow the body.
    Enormous(usize),
    /// The answer claims this index; `None`: none. A query that waits returns at once.
    Index(Option<u64>),
    /// A query that waits returns at once, without news.
    AtOnce,
    /// There is nothing in the answer.
    Empty,
    /// Of the answer, these names of services and ids of instances are missing.
    Without(Vec<String>),
    /// A header field has another value; `None`: is missing.
    Header(String, Option<String>),
}

/// Which requests a fault befalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// All.
    #[default]
    Anyhow,
    /// Those that any server may answer: with `stale`.
    Stale,
    /// Those that the leader answers: without `stale`.
    Leader,
    /// Those without an index, which do not wait.
    First,
    /// Those with an index.
    Again,
}

/// A fault and whom it befalls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How the path begins.
    pub path: String,
    /// How it is asked.
    pub asked: Asked,
    /// How many requests it befalls; `None`: all, until it is healed.
    pub times: Option<u32>,
    /// What befalls them.
    pub fault: Fault,
}

impl Rule {
    /// A fault of all requests whose path begins so.
    pub fn new(path: &str, fault: Fault) -> Rule {
        Rule { path: path.to_owned(), asked: Asked::Anyhow, times: None, fault }
    }

    /// The same for requests that are asked in this way only.
    #[must_use]
    pub fn asked(mut self, asked: Asked) -> Rule {
        self.asked = asked;
        self
    }

    /// The same for the next few requests only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Rule {
        self.times = Some(times);
        self
    }

    pub(super) fn befalls(&self, path: &str, stale: bool, index: u64) -> bool {
        let asked = match self.asked {
            Asked::Anyhow => true,
            Asked::Stale => stale,
            Asked::Leader => !stale,
            Asked::First => index == 0,
            Asked::Again => index > 0,
        };
        asked && path.starts_with(&self.path) && self.times != Some(0)
    }

    /// One that is written as `{"path": "/v1/health", "fault": "status", "value": 500, "asked": "stale", "times": 3}`.
    ///
    /// # Errors
    /// What is not understood.
    pub fn read(value: &Value) -> Result<Rule, String> {
        let asked = match value["asked"].as_str() {
            None => Asked::Anyhow,
            Some("stale") => Asked::Stale,
            Some("leader") => Asked::Leader,
            Some("first") => Asked::First,
            Some("again") => Asked::Again,
            Some(other) => return Err(format!("`asked` is stale, leader, first or again, not {other}")),
        };
        let path = value["path"].as_str().unwrap_or("/v1/").to_owned();
        let times = value["times"].as_u64().and_then(|times| u32::try_from(times).ok());
        Ok(Rule { path, asked, times, fault: fault(value)? })
    }
}

fn fault(written: &Value) -> Result<Fault, String> {
    let value = &written["value"];
    let number = || value.as_u64().ok_or_else(|| "`value` is a number here".to_owned());
    let time = || number().map(Duration::from_millis);
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "`value` is a text here".to_owned());
    let list = || value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect();
    Ok(match written["fault"].as_str().unwrap_or_default() {
        "status" => Fault::Status(u16::try_from(number()?).map_err(|_| "no status")?),
        "reset" => Fault::Reset,
        "close" => Fault::Close,
        "silent" => Fault::Silent,
        "late" => Fault::Late(time()?),
        "cut_waiting" => Fault::CutWaiting(time()?),
        "body" => Fault::Body(text(value)?),
        "truncated" => Fault::Truncated,
        "trickle" => Fault::Trickle,
        "enormous" => Fault::Enormous(usize::try_from(number()?).map_err(|_| "too large")?),
        "index" => Fault::Index(value.as_u64()),
        "at_once" => Fault::AtOnce,
        "empty" => Fault::Empty,
        "without" => Fault::Without(list()),
        "header" => Fault::Header(text(&written["name"])?, value.as_str().map(str::to_owned)),
        other => return Err(format!("there is no fault `{other}`")),
    })
}
