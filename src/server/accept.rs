//! Workers accept connections for themselves, so that no other thread takes part in a connection's life. Only where the accepting
//! worker has more connections than others, it hands the new one over.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Limits;
use super::bind::Bound;
use super::command::{Arrival, Command};
use super::preamble;
use crate::io::Client;
use crate::plane::Pulse;
use crate::plane::balancers::Reason;
use crate::worker::WorkerId;

/// How many workers accept on a listener, at most. Each new connection wakes all of them that are idle, and one gets it: more
/// workers would only wake up for nothing.
const ACCEPTORS: usize = 4;

/// How long a worker stops accepting after an error that is not about one connection.
const PAUSE: Duration = Duration::from_millis(10);

/// A listening socket, on which several workers accept.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    limits: Arc<Limits>,
    address: SocketAddr,
    /// One for each further connection that may be open at the same time.
    slots: Arc<Semaphore>,
}

impl Listener {
    pub(super) fn new(bound: Bound) -> Arc<Listener> {
        let Bound { socket, limits, address } = bound;
        let slots = Arc::new(Semaphore::new(limits.connections));
        Arc::new(Listener { socket, limits: Arc::new(limits), address, slots })
    }
}

/// A file descriptor that a worker keeps for the time when no other is left. It then gives it up, accepts a waiting connection with
/// it, and closes that: so a client learns at once that it is refused.
#[derive(Default)]
pub(super) struct Reserve {
    descriptor: Cell<Option<OwnedFd>>,
    /// When the last warning was logged.
    warned: Cell<Option<Instant>>,
}

impl Reserve {
    fn give_up(&self) {
        self.descriptor.take();
    }

    /// Opens it again if it was given up. False when no descriptor is left for it.
    fn restore(&self) -> bool {
        // A socket without an address: it only needs to take up a descriptor.
        let any = || socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
        let descriptor = self.descriptor.take().or_else(any);
        let restored = descriptor.is_some();
        self.descriptor.set(descriptor);
        restored
    }

    /// Logs a warning, at most one a second: thousands of connections may be refused.
    fn warn(&self, refused: u64) {
        if self.warned.get().is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            self.warned.set(Some(Instant::now()));
            tracing::warn!(
                refused,
                "out of file descriptors: connections are refused or wait; raise the limit (ulimit -n)"
            );
        }
    }
}

/// How one worker accepts on a listener.
pub(super) struct Acceptor<S> {
    id: WorkerId,
    pulse: Arc<Pulse>,
    workers: Arc<[mpsc::WeakSender<Command>]>,
    reserve: Rc<Reserve>,
    serve: Rc<S>,
    /// Which worker is asked for room next.
    turn: Cell<usize>,
}

impl<S: Fn(Arrival)> Acceptor<S> {
    /// For a worker that has one reserve for all its listeners, and calls `serve` for each connection that stays with it. `None`
    /// where enough other workers accept.
    pub(super) fn new(
        id: WorkerId,
        pulse: &Arc<Pulse>,
        workers: &Arc<[mpsc::WeakSender<Command>]>,
        reserve: &Rc<Reserve>,
        serve: &Rc<S>,
    ) -> Option<Acceptor<S>> {
        let (pulse, workers, serve) = (pulse.clone(), workers.clone(), serve.clone());
        (id.0 < ACCEPTORS).then(|| {
            reserve.restore();
            Acceptor { id, pulse, workers, reserve: reserve.clone(), serve, turn: Cell::new(id.0) }
        })
    }

    /// Accepts until `stopping`, and then what still waits in the kernel's queue: it would be reset when the listener closes.
    pub(super) async fn run(self, listener: Arc<Listener>, mut stopping: watch::Receiver<bool>) {
        let socket = match register(listener.clone()) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(address = %listener.address, "cannot watch the listener: {error}"),
        };
        loop {
            // While connections keep coming, `readable` below is always ready: so this is looked at apart.
            if stopping.has_changed().unwrap_or(true) {
                break;
            }
            // Wait for a connection before taking a slot: a worker that only waits keeps no slot from the others.
            let ready = tokio::select! {
                biased;
                ready = socket.readable() => ready,
                _ = stopping.changed() => break,
            };
            // At the listener's limit, connections wait in the kernel's queue until an open one ends.
            let slot = match listener.slots.clone().try_acquire_owned() {
                Ok(slot) => slot,
                Err(_) => tokio::select! {
                    slot = self.make_room(&listener) => slot,
                    _ = stopping.changed() => break,
                },
            };
            // Take it.
            let accepted = match ready {
                Ok(mut ready) => ready.try_io(|_| self.accept(&listener.socket)),
                Err(error) => Ok(Err(error)),
            };
            match accepted {
                Ok(Ok(Some(connection))) => self.dispatch(connection, &listener, slot).await,
                // It was refused. Many more may follow: between them, this worker's open connections get their turn.
                Ok(Ok(None)) => tokio::task::yield_now().await,
                // Its client gave up, or reset it, before it was taken.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // No descriptor is left, not even the reserve's, or the system is short of memory: trying again at once would spin.
                Ok(Err(error)) => {
                    drop(slot);
                    tracing::debug!("accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                // No connection waits any more: another worker was faster.
                Err(_) => {}
            }
        }
        // What still waits in the queue.
        while let Ok(slot) = listener.slots.clone().try_acquire_owned() {
            match self.accept(&listener.socket) {
                Ok(Some(connection)) => self.dispatch(connection, &listener, slot).await,
                Ok(None) => {}
                // Its client gave up, or reset it, before it was taken.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
    }

    /// Waits for a slot, and has idle connections end for it. The workers are asked in turn, so that all of them give: connections are
    /// spread evenly over them, and each ends those that were idle for the longest.
    async fn make_room(&self, listener: &Listener) -> OwnedSemaphorePermit {
        loop {
            let turn = self.turn.get();
            self.turn.set(turn.wrapping_add(1));
            ask_for_room(&self.workers, turn, &listener.limits, self.workers.len());
            let slot = listener.slots.clone().acquire_owned();
            if let Ok(slot) = tokio::time::timeout(PAUSE, slot).await {
                return slot.expect("the semaphore is never closed");
            }
        }
    }

    /// Serves a connection, or hands it over to the worker that is to serve it. Where only balancers may connect, others are refused.
    async fn dispatch(
        &self,
        (stream, address): (TcpStream, SocketAddr),
        listener: &Listener,
        slot: OwnedSemaphorePermit,
    ) {
        if listener.limits.balancers.as_deref().is_some_and(|networks| !preamble::is_from(networks, address)) {
            self.pulse.unannounced.add(Reason::Stranger, address);
            drop(stream);
            // Many more may follow: between them, this worker's open connections get their turn.
            return tokio::task::yield_now().await;
        }
        let placed = self.pulse.place(self.id);
        let worker = placed.worker;
        let client = Client::new(address, listener.address, listener.limits.door, &listener.limits.trusted);
        let arrival = Arrival { stream, client, limits: listener.limits.clone(), placed, slot };
        if worker == self.id {
            return (self.serve)(arrival);
        }
        // Where that worker's queue is full, this one waits and accepts no more: then connections wait in the kernel's queue.
        if let Some(worker) = self.workers[worker.0].upgrade() {
            let _ = worker.send(Command::Arrival(Box::new(arrival))).await;
        }
    }

    /// Accepts one connection; `None` when it was refused, that is closed at once, because file descriptors ran out.
    fn accept(&self, socket: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let accepted = match accept_now(socket) {
            // The connection, if one waits at all, is taken with the reserve's descriptor and dropped.
            Err(error) if ran_out(&error) => {
                self.reserve.give_up();
                accept_now(socket).map(|_| None)
            }
            accepted => accepted.map(Some),
        };
        // Another worker may have taken the descriptor that this one gave up. A worker without a reserve refuses what it accepts,
        // and that descriptor becomes its reserve. So one worker always has a reserve, however they race, unless something other
        // than a client's connection took the last descriptor.
        let restored = self.reserve.restore();
        let accepted = accepted.map(|connection| connection.filter(|_| restored));
        match &accepted {
            Ok(None) => {
                self.reserve.restore();
                self.pulse.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if ran_out(error) => {}
            _ => return accepted,
        }
        self.reserve.warn(self.pulse.refused.load(Ordering::Relaxed));
        accepted
    }
}

/// Asks a worker to end an idle connection of a listener; `asks` is how many workers are asked in all, each only if the one before has
/// none. A worker whose queue is full is not asked.
pub(super) fn ask_for_room(workers: &[mpsc::WeakSender<Command>], turn: usize, limits: &Arc<Limits>, asks: usize) {
    if let Some(worker) = workers[turn % workers.len()].upgrade()
        && let Some(left) = asks.checked_sub(1)
    {
        let _ = worker.try_send(Command::MakeRoom(limits.clone(), left));
    }
}

/// Whether this process (`EMFILE`) or the system (`ENFILE`) has no file descriptor left.
fn ran_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A listener's descriptor for `AsyncFd`, which keeps the listener open for as long as it is registered.
struct Descriptor(Arc<Listener>);

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.socket.as_raw_fd()
    }
}

/// Registers a listener with this worker's runtime. Tokio's own listener would register each accepted socket here, too, only for
/// the worker that serves it to register it again.
#[expect(deprecated, reason = "its successor is unsafe; a TcpListener keeps its descriptor for as long as it lives")]
fn register(listener: Arc<Listener>) -> io::Result<AsyncFd<Descriptor>> {
    AsyncFd::new(Descriptor(listener))
}

/// Accepts with one system call: the socket is non-blocking and is closed on `exec`.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (fd, address) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    let stream = TcpStream::from(fd);
    match address {
        Some(address) => Ok((stream, address)),
        None => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    }
}
