//! How the workers of the data plane and the control plane meet: ids, pulse, wake-ups, the handler's face, the hand-off.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Duration, Instant};

use crate::body::Body;
use crate::io::Client;
use crate::worker::WorkerId;

/// How a request is answered.
pub enum Answer<S> {
    /// At once: nobody has to be asked.
    Now(S),
    /// When this is done. Boxed where it is made, and moved no more.
    Later(Pin<Box<dyn Future<Output = S>>>),
}

/// What a worker runs for its connections. One per worker, so it may be `!Send`.
pub trait Handler: 'static {
    /// An answer on its way to the client. Whoever implements this decides who can make one.
    type Sent: Into<Response<Body>>;

    /// Answers a request; it always answers.
    fn call(&self, request: Request<Body>, client: &Rc<Client>) -> Answer<Self::Sent>;
    /// The control plane has something new: a snapshot.
    fn woken(&self);
    /// Called about ten times a second while the worker lives: flush, age, prune.
    fn tick(&self);
    /// The answer to a request whose handling panicked.
    fn panicked(&self) -> Response<Body>;
}

/// The workers' signs of life. Each worker writes its own part, anyone reads.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    /// When the process began.
    pub began: SystemTime,
    workers: Box<[Beat]>,
    /// Taken once a connection, not once a request.
    placing: Mutex<()>,
    /// Set when the process begins to end: `/ready` says so while everything is still served.
    pub draining: AtomicBool,
    /// Connections refused because descriptors ran out.
    pub refused: AtomicU64,
    /// Requests that hyper could not parse, connections that broke before a head was complete.
    pub unparsed: AtomicU64,
    /// Panics caught.
    pub panics: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Beat {
    open: AtomicUsize,
    turned_ms: AtomicU64,
    lag_us: AtomicU64,
}

impl Pulse {
    /// For this many workers.
    pub fn new(workers: usize) -> Arc<Pulse> {
        Arc::new(Pulse {
            start: Instant::now(),
            began: SystemTime::now(),
            workers: (0..workers).map(|_| Beat::default()).collect(),
            placing: Mutex::default(),
            draining: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            unparsed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
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
        self.workers[worker.0].turned_ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago the worker that is silent for longest turned its loop.
    pub fn longest_silence(&self) -> Duration {
        let now = self.start.elapsed().as_millis() as u64;
        let oldest = self.workers.iter().map(|beat| beat.turned_ms.load(Ordering::Relaxed)).min().unwrap_or(now);
        Duration::from_millis(now.saturating_sub(oldest))
    }

    /// The worker uses a new snapshot, so long after what is new in it was taken up.
    pub fn adopted(&self, worker: WorkerId, lag: Duration) {
        self.workers[worker.0].lag_us.store(lag.as_micros() as u64, Ordering::Relaxed);
    }

    /// How long that took for the newest snapshot that the worker uses.
    pub fn lag(&self, worker: WorkerId) -> Duration {
        Duration::from_micros(self.workers[worker.0].lag_us.load(Ordering::Relaxed))
    }

    /// Open client connections of a worker.
    pub fn open(&self, worker: WorkerId) -> usize {
        self.workers[worker.0].open.load(Ordering::Relaxed)
    }

    /// A worker for a connection that this one accepted: itself, unless it has two more than the one with the fewest. The
    /// connection is counted there until the guard falls.
    pub fn place(self: &Arc<Pulse>, own: WorkerId) -> Placed {
        let _one_at_a_time = self.placing.lock();
        let fewest = (0..self.workers.len()).map(WorkerId).min_by_key(|&id| self.open(id)).unwrap_or(own);
        let worker = if self.open(own) >= self.open(fewest) + 2 { fewest } else { own };
        self.workers[worker.0].open.fetch_add(1, Ordering::Relaxed);
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
        self.pulse.workers[self.worker.0].open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes every worker, from the control plane.
#[derive(Clone, Debug)]
pub struct Wake(Arc<[Notify]>);

impl Wake {
    /// For this many workers.
    pub fn new(workers: usize) -> Wake {
        Wake((0..workers).map(|_| Notify::new()).collect())
    }

    /// Every worker looks for what is new; a worker that is already about to look is not asked twice.
    pub fn all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }

    /// Until this worker is woken.
    pub async fn woken(&self, worker: WorkerId) {
        self.0[worker.0].notified().await;
    }
}

/// A page that the control plane answers, asked for through a worker.
#[derive(Debug)]
pub struct Errand {
    /// What is asked.
    pub request: Request<Bytes>,
    /// The consumer who asks.
    pub consumer: String,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Response<Bytes>>,
}

/// The workers' end of the hand-off to the control plane; bounded, so that a flood of errands is refused, not kept.
#[derive(Clone, Debug)]
pub struct Handoff(mpsc::Sender<Errand>);

impl Handoff {
    /// Both ends.
    pub fn new() -> (Handoff, mpsc::Receiver<Errand>) {
        let (sender, receiver) = mpsc::channel(64);
        (Handoff(sender), receiver)
    }

    /// The control plane's answer, or `None` when it is overloaded or gone.
    pub async fn ask(&self, request: Request<Bytes>, consumer: String) -> Option<Response<Bytes>> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Errand { request, consumer, reply }).ok()?;
        answer.await.ok()
    }
}
