//! One fill serves all who wait for it: the first asks, the others wait for what comes of it.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Cache, Entry, Epoch};

const SHARDS: usize = 16;

/// Answers on their way into the store at most: each is a task and a connection that may outlive its client.
const MOST: u64 = 4096;

/// All answers on their way into the store.
#[derive(Debug)]
pub(super) struct Held {
    fills: AtomicU64,
    bytes: AtomicU64,
    /// Bytes of all of them at most.
    size: u64,
}

/// One answer on its way, and its bytes: held until they are stored, and its client has them.
#[derive(Debug)]
pub struct Filling {
    cache: Arc<Cache>,
    bytes: Cell<u64>,
}

impl Held {
    pub(super) fn new(size: usize) -> Held {
        Held { fills: AtomicU64::new(0), bytes: AtomicU64::new(0), size: size as u64 }
    }
}

impl Filling {
    pub(super) fn new(cache: &Arc<Cache>) -> Option<Filling> {
        // Made first: dropped at once when it is one too many.
        let filling = Filling { cache: cache.clone(), bytes: Cell::new(0) };
        (cache.filling.fills.fetch_add(1, Ordering::Relaxed) < MOST).then_some(filling)
    }

    /// So many bytes more; false when that is too much for all together.
    pub fn holds(&self, more: usize) -> bool {
        self.bytes.set(self.bytes.get() + more as u64);
        let Held { bytes, size, .. } = &self.cache.filling;
        bytes.fetch_add(more as u64, Ordering::Relaxed) + more as u64 <= *size
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.cache.filling.fills.fetch_sub(1, Ordering::Relaxed);
        self.cache.filling.bytes.fetch_sub(self.bytes.get(), Ordering::Relaxed);
    }
}

/// What came of a fill.
#[derive(Clone, Debug)]
pub enum Outcome<E> {
    /// Nothing yet.
    Pending,
    /// This, for everybody.
    Stored(Arc<Entry>),
    /// An answer that is for who asked only: each asks for themselves.
    Pass,
    /// None that says anything to others: one of them asks again.
    Again,
    /// No answer, and this is why.
    Failed(E),
}

/// All fills under way.
#[derive(Debug)]
pub struct Fills<E> {
    shards: [Shard<E>; SHARDS],
    hasher: foldhash::fast::RandomState,
}

type Shard<E> = Mutex<HashMap<Box<str>, Arc<Fill<E>>>>;

#[derive(Debug)]
struct Fill<E> {
    epoch: Epoch,
    outcome: watch::Sender<Outcome<E>>,
}

/// What a request is to do.
#[derive(Debug)]
pub enum Role<E> {
    /// Ask, and say what came of it.
    Lead(Lead<E>),
    /// Wait.
    Follow(watch::Receiver<Outcome<E>>),
}

/// The one who asks. Dropped without a word, each asks for themselves.
#[derive(Debug)]
pub struct Lead<E> {
    fills: Arc<Fills<E>>,
    key: Box<str>,
    fill: Arc<Fill<E>>,
}

impl<E> Default for Fills<E> {
    fn default() -> Fills<E> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Fills { shards, hasher: foldhash::fast::RandomState::default() }
    }
}

impl<E: Clone> Fills<E> {
    /// Leads the fill of a key, or follows one that is under way. What was cleared or invalidated since the other began
    /// would come back through it: then this request begins anew.
    pub fn enter(self: &Arc<Fills<E>>, key: &str, epoch: Epoch) -> Role<E> {
        let mut shard = self.shard(key).lock();
        if let Some(fill) = shard.get(key).filter(|fill| fill.epoch == epoch) {
            return Role::Follow(fill.outcome.subscribe());
        }
        let fill = Arc::new(Fill { epoch, outcome: watch::channel(Outcome::Pending).0 });
        shard.insert(key.into(), fill.clone());
        Role::Lead(Lead { fills: self.clone(), key: key.into(), fill })
    }

    fn shard(&self, key: &str) -> &Shard<E> {
        use std::hash::BuildHasher;
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl<E: Clone> Lead<E> {
    /// What came of it; nobody can join from here on.
    pub fn tell(&self, outcome: Outcome<E>) {
        self.leave();
        self.fill.outcome.send_replace(outcome);
    }
}

impl<E> Lead<E> {
    fn leave(&self) {
        use std::hash::BuildHasher;
        let shard = &self.fills.shards[self.fills.hasher.hash_one(&*self.key) as usize % SHARDS];
        let mut shard = shard.lock();
        if shard.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill)) {
            shard.remove(&self.key);
        }
    }
}

impl<E> Drop for Lead<E> {
    fn drop(&mut self) {
        self.leave();
        self.fill.outcome.send_if_modified(|outcome| {
            let silent = matches!(outcome, Outcome::Pending);
            if silent {
                *outcome = Outcome::Pass;
            }
            silent
        });
    }
}
