//! `/admin/config`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the configuration comes from, and whether all of it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// The file, or `environment`.
    pub source: String,
    /// When the configuration that holds was read (RFC 3339).
    pub loaded: String,
    /// How often it was read again with success since the start.
    pub reloads: u64,
    /// How often that failed.
    pub failed_reloads: u64,
    /// Every mistake of the file as it is now, while these keep it from holding.
    pub errors: Vec<String>,
    /// Sections that were changed in the file and wait for a restart.
    pub needs_restart: Vec<String>,
    /// What the operator should know of the configuration that holds.
    pub warnings: Vec<String>,
    /// The routes, in the order in which they are written.
    pub routes: Vec<Route>,
    /// How Consul is asked, since the start; `null` where it is not.
    pub consul: Option<Consul>,
}

/// How Consul is asked. Of secrets it is only said that there are some.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consul {
    /// The agents, in order of preference.
    pub addresses: Vec<String>,
    /// Whether there is an ACL token.
    pub token: bool,
    /// Whether there are a name and a password for HTTP basic authentication.
    pub http_auth: bool,
    /// The tag of the instances that are exposed; `null` where all are.
    pub tag: Option<String>,
    /// The most connections to an agent.
    pub connections: u64,
    /// Whether instances on loopback are taken wherever the agent is.
    pub allow_loopback: bool,
    /// The namespace, where one is set.
    pub namespace: Option<String>,
    /// The admin partition, where one is set.
    pub partition: Option<String>,
    /// PEM file of the agent's authority, where one is set.
    pub ca_file: Option<String>,
    /// Directory of such files, where one is set.
    pub ca_path: Option<String>,
    /// PEM file of the client's certificate, where one is set.
    pub client_cert: Option<String>,
    /// The name that the agent's certificate must have, where it is not the address's host.
    pub tls_server_name: Option<String>,
    /// Whether the agent's certificate is verified.
    pub verify: bool,
    /// The datacenters in order of preference; an empty list means that of the agent.
    pub datacenters: Vec<String>,
    /// How long an endpoint that has vanished suspiciously is held.
    pub hold_ms: u64,
    /// The service that the token must see, where there is one.
    pub canary: Option<String>,
    /// Where what is known is kept for a cold start, where it is.
    pub snapshot: Option<Snapshot>,
}

/// A file that a cold start serves from while no agent answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Its path.
    pub file: String,
    /// Older than this, it is not used.
    pub max_age_ms: u64,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The hosts that it is for; an empty list means any.
    pub hosts: Vec<String>,
    /// The paths that it is for: `/orders/*`.
    pub path: String,
    /// The methods that it is for; an empty list means any.
    pub methods: Vec<String>,
    /// How many headers and query parameters a request must have.
    pub conditions: u64,
    /// What requests must show; `null` where they need nothing.
    pub auth: Option<Demand>,
    /// Whether answers may be stored.
    pub cached: bool,
    /// The name of its limits; `null` where there are none.
    pub limits: Option<String>,
}

/// What a route demands of its callers, in the words of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Demand {
    /// The credentials of which one is enough: `key`, `basic`, and the names of issuers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<String>,
    /// Those of which each is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<String>,
    /// Who shows none of them is anonymous.
    pub optional: bool,
    /// Scopes that a token must have, each of them.
    pub scopes: Vec<String>,
    /// What a token must be for: one of these; an empty list means whatever its issuer allows.
    pub audience: Vec<String>,
    /// Claims that must be so.
    pub claims: Vec<Claim>,
    /// The cookie that may carry a token.
    pub cookie: Option<String>,
    /// The origins whose pages may use that.
    pub origins: Vec<String>,
    /// Instances get the credential, too.
    pub pass: bool,
}

/// A demand on a claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// The way to it: the names of members from the outermost.
    pub claim: Vec<String>,
    /// It must be one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub is: Vec<Value>,
    /// It must be a list with this member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<Value>,
}
