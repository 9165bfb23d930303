//! What exists: providers tell of services, a board joins what they say into one catalog.

pub mod consul;
pub mod file;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::catalog::{Catalog, DiscoveryStatus, Hidden, ProviderStatus, Service, ServiceName};
use crate::config::Config;
use std::collections::BTreeMap;

/// A source of endpoints. It reports what exists, never how it fares under traffic.
pub trait Provider: Send + 'static {
    /// Its name, for admin: `consul`, `file`.
    fn name(&self) -> &'static str;
    /// Where it asks.
    fn source(&self) -> String;
    /// Reports to the desk until it is dropped.
    fn run(self, desk: Desk) -> impl Future<Output = ()> + Send;
}

/// Discovery at work.
#[derive(Debug)]
pub struct Discovery {
    /// The newest catalog.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// How the providers fare.
    pub status: watch::Receiver<Arc<DiscoveryStatus>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Discovery {
    /// Ends all watches and closes their connections; the catalog stays as it is.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What one provider says.
#[derive(Debug, Default)]
struct Part {
    services: BTreeMap<ServiceName, Arc<Service>>,
    hidden: BTreeMap<String, String>,
    complete: bool,
}

/// Where all providers report.
#[derive(Debug)]
struct Board {
    parts: Mutex<Vec<Part>>,
    catalog: watch::Sender<Arc<Catalog>>,
    status: watch::Sender<Arc<DiscoveryStatus>>,
}

/// One provider's place at the board.
#[derive(Clone, Debug)]
pub struct Desk {
    board: Arc<Board>,
    index: usize,
}

/// Starts the providers of a configuration on the current runtime. `own` are the gateway's own addresses: never an
/// instance.
///
/// # Errors
/// What makes a provider impossible, such as a CA file that cannot be read.
pub fn start(config: &Config, own: Vec<SocketAddr>) -> Result<Discovery, consul::Error> {
    let mut desks = Desks::default();
    let mut tasks = Vec::new();
    let file = file::File::new(&config.services);
    let consul = config.consul.as_ref().map(|consul| consul::Consul::new(consul.clone(), own)).transpose()?;
    // The file comes first: what it says of a service beats what Consul says.
    let file = (!config.services.is_empty() || consul.is_none()).then_some(file);
    let file = file.map(|file| (desks.place(&file), file));
    let consul = consul.map(|consul| (desks.place(&consul), consul));
    let (catalog_sender, catalog) = watch::channel(Arc::default());
    let (status_sender, status) = watch::channel(Arc::new(DiscoveryStatus { providers: desks.0 }));
    let parts = status.borrow().providers.iter().map(|_| Part::default()).collect();
    let board = Arc::new(Board { parts: Mutex::new(parts), catalog: catalog_sender, status: status_sender });
    if let Some((index, file)) = file {
        tasks.push(tokio::spawn(file.run(Desk { board: board.clone(), index })));
    }
    if let Some((index, consul)) = consul {
        tasks.push(tokio::spawn(consul.run(Desk { board, index })));
    }
    Ok(Discovery { catalog, status, tasks })
}

#[derive(Default)]
struct Desks(Vec<ProviderStatus>);

impl Desks {
    fn place(&mut self, provider: &impl Provider) -> usize {
        self.0.push(ProviderStatus {
            name: provider.name(),
            source: provider.source(),
            state: "starting",
            index: 0,
            watched: 0,
            swept: 0,
            last_answer: None,
            errors: 0,
            error: None,
            notes: Vec::new(),
        });
        self.0.len() - 1
    }
}

impl Desk {
    /// The newest of a service. Equal to what is known already: silence.
    pub fn tell(&self, service: Service) {
        self.change(|part| {
            if part.services.get(&service.name).is_some_and(|known| **known == service) {
                return false;
            }
            part.services.insert(service.name.clone(), Arc::new(service));
            true
        });
    }

    /// A service is no longer listed.
    pub fn forget(&self, name: &str) {
        self.change(|part| part.services.remove(name).is_some());
    }

    /// What is registered, but not exposed, and why.
    pub fn hide(&self, name: &str, reason: Option<String>) {
        self.change(|part| match reason {
            Some(reason) if part.hidden.get(name) == Some(&reason) => false,
            Some(reason) => {
                part.hidden.insert(name.to_owned(), reason);
                true
            }
            None => part.hidden.remove(name).is_some(),
        });
    }

    /// Whether something is known of a service.
    pub fn knows(&self, name: &str) -> bool {
        self.board.parts.lock()[self.index].services.contains_key(name)
    }

    /// Everything was told once.
    pub fn complete(&self) {
        self.change(|part| !std::mem::replace(&mut part.complete, true));
    }

    /// Changes this provider's status.
    pub fn status(&self, change: impl FnOnce(&mut ProviderStatus)) {
        self.board.status.send_modify(|status| change(&mut Arc::make_mut(status).providers[self.index]));
    }

    fn change(&self, change: impl FnOnce(&mut Part) -> bool) {
        let mut parts = self.board.parts.lock();
        if change(&mut parts[self.index]) {
            self.board.catalog.send_replace(Arc::new(joined(&parts)));
        }
    }
}

/// One catalog out of all parts; of two providers with a service of one name the first holds.
fn joined(parts: &[Part]) -> Catalog {
    let mut catalog = Catalog { complete: parts.iter().all(|part| part.complete), ..Catalog::default() };
    for part in parts {
        for (name, service) in &part.services {
            match catalog.services.get(name) {
                None => {
                    catalog.services.insert(name.clone(), service.clone());
                }
                Some(holder) => catalog.hidden.push(Hidden {
                    name: name.to_string(),
                    reason: format!(
                        "the {} provider has a service of this name too, and its word holds",
                        holder.provider
                    ),
                }),
            }
        }
        let hidden = part.hidden.iter().map(|(name, reason)| Hidden { name: name.clone(), reason: reason.clone() });
        catalog.hidden.extend(hidden);
    }
    catalog
}
