//! What exists: providers watch their sources, their catalogs are merged into the one that everything else sees.

pub mod consul;
pub mod file;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::catalog::{Catalog, DiscoveryStatus, Hidden, ProviderStatus};
use crate::config::Config;

/// A source of endpoints.
///
/// It says through its [`Outlet`] what exists, as often as that changes, and how it fares. What it said last holds until
/// it says something else: a provider that fails stays silent, it never says "nothing".
pub trait Provider: Send {
    /// `consul`, `file`: what endpoints and status name it.
    fn name(&self) -> &'static str;

    /// Where it asks, for people.
    fn source(&self) -> String;

    /// Watches until it is dropped, or returns when nothing can change any more.
    fn run(self: Box<Self>, outlet: Outlet) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What is wrong with the way to a provider; the sentence names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// The running providers. Dropping it stops them.
pub struct Discovery {
    /// What exists; replaced only when something changed.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// How discovery fares; replaced with every answer.
    pub status: watch::Receiver<Arc<DiscoveryStatus>>,
    tasks: Vec<AbortHandle>,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

impl Discovery {
    /// Ends all watches, which closes their connections; the last catalog stays readable.
    pub fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Spawns the configured providers on the current runtime.
///
/// `bound` is where the gateway listens by now, besides what the configuration says (it may have left the port to the
/// system): no instance there is ever called.
///
/// `told` is the configuration, now and whenever it changes: the services of the file follow it.
///
/// With `[consul]`, the process must have installed its rustls provider before.
///
/// # Errors
/// A file that cannot be read, an address that is none: what no waiting will mend.
pub fn start(told: &watch::Receiver<Arc<Config>>, bound: &[SocketAddr]) -> Result<Discovery, Error> {
    let config = told.borrow().clone();
    // The order is the precedence: the first provider of a name wins. That of the file is there even when it lists nothing:
    // it may list something when it is read again.
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    providers.push(Box::new(file::File::new(told.clone())));
    if let Some(consul) = &config.consul {
        let configured = config.listeners.iter().map(|l| l.address).chain([config.admin.address]);
        let own = configured.chain(bound.iter().copied()).filter(|own| own.port() != 0).collect();
        providers.push(Box::new(consul::Consul::new(consul, own)?));
    }
    Ok(spawn(providers))
}

fn spawn(providers: Vec<Box<dyn Provider>>) -> Discovery {
    let nothing = Arc::new(Catalog::default());
    let said: Said = providers.iter().map(|p| (nothing.clone(), starting(p.name(), p.source()))).collect();
    let (catalog, catalog_seen) = watch::channel(Arc::new(merge(&said)));
    let (status, status_seen) = watch::channel(Arc::new(overall(&said)));
    let shared = Arc::new(Shared { said: Mutex::new(said), catalog, status });
    let start = |(place, provider): (usize, Box<dyn Provider>)| {
        tokio::spawn(provider.run(Outlet { place, shared: shared.clone() })).abort_handle()
    };
    let tasks = providers.into_iter().enumerate().map(start).collect();
    Discovery { catalog: catalog_seen, status: status_seen, tasks }
}

fn starting(name: &'static str, source: String) -> ProviderStatus {
    ProviderStatus {
        name,
        source,
        state: "starting",
        index: 0,
        watched: 0,
        swept: 0,
        last_answer: None,
        errors: 0,
        error: None,
        notes: Vec::new(),
    }
}

/// What each provider said last, in order of precedence.
type Said = Vec<(Arc<Catalog>, ProviderStatus)>;

struct Shared {
    said: Mutex<Said>,
    catalog: watch::Sender<Arc<Catalog>>,
    status: watch::Sender<Arc<DiscoveryStatus>>,
}

/// Where a provider says what it knows.
pub struct Outlet {
    place: usize,
    shared: Arc<Shared>,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Outlet {
    /// What this provider said of itself last.
    pub fn status(&self) -> ProviderStatus {
        self.shared.said.lock()[self.place].1.clone()
    }

    /// How this provider fares; what exists by it stays.
    pub fn fare(&self, status: ProviderStatus) {
        let mut said = self.shared.said.lock();
        said[self.place].1 = status;
        self.shared.status.send_replace(Arc::new(overall(&said)));
    }

    /// All that exists by this provider, and how it fares. A catalog equal to the last one wakes nobody.
    pub fn publish(&self, mut catalog: Catalog, status: ProviderStatus) {
        let mut said = self.shared.said.lock();
        let (before, fares) = &mut said[self.place];
        *fares = status;
        if **before != catalog {
            share_unchanged(&mut catalog, before);
            *before = Arc::new(catalog);
            let merged = merge(&said);
            self.shared.catalog.send_if_modified(|current| {
                let changed = **current != merged;
                if changed {
                    *current = Arc::new(merged);
                }
                changed
            });
        }
        self.shared.status.send_replace(Arc::new(overall(&said)));
    }
}

/// Equal services stay the same `Arc`, so that whoever compares two catalogs compares pointers first.
fn share_unchanged(new: &mut Catalog, old: &Catalog) {
    for (name, service) in &mut new.services {
        if let Some(known) = old.services.get(name).filter(|known| *known == service) {
            *service = known.clone();
        }
    }
}

/// One catalog of all: a name that two providers claim belongs to the first, the other claim is shown.
fn merge(said: &Said) -> Catalog {
    let mut merged = Catalog { complete: said.iter().all(|(catalog, _)| catalog.complete), ..Catalog::default() };
    for (catalog, status) in said {
        merged.told = merged.told.max(catalog.told);
        merged.hidden.extend_from_slice(&catalog.hidden);
        for (name, service) in &catalog.services {
            match merged.services.get(name) {
                Some(winner) => merged.hidden.push(Hidden {
                    name: name.to_string(),
                    reason: format!("{} has a service of this name, which beats {}'s", winner.provider, status.name),
                }),
                None => {
                    merged.services.insert(name.clone(), service.clone());
                }
            }
        }
    }
    merged
}

fn overall(said: &Said) -> DiscoveryStatus {
    DiscoveryStatus { providers: said.iter().map(|(_, status)| status.clone()).collect() }
}

#[cfg(test)]
mod tests;
