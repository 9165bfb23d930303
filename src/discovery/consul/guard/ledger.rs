//! What vanished within the window, and how much of it existed at one moment: by that the guard tells a crowd from a series.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::census::{Census, Extent};
use super::window::Now;
use crate::catalog::{Endpoint, Key, ServiceName};

/// How an endpoint was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The agent no longer has it.
    Vanished,
    /// The agent still has it, but its only critical check is `serfHealth`: gossip lost its node.
    Gossip,
}

/// An endpoint that was lost.
#[derive(Debug)]
pub(super) struct Loss {
    /// As it was before.
    pub(super) endpoint: Arc<Endpoint>,
    /// When it appeared; `None` is before everything that the ledger knows.
    pub(super) since: Option<Instant>,
    /// When it was lost.
    pub(super) at: Now,
    pub(super) how: How,
    /// It could be picked until then, so that it counts towards a crowd.
    pub(super) counts: bool,
    /// It is held as a suspect. Otherwise the loss was obeyed.
    pub(super) held: bool,
}

impl Loss {
    /// The nodes that carried it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.endpoint.registrations.iter().map(|registration| &*registration.node)
    }
}

/// The losses of the window, and what appeared in it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In the order in which they happened.
    losses: BTreeMap<u64, Loss>,
    numbers: HashMap<Key, u64>,
    next: u64,
    /// How many losses that count each service has.
    counts: HashMap<ServiceName, usize>,
    /// When an endpoint appeared, where that was within the window.
    arrivals: HashMap<Key, Instant>,
    arrived: VecDeque<(Instant, Key)>,
}

impl Ledger {
    /// Notes when an endpoint appeared; `None` is before everything that the ledger knows.
    pub(super) fn arrive(&mut self, key: &Key, since: Option<Instant>) {
        if let Some(at) = since {
            self.arrivals.insert(key.clone(), at);
            self.arrived.push_back((at, key.clone()));
        }
    }

    /// Notes a loss, and says its number. An endpoint has one loss at a time: a second one only changes how it was lost, unless the first
    /// one was before `start`.
    pub(super) fn lose(&mut self, endpoint: Endpoint, how: How, counts: bool, start: Instant, now: Now) -> u64 {
        if let Some(&number) = self.numbers.get(&endpoint.key) {
            match self.losses.get_mut(&number) {
                Some(loss) if loss.at.instant >= start => {
                    loss.how = how;
                    return number;
                }
                _ => drop(self.remove(number)),
            }
        }
        let number = self.next;
        self.next += 1;
        if counts {
            *self.counts.entry(endpoint.key.service.clone()).or_default() += 1;
        }
        let since = self.arrivals.remove(&endpoint.key);
        self.numbers.insert(endpoint.key.clone(), number);
        self.losses.insert(number, Loss { endpoint: Arc::new(endpoint), since, at: now, how, counts, held: false });
        number
    }

    /// Strikes out the loss of an endpoint, because it is back or its loss is settled. `None` where there was none.
    pub(super) fn strike(&mut self, key: &Key) -> Option<Loss> {
        let number = self.numbers.get(key).copied()?;
        self.remove(number)
    }

    /// Strikes out all losses, or those of one service.
    pub(super) fn clear(&mut self, service: Option<&ServiceName>) {
        let meant = |loss: &Loss| service.is_none_or(|name| loss.endpoint.key.service == *name);
        let numbers: Vec<u64> = self.losses.iter().filter(|(_, loss)| meant(loss)).map(|(&number, _)| number).collect();
        for number in numbers {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Loss> {
        let loss = self.losses.remove(&number)?;
        self.numbers.remove(&loss.endpoint.key);
        if loss.counts
            && let Some(count) = self.counts.get_mut(&loss.endpoint.key.service)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&loss.endpoint.key.service);
            }
        }
        Some(loss)
    }

    /// Forgets what happened before `start`, except losses that the caller still needs.
    pub(super) fn prune(&mut self, start: Instant, needs: impl Fn(&Loss) -> bool) {
        while let Some((at, key)) = self.arrived.pop_front_if(|(at, _)| *at < start) {
            if self.arrivals.get(&key) == Some(&at) {
                self.arrivals.remove(&key);
            }
        }
        let old = self.losses.iter().take_while(|(_, loss)| loss.at.instant < start);
        let old: Vec<u64> = old.filter(|(_, loss)| !needs(loss)).map(|(&number, _)| number).collect();
        for number in old {
            self.remove(number);
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<&Loss> {
        self.losses.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Loss> {
        self.losses.get_mut(&number)
    }

    /// The losses since `start`, with their numbers.
    pub(super) fn since(&self, start: Instant) -> impl Iterator<Item = (u64, &Loss)> {
        self.all().filter(move |(_, loss)| loss.at.instant >= start)
    }

    /// All losses that are known, with their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Loss)> {
        self.losses.iter().map(|(&number, loss)| (number, loss))
    }

    /// Whether the losses since `start` are a crowd, and how big it was at the moment at which most of them existed.
    pub(super) fn crowd(&self, start: Instant, census: &Census) -> Option<Extent> {
        // What is a crowd stays one when it grows: where all losses together are none, those of one moment are none.
        let (instances, services) = (self.losses.len(), self.counts.len());
        let at_most = |outages| census.is_crowd(&Extent { instances, services, outages });
        if !at_most(services) || !at_most(self.counts.keys().filter(|name| census.is_out(name)).count()) {
            return None;
        }
        let losses = self.since(start).map(|(_, loss)| loss).filter(|loss| loss.counts);
        let mut largest: Option<Extent> = None;
        moments(
            losses,
            |name| census.is_out(name),
            |extent| {
                if census.is_crowd(&extent) && largest.is_none_or(|largest| largest.instances < extent.instances) {
                    largest = Some(extent);
                }
            },
        );
        largest
    }

    /// The nodes that have lost everything by these losses and others since `start`, at least two services.
    pub(super) fn bereft(&self, fresh: &[u64], start: Instant, census: &Census) -> Vec<String> {
        let vanished = |loss: &&Loss| !loss.held && loss.counts && loss.how == How::Vanished;
        let mut nodes: BTreeMap<&str, Vec<&Loss>> = BTreeMap::new();
        for loss in fresh.iter().filter_map(|number| self.get(*number)).filter(vanished) {
            let bare = loss.nodes().filter(|node| census.is_bare(node));
            nodes.extend(bare.map(|node| (node, Vec::new())));
        }
        if nodes.is_empty() {
            return Vec::new();
        }
        for loss in self.since(start).map(|(_, loss)| loss).filter(vanished) {
            for node in loss.nodes() {
                if let Some(losses) = nodes.get_mut(node) {
                    losses.push(loss);
                }
            }
        }
        nodes.retain(|_, losses| {
            let mut several = false;
            moments(losses.iter().copied(), |_| false, |extent| several |= extent.services >= 2);
            several
        });
        nodes.into_keys().map(str::to_owned).collect()
    }
}

/// Visits each moment at which one of these losses existed already, with how much of what they are existed then. `out` says whether a
/// service has no instance left.
fn moments<'a>(
    losses: impl Iterator<Item = &'a Loss>,
    out: impl Fn(&ServiceName) -> bool,
    mut visit: impl FnMut(Extent),
) {
    let mut ids: HashMap<&ServiceName, usize> = HashMap::new();
    // Of each service: how many of its losses exist at the moment, and whether it has no instance left.
    let mut services: Vec<(usize, bool)> = Vec::new();
    // An end sorts before a beginning: what appears in the moment in which another one goes never existed beside it.
    let mut events: Vec<(Option<Instant>, bool, usize)> = Vec::new();
    // What went in the moment in which it came existed beside nothing.
    for loss in losses.filter(|loss| loss.since < Some(loss.at.instant)) {
        let name = &loss.endpoint.key.service;
        let id = *ids.entry(name).or_insert_with(|| {
            services.push((0, out(name)));
            services.len() - 1
        });
        events.push((loss.since, true, id));
        events.push((Some(loss.at.instant), false, id));
    }
    events.sort_unstable();
    let mut extent = Extent::default();
    for (_, begins, id) in events {
        let (count, out) = &mut services[id];
        if begins {
            *count += 1;
            extent.instances += 1;
            extent.services += usize::from(*count == 1);
            extent.outages += usize::from(*count == 1 && *out);
            visit(extent);
        } else {
            *count -= 1;
            extent.instances -= 1;
            extent.services -= usize::from(*count == 0);
            extent.outages -= usize::from(*count == 0 && *out);
        }
    }
}
