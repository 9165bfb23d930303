//! Consul's answers, as far as we need them: tolerant of nulls and of what other versions add or leave out.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `/v1/catalog/services`: names, each with the union of its instances' tags.
pub(super) type Names = BTreeMap<String, Option<Vec<String>>>;

/// One entry of `/v1/health/service/X`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(default, deserialize_with = "null")]
    pub(super) node: Node,
    pub(super) service: Service,
    #[serde(default, deserialize_with = "null")]
    pub(super) checks: Vec<Check>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Node {
    #[serde(deserialize_with = "null")]
    pub(super) node: String,
    #[serde(deserialize_with = "null")]
    pub(super) address: String,
    #[serde(deserialize_with = "null")]
    pub(super) datacenter: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Service {
    #[serde(rename = "ID", deserialize_with = "null")]
    pub(super) id: String,
    #[serde(deserialize_with = "null")]
    pub(super) kind: String,
    #[serde(deserialize_with = "null")]
    pub(super) address: String,
    #[serde(deserialize_with = "null")]
    pub(super) port: i64,
    #[serde(deserialize_with = "null")]
    pub(super) tags: Vec<String>,
    #[serde(deserialize_with = "null")]
    pub(super) meta: BTreeMap<String, String>,
    pub(super) weights: Option<Weights>,
    #[serde(deserialize_with = "null")]
    pub(super) create_index: u64,
    #[serde(deserialize_with = "null")]
    pub(super) modify_index: u64,
    #[serde(deserialize_with = "null")]
    pub(super) namespace: String,
    #[serde(deserialize_with = "null")]
    pub(super) partition: String,
    #[serde(deserialize_with = "null")]
    pub(super) peer_name: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Weights {
    #[serde(default = "one")]
    pub(super) passing: i64,
    #[serde(default = "one")]
    pub(super) warning: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Check {
    #[serde(rename = "CheckID", deserialize_with = "null")]
    pub(super) id: String,
    #[serde(deserialize_with = "null")]
    pub(super) status: String,
    #[serde(rename = "ServiceID", deserialize_with = "null")]
    pub(super) service_id: String,
}

/// `/v1/agent/self`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Agent {
    pub(super) config: AgentConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AgentConfig {
    pub(super) node_name: String,
}

fn one() -> i64 {
    1
}

/// `null` is the default: Go writes it for empty slices and maps.
fn null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// The entries that can be read, and a sentence for each that cannot: one bad entry costs none of the others.
pub(super) fn entries(body: &[u8]) -> Result<(Vec<Entry>, Vec<String>), serde_json::Error> {
    let values: Option<Vec<serde_json::Value>> = serde_json::from_slice(body)?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for value in values.unwrap_or_default() {
        match Entry::deserialize(&value) {
            Ok(entry) => good.push(entry),
            Err(error) => bad.push(format!("an entry cannot be read: {error}")),
        }
    }
    Ok((good, bad))
}
