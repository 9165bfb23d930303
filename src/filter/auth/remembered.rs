//! Tokens that were found to hold, by their digests: each worker has its own, so that nobody waits for another.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use tokio::time::Instant;

use super::verified::Verified;

/// How many tokens a worker remembers.
const MOST: usize = 10_000;

/// The bytes of memory that they may take, as these are estimated.
const MEMORY: u64 = 64 << 20;

/// For how long at most.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// A token, and until when it need not be looked at again.
#[derive(Clone)]
struct Entry {
    verified: Arc<Verified>,
    until: Instant,
}

/// By which keys and which configuration tokens were judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) keys: u64,
    pub(super) config: u64,
}

/// Tokens displace each other by the memory that they take, and no more are there than may be.
#[derive(Clone)]
struct ByBytes;

impl Weighter<[u8; 32], Entry> for ByBytes {
    fn weight(&self, _: &[u8; 32], entry: &Entry) -> u64 {
        entry.verified.claims.weight().max(MEMORY.div_ceil(MOST as u64))
    }
}

type Tokens = Cache<[u8; 32], Entry, ByBytes, RandomState, DefaultLifecycle<[u8; 32], Entry>>;

/// The tokens that one worker remembers.
#[derive(Default)]
pub(super) struct Remembered {
    version: Version,
    /// Made when the first token comes: most gateways see none.
    tokens: Option<Box<Tokens>>,
}

impl Remembered {
    /// A token that held before, by the same keys and the same configuration.
    pub(super) fn find(&mut self, version: Version, digest: &[u8; 32], now: Instant) -> Option<Arc<Verified>> {
        if self.version != version {
            return None;
        }
        let tokens = self.tokens.as_mut()?;
        let found = tokens.get(digest)?;
        if found.until > now {
            return Some(found.verified.clone());
        }
        tokens.remove(digest);
        None
    }

    /// Remembers a token that holds until then. What was judged by other keys or another configuration is forgotten.
    pub(super) fn keep(
        &mut self,
        version: Version,
        digest: [u8; 32],
        verified: &Arc<Verified>,
        now: Instant,
        until: Instant,
    ) {
        if self.version != version {
            *self = Remembered { version, tokens: None };
        }
        let make = || Box::new(Cache::with(MOST, MEMORY, ByBytes, RandomState::default(), DefaultLifecycle::default()));
        let until = until.min(now + LONGEST);
        self.tokens.get_or_insert_with(make).insert(digest, Entry { verified: verified.clone(), until });
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.tokens.as_ref().map_or(0, |tokens| tokens.len());
        f.debug_struct("Remembered").field("version", &self.version).field("tokens", &tokens).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::identity::{ClaimPath, Issuer};
    use crate::issuers::tests::issuer;
    use crate::token::Claims;
    use crate::token::counts::Counts;

    #[test]
    fn what_is_remembered_stays_within_its_number_and_its_memory_and_what_has_ended_makes_room() {
        let consumer = vec![ClaimPath(vec!["sub".into()])];
        let issuer = Arc::new(Issuer { consumer, ..issuer("corp", "https://corp.example") });
        let now = Instant::now();
        let counted = Counts::new(1).of(&issuer.name);
        let of = |bytes: usize| {
            let text = format!(
                "{{\"active\":true,\"typ\":\"Bearer\",\"sub\":\"a\",\"exp\":4000000000,\"x\":\"{}\"}}",
                "x".repeat(bytes)
            );
            let claims = Claims::introspected(text.as_bytes(), &issuer, SystemTime::now()).expect("it holds");
            Arc::new(Verified::new(&issuer, Arc::new(claims), counted.clone()).expect("it names somebody"))
        };
        let name = |number: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_le_bytes());
            digest
        };
        for (bytes, most) in [(0, MOST), (60_000, MEMORY as usize / (4 * 60_000))] {
            let (mut remembered, verified) = (Remembered::default(), of(bytes));
            let version = Version { keys: 1, config: 1 };
            (0..MOST + 100).for_each(|it| remembered.keep(version, name(it), &verified, now, now + LONGEST));
            let tokens = remembered.tokens.as_ref().expect("there are some");
            assert!(
                tokens.len() <= most && tokens.len() > most * 9 / 10 && tokens.weight() <= MEMORY,
                "{}",
                tokens.len()
            );
            let last = name(MOST + 99);
            assert!(remembered.find(version, &last, now).is_some());
            assert!(remembered.find(version, &last, now + LONGEST).is_none());
            assert!(remembered.find(version, &last, now).is_none(), "it is gone");
        }
    }
}
