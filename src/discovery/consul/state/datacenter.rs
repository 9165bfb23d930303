//! What the agent says of one datacenter: which services it lists, what it answered of each, and what the guard holds of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::assemble::Assembled;
use super::super::client::Failure;
use super::super::guard::{Evidence, Guard, Now, lost_by_gossip};
use crate::catalog::{Endpoint, Registration, Service, ServiceName};

/// After this many errors in a row, the catalog no longer waits for a service's first answer to be complete.
const PATIENCE: u32 = 3;

/// One datacenter.
#[derive(Debug)]
pub(super) struct Datacenter {
    /// Its catalog was answered.
    pub(super) listed: bool,
    /// The index of that answer.
    pub(super) index: u64,
    /// Its catalog's error, while that lasts.
    pub(super) error: Option<Failure>,
    pub(super) guard: Guard,
    services: BTreeMap<ServiceName, Entry>,
    /// Services that are not followed, by name, and why: their tags or their name exclude them.
    hidden: Arc<BTreeMap<String, String>>,
    /// Services that are followed and turned out not to be exposed, and why.
    unexposed: BTreeMap<ServiceName, String>,
    /// `hidden` or `unexposed` has changed.
    pub(super) hides: bool,
    /// How many services the catalog waits for.
    pending: usize,
    /// How many services are known from the saved catalog only.
    restored: usize,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    /// The catalog waits for its first answer.
    pending: bool,
    /// What is known of it comes from the saved catalog.
    restored: bool,
    /// When it was listed, until its first answer; `None`: it was there from the start.
    since: Option<Instant>,
}

/// What is known of one service.
#[derive(Debug)]
enum Known {
    /// Nothing was answered yet.
    Nothing,
    /// It could not be read so far: it exists, without endpoints.
    Unread,
    Exposed(Arc<Service>),
    /// It is not exposed; `unexposed` says why.
    Hidden,
}

impl Datacenter {
    /// Nothing is known yet. A suspect is held for this long.
    pub(super) fn new(hold: Duration) -> Datacenter {
        Datacenter {
            listed: false,
            index: 0,
            error: None,
            guard: Guard::new(hold),
            services: BTreeMap::new(),
            hidden: Arc::default(),
            unexposed: BTreeMap::new(),
            hides: false,
            pending: 0,
            restored: 0,
        }
    }

    /// Takes the catalog's answer. Says which services came and which left; `None` where nothing changed.
    pub(super) fn list(
        &mut self,
        names: &[ServiceName],
        hidden: Arc<BTreeMap<String, String>>,
        evidence: Evidence,
        now: Now,
    ) -> Option<Vec<ServiceName>> {
        let (came, left) = self.differences(names);
        let first = !std::mem::replace(&mut self.listed, true);
        let changed = first || self.hidden != hidden || !came.is_empty() || !left.is_empty();
        // What is registered, but no longer for the gateway, did not vanish.
        let withdrawn = |name: &ServiceName| hidden.contains_key(name.as_str());
        for name in &left {
            self.forget(name, withdrawn(name), now);
        }
        let suspects: Vec<_> = self.guard.services().filter(|name| withdrawn(name)).cloned().collect();
        for name in suspects {
            self.guard.withdraw(&name, now);
        }
        for name in &came {
            let since = Some(now.instant).filter(|_| !first);
            let entry = Entry { known: Known::Nothing, pending: true, restored: false, since };
            self.services.insert(name.clone(), entry);
            self.pending += 1;
        }
        self.hides |= self.hidden != hidden;
        self.hidden = hidden;
        self.guard.judge(evidence, now);
        changed.then(|| came.into_iter().chain(left).collect())
    }

    /// The services that are new in this sorted list, and those that it no longer has.
    fn differences(&self, names: &[ServiceName]) -> (Vec<ServiceName>, Vec<ServiceName>) {
        let (mut came, mut left) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (self.services.keys().peekable(), names.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return (came, left),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.cmp(new),
            };
            if order.is_lt() {
                left.extend(old.next().cloned());
            } else if order.is_gt() {
                came.extend(new.next().cloned());
            } else {
                old.next();
                new.next();
            }
        }
    }

    /// The list no longer has a service.
    fn forget(&mut self, name: &ServiceName, withdrawn: bool, now: Now) {
        let Some(entry) = self.services.remove(name) else { return };
        self.pending -= usize::from(entry.pending);
        self.restored -= usize::from(entry.restored);
        self.hides |= self.unexposed.remove(name).is_some();
        if let Known::Exposed(service) = entry.known {
            self.guard.replace(&service.endpoints, &[], None, |_| withdrawn, now);
        }
    }

    /// Takes a service's answer; false where it changed nothing. A service that left the catalog while the answer was on its way is no
    /// longer known.
    pub(super) fn put(&mut self, name: &ServiceName, answer: Assembled, evidence: Evidence, now: Now) -> bool {
        let Some(entry) = self.services.get_mut(name) else { return false };
        let first = std::mem::take(&mut entry.pending);
        let restored = std::mem::take(&mut entry.restored);
        self.pending -= usize::from(first);
        self.restored -= usize::from(restored);
        let since = if first { entry.since } else { Some(now.instant) };
        let before = match &entry.known {
            Known::Exposed(service) => Some(service.clone()),
            Known::Nothing | Known::Unread | Known::Hidden => None,
        };
        let endpoints = before.as_ref().map_or(&[][..], |service| &service.endpoints);
        let changed = match answer {
            Assembled::Exposed(service, _) => {
                let equal = before.as_ref().is_some_and(|before| **before == service);
                if !equal {
                    let withdrawn = |endpoint: &Endpoint| is_withdrawn(endpoint, &service);
                    self.guard.replace(endpoints, &service.endpoints, since, withdrawn, now);
                    entry.known = Known::Exposed(Arc::new(service));
                    self.hides |= self.unexposed.remove(name).is_some();
                }
                !equal
            }
            // Its entries are there and say that they are not for the gateway: that is a change, and nothing has vanished.
            Assembled::Hidden(reason) => {
                self.guard.replace(endpoints, &[], since, |_| true, now);
                self.guard.withdraw(name, now);
                entry.known = Known::Hidden;
                let changed = self.unexposed.get(name) != Some(&reason);
                self.unexposed.insert(name.clone(), reason);
                self.hides |= changed;
                changed
            }
        };
        self.guard.judge(evidence, now);
        changed || first || restored
    }

    /// A service could not be read, for the `nth` time in a row: what is known of it stays. True if the catalog waits no longer.
    pub(super) fn fail(&mut self, name: &ServiceName, definitive: bool, nth: u32) -> bool {
        let Some(entry) = self.services.get_mut(name) else { return false };
        let enough = entry.pending && (definitive || nth >= PATIENCE);
        if enough {
            entry.pending = false;
            self.pending -= 1;
            if matches!(entry.known, Known::Nothing) {
                entry.known = Known::Unread;
            }
        }
        enough
    }

    /// Takes all nodes whose `serfHealth` is critical, before what they carry is read.
    pub(super) fn gossip_lost(&mut self, nodes: HashSet<String>, now: Now) {
        let exposed = self.services.iter().filter_map(|(name, entry)| match &entry.known {
            Known::Exposed(service) => Some((name, &*service.endpoints)),
            Known::Nothing | Known::Unread | Known::Hidden => None,
        });
        self.guard.gossip_lost(nodes, exposed, now);
    }

    /// Takes a service of the saved catalog, unless something is known of it already.
    pub(super) fn restore(&mut self, mut service: Service, now: Now) {
        if self.listed || self.services.contains_key(&service.name) {
            return;
        }
        service.endpoints.iter_mut().for_each(|endpoint| endpoint.suspect = None);
        self.guard.replace(&[], &service.endpoints, None, |_| false, now);
        let name = service.name.clone();
        let known = Known::Exposed(Arc::new(service));
        self.services.insert(name, Entry { known, pending: true, restored: true, since: None });
        self.pending += 1;
        self.restored += 1;
    }

    /// Forgets what was restored, and says what that was.
    pub(super) fn discard(&mut self, now: Now) -> Vec<ServiceName> {
        let restored = self.services.iter().filter(|(_, entry)| entry.restored);
        let names: Vec<ServiceName> = restored.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.forget(name, true, now);
            self.guard.withdraw(name, now);
        }
        names
    }

    /// Whether a service would be lost if this were the catalog's answer. The first answer could lose anything.
    pub(super) fn list_removes(&self, names: &[ServiceName]) -> bool {
        !self.listed || !self.differences(names).1.is_empty()
    }

    /// Whether an endpoint of a service would be lost if this were its answer.
    pub(super) fn removes(&self, name: &ServiceName, answer: &Assembled) -> bool {
        let Some(Known::Exposed(before)) = self.services.get(name).map(|entry| &entry.known) else { return false };
        let stays = |key| match answer {
            Assembled::Exposed(after, _) => after.endpoints.binary_search_by(|e| e.key.cmp(key)).is_ok(),
            Assembled::Hidden(_) => false,
        };
        before.endpoints.iter().any(|endpoint| !stays(&endpoint.key))
    }

    /// A service as the agent answered it, if it did: without suspects, and not from the saved catalog.
    pub(super) fn confirmed(&self, name: &ServiceName) -> Option<Arc<Service>> {
        match self.services.get(name)? {
            Entry { known: Known::Exposed(service), restored: false, .. } => Some(service.clone()),
            _ => None,
        }
    }

    /// What is known of a service, with its suspects.
    pub(super) fn service(&self, name: &ServiceName) -> Option<Arc<Service>> {
        let known = match self.services.get(name).map(|entry| &entry.known) {
            Some(Known::Exposed(service)) => Some(service.clone()),
            Some(Known::Unread) => Some(Arc::new(empty(name))),
            Some(Known::Nothing | Known::Hidden) | None => None,
        };
        let endpoints = known.as_ref().map_or(&[][..], |service| &service.endpoints);
        let Some(endpoints) = self.guard.compose(name, endpoints) else { return known };
        let unroutable = known.map_or_else(Vec::new, |service| service.unroutable.clone());
        Some(Arc::new(Service { endpoints, unroutable, ..empty(name) }))
    }

    /// Whether a service has an endpoint here that can be picked and is no suspect.
    pub(super) fn serves(&self, name: &ServiceName) -> bool {
        let known = self.services.get(name).map(|entry| &entry.known);
        matches!(known, Some(Known::Exposed(service)) if service.endpoints.iter().any(Endpoint::available))
    }

    /// Whether nothing of a service can be picked, and gossip is a reason for that.
    pub(super) fn is_lost_by_gossip(&self, name: &ServiceName) -> bool {
        let known = self.services.get(name).map(|entry| &entry.known);
        !self.serves(name)
            && matches!(known, Some(Known::Exposed(service)) if service.endpoints.iter().any(lost_by_gossip))
    }

    /// Whether it is the agent's word that nothing of a service can be picked here: the agent answered, and not with an error.
    pub(super) fn lacks(&self, name: &ServiceName) -> bool {
        let unknown = |entry: &Entry| entry.restored || matches!(entry.known, Known::Nothing | Known::Unread);
        self.listed && !self.serves(name) && !self.services.get(name).is_some_and(unknown)
    }

    /// Whether the catalog lists a service as one that may be exposed.
    pub(super) fn lists(&self, name: &ServiceName) -> bool {
        self.services.contains_key(name)
    }

    /// All services that it lists.
    pub(super) fn names(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.keys()
    }

    /// Whether the catalog waits for a service.
    pub(super) fn awaits(&self, name: &ServiceName) -> bool {
        self.services.get(name).is_some_and(|entry| entry.pending)
    }

    /// Whether the catalog waits for nothing.
    pub(super) fn is_read(&self) -> bool {
        self.listed && self.pending == 0
    }

    /// How many services are known from the saved catalog only.
    pub(super) fn restored(&self) -> usize {
        self.restored
    }

    /// What is registered but not exposed, and why.
    pub(super) fn hidden(&self) -> impl Iterator<Item = (&str, &String)> {
        let followed = self.unexposed.iter().map(|(name, reason)| (name.as_str(), reason));
        self.hidden.iter().map(|(name, reason)| (name.as_str(), reason)).chain(followed)
    }
}

/// Whether an answer that no longer has an endpoint still has all of its registrations: at other addresses, or refused. Then nothing has
/// vanished. An entry without an address could not be read, which says nothing.
fn is_withdrawn(endpoint: &Endpoint, answer: &Service) -> bool {
    let of = |registration: &Registration, id: &str| {
        let rest = id.strip_prefix(&*registration.node).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|id| *id == *registration.id)
    };
    let refused =
        |registration| answer.unroutable.iter().any(|entry| !entry.address.is_empty() && of(registration, &entry.id));
    let moved = |registration: &Registration| {
        let mut others = answer.endpoints.iter().flat_map(|other| &other.registrations);
        others.any(|other| other.node == registration.node && other.id == registration.id)
    };
    endpoint.registrations.iter().all(|registration| refused(registration) || moved(registration))
}

fn empty(name: &ServiceName) -> Service {
    Service { name: name.clone(), provider: "consul", endpoints: Vec::new(), unroutable: Vec::new() }
}
