//! `/admin/config`.

use serde::{Deserialize, Serialize};

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
    /// Whether requests need a key.
    pub auth: bool,
    /// Whether answers may be stored.
    pub cached: bool,
    /// The name of its limits; `null` where there are none.
    pub limits: Option<String>,
}
