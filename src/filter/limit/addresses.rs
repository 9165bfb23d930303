//! Arrival times of client addresses, in a table of fixed size: eight places to a row, and who would be forgotten first
//! is who has used least.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::gcra::{Rate, Taken};

/// Places in a row.
const ROW: usize = 8;

/// Words of a place: the address (its /64, or an IPv4 address), the limit's number with the count of refusals, the
/// arrival time.
const WORDS: usize = 3;

/// Rows that one lock guards at least; the number of locks is a power of two.
const LOCKS: usize = 64;

/// All addresses.
#[derive(Debug)]
pub(super) struct Addresses {
    /// Pages of it that nobody touched cost no memory: the system gives them when they are written.
    shards: Box<[Mutex<Vec<u64>>]>,
    rows: usize,
    hasher: foldhash::fast::RandomState,
}

/// An address, as admin shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) client: IpAddr,
    pub(super) number: u32,
    pub(super) refused: u32,
    pub(super) arrival: u64,
}

impl Addresses {
    /// A table of at most so many bytes.
    pub(super) fn new(bytes: usize) -> Addresses {
        let rows = (bytes / (8 * WORDS * ROW) / LOCKS).max(1);
        let shard = || Mutex::new(vec![0; rows * ROW * WORDS]);
        Addresses {
            shards: (0..LOCKS).map(|_| shard()).collect(),
            rows,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Takes one request of a limit.
    pub(super) fn take(&self, rate: &Rate, client: IpAddr, now: u64) -> Result<Taken, Duration> {
        self.at(rate.number, client, |place| match rate.step(place[2], now) {
            Ok(next) => {
                place[2] = next;
                Ok(rate.left(next, now))
            }
            Err(wait) => {
                // The upper half counts refusals, as far as it goes.
                place[1] = place[1].checked_add(1 << 32).unwrap_or(place[1]);
                Err(wait)
            }
        })
    }

    /// Gives one request back.
    pub(super) fn give_back(&self, rate: &Rate, client: IpAddr) {
        self.at(rate.number, client, |place| place[2] = place[2].saturating_sub(rate.interval()));
    }

    /// Forgets an address's use of a limit; whether there was any.
    pub(super) fn forget(&self, number: u32, client: IpAddr) -> bool {
        self.row(number, client, |places, mine| {
            let used = mine.is_some_and(|mine| places[mine * WORDS + 2] != 0);
            if let Some(mine) = mine {
                places[mine * WORDS..][..WORDS].fill(0);
            }
            used
        })
    }

    /// Every address whose use is not forgotten by `now`.
    pub(super) fn each(&self, now: u64, mut found: impl FnMut(Seen)) {
        // A piece at a time, and a copy of it: a long look holds up nobody.
        const PIECE: usize = 512 * ROW * WORDS;
        let mut piece = Vec::with_capacity(PIECE);
        for shard in &self.shards {
            for start in (0..self.rows * ROW * WORDS).step_by(PIECE) {
                piece.clear();
                piece.extend(shard.lock()[start..].iter().take(PIECE));
                for place in piece.chunks_exact(WORDS).filter(|place| place[1] != 0 && place[2] > now) {
                    let (number, refused) = (place[1] as u32, (place[1] >> 32) as u32);
                    found(Seen { client: unpacked(place[0]), number, refused, arrival: place[2] });
                }
            }
        }
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        LOCKS * self.rows * ROW * WORDS * 8
    }

    /// An address's place for a limit; made, at the cost of who used least in its row, where there is none.
    fn at<R>(&self, number: u32, client: IpAddr, change: impl FnOnce(&mut [u64]) -> R) -> R {
        self.row(number, client, |places, mine| {
            let place = mine.unwrap_or_else(|| {
                // A free place has arrival time zero: it is the least of all.
                let least = (0..ROW).min_by_key(|place| places[place * WORDS + 2]).unwrap_or(0);
                places[least * WORDS..][..WORDS].copy_from_slice(&[packed(client), u64::from(number), 0]);
                least
            });
            change(&mut places[place * WORDS..][..WORDS])
        })
    }

    /// The row where an address's place is, and which one it is, if it has one.
    fn row<R>(&self, number: u32, client: IpAddr, look: impl FnOnce(&mut [u64], Option<usize>) -> R) -> R {
        let address = packed(client);
        let hash = self.hasher.hash_one((number, address)) as usize;
        let row = (hash / LOCKS) % self.rows;
        let mut shard = self.shards[hash % LOCKS].lock();
        let places = &mut shard[row * ROW * WORDS..][..ROW * WORDS];
        let mine = places.chunks_exact(WORDS).position(|place| place[0] == address && place[1] as u32 == number);
        look(places, mine)
    }
}

/// An IPv4 address, or the /64 of an IPv6 address, which one subscriber owns. The two do not meet: no IPv6 network that
/// clients have begins with 32 zero bits.
fn packed(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

fn unpacked(address: u64) -> IpAddr {
    match u32::try_from(address) {
        Ok(bits) => std::net::Ipv4Addr::from_bits(bits).into(),
        Err(_) => std::net::Ipv6Addr::from_bits(u128::from(address) << 64).into(),
    }
}
