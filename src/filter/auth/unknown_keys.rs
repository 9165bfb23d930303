//! How many unknown keys each client address has sent in the last minute, for a bounded number of addresses. A request whose key is
//! known never comes here. What is dear to look at has its turn here before: an address that has sent too many gets one after the other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::denied::Denied;

/// How many unknown keys an address may send in one window.
const ALLOWED: u32 = 20;

/// How long an address's count is kept, from its first unknown key on.
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are counted at most, over all shards.
const REMEMBERED: usize = 65_536;

const SHARDS: usize = 16;

/// After how long an address that has sent too many, and whose turn is taken, may have another one.
const SOON: Duration = Duration::from_secs(1);

/// How often a shard without room is searched for windows that are over.
const SWEEP: Duration = Duration::from_secs(1);

/// The counts, by address. Workers that look at different addresses mostly take different locks.
#[derive(Debug)]
pub(super) struct UnknownKeys {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    windows: HashMap<IpAddr, Window>,
    swept: Option<Instant>,
}

/// The unknown keys of one address.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    count: u32,
    /// How many free turns the address has.
    free: u32,
    /// The turn is taken that it has besides.
    only: bool,
}

/// The right to have something dear looked at for an address, until the answer is there.
#[derive(Debug)]
pub(super) struct Turn {
    of: Arc<UnknownKeys>,
    address: IpAddr,
    free: bool,
}

impl Default for UnknownKeys {
    fn default() -> UnknownKeys {
        UnknownKeys { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl UnknownKeys {
    /// Counts one more unknown key from an address (of IPv6 its /64, which one subscriber owns). Says how long the address must
    /// wait when it has sent too many.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        self.window(network(address), now, |window| {
            window.count = window.count.saturating_add(1);
            (window.count > ALLOWED).then(|| WINDOW - (now - window.since))
        })
    }

    /// A turn for an address: so many at once, until it has sent as many unknown keys as it may; then one after the other, so that who
    /// shares it with a stranger still gets through.
    ///
    /// # Errors
    /// When it must wait.
    pub(super) fn turn(own: &Arc<UnknownKeys>, address: IpAddr, at_once: u32, now: Instant) -> Result<Turn, Denied> {
        let address = network(address);
        let free = own.window(address, now, |window| {
            let free = window.count < ALLOWED && window.free < at_once;
            match (free, window.only) {
                (true, _) => window.free += 1,
                (false, false) => window.only = true,
                (false, true) if window.count < ALLOWED => return Err(Denied::Busy),
                (false, true) => return Err(Denied::TooManyUnknown(SOON)),
            }
            Ok(free)
        })?;
        Ok(Turn { of: own.clone(), address, free })
    }

    /// Looks at the window of an address.
    fn window<T>(&self, address: IpAddr, now: Instant, look: impl FnOnce(&mut Window) -> T) -> T {
        let Shard { windows, swept } = &mut *self.shards[shard_of(address)].lock();
        if windows.len() >= REMEMBERED / SHARDS && !windows.contains_key(&address) {
            if swept.is_none_or(|swept| now - swept >= SWEEP) {
                *swept = Some(now);
                windows.retain(|_, window| now - window.since < WINDOW);
            }
            if windows.len() >= REMEMBERED / SHARDS {
                // No window is over: any one address is forgotten to make room.
                let any = windows.keys().next().copied();
                any.and_then(|any| windows.remove(&any));
            }
        }
        let window = windows.entry(address).or_insert(Window { since: now, count: 0, free: 0, only: false });
        if now - window.since >= WINDOW {
            (window.since, window.count) = (now, 0);
        }
        look(window)
    }
}

impl Turn {
    /// What was looked at is an unknown key, and nobody waits any more who could be told so.
    pub(super) fn count(&self) {
        self.of.count(self.address, Instant::now());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(window) = self.of.shards[shard_of(self.address)].lock().windows.get_mut(&self.address) {
            match self.free {
                true => window.free = window.free.saturating_sub(1),
                false => window.only = false,
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// An address's shard: the upper four bits of a multiplication by 2^64 divided by the golden ratio, which spreads neighbours.
fn shard_of(address: IpAddr) -> usize {
    let bits = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    };
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_addresses_come_no_more_than_the_bound_are_remembered() {
        let unknown_keys = UnknownKeys::default();
        let now = Instant::now();
        for address in 0..200_000u32 {
            unknown_keys.count(IpAddr::V4(address.into()), now);
        }
        let remembered: usize = unknown_keys.shards.iter().map(|shard| shard.lock().windows.len()).sum();
        assert!(remembered <= REMEMBERED, "{remembered}");
    }

    #[test]
    fn addresses_of_one_subscriber_count_together_and_a_minute_forgives() {
        let unknown_keys = UnknownKeys::default();
        let now = Instant::now();
        for host in 0..20u128 {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | host);
            assert_eq!(unknown_keys.count(address.into(), now), None);
        }
        let address: IpAddr = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 99).into();
        assert!(unknown_keys.count(address, now).is_some());
        assert_eq!(unknown_keys.count(address, now + WINDOW), None);
    }

    #[test]
    fn an_address_that_has_sent_too_many_has_one_turn_after_the_other() {
        let (unknown_keys, now) = (Arc::new(UnknownKeys::default()), Instant::now());
        let (guilty, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let turn = |address, now| UnknownKeys::turn(&unknown_keys, address, 100, now);
        let early = turn(guilty, now).expect("it is innocent");
        (0..ALLOWED).for_each(|_| turn(guilty, now).expect("it is innocent").count());
        let one = turn(guilty, now).expect("one at a time");
        assert_eq!(turn(guilty, now).err(), Some(Denied::TooManyUnknown(SOON)));
        assert!(turn(other, now).is_ok(), "another address");
        drop(early);
        assert_eq!(turn(guilty, now).err(), Some(Denied::TooManyUnknown(SOON)), "a turn of before is another one");
        drop(one);
        assert!(turn(guilty, now).is_ok());
        let forgiven: Vec<_> = (0..3).map(|_| turn(guilty, now + WINDOW).is_ok()).collect();
        assert_eq!(forgiven, [true; 3]);
        assert_eq!(unknown_keys.count(guilty, now + WINDOW), None, "turns count nothing by themselves");
    }

    #[test]
    fn no_address_has_more_turns_at_once_than_one_may_and_one_that_ends_makes_room() {
        let (unknown_keys, now) = (Arc::new(UnknownKeys::default()), Instant::now());
        let crowd = IpAddr::from([10, 0, 0, 1]);
        let turn = || UnknownKeys::turn(&unknown_keys, crowd, 3, now);
        let turns: Vec<_> = (0..4).map(|_| turn().expect("three, and the one that all have")).collect();
        assert_eq!(turn().err(), Some(Denied::Busy), "it has sent no unknown key");
        drop(turns);
        let again: Vec<_> = (0..5).map(|_| turn().is_ok()).collect();
        assert_eq!(again, [true; 5], "each is over before the next");
    }
}
