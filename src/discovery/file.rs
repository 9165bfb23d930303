//! Services written in the configuration, for use without Consul, or beside it.

use std::collections::BTreeMap;

use super::{Desk, Provider};
use crate::catalog::{Endpoint, Health, Key, Registration, Service};
use crate::config::StaticService;

/// The services of `[[service]]`.
#[derive(Debug)]
pub struct File(Vec<Service>);

impl File {
    /// From the configuration.
    pub fn new(services: &[StaticService]) -> File {
        File(services.iter().map(service).collect())
    }
}

impl Provider for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn source(&self) -> String {
        "[[service]]".into()
    }

    async fn run(self, desk: Desk) {
        self.0.into_iter().for_each(|service| desk.tell(service));
        desk.status(|status| status.state = "watching");
        desk.complete();
    }
}

fn service(written: &StaticService) -> Service {
    let mut endpoints: Vec<_> = written
        .instances
        .iter()
        .map(|instance| Endpoint {
            key: Key {
                datacenter: "".into(),
                partition: "".into(),
                namespace: "".into(),
                peer: "".into(),
                service: written.name.clone(),
                address: instance.address,
            },
            registrations: vec![Registration {
                node: String::new(),
                id: format!("{}-{}", written.name, instance.address),
                create_index: 0,
                modify_index: 0,
                checks: Vec::new(),
                health: Health::Passing,
                weight: instance.weight,
                tags: Vec::new(),
                meta: BTreeMap::new(),
            }],
            health: Health::Passing,
            weight: instance.weight,
        })
        .collect();
    endpoints.sort_by(|a, b| a.key.cmp(&b.key));
    endpoints.dedup_by(|a, b| a.key == b.key);
    Service { name: written.name.clone(), provider: "file", endpoints, unroutable: Vec::new() }
}
