//! How many tokens were accepted, and how many refused for which reason, by issuer: the filter counts, admin reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::claims::Claims;

use crate::worker::{PerWorker, WorkerId, add};

/// How many reasons there may be. They are words of the code, and it has fewer.
const REASONS: usize = 64;

/// The counts of all issuers. Clones share what they count.
#[derive(Clone, Debug)]
pub struct Counts(Arc<Table>);

#[derive(Debug)]
struct Table {
    workers: usize,
    by_issuer: Mutex<BTreeMap<Arc<str>, Arc<Counted>>>,
    nobody: Arc<Counted>,
}

/// The counts of one issuer.
#[derive(Debug)]
pub struct Counted {
    accepted: PerWorker<AtomicU64>,
    /// From the first on, without gaps. A refused token costs a walk along them.
    refused: [OnceLock<(&'static str, AtomicU64)>; REASONS],
    /// When the last of the tokens that held here has ended, in seconds since 1970.
    last_end: AtomicU64,
    /// The longest life of one of them, in seconds.
    longest_life: AtomicU64,
}

impl Counts {
    /// Nothing is counted yet.
    pub fn new(workers: usize) -> Counts {
        let (by_issuer, nobody) = (Mutex::default(), Arc::new(Counted::new(workers)));
        Counts(Arc::new(Table { workers, by_issuer, nobody }))
    }

    /// Those of an issuer, by its name: for whoever makes a snapshot, not for every request. An issuer that a new configuration has again
    /// keeps its counts.
    pub fn of(&self, issuer: &Arc<str>) -> Arc<Counted> {
        let mut all = self.0.by_issuer.lock();
        all.entry(issuer.clone()).or_insert_with(|| Arc::new(Counted::new(self.0.workers))).clone()
    }

    /// Those of tokens that name no issuer of ours.
    pub fn of_nobody(&self) -> &Arc<Counted> {
        &self.0.nobody
    }
}

impl Counted {
    fn new(workers: usize) -> Counted {
        Counted {
            accepted: PerWorker::new(workers, AtomicU64::default),
            refused: [const { OnceLock::new() }; REASONS],
            last_end: AtomicU64::new(0),
            longest_life: AtomicU64::new(0),
        }
    }

    /// A token holds that was not remembered. `leeway` is how far its issuer's clock may be from ours.
    pub fn hold(&self, claims: &Claims, leeway: Duration) {
        self.lives(claims.issued(), claims.expires(), leeway);
    }

    /// A token is taken until its end and the leeway, and one that is issued now may say that this is a leeway ahead.
    fn lives(&self, issued: Option<SystemTime>, expires: SystemTime, leeway: Duration) {
        let whole = |time: Duration| time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        let end = whole(expires.duration_since(UNIX_EPOCH).unwrap_or_default()).saturating_add(whole(leeway));
        self.last_end.fetch_max(end, Ordering::Relaxed);
        if let Some(life) = issued.and_then(|issued| expires.duration_since(issued).ok()) {
            let life = whole(life).saturating_add(whole(leeway.saturating_mul(2)));
            self.longest_life.fetch_max(life, Ordering::Relaxed);
        }
    }

    /// By when all tokens that were issued until `at` have ended, as far as those tell that held here since the start.
    pub fn ended_by(&self, at: SystemTime) -> SystemTime {
        let last_end = Duration::from_secs(self.last_end.load(Ordering::Relaxed));
        let life = Duration::from_secs(self.longest_life.load(Ordering::Relaxed));
        let ends = [UNIX_EPOCH.checked_add(last_end), at.checked_add(life)];
        ends.into_iter().flatten().fold(at, SystemTime::max)
    }

    /// A token was accepted.
    pub fn accept(&self, worker: WorkerId) {
        add(&self.accepted[worker], 1);
    }

    /// A token was refused, for a reason that is one of the code's words.
    pub fn refuse(&self, reason: &'static str) {
        for place in &self.refused {
            let (word, count) = place.get_or_init(|| (reason, AtomicU64::new(0)));
            if *word == reason {
                count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// How many were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many were refused, by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.refused.iter().filter_map(OnceLock::get);
        counts.map(|(reason, count)| (*reason, count.load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_held_say_by_when_others_have_ended() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let (counted, leeway) = (Counted::new(1), Duration::from_secs(30));
        assert_eq!(counted.ended_by(at(1000)), at(1000), "nothing is known");
        counted.lives(None, at(5000), leeway);
        counted.lives(None, at(4000), leeway);
        assert_eq!(counted.ended_by(at(1000)), at(5030));
        // One that is issued now lives as long as this one.
        counted.lives(Some(at(900)), at(4900), leeway);
        assert_eq!((counted.ended_by(at(1000)), counted.ended_by(at(2000))), (at(5060), at(6060)));
        counted.lives(Some(at(7000)), at(6000), leeway);
        assert_eq!(counted.ended_by(at(1000)), at(6030), "it is issued after its end");
    }

    #[test]
    fn tokens_are_counted_by_issuer_and_reason_whichever_worker_sees_them() {
        let counts = Counts::new(2);
        let (corp, other) = (counts.of(&"corp".into()), counts.of(&"other".into()));
        std::thread::scope(|threads| {
            for worker in [0, 1] {
                let corp = &corp;
                threads.spawn(move || {
                    for _ in 0..1000 {
                        corp.accept(WorkerId(worker));
                        corp.refuse("expired");
                        corp.refuse("audience");
                    }
                });
            }
        });
        counts.of_nobody().refuse("issuer");
        assert_eq!(corp.accepted(), 2000);
        assert_eq!(corp.refused(), BTreeMap::from([("audience", 2000), ("expired", 2000)]));
        assert_eq!((other.accepted(), other.refused().len()), (0, 0));
        assert_eq!(counts.of(&"corp".into()).accepted(), 2000, "the same counts for a new snapshot");
        assert_eq!(counts.of_nobody().refused(), BTreeMap::from([("issuer", 1)]));
    }
}
