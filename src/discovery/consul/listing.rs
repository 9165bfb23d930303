//! From the names of a catalog to the services that may be exposed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assemble;
use super::model::Names;
use crate::catalog::ServiceName;
use crate::config::Expose;

/// The services of the catalog.
pub(super) struct Listing {
    /// Those that may be exposed, sorted; whether they are depends on the tags of each instance.
    pub(super) candidates: Arc<Vec<ServiceName>>,
    /// The others by name, and why they are not exposed.
    pub(super) hidden: Arc<BTreeMap<String, String>>,
    /// Whether the service that the token must see is among them.
    pub(super) canary: bool,
}

/// Tells the candidates from the services that are hidden whatever their instances say.
pub(super) fn listing(names: &Names, (expose, gateways): (&Expose, &str), canary: Option<&str>) -> Listing {
    let (mut candidates, mut hidden) = (Vec::new(), BTreeMap::new());
    for (name, tags) in names {
        let open = || match expose {
            Expose::All => assemble::infrastructure(name),
            Expose::Tagged(_) => assemble::not_exposed(expose, tags),
        };
        let reason = assemble::gateways(name, gateways).or_else(open);
        match (reason, ServiceName::new(name)) {
            (Some(reason), _) => drop(hidden.insert(name.clone(), reason)),
            (None, Some(name)) => candidates.push(name),
            (None, None) => {
                hidden.insert(name.clone(), "its name does not fit a segment of a path".into());
            }
        }
    }
    candidates.sort();
    let (candidates, hidden) = (Arc::new(candidates), Arc::new(hidden));
    Listing { candidates, hidden, canary: canary.is_some_and(|canary| names.contains_key(canary)) }
}
