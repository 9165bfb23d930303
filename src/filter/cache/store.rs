//! Where answers are kept: within a bound of bytes, the least useful go first (S3-FIFO).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use tokio::time::Instant;

use super::memory::{Memory, SHARED, Share, allocation};
use super::{Entry, Figures, key};

/// Parts with a lock each; an object is at most a sixteenth of the store, so it fits one.
const SHARDS: usize = 8;

/// What a place of the store takes besides the key and what stands under it: a slab of entries and a table of their hashes, each of
/// which is between half full and full.
const PLACE: usize = 80;

/// What stands under a key.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// An answer.
    Answer(Arc<Entry>),
    /// Answers that depend on request headers stand under keys of their own.
    Vary(Arc<Vary>),
    /// The answer may not be stored, as far as is known.
    Pass(Arc<Pass>),
    /// An answer on its way takes so many bytes: others give way before it is there.
    Filling(u64),
}

/// A mark on a key whose answers may not be stored.
#[derive(Debug)]
pub(super) struct Pass {
    /// As far as is known, until then.
    pub(super) until: Instant,
    share: Share,
}

/// The headers that answers depend on.
#[derive(Debug)]
pub(super) struct Vary {
    pub(super) names: Box<[HeaderName]>,
    /// Part of the keys: with other names, the answers stored before are found no more.
    generation: u64,
    share: Share,
}

/// Weighs what is stored by what it takes of memory.
#[derive(Clone, Debug)]
struct ByBytes;

/// Who leaves the store when others come: anything but what is on its way.
#[derive(Clone, Debug)]
struct Leaving;

impl Vary {
    /// The key of an answer to a request with these headers.
    pub(super) fn variant(&self, base: &str, headers: &HeaderMap) -> Option<Box<str>> {
        key::signature(&self.names, headers).map(|signature| self.key(base, &signature))
    }

    /// The key of an answer to a request with this signature.
    pub(super) fn key(&self, base: &str, signature: &str) -> Box<str> {
        key::variant(base, self.generation, signature)
    }
}

impl Weighter<Box<str>, Stored> for ByBytes {
    fn weight(&self, _: &Box<str>, stored: &Stored) -> u64 {
        match stored {
            Stored::Answer(entry) => entry.weight(),
            Stored::Vary(vary) => vary.share.bytes() as u64,
            Stored::Pass(pass) => pass.share.bytes() as u64,
            Stored::Filling(bytes) => *bytes,
        }
    }
}

impl Lifecycle<Box<str>, Stored> for Leaving {
    /// Freed when the lock is not held any more.
    type RequestState = Vec<(Box<str>, Stored)>;

    fn is_pinned(&self, _: &Box<str>, stored: &Stored) -> bool {
        matches!(stored, Stored::Filling(_))
    }

    fn on_evict(&self, gone: &mut Self::RequestState, key: Box<str>, stored: Stored) {
        gone.push((key, stored));
    }
}

/// What a key and its place in the store take.
pub(super) fn place(key: &str) -> usize {
    PLACE + allocation(key.len())
}

/// What a mark takes, which is shared by those who look at it.
fn mark<T>() -> usize {
    allocation(size_of::<T>() + size_of::<[usize; 2]>())
}

type Hasher = foldhash::fast::RandomState;

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Box<str>, Stored, ByBytes, Hasher, Leaving>,
    memory: Arc<Memory>,
    generations: AtomicU64,
    cleared: AtomicU64,
}

impl Store {
    /// An empty one of so many bytes, counted in this memory.
    pub(super) fn new(size: usize, memory: &Arc<Memory>) -> Store {
        // An estimate of how many there will be; it only sizes the first tables.
        let items = (size / 16_384).clamp(64, 65_536);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(size as u64)
            .shards(SHARDS)
            .build()
            .expect("a number of items and a weight are all that is needed");
        let entries = Cache::with_options(options, ByBytes, Hasher::default(), Leaving);
        let (generations, cleared) = Default::default();
        Store { entries, memory: memory.clone(), generations, cleared }
    }

    /// What is stored takes so many bytes.
    pub(super) fn weight(&self) -> u64 {
        self.entries.weight()
    }

    pub(super) fn get(&self, key: &str) -> Option<Stored> {
        self.entries.get(key)
    }

    pub(super) fn put(&self, key: &str, stored: Stored) {
        self.entries.insert(key.into(), stored);
    }

    pub(super) fn remove(&self, key: &str) {
        self.entries.remove(key);
    }

    /// Notes the headers that the answers under a key depend on.
    pub(super) fn varies(&self, base: &str, names: &[HeaderName]) -> Arc<Vary> {
        match self.get(base) {
            Some(Stored::Vary(vary)) if *vary.names == *names => vary,
            _ => {
                let generation = self.generations.fetch_add(1, Ordering::Relaxed);
                let own = names.iter().map(|name| allocation(name.as_str().len()) + SHARED).sum::<usize>();
                let taken = place(base) + mark::<Vary>() + allocation(size_of_val(names)) + own;
                let share = self.memory.share(taken);
                let vary = Arc::new(Vary { names: names.into(), generation, share });
                self.put(base, Stored::Vary(vary.clone()));
                vary
            }
        }
    }

    /// Marks a key until a moment.
    pub(super) fn pass(&self, key: &str, until: Instant) {
        let share = self.memory.share(place(key) + mark::<Pass>());
        self.put(key, Stored::Pass(Arc::new(Pass { until, share })));
    }

    /// Removes the answers that `goes` says, by their path as clients ask for it; how many. What is no answer goes as well.
    pub(super) fn clear(&self, goes: impl Fn(&str, &Entry) -> bool) -> u64 {
        // Freed when no lock is held any more.
        let gone = RefCell::new(Vec::new());
        self.entries.retain(|key, stored| match stored {
            Stored::Answer(entry) if goes(key::path(key), entry) => {
                gone.borrow_mut().push(entry.clone());
                false
            }
            Stored::Answer(_) | Stored::Vary(_) | Stored::Filling(_) => true,
            Stored::Pass(_) => false,
        });
        let gone = gone.into_inner().len() as u64;
        self.cleared.fetch_add(gone, Ordering::Relaxed);
        gone
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = Figures { cleared: self.cleared.load(Ordering::Relaxed), ..Figures::default() };
        let mut services: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
        for (_, stored) in self.entries.iter() {
            if let Stored::Answer(entry) = stored {
                let (entries, bytes) = services.entry(entry.service.clone()).or_default();
                *entries += 1;
                *bytes += entry.weight();
                figures.entries += 1;
            }
        }
        figures.services = services.into_iter().map(|(name, (entries, bytes))| (name, entries, bytes)).collect();
        figures.services.sort();
        figures
    }
}
