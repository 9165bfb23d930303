//! Counts the bytes that an instance takes which no request was sent to: what the catalog says of it, and what the snapshot holds.
//! Workers hold nothing of services that they were not asked for.

use std::alloc::System;
use std::sync::Arc;

use integration::world::config;
use lictor::catalog::{Catalog, Check, Endpoint, Health, Key, Meta, Registration, Service, ServiceName, Tags};
use lictor::snapshot::{Inputs, Snapshot};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERVICES: usize = 1000;

const EACH: usize = 10;

/// How many bytes an instance may take, for so many workers; whoever raises it says why here. The allocator rounds up and keeps some for
/// itself: of resident memory, 2,048 bytes are wanted for two workers.
const ALLOWED: [(usize, f64); 2] = [(2, 1050.0), (16, 1320.0)];

/// The catalog as Consul's provider makes it: what is equal within a service is shared.
fn catalog() -> Arc<Catalog> {
    let service = |number: usize| {
        let name = ServiceName::new(&format!("service-{number:04}")).expect("a name");
        let texts = ["dc1", "", "passing", "serfHealth"].map(Arc::<str>::from);
        let tags: Tags = ["gateway".into(), "v1".into()].into();
        let meta: Meta = [("team".into(), "shop".into()), ("version".into(), "1.2.3".into())].into();
        let endpoint = |index| endpoint(&name, number * EACH + index, &texts, (&tags, &meta));
        let endpoints = (0..EACH).map(endpoint).collect();
        let service = Service { name: name.clone(), provider: "consul", endpoints, unroutable: Vec::new() };
        (name, Arc::new(service))
    };
    Arc::new(Catalog { services: (0..SERVICES).map(service).collect(), complete: true, ..Catalog::default() })
}

fn endpoint(name: &ServiceName, number: usize, texts: &[Arc<str>; 4], (tags, meta): (&Tags, &Meta)) -> Endpoint {
    let [dc, none, passing, serf] = texts;
    let [.., high, low] = number.to_be_bytes();
    let check = |id: Arc<str>, node| Check { id, status: passing.clone(), node };
    let registration = Registration {
        node: format!("node-{low:03}").into(),
        id: format!("{name}-{number}"),
        create_index: 1,
        modify_index: 1,
        checks: vec![check(serf.clone(), true), check(format!("service:{name}-{number}").into(), false)],
        health: Health::Passing,
        weight: 1,
        tags: tags.clone(),
        meta: meta.clone(),
    };
    let key = Key {
        datacenter: dc.clone(),
        partition: none.clone(),
        namespace: none.clone(),
        peer: none.clone(),
        service: name.clone(),
        address: ([10, 0, high, low], 8080).into(),
    };
    Endpoint { key, registrations: vec![registration], health: Health::Passing, weight: 1, suspect: None }
}

#[test]
fn an_instance_that_no_request_was_sent_to_takes_no_more_memory_than_recorded() {
    for (workers, allowed) in ALLOWED {
        let config = Arc::new(config(&format!("workers = {workers}\n")));
        let empty = Snapshot::empty(config.clone());
        let region = Region::new(GLOBAL);
        let taken = || {
            let change = region.change();
            (change.bytes_allocated as f64 - change.bytes_deallocated as f64) / (SERVICES * EACH) as f64
        };
        let catalog = catalog();
        let known = taken();
        let inputs = Inputs { config, catalog, keys: Arc::default(), now: tokio::time::Instant::now() };
        let next = Snapshot::next(&inputs, &empty);
        assert_eq!(next.changes.len(), SERVICES);
        let snapshot = next.snapshot;
        drop((next.effects, next.changes));
        let all = taken();
        println!("{workers} workers: {all:.0} bytes an instance, {known:.0} of them for what the catalog says");
        assert!(all <= allowed, "{all:.0} bytes an instance with {workers} workers, {allowed} are allowed");
        assert!(all > 500.0 && snapshot.service("service-0000").is_some(), "nothing was counted");
    }
}
