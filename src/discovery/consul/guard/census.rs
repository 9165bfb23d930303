//! What there is, by count: endpoints that can be picked, services that have any, registrations of each node.

use std::collections::HashMap;

use super::window::WINDOW;
use crate::catalog::{Endpoint, Health, Registration, ServiceName};

/// How much of what is gone now existed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Instances that are gone.
    pub(super) instances: usize,
    /// Services that lost any of them.
    pub(super) services: usize,
    /// Services that have no instance left.
    pub(super) outages: usize,
}

impl Extent {
    /// Adds what one service lost, and whether it has no instance left.
    pub(super) fn add(&mut self, instances: usize, is_out: bool) {
        self.instances += instances;
        self.services += 1;
        self.outages += usize::from(is_out);
    }

    /// Why what is lost is held.
    pub(super) fn reason(&self) -> String {
        let Extent { instances, services, .. } = self;
        format!("{instances} instances of {services} services vanished within {} s", WINDOW.as_secs())
    }
}

/// The count of what the agent has.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Endpoints that can be picked.
    live: usize,
    /// Those of each service that has any.
    services: HashMap<ServiceName, usize>,
    /// Registrations of each node that has any.
    nodes: HashMap<String, usize>,
}

impl Census {
    /// Counts anew after one endpoint became another one.
    pub(super) fn count(&mut self, old: Option<&Endpoint>, new: Option<&Endpoint>) {
        for registration in new.iter().flat_map(|endpoint| &endpoint.registrations) {
            match self.nodes.get_mut(&*registration.node) {
                Some(count) => *count += 1,
                None => drop(self.nodes.insert((*registration.node).to_owned(), 1)),
            }
        }
        for registration in old.iter().flat_map(|endpoint| &endpoint.registrations) {
            if let Some(count) = self.nodes.get_mut(&*registration.node) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.nodes.remove(&*registration.node);
                }
            }
        }
        if let Some(new) = new.filter(|endpoint| endpoint.available()) {
            *self.services.entry(new.key.service.clone()).or_default() += 1;
            self.live += 1;
        }
        if let Some(old) = old.filter(|endpoint| endpoint.available())
            && let Some(count) = self.services.get_mut(&old.key.service)
        {
            *count = count.saturating_sub(1);
            self.live = self.live.saturating_sub(1);
            if *count == 0 {
                self.services.remove(&old.key.service);
            }
        }
    }

    /// Whether nothing of a service can be picked.
    pub(super) fn is_out(&self, service: &ServiceName) -> bool {
        !self.services.contains_key(service)
    }

    /// Whether a node carries nothing.
    pub(super) fn is_bare(&self, node: &str) -> bool {
        !self.nodes.contains_key(node)
    }

    /// Whether losses of this extent are a crowd: of at least two services, and either over 30 % of all instances (at least 5), or all
    /// instances of over 20 % of the services (at least 3). What is a crowd stays one when it grows.
    pub(super) fn is_crowd(&self, extent: &Extent) -> bool {
        self.will_be_crowd(extent, &Extent::default())
    }

    /// The same, where a part of the extent can still be picked and is about to be lost.
    pub(super) fn will_be_crowd(&self, extent: &Extent, coming: &Extent) -> bool {
        let Extent { instances, services, outages } = *extent;
        let live = self.live.saturating_sub(coming.instances);
        let serving = self.services.len().saturating_sub(coming.outages);
        let many = instances >= 5 && 10 * instances > 3 * (live + instances);
        let wide = outages >= 3 && 5 * outages > serving + outages;
        services >= 2 && (many || wide)
    }
}

/// The check that Consul keeps of each node by gossip, <https://developer.hashicorp.com/consul/docs/architecture/gossip>.
pub(crate) const SERF_HEALTH: &str = "serfHealth";

/// Whether an endpoint is critical for no other reason than that gossip lost its node.
pub(crate) fn lost_by_gossip(endpoint: &Endpoint) -> bool {
    let by_gossip = |registration: &Registration| {
        let mut critical = registration.checks.iter().filter(|check| !matches!(&*check.status, "passing" | "warning"));
        registration.health == Health::Critical && critical.all(|check| check.node && *check.id == *SERF_HEALTH)
    };
    endpoint.health == Health::Critical && endpoint.registrations.iter().all(by_gossip)
}
