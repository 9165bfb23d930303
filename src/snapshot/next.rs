//! What follows from what: services kept, changed, new, gone, with their instances adopted by their keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Inputs, RETURN, Snapshot, TOMBSTONE, TOMBSTONES};
use crate::catalog::{self, DiffItem, Key, ServiceName};
use crate::config::{Breaker, Config};
use crate::filter::Filters;
use crate::route::Table;
use crate::upstream::ServiceState;
use crate::upstream::instance::Instance;
use crate::upstream::recent::Budget;
use crate::upstream::{Departed, Member, Service};

/// What follows.
#[derive(Debug)]
pub struct Next {
    /// The next snapshot.
    pub snapshot: Snapshot,
    /// What is to be done to live instances.
    pub effects: Vec<Effect>,
    /// One sentence for each service that changed: `orders: +10.0.0.7:8080 -10.0.0.5:8080 ~10.0.0.6:8080`. `+` is what may be picked from
    /// now on, `-` what may not, `~` what has become suspect; `+` or `-` ends that, too.
    pub changes: Vec<String>,
    /// How many services of the catalog differ from those that the previous snapshot has seen: no other was looked at.
    pub visited: usize,
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
    /// It has vanished, but that is not believed yet: what goes on with it goes on, and its first refused connect decides.
    Suspected(Arc<Instance>),
    /// It is suspect no more: it is back, or it is believed to be gone.
    Settled(Arc<Instance>),
    /// Another process stands at its address: an open breaker is due at once.
    ProbeNow(Arc<Instance>),
    /// Another policy holds for its breaker.
    Tuned(Arc<Instance>, Breaker),
}

impl Next {
    /// What follows from a new configuration alone. Limits that stay share their counters with those of the previous snapshot.
    pub(super) fn reconfigure(&mut self, inputs: &Inputs, previous: &Snapshot) {
        let config: &Config = &inputs.config;
        self.snapshot.routes = Arc::new(Table::new(&config.routes, config.workers).keeping(&previous.routes));
        self.refilter(inputs, previous);
        let another_budget = config.policy.retry.budget != previous.config.policy.retry.budget;
        for (name, service) in &previous.services {
            let breaker = config.breaker_of(name);
            if *breaker != *previous.config.breaker_of(name) {
                let members = service.members.iter().map(|member| member.instance.clone());
                self.effects.extend(members.map(|instance| Effect::Tuned(instance, breaker.clone())));
            }
            if another_budget {
                let budget = Arc::new(Budget::new(&config.policy.retry.budget, config.workers));
                self.snapshot.services.insert(name.clone(), Arc::new(service.with_budget(budget)));
            }
        }
    }

    /// What requests pass, by another configuration or with other keys of issuers. What was used of limits, and what filters share, stays.
    pub(super) fn refilter(&mut self, inputs: &Inputs, previous: &Snapshot) {
        let (before, shared) = (&previous.filters, previous.filters.auth.shared());
        self.snapshot.filters = Arc::new(Filters::new(&inputs.config, &inputs.keys, shared, Some(before)));
    }

    /// What differs between the catalog and the one before: services that are new, changed, or gone.
    pub(super) fn take_in(&mut self, inputs: &Inputs, previous: &Snapshot) {
        for difference in previous.catalog.services.diff(&inputs.catalog.services) {
            self.visited += 1;
            let (name, gone, source) = match difference {
                DiffItem::Add(name, source) | DiffItem::Update { new: (name, source), .. } => {
                    (name, None, source.clone())
                }
                // It is remembered for a while, without instances.
                DiffItem::Remove(name, source) => {
                    let source = catalog::Service { endpoints: Vec::new(), ..(**source).clone() };
                    (name, Some(inputs.now), Arc::new(source))
                }
            };
            let old = self.snapshot.services.get(name).cloned();
            if let Some(since) = old.as_ref().and_then(|old| old.gone) {
                self.snapshot.extinct.remove(&(since, name.clone()));
            }
            if let Some(since) = gone {
                self.snapshot.extinct.insert((since, name.clone()));
            }
            self.recount(old.as_ref().map(|old| &*old.source), &source);
            let service = Service { gone, ..self.service(&source, old.as_deref(), inputs) };
            self.snapshot.services.insert(name.clone(), Arc::new(service));
        }
    }

    /// Counts a service's suspects instead of those that it had.
    fn recount(&mut self, old: Option<&catalog::Service>, new: &catalog::Service) {
        let suspects = |service: &catalog::Service| service.endpoints.iter().filter(|e| e.suspect.is_some()).count();
        let counts = &mut self.snapshot.suspects;
        if let Some(old) = old {
            let count = counts.entry(old.provider).or_default();
            *count = count.saturating_sub(suspects(old));
        }
        *counts.entry(new.provider).or_default() += suspects(new);
        counts.retain(|_, count| *count > 0);
    }

    /// Services that the catalog has not had for a while are forgotten; the oldest of them early, where there are too many.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((since, name)) = self.snapshot.extinct.get_min().cloned() {
            let until = since + TOMBSTONE;
            if until > now && self.snapshot.extinct.len() <= TOMBSTONES {
                self.due = Some(until);
                return;
            }
            self.snapshot.services.remove(&name);
            self.snapshot.extinct.remove(&(since, name));
        }
    }

    /// A service as the catalog has it now, with the instances that we know adopted by their key.
    fn service(&mut self, source: &Arc<catalog::Service>, old: Option<&Service>, inputs: &Inputs) -> Service {
        let config = &inputs.config;
        let breaker = config.breaker_of(&source.name);
        let before = Before::of(old, inputs.now);
        let mut change = Change::default();
        let confirmed = source.endpoints.iter().any(|endpoint| endpoint.suspect.is_none() && endpoint.available());
        let member = |endpoint: &catalog::Endpoint| {
            let now = Standing::of(endpoint, confirmed);
            let known = before.members.get(&endpoint.key);
            let instance = match (known, before.departed.get(&endpoint.key)) {
                (Some((member, _)), _) => member.instance.clone(),
                // Back again: tunnels and streams to it go on, and what was seen of it is still known.
                (None, Some((instance, _))) => {
                    self.effects.push(Effect::Tuned(instance.clone(), breaker.clone()));
                    self.effects.push(Effect::ProbeNow(instance.clone()));
                    instance.clone()
                }
                (None, None) => Arc::new(Instance::new(endpoint.key.clone(), breaker, config.workers)),
            };
            let stood = known.map(|(member, before)| Standing { weight: member.weight, ..Standing::of(before, false) });
            change.note(&instance, stood.unwrap_or_default(), now, &mut self.effects);
            if known.is_some_and(|(_, before)| replaced(before, endpoint)) {
                self.effects.push(Effect::ProbeNow(instance.clone()));
            }
            Member { instance, weight: now.weight }
        };
        let members: Box<[Member]> = source.endpoints.iter().map(member).collect();
        let keys: HashSet<&Key, foldhash::fast::FixedState> = source.endpoints.iter().map(|e| &e.key).collect();
        let gone = |key: &Key| !keys.contains(key);
        let recent = |(instance, since): &&Departed| gone(&instance.key) && inputs.now - *since < RETURN;
        let mut departed: Vec<Departed> = old.iter().flat_map(|old| &old.departed).filter(recent).cloned().collect();
        let all = old.iter().flat_map(|old| old.source.endpoints.iter().zip(&old.members));
        for (endpoint, member) in all.filter(|(endpoint, _)| gone(&endpoint.key)) {
            let stood = Standing { weight: member.weight, ..Standing::of(endpoint, false) };
            change.note(&member.instance, stood, Standing::default(), &mut self.effects);
            departed.push((member.instance.clone(), inputs.now));
        }
        self.changes.extend(change.sentence(&source.name));
        Service {
            name: source.name.clone(),
            source: source.clone(),
            members,
            departed: departed.into(),
            state: old.map_or_else(|| Arc::new(ServiceState::new(config.workers)), |old| old.state.clone()),
            budget: old.map_or_else(
                || Arc::new(Budget::new(&config.policy.retry.budget, config.workers)),
                |old| old.budget.clone(),
            ),
            gone: None,
        }
    }
}

/// What is known of a service's instances, by their keys.
#[derive(Default)]
struct Before<'a> {
    /// Those that it had.
    members: HashMap<&'a Key, (&'a Member, &'a catalog::Endpoint), foldhash::fast::FixedState>,
    /// Those that departed lately, and may come back.
    departed: HashMap<&'a Key, &'a Departed, foldhash::fast::FixedState>,
}

impl<'a> Before<'a> {
    fn of(old: Option<&'a Service>, now: Instant) -> Before<'a> {
        let Some(old) = old else { return Before::default() };
        let recent = old.departed.iter().filter(|(_, since)| now - *since < RETURN);
        Before {
            members: old.source.endpoints.iter().zip(&old.members).map(|(e, member)| (&e.key, (member, e))).collect(),
            departed: recent.map(|departed| (&departed.0.key, departed)).collect(),
        }
    }
}

/// Whether another process stands at an instance's address: registered anew, or back from critical.
fn replaced(before: &catalog::Endpoint, now: &catalog::Endpoint) -> bool {
    let born = |e: &catalog::Endpoint| e.registrations.iter().map(|r| r.create_index).max();
    born(before) != born(now) || (!before.available() && now.available())
}

/// How an instance stands in its service.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Its share; 0 is never picked.
    weight: u32,
    suspect: bool,
}

impl Standing {
    /// Of an endpoint. A suspect is picked only where none that is available is `confirmed`.
    fn of(endpoint: &catalog::Endpoint, confirmed: bool) -> Standing {
        let suspect = endpoint.suspect.is_some();
        let picked = if suspect { !confirmed && endpoint.may_live() } else { endpoint.available() };
        Standing { weight: if picked { endpoint.weight } else { 0 }, suspect }
    }
}

/// What changed in one service, for the log.
#[derive(Default)]
struct Change {
    words: String,
}

impl Change {
    fn note(&mut self, instance: &Arc<Instance>, before: Standing, now: Standing, effects: &mut Vec<Effect>) {
        let address = instance.key.address;
        match (before.weight, now.weight) {
            (0, 1..) => effects.push(Effect::Arrived(instance.clone())),
            (1.., 0) => effects.push(Effect::Departed(instance.clone())),
            _ => {}
        }
        match (before.suspect, now.suspect) {
            (false, true) => effects.push(Effect::Suspected(instance.clone())),
            (true, false) => effects.push(Effect::Settled(instance.clone())),
            _ => {}
        }
        let may_be_picked = (before.weight > 0) != (now.weight > 0);
        self.words += &match (before.suspect, now.suspect) {
            (false, true) => format!(" ~{address}"),
            (true, false) if now.weight > 0 => format!(" +{address}"),
            (true, false) => format!(" -{address}"),
            _ if before.weight == now.weight => String::new(),
            (false, false) if may_be_picked => format!(" {}{address}", if now.weight > 0 { '+' } else { '-' }),
            (_, suspect) => format!(" {}{address} weighs {}", if suspect { "~" } else { "" }, now.weight),
        };
    }

    fn sentence(self, name: &ServiceName) -> Option<String> {
        (!self.words.is_empty()).then(|| format!("{name}:{}", self.words))
    }
}
