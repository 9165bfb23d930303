//! What the fake agent knows, and what it can be asked for, as plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

/// The node that the agent itself is, and that carries what names no other.
pub const OWN_NODE: &str = "fake";

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The service's name.
    pub name: String,
    /// Unique on its node.
    pub id: String,
    /// The node that carries it.
    pub node: String,
    /// Its address, and its port.
    pub address: (String, u16),
    /// Its address for other datacenters (`TaggedAddresses.wan`), where it has one.
    pub wan: Option<(String, u16)>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its metadata.
    pub meta: BTreeMap<String, String>,
    /// The state of its check, `service:ID`; `None` where it has no check.
    pub check: Option<String>,
}

impl Instance {
    /// A passing instance on the agent's own node, with the tag `gateway`.
    pub fn new(name: &str, id: &str, address: SocketAddr) -> Instance {
        Instance {
            name: name.to_owned(),
            id: id.to_owned(),
            node: OWN_NODE.to_owned(),
            address: (address.ip().to_string(), address.port()),
            wan: None,
            tags: vec!["gateway".to_owned()],
            meta: BTreeMap::new(),
            check: Some("passing".to_owned()),
        }
    }

    /// The same on another node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Instance {
        node.clone_into(&mut self.node);
        self
    }

    /// The same with these tags, and no others.
    #[must_use]
    pub fn tagged(mut self, tags: &[&str]) -> Instance {
        self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    /// One that is written as `PUT /v1/agent/service/register` takes it; `Node` may be added, and `Status` for its check.
    ///
    /// # Errors
    /// Which key is missing.
    pub fn read(value: &Value) -> Result<Instance, String> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let texts = |key: &str| {
            let list = value[key].as_array().into_iter().flatten();
            list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let name = text("Name").ok_or("a `Name` is missing")?;
        let port = value["Port"].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or("a `Port` is missing")?;
        let meta = value["Meta"].as_object().into_iter().flatten();
        let meta = meta.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        Ok(Instance {
            id: text("ID").unwrap_or_else(|| name.clone()),
            node: text("Node").unwrap_or_else(|| OWN_NODE.to_owned()),
            address: (text("Address").unwrap_or_else(|| "127.0.0.1".to_owned()), port),
            wan: None,
            tags: texts("Tags"),
            meta: meta.collect(),
            check: Some(text("Status").unwrap_or_else(|| "passing".to_owned())),
            name,
        })
    }
}

/// When something was created and changed last, in indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) created: u64,
    pub(super) modified: u64,
}

impl Age {
    pub(super) fn new(index: u64) -> Age {
        Age { created: index, modified: index }
    }
}

/// A registration with what the agent adds to it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) instance: Instance,
    pub(super) age: Age,
    pub(super) check: Age,
}

/// A member of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) address: String,
    pub(super) age: Age,
    /// The state of `serfHealth`, which every node has.
    pub(super) serf: (String, Age),
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Query {
    Leader,
    Itself,
    Datacenters,
    Services,
    Nodes,
    Node(String),
    Listing(String),
    Health(String),
    State(String),
    /// A key of the store, which is empty.
    Key,
}

impl Query {
    /// What a path asks for, if it is one that gateways ask.
    pub(super) fn of(path: &str) -> Option<Query> {
        let after = |prefix: &str| path.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(str::to_owned);
        Some(match path {
            "/v1/status/leader" => Query::Leader,
            "/v1/agent/self" => Query::Itself,
            "/v1/catalog/datacenters" => Query::Datacenters,
            "/v1/catalog/services" => Query::Services,
            "/v1/catalog/nodes" => Query::Nodes,
            _ if path.starts_with("/v1/kv/") => Query::Key,
            _ => after("/v1/catalog/node/")
                .map(Query::Node)
                .or_else(|| after("/v1/catalog/service/").map(Query::Listing))
                .or_else(|| after("/v1/health/service/").map(Query::Health))
                .or_else(|| after("/v1/health/state/").map(Query::State))?,
        })
    }

    /// Whether it can wait for a change, and so has an index.
    pub(super) fn blocks(&self) -> bool {
        !matches!(self, Query::Leader | Query::Itself | Query::Datacenters)
    }

    /// What it is answered when there is nothing, or nothing that may be seen.
    pub(super) fn nothing(&self) -> &'static str {
        match self {
            Query::Services => "{}",
            Query::Node(_) => "null",
            _ => "[]",
        }
    }
}
