//! How the workers of the data plane and the control plane meet: what a worker runs (`Handler`), its signs of life (`Pulse`), how
//! it learns of news (`Wake`), how it has the control plane answer a request (`Handoff`), what aggregates hold (`room`), and which
//! connections were closed because no balancer said for whom they are (`balancers`).

pub mod balancers;
pub mod room;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use balancers::Unannounced;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::io::Client;
use crate::io::body::Body;
use crate::supervisor::Supervisor;
use crate::worker::{PerWorker, WorkerId};

/// What a handler returns: a result, or a future that will bring it.
pub enum MaybeFuture<S> {
    /// The request could be answered without waiting for anything.
    Ready(S),
    /// The request waits, for instance for an instance. The future is boxed where it is made, because it is large and every move
    /// would copy it.
    Pending(Pin<Box<dyn Future<Output = S>>>),
}

impl<S> MaybeFuture<S> {
    /// The result.
    pub async fn end(self) -> S {
        match self {
            MaybeFuture::Ready(result) => result,
            MaybeFuture::Pending(future) => future.await,
        }
    }
}

/// What a worker runs for its connections. One per worker, so it may be `!Send`.
pub trait Handler: 'static {
    /// An answer on its way to the client. Whoever implements this decides who can make one.
    type Sent: Into<Response<Body>>;

    /// Answers a request. There is always an answer: an error is one, too.
    fn call(&self, head: Parts, body: Body, client: &Rc<Client>) -> MaybeFuture<Self::Sent>;
    /// Called when the control plane has a new snapshot.
    fn woken(&self);
    /// Called about ten times a second while the worker lives, for what need not happen at once: flush logs, close old connections.
    fn tick(&self);
    /// The answer to a request whose handling panicked.
    fn panicked(&self) -> Response<Body>;
}

/// The signs of life of workers and control plane. Each worker writes its own, anyone reads all.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    /// When the process began.
    pub began: SystemTime,
    workers: PerWorker<Signs>,
    /// Held while a worker is chosen for a new connection: once a connection, not once a request.
    placing: Mutex<()>,
    /// Set when the process begins to end: `/ready` says so while everything is still served.
    pub draining: AtomicBool,
    /// Connections that were closed at once because file descriptors ran out.
    pub refused: AtomicU64,
    /// Connections that were closed because they did not begin as a balancer's must.
    pub unannounced: Unannounced,
    /// Requests that hyper could not parse, and connections that broke before a head was complete.
    pub unparsed: AtomicU64,
    /// Panics in the handling of requests, each answered with a 500.
    pub panics: AtomicU64,
    /// How the control plane's tasks fare.
    pub control: Supervisor,
}

/// One worker's signs of life.
#[derive(Debug, Default)]
struct Signs {
    /// Client connections that are placed on it. The only one that other workers write, too.
    open: AtomicUsize,
    /// When its loop last turned, in ms since `Pulse::start`.
    turned_ms: AtomicU64,
    /// How long its newest snapshot took from the news in it until this worker used it, in microseconds.
    lag_us: AtomicU64,
}

impl Pulse {
    /// For this many workers.
    pub fn new(workers: usize) -> Arc<Pulse> {
        Arc::new(Pulse {
            start: Instant::now(),
            began: SystemTime::now(),
            workers: PerWorker::new(workers, Signs::default),
            placing: Mutex::default(),
            draining: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            unannounced: Unannounced::default(),
            unparsed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            control: Supervisor::default(),
        })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// How long this process has been up.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// The worker turned its loop once more.
    pub fn beat(&self, worker: WorkerId) {
        self.workers[worker].turned_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the worker whose last turn is the oldest turned its loop.
    pub fn longest_silence(&self) -> Duration {
        let now = self.start.elapsed().as_millis() as u64;
        let oldest = self.workers.iter().map(|signs| signs.turned_ms.load(Ordering::Relaxed)).min().unwrap_or(now);
        Duration::from_millis(now.saturating_sub(oldest))
    }

    /// The worker uses a new snapshot from now on, `lag` after the writer took up the news in it.
    pub fn adopted(&self, worker: WorkerId, lag: Duration) {
        self.workers[worker].lag_us.store(lag.as_micros() as u64, Ordering::Relaxed);
    }

    /// The lag of the snapshot that the worker uses: see [`Pulse::adopted`].
    pub fn lag(&self, worker: WorkerId) -> Duration {
        Duration::from_micros(self.workers[worker].lag_us.load(Ordering::Relaxed))
    }

    /// Open client connections of a worker.
    pub fn open(&self, worker: WorkerId) -> usize {
        self.workers[worker].open.load(Ordering::Relaxed)
    }

    /// Chooses a worker for a connection that `own` accepted: itself, unless it has two connections more than the worker with
    /// the fewest. The connection is counted at the chosen one until the guard is dropped.
    pub fn place(self: &Arc<Pulse>, own: WorkerId) -> Placed {
        let _one_at_a_time = self.placing.lock();
        let fewest = (0..self.workers.len()).map(WorkerId).min_by_key(|&id| self.open(id)).unwrap_or(own);
        let worker = if self.open(own) >= self.open(fewest) + 2 { fewest } else { own };
        self.workers[worker].open.fetch_add(1, Ordering::Relaxed);
        Placed { pulse: self.clone(), worker }
    }
}

/// One open connection, counted at its worker until dropped.
#[derive(Debug)]
pub struct Placed {
    pulse: Arc<Pulse>,
    /// The worker it was placed on.
    pub worker: WorkerId,
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.pulse.workers[self.worker].open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells every worker, from the control plane, that there is something new.
#[derive(Clone, Debug)]
pub struct Wake(Arc<PerWorker<Notify>>);

impl Wake {
    /// For this many workers.
    pub fn new(workers: usize) -> Wake {
        Wake(Arc::new(PerWorker::new(workers, Notify::new)))
    }

    /// Wakes every worker. One that is about to wake up already is not woken twice.
    pub fn all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }

    /// Waits until this worker is woken.
    pub async fn woken(&self, worker: WorkerId) {
        self.0[worker].notified().await;
    }
}

/// A request for a page of the control plane, which a worker received and passes on.
#[derive(Debug)]
pub struct Errand {
    /// The request, its body whole.
    pub request: Request<Bytes>,
    /// The name of the consumer who sent it.
    pub consumer: String,
    /// Where the control plane puts the answer.
    pub reply: oneshot::Sender<Response<Bytes>>,
}

/// The workers' end of the queue of errands. It holds 64: a flood is refused, not kept.
#[derive(Clone, Debug)]
pub struct Handoff(mpsc::Sender<Errand>);

impl Handoff {
    /// A queue's two ends.
    pub fn new() -> (Handoff, mpsc::Receiver<Errand>) {
        let (sender, receiver) = mpsc::channel(64);
        (Handoff(sender), receiver)
    }

    /// The control plane's answer, or `None` when its queue is full or it has ended.
    pub async fn ask(&self, request: Request<Bytes>, consumer: String) -> Option<Response<Bytes>> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Errand { request, consumer, reply }).ok()?;
        answer.await.ok()
    }
}
