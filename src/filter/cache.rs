//! Answers that may be given again (RFC 9111, as a shared cache): stored within a bound of bytes, honest about what may not
//! be, asked about when too old.

mod body;
mod directives;
mod entry;
mod figures;
pub mod fills;
pub mod growing;
mod key;
mod memory;
mod policy;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use tokio::time::Instant;

use crate::config::Store as Bounds;
use crate::config::policy::Cache as Policy;
use crate::worker::{PerWorker, WorkerId, add};
pub use body::Blocks;
use entry::Kept;
pub use entry::{Entry, Own};
use figures::EVENTS;
pub use figures::{Event, Figures};
use key::signature;
pub use key::{Epoch, Key, Place};
use memory::{Memory, Share};
pub use policy::{Forward, Lifetime, lifetime, not_modified as is_known};
use policy::{Life, Wish};
use store::{Store, Stored, Vary};

/// Counters of changes, by the hash of host and path.
const SLOTS: usize = 8192;

/// How long an answer that may not be stored is remembered as such: until then nobody waits for another's.
const PASS: Duration = Duration::from_secs(10);

/// The cache of a process, shared by its workers.
#[derive(Debug)]
pub struct Cache {
    store: Store,
    /// What it takes: what is stored, and what is not in the store.
    memory: Arc<Memory>,
    size: u64,
    object: usize,
    /// Answers on their way into it.
    filling: fills::Held,
    /// Clears so far.
    clears: AtomicU64,
    /// Changes by unsafe methods so far, per slot.
    changes: Box<[AtomicU32]>,
    hasher: foldhash::fast::RandomState,
    counts: PerWorker<[AtomicU64; EVENTS]>,
}

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
    /// What the answers of its place are known to depend on.
    vary: Option<Arc<Vary>>,
}

impl Cache {
    /// An empty one.
    pub fn new(bounds: &Bounds, workers: usize) -> Arc<Cache> {
        let memory = Arc::default();
        Arc::new(Cache {
            store: Store::new(bounds.size, &memory),
            memory,
            size: bounds.size as u64,
            object: bounds.object,
            filling: fills::Held::default(),
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
        let mut full = None;
        let mut varies = None;
        let mut why = Forward::UriMiss;
        let mut stale = None;
        let mut found = self.store.get(&base);
        if let Some(Stored::Vary(vary)) = found {
            let Some(variant) = vary.variant(&base, headers) else {
                return if only { Found::NotCached } else { Found::Past(Forward::Bypass) };
            };
            (found, full, why) = (self.store.get(&variant), Some(variant), Forward::VaryMiss);
            varies = Some(vary);
        }
        match found {
            Some(Stored::Answer(entry)) if self.is_unchanged(&entry.epoch) && (!personal || entry.life.for_all) => {
                if entry.fresh(now, max_age) {
                    return Found::Fresh(entry);
                }
                why = if entry.fresh(now, None) { Forward::Request } else { Forward::Stale };
                stale = Some(entry);
            }
            Some(Stored::Pass(pass)) if pass.until > now => {
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
        let epoch = self.epoch(place.changing(&base));
        let base: Box<str> = base.into();
        let full = full.unwrap_or_else(|| base.clone());
        Found::Fetch(Fetch { key: Key { base, full, epoch }, why, stale, vary: varies })
    }

    /// What is stored for a request with these fields, however old; nothing that was changed since.
    pub fn stored(&self, headers: &HeaderMap, place: &Place<'_>) -> Option<Arc<Entry>> {
        let base = place.base();
        let found = match self.store.get(&base)? {
            Stored::Vary(vary) => self.store.get(&vary.variant(&base, headers)?)?,
            found => found,
        };
        match found {
            Stored::Answer(entry) if self.is_unchanged(&entry.epoch) => Some(entry),
            _ => None,
        }
    }

    /// Prepares the request that fills: it asks for the whole, or whether what is stored still holds.
    pub fn prepare(fetch: &Fetch, headers: &mut HeaderMap) {
        policy::drop_conditions(headers);
        if let Some(stale) = &fetch.stale {
            policy::ask_again(headers, &stale.headers);
        }
    }

    /// What is stored of an answer that came now, by its head; `None`: it is for who asked only.
    pub fn judge(
        &self,
        policy: &Policy,
        request: &HeaderMap,
        status: StatusCode,
        answer: &HeaderMap,
        now: Instant,
    ) -> Option<Head> {
        let length = answer.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.object as u64) {
            return None;
        }
        let names = policy::vary(answer)?;
        let signature = signature(&names, request)?;
        let life = policy::life(request, status, answer, policy, SystemTime::now())?;
        let kept = entry::kept(answer)?;
        let variant = (!names.is_empty()).then(|| Arc::new(Variant { names, signature }));
        Some(Head { status, kept, life, born: now, variant })
    }

    /// Stores a whole answer, if nothing was cleared or changed since it was asked for. It comes back as whoever waited
    /// for it gets it.
    pub fn store(&self, key: &Key, head: Head, body: Blocks, service: Arc<str>, worker: WorkerId) -> Answer {
        let Head { status, kept, life, born, variant } = head;
        let current = self.is_current(&key.epoch);
        let own = variant.as_deref().filter(|_| current);
        let own = own.map(|own| self.store.varies(&key.base, &own.names).key(&key.base, &own.signature));
        let own = own.as_ref().unwrap_or(&key.base);
        let share = self.share(own, &kept);
        let headers = kept.fields;
        let entry = Arc::new(Entry { status, headers, body, life, born, service, epoch: key.epoch, share });
        if current {
            self.commit(own, &entry);
            self.count(worker, Event::Stored);
        }
        Answer { entry, variant }
    }

    /// What an entry with these fields takes besides its body.
    fn share(&self, key: &str, kept: &Kept) -> Share {
        self.memory.share(store::place(key) + Entry::taken(kept))
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
        let known = fetch.vary.as_ref().map(|vary| &*vary.names).unwrap_or_default();
        let same = policy::vary(&headers).is_some_and(|names| names == known);
        let kept = entry::kept(&headers);
        let for_all = life.is_some() && same && kept.is_some();
        let life = life.unwrap_or_else(|| policy::spent(&headers, now));
        let kept = kept.unwrap_or_else(|| stale.kept());
        let share = self.share(&fetch.key.full, &kept);
        let entry = Arc::new(stale.refreshed(kept, life, (fetch.key.epoch, share), Instant::now()));
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
            self.store.pass(&key.full, now + PASS);
        }
    }

    /// Room for one more answer on its way, to a request with these fields; `None` when there are too many already.
    pub fn hold(self: &Arc<Cache>, key: &Key, request: &HeaderMap) -> Option<fills::Filling> {
        fills::Filling::new(self, key, request)
    }

    /// Bytes that are neither in the store nor on their way into it: clients still read what the store gave up, or did not take.
    fn displaced(&self) -> u64 {
        let taken = self.memory.taken();
        // The store is asked only where it matters: it locks.
        if taken <= self.size / 4 { taken } else { taken.saturating_sub(self.store.weight()) }
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
        self.store.clear(|at, entry| {
            service.is_none_or(|service| entry.service.split(' ').any(|own| own == service))
                && path.is_none_or(|path| key::is_below(at, path))
        })
    }

    /// What it holds and did.
    pub fn figures(&self) -> Figures {
        let mut figures = Figures { bytes: self.memory.taken(), size: self.size, ..self.store.figures() };
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
        self.clears.load(Ordering::Acquire) == epoch.clears && self.is_unchanged(epoch)
    }

    /// Whether what was stored then holds now: nothing was changed since. (What was cleared is not there any more.)
    fn is_unchanged(&self, epoch: &Epoch) -> bool {
        self.changes[epoch.slot].load(Ordering::Acquire) == epoch.changes
    }
}

/// What is stored of an answer besides its body.
#[derive(Debug)]
pub struct Head {
    status: StatusCode,
    kept: Kept,
    life: Life,
    born: Instant,
    variant: Option<Arc<Variant>>,
}

impl Head {
    /// What it takes of memory, in bytes.
    pub fn taken(&self) -> usize {
        Entry::taken(&self.kept)
    }
}

/// The request headers that an answer depends on, and what stood in them.
#[derive(Debug)]
struct Variant {
    names: Vec<HeaderName>,
    signature: String,
}

/// An answer that came for one request, as it may answer others.
#[derive(Clone, Debug)]
pub struct Answer {
    /// It.
    pub entry: Arc<Entry>,
    variant: Option<Arc<Variant>>,
}

impl Answer {
    /// One that answers whoever has the same key.
    pub fn of(entry: &Arc<Entry>) -> Answer {
        Answer { entry: entry.clone(), variant: None }
    }

    /// Whether it also answers a request with these headers.
    pub fn fits(&self, request: &HeaderMap) -> bool {
        let same = |variant: &Variant| signature(&variant.names, request).is_some_and(|own| own == variant.signature);
        self.variant.as_deref().is_none_or(same)
    }
}

#[cfg(test)]
mod tests;
