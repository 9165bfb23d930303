//! What an issuer said of tokens, for a while: by the tokens' digests, within a bounded memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use tokio::time::Instant;

use crate::token::asking::Introspected;
use crate::token::{Claims, Rejection};

/// How many tokens are expected to be remembered. Those that hold and those that do not displace only each other.
const REMEMBERED: usize = 10_000;

/// The bytes of memory that claims may take, as they are estimated.
const MEMORY: u64 = 64 << 20;

/// What a token's claims take, at least; and how many bytes each byte of the answer becomes when it is read.
const WEIGHT: (u64, u64) = (512, 4);

/// How long it is remembered that a token does not hold, at most.
const REFUSED: Duration = Duration::from_secs(5);

/// What an issuer said of tokens.
pub(crate) struct Answers {
    active: Cache<[u8; 32], Active, ByBytes>,
    refused: Cache<[u8; 32], (Rejection, Instant)>,
    remember: Duration,
}

/// A token that holds.
struct Active {
    claims: Arc<Claims>,
    until: Instant,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<[u8; 32], Active> for ByBytes {
    fn weight(&self, _: &[u8; 32], active: &Active) -> u64 {
        WEIGHT.0 + WEIGHT.1 * active.bytes
    }
}

impl Answers {
    /// None yet. One that says that a token holds is remembered for so long.
    pub(crate) fn new(remember: Duration) -> Answers {
        let active = Cache::with_weighter(REMEMBERED, MEMORY, ByBytes);
        Answers { active, refused: Cache::new(REMEMBERED), remember }
    }

    /// What is remembered of a token.
    pub(crate) fn get(&mut self, digest: &[u8; 32], now: Instant) -> Option<Introspected> {
        if let Some(Active { claims, until, .. }) = self.active.get(digest) {
            if now < *until {
                return Some(Introspected::Active { claims: claims.clone(), until: *until });
            }
            self.active.remove(digest);
        }
        match self.refused.get(digest) {
            Some((rejection, until)) if now < *until => Some(Introspected::Refused(*rejection)),
            Some(_) => {
                self.refused.remove(digest);
                None
            }
            None => None,
        }
    }

    /// Remembers that a token holds, by an answer of so many bytes: not longer than it does.
    pub(crate) fn hold(
        &mut self,
        (digest, bytes): ([u8; 32], usize),
        claims: Claims,
        now: Instant,
        wall: SystemTime,
    ) -> Introspected {
        let left = claims.expires().duration_since(wall).unwrap_or_default();
        let (claims, until) = (Arc::new(claims), now + self.remember.min(left));
        self.active.insert(digest, Active { claims: claims.clone(), until, bytes: bytes as u64 });
        Introspected::Active { claims, until }
    }

    /// Remembers that a token does not hold.
    pub(crate) fn refuse(&mut self, digest: [u8; 32], rejection: Rejection, now: Instant) -> Introspected {
        self.active.remove(&digest);
        self.refused.insert(digest, (rejection, now + self.remember.min(REFUSED)));
        Introspected::Refused(rejection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuers::tests::issuer;

    #[test]
    fn however_many_tokens_come_what_is_remembered_of_them_stays_within_its_memory() {
        let (now, wall, issuer) = (Instant::now(), SystemTime::now(), issuer("corp", "https://corp.example"));
        let mut answers = Answers::new(Duration::from_secs(30));
        let answer =
            format!("{{\"active\":true,\"typ\":\"Bearer\",\"exp\":4000000000,\"roles\":\"{}\"}}", "r".repeat(60_000));
        for number in 0..400u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            let claims = Claims::introspected(answer.as_bytes(), &issuer, wall).expect("it holds");
            answers.hold((digest, answer.len()), claims, now, wall);
            answers.refuse([1; 32], Rejection::Inactive, now);
            assert!(answers.active.weight() <= MEMORY);
        }
        assert!(answers.active.len() > 200, "{}", answers.active.len());
        assert!(matches!(answers.get(&[1; 32], now), Some(Introspected::Refused(_))));
    }
}
