//! Three services of a small shop. They register themselves in Consul and misbehave on command, and know nothing of any gateway.

pub mod behaviour;
pub mod register;
mod reply;
mod serve;
mod shared;
pub mod shop;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use behaviour::Behaviour;
pub use shared::Seen;
pub use shop::Kind;

/// An instance that runs on the current tokio runtime. Dropping it is like killing it: its listener and its connections close.
#[derive(Debug)]
pub struct Mock {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<shared::Shared>,
    task: JoinHandle<()>,
}

impl Mock {
    /// Starts an instance on a port of 127.0.0.1; 0 lets the system choose. Its name consists of its service and its port.
    ///
    /// # Errors
    /// When it cannot listen on the port.
    pub async fn start(kind: Kind, port: u16) -> std::io::Result<Mock> {
        Mock::named(None, kind, port).await
    }

    /// Starts an instance with a given name, which its responses have in `X-Instance`.
    ///
    /// # Errors
    /// When it cannot listen on the port.
    pub async fn named(name: Option<String>, kind: Kind, port: u16) -> std::io::Result<Mock> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let name = name.unwrap_or_else(|| format!("{}-{}", kind.service(), address.port()));
        let shared = Arc::new(shared::Shared::new(kind, name));
        let task = tokio::spawn(serve::accept(listener, shared.clone()));
        Ok(Mock { address, shared, task })
    }

    /// Changes how it behaves from the next request on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().expect("no one panics while holding this"));
    }

    /// How many requests it has received, without health checks.
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }

    /// How many connections to it are open.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The heads of the last 10,000 requests that it has received, oldest first, without health checks.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no one panics while holding this").iter().cloned().collect()
    }

    /// Its name, which its responses have in `X-Instance`.
    pub fn name(&self) -> &str {
        self.shared.name()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.streams.lock().expect("no one panics while holding this").abort_all();
    }
}
