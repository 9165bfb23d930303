//! Services and their instances: requests, times, breakers.

use super::requests::by_status;
use crate::catalog::{Endpoint, Health};
use crate::snapshot::Snapshot;
use crate::telemetry::exposition::{Exposition, Kind};
use crate::upstream::breaker::State;
use crate::upstream::{Member, Service};

/// Adds them to the page.
pub(super) fn describe(page: &mut Exposition, snapshot: &Snapshot) {
    let services: Vec<&Service> = snapshot.services.values().map(|service| &**service).collect();
    of_services(page, &services);
    of_instances(page, &services);
}

fn of_services(page: &mut Exposition, services: &[&Service]) {
    let mut family = page.family("lictor_service_requests_total", Kind::Counter, "Requests by service and status.");
    for service in services {
        by_status(&mut family, &service.state.recorder, ("service", service.name.as_str()));
    }
    let help = "From a request's head to the end of its answer, by service. Streams are left out.";
    let mut family = page.family("lictor_service_request_duration_seconds", Kind::Histogram, help);
    for service in services {
        family.histogram(&[("service", service.name.as_str())], &service.state.recorder.timings());
    }
    let help = "Attempts besides a request's first, by service.";
    let mut family = page.family("lictor_service_retries_total", Kind::Counter, help);
    for service in services {
        family.sample(&[("service", service.name.as_str())], service.state.recorder.retries());
    }
    let help = "Instances of a service, by their provider's judgement.";
    let mut family = page.family("lictor_service_instances", Kind::Gauge, help);
    for service in services {
        for health in [Health::Passing, Health::Warning, Health::Critical, Health::Maintenance] {
            let count = service.source.endpoints.iter().filter(|endpoint| endpoint.health == health).count();
            family.sample(&[("service", service.name.as_str()), ("health", health.as_str())], count);
        }
    }
}

fn of_instances(page: &mut Exposition, services: &[&Service]) {
    let all: Vec<_> = services
        .iter()
        .flat_map(|service| service.members.iter().zip(&service.source.endpoints).map(move |pair| (*service, pair)))
        .map(|(service, (member, endpoint))| Labelled { service, member, name: label(service, endpoint) })
        .collect();
    let mut counts = |name, kind, help, value: &dyn Fn(&Member) -> u64| {
        let mut family = page.family(name, kind, help);
        all.iter().for_each(|one| family.sample(&one.labels(), value(one.member)));
    };
    counts("lictor_instance_attempts_total", Kind::Counter, "Attempts at an instance.", &|member| {
        member.instance.totals().requests
    });
    let help = "Attempts that failed by the instance's fault.";
    counts("lictor_instance_failures_total", Kind::Counter, help, &|member| member.instance.totals().failures);
    counts("lictor_instance_in_flight", Kind::Gauge, "Attempts under way.", &|member| {
        member.instance.totals().in_flight
    });
    let help = "1 while the instance may be picked: healthy by its provider, and let through by its breaker.";
    counts("lictor_instance_eligible", Kind::Gauge, help, &|member| {
        u64::from(member.weight > 0 && member.instance.eligible(&mut None))
    });
    let help = "Where an instance's breaker stands: 0 closed, 1 half open, 2 open.";
    counts("lictor_breaker_state", Kind::Gauge, help, &|member| member.instance.breaker.view().state.figure() as u64);
    let help = "How often an instance's breaker came to a state.";
    let mut family = page.family("lictor_breaker_transitions_total", Kind::Counter, help);
    for one in &all {
        let entered = one.member.instance.breaker.view().entered;
        for (state, count) in State::ALL.iter().zip(entered) {
            let [service, instance] = one.labels();
            family.sample(&[service, instance, ("to", state.as_str())], count);
        }
    }
    let help = "From an attempt to the first byte of its answer, by instance.";
    let mut family = page.family("lictor_instance_first_byte_seconds", Kind::Histogram, help);
    for one in &all {
        let timings = one.member.instance.first_bytes();
        // An instance that has never answered has no lines.
        if timings.count() > 0 {
            family.histogram(&one.labels(), &timings);
        }
    }
}

struct Labelled<'a> {
    service: &'a Service,
    member: &'a Member,
    name: String,
}

impl Labelled<'_> {
    fn labels(&self) -> [(&str, &str); 2] {
        [("service", self.service.name.as_str()), ("instance", &self.name)]
    }
}

/// An instance's address; where the service has several instances on that address, with the rest of its key.
fn label(service: &Service, endpoint: &Endpoint) -> String {
    let address = endpoint.key.address;
    let same = service.source.endpoints.iter().filter(|other| other.key.address == address).count();
    if same < 2 {
        return address.to_string();
    }
    let key = &endpoint.key;
    format!("{address}@{}/{}/{}/{}", key.datacenter, key.partition, key.namespace, key.peer)
}
