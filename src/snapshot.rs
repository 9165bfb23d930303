//! The one idea: routes and services at one moment, a pure function of what we were told, what exists, and what we
//! already know. One writer swaps it; each worker reads it.

mod next;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::catalog::{Catalog, ServiceName};
use crate::config::Config;
use crate::filter::Filters;
use crate::plane::Wake;
use crate::route::Table;
use crate::upstream::Service;

pub use next::{Effect, Next};

/// How long an extinct service is remembered: until then it is 503 `no_instances`, after it 404.
const TOMBSTONE: Duration = Duration::from_secs(600);

/// How long a departed instance is remembered: it may come back, or have departed by mistake.
const RETURN: Duration = Duration::from_secs(300);

/// How many extinct services are remembered at most.
const TOMBSTONES: usize = 10_000;

/// Everything that a request needs to know, at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the swaps of this process.
    pub version: u64,
    /// When what is new in it was taken up.
    pub taken: Instant,
    /// What we were told.
    pub config: Arc<Config>,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// Which requests go to which service.
    pub routes: Arc<Table>,
    /// What requests pass.
    pub filters: Arc<Filters>,
    /// By slot; a slot without a service is free.
    pub services: Vec<Option<Arc<Service>>>,
    slots: HashMap<ServiceName, usize, foldhash::fast::FixedState>,
}

/// What the next snapshot follows from, besides the one before.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What we were told.
    pub config: Arc<Config>,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// When this is.
    pub now: Instant,
}

impl Snapshot {
    /// Before anything is known: every service is 503 `no_catalog`.
    pub fn empty(config: Arc<Config>) -> Snapshot {
        Snapshot {
            version: 0,
            taken: Instant::now(),
            routes: Arc::new(Table::new(&config.routes, config.workers)),
            filters: Arc::new(Filters::new(&config, None)),
            config,
            catalog: Arc::default(),
            services: Vec::new(),
            slots: HashMap::default(),
        }
    }

    /// The service of a name.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.slots.get(name).and_then(|&slot| self.services[slot].as_ref())
    }

    /// The snapshot after `previous`. It is pure: it reads no live state of instances or limits, and changes nothing. What is to be
    /// done to live instances is in the effects; counters of limits are shared by both snapshots.
    pub fn next(inputs: &Inputs, previous: &Snapshot) -> Next {
        let snapshot = Snapshot {
            version: previous.version + 1,
            taken: inputs.now,
            config: inputs.config.clone(),
            catalog: inputs.catalog.clone(),
            routes: previous.routes.clone(),
            filters: previous.filters.clone(),
            services: previous.services.clone(),
            slots: previous.slots.clone(),
        };
        let mut next = Next { snapshot, effects: Vec::new(), changes: Vec::new(), due: None };
        if !Arc::ptr_eq(&inputs.config, &previous.config) {
            next.reconfigure(&inputs.config, previous);
        }
        next.take_in(inputs);
        next.expire(inputs);
        next
    }
}

/// Where the snapshot is published.
#[derive(Clone, Debug)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Starts with this one.
    pub fn new(snapshot: Snapshot) -> Current {
        Current(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// The newest, for whoever asks rarely.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// A worker's reader.
    pub fn reader(&self) -> Reader {
        Cache::new(self.0.clone())
    }
}

/// A worker's way to the newest snapshot: one load and a compare for each look.
pub type Reader = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// The single writer: takes the newest inputs, computes, swaps, wakes the workers, applies the effects. The first change
/// applies at once; what arrives meanwhile joins the next round. It ends when the catalog's senders are gone.
pub async fn write(
    current: Current,
    mut config: watch::Receiver<Arc<Config>>,
    mut catalog: watch::Receiver<Arc<Catalog>>,
    wake: Wake,
    mut old: mpsc::Receiver<Arc<Snapshot>>,
) {
    let mut due = None;
    loop {
        // The file's services come by the catalog: a configuration and what it lists change in one swap.
        while catalog.borrow_and_update().config_version < config.borrow().version {
            if catalog.changed().await.is_err() {
                return;
            }
        }
        let inputs = Inputs {
            config: config.borrow_and_update().clone(),
            catalog: catalog.borrow_and_update().clone(),
            now: Instant::now(),
        };
        due = publish(&current, &inputs, &wake, due);
        let until = due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        loop {
            tokio::select! {
                changed = catalog.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok(()) = config.changed() => break,
                () = tokio::time::sleep_until(until) => break,
                // Workers hand over what they let go of: freeing a big snapshot is no work for them.
                Some(snapshot) = old.recv() => drop(snapshot),
            }
        }
    }
}

fn publish(current: &Current, inputs: &Inputs, wake: &Wake, due: Option<Instant>) -> Option<Instant> {
    let previous = current.load();
    let unchanged = Arc::ptr_eq(&inputs.config, &previous.config) && Arc::ptr_eq(&inputs.catalog, &previous.catalog);
    if unchanged && due.is_none_or(|due| due > inputs.now) {
        return due;
    }
    let next = Snapshot::next(inputs, &previous);
    for effect in &next.effects {
        match effect {
            Effect::Arrived(instance) => instance.set_departed(false),
            Effect::Departed(instance) => instance.set_departed(true),
            Effect::ProbeNow(instance) => instance.breaker.probe_now(),
            Effect::Tuned(instance, policy) => instance.tune(policy),
        }
    }
    let version = next.snapshot.version;
    current.0.store(Arc::new(next.snapshot));
    wake.all();
    for change in &next.changes {
        tracing::info!(snapshot = version, "{change}");
    }
    next.due
}

#[cfg(test)]
mod tests;
