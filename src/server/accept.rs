//! Workers accept for themselves: a connection costs no thread but the one that serves it, unless that one has more than its
//! part. Then it is handed over.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Limits;
use super::bind::Bound;
use super::worker::{Arrival, Command};
use crate::io::Client;
use crate::plane::{Pulse, WorkerId};

/// How many workers watch a listener: each new connection wakes all of them that have nothing to do, and one gets it.
const WATCHERS: usize = 4;

/// After an error that is not one connection's.
const PAUSE: Duration = Duration::from_millis(10);

/// A descriptor of the system's, or of this process's, is not to be had.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

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

/// A descriptor to give up when none is left, so that a waiting connection can be taken and closed, not left hanging.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// A listener as one worker watches it.
pub(super) struct Acceptor<S> {
    id: WorkerId,
    pulse: Arc<Pulse>,
    workers: Arc<[mpsc::WeakSender<Command>]>,
    reserve: Option<File>,
    /// When it last said that descriptors ran out.
    warned: Option<Instant>,
    serve: Rc<S>,
}

impl<S: Fn(Arrival)> Acceptor<S> {
    /// For a worker that serves what it accepts, and knows all workers; `None` where enough others accept.
    pub(super) fn new(
        id: WorkerId,
        pulse: &Arc<Pulse>,
        workers: &Arc<[mpsc::WeakSender<Command>]>,
        serve: &Rc<S>,
    ) -> Option<Acceptor<S>> {
        let (pulse, workers, serve) = (pulse.clone(), workers.clone(), serve.clone());
        (id.0 < WATCHERS).then(|| Acceptor { id, pulse, workers, reserve: reserve(), warned: None, serve })
    }

    /// Accepts until it is told to stop, and then what already waits in the queue (it would be reset).
    pub(super) async fn run(mut self, door: Arc<Listening>, mut stopping: watch::Receiver<bool>) {
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
                Ok(Ok(None)) => {}
                // This one left, or was reset, before it was taken.
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Others have every descriptor, or the system is short of memory: no reason to spin.
                Ok(Err(error)) => {
                    tracing::debug!("accept: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                // Nobody waits, or another worker was faster.
                Err(_) => {}
            }
        }
        while let Ok(slot) = door.slots.clone().try_acquire_owned() {
            match accept_now(&door.socket) {
                Ok(connection) => self.place(connection, &door, slot).await,
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
    fn accept(&mut self, socket: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let accepted = match accept_now(socket) {
            // The system says so also when nobody waits.
            Err(error) if [ENFILE, EMFILE].map(Some).contains(&error.raw_os_error()) => {
                drop(self.reserve.take());
                accept_now(socket).map(drop).map(|()| None)
            }
            accepted => accepted.map(Some),
        };
        // Another worker may have got the descriptor that this one gave up. Without a reserve it serves nobody: so, however they
        // race, one of them keeps one.
        self.reserve = self.reserve.take().or_else(reserve);
        let accepted = accepted?.filter(|_| self.reserve.is_some());
        if accepted.is_none() {
            self.reserve = self.reserve.take().or_else(reserve);
            let refused = self.pulse.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // Thousands a second may come.
            if self.warned.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
                self.warned = Some(Instant::now());
                tracing::warn!(
                    refused,
                    "out of file descriptors: connections are refused; raise the limit (ulimit -n)"
                );
            }
        }
        Ok(accepted)
    }
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
