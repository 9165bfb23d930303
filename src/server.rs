//! The front door: accept under limits, serve on the workers, drain. Generic over what it serves.

mod accept;
mod bind;
mod connection;
mod watch;
mod worker;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use crate::io::{Client, Door, Io};
use crate::plane::{Handler, Pulse, Wake, WorkerId};

pub use bind::{Bound, Error, bind};

/// What holds for every connection of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections at once, over all workers.
    pub connections: usize,
    /// To receive a head, from its first byte; and for the first byte of a connection.
    pub head: Duration,
    /// How long a connection may lie idle between requests.
    pub keep_alive: Duration,
    /// How long a client may take no byte of an answer that is ready for it.
    pub write: Duration,
    /// Which door this is.
    pub door: Door,
    /// Networks whose word on their clients is believed.
    pub trusted: Arc<[IpNet]>,
}

/// Everything that accepts and serves.
#[derive(Debug)]
pub struct Server {
    acceptor: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    workers: Vec<(mpsc::Sender<worker::Command>, JoinHandle<()>)>,
}

impl Server {
    /// Starts the workers, each with the handler that `make` gives it, then accepts.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start<H, F>(bound: Vec<Bound>, pulse: &Arc<Pulse>, wake: &Wake, make: F) -> io::Result<Server>
    where
        H: Handler,
        F: Fn(WorkerId) -> H + Send + Clone + 'static,
    {
        let mut workers = Vec::new();
        for id in (0..pulse.workers()).map(WorkerId) {
            workers.push(worker::start(id, pulse.clone(), wake.clone(), make.clone())?);
        }
        let (stop, stopped) = oneshot::channel();
        let senders = workers.iter().map(|(sender, _)| sender.clone()).collect();
        let thread = accept::start(bound, pulse.clone(), senders, stopped)?;
        Ok(Server { acceptor: Some((stop, thread)), workers })
    }

    /// Stops accepting (what already waits in the queue is still taken), lets requests in flight end, and gives up on
    /// what is left after `deadline`. True when nothing had to be cut.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        if let Some((stop, thread)) = self.acceptor.take() {
            let _ = stop.send(());
            join(thread).await;
        }
        for (commands, _) in &self.workers {
            let _ = commands.send(worker::Command::Drain).await;
        }
        let commands: Vec<_> = self.workers.iter().map(|(commands, _)| commands.clone()).collect();
        let mut ended = std::pin::pin!(async move {
            for (_, thread) in self.workers {
                join(thread).await;
            }
        });
        if tokio::time::timeout(deadline, &mut ended).await.is_ok() {
            return true;
        }
        for commands in commands {
            let _ = commands.send(worker::Command::End).await;
        }
        ended.await;
        false
    }
}

/// Serves one connection to its end on the runtime that asks, without acceptor, worker or deadlines: what is left is what every
/// request costs.
pub async fn serve<H: Handler>(io: Io, client: Client, limits: Limits, handler: Rc<H>, pulse: Arc<Pulse>) {
    let connections = Rc::new(watch::Connections::default());
    let control = connections.open(Arc::new(limits));
    connection::serve(io, client, handler, control, connections, pulse).await;
}

/// Waits for a thread without blocking the runtime that asks.
async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}
