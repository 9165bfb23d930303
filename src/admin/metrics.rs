//! `/admin/metrics`: everything that is counted, for Prometheus. Labels are routes, issuers, and aggregates with their calls of the configuration, services and
//! instances of the catalog, limits and workers: nothing that a client sends becomes a label, so that their
//! number is bounded.

mod compose;
mod fleet;
mod issuers;
mod redis;
mod requests;
mod services;

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use super::sources::Sources;
use crate::catalog::ProviderStatus;
use crate::filter::cache::Event;
use crate::plane::balancers::Reason;
use crate::telemetry::exposition::{CONTENT_TYPE, Exposition, Kind};
use crate::telemetry::{self, process};
use crate::worker::WorkerId;

/// The page.
pub(super) fn page(sources: &Sources) -> Response<Bytes> {
    let mut page = Exposition::default();
    requests::describe(&mut page, sources);
    services::describe(&mut page, &sources.current.load());
    limits(&mut page, sources);
    cache(&mut page, sources);
    compose::describe(&mut page, sources);
    discovery(&mut page, sources);
    issuers::describe(&mut page, sources);
    fleet::describe(&mut page, sources);
    redis::describe(&mut page, sources);
    config(&mut page, sources);
    gateway(&mut page, sources);
    tasks(&mut page, sources);
    process::describe(&mut page);
    let mut response = Response::new(Bytes::from(page.text()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn limits(page: &mut Exposition, sources: &Sources) {
    let snapshot = sources.current.load();
    let help = "Requests refused by a limit: a route's, a plan's, or the default.";
    let mut family = page.family("lictor_limit_refused_total", Kind::Counter, help);
    for (set, kind, refused) in snapshot.filters.limits.sets() {
        family.sample(&[("limit", &set.name), ("of", kind)], refused);
    }
}

fn cache(page: &mut Exposition, sources: &Sources) {
    let figures = sources.cache.figures();
    let help = "Requests of cached routes, by what the cache had for them.";
    let mut family = page.family("lictor_cache_requests_total", Kind::Counter, help);
    for (result, event) in [
        ("hit", Event::Hit),
        ("miss", Event::Miss),
        ("stale", Event::Stale),
        ("coalesced", Event::Coalesced),
        ("bypass", Event::Bypassed),
    ] {
        family.sample(&[("result", result)], figures.count(event));
    }
    let help = "Answers stored.";
    page.single("lictor_cache_stored_total", Kind::Counter, help, figures.count(Event::Stored));
    let help = "Stored answers that an instance said still hold.";
    page.single("lictor_cache_revalidated_total", Kind::Counter, help, figures.count(Event::Revalidated));
    page.single("lictor_cache_cleared_total", Kind::Counter, "Answers cleared by hand.", figures.cleared);
    page.single("lictor_cache_entries", Kind::Gauge, "Answers in the store.", figures.entries);
    page.single("lictor_cache_bytes", Kind::Gauge, "Bytes of memory that the cache takes.", figures.bytes);
    page.single("lictor_cache_size_bytes", Kind::Gauge, "Bytes of memory that the cache may take.", figures.size);
}

fn discovery(page: &mut Exposition, sources: &Sources) {
    let status = sources.discovery.borrow().clone();
    let mut each = |name, kind, help, value: &dyn Fn(&ProviderStatus) -> Option<f64>| {
        let mut family = page.family(name, kind, help);
        for provider in &status.providers {
            if let Some(value) = value(provider) {
                family.sample(&[("provider", provider.name)], value);
            }
        }
    };
    each("lictor_discovery_up", Kind::Gauge, "1 while the provider answers.", &|provider| {
        Some(if provider.error.is_none() { 1.0 } else { 0.0 })
    });
    let help = "Since the provider last answered anything.";
    each("lictor_discovery_last_answer_age_seconds", Kind::Gauge, help, &|provider| {
        Some(provider.last_answer?.elapsed().ok()?.as_secs_f64())
    });
    each("lictor_discovery_errors_total", Kind::Counter, "Errors of the provider.", &|provider| {
        Some(provider.errors as f64)
    });
    each("lictor_discovery_index", Kind::Gauge, "Consul's index of the catalog watch.", &|provider| {
        (provider.index > 0).then_some(provider.index as f64)
    });
    let help = "Requests to the provider's source.";
    each("lictor_discovery_requests_total", Kind::Counter, help, &|provider| {
        provider.following.as_ref().map(|following| following.plan().requests as f64)
    });
    let help = "Services with a blocking query of their own.";
    each("lictor_discovery_watched_services", Kind::Gauge, help, &|provider| Some(provider.watched as f64));
    let help =
        "Services without one, because the budget of connections is used up: they are read when a signal says so.";
    each("lictor_discovery_swept_services", Kind::Gauge, help, &|provider| Some(provider.swept as f64));
    let help = "Instances that have vanished in a way that is not believed yet: they get requests only where a service has no other.";
    let snapshot = sources.current.load();
    each("lictor_discovery_suspects", Kind::Gauge, help, &|provider| {
        Some(snapshot.suspects.get(provider.name).copied().unwrap_or_default() as f64)
    });
    let help =
        "1 while services of the saved catalog are served, because no agent has answered for them since the start.";
    each("lictor_discovery_stale", Kind::Gauge, help, &|provider| {
        Some(if provider.restored_at.is_some() { 1.0 } else { 0.0 })
    });
    let help = "For how long what is known of a service may be out of date.";
    let mut family = page.family("lictor_discovery_lag_seconds", Kind::Gauge, help);
    for provider in &status.providers {
        let Some(following) = &provider.following else { continue };
        for service in snapshot.services.values().filter(|service| service.source.provider == provider.name) {
            let name = service.name.as_str();
            if let Some(lag) = following.service(name).and_then(|followed| followed.lag) {
                family.sample(&[("service", name)], lag.as_secs_f64());
            }
        }
    }
}

fn config(page: &mut Exposition, sources: &Sources) {
    let status = sources.config.borrow().clone();
    let help = "1 while the configuration that holds is all of the one in the file.";
    let current = u8::from(status.errors.is_empty() && status.needs_restart.is_empty());
    page.single("lictor_config_current", Kind::Gauge, help, current);
    let mut family =
        page.family("lictor_config_reloads_total", Kind::Counter, "How often the configuration was read again.");
    family.sample(&[("result", "success")], status.reloads);
    family.sample(&[("result", "failure")], status.failures);
    let help = "When the configuration that holds was read.";
    page.single("lictor_config_loaded_timestamp_seconds", Kind::Gauge, help, seconds(status.loaded));
}

fn gateway(page: &mut Exposition, sources: &Sources) {
    let pulse = &sources.pulse;
    let workers: Vec<_> = (0..pulse.workers()).map(|worker| (worker.to_string(), WorkerId(worker))).collect();
    let help = "Open client connections, by worker.";
    let mut family = page.family("lictor_client_connections", Kind::Gauge, help);
    workers.iter().for_each(|(name, worker)| family.sample(&[("worker", name)], pulse.open(*worker)));
    let help = "How long the newest snapshot took from the change that made it to the worker that uses it.";
    let mut family = page.family("lictor_snapshot_lag_seconds", Kind::Gauge, help);
    workers.iter().for_each(|(name, worker)| family.sample(&[("worker", name)], pulse.lag(*worker).as_secs_f64()));
    let version = sources.current.load().version;
    page.single("lictor_snapshot_version", Kind::Gauge, "Snapshots published so far.", version);
    for (name, help, counter) in [
        (
            "lictor_client_connections_refused_total",
            "Connections refused for want of file descriptors.",
            &pulse.refused,
        ),
        ("lictor_requests_unparsed_total", "Requests that were not HTTP, or broke off in their head.", &pulse.unparsed),
        ("lictor_panics_total", "Requests that a fault of the gateway ended.", &pulse.panics),
    ] {
        page.single(name, Kind::Counter, help, counter.load(Ordering::Relaxed));
    }
    let help = "Connections closed because they did not begin as a balancer's must (PROXY protocol), by reason.";
    let mut family = page.family("lictor_proxy_protocol_refused_total", Kind::Counter, help);
    for reason in Reason::ALL {
        family.sample(&[("reason", reason.name())], pulse.unannounced.count(reason));
    }
    if let Some(access) = &sources.access {
        let help = "Access lines lost: stdout could not be written, or not fast enough.";
        page.single("lictor_access_lines_dropped_total", Kind::Counter, help, access.lost());
    }
    let help = "Lines of the log lost: stderr could not be written, or not fast enough.";
    page.single("lictor_log_lines_dropped_total", Kind::Counter, help, telemetry::lost());
    let mut family = page.family("lictor_build_info", Kind::Gauge, "1, with the version that runs.");
    family.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.single("process_start_time_seconds", Kind::Gauge, "When the process began.", seconds(pulse.began));
}

/// The tasks of the control plane.
fn tasks(page: &mut Exposition, sources: &Sources) {
    let tasks = sources.pulse.control.tasks();
    let help = "1 while a task of the control plane does all that it is there for.";
    let mut family = page.family("lictor_task_up", Kind::Gauge, help);
    tasks.iter().for_each(|task| family.sample(&[("task", task.name)], u8::from(task.well)));
    let help = "How often a task of the control plane panicked or ended, and was begun again.";
    let mut family = page.family("lictor_task_failures_total", Kind::Counter, help);
    tasks.iter().for_each(|task| family.sample(&[("task", task.name)], task.failures));
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
