//! Where answers are kept: within a bound of bytes, the least useful go first (S3-FIFO).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tokio::time::Instant;

use super::{Entry, Figures, signature};
use crate::config;

/// Parts with a lock each; an object is at most a sixteenth of the store, so it fits one.
const SHARDS: usize = 8;

/// What stands under a key.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// An answer.
    Answer(Arc<Entry>),
    /// Answers that depend on request headers stand under keys of their own.
    Vary(Arc<Vary>),
    /// The answer may not be stored, as far as is known, until then.
    Pass(Instant),
}

/// The headers that answers depend on.
#[derive(Debug)]
pub(super) struct Vary {
    pub(super) names: Box<[HeaderName]>,
    /// Part of the keys: with other names, the answers stored before are found no more.
    pub(super) generation: u64,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Vary {
    /// The key of an answer to a request with these headers.
    pub(super) fn variant(&self, base: &str, headers: &HeaderMap) -> Option<Box<str>> {
        signature(&self.names, headers).map(|signature| self.key(base, &signature))
    }

    /// The key of an answer to a request with this signature.
    pub(super) fn key(&self, base: &str, signature: &str) -> Box<str> {
        format!("{base}\n{}{signature}", self.generation).into()
    }
}

impl Weighter<Box<str>, Stored> for ByBytes {
    fn weight(&self, key: &Box<str>, stored: &Stored) -> u64 {
        let own = match stored {
            Stored::Answer(entry) => entry.weight(),
            Stored::Vary(vary) => 128 + vary.names.iter().map(|name| 40 + name.as_str().len() as u64).sum::<u64>(),
            Stored::Pass(_) => 128,
        };
        key.len() as u64 + own
    }
}

type Hasher = foldhash::fast::RandomState;

/// The store.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Box<str>, Stored, ByBytes, Hasher, DefaultLifecycle<Box<str>, Stored>>,
    size: u64,
    generations: AtomicU64,
    cleared: AtomicU64,
}

impl Store {
    pub(super) fn new(bounds: &config::Store) -> Store {
        // An estimate of how many there will be; it only sizes the first tables.
        let items = (bounds.size / 16_384).clamp(64, 65_536);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bounds.size as u64)
            .shards(SHARDS)
            .build()
            .expect("a number of items and a weight are all that is needed");
        let entries = Cache::with_options(options, ByBytes, Hasher::default(), DefaultLifecycle::default());
        Store { entries, size: bounds.size as u64, generations: AtomicU64::new(0), cleared: AtomicU64::new(0) }
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
                let vary = Arc::new(Vary { names: names.into(), generation });
                self.put(base, Stored::Vary(vary.clone()));
                vary
            }
        }
    }

    /// Removes the answers that `goes` says; how many. What is no answer goes as well.
    pub(super) fn clear(&self, goes: impl Fn(&Entry) -> bool) -> u64 {
        // Freed when no lock is held any more.
        let gone = RefCell::new(Vec::new());
        self.entries.retain(|_, stored| match stored {
            Stored::Answer(entry) if goes(entry) => {
                gone.borrow_mut().push(entry.clone());
                false
            }
            Stored::Answer(_) | Stored::Vary(_) => true,
            Stored::Pass(_) => false,
        });
        let gone = gone.into_inner().len() as u64;
        self.cleared.fetch_add(gone, Ordering::Relaxed);
        gone
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures =
            Figures { size: self.size, cleared: self.cleared.load(Ordering::Relaxed), ..Figures::default() };
        let mut services: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
        for (_, stored) in self.entries.iter() {
            if let Stored::Answer(entry) = stored {
                let (entries, bytes) = services.entry(entry.service.clone()).or_default();
                *entries += 1;
                *bytes += entry.weight();
                figures.entries += 1;
            }
        }
        figures.bytes = self.entries.weight();
        figures.services = services.into_iter().map(|(name, (entries, bytes))| (name, entries, bytes)).collect();
        figures.services.sort();
        figures
    }
}
