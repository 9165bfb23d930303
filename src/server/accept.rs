//! One thread accepts for all listeners and places each connection on the worker with the fewest open ones.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::bind::Bound;
use super::worker::{Arrival, Command};
use crate::io::Client;
use crate::plane::Pulse;

/// Starts the acceptor's thread. It ends when told to, after taking what already waits in the queues.
pub(super) fn start(
    bound: Vec<Bound>,
    pulse: Arc<Pulse>,
    workers: Vec<mpsc::Sender<Command>>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("lictor-accept".into()).spawn(move || {
        let workers: Rc<[_]> = workers.into();
        runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
            let (stop, stopping) = watch::channel(false);
            let tasks: Vec<_> = bound
                .into_iter()
                .map(|bound| {
                    let door = Acceptor { pulse: pulse.clone(), workers: workers.clone(), reserve: reserve() };
                    tokio::task::spawn_local(door.run(bound, stopping.clone()))
                })
                .collect();
            let _ = stopped.await;
            let _ = stop.send(true);
            for task in tasks {
                let _ = task.await;
            }
        }));
    })
}

/// A descriptor to give up when none is left, so that a waiting connection can be taken and closed, not left hanging.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

struct Acceptor {
    pulse: Arc<Pulse>,
    workers: Rc<[mpsc::Sender<Command>]>,
    reserve: Option<File>,
}

impl Acceptor {
    async fn run(mut self, bound: Bound, mut stopping: watch::Receiver<bool>) {
        let Bound { socket, limits, address } = bound;
        let slots = Arc::new(Semaphore::new(limits.connections));
        let limits = Arc::new(limits);
        let socket = match watch(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(%address, "cannot watch the listener: {error}"),
        };
        loop {
            let slot = tokio::select! {
                slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
                _ = stopping.changed() => break,
            };
            let accepted = tokio::select! {
                accepted = Self::accept(&socket) => accepted,
                _ = stopping.changed() => break,
            };
            match accepted {
                Ok(connection) => self.place(connection, address, &limits, slot).await,
                Err(error) => self.failed(&socket, &error).await,
            }
        }
        // The end: whoever was already in the queue is served (connections that we leave there would be reset).
        while let Ok(slot) = slots.clone().try_acquire_owned() {
            let Ok(connection) = accept_now(socket.get_ref()) else { break };
            self.place(connection, address, &limits, slot).await;
        }
    }

    async fn accept(socket: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let mut ready = socket.readable().await?;
            if let Ok(accepted) = ready.try_io(|socket| accept_now(socket.get_ref())) {
                return accepted;
            }
        }
    }

    async fn place(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        listener: SocketAddr,
        limits: &Arc<super::Limits>,
        slot: tokio::sync::OwnedSemaphorePermit,
    ) {
        let placed = self.pulse.place();
        let worker = &self.workers[placed.worker.0];
        let client = Client::new(address, listener, limits.door, &limits.trusted);
        let arrival = Arrival { stream, client, limits: limits.clone(), placed, slot };
        // A worker whose queue is full holds up the acceptor: the kernel's backlog is the next queue.
        let _ = worker.send(Command::Arrival(arrival)).await;
    }

    /// Descriptors ran out: give up the reserve, take one connection, close it, so that its client learns at once.
    async fn failed(&mut self, socket: &AsyncFd<TcpListener>, error: &io::Error) {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        if !matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
            // The client left before we took it (ECONNABORTED and kin), or the system is short of memory: no reason to spin.
            tracing::debug!("accept: {error}");
            return tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.pulse.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!("out of file descriptors: a connection is refused; raise the limit (ulimit -n)");
        drop(self.reserve.take());
        drop(accept_now(socket.get_ref()));
        self.reserve = reserve();
        if self.reserve.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Tokio's own listener would register each accepted socket here, only for its worker to register it again.
#[expect(deprecated, reason = "its successor is unsafe; a TcpListener keeps its descriptor for as long as it lives")]
fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::new(socket)
}

/// One system call: accepted, non-blocking, closed on exec.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let stream = TcpStream::from(fd);
    match address {
        Some(address) => Ok((stream, address)),
        None => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    }
}
