//! One fill serves all who wait for it: the first asks, the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::memory::{self, Share, allocation};
use super::store::Stored;
use super::{Answer, Cache, Epoch, Head, Key};

const SHARDS: usize = 16;

/// Answers on their way into the store at most: each is a task and a connection that may outlive its client.
const MOST: u64 = 4096;

/// What an answer on its way takes besides its body, its key and the fields of heads, in bytes: its task, and what that holds.
const FILL: usize = 6 * 1024;

/// Places where the key of an answer on its way stands.
const KEYS: usize = 4;

/// All answers on their way into the store.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// How many there are.
    fills: AtomicU64,
    /// Their bytes.
    bytes: AtomicU64,
    /// How many there were ever.
    begun: AtomicU64,
}

/// One answer on its way into the store. What it takes has its place there from the beginning.
#[derive(Debug)]
pub struct Filling {
    pub(super) cache: Arc<Cache>,
    /// That place.
    key: Box<str>,
    /// What it takes besides its body.
    share: Share,
    /// What its body takes so far.
    body: usize,
}

impl Filling {
    pub(super) fn new(cache: &Arc<Cache>, key: &Key, request: &HeaderMap) -> Option<Filling> {
        let own = format!("\n{}", cache.filling.begun.fetch_add(1, Ordering::Relaxed)).into();
        // Made first: dropped at once when it is one too many.
        let first = cache.filling.fills.fetch_add(1, Ordering::Relaxed) < MOST;
        let mut filling = Filling { cache: cache.clone(), key: own, share: cache.memory.share(0), body: 0 };
        // The fields as they came, and as they go on.
        let fits = filling.set(FILL + KEYS * allocation(key.full.len()) + 2 * memory::fields(request), 0);
        (first && fits).then_some(filling)
    }

    /// The request was sent and is needed no more; there is the head of its answer.
    pub fn answered(&mut self, head: &Head) {
        self.set(FILL + head.taken(), self.body);
    }

    /// So many bytes of its body are here, or will be; false when there is no room for them.
    pub(super) fn holds(&mut self, body: usize) -> bool {
        self.set(self.share.bytes(), body)
    }

    fn set(&mut self, heads: usize, body: usize) -> bool {
        let before = self.share.bytes() + self.body;
        let held = &self.cache.filling.bytes;
        held.fetch_add((heads + body) as u64, Ordering::Relaxed);
        let bytes = held.fetch_sub(before as u64, Ordering::Relaxed) - before as u64;
        self.share.set(heads);
        self.body = body;
        self.cache.store.put(&self.key, Stored::Filling((heads + body) as u64));
        bytes <= self.cache.size / 2 && self.cache.displaced() <= self.cache.size / 4
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let Held { fills, bytes, .. } = &self.cache.filling;
        fills.fetch_sub(1, Ordering::Relaxed);
        bytes.fetch_sub((self.share.bytes() + self.body) as u64, Ordering::Relaxed);
        self.cache.store.remove(&self.key);
    }
}

/// What came of a fill.
#[derive(Clone, Debug)]
pub enum Outcome<E> {
    /// Nothing yet.
    Pending,
    /// This, for everybody whom it fits.
    Stored(Answer),
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
