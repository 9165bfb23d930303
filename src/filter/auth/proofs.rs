//! Proofs of possession that were used (RFC 9449 section 11.1): each counts once in this process, whichever worker sees it.
//!
//! A proof holds for two minutes, so who has one bound token could fill any table and lock all others out. Where it is full, a proof needs a
//! nonce (RFC 9449 section 9): with that it holds for seconds only, and so long it is remembered in a table of its own.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::nonces::{self, Age, Nonce, Nonces};

/// How many proofs are remembered of one generation, over all shards: 4,000 requests a second, for two minutes.
const MOST: usize = 1 << 19;

/// For how long a proof may be used after it was seen first: it may be made 60 s ahead, and holds for 60 s then (`token/proof`).
const HOLDS: Duration = Duration::from_secs(125);

/// How many more are remembered that have a nonce: 5,000 requests a second, for as long as one holds.
const MOST_WITH_NONCE: usize = 1 << 17;

/// For how long a proof may be used whose nonce held when it was seen first. Workers read the clock a moment before they come here.
const NONCE_HOLDS: Duration = nonces::LONGEST.saturating_add(Duration::from_secs(5));

const SHARDS: usize = 16;

/// Proofs that were used, by digest. Only who has a token that holds, and its key, adds to them.
#[derive(Debug)]
pub(super) struct Proofs {
    nonces: Nonces,
    /// Picks a proof's shard: a client can compute the digest of a proof, and must not choose the shard that it fills.
    shard: std::hash::RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    /// Those that are remembered for as long as any proof holds.
    long: Generations,
    /// Those for which there was no room there, and which had a nonce.
    short: Generations,
    /// When the last of the latter came. Some of them may hold, but for their nonce, that are forgotten by now.
    shortened: Option<Instant>,
}

/// Two generations: the older one is dropped as a whole when none of it can be used any more, so that nobody has to look for old ones.
#[derive(Debug)]
struct Generations {
    newer: HashSet<[u8; 32], RandomState>,
    older: HashSet<[u8; 32], RandomState>,
    /// When the newer one began.
    since: Instant,
    /// How many one generation has at most.
    most: usize,
    /// For how long each is remembered at least.
    holds: Duration,
}

/// What becomes of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is used now, for the first time.
    First,
    /// It was used before.
    Again,
    /// It must be made again, with this nonce: nobody could tell later whether it was used, or nobody can tell it now.
    Demanded(Nonce),
    /// Nobody could tell later, although it has a nonce: too many have.
    Full,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs::of_at_most(MOST, MOST_WITH_NONCE)
    }
}

impl Proofs {
    /// Remembers so many of a generation, over all shards, and so many more that have a nonce.
    pub(super) fn of_at_most(most: usize, with_nonce: usize) -> Proofs {
        let since = Instant::now();
        let shard = || Shard {
            long: Generations::new(most / SHARDS, HOLDS, since),
            short: Generations::new(with_nonce / SHARDS, NONCE_HOLDS, since),
            shortened: None,
        };
        let shards = std::array::from_fn(|_| Mutex::new(shard()));
        Proofs { nonces: Nonces::new(since), shard: Default::default(), shards }
    }

    /// Uses a proof, by its digest, that was made with this nonce.
    pub(super) fn once(&self, proof: [u8; 32], nonce: Option<&str>, now: Instant) -> Use {
        let age = nonce.and_then(|nonce| self.nonces.age(nonce, now));
        let demanded = || Use::Demanded(self.nonces.now(now));
        let mut shard = self.shards[self.shard_of(&proof)].lock();
        let Shard { long, short, shortened } = &mut *shard;
        long.turn(now);
        short.turn(now);
        if long.has(&proof) || short.has(&proof) {
            return Use::Again;
        }
        // It may be one that was used while its nonce held, and is forgotten.
        let forgetful = shortened.is_some_and(|last| now.saturating_duration_since(last) < HOLDS);
        if age == Some(Age::Over) && forgetful {
            return demanded();
        }
        if long.add(proof) {
            return Use::First;
        }
        if age != Some(Age::Holds) {
            return demanded();
        }
        if short.add(proof) {
            *shortened = (*shortened).max(Some(now));
            return Use::First;
        }
        Use::Full
    }

    fn shard_of(&self, proof: &[u8; 32]) -> usize {
        self.shard.hash_one(proof) as usize % SHARDS
    }
}

impl Generations {
    fn new(most: usize, holds: Duration, since: Instant) -> Generations {
        Generations { newer: HashSet::default(), older: HashSet::default(), since, most, holds }
    }

    /// Forgets what need not be remembered any longer.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= self.holds {
            self.older = std::mem::take(&mut self.newer);
            self.since = now;
            if age >= 2 * self.holds {
                self.older.clear();
            }
        }
    }

    fn has(&self, proof: &[u8; 32]) -> bool {
        self.newer.contains(proof) || self.older.contains(proof)
    }

    /// Remembers a proof, if there is room.
    fn add(&mut self, proof: [u8; 32]) -> bool {
        self.newer.len() < self.most && self.newer.insert(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(number: usize) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(number as u64).to_le_bytes());
        digest
    }

    /// The nonce that is demanded.
    fn demanded(used: Use) -> String {
        let Use::Demanded(nonce) = used else { panic!("{used:?}") };
        String::from_utf8(nonce.as_bytes().to_vec()).expect("ASCII")
    }

    /// Two proofs in each shard, and one more in each that has a nonce.
    fn small() -> Proofs {
        Proofs::of_at_most(2 * SHARDS, SHARDS)
    }

    /// Proofs of one shard.
    fn of_one_shard<const N: usize>(proofs: &Proofs) -> [[u8; 32]; N] {
        let mut found = (0..).map(proof).filter(|proof| proofs.shard_of(proof) == 0);
        std::array::from_fn(|_| found.next().expect("there are more"))
    }

    #[test]
    fn a_proof_counts_once_whichever_of_many_threads_use_it() {
        let (proofs, now) = (Proofs::default(), Instant::now());
        let first = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for number in 0..1000 {
                        if proofs.once(proof(number), None, now) == Use::First {
                            first.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(first.into_inner(), 1000);
    }

    #[test]
    fn a_proof_is_remembered_for_as_long_as_it_could_be_used_and_not_for_ever() {
        let (proofs, start) = (Proofs::default(), Instant::now());
        for begin in [Duration::ZERO, HOLDS - Duration::from_secs(1), HOLDS, 3 * HOLDS] {
            let (name, begin) = (proof(begin.as_secs() as usize), start + begin);
            assert_eq!(proofs.once(name, None, begin), Use::First);
            for later in [Duration::ZERO, HOLDS / 2, HOLDS - Duration::from_millis(1)] {
                assert_eq!(proofs.once(name, None, begin + later), Use::Again, "{later:?}");
            }
        }
        assert_eq!(proofs.once(proof(0), None, start + 9 * HOLDS), Use::First);
    }

    #[test]
    fn when_too_many_are_remembered_a_nonce_is_demanded_and_a_proof_with_it_counts_once() {
        let (proofs, now) = (small(), Instant::now());
        let names: [_; 5] = of_one_shard(&proofs);
        for number in [0, 1] {
            assert_eq!(proofs.once(names[number], None, now), Use::First);
        }
        let nonce = demanded(proofs.once(names[2], None, now));
        assert_eq!(proofs.once(names[0], None, now), Use::Again, "those of before are known still");
        assert_eq!(proofs.once(names[2], Some(&nonce), now), Use::First);
        assert_eq!(proofs.once(names[2], Some(&nonce), now), Use::Again);
        assert_eq!(proofs.once(names[3], Some(&nonce), now), Use::Full, "so many have a nonce, too");
        for without in [None, Some(""), Some("theirs"), Some(&*"A".repeat(32))] {
            assert_eq!(demanded(proofs.once(names[3], without, now)), nonce, "{without:?}");
        }
        let foreign = demanded(Proofs::of_at_most(0, 0).once(proof(0), None, now));
        assert_eq!(demanded(proofs.once(names[3], Some(&foreign), now)), nonce);
        let later = now + nonces::LONGEST;
        let next = demanded(proofs.once(names[3], Some(&nonce), later));
        assert_ne!(next, nonce, "it holds no longer");
        assert_eq!(proofs.once(names[3], Some(&next), later + NONCE_HOLDS - nonces::LONGEST), Use::First);
        assert_eq!(proofs.once(names[4], None, now + HOLDS), Use::First, "there is room again");
    }

    #[test]
    fn while_there_is_room_a_proof_with_any_nonce_counts_as_one_without() {
        let (proofs, now) = (Proofs::of_at_most(64 * SHARDS, SHARDS), Instant::now());
        let full = Proofs::of_at_most(0, 0);
        let foreign = demanded(full.once(proof(0), None, now));
        let own = String::from_utf8(proofs.nonces.now(now).as_bytes().to_vec()).expect("ASCII");
        for (which, nonce) in [&*foreign, &own, "theirs"].into_iter().enumerate() {
            for (number, age) in [(0, Duration::ZERO), (1, 2 * nonces::LONGEST)] {
                let name = proof(2 * which + number);
                assert_eq!(proofs.once(name, Some(nonce), now + age), Use::First, "{nonce}");
                assert_eq!(proofs.once(name, Some(nonce), now + age + HOLDS / 2), Use::Again, "{nonce}");
            }
        }
    }

    #[test]
    fn a_proof_that_was_used_with_a_nonce_never_counts_again_although_it_is_forgotten_and_there_is_room() {
        let (proofs, start) = (small(), Instant::now());
        let names: [_; 4] = of_one_shard(&proofs);
        for number in [0, 1] {
            assert_eq!(proofs.once(names[number], None, start), Use::First);
        }
        // Soon all others are forgotten, and this one is young.
        let used = start + HOLDS - Duration::from_secs(1);
        let nonce = demanded(proofs.once(names[2], None, used));
        assert_eq!(proofs.once(names[2], Some(&nonce), used), Use::First);
        let mut forgotten = 0;
        for seconds in 0..HOLDS.as_secs() {
            let again = proofs.once(names[2], Some(&nonce), used + Duration::from_secs(seconds));
            forgotten += u32::from(matches!(again, Use::Demanded(_)));
            assert_ne!(again, Use::First, "after {seconds} s");
        }
        assert!(forgotten > 0, "it was told from others by its nonce alone");
        // Nothing is left that was forgotten too early: clients that keep a nonce are not asked for another one.
        assert_eq!(proofs.once(names[3], Some(&nonce), used + HOLDS), Use::First);
    }
}
