//! How many unknown keys each client address has sent in the last minute, for a bounded number of addresses. A request whose key is
//! known never comes here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How many unknown keys an address may send in one window.
const ALLOWED: u32 = 20;

/// How long an address's count is kept, from its first unknown key on.
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are counted at most, over all shards.
const REMEMBERED: usize = 65_536;

const SHARDS: usize = 16;

/// The counts, by address. Workers that look at different addresses mostly take different locks.
#[derive(Debug)]
pub(super) struct UnknownKeys {
    shards: [Mutex<HashMap<IpAddr, Window>>; SHARDS],
}

/// The unknown keys of one address.
#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    count: u32,
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
        let address = network(address);
        let mut shard = self.shards[shard_of(address)].lock();
        if shard.len() >= REMEMBERED / SHARDS && !shard.contains_key(&address) {
            shard.retain(|_, window| now - window.since < WINDOW);
            if shard.len() >= REMEMBERED / SHARDS {
                // No window is over: any one address is forgotten to make room.
                let any = shard.keys().next().copied();
                any.and_then(|any| shard.remove(&any));
            }
        }
        let window = shard.entry(address).or_insert(Window { since: now, count: 0 });
        if now - window.since >= WINDOW {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        (window.count > ALLOWED).then(|| WINDOW - (now - window.since))
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
        let remembered: usize = unknown_keys.shards.iter().map(|shard| shard.lock().len()).sum();
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
}
