//! The one idea: routes and services at one moment, a pure function of what we were told, what exists, and what we
//! already know. One writer swaps it; each worker reads it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::catalog::{self, Catalog, Key, ServiceName};
use crate::config::{Breaker, Config};
use crate::filter::auth::Auth;
use crate::filter::limit::Limits;
use crate::plane::Wake;
use crate::route::Table;
use crate::upstream::budget::Budget;
use crate::upstream::instance::{Instance, ServiceState};
use crate::upstream::{Member, Service};

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
    /// Who may call.
    pub auth: Arc<Auth>,
    /// How often.
    pub limits: Arc<Limits>,
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

/// What follows.
#[derive(Debug)]
pub struct Next {
    /// The next snapshot.
    pub snapshot: Snapshot,
    /// What is to be done to live instances.
    pub effects: Vec<Effect>,
    /// One sentence for each service that changed: `orders: +10.0.0.7:8080 -10.0.0.5:8080`.
    pub changes: Vec<String>,
    /// When it must run again although nothing changed.
    pub due: Option<Instant>,
}

/// Something to be done to a live instance, by the one writer.
#[derive(Clone, Debug)]
pub enum Effect {
    /// No new picks, idle connections close; requests in flight run to their end.
    Departed(Arc<Instance>),
    /// It may be picked (again).
    Arrived(Arc<Instance>),
    /// Another process stands at its address: an open breaker is due at once.
    ProbeNow(Arc<Instance>),
    /// Another policy holds for its breaker.
    Tuned(Arc<Instance>, Breaker),
}

impl Snapshot {
    /// Before anything is known: every service is 503 `no_catalog`.
    pub fn empty(config: Arc<Config>) -> Snapshot {
        let limits = Limits::new(&config, None);
        Snapshot {
            version: 0,
            taken: Instant::now(),
            routes: Arc::new(Table::new(&config.routes, config.workers)),
            auth: Arc::new(Auth::new(&config.consumers, &limits)),
            limits: Arc::new(limits),
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

    /// The snapshot after `previous`. Pure: it reads live state of instances nowhere and changes nothing.
    pub fn next(inputs: &Inputs, previous: &Snapshot) -> Next {
        let snapshot = Snapshot {
            version: previous.version + 1,
            taken: inputs.now,
            config: inputs.config.clone(),
            catalog: inputs.catalog.clone(),
            routes: previous.routes.clone(),
            auth: previous.auth.clone(),
            limits: previous.limits.clone(),
            services: previous.services.clone(),
            slots: previous.slots.clone(),
        };
        let mut next = Next { snapshot, effects: Vec::new(), changes: Vec::new(), due: None };
        if !Arc::ptr_eq(&inputs.config, &previous.config) {
            next.reconfigure(&inputs.config, previous);
        }
        next.take_in(inputs);
        next.bury(inputs);
        next
    }
}

impl Next {
    /// What follows from a new configuration alone. What clients have used of limits that stay, stays used.
    fn reconfigure(&mut self, config: &Config, previous: &Snapshot) {
        let limits = Limits::new(config, Some(&previous.limits));
        self.snapshot.routes = Arc::new(Table::new(&config.routes, config.workers).keeping(&previous.routes));
        self.snapshot.auth = Arc::new(Auth::new(&config.consumers, &limits));
        self.snapshot.limits = Arc::new(limits);
        for service in self.snapshot.services.iter_mut().flatten() {
            let breaker = config.breaker_of(&service.name);
            if *breaker != *previous.config.breaker_of(&service.name) {
                let members = service.members.iter().map(|member| member.instance.clone());
                self.effects.extend(members.map(|instance| Effect::Tuned(instance, breaker.clone())));
            }
            if config.policy.retry.budget != previous.config.policy.retry.budget {
                let budget = Arc::new(Budget::new(&config.policy.retry.budget, config.workers));
                *service = Arc::new(service.with_budget(budget));
            }
        }
    }

    /// Services that the catalog has: kept, changed or new.
    fn take_in(&mut self, inputs: &Inputs) {
        for (name, source) in &inputs.catalog.services {
            let slot = self.slot(name);
            let old = self.snapshot.services[slot].clone();
            if old.as_ref().is_some_and(|old| old.gone.is_none() && Arc::ptr_eq(&old.source, source)) {
                continue;
            }
            let service = self.service(slot, source, old.as_deref(), inputs);
            self.snapshot.services[slot] = Some(Arc::new(service));
        }
    }

    /// Services that the catalog no longer has: remembered for a while, then forgotten.
    fn bury(&mut self, inputs: &Inputs) {
        let mut graves = Vec::new();
        for slot in 0..self.snapshot.services.len() {
            let Some(service) = self.snapshot.services[slot].clone() else { continue };
            if inputs.catalog.services.contains_key(&service.name) {
                continue;
            }
            let since = service.gone.unwrap_or(inputs.now);
            if service.gone.is_none() {
                let gone = Arc::new(catalog::Service { endpoints: Vec::new(), ..(*service.source).clone() });
                let mut extinct = self.service(slot, &gone, Some(&service), inputs);
                extinct.gone = Some(since);
                self.snapshot.services[slot] = Some(Arc::new(extinct));
            }
            graves.push((since, slot));
        }
        graves.sort_unstable();
        let crowd = graves.len().saturating_sub(TOMBSTONES);
        for (index, &(since, slot)) in graves.iter().enumerate() {
            let until = since + TOMBSTONE;
            if index < crowd || until <= inputs.now {
                let service = self.snapshot.services[slot].take();
                service.map(|service| self.snapshot.slots.remove(&service.name));
            } else {
                self.due = Some(self.due.map_or(until, |due| due.min(until)));
            }
        }
    }

    fn slot(&mut self, name: &ServiceName) -> usize {
        let Snapshot { slots, services, .. } = &mut self.snapshot;
        *slots.entry(name.clone()).or_insert_with(|| match services.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                services.push(None);
                services.len() - 1
            }
        })
    }

    /// A service as the catalog has it now, with the instances that we know adopted by their key.
    fn service(
        &mut self,
        slot: usize,
        source: &Arc<catalog::Service>,
        old: Option<&Service>,
        inputs: &Inputs,
    ) -> Service {
        let config = &inputs.config;
        let known: HashMap<&Key, usize> =
            old.iter().flat_map(|old| old.source.endpoints.iter().map(|e| &e.key).zip(0..)).collect();
        let recent = |(_, since): &&(Arc<Instance>, Instant)| inputs.now - *since < RETURN;
        let departed = || old.iter().flat_map(|old| old.departed.iter()).filter(recent);
        let mut change = Change::default();
        let members: Box<[Member]> = source
            .endpoints
            .iter()
            .map(|endpoint| {
                let weight = if endpoint.available() { endpoint.weight } else { 0 };
                let before =
                    old.zip(known.get(&endpoint.key)).map(|(old, &i)| (&old.members[i], &old.source.endpoints[i]));
                let breaker = config.breaker_of(&source.name);
                let back = || departed().find(|(instance, _)| instance.key == endpoint.key);
                let instance = match (before, back()) {
                    (Some((member, _)), _) => member.instance.clone(),
                    // Back again: tunnels and streams to it go on, and what was seen of it is still known.
                    (None, Some((instance, _))) => {
                        self.effects.push(Effect::Tuned(instance.clone(), breaker.clone()));
                        self.effects.push(Effect::ProbeNow(instance.clone()));
                        instance.clone()
                    }
                    (None, None) => Arc::new(Instance::new(endpoint.key.clone(), breaker, config.workers)),
                };
                change.weigh(&instance, before.map(|(member, _)| member.weight), weight, &mut self.effects);
                if before.is_some_and(|(_, before)| replaced(before, endpoint)) {
                    self.effects.push(Effect::ProbeNow(instance.clone()));
                }
                Member { instance, weight }
            })
            .collect();
        let here = |instance: &Instance| source.endpoints.iter().any(|endpoint| endpoint.key == instance.key);
        let mut gone: Vec<_> = departed().filter(|(instance, _)| !here(instance)).cloned().collect();
        for member in old.iter().flat_map(|old| old.members.iter()).filter(|member| !here(&member.instance)) {
            change.weigh(&member.instance, Some(member.weight), 0, &mut self.effects);
            gone.push((member.instance.clone(), inputs.now));
        }
        self.changes.extend(change.sentence(&source.name));
        Service {
            name: source.name.clone(),
            slot,
            source: source.clone(),
            members,
            departed: gone.into(),
            state: match old {
                Some(old) => old.state.clone(),
                None => Arc::new(ServiceState::new(config.workers)),
            },
            budget: match old {
                Some(old) => old.budget.clone(),
                None => Arc::new(Budget::new(&config.policy.retry.budget, config.workers)),
            },
            gone: None,
        }
    }
}

/// Whether another process stands at an instance's address: registered anew, or back from critical.
fn replaced(before: &catalog::Endpoint, now: &catalog::Endpoint) -> bool {
    let born = |e: &catalog::Endpoint| e.registrations.iter().map(|r| r.create_index).max();
    born(before) != born(now) || (!before.available() && now.available())
}

/// What changed in one service, for the log.
#[derive(Default)]
struct Change {
    words: String,
}

impl Change {
    fn weigh(&mut self, instance: &Arc<Instance>, before: Option<u32>, now: u32, effects: &mut Vec<Effect>) {
        let address = instance.key.address;
        match (before.unwrap_or(0), now) {
            (0, 0) => {}
            (0, _) => {
                self.words += &format!(" +{address}");
                effects.push(Effect::Arrived(instance.clone()));
            }
            (_, 0) => {
                self.words += &format!(" -{address}");
                effects.push(Effect::Departed(instance.clone()));
            }
            (before, now) if before != now => self.words += &format!(" {address} weighs {now}"),
            _ => {}
        }
    }

    fn sentence(self, name: &ServiceName) -> Option<String> {
        (!self.words.is_empty()).then(|| format!("{name}:{}", self.words))
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

    /// A worker's reader: one load and a compare per look.
    pub fn reader(&self) -> Reader {
        let mut cache = Cache::new(self.0.clone());
        let seen = cache.load().clone();
        Reader { cache, seen }
    }
}

/// A worker's way to the newest snapshot.
#[derive(Debug)]
pub struct Reader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    seen: Arc<Snapshot>,
}

impl Reader {
    /// The newest snapshot, and the one before it when this look is the first to see the new one.
    pub fn look(&mut self) -> (&Arc<Snapshot>, Option<Arc<Snapshot>>) {
        let newest = self.cache.load();
        if Arc::ptr_eq(newest, &self.seen) {
            return (&self.seen, None);
        }
        let old = std::mem::replace(&mut self.seen, newest.clone());
        (&self.seen, Some(old))
    }
}

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
        while catalog.borrow_and_update().told < config.borrow().version {
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
