//! One fill serves all who wait for it: the first asks, the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Entry, Epoch};

const SHARDS: usize = 16;

/// What came of a fill.
#[derive(Clone, Debug)]
pub enum Outcome<E> {
    /// Nothing yet.
    Pending,
    /// This, for everybody.
    Stored(Arc<Entry>),
    /// An answer that is for who asked only: each asks for themselves.
    Pass,
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
    /// The state of the store when the fill began.
    pub fn epoch(&self) -> Epoch {
        self.fill.epoch
    }

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
