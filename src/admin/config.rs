//! `/admin/config`: where the configuration comes from, and whether all that the file says now holds.

use super::sources::Sources;
use crate::config::routes;
use crate::pages::config::{Page, Route};
use crate::telemetry::access::rfc3339;

/// How the configuration fares.
pub(super) fn page(sources: &Sources) -> Page {
    let status = sources.config.borrow();
    let snapshot = sources.current.load();
    Page {
        source: status.source.clone(),
        loaded: rfc3339(status.loaded).to_string(),
        reloads: status.reloads,
        failed_reloads: status.failures,
        errors: status.errors.clone(),
        needs_restart: status.needs_restart.iter().map(|&section| section.to_owned()).collect(),
        warnings: snapshot.config.warnings.clone(),
        routes: snapshot.routes.all().iter().map(|entry| route(&entry.route)).collect(),
    }
}

fn route(route: &routes::Route) -> Route {
    Route {
        name: route.name.to_string(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        path: route.path.to_string(),
        methods: route.methods.iter().map(ToString::to_string).collect(),
        conditions: (route.headers.len() + route.query.len()) as u64,
        auth: route.policy.auth,
        cached: route.policy.cache.enabled,
        limits: route.policy.limits.as_ref().map(|set| set.name.to_string()),
    }
}
