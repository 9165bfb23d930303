//! Calls that were made: none counts twice.

use std::collections::{HashSet, VecDeque};

/// How many calls are remembered. Only those that were proven are, so that a stranger cannot fill this.
const MOST: usize = 10_000;

/// The nonces of calls that were proven, for as long as their time would still let them in.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// Until when each counts, in seconds since 1970, in the order in which they came.
    order: VecDeque<(u64, String)>,
    known: HashSet<String>,
}

impl Nonces {
    /// Remembers a nonce until then.
    ///
    /// # Errors
    /// Why its call does not count: it was made before, or too many others are remembered.
    pub(super) fn take(&mut self, nonce: &str, until: u64, now: u64) -> Result<(), &'static str> {
        // They came in about the order of their ends: what is left behind a later one is looked at again with the next call.
        while self.order.front().is_some_and(|(end, _)| *end < now) {
            let (_, old) = self.order.pop_front().expect("there is a first one");
            self.known.remove(&old);
        }
        if self.known.contains(nonce) {
            return Err("this call was made before");
        }
        if self.known.len() >= MOST {
            return Err("too many calls of the last minute are remembered");
        }
        self.known.insert(nonce.to_owned());
        self.order.push_back((until, nonce.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_once_until_its_time_is_over_and_no_more_are_remembered_than_there_is_room_for() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.take("a", 60, 0), Ok(()));
        assert!(nonces.take("a", 60, 60).is_err());
        assert_eq!(nonces.take("a", 120, 61), Ok(()));
        for number in 1..MOST {
            assert_eq!(nonces.take(&number.to_string(), 200, 100), Ok(()), "{number}");
        }
        assert!(nonces.take("one more", 200, 100).is_err());
        assert_eq!(nonces.take("one more", 260, 201), Ok(()));
        assert_eq!(nonces.known.len(), 1);
    }
}
