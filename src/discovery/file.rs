//! Endpoints from `[[service]]` of the configuration: a provider that knows everything at once, and again when the
//! configuration was read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::outlet::Outlet;
use super::provider::Provider;
use crate::catalog::{Catalog, Endpoint, Health, Key, ProviderStatus, Registration, Service, ServiceName, Services};
use crate::config::{Config, StaticInstance, StaticService};
use crate::supervisor::Running;

/// The services of the configuration.
#[derive(Debug)]
pub struct File {
    config: watch::Receiver<Arc<Config>>,
}

impl File {
    /// A provider of a configuration's services.
    pub fn new(config: watch::Receiver<Arc<Config>>) -> File {
        File { config }
    }
}

impl Provider for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn source(&self) -> String {
        "[[service]] of the configuration".into()
    }

    fn run<'a>(&'a mut self, outlet: &'a Outlet) -> Running<'a> {
        Box::pin(async move {
            loop {
                let now = self.config.borrow_and_update().clone();
                let services: Services = now.services.iter().map(|s| (s.name.clone(), Arc::new(service(s)))).collect();
                let status = ProviderStatus { state: "watching", ..outlet.status() };
                let config_version = now.version;
                outlet.publish(Catalog { services, hidden: Vec::new(), config_version, complete: true }, status);
                if self.config.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

/// A service as the configuration lists it.
pub(super) fn service(from: &StaticService) -> Service {
    // Two instances on one address are one, which has the higher weight: so it is with every provider.
    let mut weights = BTreeMap::new();
    for StaticInstance { address, weight } in &from.instances {
        let highest = weights.entry(*address).or_insert(*weight);
        *highest = (*highest).max(*weight);
    }
    let endpoints = weights.into_iter().map(|(address, weight)| endpoint(&from.name, address, weight)).collect();
    Service { name: from.name.clone(), provider: "file", endpoints, unroutable: Vec::new() }
}

fn endpoint(service: &ServiceName, address: std::net::SocketAddr, weight: u32) -> Endpoint {
    let none: Arc<str> = "".into();
    let registration = Registration {
        node: none.clone(),
        id: address.to_string(),
        create_index: 0,
        modify_index: 0,
        checks: Vec::new(),
        health: Health::Passing,
        weight,
        tags: Arc::default(),
        meta: Arc::default(),
    };
    Endpoint {
        key: Key {
            datacenter: none.clone(),
            partition: none.clone(),
            namespace: none.clone(),
            peer: none,
            service: service.clone(),
            address,
        },
        registrations: vec![registration],
        health: Health::Passing,
        weight,
        suspect: None,
    }
}
