//! What is known of Consul's services so far: the watches write here, and one task publishes it.
//!
//! What an answer changes is changed in the published catalog, service by service: that catalog is never built anew from all that is known.

mod datacenter;
mod log;
mod union;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::datacenter::Datacenter;
use self::log::Faults;
use self::union::Union;
use super::assemble::Assembled;
use super::client::Failure;
pub(crate) use super::guard::Evidence;
use super::guard::{News, Now};
use crate::catalog::{Catalog, Following, Key, ProviderStatus, Service, ServiceName, Services};
use crate::discovery::outlet::Outlet;

/// How long nothing is published when gossip has lost the node of a service's last endpoint: what else the node carried is heard of one by
/// one, and only all of it together tells whether that is believed.
const GOSSIP: Duration = Duration::from_millis(50);

/// What is known by one agent. It outlives the tasks that write and publish it.
#[derive(Debug)]
pub(crate) struct State {
    union: Mutex<Union>,
    /// Of each datacenter: whether the token has seen there what it must see. Whoever is asked next must show it, too.
    pub(crate) saw_canary: Vec<AtomicBool>,
    changed: Notify,
    doubted: Notify,
    /// One for each datacenter.
    wanting: Vec<Notify>,
}

/// What is to be published and logged.
struct Report {
    /// The catalog and its version, where it was not published yet.
    catalog: Option<(u64, Catalog)>,
    status: ProviderStatus,
    news: Vec<News>,
    /// When there is something to do although nothing happens.
    due: Option<Instant>,
}

impl State {
    /// Nothing is known yet. There are this many datacenters, at least one; the first is preferred. A suspect is held for `hold`.
    pub(crate) fn new(datacenters: usize, hold: Duration) -> State {
        let (changed, doubted) = Default::default();
        let wanting = (0..datacenters.max(1)).map(|_| Notify::new()).collect();
        let saw_canary = (0..datacenters.max(1)).map(|_| AtomicBool::new(false)).collect();
        State { saw_canary, union: Mutex::new(Union::new(datacenters.max(1), hold)), changed, doubted, wanting }
    }

    /// Takes the catalog's answer: the services to follow, sorted, and why the others are hidden. `blind` says that the token does not see
    /// what it must see. True if that changed anything.
    pub(crate) fn list(
        &self,
        dc: usize,
        names: &[ServiceName],
        hidden: impl Into<Arc<BTreeMap<String, String>>>,
        blind: bool,
        index: u64,
        evidence: Evidence,
    ) -> bool {
        let hidden = hidden.into();
        self.change(dc, |union, now| {
            let datacenter = &mut union.datacenters[dc];
            let first = !datacenter.listed;
            datacenter.guard.sight(blind, now);
            let changes = datacenter.list(names, hidden, evidence, now);
            (datacenter.index, datacenter.error) = (index, None);
            union.last_answer = Some(now.clock);
            let changed = changes.is_some();
            let mut changes = changes.unwrap_or_default();
            let gone = changes.iter().filter(|name| !union.datacenters[dc].lists(name));
            for name in gone {
                union.failing.remove(&(dc, name.clone()));
            }
            if first {
                // What only the others list is wanted of them now.
                changes.extend(union.datacenters[dc + 1..].iter().flat_map(Datacenter::names).cloned());
            }
            (changed, changes)
        })
    }

    /// The index of the catalog's last answer.
    pub(crate) fn index(&self, dc: usize) -> u64 {
        self.union.lock().datacenters.get(dc).map_or(0, |datacenter| datacenter.index)
    }

    /// Takes a service's answer. True if that changed what is known of it.
    pub(crate) fn put(&self, dc: usize, name: &ServiceName, answer: Assembled, evidence: Evidence) -> bool {
        self.change(dc, |union, now| {
            union.last_answer = Some(now.clock);
            union.failing.remove(&(dc, name.clone()));
            let served = union.datacenters[dc].serves(name);
            let changed = union.datacenters[dc].put(name, answer, evidence, now);
            if served && union.datacenters[dc].is_lost_by_gossip(name) {
                union.settles.get_or_insert(now.instant + GOSSIP);
            }
            (changed, if changed { vec![name.clone()] } else { Vec::new() })
        })
    }

    /// A service could not be read, for the `nth` time in a row: what is known of it stays.
    pub(crate) fn service_failed(&self, dc: usize, name: &ServiceName, failure: &Failure, nth: u32) {
        self.change(dc, |union, _| {
            union.errors += 1;
            let datacenter = &mut union.datacenters[dc];
            // Of another datacenter, a read may end after it has become superfluous.
            if datacenter.lists(name) && (dc == 0 || union.wanted[dc].contains(name)) {
                let reason = format!("{name}: {}", failure.reason);
                union.failing.insert((dc, name.clone()), Failure { reason, ..failure.clone() });
            }
            let changed = datacenter.fail(name, failure.definitive, nth);
            (changed, if changed { vec![name.clone()] } else { Vec::new() })
        });
    }

    /// The catalog could not be read: what is known stays.
    pub(crate) fn catalog_failed(&self, dc: usize, failure: &Failure) {
        self.change(dc, |union, _| {
            union.errors += 1;
            union.datacenters[dc].error = Some(failure.clone());
            (false, Vec::new())
        });
    }

    /// The agent is another one than before: what vanishes with that, or vanished shortly before, is held.
    pub(crate) fn forgotten(&self) {
        self.all(|union, now| {
            let evidence = Evidence { forgetful: true, filtered: false };
            union.datacenters.iter_mut().for_each(|datacenter| datacenter.guard.judge(evidence, now));
        });
    }

    /// A suspect endpoint refused a connection: it is gone.
    pub(crate) fn refused(&self, key: &Key) {
        self.all(|union, now| {
            for datacenter in &mut union.datacenters {
                datacenter.guard.refused(key, now);
            }
        });
    }

    /// An operator accepts that the suspects of a service are gone, or all; says how many there were.
    pub(crate) fn accept(&self, service: Option<&ServiceName>) -> usize {
        self.all(|union, now| {
            union.datacenters.iter_mut().map(|datacenter| datacenter.guard.accept(service, now)).sum()
        })
    }

    /// Takes whether a node of [`State::doubts`] is still a member of its datacenter.
    pub(crate) fn member(&self, dc: usize, node: &str, is_member: bool) {
        self.change(dc, |union, now| {
            union.datacenters[dc].guard.member(node, is_member, now);
            (false, Vec::new())
        });
    }

    /// Takes all nodes of a datacenter whose `serfHealth` is critical, before what they carry is read.
    pub(crate) fn gossip_lost(&self, dc: usize, nodes: HashSet<String>) {
        self.change(dc, |union, now| {
            union.datacenters[dc].gossip_lost(nodes, now);
            (false, Vec::new())
        });
    }

    /// Takes services of the saved catalog, at a cold start: they are served, but the catalog is not complete by them. Where the agent has
    /// answered already, they are not taken.
    pub(crate) fn restore(&self, services: Vec<Service>, saved_at: SystemTime, datacenter: String) {
        self.change(0, |union, now| {
            union.saved_in = datacenter;
            let names: Vec<ServiceName> = services.iter().map(|service| service.name.clone()).collect();
            for service in services {
                union.datacenters[0].restore(service, now);
            }
            union.saved_at = Some(saved_at);
            (true, names)
        });
    }

    /// The agent says which datacenter it is in: services that were restored from another one are none of this one's.
    pub(crate) fn is_in(&self, datacenter: &str) {
        self.change(0, |union, now| {
            let other = !datacenter.is_empty() && !union.saved_in.is_empty() && union.saved_in != datacenter;
            let names = if other { union.datacenters[0].discard(now) } else { Vec::new() };
            (!names.is_empty(), names)
        });
    }

    /// What the agent itself confirmed, to be saved: no suspects, and nothing that was restored. `None` while that is less than what there
    /// seems to be: a degraded catalog never replaces a good one.
    pub(crate) fn confirmed(&self) -> Option<Services> {
        let union = self.union.lock();
        let doubtful = union.datacenters.iter().any(|datacenter| datacenter.guard.is_doubtful());
        (union.complete && union.restored() == 0 && !doubtful).then(|| union.confirmed.clone())
    }

    /// The services that a datacenter is to serve, because no better one can by Consul's word. Of the first one these are all.
    pub(crate) fn wanted(&self, dc: usize) -> Vec<ServiceName> {
        let union = self.union.lock();
        match dc {
            0 => union.datacenters[0].names().cloned().collect(),
            _ => union.wanted.get(dc).map_or(Vec::new(), |wanted| wanted.iter().cloned().collect()),
        }
    }

    /// Waits until this datacenter, which is not the first, is to serve other services than before.
    pub(crate) async fn wanting(&self, dc: usize) {
        match self.wanting.get(dc) {
            Some(wanting) => wanting.notified().await,
            None => std::future::pending().await,
        }
    }

    /// The datacenters and nodes whose membership decides whether what they lost is a crowd. They stay until [`State::member`] says so, or
    /// until it matters no longer.
    pub(crate) fn doubts(&self) -> Vec<(usize, String)> {
        let union = self.union.lock();
        let doubts = |(dc, datacenter): (usize, &Datacenter)| -> Vec<(usize, String)> {
            datacenter.guard.doubts().map(|node| (dc, node.clone())).collect()
        };
        union.datacenters.iter().enumerate().flat_map(doubts).collect()
    }

    /// Waits until there is a new one of [`State::doubts`].
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Takes how the services are followed.
    pub(crate) fn following(&self, following: Arc<dyn Following>) {
        self.union.lock().following = Some(following);
    }

    /// Takes how many services have a watch of their own, and how many are swept.
    pub(crate) fn plan(&self, watched: usize, swept: usize) {
        self.union.lock().plan = (watched, swept);
        self.changed.notify_one();
    }

    /// Sets the sentence for the operator on a topic, or removes it.
    pub(crate) fn note(&self, topic: &'static str, note: Option<String>) {
        let mut union = self.union.lock();
        match note {
            Some(note) => union.notes.insert(topic, note),
            None => union.notes.remove(topic),
        };
        self.changed.notify_one();
    }

    /// Whether a service would be lost if this were the catalog's answer. The first answer could lose anything.
    pub(crate) fn list_removes(&self, dc: usize, names: &[ServiceName]) -> bool {
        self.union.lock().datacenters.get(dc).is_none_or(|datacenter| datacenter.list_removes(names))
    }

    /// Whether an endpoint of a service would be lost if this were its answer.
    pub(crate) fn removes(&self, dc: usize, name: &ServiceName, answer: &Assembled) -> bool {
        self.union.lock().datacenters.get(dc).is_some_and(|datacenter| datacenter.removes(name, answer))
    }

    /// Publishes each change at once; what changes meanwhile is published together. Never ends. Begun again, it publishes what is known.
    pub(crate) async fn publish(&self, outlet: &Outlet) {
        let mut faults = Faults::new(Instant::now());
        self.union.lock().published = 0;
        loop {
            let settles = self.union.lock().settles.take();
            if let Some(at) = settles {
                tokio::time::sleep_until(at).await;
            }
            let Report { catalog, status, news, due } = self.report(outlet.status());
            faults.log(&status, &news);
            match catalog {
                Some((version, catalog)) => {
                    let kept = outlet.publish(catalog, status);
                    let mut union = self.union.lock();
                    union.published = version;
                    if let Some(kept) = kept.filter(|_| union.version == version) {
                        union.services = kept;
                    }
                }
                None => outlet.report_status(status),
            }
            let wake = due.into_iter().chain(faults.due()).min();
            let wake = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = wake => {}
            }
        }
    }

    /// What is to be published and logged now.
    fn report(&self, status: ProviderStatus) -> Report {
        let mut union = self.union.lock();
        let now = now();
        for datacenter in &mut union.datacenters {
            datacenter.guard.expire(now);
        }
        union.settle(BTreeSet::new());
        let catalog = (union.version != union.published).then(|| {
            let (services, hidden) = (union.services.clone(), union.hidden.clone());
            (union.version, Catalog { services, hidden, config_version: 0, complete: union.complete })
        });
        let news = union.datacenters.iter_mut().flat_map(|datacenter| datacenter.guard.news()).collect();
        let due = union.datacenters.iter().filter_map(|datacenter| datacenter.guard.due()).min();
        Report { catalog, status: union.status(status), news, due }
    }

    /// Changes what is known of one datacenter; the change says whether it is one, and which services it concerns.
    fn change(&self, dc: usize, change: impl FnOnce(&mut Union, Now) -> (bool, Vec<ServiceName>)) -> bool {
        let mut union = self.union.lock();
        if dc >= union.datacenters.len() {
            return false;
        }
        let doubts = union.datacenters[dc].guard.doubts().count();
        let (changed, names) = change(&mut union, now());
        for dc in union.settle(names.into_iter().collect()) {
            self.wanting[dc].notify_one();
        }
        if union.datacenters[dc].guard.doubts().count() > doubts {
            self.doubted.notify_one();
        }
        self.changed.notify_one();
        changed
    }

    /// Changes what is held in all datacenters.
    fn all<T>(&self, change: impl FnOnce(&mut Union, Now) -> T) -> T {
        let mut union = self.union.lock();
        let result = change(&mut union, now());
        union.settle(BTreeSet::new());
        self.changed.notify_one();
        result
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), clock: SystemTime::now() }
}

#[cfg(test)]
mod tests;
