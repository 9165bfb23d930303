//! What is known of Consul's services so far: the watches write here, and one task publishes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::assemble::Assembled;
use super::client::Failure;
use crate::catalog::{Catalog, Hidden, ProviderStatus, Service, ServiceName, Services};
use crate::discovery::outlet::Outlet;

/// After this many errors in a row, the catalog no longer waits for a service's first answer to be complete.
const PATIENCE: u32 = 3;

/// What accompanies an answer and bears on whether to believe what it no longer has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// Its index is below one seen before, or it is another agent's or another node's.
    pub(crate) forgetful: bool,
    /// `X-Consul-Results-Filtered-By-ACLs: true`.
    pub(crate) filtered: bool,
}

/// What is known by one agent.
#[derive(Debug, Default)]
pub(crate) struct State {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The catalog watch has answered.
    listed: bool,
    /// Each service has been read since then, or could not be.
    complete: bool,
    /// What is known has changed since the catalog was last built of it.
    dirty: bool,
    services: BTreeMap<ServiceName, Entry>,
    /// Services that are not followed, by name, and why: their tags or their name exclude them.
    hidden: BTreeMap<String, String>,
    index: u64,
    last_answer: Option<SystemTime>,
    errors: u64,
    /// The catalog watch's error, while it lasts.
    error: Option<Failure>,
    watched: usize,
    swept: usize,
    following: Option<Arc<dyn crate::catalog::Following>>,
    /// The current sentence for the operator on each topic that has one.
    notes: BTreeMap<&'static str, String>,
}

#[derive(Debug, Default)]
struct Entry {
    known: Known,
    error: Option<Failure>,
}

/// What is known of one service.
#[derive(Debug, Default)]
enum Known {
    /// Nothing was answered yet, and the catalog waits for it.
    #[default]
    Pending,
    /// It could not be read so far: it exists, without endpoints.
    Unread,
    Exposed(Arc<Service>),
    /// It is not exposed, for this reason.
    Hidden(String),
}

impl State {
    pub(crate) fn new(_datacenters: usize, _hold: std::time::Duration) -> State {
        State::default()
    }
    pub(crate) fn forgotten(&self) {}
    pub(crate) fn following(&self, following: Arc<dyn crate::catalog::Following>) {
        self.inner.lock().following = Some(following);
    }
    pub(crate) fn plan(&self, watched: usize, swept: usize) {
        let mut state = self.inner.lock();
        (state.watched, state.swept) = (watched, swept);
        self.changed.notify_one();
    }
    pub(crate) async fn wanting(&self) {
        std::future::pending().await
    }
    pub(crate) async fn doubted(&self) {
        std::future::pending().await
    }
    pub(crate) fn wanted(&self, _: usize) -> Vec<ServiceName> {
        Vec::new()
    }
    pub(crate) fn doubts(&self) -> Vec<(usize, String)> {
        Vec::new()
    }
    pub(crate) fn member(&self, _: usize, _: &str, _: bool) {}
    pub(crate) fn refused(&self, _: &crate::catalog::Key) {}
    pub(crate) fn accept(&self, _: Option<&ServiceName>) -> usize {
        0
    }

    /// Takes the catalog's answer: the services to follow, and why the others are hidden. True if that changed anything.
    pub(crate) fn list(
        &self,
        _: usize,
        names: &[ServiceName],
        hidden: BTreeMap<String, String>,
        _: bool,
        index: u64,
        _: Evidence,
    ) -> bool {
        let mut state = self.inner.lock();
        // What is known of services that stay is kept; the others are forgotten.
        let mut before = std::mem::take(&mut state.services);
        let (count, mut found) = (before.len(), 0);
        for name in names {
            let entry = before.remove(name);
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

    /// Takes a service's answer. True if that changed what is known of it.
    pub(crate) fn put(&self, _: usize, name: &ServiceName, answer: Assembled, _: Evidence) -> bool {
        let mut state = self.inner.lock();
        state.last_answer = Some(SystemTime::now());
        self.changed.notify_one();
        // A service that left the catalog while the answer was on its way is no longer known.
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

    /// A service could not be read, for the `nth` time in a row: what is known of it stays.
    pub(crate) fn service_failed(&self, _: usize, name: &ServiceName, failure: &Failure, nth: u32) {
        let mut state = self.inner.lock();
        state.errors += 1;
        if let Some(entry) = state.services.get_mut(name) {
            entry.error = Some(Failure { reason: format!("{name}: {}", failure.reason), ..failure.clone() });
            if matches!(entry.known, Known::Pending) && (failure.definitive || nth >= PATIENCE) {
                entry.known = Known::Unread;
                state.dirty = true;
            }
        }
        self.changed.notify_one();
    }

    /// The catalog could not be read: what is known stays.
    pub(crate) fn catalog_failed(&self, _: usize, failure: &Failure) {
        let mut state = self.inner.lock();
        state.errors += 1;
        state.error = Some(failure.clone());
        self.changed.notify_one();
    }

    /// Sets the sentence for the operator on a topic, or removes it.
    pub(crate) fn note(&self, topic: &'static str, note: Option<String>) {
        let mut state = self.inner.lock();
        match note {
            Some(note) => state.notes.insert(topic, note),
            None => state.notes.remove(topic),
        };
        self.changed.notify_one();
    }

    /// Whether a service would be lost if this were the catalog's answer. The first answer could lose anything.
    pub(crate) fn list_removes(&self, _: usize, names: &[ServiceName]) -> bool {
        let state = self.inner.lock();
        !state.listed || state.services.keys().any(|known| names.binary_search(known).is_err())
    }

    /// Whether an endpoint of a service would be lost if this were its answer.
    pub(crate) fn removes(&self, _: usize, name: &ServiceName, answer: &Assembled) -> bool {
        let state = self.inner.lock();
        let Some(Known::Exposed(before)) = state.services.get(name).map(|entry| &entry.known) else { return false };
        let stays = |key| match answer {
            Assembled::Exposed(after, _) => after.endpoints.binary_search_by(|e| e.key.cmp(key)).is_ok(),
            Assembled::Hidden(_) => false,
        };
        before.endpoints.iter().any(|endpoint| !stays(&endpoint.key))
    }

    /// Publishes each change at once; what changes meanwhile is published together. Never ends.
    pub(crate) async fn publish(&self, outlet: &Outlet) {
        let mut failing = false;
        loop {
            self.changed.notified().await;
            let (catalog, status) = {
                let mut state = self.inner.lock();
                // A big catalog is built only where something changed: most answers change nothing.
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
                None => outlet.report_status(status),
            }
        }
    }
}

impl Inner {
    /// The catalog of what is known.
    fn catalog(&mut self) -> Catalog {
        let mut hidden: Vec<Hidden> =
            self.hidden.iter().map(|(name, reason)| Hidden { name: name.clone(), reason: reason.clone() }).collect();
        let mut services = Services::new();
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
        Catalog { services, hidden, config_version: 0, complete: self.complete }
    }

    /// The status that follows from what is known; the provider's name and source stay as they were.
    fn status(&self, mut status: ProviderStatus) -> ProviderStatus {
        let error = self.error.as_ref().or_else(|| self.services.values().find_map(|entry| entry.error.as_ref()));
        (status.watched, status.swept) = (self.watched, self.swept);
        status.following = self.following.clone();
        status.state = match () {
            () if self.error.is_some() => "failing",
            () if !self.complete => "starting",
            () if status.swept > 0 => "sweeping",
            () => "watching",
        };
        (status.index, status.last_answer, status.errors) = (self.index, self.last_answer, self.errors);
        status.error = error.map(|failure| failure.reason.clone());
        status.failure = error.map(|failure| failure.kind);
        status.notes = self.notes.values().cloned().collect();
        status
    }
}
