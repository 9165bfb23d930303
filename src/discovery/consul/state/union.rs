//! All datacenters together: the catalog and the status that follow from what is known of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::super::client::Failure;
use super::datacenter::Datacenter;
use crate::catalog::{Following, Hidden, ProviderStatus, Service, ServiceName, Services};

/// All datacenters, and what they say together.
#[derive(Debug)]
pub(super) struct Union {
    /// In order of preference, at least one.
    pub(super) datacenters: Vec<Datacenter>,
    /// The catalog's services.
    pub(super) services: Services,
    /// Those of them that the agent answered, as it did.
    pub(super) confirmed: Services,
    pub(super) hidden: Vec<Hidden>,
    /// Of each datacenter: the services that no better one can serve.
    pub(super) wanted: Vec<BTreeSet<ServiceName>>,
    /// Each service has been read, or could not be.
    pub(super) complete: bool,
    /// Grows with each change of the catalog.
    pub(super) version: u64,
    /// The version that was published.
    pub(super) published: u64,
    pub(super) last_answer: Option<SystemTime>,
    pub(super) errors: u64,
    /// The errors of services, while they last.
    pub(super) failing: BTreeMap<(usize, ServiceName), Failure>,
    /// How many services are watched, and how many are swept.
    pub(super) plan: (usize, usize),
    pub(super) following: Option<Arc<dyn Following>>,
    /// Until then nothing is published.
    pub(super) settles: Option<Instant>,
    /// When the saved catalog was saved that services were restored from.
    pub(super) saved_at: Option<SystemTime>,
    /// The datacenter of the agent that told it.
    pub(super) saved_in: String,
    /// The current sentence for the operator on each topic that has one.
    pub(super) notes: BTreeMap<&'static str, String>,
}

impl Union {
    /// Nothing is known yet of this many datacenters.
    pub(super) fn new(datacenters: usize, hold: Duration) -> Union {
        Union {
            datacenters: (0..datacenters).map(|_| Datacenter::new(hold)).collect(),
            services: Services::new(),
            confirmed: Services::new(),
            hidden: Vec::new(),
            wanted: vec![BTreeSet::new(); datacenters],
            complete: false,
            version: 1,
            published: 0,
            last_answer: None,
            errors: 0,
            failing: BTreeMap::new(),
            plan: (0, 0),
            following: None,
            settles: None,
            saved_at: None,
            saved_in: String::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Brings the catalog up to date with what is known of these services, and of those whose suspects have changed. Says which
    /// datacenters are to serve other services than before.
    pub(super) fn settle(&mut self, mut names: BTreeSet<ServiceName>) -> BTreeSet<usize> {
        let mut hides = false;
        for datacenter in &mut self.datacenters {
            names.append(&mut datacenter.guard.changes());
            hides |= std::mem::take(&mut datacenter.hides);
        }
        let mut wanting = BTreeSet::new();
        for name in &names {
            self.want(name, &mut wanting);
            self.refresh(name);
        }
        if hides || (self.datacenters.len() > 1 && !names.is_empty()) {
            self.hide();
        }
        if !self.complete && self.is_read() {
            self.complete = true;
            self.version += 1;
        }
        wanting
    }

    /// Replaces a service of the catalog with what is known of it now.
    fn refresh(&mut self, name: &ServiceName) {
        let chosen = self.choose(name);
        let confirmed = chosen.and_then(|datacenter| datacenter.confirmed(name));
        let service = chosen.and_then(|datacenter| datacenter.service(name));
        // While some of it is held, what was good is not replaced by what is in doubt.
        if !self.datacenters.iter().any(|datacenter| datacenter.guard.suspects(name)) {
            put(&mut self.confirmed, name, confirmed);
        }
        // What is equal stays the same `Arc`, so that whoever compares two catalogs can compare pointers first.
        if self.services.get(name) != service.as_ref() {
            put(&mut self.services, name, service);
            self.version += 1;
        }
    }

    /// The datacenter that serves: the first with an endpoint that can be picked and is no suspect, else the first with suspects, else the
    /// first that lists it.
    fn choose(&self, name: &ServiceName) -> Option<&Datacenter> {
        let first = |which: &dyn Fn(&&Datacenter) -> bool| self.datacenters.iter().find(which);
        first(&|datacenter| datacenter.serves(name))
            .or_else(|| first(&|datacenter| datacenter.guard.suspects(name)))
            .or_else(|| first(&|datacenter| datacenter.lists(name)))
    }

    /// Notes which datacenters are to serve a service, and those for which that is a change.
    fn want(&mut self, name: &ServiceName, changes: &mut BTreeSet<usize>) {
        let mut lacked = true;
        for (dc, pair) in self.datacenters.windows(2).enumerate() {
            lacked &= pair[0].lacks(name);
            let wanted = &mut self.wanted[dc + 1];
            let wants = lacked && pair[1].lists(name);
            let changed = if wants { wanted.insert(name.clone()) } else { wanted.remove(name) };
            if changed && !wants {
                // It is not read there any more.
                self.failing.remove(&(dc + 1, name.clone()));
            }
            changes.extend(changed.then_some(dc + 1));
        }
    }

    /// Lists anew what is registered but not exposed. Where datacenters differ, the first one's reason is said.
    fn hide(&mut self) {
        let mut all: BTreeMap<&str, &String> = BTreeMap::new();
        for (name, reason) in self.datacenters.iter().flat_map(Datacenter::hidden) {
            if !self.services.contains_key(name) {
                all.entry(name).or_insert(reason);
            }
        }
        let hidden = |(name, reason): (&str, &String)| Hidden { name: name.to_owned(), reason: reason.clone() };
        let hidden: Vec<Hidden> = all.into_iter().map(hidden).collect();
        if hidden != self.hidden {
            self.hidden = hidden;
            self.version += 1;
        }
    }

    /// Whether the catalog waits for nothing: neither for a service of the first datacenter, nor for one that another is to serve. A
    /// datacenter that cannot be read delays nobody.
    fn is_read(&self) -> bool {
        let mut pairs = self.datacenters.iter().zip(&self.wanted);
        let other = |(datacenter, wanted): (&Datacenter, &BTreeSet<ServiceName>)| {
            datacenter.error.is_some() || (datacenter.listed && !wanted.iter().any(|name| datacenter.awaits(name)))
        };
        pairs.next().is_some_and(|(first, _)| first.is_read()) && pairs.all(other)
    }

    /// How many services are known from the saved catalog only.
    pub(super) fn restored(&self) -> usize {
        self.datacenters[0].restored()
    }

    /// The status that follows from what is known; the provider's name and source stay as they were.
    pub(super) fn status(&self, mut status: ProviderStatus) -> ProviderStatus {
        let first = &self.datacenters[0];
        let lists = self.datacenters.iter().find_map(|datacenter| datacenter.error.as_ref());
        let error = lists.or_else(|| self.failing.values().next());
        let restored = self.restored();
        (status.watched, status.swept) = self.plan;
        status.following = self.following.clone();
        status.state = match () {
            () if restored > 0 => "stale",
            () if first.error.is_some() => "failing",
            () if !self.complete => "starting",
            () if status.swept > 0 => "sweeping",
            () => "watching",
        };
        (status.index, status.last_answer, status.errors) = (first.index, self.last_answer, self.errors);
        status.error = error.map(|failure| failure.reason.clone());
        status.failure = error.map(|failure| failure.kind);
        status.suspects = self.datacenters.iter().map(|datacenter| datacenter.guard.count()).sum();
        status.restored_at = self.saved_at.filter(|_| restored > 0);
        let stale = status.restored_at.map(|at| {
            let minutes = at.elapsed().unwrap_or_default().as_secs() / 60;
            format!("stale: {restored} services are served from the saved catalog, which is {minutes} min old")
        });
        let held = self.datacenters.iter().flat_map(|datacenter| datacenter.guard.notes());
        status.notes = stale.into_iter().chain(held).chain(self.notes.values().cloned()).collect();
        status
    }
}

fn put(services: &mut Services, name: &ServiceName, service: Option<Arc<Service>>) {
    match service {
        Some(service) => drop(services.insert(name.clone(), service)),
        None => drop(services.remove(name)),
    }
}
