//! Which services there are in a datacenter, how each is followed, and which are to be read: one table, which all tasks that follow them
//! share.

mod place;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::agent::Budget;
use super::watch::Cursor;
use crate::catalog::ServiceName;

pub(super) use place::{Count, Trace};
use place::{Follow, Inner, Place};

/// The services of a datacenter.
#[derive(Debug, Default)]
pub(super) struct Roster {
    inner: Mutex<Inner>,
    /// Wakes whoever reads, because a read is due.
    pub(super) due: Notify,
    /// Wakes whoever begins watches, because a service is to get one of its own.
    pub(super) promoted: Notify,
    /// How the services are followed.
    pub(super) counts: watch::Sender<Count>,
}

impl Roster {
    /// Takes the list of services, sorted: new ones are to be read, and those that are gone are followed no more.
    pub(super) fn list(&self, names: &[ServiceName], budget: Budget) {
        let inner = &mut *self.inner.lock();
        // Nothing is known of the new ones: they come before those that are read again.
        for name in inner.replace(names).into_iter().rev() {
            inner.queue.push_front(name.clone());
            inner.unsettled += 1;
            inner.places.insert(name, Place { queued: true, first: !inner.ever_filled, ..Place::default() });
        }
        inner.fill();
        self.assign(inner, budget);
        self.tell(inner, budget);
        self.due.notify_one();
    }

    /// Ends every watch; everything is to be read anew.
    pub(super) fn restart(&self) {
        let inner = &mut *self.inner.lock();
        for (name, place) in &mut inner.places {
            let first = place.first;
            inner.watched -= std::mem::take(place).end();
            (place.queued, place.first) = (true, first);
            inner.queue.push_back(name.clone());
        }
        inner.retries.clear();
        inner.watching.clear();
        (inner.unsettled, inner.filled) = (inner.places.len(), false);
        self.due.notify_one();
    }

    /// A service was asked for: it gets a watch of its own if it can, else it is read once.
    pub(super) fn touch(&self, name: &ServiceName, budget: Budget) {
        let inner = &mut *self.inner.lock();
        if !self.use_now(inner, name, budget) {
            self.enqueue_one(inner, name);
        }
    }

    /// A service was read, and has changed: it gets a watch of its own if it can.
    pub(super) fn changed(&self, name: &ServiceName, budget: Budget) {
        self.use_now(&mut self.inner.lock(), name, budget);
    }

    /// Gives a service a watch of its own, unless it has one or waits for its first read; false where all watches are in use.
    fn use_now(&self, inner: &mut Inner, name: &ServiceName, budget: Budget) -> bool {
        let now = Instant::now();
        let Some(place) = inner.places.get_mut(name) else { return true };
        place.used = Some(now);
        if !inner.filled || !matches!(place.follow, Follow::Reads) || !place.settled {
            return true;
        }
        if inner.watched >= budget.watches_beside_signals {
            let Some(idle) = inner.idle(now) else { return false };
            self.demote(inner, &idle);
        }
        self.promote(inner, name.clone());
        self.tell(inner, budget);
        true
    }

    /// There may be more or fewer watches than before.
    pub(super) fn rebudget(&self, budget: Budget) {
        let inner = &mut *self.inner.lock();
        self.assign(inner, budget);
        self.tell(inner, budget);
    }

    /// Queues these services for a read, except those with a watch of their own.
    pub(super) fn enqueue<'a>(&self, names: impl IntoIterator<Item = &'a ServiceName>) {
        let inner = &mut *self.inner.lock();
        names.into_iter().for_each(|name| self.enqueue_one(inner, name));
    }

    /// Queues all services without a watch of their own for a read, first those that were read longest ago.
    pub(super) fn enqueue_all(&self) {
        let inner = &mut *self.inner.lock();
        let swept = inner.places.iter().filter(|(_, place)| matches!(place.follow, Follow::Reads));
        let mut names: Vec<_> = swept.map(|(name, place)| (place.read, name.clone())).collect();
        names.sort();
        names.iter().for_each(|(_, name)| self.enqueue_one(inner, name));
    }

    /// Queues the services that were last read longer than `age` ago for a read, but at most `most` of them.
    pub(super) fn enqueue_oldest(&self, age: Duration, most: usize) {
        let inner = &mut *self.inner.lock();
        let old = Instant::now().checked_sub(age);
        let stale = |place: &Place| matches!(place.follow, Follow::Reads) && place.settled && place.read < old;
        let mut names: Vec<_> = inner.places.iter().filter(|(_, place)| stale(place)).collect();
        names.sort_by_key(|(_, place)| place.read);
        let names: Vec<_> = names.into_iter().take(most).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.enqueue_one(inner, name));
    }

    /// Services with an entry on one of these nodes.
    pub(super) fn on_nodes(&self, nodes: &HashSet<u64>) -> Vec<ServiceName> {
        let inner = self.inner.lock();
        let here = |place: &Place| place.traces.iter().any(|trace| nodes.contains(&trace.node));
        inner.places.iter().filter(|(_, place)| here(place)).map(|(name, _)| name.clone()).collect()
    }

    /// Services of which an instance did not pass when they were read, where that was before this time.
    pub(super) fn ailing(&self, before: Option<Instant>) -> Vec<ServiceName> {
        let inner = self.inner.lock();
        let ailing = |place: &Place| place.ailing && before.is_none_or(|before| place.read < Some(before));
        inner.places.iter().filter(|(_, place)| ailing(place)).map(|(name, _)| name.clone()).collect()
    }

    /// Services whose entries differ from `found`, which has all entries of the catalog by service.
    pub(super) fn differing(&self, found: &HashMap<String, HashSet<Trace>>) -> Vec<ServiceName> {
        let inner = self.inner.lock();
        let differs = |name: &ServiceName, place: &Place| match found.get(name.as_str()) {
            Some(found) => found.len() != place.traces.len() || place.traces.iter().any(|trace| !found.contains(trace)),
            None => !place.traces.is_empty(),
        };
        let settled = inner.places.iter().filter(|(_, place)| place.settled);
        settled.filter(|(name, place)| differs(name, place)).map(|(name, _)| name.clone()).collect()
    }

    /// The next service to read, with what is known of its reads; `None` when none is due.
    pub(super) fn next(&self) -> Option<(ServiceName, Cursor, u32)> {
        let inner = &mut *self.inner.lock();
        let now = Instant::now();
        while let Some((_, name)) = inner.retries.first().filter(|(at, _)| *at <= now).cloned() {
            inner.retries.pop_first();
            self.enqueue_one(inner, &name);
        }
        loop {
            let name = inner.queue.pop_front()?;
            if let Some(place) = inner.places.get_mut(&name)
                && std::mem::take(&mut place.queued)
                && matches!(place.follow, Follow::Reads)
            {
                return Some((name, place.cursor, place.failures));
            }
        }
    }

    /// Whether a read is due now.
    pub(super) fn is_due(&self) -> bool {
        let inner = self.inner.lock();
        !inner.queue.is_empty() || inner.retries.first().is_some_and(|(at, _)| *at <= Instant::now())
    }

    /// When the next read after an error is due.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.inner.lock().retries.first().map(|(at, _)| *at)
    }

    /// Queues at once whatever waits for a read after an error.
    pub(super) fn retry(&self) {
        let inner = &mut *self.inner.lock();
        for (_, name) in std::mem::take(&mut inner.retries) {
            self.enqueue_one(inner, &name);
        }
    }

    /// A service was read.
    pub(super) fn answered(
        &self,
        name: &ServiceName,
        cursor: Cursor,
        (traces, ailing): (Box<[Trace]>, bool),
        budget: Budget,
    ) {
        let inner = &mut *self.inner.lock();
        let Some(place) = inner.places.get_mut(name) else { return };
        (place.cursor, place.traces, place.ailing, place.failures) = (cursor, traces, ailing, 0);
        (place.read, place.first) = (Some(Instant::now()), false);
        if let Some(retry) = place.retry.take() {
            inner.retries.remove(&(retry, name.clone()));
        }
        if inner.settle(name) {
            self.assign(inner, budget);
            self.tell(inner, budget);
        }
    }

    /// Whether the last answer for a service was newer than this one.
    pub(super) fn is_older(&self, name: &ServiceName, cursor: Cursor) -> bool {
        let inner = self.inner.lock();
        let known = inner.places.get(name).and_then(|place| place.cursor.index);
        known.is_some_and(|known| cursor.index.is_some_and(|index| index < known))
    }

    /// A query for a service was not answered: the next one must not wait for a change.
    pub(super) fn unanswered(&self, name: &ServiceName, failed: bool) {
        if let Some(place) = self.inner.lock().places.get_mut(name) {
            place.cursor.index = None;
            place.failures = place.failures.saturating_add(failed.into());
        }
    }

    /// A service could not be read; it is tried again after a pause.
    pub(super) fn failed(&self, name: &ServiceName, failures: u32, pause: Duration, budget: Budget) {
        let inner = &mut *self.inner.lock();
        let Some(place) = inner.places.get_mut(name) else { return };
        place.failures = failures;
        if matches!(place.follow, Follow::Reads) {
            let at = Instant::now() + pause;
            if let Some(before) = place.retry.replace(at) {
                inner.retries.remove(&(before, name.clone()));
            }
            inner.retries.insert((at, name.clone()));
        }
        if inner.settle(name) {
            self.assign(inner, budget);
            self.tell(inner, budget);
        }
        self.due.notify_one();
    }

    /// Takes the services that are to get a watch of their own, each with what is known of its reads.
    pub(super) fn promotions(&self) -> Vec<(ServiceName, Cursor, u32)> {
        let inner = &mut *self.inner.lock();
        let names = std::mem::take(&mut inner.promotions);
        let place = |name: ServiceName| inner.places.get(&name).map(|place| (name, place.cursor, place.failures));
        names.into_iter().filter_map(place).collect()
    }

    /// A service has a watch of its own now.
    pub(super) fn watched(&self, name: &ServiceName, watch: AbortHandle) {
        let inner = &mut *self.inner.lock();
        match inner.places.get_mut(name) {
            Some(place) if matches!(place.follow, Follow::Promoted) => {
                place.follow = Follow::Watch(watch);
                inner.watching.insert(name.clone());
            }
            _ => watch.abort(),
        }
    }

    /// A sweep that began at this time has found everything to be current, or to be read.
    pub(super) fn swept(&self, began: Instant) {
        let inner = &mut *self.inner.lock();
        inner.swept = Some(began);
        inner.moved = inner.moved.filter(|moved| *moved > began);
    }

    /// Whether a service that was listed before all were read for the first time has not been answered yet.
    pub(super) fn awaits_first(&self, name: &ServiceName) -> bool {
        self.inner.lock().places.get(name).is_some_and(|place| place.first)
    }

    /// Whether all services were read once, as far as they can be.
    pub(super) fn is_filled(&self) -> bool {
        self.inner.lock().filled
    }

    /// How the services are followed.
    pub(super) fn count(&self) -> Count {
        *self.counts.borrow()
    }

    /// Whether a service is followed here.
    pub(super) fn has(&self, name: &str) -> bool {
        self.inner.lock().places.contains_key(name)
    }

    /// Of a service: whether it has a watch of its own, whether what is known of it is current as far as watches and signals tell, and when
    /// something was heard of it.
    pub(super) fn heard(&self, name: &str) -> Option<(bool, bool, Option<Instant>)> {
        let inner = self.inner.lock();
        let place = inner.places.get(name)?;
        let well = place.failures == 0;
        let swept = inner.swept.filter(|_| place.settled && well);
        let watched = matches!(place.follow, Follow::Watch(_));
        let current = well && (watched || inner.moved.is_none() && !place.queued);
        Some((watched, current, place.read.max(swept)))
    }

    /// Something was registered, or is gone: it is not known yet what.
    pub(super) fn moved(&self) {
        self.inner.lock().moved.get_or_insert_with(Instant::now);
    }

    fn tell(&self, inner: &Inner, budget: Budget) {
        let (all, watched) = (inner.places.len(), inner.watched);
        let count = Count { watched, swept: all - watched, beyond: all > budget.watches };
        self.counts.send_if_modified(|known| std::mem::replace(known, count) != count);
    }

    fn enqueue_one(&self, inner: &mut Inner, name: &ServiceName) {
        if let Some(place) = inner.places.get_mut(name)
            && !place.queued
            && matches!(place.follow, Follow::Reads)
        {
            place.queued = true;
            inner.queue.push_back(name.clone());
            self.due.notify_one();
        }
    }

    /// Gives a watch to each service while all fit; else, once all were read, to those that were used lately.
    fn assign(&self, inner: &mut Inner, budget: Budget) {
        let all = inner.places.len() <= budget.watches;
        let room = if all { budget.watches } else { budget.watches_beside_signals };
        // There are more services than before, or fewer connections.
        while inner.watched > room
            && let Some(oldest) = inner.oldest()
        {
            self.demote(inner, &oldest);
        }
        if !all && !inner.filled || inner.watched >= room {
            return;
        }
        let waiting = |place: &Place| place.settled && matches!(place.follow, Follow::Reads);
        let mut names: Vec<_> = inner.places.iter().filter(|(_, place)| waiting(place)).collect();
        names.sort_by_key(|(_, place)| std::cmp::Reverse(place.used));
        names.truncate(room.saturating_sub(inner.watched));
        let names: Vec<_> = names.into_iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            self.promote(inner, name);
        }
    }

    /// Ends the watch of a service. It is read once more: its watch may have failed, or been about to say something.
    fn demote(&self, inner: &mut Inner, name: &ServiceName) {
        let Some(place) = inner.places.get_mut(name) else { return };
        if let Follow::Watch(watch) = std::mem::take(&mut place.follow) {
            watch.abort();
            inner.watched -= 1;
            inner.watching.remove(name);
        }
        self.enqueue_one(inner, name);
    }

    fn promote(&self, inner: &mut Inner, name: ServiceName) {
        if let Some(place) = inner.places.get_mut(&name) {
            place.follow = Follow::Promoted;
            inner.watched += 1;
            inner.promotions.push(name);
            self.promoted.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
