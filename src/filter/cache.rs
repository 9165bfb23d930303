//! Answers that may be given again (RFC 9111, as a shared cache): stored within a bound of bytes, honest about what may not
//! be, asked about when too old.

mod entry;
pub mod fills;
mod key;
mod policy;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;

use crate::config::policy::Cache as Policy;
use crate::config::{Route, Store as Bounds};
use crate::plane::WorkerId;
pub use entry::Entry;
use key::variant;
pub use key::{Epoch, Key, Place};
pub use policy::Forward;
use policy::Wish;
use store::{Store, Stored};

/// Counters of changes, by the hash of host and path.
const SLOTS: usize = 8192;

/// How long an answer that may not be stored is remembered as such: until then nobody waits for another's.
const PASS: Duration = Duration::from_secs(10);

/// The cache of a process, shared by its workers.
#[derive(Debug)]
pub struct Cache {
    store: Store,
    object: usize,
    /// Clears so far.
    clears: AtomicU64,
    /// Changes by unsafe methods so far, per slot.
    changes: Box<[AtomicU32]>,
    hasher: foldhash::fast::RandomState,
    counts: Box<[Counts]>,
}

/// One worker's counts: only that worker writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts([AtomicU64; EVENTS]);

/// What can become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answered from the store.
    Hit,
    /// Nothing there.
    Miss,
    /// What was there was too old.
    Stale,
    /// ... and still held, by the instance's word.
    Revalidated,
    /// An answer was stored.
    Stored,
    /// Waited for another's fill.
    Coalesced,
    /// Past the cache.
    Bypassed,
}

const EVENTS: usize = 7;

/// What the cache has for a request.
#[derive(Debug)]
pub enum Found {
    /// The answer.
    Fresh(Arc<Entry>),
    /// It must be asked for: under this key, with what is known of it.
    Fetch(Fetch),
    /// The request goes past the cache.
    Past(Forward),
    /// The client wants only what is stored, and nothing is.
    NotCached,
}

/// Something to be asked for, and stored under its key.
#[derive(Debug)]
pub struct Fetch {
    /// Where it belongs.
    pub key: Key,
    /// Why it is asked for.
    pub why: Forward,
    /// What is stored, and too old.
    pub stale: Option<Arc<Entry>>,
}

/// Figures for admin and metrics.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Answers stored.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes at most.
    pub size: u64,
    /// By event, in the order of [`Event`].
    pub events: [u64; EVENTS],
    /// Entries cleared by hand.
    pub cleared: u64,
    /// By service: entries and bytes.
    pub services: Vec<(Arc<str>, u64, u64)>,
}

impl Cache {
    /// An empty one.
    pub fn new(bounds: &Bounds, workers: usize) -> Arc<Cache> {
        Arc::new(Cache {
            store: Store::new(bounds),
            object: bounds.object,
            clears: AtomicU64::new(0),
            changes: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            hasher: foldhash::fast::RandomState::default(),
            counts: (0..workers.max(1)).map(|_| Counts::default()).collect(),
        })
    }

    /// What there is for a request of a route whose answers are cached.
    pub fn find(&self, route: &Route, parts: &Parts, place: &Place<'_>, now: Instant, worker: WorkerId) -> Found {
        let (max_age, only, personal) = match policy::wish(parts, place.has_body) {
            Wish::Past(why) => {
                self.count(worker, Event::Bypassed);
                return Found::Past(why);
            }
            Wish::Cached { max_age, only, personal } => (max_age, only, personal),
        };
        let base = place.base(route);
        let epoch = self.epoch(place.changing(&base));
        let mut full = None;
        let mut why = Forward::UriMiss;
        let mut stale = None;
        let mut found = self.store.get(&base);
        if let Some(Stored::Vary(vary)) = &found {
            let Some(variant) = variant(&base, vary.generation, &vary.names, &parts.headers) else {
                return Found::Past(Forward::Bypass);
            };
            (found, full, why) = (self.store.get(&variant), Some(variant), Forward::VaryMiss);
        }
        match found {
            Some(Stored::Answer(entry)) if entry.answers(place, &epoch) && (!personal || entry.life.for_all) => {
                if entry.fresh(now, max_age) {
                    self.count(worker, Event::Hit);
                    return Found::Fresh(entry);
                }
                why = Forward::Stale;
                stale = Some(entry);
            }
            Some(Stored::Pass(until)) if until > now => {
                self.count(worker, Event::Bypassed);
                return Found::Past(Forward::UriMiss);
            }
            _ => {}
        }
        if only {
            return Found::NotCached;
        }
        // What depends on who asks is asked for alone; and a HEAD brings nothing that could be stored.
        if personal || parts.method == Method::HEAD {
            self.count(worker, Event::Bypassed);
            return Found::Past(why);
        }
        self.count(worker, if stale.is_some() { Event::Stale } else { Event::Miss });
        let full = full.unwrap_or_else(|| base.clone());
        Found::Fetch(Fetch { key: Key { base: base.into(), full: full.into(), epoch }, why, stale })
    }

    /// Prepares the request that fills: it asks for the whole, or whether what is stored still holds.
    pub fn prepare(fetch: &Fetch, headers: &mut HeaderMap) {
        policy::drop_conditions(headers);
        if let Some(stale) = &fetch.stale {
            policy::ask_again(headers, &stale.headers);
        }
    }

    /// What becomes of an answer's head.
    pub fn judge(
        &self,
        fetch: &Fetch,
        policy: &Policy,
        request: &HeaderMap,
        (status, answer): (StatusCode, &HeaderMap),
        now: Instant,
    ) -> Judgement {
        if status == StatusCode::NOT_MODIFIED
            && let Some(stale) = &fetch.stale
        {
            // Nothing about caching in a 304 means what was said before; else what it says now.
            let mut whole = stale.headers.clone();
            answer.iter().for_each(|(name, value)| drop(whole.insert(name, value.clone())));
            let life = policy::life(request, stale.status, &whole, policy, SystemTime::now());
            return match life {
                Some(life) => Judgement::Refreshed(Arc::new(stale.refreshed(answer, life, fetch.key.epoch, now))),
                None => Judgement::Refreshed(stale.clone()),
            };
        }
        let length = answer.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.object as u64) {
            return Judgement::Pass;
        }
        match policy::life(request, status, answer, policy, SystemTime::now()) {
            Some(life) => Judgement::Store(life),
            None => Judgement::Pass,
        }
    }

    /// Stores a whole answer, if nothing was cleared or changed since it was asked for. It comes back as whoever waited
    /// for it gets it.
    pub fn store(&self, key: &Key, whole: Whole<'_>, worker: WorkerId) -> Arc<Entry> {
        let Whole { life, status, headers, request, pieces, service, path, now } = whole;
        let entry = Arc::new(Entry {
            status,
            headers: entry::kept(headers),
            body: entry::joined(pieces),
            life,
            born: now,
            service,
            path: path.into(),
            epoch: key.epoch,
        });
        if let Some(names) = policy::vary(&entry.headers) {
            self.commit(key, &names, request, &entry, worker);
        }
        entry
    }

    /// Stores again what an instance said still holds.
    pub fn refresh(&self, key: &Key, entry: &Arc<Entry>, worker: WorkerId) {
        self.count(worker, Event::Revalidated);
        if self.is_current(&key.epoch) {
            self.store.put(&key.full, Stored::Answer(entry.clone()));
        }
    }

    fn commit(&self, key: &Key, names: &[http::HeaderName], request: &HeaderMap, entry: &Arc<Entry>, worker: WorkerId) {
        if !self.is_current(&key.epoch) {
            return;
        }
        if names.is_empty() {
            self.store.put(&key.base, Stored::Answer(entry.clone()));
        } else {
            let generation = self.store.varies(&key.base, names);
            let Some(variant) = variant(&key.base, generation, names, request) else { return };
            self.store.put(&variant, Stored::Answer(entry.clone()));
        }
        self.count(worker, Event::Stored);
    }

    /// An answer under this key may not be stored: for a while nobody waits for another's.
    pub fn pass(&self, key: &Key, now: Instant) {
        self.store.put(&key.full, Stored::Pass(now + PASS));
    }

    /// Bytes of a body at most.
    pub fn object(&self) -> usize {
        self.object
    }

    /// An unsafe method changed something here (RFC 9111 4.4): what is stored of it holds no more, whatever its query.
    pub fn changed(&self, host: &str, path: &str) {
        let mut place = host.to_ascii_lowercase();
        place.push_str(path);
        self.changes[self.slot(&place)].fetch_add(1, Ordering::AcqRel);
    }

    /// Removes what is stored, all of it or what belongs to a service or lies below a path. How many answers went.
    pub fn clear(&self, service: Option<&str>, path: Option<&str>) -> u64 {
        // Fills under way were asked for before this: they are not stored either.
        self.clears.fetch_add(1, Ordering::AcqRel);
        self.store.clear(|entry| {
            service.is_none_or(|service| *entry.service == *service)
                && path.is_none_or(|path| entry.path.starts_with(path))
        })
    }

    /// What it holds and did.
    pub fn figures(&self) -> Figures {
        let mut figures = self.store.figures();
        for counts in &self.counts {
            for (sum, count) in figures.events.iter_mut().zip(&counts.0) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        figures
    }

    /// Counts what became of a request.
    pub fn count(&self, worker: WorkerId, event: Event) {
        let counter = &self.counts[worker.0 % self.counts.len()].0[event as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    fn slot(&self, place: &str) -> usize {
        use std::hash::BuildHasher;
        self.hasher.hash_one(place) as usize % SLOTS
    }

    fn epoch(&self, place: &str) -> Epoch {
        let slot = self.slot(place);
        Epoch { clears: self.clears.load(Ordering::Acquire), slot, changes: self.changes[slot].load(Ordering::Acquire) }
    }

    fn is_current(&self, epoch: &Epoch) -> bool {
        self.clears.load(Ordering::Acquire) == epoch.clears
            && self.changes[epoch.slot].load(Ordering::Acquire) == epoch.changes
    }
}

/// What becomes of an answer's head.
#[derive(Debug)]
pub enum Judgement {
    /// It may be stored, once it is whole.
    Store(Life),
    /// What was stored still holds, and is this now.
    Refreshed(Arc<Entry>),
    /// It is for who asked only.
    Pass,
}

/// How long an answer may be used.
pub type Life = policy::Life;

/// A whole answer.
#[derive(Debug)]
pub struct Whole<'a> {
    /// How long it may be used.
    pub life: Life,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Those of the request that brought it.
    pub request: &'a HeaderMap,
    /// Its body.
    pub pieces: &'a [Bytes],
    /// Where it came from.
    pub service: Arc<str>,
    /// The path as clients ask for it.
    pub path: &'a str,
    /// When this is.
    pub now: Instant,
}

#[cfg(test)]
mod tests;
