//! Workers accept for themselves: a connection costs no thread but the one that serves it, unless that one has more than its
//! part. Then it is handed over.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Limits;
use super::bind::Bound;
use super::worker::{Arrival, Command};
use crate::io::Client;
use crate::plane::Pulse;
use crate::worker::WorkerId;

/// How many workers watch a listener: each new connection wakes all of them that have nothing to do, and one gets it.
const WATCHERS: usize = 4;

/// After an error that is not one connection's.
const PAUSE: Duration = Duration::from_millis(10);

/// A listener that is served.
#[derive(Debug)]
pub(super) struct Listening {
    socket: TcpListener,
    limits: Arc<Limits>,
    address: SocketAddr,
    /// For connections that may still be opened.
    slots: Arc<Semaphore>,
}

impl Listening {
    pub(super) fn new(bound: Bound) -> Arc<Listening> {
        let Bound { socket, limits, address } = bound;
        let slots = Arc::new(Semaphore::new(limits.connections));
        Arc::new(Listening { socket, limits: Arc::new(limits), address, slots })
    }
}

/// A descriptor that a worker gives up when none is left, so that a waiting connection can be taken and closed, not left hanging.
#[derive(Default)]
pub(super) struct Reserve {
    descriptor: Cell<Option<OwnedFd>>,
    /// When it was last said that descriptors ran out.
    warned: Cell<Option<Instant>>,
}

impl Reserve {
    fn give_up(&self) {
        self.descriptor.take();
    }

    /// Whether it is there, or can be had again.
    fn hold(&self) -> bool {
        let any = || socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
        let descriptor = self.descriptor.take().or_else(any);
        let held = descriptor.is_some();
        self.descriptor.set(descriptor);
        held
    }

    /// Once a second: thousands may come.
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

/// A listener as one worker watches it.
pub(super) struct Acceptor<S> {
    id: WorkerId,
    pulse: Arc<Pulse>,
    workers: Arc<[mpsc::WeakSender<Command>]>,
    reserve: Rc<Reserve>,
    serve: Rc<S>,
}

impl<S: Fn(Arrival)> Acceptor<S> {
    /// For a worker that serves what it accepts, knows all workers, and has one reserve for all its listeners; `None` where enough
    /// others accept.
    pub(super) fn new(
        id: WorkerId,
        pulse: &Arc<Pulse>,
        workers: &Arc<[mpsc::WeakSender<Command>]>,
        reserve: &Rc<Reserve>,
        serve: &Rc<S>,
    ) -> Option<Acceptor<S>> {
        let (pulse, workers, serve) = (pulse.clone(), workers.clone(), serve.clone());
        (id.0 < WATCHERS).then(|| {
            reserve.hold();
            Acceptor { id, pulse, workers, reserve: reserve.clone(), serve }
        })
    }

    /// Accepts until it is told to stop, and then what already waits in the queue (it would be reset).
    pub(super) async fn run(self, door: Arc<Listening>, mut stopping: watch::Receiver<bool>) {
        let socket = match watch(door.clone()) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(address = %door.address, "cannot watch the listener: {error}"),
        };
        loop {
            // First somebody must wait, then there must be a place: a worker that waits for nobody keeps no place from others.
            // While more wait, whether to stop is asked without waiting for it.
            if stopping.has_changed().unwrap_or(true) {
                break;
            }
            let ready = tokio::select! {
                biased;
                ready = socket.readable() => ready,
                _ = stopping.changed() => break,
            };
            let slot = match door.slots.clone().try_acquire_owned() {
                Ok(slot) => slot,
                Err(_) => tokio::select! {
                    slot = door.slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
                    _ = stopping.changed() => break,
                },
            };
            let accepted = match ready {
                Ok(mut ready) => ready.try_io(|_| self.accept(&door.socket)),
                Err(error) => Ok(Err(error)),
            };
            match accepted {
                Ok(Ok(Some(connection))) => self.place(connection, &door, slot).await,
                // Many more may wait: between them, those who are served go on.
                Ok(Ok(None)) => tokio::task::yield_now().await,
                // This one left, or was reset, before it was taken.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Others have every descriptor, or the system is short of memory: no reason to spin.
                Ok(Err(error)) => {
                    drop(slot);
                    tracing::debug!("accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                // Nobody waits, or another worker was faster.
                Err(_) => {}
            }
        }
        while let Ok(slot) = door.slots.clone().try_acquire_owned() {
            match self.accept(&door.socket) {
                Ok(Some(connection)) => self.place(connection, &door, slot).await,
                Ok(None) => {}
                // This one left, or was reset, before it was taken.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
    }

    async fn place(&self, (stream, address): (TcpStream, SocketAddr), door: &Listening, slot: OwnedSemaphorePermit) {
        let placed = self.pulse.place(self.id);
        let worker = placed.worker;
        let client = Client::new(address, door.address, door.limits.door, &door.limits.trusted);
        let arrival = Arrival { stream, client, limits: door.limits.clone(), placed, slot };
        if worker == self.id {
            return (self.serve)(arrival);
        }
        // A worker whose queue is full holds up who hands over: the kernel's backlog is the next queue.
        if let Some(worker) = self.workers[worker.0].upgrade() {
            let _ = worker.send(Command::Arrival(Box::new(arrival))).await;
        }
    }

    /// Takes one connection. When descriptors ran out, it gives up its reserve for it and closes it (`None`), so that its client
    /// learns at once.
    fn accept(&self, socket: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let accepted = match accept_now(socket) {
            // The system says so also when nobody waits.
            Err(error) if ran_out(&error) => {
                self.reserve.give_up();
                accept_now(socket).map(|_| None)
            }
            accepted => accepted.map(Some),
        };
        // Another worker may have got the descriptor that this one gave up. Without a reserve it serves nobody: so, however workers
        // race, one keeps a reserve, unless something else than a client's connection got the last.
        let held = self.reserve.hold();
        let accepted = accepted.map(|connection| connection.filter(|_| held));
        match &accepted {
            Ok(None) => {
                self.reserve.hold();
                self.pulse.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if ran_out(error) => {}
            _ => return accepted,
        }
        self.reserve.warn(self.pulse.refused.load(Ordering::Relaxed));
        accepted
    }
}

/// Whether this process, or the system, has no descriptor left.
fn ran_out(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// A listener's descriptor, which lives as long as anybody watches it.
struct Watched(Arc<Listening>);

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.socket.as_raw_fd()
    }
}

/// Tokio's own listener would register each accepted socket here, only for its worker to register it again.
#[expect(deprecated, reason = "its successor is unsafe; a TcpListener keeps its descriptor for as long as it lives")]
fn watch(door: Arc<Listening>) -> io::Result<AsyncFd<Watched>> {
    AsyncFd::new(Watched(door))
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
