//! Arrival times of callers that have no counter of their own - client addresses, and consumers that no configuration lists - in a table
//! of fixed size. A row has eight places; a newcomer to a full row gets the place of the caller who has used least.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::request::LimitsKey;

/// Places in a row.
const ROW: usize = 8;

/// A place has three words: the owner's id; a tag, which says what kind of owner that is and which limit's number this is about,
/// with the count of refusals above it; and the arrival time. A free place is all zeros.
const WORDS: usize = 3;
const ID: usize = 0;
const TAG: usize = 1;
const ARRIVAL: usize = 2;

/// The lower 32 bits of a tag are the limit's number, the next two are the kind of owner, which is never 0.
const KIND_SHIFT: u32 = 32;
const IPV4: u64 = 1 << KIND_SHIFT;
const IPV6: u64 = 2 << KIND_SHIFT;
const CONSUMER: u64 = 3 << KIND_SHIFT;
const TAG_BITS: u64 = (4 << KIND_SHIFT) - 1;

/// The upper 30 bits beside a tag count refusals.
const REFUSAL_SHIFT: u32 = KIND_SHIFT + 2;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 64;

/// The table. All configurations of a process use the same one.
#[derive(Debug)]
pub(super) struct Table {
    /// Pages of memory that were never written cost nothing: the system provides them at the first write.
    shards: Box<[Mutex<Vec<u64>>]>,
    /// Rows of a shard.
    rows: usize,
    hasher: foldhash::fast::RandomState,
}

/// Whose use of a limit a place counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A client address; of IPv6 its /64, which one subscriber owns.
    Address(IpAddr),
    /// A consumer that has no counters of their own.
    Consumer(LimitsKey),
}

/// What a place says of an address, for admin.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressUse {
    /// Of IPv6 the first address of its /64.
    pub(super) client: IpAddr,
    /// The limit's number.
    pub(super) number: u32,
    pub(super) refused: u32,
    pub(super) arrival: u64,
}

impl Table {
    /// A table of at most so many bytes.
    pub(super) fn new(bytes: usize) -> Table {
        let rows = (bytes / (8 * WORDS * ROW) / SHARDS).max(1);
        let shard = || Mutex::new(vec![0; rows * ROW * WORDS]);
        Table { shards: (0..SHARDS).map(|_| shard()).collect(), rows, hasher: foldhash::fast::RandomState::default() }
    }

    /// Takes one request of a limit: `step` says what the arrival time becomes. Returns the new one.
    ///
    /// # Errors
    /// How long to wait, when `step` lets no more through.
    pub(super) fn take(
        &self,
        number: u32,
        owner: Owner,
        step: impl FnOnce(u64) -> Result<u64, Duration>,
    ) -> Result<u64, Duration> {
        self.place(number, owner, |place| match step(place[ARRIVAL]) {
            Ok(next) => {
                place[ARRIVAL] = next;
                Ok(next)
            }
            Err(wait) => {
                // The count of refusals stays at its highest value when it is reached.
                place[TAG] = place[TAG].checked_add(1 << REFUSAL_SHIFT).unwrap_or(place[TAG]);
                Err(wait)
            }
        })
    }

    /// Gives one request of a limit back: `back` says what the arrival time was before.
    pub(super) fn give_back(&self, number: u32, owner: Owner, back: impl FnOnce(u64) -> u64) {
        self.place(number, owner, |place| place[ARRIVAL] = back(place[ARRIVAL]));
    }

    /// An owner's arrival time for a limit; 0 for one that has no place, who gets none by this.
    pub(super) fn arrival(&self, number: u32, owner: Owner) -> u64 {
        self.row(number, owner, |places, mine, _| mine.map_or(0, |mine| places[mine * WORDS + ARRIVAL]))
    }

    /// Forgets what an owner has used of a limit. Says whether there was anything.
    pub(super) fn forget(&self, number: u32, owner: Owner) -> bool {
        self.row(number, owner, |places, mine, _| {
            let place = mine.map(|mine| &mut places[mine * WORDS..][..WORDS]);
            place.is_some_and(|place| {
                let used = place[ARRIVAL] != 0;
                place.fill(0);
                used
            })
        })
    }

    /// Shows every address whose quota is not whole again by `now`. Consumers are left out: the table does not hold their names.
    pub(super) fn each_address(&self, now: u64, mut show: impl FnMut(AddressUse)) {
        // Each lock is held only while a piece is copied, so that admin's look at the whole table delays no request.
        const PIECE: usize = 512 * ROW * WORDS;
        let mut piece = Vec::with_capacity(PIECE);
        for shard in &self.shards {
            for start in (0..self.rows * ROW * WORDS).step_by(PIECE) {
                piece.clear();
                piece.extend(shard.lock()[start..].iter().take(PIECE));
                for place in piece.chunks_exact(WORDS).filter(|place| place[ARRIVAL] > now) {
                    let number = place[TAG] as u32;
                    let refused = (place[TAG] >> REFUSAL_SHIFT) as u32;
                    if let Some(client) = address(place[ID], place[TAG]) {
                        show(AddressUse { client, number, refused, arrival: place[ARRIVAL] });
                    }
                }
            }
        }
    }

    /// Bytes of the table.
    pub(super) fn bytes(&self) -> usize {
        SHARDS * self.rows * ROW * WORDS * 8
    }

    /// Changes an owner's place for a limit. An owner without a place gets the one in the row that is used least.
    fn place<R>(&self, number: u32, owner: Owner, change: impl FnOnce(&mut [u64]) -> R) -> R {
        self.row(number, owner, |places, mine, [id, tag]| {
            let place = mine.unwrap_or_else(|| {
                // The arrival time of a free place is zero, which is less than any other.
                let least = (0..ROW).min_by_key(|place| places[place * WORDS + ARRIVAL]).unwrap_or(0);
                places[least * WORDS..][..WORDS].copy_from_slice(&[id, tag, 0]);
                least
            });
            change(&mut places[place * WORDS..][..WORDS])
        })
    }

    /// Looks at the row where an owner's place for a limit would be. `look` gets the row, which of its places is the owner's, if any,
    /// and the first two words of that place.
    fn row<R>(&self, number: u32, owner: Owner, look: impl FnOnce(&mut [u64], Option<usize>, [u64; 2]) -> R) -> R {
        let (id, kind) = self.id(owner);
        let tag = kind | u64::from(number);
        let hash = self.hasher.hash_one((id, tag)) as usize;
        let row = (hash / SHARDS) % self.rows;
        let mut shard = self.shards[hash % SHARDS].lock();
        let places = &mut shard[row * ROW * WORDS..][..ROW * WORDS];
        let is_mine = |place: &[u64]| place[ID] == id && place[TAG] & TAG_BITS == tag;
        let mine = places.chunks_exact(WORDS).position(is_mine);
        look(places, mine, [id, tag])
    }

    /// An owner's id, and its kind: owners of two kinds never meet, whatever their ids are.
    ///
    /// A consumer's id is 64 bits of a hash of their key. Two consumers with the same id would share one arrival time: both together
    /// would get what each of them should get. The hash is seeded at random when the process starts, so nobody can look for such a
    /// pair beforehand; among a million consumers there is one by chance once in 37 million tables (n^2 / 2^65).
    fn id(&self, owner: Owner) -> (u64, u64) {
        match owner {
            Owner::Consumer(key) => (self.hasher.hash_one(key), CONSUMER),
            Owner::Address(address) => match address.to_canonical() {
                IpAddr::V4(address) => (u64::from(address.to_bits()), IPV4),
                IpAddr::V6(address) => ((address.to_bits() >> 64) as u64, IPV6),
            },
        }
    }
}

/// The address that a place belongs to, if it belongs to one.
fn address(id: u64, tag: u64) -> Option<IpAddr> {
    match tag & TAG_BITS & !u64::from(u32::MAX) {
        IPV4 => Some(Ipv4Addr::from_bits(id as u32).into()),
        IPV6 => Some(Ipv6Addr::from_bits(u128::from(id) << 64).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit of one request.
    fn once(arrival: u64) -> Result<u64, Duration> {
        if arrival == 0 { Ok(9) } else { Err(Duration::from_secs(1)) }
    }

    #[test]
    fn an_ipv4_address_an_ipv6_network_and_a_consumer_of_the_same_id_do_not_share_a_place() {
        let table = Table::new(1 << 16);
        let consumer = Owner::Consumer(LimitsKey(7));
        let (id, _) = table.id(consumer);
        let ipv6 = Owner::Address(Ipv6Addr::from_bits(u128::from(id) << 64).into());
        assert_eq!(table.id(ipv6).0, id);
        let same = Owner::Address(Ipv6Addr::from_bits(u128::from(0x0a00_0001u32) << 64).into());
        let ipv4 = Owner::Address(Ipv4Addr::from_bits(0x0a00_0001).into());
        assert_eq!(table.id(same).0, table.id(ipv4).0);
        for owner in [consumer, ipv6, same, ipv4] {
            assert!(table.take(1, owner, once).is_ok(), "{owner:?}");
            assert!(table.take(1, owner, once).is_err(), "{owner:?}");
        }
        let mut shown = Vec::new();
        table.each_address(1, |found| shown.push(Owner::Address(found.client)));
        assert_eq!(shown.len(), 3);
        assert!([ipv6, same, ipv4].iter().all(|owner| shown.contains(owner)), "{shown:?}");
    }

    #[test]
    fn a_count_of_refusals_ends_at_its_highest_value_and_changes_no_tag() {
        let table = Table::new(1);
        let owner = Owner::Address(Ipv4Addr::LOCALHOST.into());
        assert!(table.take(u32::MAX, owner, once).is_ok());
        let tag = IPV4 | u64::from(u32::MAX);
        table.place(u32::MAX, owner, |place| place[TAG] = u64::MAX << REFUSAL_SHIFT | tag);
        assert!(table.take(u32::MAX, owner, once).is_err());
        let mut shown = Vec::new();
        table.each_address(1, |found| shown.push((found.client, found.number, found.refused)));
        assert_eq!(shown, [(Ipv4Addr::LOCALHOST.into(), u32::MAX, (1 << 30) - 1)]);
    }
}
