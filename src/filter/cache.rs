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
use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;

use crate::config::Store as Bounds;
use crate::config::policy::Cache as Policy;
use crate::worker::{PerWorker, WorkerId, add};
pub use entry::{Entry, Own};
use key::signature;
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
    /// Answers on their way into it, and their bytes.
    filling: fills::Held,
    /// Clears so far.
    clears: AtomicU64,
    /// Changes by unsafe methods so far, per slot.
    changes: Box<[AtomicU32]>,
    hasher: foldhash::fast::RandomState,
    counts: PerWorker<[AtomicU64; EVENTS]>,
}

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

impl Figures {
    /// How often something happened.
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize]
    }
}

impl Cache {
    /// An empty one.
    pub fn new(bounds: &Bounds, workers: usize) -> Arc<Cache> {
        Arc::new(Cache {
            store: Store::new(bounds),
            object: bounds.object,
            filling: fills::Held::new(bounds.size),
            clears: AtomicU64::new(0),
            changes: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            hasher: foldhash::fast::RandomState::default(),
            counts: PerWorker::new(workers, Default::default),
        })
    }

    /// What there is for a request of a route whose answers are cached.
    pub fn find(&self, method: &Method, headers: &HeaderMap, place: &Place<'_>, now: Instant) -> Found {
        let (wish, only) = policy::wish(method, headers, place.has_body);
        let (max_age, personal) = match wish {
            Wish::Past(_) if only => return Found::NotCached,
            Wish::Past(why) => return Found::Past(why),
            Wish::Cached { max_age, personal } => (max_age, personal),
        };
        let base = place.base();
        let epoch = self.epoch(place.changing(&base));
        let mut full = None;
        let mut why = Forward::UriMiss;
        let mut stale = None;
        let mut found = self.store.get(&base);
        if let Some(Stored::Vary(vary)) = &found {
            let Some(variant) = vary.variant(&base, headers) else {
                return if only { Found::NotCached } else { Found::Past(Forward::Bypass) };
            };
            (found, full, why) = (self.store.get(&variant), Some(variant), Forward::VaryMiss);
        }
        match found {
            Some(Stored::Answer(entry)) if entry.epoch.is_current(&epoch) && (!personal || entry.life.for_all) => {
                if entry.fresh(now, max_age) {
                    return Found::Fresh(entry);
                }
                why = if entry.fresh(now, None) { Forward::Request } else { Forward::Stale };
                stale = Some(entry);
            }
            Some(Stored::Pass(until)) if until > now => {
                return if only { Found::NotCached } else { Found::Past(Forward::UriMiss) };
            }
            _ => {}
        }
        if only {
            return Found::NotCached;
        }
        // What depends on who asks is asked for alone; and a HEAD brings nothing that could be stored.
        if personal || *method == Method::HEAD {
            return Found::Past(why);
        }
        let base: Box<str> = base.into();
        let full = full.unwrap_or_else(|| base.clone());
        Found::Fetch(Fetch { key: Key { base, full, epoch }, why, stale })
    }

    /// Prepares the request that fills: it asks for the whole, or whether what is stored still holds.
    pub fn prepare(fetch: &Fetch, headers: &mut HeaderMap) {
        policy::drop_conditions(headers);
        if let Some(stale) = &fetch.stale {
            policy::ask_again(headers, &stale.headers);
        }
    }

    /// How long an answer may be used, by its head; `None`: it is for who asked only.
    pub fn judge(&self, policy: &Policy, request: &HeaderMap, status: StatusCode, answer: &HeaderMap) -> Option<Life> {
        let length = answer.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.object as u64) {
            return None;
        }
        let names = policy::vary(answer)?;
        signature(&names, request)?;
        policy::life(request, status, answer, policy, SystemTime::now())
    }

    /// Stores a whole answer, if nothing was cleared or changed since it was asked for. It comes back as whoever waited
    /// for it gets it.
    pub fn store(&self, key: &Key, whole: Whole<'_>, worker: WorkerId) -> Arc<Entry> {
        let Whole { life, status, headers, request, pieces, service, path, now } = whole;
        let names = policy::vary(headers).unwrap_or_default();
        let kept = entry::kept(headers);
        let entry = Arc::new(Entry {
            status,
            places_first: entry::places_first(&kept),
            headers: kept,
            body: entry::joined(pieces),
            life,
            born: now,
            signature: signature(&names, request).unwrap_or_default().into(),
            names: names.into(),
            service,
            path: path.into(),
            epoch: key.epoch,
        });
        if self.is_current(&key.epoch) {
            let own = match entry.names.is_empty() {
                true => key.base.clone(),
                false => self.store.varies(&key.base, &entry.names).key(&key.base, &entry.signature),
            };
            self.commit(&own, &entry);
            self.count(worker, Event::Stored);
        }
        entry
    }

    /// What an instance says of a stored answer with a 304 (RFC 9111 4.3.4): what it is now, and whether it is so for
    /// everybody, and stored.
    pub fn revalidated(
        &self,
        fetch: &Fetch,
        policy: &Policy,
        request: &HeaderMap,
        answer: &HeaderMap,
        worker: WorkerId,
    ) -> Option<(Arc<Entry>, bool)> {
        let stale = fetch.stale.as_ref()?;
        let headers = stale.headers_after(answer);
        let now = SystemTime::now();
        let life = policy::life(request, stale.status, &headers, policy, now);
        let same = policy::vary(&headers).is_some_and(|names| *names == *stale.names);
        let for_all = life.is_some() && same;
        let life = life.unwrap_or_else(|| policy::spent(&headers, now));
        let kept = entry::kept(&headers);
        let entry = Arc::new(stale.refreshed(kept, life, fetch.key.epoch, Instant::now()));
        self.count(worker, Event::Revalidated);
        if for_all && self.is_current(&fetch.key.epoch) {
            self.commit(&fetch.key.full, &entry);
        } else if !for_all {
            self.store.remove(&fetch.key.full);
        }
        Some((entry, for_all))
    }

    /// What a clear or a change may have overtaken goes again: nobody finds what was asked for before it.
    fn commit(&self, key: &str, entry: &Arc<Entry>) {
        self.store.put(key, Stored::Answer(entry.clone()));
        if !self.is_current(&entry.epoch) {
            self.store.remove(key);
        }
    }

    /// An answer under this key may not be stored: for a while nobody waits for another's. What can still be used stays.
    pub fn pass(&self, key: &Key, now: Instant) {
        let usable = matches!(self.store.get(&key.full), Some(Stored::Answer(entry)) if entry.fresh(now, None));
        if !usable && self.is_current(&key.epoch) {
            self.store.put(&key.full, Stored::Pass(now + PASS));
        }
    }

    /// Room for one more answer on its way; `None` when there are too many already.
    pub fn hold(self: &Arc<Cache>) -> Option<fills::Filling> {
        fills::Filling::new(self)
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
                && path.is_none_or(|path| is_below(&entry.path, path))
        })
    }

    /// What it holds and did.
    pub fn figures(&self) -> Figures {
        let mut figures = self.store.figures();
        for counts in self.counts.iter() {
            for (sum, count) in figures.events.iter_mut().zip(counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        figures
    }

    /// Counts what became of a request.
    pub fn count(&self, worker: WorkerId, event: Event) {
        add(&self.counts[worker][event as usize], 1);
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

/// Whether a path is this one or below it, by whole segments; `/a/` is only what is below.
fn is_below(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

#[cfg(test)]
mod tests;
