//! Addresses that send unknown keys: counted, bounded, forgotten after a minute. Touched only when a key is unknown.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Unknown keys that an address may try in a minute.
const ALLOWED: u32 = 20;

/// The minute.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses remembered at most, over all shards.
const REMEMBERED: usize = 65_536;

const SHARDS: usize = 16;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Strangers {
    shards: [Mutex<HashMap<IpAddr, Seen>>; SHARDS],
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    since: Instant,
    count: u32,
}

impl Default for Strangers {
    fn default() -> Strangers {
        Strangers { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Strangers {
    /// One more unknown key from an address (IPv6 by its /64, which one subscriber owns); how long to wait when that was
    /// too many.
    pub(super) fn seen(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        let mut shard = self.shards[spread(address)].lock();
        if shard.len() >= REMEMBERED / SHARDS && !shard.contains_key(&address) {
            shard.retain(|_, seen| now - seen.since < WINDOW);
            if shard.len() >= REMEMBERED / SHARDS {
                // Full of fresh strangers: one makes room, whichever the map gives.
                let any = shard.keys().next().copied();
                any.and_then(|any| shard.remove(&any));
            }
        }
        let seen = shard.entry(address).or_insert(Seen { since: now, count: 0 });
        if now - seen.since >= WINDOW {
            *seen = Seen { since: now, count: 0 };
        }
        seen.count = seen.count.saturating_add(1);
        (seen.count > ALLOWED).then(|| WINDOW - (now - seen.since))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn spread(address: IpAddr) -> usize {
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
        let strangers = Strangers::default();
        let now = Instant::now();
        for address in 0..200_000u32 {
            strangers.seen(IpAddr::V4(address.into()), now);
        }
        let remembered: usize = strangers.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(remembered <= REMEMBERED, "{remembered}");
    }

    #[test]
    fn addresses_of_one_subscriber_count_together_and_a_minute_forgives() {
        let strangers = Strangers::default();
        let now = Instant::now();
        for host in 0..20u128 {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | host);
            assert_eq!(strangers.seen(address.into(), now), None);
        }
        let address: IpAddr = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 99).into();
        assert!(strangers.seen(address, now).is_some());
        assert_eq!(strangers.seen(address, now + WINDOW), None);
    }
}
