//! One request with all that belongs to it, and the worker that it is on, as data.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{StatusCode, Uri};
use tokio::sync::{mpsc, watch};

use super::call::Request;
use super::error::Error;
use super::room::Composing;
use crate::catalog::DiscoveryStatus;
use crate::catalog::notice::Notices;
use crate::filter::cache::Cache;
use crate::filter::cache::fills::Fills;
use crate::filter::{Local, Notes};
use crate::io::Client;
use crate::plane::{Handoff, Pulse};
use crate::request::parts::Parts;
use crate::request::{Attempt, Facts};
use crate::route::Entry;
use crate::snapshot::{Current, Reader, Snapshot};
use crate::telemetry::access::{self, AccessWriter, EarlierAttempt, Line};
use crate::telemetry::metrics::Recorder;
use crate::upstream::instance::Settings;
use crate::upstream::wire::{Connector, Memory};
use crate::upstream::{LocalService, Upstreams};
use crate::worker::WorkerId;

/// What the access line says of a client that left before any answer; no client ever sees it.
pub(super) const CLIENT_CLOSED: u16 = 499;

/// What every worker's proxy is made from.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Where snapshots are published.
    pub current: Current,
    /// Where snapshots go when nobody needs them any more.
    pub old: mpsc::Sender<Arc<Snapshot>>,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// The way to the control plane.
    pub handoff: Handoff,
    /// How discovery fares, for `/ready`.
    pub discovery: watch::Receiver<Arc<DiscoveryStatus>>,
    /// Where discovery is told what requests ask for, and which suspects are gone.
    pub notices: Notices,
    /// Where connections to instances come from.
    pub connector: Connector,
    /// Stored answers.
    pub cache: Arc<Cache>,
    /// Fills of the cache under way.
    pub waiting: Waiting,
    /// What aggregates share.
    pub composing: Arc<Composing>,
    /// Counts the requests that no route claims.
    pub unrouted: Arc<Recorder>,
}

/// Fills of the cache under way, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct Waiting(pub(super) Arc<Fills<Error>>);

/// Everything that the requests of one worker share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) resources: Resources,
    pub(super) reader: RefCell<Reader>,
    /// The snapshot that its own state follows.
    pub(super) seen: RefCell<Arc<Snapshot>>,
    pub(super) upstreams: Upstreams,
    /// What filters remember on this worker.
    pub(super) local: Local,
    pub(super) random: RefCell<fastrand::Rng>,
    /// Where access lines go, if any are wanted.
    pub(super) access: Option<RefCell<AccessWriter>>,
    /// The memory of the last request's fields, for the next answer's.
    pub(super) memory: Memory,
}

/// One request, with all that belongs to it. Stages pass it on by its box; when it falls, however the request ended, its end is
/// counted and written.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What is known of it.
    pub(super) facts: Facts,
    /// What is done when it ends.
    pub(super) effects: Effects,
    /// Who connected.
    pub(super) client: Rc<Client>,
    /// What was asked.
    pub(super) request: Request,
    /// What filters remember of it.
    pub(super) notes: Notes,
    /// How many filters it has entered: those also see its answer.
    pub(super) entered: usize,
}

/// Who is told when a request ends.
#[derive(Debug)]
pub(super) struct Effects {
    /// The worker, which writes the access line.
    pub(super) worker: Rc<Worker>,
    /// The route, which counts.
    pub(super) route: Option<Arc<Entry>>,
    /// The service, which counts.
    pub(super) service: Option<Rc<LocalService>>,
}

impl Worker {
    /// A worker that has answered nothing yet.
    pub(super) fn new(id: WorkerId, resources: Resources, access: Option<AccessWriter>) -> Worker {
        let (reader, seen) = (resources.current.reader(), resources.current.load());
        let config = &seen.config;
        let settings = Settings {
            connector: resources.connector.clone(),
            idle: (config.pool.idle / config.workers).max(1),
            idle_age: config.pool.idle_age,
        };
        let upstreams = Upstreams::new(id, settings);
        upstreams.follow(&seen.services);
        Worker {
            id,
            resources,
            reader: RefCell::new(reader),
            seen: RefCell::new(seen),
            upstreams,
            local: Local::new(id),
            random: RefCell::new(fastrand::Rng::new()),
            access: access.map(RefCell::new),
            memory: Memory::default(),
        }
    }
}

/// What the access line says of a request.
pub(super) fn line<'a>(
    effects: &'a Effects,
    facts: &'a Facts,
    tried: &'a [EarlierAttempt],
    status: u16,
    duration: Duration,
) -> Line<'a> {
    Line {
        time: SystemTime::now(),
        request_id: facts.id.as_str(),
        client: facts.client,
        method: facts.method.as_str(),
        path: facts.target.as_ref().map(Uri::path).unwrap_or_default(),
        status,
        bytes: facts.bytes,
        duration,
        route: effects.route.as_ref().map(|entry| &*entry.route.name).unwrap_or_default(),
        service: effects.service.as_ref().map(|service| service.shared.name.as_str()).unwrap_or_default(),
        instance: facts.attempts.last().map(|attempt| attempt.instance),
        attempts: facts.attempts.count(),
        tried,
        parts: facts.attempts.parts.as_deref().map(parts),
        consumer: facts.consumer.as_ref().map(|consumer| &*consumer.name).unwrap_or_default(),
        app: facts.app.as_ref().map(|app| &*app.name).unwrap_or_default(),
        issuer: facts.token.as_ref().map(|token| &*token.issuer).unwrap_or_default(),
        kid: facts.token.as_ref().and_then(|token| token.kid.as_deref()).unwrap_or_default(),
        cache: facts.cache,
        reason: facts.reason,
        blame: facts.blame,
    }
}

/// What the access line says of an aggregate's parts.
fn parts(parts: &Parts) -> access::Parts<'_> {
    let slowest = parts.slowest().map(|part| (&*part.call, part.took));
    access::Parts { count: parts.all.len(), slowest, failed: parts.failed.as_deref() }
}

/// What the access line says of an attempt after which there was another one.
pub(super) fn tried(attempt: &Attempt) -> EarlierAttempt {
    let Attempt { instance, took, outcome, .. } = *attempt;
    EarlierAttempt { instance, duration: took.unwrap_or_default(), why: outcome }
}

/// What the access line says of a request that ends without an answer, and why it does.
pub(super) fn unanswered(facts: &mut Facts) -> u16 {
    if std::thread::panicking() {
        facts.because("panic", "gateway");
        return StatusCode::INTERNAL_SERVER_ERROR.as_u16();
    }
    facts.because("client_gone", "client");
    CLIENT_CLOSED
}
