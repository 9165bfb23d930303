//! Commands to the fake agent over HTTP, for those who have no methods: `PUT /_fake/NAME` with JSON, and `GET /_fake/figures`.
//!
//! | name | body |
//! | --- | --- |
//! | `kill`, `revive`, `disconnect`, `forget`, `heal`, `touch` | none |
//! | `fail` | a rule: `{"path": "/v1/health", "fault": "status", "value": 500, "asked": "stale", "times": 3}` |
//! | `register` | a registration as Consul takes it, with `Node` and `Status` as it likes, or a list of them |
//! | `deregister` | a list of service ids, which are gone at once |
//! | `check` | `{"ids": […], "status": "critical"}` |
//! | `serf` | `{"nodes": […], "status": "critical"}` |
//! | `rewind` | the index from which it counts on |
//! | `leave` | a node's name |
//! | `limit` | a number of connections |
//! | `version` | `"old"`, `"filtering"` or `"streaming"` |

use serde_json::Value;

use super::fault::Rule;
use super::model::Instance;
use super::state::Version;

/// What it is told to do.
#[derive(Debug)]
pub(super) enum Command {
    Kill,
    Revive,
    Disconnect,
    Forget,
    Fail(Rule),
    Heal,
    Touch,
    Rewind(u64),
    Leave(String),
    Limit(usize),
    Version(Version),
    Register(Vec<Instance>),
    Deregister(Vec<String>),
    Check(Vec<String>, String),
    Serf(Vec<String>, String),
    Figures,
}

/// Reads a command, or says what is wrong with it.
pub(super) fn read(method: &str, path: &str, body: &[u8]) -> Result<Command, String> {
    let name = path.strip_prefix("/_fake/").unwrap_or_default();
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let body: Value = body.map_err(|error| error.to_string())?;
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let status = || body["status"].as_str().map(str::to_owned).ok_or("a `status` is missing");
    Ok(match (method, name) {
        ("GET", "figures") => Command::Figures,
        ("PUT", "kill") => Command::Kill,
        ("PUT", "revive") => Command::Revive,
        ("PUT", "disconnect") => Command::Disconnect,
        ("PUT", "forget") => Command::Forget,
        ("PUT", "heal") => Command::Heal,
        ("PUT", "touch") => Command::Touch,
        ("PUT", "rewind") => Command::Rewind(body.as_u64().ok_or("a number is missing")?),
        ("PUT", "leave") => Command::Leave(body.as_str().ok_or("a node is missing")?.to_owned()),
        ("PUT", "fail") => Command::Fail(Rule::read(&body)?),
        ("PUT", "limit") => {
            let limit = body.as_u64().and_then(|limit| usize::try_from(limit).ok());
            Command::Limit(limit.ok_or("a number is missing")?)
        }
        ("PUT", "version") => Command::Version(match body.as_str() {
            Some("old") => Version::Old,
            Some("filtering") => Version::Filtering,
            Some("streaming") => Version::Streaming,
            _ => return Err("a version is \"old\", \"filtering\" or \"streaming\"".into()),
        }),
        ("PUT", "register") => {
            let all = if let Value::Array(all) = &body { &all[..] } else { std::slice::from_ref(&body) };
            Command::Register(all.iter().map(Instance::read).collect::<Result<_, _>>()?)
        }
        ("PUT", "deregister") => Command::Deregister(texts(&body)),
        ("PUT", "check") => Command::Check(texts(&body["ids"]), status()?),
        ("PUT", "serf") => Command::Serf(texts(&body["nodes"]), status()?),
        _ => return Err(format!("there is no command {method} {path}")),
    })
}
