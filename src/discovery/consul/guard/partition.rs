//! The nodes that gossip has lost, and how much is lost with them: that is known before their services are read.
//!
//! Where services have no watch of their own, one answer says that gossip lost many nodes, but what they carry is read one by one and
//! slowly: the losses of any 30 s would be few. So it is counted at once how much is about to be lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::census::{Census, Extent};
use super::holds::Beginning;
use super::ledger::{How, Ledger, Loss};
use super::window::{Now, WINDOW};
use crate::catalog::{Endpoint, ServiceName};

/// The nodes that gossip has lost.
#[derive(Debug, Default)]
pub(super) struct Partition {
    /// All of them, and when each was lost; `None` where that counts no longer.
    lost: HashMap<String, Option<Instant>>,
    /// Those that were lost as part of a crowd: until when the losses of what they carry belong to it.
    crowd: HashMap<String, Instant>,
    /// How much that crowd is.
    extent: Extent,
    /// How many instances of it gossip is known to lose.
    by_gossip: usize,
    /// Until then, whatever vanishes joins it.
    joins: Option<Instant>,
}

impl Partition {
    /// Takes all nodes that gossip has lost by now; true where some of them are new.
    pub(super) fn take(&mut self, nodes: HashSet<String>, now: Now) -> bool {
        let crowd = &mut self.crowd;
        self.lost.retain(|node, _| {
            let stays = nodes.contains(node);
            if !stays && let Some(until) = crowd.get_mut(node) {
                // Answers that were made before it came back may still be under way.
                *until = (*until).min(now.instant + WINDOW);
            }
            stays
        });
        let before = self.lost.len();
        for node in nodes {
            self.lost.entry(node).or_insert(Some(now.instant));
        }
        self.lost.len() > before
    }

    /// How much is lost with the nodes that gossip has lost within the window, heard of or not, and whether that is a crowd.
    pub(super) fn extent<'a>(
        &self,
        services: impl Iterator<Item = (&'a ServiceName, &'a [Endpoint])>,
        ledger: &Ledger,
        census: &Census,
        now: Now,
    ) -> (Extent, bool) {
        let start = now.start();
        let mut lost: HashMap<&ServiceName, usize> = HashMap::new();
        let heard = |loss: &&Loss| {
            loss.counts && loss.how == How::Gossip && loss.nodes().any(|node| self.is_recent(node, start))
        };
        for loss in ledger.since(start).map(|(_, loss)| loss).filter(heard) {
            *lost.entry(&loss.endpoint.key.service).or_default() += 1;
        }
        let (mut all, mut coming) = (Extent::default(), Extent::default());
        for (name, endpoints) in services {
            let live = || endpoints.iter().filter(|endpoint| endpoint.available());
            let leaving = live().filter(|endpoint| self.loses(endpoint, start)).count();
            let lost = lost.get(name).unwrap_or(&0) + leaving;
            if lost == 0 {
                continue;
            }
            let is_out = live().count() == leaving;
            all.add(lost, is_out);
            if leaving > 0 {
                coming.add(leaving, is_out);
            }
        }
        (all, census.will_be_crowd(&all, &coming))
    }

    /// Whether an endpoint is lost with its nodes, of which at least one was lost since `start`.
    fn loses(&self, endpoint: &Endpoint, start: Instant) -> bool {
        let mut nodes = endpoint.registrations.iter().map(|registration| &*registration.node);
        nodes.clone().all(|node| self.lost.contains_key(node)) && nodes.any(|node| self.is_recent(node, start))
    }

    /// Whether a node was lost since `start`.
    fn is_recent(&self, node: &str, start: Instant) -> bool {
        self.lost.get(node).is_some_and(|since| *since >= Some(start))
    }

    /// The nodes that were lost within the window are a crowd of this extent.
    pub(super) fn begin(&mut self, extent: Extent, hold: Duration, now: Now) {
        self.join(extent, extent.instances, hold, now);
        (self.extent, self.by_gossip, self.joins) = (extent, extent.instances, Some(now.instant + WINDOW));
    }

    /// The nodes that were lost within the window, and what is lost with them, are part of a crowd. For as long as `hold`, the losses of what
    /// they carry belong to it.
    pub(super) fn join(&mut self, extent: Extent, by_gossip: usize, hold: Duration, now: Now) {
        self.crowd.retain(|_, until| now.instant < *until);
        if self.crowd.is_empty() {
            (self.extent, self.by_gossip) = (extent, by_gossip);
        }
        let recent = self.lost.iter().filter(|(_, since)| **since >= Some(now.start()));
        self.crowd.extend(recent.map(|(node, _)| (node.clone(), now.instant + hold)));
    }

    /// Whether a loss is by gossip, with a node that was lost as part of a crowd.
    pub(super) fn foretold(&self, loss: &Loss, now: Now) -> bool {
        let in_crowd = |node| self.crowd.get(node).is_some_and(|until| now.instant < *until);
        loss.how == How::Gossip && loss.nodes().any(in_crowd)
    }

    /// An operator accepts what was lost: what is lost from now on is judged anew.
    pub(super) fn accept(&mut self) {
        self.lost.values_mut().for_each(|since| *since = None);
        self.crowd.clear();
        self.joins = None;
    }

    /// How a crowd of suspects begins with what is lost with these nodes.
    pub(super) fn beginning(&self, now: Now) -> Beginning {
        let joins = self.joins.unwrap_or(now.instant);
        Beginning { reason: self.extent.reason(), joins, by_gossip: self.by_gossip }
    }
}
