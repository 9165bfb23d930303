//! What follows from what: services kept, changed, new, gone, with their instances adopted by their keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Inputs, RETURN, Snapshot, TOMBSTONE, TOMBSTONES};
use crate::catalog::{self, Key, ServiceName};
use crate::config::{Breaker, Config};
use crate::filter::Filters;
use crate::route::Table;
use crate::upstream::ServiceState;
use crate::upstream::instance::Instance;
use crate::upstream::recent::Budget;
use crate::upstream::{Member, Service};

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

impl Next {
    /// What follows from a new configuration alone. Limits that stay share their counters with those of the previous snapshot.
    pub(super) fn reconfigure(&mut self, config: &Config, previous: &Snapshot) {
        self.snapshot.routes = Arc::new(Table::new(&config.routes, config.workers).keeping(&previous.routes));
        self.snapshot.filters = Arc::new(Filters::new(config, Some(&previous.filters)));
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
    pub(super) fn take_in(&mut self, inputs: &Inputs) {
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

    /// Services that the catalog no longer has: they are remembered for a while, without instances, and then forgotten.
    pub(super) fn expire(&mut self, inputs: &Inputs) {
        // When each of them became extinct, and its slot.
        let mut extinct = Vec::new();
        for slot in 0..self.snapshot.services.len() {
            let Some(service) = self.snapshot.services[slot].clone() else { continue };
            if inputs.catalog.services.contains_key(&service.name) {
                continue;
            }
            let since = service.gone.unwrap_or(inputs.now);
            if service.gone.is_none() {
                let gone = Arc::new(catalog::Service { endpoints: Vec::new(), ..(*service.source).clone() });
                let mut service = self.service(slot, &gone, Some(&service), inputs);
                service.gone = Some(since);
                self.snapshot.services[slot] = Some(Arc::new(service));
            }
            extinct.push((since, slot));
        }
        // The oldest are forgotten early when there are too many.
        extinct.sort_unstable();
        let surplus = extinct.len().saturating_sub(TOMBSTONES);
        for (index, &(since, slot)) in extinct.iter().enumerate() {
            let until = since + TOMBSTONE;
            if index < surplus || until <= inputs.now {
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
        let keys: HashSet<&Key, foldhash::fast::FixedState> = source.endpoints.iter().map(|e| &e.key).collect();
        let here = |instance: &Instance| keys.contains(&instance.key);
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
