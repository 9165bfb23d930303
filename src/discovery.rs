//! What exists: each provider watches its source, and what all of them report becomes the one catalog that everything else
//! sees.

pub mod consul;
pub mod file;
mod outlet;
mod provider;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::catalog::notice::Heard;
use crate::catalog::{Catalog, DiscoveryStatus};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::supervisor::Supervisor;

pub use outlet::Outlet;
pub use provider::{Error, Provider};

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

/// Spawns the configured providers on the current runtime, each kept by `supervisor`.
///
/// `config` is the configuration now and whenever it changes: the services of the file follow it.
///
/// `bound` is where the gateway listens, which the configuration alone may not say: it may have left the port to the
/// system. No instance at such an address is ever called. `heard` is where it is told what is asked for.
///
/// `heard` is what the rest of the gateway tells Consul's provider; without `[consul]` nobody hears it.
///
/// With `[consul]`, the process must have installed its rustls provider before.
///
/// # Errors
/// What no waiting will mend: a file that cannot be read, an address that is none.
pub fn start(
    config: &watch::Receiver<Arc<Config>>,
    bound: &[SocketAddr],
    heard: Heard,
    supervisor: &Supervisor,
) -> Result<Discovery, Error> {
    let now = config.borrow().clone();
    // The order is the precedence: the first provider that has a service wins. The file's provider is there even when the
    // file lists no service, because it may list some when it is read again.
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    providers.push(Box::new(file::File::new(config.clone())));
    if let Some(consul) = &now.consul {
        let bound = bound.iter().copied().filter(|address| address.port() != 0);
        let listeners = now.own_addresses().into_iter().chain(bound).collect();
        providers.push(Box::new(consul::Consul::new(consul, listeners, heard)?));
    }
    Ok(spawn(providers, supervisor))
}

/// Registers this gateway in Consul, and follows its fleet, where the configuration has one. `bound` is where it listens: the first is that of
/// clients, the last that of admin.
///
/// # Errors
/// What no waiting will mend, as for [`start`].
pub fn join_the_fleet(
    config: &watch::Receiver<Arc<Config>>,
    bound: &[SocketAddr],
    supervisor: &Supervisor,
) -> Result<Option<Fleet>, Error> {
    consul::membership::start(config, bound, supervisor)
}

fn spawn(providers: Vec<Box<dyn Provider>>, supervisor: &Supervisor) -> Discovery {
    let named = providers.iter().map(|provider| (provider.name(), provider.source()));
    let (outlets, catalog, status) = outlet::outlets(named);
    let start = |(provider, outlet): (Box<dyn Provider>, Outlet)| {
        supervisor.spawn(provider.name(), (provider, outlet), |(provider, outlet)| provider.run(outlet))
    };
    let tasks = providers.into_iter().zip(outlets).map(start).collect();
    Discovery { catalog, status, tasks }
}

#[cfg(test)]
mod tests;
