//! Listens, accepts connections under limits, serves them on the workers, and drains at the end. It is generic over what answers
//! the requests.

mod accept;
mod activity;
mod ahead;
mod bind;
mod chunks;
mod closing;
mod command;
mod connection;
mod deadlines;
mod ending;
mod gather;
mod phase;
mod preamble;
mod source;
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
pub use bind::{Address, Bound, Error, bind};
use command::Command;

/// What holds for every connection of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections at once, over all workers.
    pub connections: usize,
    /// How long a request's head may take, from its first byte; and how long the first byte of a new connection may take.
    pub head: Duration,
    /// How long a connection may lie idle between requests.
    pub keep_alive: Duration,
    /// How long a client may go without taking a byte of an answer that is ready for it.
    pub write: Duration,
    /// Which kind of listener this is.
    pub door: Door,
    /// Networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted: Arc<[IpNet]>,
    /// Networks of TCP balancers: connections of others are closed, and theirs begin with a PROXY header. `None`: no such header is known.
    pub balancers: Option<Arc<[IpNet]>>,
}

/// The running workers.
#[derive(Debug)]
pub struct Server {
    workers: Vec<(mpsc::Sender<Command>, JoinHandle<()>)>,
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
        let listeners: Arc<[_]> = bound.into_iter().map(accept::Listener::new).collect();
        let (senders, commands): (Vec<_>, Vec<_>) = (0..pulse.workers()).map(|_| mpsc::channel(1024)).unzip();
        let all: Arc<[_]> = senders.iter().map(mpsc::Sender::downgrade).collect();
        let mut workers = Vec::new();
        for (id, (sender, commands)) in senders.into_iter().zip(commands).enumerate() {
            let setup = worker::Setup {
                id: WorkerId(id),
                pulse: pulse.clone(),
                wake: wake.clone(),
                listeners: listeners.clone(),
                workers: all.clone(),
            };
            workers.push((sender, worker::start(setup, commands, make.clone())?));
        }
        Ok(Server { workers })
    }

    /// Says that in this time accepting stops. Everything is served until then, and more and more answers ask their clients to
    /// connect anew, which leads them to other gateways where a balancer knows of the end.
    pub async fn announce(&self, time: Duration) {
        for (commands, _) in &self.workers {
            let _ = commands.send(Command::Announce(time)).await;
        }
    }

    /// Stops accepting (connections that already wait in the kernel's queue are still taken), lets requests in flight end, and cuts
    /// what is left after `deadline`. True when nothing had to be cut.
    pub async fn drain(self, deadline: Duration) -> bool {
        let commands: Vec<_> = self.workers.iter().map(|(commands, _)| commands.clone()).collect();
        // First all workers stop accepting: until then each of them may hand a connection over to any other.
        let (done, mut stopped) = mpsc::channel(1);
        for commands in &commands {
            let _ = commands.send(Command::Stop(done.clone())).await;
        }
        drop(done);
        let stopping = async { while stopped.recv().await.is_some() {} };
        let _ = tokio::time::timeout(deadline, stopping).await;
        // Then each closes its idle connections, and ends when its last request is answered.
        for commands in &commands {
            let _ = commands.send(Command::Drain).await;
        }
        let mut ended = std::pin::pin!(async move {
            for (_, thread) in self.workers {
                join(thread).await;
            }
        });
        if tokio::time::timeout(deadline, &mut ended).await.is_ok() {
            return true;
        }
        // What is still in flight at the deadline is cut.
        for commands in commands {
            let _ = commands.send(Command::End).await;
        }
        ended.await;
        false
    }
}

/// Serves one connection to its end on the caller's runtime, without acceptor, worker or deadlines: for benchmarks, which so see
/// only what every request costs.
pub fn serve<H: Handler>(
    io: Io,
    client: Client,
    limits: Limits,
    handler: Rc<H>,
    pulse: Arc<Pulse>,
) -> impl Future<Output = ()> {
    let connections = Rc::new(deadlines::Connections::default());
    connection::serve(io, client, handler, deadlines::Listed::new(Arc::new(limits), &connections), pulse, ())
}

/// Waits for a thread without blocking the caller's runtime.
async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}
