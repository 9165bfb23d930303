//! What is known of Consul's services so far: the watches write here, one task reads it and publishes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::assemble::Assembled;
use super::client::Failure;
use crate::catalog::{Catalog, Hidden, ProviderStatus, Service, ServiceName};
use crate::discovery::Outlet;

/// After so many errors in a row the first answer of a service is not waited for any more.
const PATIENCE: u32 = 3;

/// The shared state of all watches of one agent.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The catalog watch has answered.
    listed: bool,
    complete: bool,
    /// The catalog has changed since it was built.
    dirty: bool,
    services: BTreeMap<ServiceName, Entry>,
    /// By the catalog alone.
    hidden: BTreeMap<String, String>,
    index: u64,
    last_answer: Option<SystemTime>,
    errors: u64,
    /// The catalog watch's error, while it lasts.
    error: Option<String>,
    /// How many services may have a watch of their own.
    slots: usize,
    /// Sentences that hold until said otherwise, by topic.
    notes: BTreeMap<&'static str, String>,
}

#[derive(Debug, Default)]
struct Entry {
    known: Known,
    error: Option<String>,
}

/// What is known of one service.
#[derive(Debug, Default)]
enum Known {
    /// Nothing was answered yet.
    #[default]
    Pending,
    /// It could not be read so far; the catalog lists it.
    Unread,
    Exposed(Arc<Service>),
    Hidden(String),
}

impl Board {
    /// A board with room for this many watched services.
    pub(crate) fn new(slots: usize) -> Board {
        Board { state: Mutex::new(State { slots, ..State::default() }), changed: Notify::default() }
    }

    /// The catalog's answer: the services to follow, and why the others are hidden. True if that changed anything.
    pub(crate) fn list(&self, names: &[ServiceName], hidden: BTreeMap<String, String>, index: u64) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let before = std::mem::take(&mut state.services);
        let mut known = before.into_iter().collect::<BTreeMap<_, _>>();
        let (count, mut found) = (known.len(), 0);
        for name in names {
            let entry = known.remove(name);
            found += usize::from(entry.is_some());
            state.services.insert(name.clone(), entry.unwrap_or_default());
        }
        let changed = !state.listed || found < count || state.services.len() > found || state.hidden != hidden;
        (state.listed, state.hidden, state.index, state.error) = (true, hidden, index, None);
        state.last_answer = Some(SystemTime::now());
        state.dirty |= changed;
        self.changed.notify_one();
        changed
    }

    /// A service's answer. True if that changed what is known of it.
    pub(crate) fn put(&self, name: &ServiceName, answer: Assembled) -> bool {
        let mut state = self.state.lock();
        state.last_answer = Some(SystemTime::now());
        self.changed.notify_one();
        // It left the catalog while the answer was on its way.
        let Some(entry) = state.services.get_mut(name) else { return false };
        entry.error = None;
        let known = match answer {
            Assembled::Exposed(service, _) => match &entry.known {
                Known::Exposed(before) if **before == service => return false,
                _ => Known::Exposed(Arc::new(service)),
            },
            Assembled::Hidden(reason) => match &entry.known {
                Known::Hidden(before) if *before == reason => return false,
                _ => Known::Hidden(reason),
            },
        };
        entry.known = known;
        state.dirty = true;
        true
    }

    /// A service could not be read, for the nth time in a row: what is known of it stays.
    pub(crate) fn service_failed(&self, name: &ServiceName, failure: &Failure, nth: u32) {
        let mut state = self.state.lock();
        state.errors += 1;
        if let Some(entry) = state.services.get_mut(name) {
            entry.error = Some(format!("{name}: {}", failure.reason));
            if matches!(entry.known, Known::Pending) && (failure.definitive || nth >= PATIENCE) {
                entry.known = Known::Unread;
                state.dirty = true;
            }
        }
        self.changed.notify_one();
    }

    /// The catalog could not be read: what is known stays.
    pub(crate) fn catalog_failed(&self, failure: &Failure) {
        let mut state = self.state.lock();
        state.errors += 1;
        state.error = Some(failure.reason.clone());
        self.changed.notify_one();
    }

    /// A sentence for the operator, replacing the last one of this topic; none removes it.
    pub(crate) fn note(&self, topic: &'static str, note: Option<String>) {
        let mut state = self.state.lock();
        match note {
            Some(note) => state.notes.insert(topic, note),
            None => state.notes.remove(topic),
        };
        self.changed.notify_one();
    }

    /// Whether the catalog, if this were its answer, would lose a service. Before the first one, anything could be lost.
    pub(crate) fn list_removes(&self, names: &[ServiceName]) -> bool {
        let state = self.state.lock();
        !state.listed || state.services.keys().any(|known| names.binary_search(known).is_err())
    }

    /// Whether a service, if this were its answer, would lose an endpoint.
    pub(crate) fn removes(&self, name: &ServiceName, answer: &Assembled) -> bool {
        let state = self.state.lock();
        let Some(Known::Exposed(before)) = state.services.get(name).map(|entry| &entry.known) else { return false };
        let stays = |key| match answer {
            Assembled::Exposed(after, _) => after.endpoints.binary_search_by(|e| e.key.cmp(key)).is_ok(),
            Assembled::Hidden(_) => false,
        };
        before.endpoints.iter().any(|endpoint| !stays(&endpoint.key))
    }

    /// How many services have no watch of their own.
    pub(crate) fn swept(&self) -> usize {
        let state = self.state.lock();
        state.services.len().saturating_sub(state.slots)
    }

    /// Publishes whatever changed, at once; what changes meanwhile joins the following round. Never ends.
    pub(crate) async fn publish(&self, outlet: Outlet) {
        let mut failing = false;
        loop {
            self.changed.notified().await;
            let (catalog, status) = {
                let mut state = self.state.lock();
                // Most answers change nothing, and a big catalog is not built for each of them.
                let catalog = std::mem::take(&mut state.dirty).then(|| state.catalog());
                (catalog, state.status(outlet.status()))
            };
            match (&status.error, failing) {
                (Some(error), false) => {
                    tracing::warn!(%error, agent = status.source, "consul fails; what is known stays")
                }
                (None, true) => tracing::info!(agent = status.source, "consul answers again"),
                _ => {}
            }
            failing = status.error.is_some();
            match catalog {
                Some(catalog) => outlet.publish(catalog, status),
                None => outlet.fare(status),
            }
        }
    }
}

impl State {
    fn catalog(&mut self) -> Catalog {
        let hide = |(name, reason): (&String, &String)| Hidden { name: name.clone(), reason: reason.clone() };
        let mut hidden: Vec<Hidden> = self.hidden.iter().map(hide).collect();
        let mut services = BTreeMap::new();
        let mut pending = false;
        for (name, entry) in &self.services {
            match &entry.known {
                Known::Pending => pending = true,
                Known::Hidden(reason) => hidden.push(Hidden { name: name.to_string(), reason: reason.clone() }),
                Known::Exposed(service) => {
                    services.insert(name.clone(), service.clone());
                }
                Known::Unread => {
                    let (endpoints, unroutable) = (Vec::new(), Vec::new());
                    let empty = Service { name: name.clone(), provider: "consul", endpoints, unroutable };
                    services.insert(name.clone(), Arc::new(empty));
                }
            }
        }
        hidden.sort_by(|a, b| a.name.cmp(&b.name));
        self.complete |= self.listed && !pending;
        Catalog { services, hidden, told: 0, complete: self.complete }
    }

    fn status(&self, mut status: ProviderStatus) -> ProviderStatus {
        let error = self.error.clone().or_else(|| self.services.values().find_map(|entry| entry.error.clone()));
        status.swept = self.services.len().saturating_sub(self.slots);
        status.watched = self.services.len() - status.swept;
        status.state = match () {
            () if self.error.is_some() => "failing",
            () if !self.complete => "starting",
            () if status.swept > 0 => "sweeping",
            () => "watching",
        };
        (status.index, status.last_answer, status.errors) = (self.index, self.last_answer, self.errors);
        status.error = error;
        status.notes = self.notes.values().cloned().collect();
        status
    }
}
