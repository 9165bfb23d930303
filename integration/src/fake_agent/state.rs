//! What all connections of the fake agent share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::catalog::Catalog;
use super::fault::{Fault, Rule};

/// How answers look like: header fields differ between versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.8.7: a connection over the limit is reset.
    #[default]
    Old,
    /// 1.11 and later: what the token may not see is said (`X-Consul-Results-Filtered-By-ACLs`), and a connection over the limit is
    /// answered with 429.
    Filtering,
    /// 1.11 and later with streaming, its default: health answers with an index say neither leader nor last contact.
    Streaming,
}

impl Version {
    pub(super) fn text(self) -> &'static str {
        if self == Version::Old { "1.8.7" } else { "1.22.0" }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// Its path.
    pub path: String,
    /// Its query, as it was written.
    pub query: String,
    /// Its token; empty where it has none.
    pub token: String,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) catalogs: BTreeMap<String, Catalog>,
    /// The datacenter of requests that name none.
    pub(super) local: String,
    pub(super) rules: Vec<Rule>,
    pub(super) version: Version,
    pub(super) limit: usize,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) requests: Vec<Request>,
    /// When the last answer to each path was ready to be written.
    pub(super) written: BTreeMap<String, Instant>,
    pub(super) http: SocketAddr,
}

/// The most requests that are remembered in full; all are counted.
const REMEMBERED: usize = 100_000;

#[derive(Debug)]
pub(super) struct State {
    inner: Mutex<Inner>,
    changed: watch::Sender<()>,
    open: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicUsize,
    waiting: AtomicUsize,
    waited: AtomicU64,
}

/// A query that waits.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    pub(super) fn new(http: SocketAddr) -> State {
        let local = "dc1".to_owned();
        let catalogs = BTreeMap::from([(local.clone(), Catalog::new(&local, 10, 1))]);
        let inner = Inner {
            catalogs,
            local,
            rules: Vec::new(),
            version: Version::default(),
            limit: 200,
            counts: BTreeMap::new(),
            requests: Vec::new(),
            written: BTreeMap::new(),
            http,
        };
        let (changed, _) = watch::channel(());
        let [open, most, refused, waiting] = std::array::from_fn(|_| AtomicUsize::new(0));
        State { inner: Mutex::new(inner), changed, open, most, refused, waiting, waited: AtomicU64::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and lets all who wait look.
    pub(super) fn change<T>(&self, how: impl FnOnce(&mut Inner) -> T) -> T {
        let result = how(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Counts a connection as open, or as one over the limit.
    pub(super) fn opened(&self) -> bool {
        let limit = self.lock().limit;
        if self.open.fetch_add(1, Ordering::SeqCst) >= limit {
            self.open.fetch_sub(1, Ordering::SeqCst);
            self.refused.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        self.most.fetch_max(self.open.load(Ordering::SeqCst), Ordering::SeqCst);
        true
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Connections that are open, the most that ever were, and those that were refused.
    pub(super) fn connections(&self) -> [usize; 3] {
        [&self.open, &self.most, &self.refused].map(|count| count.load(Ordering::SeqCst))
    }

    /// How many queries wait for a change.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Counts a query that has an index to wait from.
    pub(super) fn asked_for_a_change(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// How many queries had an index so far.
    pub(super) fn waited(&self) -> u64 {
        self.waited.load(Ordering::Relaxed)
    }

    /// Counts a query as one that waits, as long as what is returned lives.
    pub(super) fn begin_waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(&self.waiting)
    }

    pub(super) fn note(&self, request: Request) {
        let mut inner = self.lock();
        *inner.counts.entry(request.path.clone()).or_default() += 1;
        if inner.requests.len() < REMEMBERED {
            inner.requests.push(request);
        }
    }
}

impl Inner {
    /// The faults that befall a request now, and whether one of a limited number was used up by it.
    pub(super) fn befallen(&mut self, path: &str, stale: bool, index: u64) -> (Vec<Fault>, bool) {
        let (mut faults, mut counted) = (Vec::new(), false);
        for rule in self.rules.iter_mut().filter(|rule| rule.befalls(path, stale, index)) {
            if let Some(times) = &mut rule.times {
                *times -= 1;
                counted = true;
            }
            faults.push(rule.fault.clone());
        }
        (faults, counted)
    }
}
