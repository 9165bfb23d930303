//! The one idea: routes and services at one moment, a pure function of what we were told, what exists, and what we
//! already know. One writer swaps it; each worker reads it.

mod next;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use imbl::OrdSet;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::catalog::{ByName, Catalog, ServiceName};
use crate::config::Config;
use crate::filter::{Filters, Shared};
use crate::plane::Wake;
use crate::route::Table;
use crate::supervisor::{Supervisor, caught};
use crate::token::KeySets;
use crate::token::counts::Counts;
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
    /// The keys of issuers.
    pub keys: Arc<KeySets>,
    /// Which requests go to which service.
    pub routes: Arc<Table>,
    /// What requests pass.
    pub filters: Arc<Filters>,
    /// The services of the catalog, and those that it had lately.
    pub services: ByName<Service>,
    /// How many of their instances are suspect, by provider; a provider without any is left out.
    pub suspects: BTreeMap<&'static str, usize>,
    /// Those that it had lately, and when each became extinct: the oldest is the first.
    extinct: OrdSet<(Instant, ServiceName)>,
}

/// What the next snapshot follows from, besides the one before.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What we were told.
    pub config: Arc<Config>,
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// The keys of issuers.
    pub keys: Arc<KeySets>,
    /// When this is.
    pub now: Instant,
}

impl Snapshot {
    /// Before anything is known: every service is 503 `no_catalog`.
    pub fn empty(config: Arc<Config>) -> Snapshot {
        let shared = Arc::new(Shared::new(None, Counts::new(config.workers)));
        Snapshot::asking(config, Arc::default(), &shared)
    }

    /// The same, where filters have somebody to ask about tokens, and know by these keys which ones are revoked.
    pub fn asking(config: Arc<Config>, keys: Arc<KeySets>, shared: &Arc<Shared>) -> Snapshot {
        Snapshot {
            version: 0,
            taken: Instant::now(),
            routes: Arc::new(Table::new(&config.routes, config.workers)),
            filters: Arc::new(Filters::new(&config, &keys, shared, None)),
            keys,
            config,
            catalog: Arc::default(),
            services: ByName::new(),
            suspects: BTreeMap::new(),
            extinct: OrdSet::new(),
        }
    }

    /// The service of a name.
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The snapshot after `previous`. It is pure: it reads no live state of instances or limits, and changes nothing. What is to be
    /// done to live instances is in the effects; counters of limits are shared by both snapshots. A new catalog costs what differs in
    /// it; only a new configuration makes it look at every service.
    pub fn next(inputs: &Inputs, previous: &Snapshot) -> Next {
        let snapshot = Snapshot {
            version: previous.version + 1,
            taken: inputs.now,
            config: inputs.config.clone(),
            catalog: inputs.catalog.clone(),
            keys: inputs.keys.clone(),
            routes: previous.routes.clone(),
            filters: previous.filters.clone(),
            services: previous.services.clone(),
            suspects: previous.suspects.clone(),
            extinct: previous.extinct.clone(),
        };
        let mut next = Next { snapshot, effects: Vec::new(), changes: Vec::new(), visited: 0, due: None };
        if !Arc::ptr_eq(&inputs.config, &previous.config) {
            next.reconfigure(inputs, previous);
        } else if !Arc::ptr_eq(&inputs.keys, &previous.keys) {
            next.refilter(inputs, previous);
        }
        next.take_in(inputs, previous);
        next.expire(inputs.now);
        next
    }
}

/// Where the snapshot is published.
#[derive(Clone, Debug)]
pub struct Current {
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Told of each swap.
    swapped: Arc<Notify>,
}

impl Current {
    /// Starts with this one.
    pub fn new(snapshot: Snapshot) -> Current {
        Current { snapshot: Arc::new(ArcSwap::from_pointee(snapshot)), swapped: Arc::default() }
    }

    /// The newest, for whoever asks rarely.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Waits until the newest is such a one: requests that begin from then on use it, or a later one.
    pub async fn until(&self, wanted: impl Fn(&Snapshot) -> bool) {
        loop {
            // It is told of swaps from here on, so that none is missed between the look and the wait.
            let swapped = self.swapped.notified();
            if wanted(&self.load()) {
                return;
            }
            swapped.await;
        }
    }

    fn swap(&self, next: Snapshot) {
        self.snapshot.store(Arc::new(next));
        self.swapped.notify_waiters();
    }

    /// A worker's reader.
    pub fn reader(&self) -> Reader {
        Cache::new(self.snapshot.clone())
    }
}

/// A worker's way to the newest snapshot: one load and a compare for each look.
pub type Reader = Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// Where the writer's inputs come from.
type Received = (watch::Receiver<Arc<Config>>, watch::Receiver<Arc<Catalog>>, watch::Receiver<Arc<KeySets>>);

/// What the supervisor calls the writer.
pub const WRITER: &str = "snapshot";

/// The single writer: takes the newest inputs, computes, swaps, wakes the workers, applies the effects. The first change
/// applies at once; what arrives meanwhile joins the next round.
#[derive(Debug)]
pub struct Writer {
    current: Current,
    config: watch::Receiver<Arc<Config>>,
    catalog: watch::Receiver<Arc<Catalog>>,
    keys: watch::Receiver<Arc<KeySets>>,
    wake: Wake,
    /// Workers hand over what they let go of: freeing a big snapshot is no work for them.
    old: mpsc::Receiver<Arc<Snapshot>>,
    supervisor: Supervisor,
    /// [`Snapshot::next`], but for tests.
    next: fn(&Inputs, &Snapshot) -> Next,
    /// When something follows although nothing changes.
    due: Option<Instant>,
    /// What `next` panicked on.
    skipped: Vec<Inputs>,
}

impl Writer {
    /// A writer of what `current` publishes.
    pub fn new(
        current: Current,
        (config, catalog, keys): Received,
        wake: Wake,
        old: mpsc::Receiver<Arc<Snapshot>>,
        supervisor: Supervisor,
    ) -> Writer {
        let (due, skipped) = (None, Vec::new());
        Writer { current, config, catalog, keys, wake, old, supervisor, next: Snapshot::next, due, skipped }
    }

    /// Writes for as long as the returned future lives.
    pub async fn run(&mut self) {
        loop {
            self.turn();
            let until = self.due.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            loop {
                tokio::select! {
                    Ok(()) = self.catalog.changed() => break,
                    Ok(()) = self.config.changed() => break,
                    Ok(()) = self.keys.changed() => break,
                    () = tokio::time::sleep_until(until) => break,
                    Some(snapshot) = self.old.recv() => drop(snapshot),
                }
            }
        }
    }

    /// Publishes what follows from the newest inputs. Those that `next` panics on are skipped: the snapshot stays. What can be taken up
    /// of them still is: a new catalog does not wait for a better configuration, and what was extinct before is forgotten in time.
    fn turn(&mut self) {
        let standing = self.current.load();
        let newest = self.newest(&standing);
        self.skipped.retain(|skipped| {
            (Arc::ptr_eq(&skipped.config, &newest.config) || Arc::ptr_eq(&skipped.config, &standing.config))
                && (Arc::ptr_eq(&skipped.catalog, &newest.catalog) || Arc::ptr_eq(&skipped.catalog, &standing.catalog))
        });
        let Inputs { now, .. } = newest;
        let without_config = Inputs { config: standing.config.clone(), ..newest.clone() };
        let time_alone = Inputs { catalog: standing.catalog.clone(), ..without_config.clone() };
        for inputs in [&newest, &without_config, &time_alone] {
            if self.skipped.iter().any(|skipped| inputs.are_those(skipped)) {
                continue;
            }
            if inputs.are_standing(&standing) && self.due.is_none_or(|due| due > now) {
                break;
            }
            match caught(|| (self.next)(inputs, &standing)) {
                Ok(next) => {
                    self.due = next.due;
                    self.publish(next);
                    break;
                }
                Err(panic) => {
                    tracing::error!("an input that no snapshot could be made of is skipped: {panic}");
                    self.supervisor.failed(WRITER);
                    self.skipped.push(inputs.clone());
                }
            }
        }
        // What could not be done when it was due waits for the next change.
        self.due = self.due.filter(|due| *due > now);
        let in_force = self.current.load();
        let behind = !newest.are_standing(&in_force);
        let fault =
            "the newest configuration or catalog is not in force: no snapshot could be made of it; the log says why";
        self.supervisor.fault(WRITER, behind.then_some(fault));
    }

    fn newest(&mut self, standing: &Snapshot) -> Inputs {
        let catalog = self.catalog.borrow_and_update().clone();
        let config = self.config.borrow_and_update().clone();
        let keys = self.keys.borrow_and_update().clone();
        // The file's services come by the catalog: a configuration and what it lists change in one swap.
        let listed = catalog.config_version >= config.version;
        Inputs { config: if listed { config } else { standing.config.clone() }, catalog, keys, now: Instant::now() }
    }

    fn publish(&self, next: Next) {
        for effect in &next.effects {
            match effect {
                Effect::Arrived(instance) => instance.set_departed(false),
                Effect::Departed(instance) => instance.set_departed(true),
                Effect::Suspected(instance) => instance.set_suspect(true),
                Effect::Settled(instance) => instance.set_suspect(false),
                Effect::ProbeNow(instance) => instance.breaker.probe_now(),
                Effect::Tuned(instance, policy) => instance.tune(policy),
            }
        }
        let version = next.snapshot.version;
        self.current.swap(next.snapshot);
        self.wake.all();
        for change in &next.changes {
            tracing::info!(snapshot = version, "{change}");
        }
    }
}

impl Inputs {
    fn are_those(&self, other: &Inputs) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
            && Arc::ptr_eq(&self.catalog, &other.catalog)
            && Arc::ptr_eq(&self.keys, &other.keys)
    }

    /// Whether a snapshot was made of these.
    fn are_standing(&self, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(&self.config, &snapshot.config)
            && Arc::ptr_eq(&self.catalog, &snapshot.catalog)
            && Arc::ptr_eq(&self.keys, &snapshot.keys)
    }
}

#[cfg(test)]
mod tests;
