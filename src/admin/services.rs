//! `/admin/services`: every service, its routes and its instances, what Consul says of them and what we have seen.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Sources;
use crate::catalog::{Catalog, DiscoveryStatus, Endpoint};
use crate::plane::Pulse;
use crate::telemetry::access::rfc3339;
use crate::upstream::breaker::State;
use crate::upstream::{Member, Service};
use crate::worker::WorkerId;

/// The whole page, or the part about one service.
pub(super) fn page(sources: &Sources, only: Option<&str>) -> Value {
    let snapshot = sources.current.load();
    let mut shown: Vec<_> = snapshot.services.iter().flatten().collect();
    shown.retain(|service| only.is_none_or(|only| only == service.name.as_str()));
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    let services: Vec<_> =
        shown.iter().map(|service| one(service, snapshot.routes.to(service.name.as_str()).collect())).collect();
    let hidden: Vec<_> = snapshot
        .catalog
        .hidden
        .iter()
        .filter(|hidden| only.is_none_or(|only| only == hidden.name))
        .map(|hidden| json!({ "name": hidden.name, "reason": hidden.reason }))
        .collect();
    json!({
        "snapshot": { "version": snapshot.version, "complete": snapshot.catalog.complete },
        "discovery": discovery(&sources.discovery.borrow(), &snapshot.catalog),
        "services": services,
        "not_exposed": hidden,
        "gateway": gateway(&sources.pulse),
    })
}

fn one(service: &Service, routes: Vec<String>) -> Value {
    let instances: Vec<_> =
        service.members.iter().zip(&service.source.endpoints).map(|(m, e)| instance(m, e)).collect();
    let unroutable: Vec<_> = service
        .source
        .unroutable
        .iter()
        .map(|bad| json!({ "id": bad.id, "address": bad.address, "reason": bad.reason }))
        .collect();
    let mut words = json!({
        "name": service.name.as_str(),
        "provider": service.source.provider,
        "routes": routes,
        "instances": instances,
    });
    if !unroutable.is_empty() {
        words["unroutable"] = json!(unroutable);
    }
    if let Some(gone) = service.gone {
        words["gone_since"] = json!(stamp(ago(gone.elapsed())));
    }
    words
}

fn instance(member: &Member, endpoint: &Endpoint) -> Value {
    let totals = member.instance.totals();
    let now = Instant::now();
    let mut pause = member.instance.paused_for(now);
    if member.weight == 0 {
        pause = Duration::ZERO;
    }
    let first = endpoint.registrations.first();
    let mut words = json!({
        "address": endpoint.key.address.to_string(),
        "health": endpoint.health.as_str(),
        "weight": endpoint.weight,
        "picked": member.weight > 0 && member.instance.eligible(&mut Some(now)),
        "breaker": breaker(member),
        "in_flight": totals.in_flight,
        "requests": totals.requests,
        "failures": totals.failures,
        "tags": first.map(|first| &first.tags),
        "meta": first.map(|first| &first.meta),
        "registrations": endpoint.registrations.iter().map(registration).collect::<Vec<_>>(),
    });
    if !pause.is_zero() {
        words["paused_ms"] = json!(ms(pause));
    }
    words
}

fn registration(registration: &crate::catalog::Registration) -> Value {
    let checks: Vec<_> = registration
        .checks
        .iter()
        .map(|check| json!({ "id": check.id, "status": check.status, "of": if check.node { "node" } else { "service" } }))
        .collect();
    json!({
        "node": registration.node,
        "id": registration.id,
        "health": registration.health.as_str(),
        "weight": registration.weight,
        "create_index": registration.create_index,
        "modify_index": registration.modify_index,
        "checks": checks,
    })
}

fn breaker(member: &Member) -> Value {
    let view = member.instance.breaker.view();
    json!({
        "state": view.state.as_str(),
        "since": stamp(ago(view.since)),
        "why": view.why.map(|why| why.to_string()),
        "consecutive_failures": view.consecutive,
        "next_probe_ms": view.next_probe.map(ms),
        "opened": view.entered[State::Open.figure()],
    })
}

fn discovery(status: &DiscoveryStatus, catalog: &Catalog) -> Value {
    // The file's provider has nothing to say when the file lists nothing.
    let listed = catalog.services.values().any(|service| service.provider == "file");
    let providers: Vec<_> = status
        .providers
        .iter()
        .filter(|provider| provider.name != "file" || listed)
        .map(|provider| {
            let age = provider.last_answer.and_then(|at| at.elapsed().ok());
            json!({
                "provider": provider.name,
                "source": provider.source,
                "state": provider.state,
                "index": provider.index,
                "watched": provider.watched,
                "swept": provider.swept,
                "last_answer": provider.last_answer.map(stamp),
                "last_answer_age_ms": age.map(ms),
                "errors": provider.errors,
                "error": provider.error,
                "notes": provider.notes,
            })
        })
        .collect();
    json!(providers)
}

fn gateway(pulse: &Pulse) -> Value {
    let connections: Vec<_> = (0..pulse.workers()).map(|worker| pulse.open(WorkerId(worker))).collect();
    json!({
        "uptime_ms": ms(pulse.uptime()),
        "connections_per_worker": connections,
        "unparsed_requests": pulse.unparsed.load(Ordering::Relaxed),
        "refused_connections": pulse.refused.load(Ordering::Relaxed),
        "panics": pulse.panics.load(Ordering::Relaxed),
    })
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

fn ago(duration: Duration) -> SystemTime {
    SystemTime::now() - duration
}

fn stamp(time: SystemTime) -> String {
    rfc3339(time).to_string()
}
