//! `/admin/services`: every service, its routes and its instances, what its provider knows of them and what was seen here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::sources::Sources;
use crate::catalog::{self, DiscoveryStatus, Endpoint, Followed, ProviderStatus};
use crate::pages::services::{
    Breaker, Check, Gateway, Hidden, Instance, Page, Plan, Provider, Registration, Service, Snapshot, Suspect,
    Unroutable,
};
use crate::plane::Pulse;
use crate::snapshot;
use crate::telemetry::access::rfc3339;
use crate::upstream::breaker::State;
use crate::upstream::{self, Member};
use crate::worker::WorkerId;

/// The whole page, or the part about one service.
pub(super) fn page(sources: &Sources, only: Option<&str>) -> Page {
    let snapshot = sources.current.load();
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let status = sources.discovery.borrow().clone();
    let shown = |found: &Arc<upstream::Service>| {
        let name = found.name.as_str();
        let provider = status.providers.iter().find(|provider| provider.name == found.source.provider);
        let followed = provider.and_then(|provider| provider.following.as_ref()?.service(name));
        service(found, followed, snapshot.routes.to(name).collect())
    };
    let services = match only {
        Some(name) => snapshot.service(name).map(shown).into_iter().collect(),
        None => snapshot.services.values().map(shown).collect(),
    };
    let hidden = snapshot.catalog.hidden.iter().filter(|hidden| wanted(&hidden.name));
    Page {
        snapshot: Snapshot { version: snapshot.version, complete: snapshot.catalog.complete },
        discovery: discovery(&status, &snapshot),
        services,
        not_exposed: hidden.map(|h| Hidden { name: h.name.clone(), reason: h.reason.clone() }).collect(),
        gateway: gateway(&sources.pulse),
    }
}

fn service(service: &upstream::Service, followed: Option<Followed>, routes: Vec<String>) -> Service {
    let source = &service.source;
    let unroutable = source.unroutable.iter();
    Service {
        name: service.name.to_string(),
        provider: source.provider.to_owned(),
        followed: followed.map(|followed| followed.by.to_owned()),
        lag_ms: followed.and_then(|followed| followed.lag.map(ms)),
        routes,
        instances: service.members.iter().zip(&source.endpoints).map(|(m, e)| instance(m, e)).collect(),
        unroutable: unroutable
            .map(|bad| Unroutable { id: bad.id.clone(), address: bad.address.clone(), reason: bad.reason.clone() })
            .collect(),
        gone_since: service.gone.map(|gone| stamp(ago(gone.elapsed()))),
    }
}

fn instance(member: &Member, endpoint: &Endpoint) -> Instance {
    let totals = member.instance.totals();
    let now = Instant::now();
    let paused = member.instance.paused_for(now);
    let first = endpoint.registrations.first();
    Instance {
        address: endpoint.key.address.to_string(),
        health: endpoint.health.as_str().to_owned(),
        weight: endpoint.weight,
        picked: member.weight > 0 && member.instance.eligible(&mut Some(now)),
        breaker: breaker(member),
        in_flight: totals.in_flight,
        requests: totals.requests,
        failures: totals.failures,
        tags: first.map(|first| first.tags.iter().map(ToString::to_string).collect()),
        meta: first.map(|first| first.meta.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
        registrations: endpoint.registrations.iter().map(registration).collect(),
        // An instance without a weight gets no requests anyway: that it asked for a pause is no news.
        paused_ms: (member.weight > 0 && !paused.is_zero()).then(|| ms(paused)),
        suspect: endpoint.suspect.as_deref().map(|suspect| Suspect {
            reason: suspect.reason.to_string(),
            since: stamp(suspect.since),
            until: stamp(suspect.until),
        }),
    }
}

fn registration(registration: &catalog::Registration) -> Registration {
    let checks = registration.checks.iter().map(|check| Check {
        id: check.id.to_string(),
        status: check.status.to_string(),
        of: if check.node { "node" } else { "service" }.to_owned(),
    });
    Registration {
        node: registration.node.to_string(),
        id: registration.id.clone(),
        health: registration.health.as_str().to_owned(),
        weight: registration.weight,
        create_index: registration.create_index,
        modify_index: registration.modify_index,
        checks: checks.collect(),
    }
}

fn breaker(member: &Member) -> Breaker {
    let view = member.instance.breaker.view();
    Breaker {
        state: view.state.as_str().to_owned(),
        since: stamp(ago(view.since)),
        why: view.why.map(|why| why.to_string()),
        consecutive_failures: view.consecutive,
        next_probe_ms: view.next_probe.map(ms),
        opened: view.entered[State::Open.figure()],
    }
}

fn discovery(status: &DiscoveryStatus, snapshot: &snapshot::Snapshot) -> Vec<Provider> {
    // The file's provider is left out where the file lists no service.
    let listed = !snapshot.config.services.is_empty();
    status
        .providers
        .iter()
        .filter(|provider| provider.name != "file" || listed)
        .map(|one| provider(one, snapshot.suspects.get(one.name).copied().unwrap_or_default()))
        .collect()
}

fn provider(provider: &ProviderStatus, suspects: usize) -> Provider {
    let age = provider.last_answer.and_then(|at| at.elapsed().ok());
    Provider {
        provider: provider.name.to_owned(),
        source: provider.source.clone(),
        state: provider.state.to_owned(),
        index: provider.index,
        watched: provider.watched as u64,
        swept: provider.swept as u64,
        suspects: suspects as u64,
        stale_since: provider.restored_at.map(stamp),
        plan: provider.following.as_ref().map(|following| plan(following.plan())),
        last_answer: provider.last_answer.map(stamp),
        last_answer_age_ms: age.map(ms),
        errors: provider.errors,
        error: provider.error.clone(),
        notes: provider.notes.clone(),
    }
}

fn plan(plan: catalog::Plan) -> Plan {
    let catalog::Plan { name, agent, requests, per_second } = plan;
    Plan { name: name.to_owned(), agent, requests, requests_per_second: (per_second * 10.0).round() / 10.0 }
}

fn gateway(pulse: &Pulse) -> Gateway {
    Gateway {
        uptime_ms: ms(pulse.uptime()),
        connections_per_worker: (0..pulse.workers()).map(|worker| pulse.open(WorkerId(worker)) as u64).collect(),
        unparsed_requests: pulse.unparsed.load(Ordering::Relaxed),
        refused_connections: pulse.refused.load(Ordering::Relaxed),
        panics: pulse.panics.load(Ordering::Relaxed),
    }
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
