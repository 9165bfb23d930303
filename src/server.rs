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
use tokio::sync::mpsc;

use crate::io::{Client, Door, Io};
use crate::plane::{Handler, Pulse, Wake};
use crate::worker::WorkerId;

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
        let doors: Arc<[_]> = bound.into_iter().map(accept::Listening::new).collect();
        let (senders, commands): (Vec<_>, Vec<_>) = (0..pulse.workers()).map(|_| mpsc::channel(1024)).unzip();
        let all: Arc<[_]> = senders.iter().map(mpsc::Sender::downgrade).collect();
        let mut workers = Vec::new();
        for (id, (sender, commands)) in senders.into_iter().zip(commands).enumerate() {
            let post = worker::Post {
                id: WorkerId(id),
                pulse: pulse.clone(),
                wake: wake.clone(),
                doors: doors.clone(),
                workers: all.clone(),
            };
            workers.push((sender, worker::start(post, commands, make.clone())?));
        }
        Ok(Server { workers })
    }

    /// Stops accepting (what already waits in the queue is still taken), lets requests in flight end, and gives up on
    /// what is left after `deadline`. True when nothing had to be cut.
    pub async fn drain(self, deadline: Duration) -> bool {
        let commands: Vec<_> = self.workers.iter().map(|(commands, _)| commands.clone()).collect();
        // Nobody drains before all have stopped: who still accepts may hand over to any.
        let (done, mut stopped) = mpsc::channel(1);
        for commands in &commands {
            let _ = commands.send(worker::Command::Stop(done.clone())).await;
        }
        drop(done);
        let stopping = async { while stopped.recv().await.is_some() {} };
        let _ = tokio::time::timeout(deadline, stopping).await;
        for commands in &commands {
            let _ = commands.send(worker::Command::Drain).await;
        }
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
    connection::serve(io, client, handler, control, connections, pulse, ()).await;
}

/// Waits for a thread without blocking the runtime that asks.
async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}
