//! `/admin/config`: where the configuration comes from, and whether what the file says now holds.

use serde_json::{Value, json};

use super::Sources;
use crate::telemetry::access::rfc3339;

/// How the configuration fares.
pub(super) fn page(sources: &Sources) -> Value {
    let status = sources.config.borrow();
    let snapshot = sources.current.load();
    let routes: Vec<_> = snapshot
        .routes
        .all()
        .iter()
        .map(|entry| {
            let route = &entry.route;
            json!({
                "name": &*route.name,
                "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "path": route.path.to_string(),
                "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
                "conditions": route.headers.len() + route.query.len(),
                "auth": route.policy.auth,
                "cached": route.policy.cache.enabled,
                "limits": route.policy.limits.as_ref().map(|set| &*set.name),
            })
        })
        .collect();
    json!({
        "source": status.source,
        "loaded": rfc3339(status.loaded).to_string(),
        "reloads": status.reloads,
        "failed_reloads": status.failures,
        "errors": status.errors,
        "needs_restart": status.needs_restart,
        "warnings": snapshot.config.warnings,
        "routes": routes,
    })
}
