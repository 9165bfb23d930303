//! The guard against mass disappearance: what vanishes alone is gone, what vanishes as part of a crowd is held as suspect.
//!
//! A removal on purpose comes alone; an accident comes as a crowd, and Consul never says why an instance vanished. Whatever is lost is
//! noted for [`WINDOW`]. It is obeyed at once unless the losses of that time are a crowd; when they become one, those that were obeyed
//! come back. Only what existed at one moment is summed, so that a service which registers, deregisters and registers under the next
//! name, again and again, is no crowd. The guard judges one datacenter. It is pure: it has no clock and starts nothing.

mod census;
mod holds;
mod ledger;
mod partition;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use self::census::Census;
pub(crate) use self::census::{SERF_HEALTH, lost_by_gossip};
pub(crate) use self::holds::News;
use self::holds::{Beginning, Cause, Fate, Holds};
use self::ledger::{How, Ledger};
use self::partition::Partition;
pub(crate) use self::window::{Now, WINDOW};
use crate::catalog::{Endpoint, Key, ServiceName};

/// What accompanies an answer and bears on whether to believe what it no longer has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Its index is below one seen before, or it is another agent's or another node's.
    pub(crate) forgetful: bool,
    /// `X-Consul-Results-Filtered-By-ACLs: true`.
    pub(crate) filtered: bool,
}

/// What is known of one datacenter's losses, and what is held of them.
#[derive(Debug)]
pub(crate) struct Guard {
    /// How long a suspect is held; zero holds nothing.
    hold: Duration,
    ledger: Ledger,
    holds: Holds,
    census: Census,
    /// Until then, whatever vanishes is held, because the agent lost its memory.
    forgetful: Option<Instant>,
    /// The token does not see what it must see; the value says whether the losses before it were judged.
    blind: Option<bool>,
    /// Nodes that lost everything and may still be members, and when that was.
    doubts: BTreeMap<String, Instant>,
    /// The nodes that gossip has lost.
    partition: Partition,
    /// The losses of the answer that is being taken, by number.
    fresh: Vec<u64>,
    /// Services whose suspects have changed.
    dirty: BTreeSet<ServiceName>,
}

impl Guard {
    /// Nothing is known yet. A suspect is held for this long; zero holds nothing.
    pub(crate) fn new(hold: Duration) -> Guard {
        Guard {
            hold,
            ledger: Ledger::default(),
            holds: Holds::default(),
            census: Census::default(),
            forgetful: None,
            blind: None,
            doubts: BTreeMap::new(),
            partition: Partition::default(),
            fresh: Vec::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// Takes the endpoints that a service has instead of those that it had, both sorted by key and as the agent says them. What is new
    /// exists since `since`; `None` is longer than the guard can tell. What is lost waits for [`Guard::judge`], except where the answer
    /// says that it is `withdrawn`: registered, but no longer for the gateway.
    pub(crate) fn replace(
        &mut self,
        before: &[Endpoint],
        after: &[Endpoint],
        since: Option<Instant>,
        withdrawn: impl Fn(&Endpoint) -> bool,
        now: Now,
    ) {
        let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.key.cmp(&new.key),
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            if old != new {
                self.census.count(old, new);
            }
            match (old, new) {
                (Some(old), Some(new)) if old != new => self.change(old, new, now),
                (Some(old), None) => self.vanish(old, withdrawn(old), now),
                (None, Some(new)) => self.appear(new, since, now),
                _ => {}
            }
        }
    }

    /// Judges what was lost since the last judgement, all of it by one answer. `evidence` accompanied that answer.
    pub(crate) fn judge(&mut self, evidence: Evidence, now: Now) {
        let fresh = std::mem::take(&mut self.fresh);
        let start = now.start();
        let (doubts, patience) = (&mut self.doubts, self.hold.max(WINDOW));
        doubts.retain(|_, at| now.instant.duration_since(*at) < patience);
        self.ledger.prune(start, |loss| loss.nodes().any(|node| doubts.contains_key(node)));
        if self.hold.is_zero() {
            return;
        }
        if evidence.forgetful {
            self.forgetful = Some(now.instant + WINDOW);
        }
        let unjudged = self.blind == Some(false);
        if unjudged {
            self.blind = Some(true);
        }
        let forgetful = self.forgetful.is_some_and(|until| now.instant < until);
        // What vanished shortly before belongs to it: the first answers of an agent that lost its memory need not show that.
        let losses = if evidence.forgetful || unjudged { self.open(start) } else { fresh };
        if forgetful {
            self.hold(losses, &Cause::Memory, Some("the agent lost its memory, or is another one".into()), now);
        } else if self.blind.is_some() {
            let reason = "the token no longer sees the service that it must see (consul.canary)";
            self.hold(losses, &Cause::Blind, Some(reason.into()), now);
        } else if evidence.filtered {
            let reason = "answers that no longer have them were filtered by ACLs";
            self.hold(losses, &Cause::Filter, Some(reason.into()), now);
        } else if self.holds.joins(&Cause::Mass, now) {
            self.hold(losses, &Cause::Mass, None, now);
        } else {
            let losses = self.hold_foretold(losses, now);
            if let Some(extent) = (!losses.is_empty()).then(|| self.ledger.crowd(start, &self.census)).flatten() {
                self.partition.join(extent, 0, self.hold, now);
                self.hold(self.open(start), &Cause::Mass, Some(extent.reason()), now);
            } else {
                let bereft = self.ledger.bereft(&losses, start, &self.census);
                self.doubts.extend(bereft.into_iter().map(|node| (node, now.instant)));
            }
        }
    }

    /// Says whether the token sees what it must see. While it does not, nothing is let go; when it does again, the agent has the time of
    /// the window to confirm what was held.
    pub(crate) fn sight(&mut self, blind: bool, now: Now) {
        match (blind, self.blind) {
            (true, None) => self.blind = Some(false),
            (false, Some(_)) => {
                self.blind = None;
                self.dirty.extend(self.holds.extend(WINDOW, now));
            }
            _ => {}
        }
    }

    /// Takes whether a node that lost everything is still a member. If it is, it lost its services by accident: they come back.
    pub(crate) fn member(&mut self, node: &str, is_member: bool, now: Now) {
        if self.doubts.remove(node).is_none() || !is_member || self.hold.is_zero() {
            return;
        }
        let lost = self
            .ledger
            .all()
            .filter(|(_, loss)| !loss.held && loss.how == How::Vanished && loss.nodes().any(|other| other == node));
        let lost = lost.map(|(number, _)| number).collect();
        let reason = format!("node {node} lost everything while it stays a member");
        self.hold(lost, &Cause::Node(node.to_owned()), Some(reason), now);
    }

    /// Takes all nodes whose `serfHealth` is critical, before what they carry is read, and all services as they are known. Where what is
    /// about to be lost is a crowd, its losses are held whenever they are heard of, but not longer than a suspect is held.
    pub(crate) fn gossip_lost<'a>(
        &mut self,
        nodes: HashSet<String>,
        services: impl Iterator<Item = (&'a ServiceName, &'a [Endpoint])>,
        now: Now,
    ) {
        if !self.partition.take(nodes, now) || self.hold.is_zero() {
            return;
        }
        let (extent, is_crowd) = self.partition.extent(services, &self.ledger, &self.census, now);
        if is_crowd {
            self.partition.begin(extent, self.hold, now);
            self.hold_as(self.open(now.start()), &Cause::Mass, Some(self.partition.beginning(now)), now);
        } else if self.holds.joins(&Cause::Mass, now) {
            self.partition.join(extent, extent.instances, self.hold, now);
        }
    }

    /// A suspect refused a connection: it is gone.
    pub(crate) fn refused(&mut self, key: &Key, now: Now) {
        if self.end(key, Fate::Refused, now) {
            self.ledger.strike(key);
        }
    }

    /// An operator accepts that the suspects of a service are gone, or all of them; says how many there were. What vanishes from now on is
    /// judged anew.
    pub(crate) fn accept(&mut self, service: Option<&ServiceName>, now: Now) -> usize {
        let keys = self.holds.keys(service);
        for key in &keys {
            self.end(key, Fate::Accepted, now);
        }
        self.ledger.clear(service);
        if service.is_none() {
            self.forgetful = None;
            self.doubts.clear();
            self.partition.accept();
        }
        keys.len()
    }

    /// Ends the suspects of a service, because the agent says that it is not for the gateway.
    pub(crate) fn withdraw(&mut self, service: &ServiceName, now: Now) {
        for key in self.holds.keys(Some(service)) {
            self.end(&key, Fate::Confirmed, now);
        }
        self.ledger.clear(Some(service));
    }

    /// Gives up the suspects whose time is over, unless the token is blind: then the agent could not have confirmed them.
    pub(crate) fn expire(&mut self, now: Now) {
        let overdue = self.holds.overdue(now);
        if self.blind.is_some() && !overdue.is_empty() {
            self.dirty.extend(self.holds.extend(self.hold, now));
            return;
        }
        for key in overdue {
            self.end(&key, Fate::GivenUp, now);
            self.ledger.strike(&key);
        }
    }

    /// When [`Guard::expire`] has something to do next, at the earliest.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.holds.due()
    }

    /// A service's endpoints with its suspects; `None` where it has none.
    pub(crate) fn compose(&self, service: &ServiceName, confirmed: &[Endpoint]) -> Option<Vec<Endpoint>> {
        self.holds.compose(service, confirmed)
    }

    /// Whether a service has suspects.
    pub(crate) fn suspects(&self, service: &ServiceName) -> bool {
        self.holds.of(service)
    }

    /// The services with suspects.
    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.holds.services()
    }

    /// How many suspects there are.
    pub(crate) fn count(&self) -> usize {
        self.holds.count()
    }

    /// Whether what the agent has now is less than what there seems to be: something vanished that is not believed.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.blind.is_some() || self.holds.causes().any(|cause| *cause != Cause::Filter)
    }

    /// The nodes whose membership decides a crowd: to be asked for.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = &String> {
        self.doubts.keys()
    }

    /// A sentence for the operator on each crowd.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.holds.notes()
    }

    /// The services whose suspects have changed since this was asked last.
    pub(crate) fn changes(&mut self) -> BTreeSet<ServiceName> {
        self.holds.tell();
        std::mem::take(&mut self.dirty)
    }

    /// What is to be logged.
    pub(crate) fn news(&mut self) -> Vec<News> {
        self.holds.news()
    }

    /// The agent no longer has an endpoint.
    fn vanish(&mut self, old: &Endpoint, withdrawn: bool, now: Now) {
        if withdrawn {
            self.settle(&old.key, now);
        } else if self.holds.has(&old.key) {
            self.holds.present(&old.key, false);
            self.dirty.insert(old.key.service.clone());
        } else if old.available() || lost_by_gossip(old) {
            let number = self.ledger.lose(old.clone(), How::Vanished, old.available(), now.start(), now);
            self.fresh.push(number);
        }
    }

    /// The agent has an endpoint that it did not have. What was lost may be back.
    fn appear(&mut self, new: &Endpoint, since: Option<Instant>, now: Now) {
        if self.holds.has(&new.key) && lost_by_gossip(new) {
            self.holds.present(&new.key, true);
            self.dirty.insert(new.key.service.clone());
            return;
        }
        let held = self.holds.has(&new.key);
        self.settle(&new.key, now);
        // A suspect never ceased to exist.
        self.ledger.arrive(&new.key, since.filter(|_| !held));
    }

    /// What the agent says of an endpoint has changed.
    fn change(&mut self, old: &Endpoint, new: &Endpoint, now: Now) {
        match (lost_by_gossip(old), lost_by_gossip(new)) {
            (false, true) if old.available() => {
                let number = self.ledger.lose(old.clone(), How::Gossip, true, now.start(), now);
                self.fresh.push(number);
            }
            (true, true) | (false, true) => {}
            (_, false) => self.settle(&new.key, now),
        }
    }

    /// The agent's word on an endpoint holds: it is neither lost nor suspect.
    fn settle(&mut self, key: &Key, now: Now) {
        self.ledger.strike(key);
        self.end(key, Fate::Confirmed, now);
    }

    fn end(&mut self, key: &Key, fate: Fate, now: Now) -> bool {
        let ended = self.holds.end(key, fate, now);
        if ended {
            self.dirty.insert(key.service.clone());
        }
        ended
    }

    /// The losses since `start` that were obeyed, by number.
    fn open(&self, start: Instant) -> Vec<u64> {
        self.ledger.since(start).filter(|(_, loss)| !loss.held).map(|(number, _)| number).collect()
    }

    /// Holds those of these losses that belong to a crowd which was known before they were heard of; says which do not.
    fn hold_foretold(&mut self, losses: Vec<u64>, now: Now) -> Vec<u64> {
        let foretold = |number: &u64| self.ledger.get(*number).is_some_and(|loss| self.partition.foretold(loss, now));
        let (foretold, others): (Vec<u64>, Vec<u64>) = losses.into_iter().partition(foretold);
        if !foretold.is_empty() {
            self.hold_as(foretold, &Cause::Mass, Some(self.partition.beginning(now)), now);
        }
        others
    }

    /// Holds these losses. With a reason, they begin a crowd or let it go on; without one, they only join it.
    fn hold(&mut self, losses: Vec<u64>, cause: &Cause, reason: Option<String>, now: Now) {
        let joins = now.instant + WINDOW;
        self.hold_as(losses, cause, reason.map(|reason| Beginning { reason, joins, by_gossip: 0 }), now);
    }

    /// The same; `beginning` also says for how long other losses join, and how much gossip is about to lose.
    fn hold_as(&mut self, mut losses: Vec<u64>, cause: &Cause, beginning: Option<Beginning>, now: Now) {
        let (ledger, hold) = (&mut self.ledger, self.hold);
        // What vanished longer ago than it may be held stays gone.
        losses.retain(|number| ledger.get(*number).is_some_and(|loss| loss.at.instant + hold > now.instant));
        if losses.is_empty() {
            return;
        }
        if let Some(beginning) = beginning {
            self.holds.begin(cause, beginning, now);
        }
        let by_gossip = losses.iter().filter_map(|number| ledger.get(*number)).filter(|loss| loss.how == How::Gossip);
        self.holds.of_gossip(cause, by_gossip.count());
        let mut suspect = None;
        for number in losses {
            let Some(loss) = ledger.get_mut(number) else { continue };
            loss.held = true;
            self.dirty.insert(loss.endpoint.key.service.clone());
            suspect = self.holds.hold(loss, cause, hold, suspect);
        }
    }
}

#[cfg(test)]
mod tests;
