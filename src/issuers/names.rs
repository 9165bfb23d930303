//! The names of keys that were asked for and are not there: which of them an issuer does not have, and which were asked for more than once.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::Instant;

use super::budget::Claim;

/// How many names are remembered that were asked for, and how many that were looked for in vain.
const REMEMBERED: usize = 1000;

/// For how long it counts that a name was asked for.
const BEFORE: Duration = Duration::from_secs(30);

/// For how long it counts that a key was not there. It is short: strangers who can guess the next key's name have it looked for before its
/// issuer signs with it.
const AGAIN: Duration = Duration::from_secs(5);

/// For how long a name that was looked for in vain leaves the reserve of fetches to others. It is many times the 30 s after which there is
/// one more fetch: else a stranger who repeats one name would take each that comes, and a reserve that was used would stay empty.
const IN_VAIN: Duration = Duration::from_secs(600);

/// What is remembered of names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// When each was asked for last.
    asked: Memory<Instant>,
    /// When each was looked for in vain last, and among which keys.
    in_vain: Memory<(Instant, u64)>,
    /// Which keys hold: it grows when others do.
    keys: u64,
}

impl Names {
    /// Somebody asks for a key that is not there. Returns what may be fetched for it.
    pub(crate) fn ask(&mut self, kid: &str, now: Instant) -> Claim {
        let before = self.asked.put(kid, now);
        match before {
            _ if self.was_in_vain(kid, now) => Claim::Spare,
            Some(before) if now <= before + BEFORE => Claim::Again,
            _ => Claim::First,
        }
    }

    /// It was looked for, and is not there.
    pub(crate) fn refuse(&mut self, kid: &str, now: Instant) {
        self.in_vain.put(kid, (now, self.keys));
    }

    /// Whether it was looked for so lately that nobody need look again.
    pub(crate) fn is_refused(&self, kid: &str, now: Instant) -> bool {
        self.in_vain.get(kid).is_some_and(|(at, keys)| *keys == self.keys && now < *at + AGAIN)
    }

    /// Whether it was looked for in vain, by these keys or others.
    pub(crate) fn was_in_vain(&self, kid: &str, now: Instant) -> bool {
        self.in_vain.get(kid).is_some_and(|(at, _)| now < *at + IN_VAIN)
    }

    /// There are other keys now: any of them may be among those that come next.
    pub(crate) fn change(&mut self) {
        self.keys += 1;
    }
}

/// Something about each of the last names, by their digests: a name may be long. What was put first is forgotten first.
#[derive(Debug)]
struct Memory<T> {
    of: HashMap<[u8; 32], T>,
    order: VecDeque<[u8; 32]>,
}

impl<T> Default for Memory<T> {
    fn default() -> Memory<T> {
        Memory { of: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Memory<T> {
    /// Remembers this, and returns what was remembered instead.
    fn put(&mut self, kid: &str, what: T) -> Option<T> {
        let name = name(kid);
        let before = self.of.insert(name, what);
        if before.is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > REMEMBERED {
            self.order.pop_front().and_then(|first| self.of.remove(&first));
        }
        before
    }

    fn get(&self, kid: &str) -> Option<&T> {
        self.of.get(&name(kid))
    }
}

fn name(kid: &str) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, kid.as_bytes()).as_ref());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_name_has_a_claim_to_the_reserve_when_it_was_asked_for_within_thirty_seconds() {
        let (mut names, now) = (Names::default(), Instant::now());
        assert_eq!(names.ask("a", now), Claim::First);
        assert_eq!(names.ask("b", now), Claim::First);
        assert_eq!(names.ask("a", now), Claim::Again);
        assert_eq!(names.ask("a", now + 30 * SECOND), Claim::Again);
        assert_eq!(names.ask("b", now + 31 * SECOND), Claim::First);
    }

    #[test]
    fn a_name_that_was_looked_for_in_vain_has_none_for_ten_minutes_whichever_keys_come() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.ask("a", now);
        names.refuse("a", now);
        assert!(names.is_refused("a", now + 4 * SECOND) && !names.is_refused("a", now + 5 * SECOND));
        names.change();
        assert!(!names.is_refused("a", now), "the next keys may have it");
        for after in [0, 29, 58, 87, 599] {
            assert_eq!(names.ask("a", now + after * SECOND), Claim::Spare);
        }
        assert_eq!(names.ask("a", now + 600 * SECOND), Claim::Again);
    }

    #[test]
    fn the_last_thousand_names_are_remembered_however_often_each_is_asked_for() {
        let (mut names, now) = (Names::default(), Instant::now());
        for number in 0..2000 {
            for _ in 0..2 {
                names.ask(&number.to_string(), now);
                names.refuse(&format!("vain-{number}"), now);
            }
        }
        assert_eq!((names.asked.of.len(), names.asked.order.len()), (1000, 1000));
        assert_eq!((names.in_vain.of.len(), names.in_vain.order.len()), (1000, 1000));
        assert_eq!((names.ask("1999", now), names.ask("1001", now)), (Claim::Again, Claim::Again));
        assert_eq!(names.ask("999", now), Claim::First);
        assert!(names.is_refused("vain-1000", now) && !names.is_refused("vain-999", now));
    }
}
