//! Three services of a small shop, which register themselves in Consul, and an issuer of tokens. They misbehave on command, and know
//! nothing of any gateway.

pub mod behaviour;
pub mod issuer;
pub mod register;
mod reply;
mod serve;
mod shared;
pub mod shop;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::issuer::{Rotation, Settings, State, Wanted};
use self::shared::Trade;
use self::shop::Shop;

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
        Ok(Mock::serving(listener, address, Trade::Shop(Shop::new(kind)), name))
    }

    fn serving(listener: TcpListener, address: SocketAddr, trade: Trade, name: String) -> Mock {
        let shared = Arc::new(shared::Shared::new(trade, name));
        let task = tokio::spawn(serve::accept(listener, shared.clone()));
        Mock { address, shared, task }
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

/// An issuer of tokens that runs on the current tokio runtime. Dropping it is like killing it. Consul knows nothing of it: who trusts it is told
/// so in a configuration.
#[derive(Debug)]
pub struct Issuer {
    mock: Mock,
}

impl Issuer {
    /// Starts an issuer on a port of 127.0.0.1; 0 lets the system choose.
    ///
    /// # Errors
    /// When it cannot listen on the port.
    pub async fn start(port: u16) -> std::io::Result<Issuer> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let trade = Trade::Issuer(Box::new(State::new(format!("http://{address}"))));
        Ok(Issuer { mock: Mock::serving(listener, address, trade, format!("issuer-{}", address.port())) })
    }

    /// What its tokens say in `iss`; discovery is below it.
    pub fn url(&self) -> &str {
        self.state().url()
    }

    /// The instance: how it behaves, and what it has seen.
    pub fn mock(&self) -> &Mock {
        &self.mock
    }

    /// How often it has been asked for this path.
    pub fn asked(&self, path: &str) -> usize {
        let of = |line: &str| line.split([' ', '?']).nth(1) == Some(path);
        self.mock.seen().iter().filter(|seen| of(&seen.line)).count()
    }

    /// Changes what it says from the next request on.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.state().set(change);
    }

    /// A token, as if somebody had asked for it.
    pub fn token(&self, wanted: &Wanted) -> String {
        self.state().token(self.url(), wanted)
    }

    /// Makes new keys, which takes a tenth of a second. Returns the `kid` of each that is shown now, the new ones first.
    pub fn rotate(&self, rotation: Rotation) -> Vec<String> {
        self.state().rotate(rotation)
    }

    /// Its public keys as a JWK Set (RFC 7517 section 5).
    pub fn keys(&self) -> Value {
        self.state().shown()
    }

    fn state(&self) -> &State {
        match &self.mock.shared.trade {
            Trade::Issuer(state) => state,
            Trade::Shop(_) => unreachable!("an issuer was started"),
        }
    }
}
