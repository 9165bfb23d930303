//! Consul's JSON, from 1.8 to 2.x: everything in it may be missing or null, and one bad entry does not lose the others.

mod agent;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub(crate) use agent::{AgentSelf, agent};

/// The answer of `/v1/catalog/services`: every name with the union of its instances' tags.
pub(crate) type Names = BTreeMap<String, Vec<String>>;

/// One entry of `/v1/health/service/X`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Entry {
    /// The node that carries it.
    #[serde(deserialize_with = "nullable")]
    pub(crate) node: Node,
    /// The registration.
    #[serde(deserialize_with = "nullable")]
    pub(crate) service: Registered,
    /// The checks of both.
    #[serde(deserialize_with = "nullable")]
    pub(crate) checks: Vec<HealthCheck>,
}

/// The node of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Node {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub(crate) node: String,
    /// Its address, for services that have none.
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    /// Its datacenter.
    #[serde(deserialize_with = "nullable")]
    pub(crate) datacenter: String,
    /// Its addresses for who is elsewhere: `lan`, `wan`.
    #[serde(deserialize_with = "nullable")]
    pub(crate) tagged_addresses: BTreeMap<String, Option<String>>,
}

/// The registration of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Registered {
    /// Empty for ordinary services, `connect-proxy` for sidecars.
    #[serde(deserialize_with = "nullable")]
    pub(crate) kind: String,
    /// Unique on its node.
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub(crate) id: String,
    /// Its name, which Consul finds in whatever case it is asked for.
    #[serde(rename = "Service", deserialize_with = "nullable")]
    pub(crate) name: String,
    /// Empty where it is the node's.
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    /// Wider than a port, so that an absurd one becomes a reason to show and not a parse error.
    #[serde(deserialize_with = "nullable")]
    pub(crate) port: i64,
    /// Named ports of Consul 2.0, instead of `Port`.
    #[serde(deserialize_with = "nullable")]
    pub(crate) ports: Vec<NamedPort>,
    /// Its addresses for who is elsewhere: `lan`, `wan`.
    #[serde(deserialize_with = "nullable")]
    pub(crate) tagged_addresses: BTreeMap<String, TaggedAddress>,
    /// The instance's own tags.
    #[serde(deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    /// The instance's metadata.
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: BTreeMap<String, Option<String>>,
    /// By state of health.
    #[serde(deserialize_with = "nullable")]
    pub(crate) weights: Weights,
    /// Raft index of its creation.
    #[serde(deserialize_with = "nullable")]
    pub(crate) create_index: u64,
    /// Raft index of its last change.
    #[serde(deserialize_with = "nullable")]
    pub(crate) modify_index: u64,
    /// Enterprise only.
    #[serde(deserialize_with = "nullable")]
    pub(crate) namespace: String,
    /// Enterprise only.
    #[serde(deserialize_with = "nullable")]
    pub(crate) partition: String,
    /// The cluster peer that it was imported from.
    #[serde(deserialize_with = "nullable")]
    pub(crate) peer_name: String,
}

impl Registered {
    /// `Port`, else the default of `Ports`, else the first of them, else 0.
    pub(crate) fn main_port(&self) -> i64 {
        let named = || self.ports.iter().find(|p| p.default).or(self.ports.first()).map_or(0, |p| p.port);
        if self.port == 0 { named() } else { self.port }
    }
}

/// An address of a service for who is elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct TaggedAddress {
    /// Its host.
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    /// Its port; 0 where it is the service's.
    #[serde(deserialize_with = "nullable")]
    pub(crate) port: i64,
}

/// A service as `/v1/catalog/node/NODE` lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct OnNode {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub(crate) service: String,
    /// Unique on its node.
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub(crate) id: String,
    /// Raft index of its last change.
    #[serde(deserialize_with = "nullable")]
    pub(crate) modify_index: u64,
}

/// What a check of `/v1/health/state/STATE` is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CheckOf {
    /// Its node.
    #[serde(deserialize_with = "nullable")]
    pub(crate) node: String,
    /// Its id, unique on its node.
    #[serde(rename = "CheckID", deserialize_with = "nullable")]
    pub(crate) id: String,
    /// The name of its service; empty for a check of the node.
    #[serde(rename = "ServiceName", deserialize_with = "nullable")]
    pub(crate) service: String,
}

/// One of the `Ports` of Consul 2.0.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct NamedPort {
    /// Its number.
    #[serde(deserialize_with = "nullable")]
    pub(crate) port: i64,
    /// Whether this is the port for those who name none.
    #[serde(deserialize_with = "nullable")]
    pub(crate) default: bool,
}

/// Weights by state of health; a missing one counts as 1.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Weights {
    /// While passing.
    pub(crate) passing: Option<i64>,
    /// While warning.
    pub(crate) warning: Option<i64>,
}

/// One check of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct HealthCheck {
    /// Unique on its node.
    #[serde(rename = "CheckID", deserialize_with = "nullable")]
    pub(crate) id: String,
    /// `passing`, `warning` or `critical`.
    #[serde(deserialize_with = "nullable")]
    pub(crate) status: String,
    /// Empty for a check of the node.
    #[serde(rename = "ServiceID", deserialize_with = "nullable")]
    pub(crate) service_id: String,
}

/// An entry that could not be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Node and service id, as far as these could be read.
    pub(crate) id: String,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Reads `/v1/catalog/services`. Tags of a wrong type are left out, but the name stays.
pub(crate) fn names(body: &[u8]) -> Result<Names, String> {
    #[cfg(test)]
    crate::supervisor::panic_on_command(&String::from_utf8_lossy(body));
    // Almost always all of it can be read at once.
    if let Ok(whole) = serde_json::from_slice::<BTreeMap<String, Option<Vec<String>>>>(body) {
        return Ok(whole.into_iter().map(|(name, tags)| (name, tags.unwrap_or_default())).collect());
    }
    let raw: BTreeMap<String, Value> = serde_json::from_slice(body).map_err(|e| not_understood(&e))?;
    let text = |tag: Value| if let Value::String(tag) = tag { Some(tag) } else { None };
    let tags = |value| match value {
        Value::Array(tags) => tags.into_iter().filter_map(text).collect(),
        _ => Vec::new(),
    };
    Ok(raw.into_iter().map(|(name, value)| (name, tags(value))).collect())
}

/// Reads `/v1/health/service/X`, entry by entry. Only an answer that is no list at all is an error.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<Result<Entry, Unreadable>>, String> {
    #[cfg(test)]
    crate::supervisor::panic_on_command(&String::from_utf8_lossy(body));
    if let Ok(whole) = serde_json::from_slice::<Vec<Entry>>(body) {
        return Ok(whole.into_iter().map(Ok).collect());
    }
    let raw: Vec<Value> = serde_json::from_slice(body).map_err(|e| not_understood(&e))?;
    Ok(raw.into_iter().map(entry).collect())
}

/// Reads `/v1/health/state/STATE`. A check that cannot be read is left out: its service is read all the same, in its turn.
pub(crate) fn checks(body: &[u8]) -> Result<Vec<CheckOf>, String> {
    if let Ok(whole) = serde_json::from_slice(body) {
        return Ok(whole);
    }
    let raw: Vec<Value> = serde_json::from_slice(body).map_err(|e| not_understood(&e))?;
    Ok(raw.into_iter().filter_map(|check| serde_json::from_value(check).ok()).collect())
}

/// Reads `/v1/catalog/datacenters`. They are sorted by the time that a packet takes to them from the servers that the agent asks, which take
/// none for their own: the first one is the agent's (<https://developer.hashicorp.com/consul/api-docs/catalog#list-datacenters>).
pub(crate) fn datacenters(body: &[u8]) -> Result<Vec<String>, String> {
    serde_json::from_slice(body).map_err(|e| not_understood(&e))
}

/// Reads the names of `/v1/catalog/nodes`.
pub(crate) fn nodes(body: &[u8]) -> Result<Vec<String>, String> {
    let raw: Vec<Node> = serde_json::from_slice(body).map_err(|e| not_understood(&e))?;
    Ok(raw.into_iter().map(|node| node.node).filter(|name| !name.is_empty()).collect())
}

/// Reads the services of `/v1/catalog/node/NODE`; none for a node that is not there.
pub(crate) fn node(body: &[u8]) -> Result<Vec<OnNode>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", bound = "T: Deserialize<'de>")]
    struct Whole<T> {
        #[serde(default, deserialize_with = "nullable")]
        services: BTreeMap<String, T>,
    }
    if let Ok(whole) = serde_json::from_slice::<Option<Whole<OnNode>>>(body) {
        return Ok(whole.map(|whole| whole.services.into_values().collect()).unwrap_or_default());
    }
    let whole: Option<Whole<Value>> = serde_json::from_slice(body).map_err(|e| not_understood(&e))?;
    let services = whole.map(|whole| whole.services).unwrap_or_default();
    Ok(services.into_values().filter_map(|service| serde_json::from_value(service).ok()).collect())
}

fn entry(value: Value) -> Result<Entry, Unreadable> {
    let node = value["Node"]["Node"].as_str().unwrap_or("?");
    let id = format!("{node}/{}", value["Service"]["ID"].as_str().unwrap_or("?"));
    serde_json::from_value(value).map_err(|e| Unreadable { id, reason: not_understood(&e) })
}

fn not_understood(error: &serde_json::Error) -> String {
    format!("Consul's JSON is not understood: {error}")
}

/// Takes `null` for the default, because that is how Go writes empty lists and maps.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_of_1_8_with_nulls_parse() {
        let body = br#"[{"Node":{"Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","Meta":null},
            "Service":{"ID":"a","Service":"a","Tags":null,"Meta":null,"Port":80,"Weights":null},"Checks":null}]"#;
        let entries = entries(body).unwrap();
        let entry = entries[0].as_ref().unwrap();
        assert_eq!((entry.service.id.as_str(), entry.service.main_port()), ("a", 80));
        assert!(entry.checks.is_empty() && entry.service.tags.is_empty() && entry.service.weights.passing.is_none());
    }

    #[test]
    fn the_default_of_several_ports_is_meant() {
        let body = br#"[{"Service":{"Ports":[{"Name":"a","Port":1},{"Name":"b","Port":2,"Default":true}]}}]"#;
        assert_eq!(entries(body).unwrap()[0].as_ref().unwrap().service.main_port(), 2);
    }

    #[test]
    fn one_bad_entry_does_not_lose_the_others() {
        let body = br#"[{"Node":{"Node":"n"},"Service":{"ID":"bad","Port":"eighty"}},7,{"Service":{"ID":"good"}}]"#;
        let entries = entries(body).unwrap();
        assert_eq!(entries[0].as_ref().unwrap_err().id, "n/bad");
        assert!(entries[1].is_err() && entries[2].is_ok());
    }

    #[test]
    fn what_can_be_read_is_the_same_at_once_as_beside_what_cannot() {
        let good = r#"{"Node":{"Node":"n","Meta":{"a":1}},"Service":{"ID":"a","Port":80,"Tags":["x","y"],"Weights":{"Passing":3}},
            "Checks":[{"CheckID":"c","Status":"passing","ServiceID":"a","Definition":{}}]}"#;
        let (alone, beside) = (format!("[{good},{good}]"), format!("[{good},{good},7]"));
        let (alone, beside) = (entries(alone.as_bytes()).unwrap(), entries(beside.as_bytes()).unwrap());
        assert_eq!(format!("{alone:?}"), format!("{:?}", &beside[..2]));
        let checks = |more: &str| checks(format!(r#"[{{"Node":"n","CheckID":"c"}}{more}]"#).as_bytes()).unwrap();
        assert_eq!(checks(""), checks(",7"));
        let names = |tag: &str| names(format!(r#"{{"a":["x"{tag}],"b":null}}"#).as_bytes()).unwrap();
        assert_eq!(names(""), names(",7"));
    }

    #[test]
    fn an_answer_that_is_no_list_is_an_error_and_not_empty() {
        assert!(entries(b"{}").is_err() && entries(b"null").is_err() && entries(b"").is_err());
        assert!(names(b"[]").is_err() && names(b"null").is_err());
        assert!(agent(b"{}").is_err() && agent(b"[]").is_err() && agent(b"7").is_err());
    }

    fn json() -> impl Strategy<Value = Value> {
        let keys = "Node|Service|Checks|ID|Tags|Meta|Weights|Passing|Port|Ports|Status|Address|[a-zA-Z]{0,4}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(keys, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_the_parsers_panic(value in json(), junk in prop::collection::vec(any::<u8>(), 0..64)) {
            let listed = Value::from(vec![value.clone()]);
            for body in [value.to_string().into_bytes(), listed.to_string().into_bytes(), junk] {
                let _ = (names(&body), agent(&body));
                if let Ok(entries) = entries(&body) {
                    let rules = crate::discovery::consul::tests::rules();
                    crate::discovery::consul::assemble::service(&crate::catalog::ServiceName::new("x").unwrap(), &entries, &rules);
                }
            }
        }
    }
}
