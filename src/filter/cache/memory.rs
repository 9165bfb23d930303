//! What the cache takes of memory, counted when it is taken and until it is free again: in the store, on its way into it, and with
//! clients who still read what the store has given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where the shares are counted.
#[derive(Debug, Default)]
pub(super) struct Memory(AtomicU64);

/// Some bytes of it, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    /// All that is taken now, in bytes.
    pub(super) fn taken(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts so many bytes.
    pub(super) fn share(self: &Arc<Memory>, bytes: usize) -> Share {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        Share { memory: self.clone(), bytes }
    }
}

impl Share {
    /// How many bytes are counted.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts so many from here on.
    pub(super) fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.memory.0.fetch_add(more as u64, Ordering::Relaxed),
            None => self.memory.0.fetch_sub((self.bytes - bytes) as u64, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// Another one of the same count.
    pub(super) fn another(&self, bytes: usize) -> Share {
        self.memory.share(bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes as u64, Ordering::Relaxed);
    }
}

/// What an allocation of so many bytes takes. Allocators round up: jemalloc, which the program is built with, to four sizes in each
/// doubling, others about as much. A large allocation takes the pages that are written to, and one more, since each begins elsewhere
/// in its first page.
pub(super) fn allocation(bytes: usize) -> usize {
    const PAGE: usize = 4096;
    const LARGE: usize = 14 * 1024;
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        129..=LARGE => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
        _ => bytes.next_multiple_of(PAGE) + PAGE,
    }
}

/// What shared bytes take besides themselves: their count of owners ([`bytes::Bytes`]).
pub(super) const SHARED: usize = 32;

/// A field's place in a map, as [`HeaderMap`] has it: a hash, name, value, and where further values are.
const FIELD: usize = size_of::<(usize, HeaderName, HeaderValue, Option<[usize; 2]>)>();

/// The place of a further value of the same name.
const FURTHER: usize = size_of::<(HeaderValue, [usize; 4])>();

/// What the tables of a map of fields take, without names and values.
pub(super) fn tables(fields: &HeaderMap) -> usize {
    // A quarter of the index stays free; it has four bytes for each place, and a power of two of them.
    let places = fields.capacity();
    let index = (places + places / 3).next_power_of_two();
    let further = fields.len() - fields.keys_len();
    let further = if further == 0 { 0 } else { further.next_power_of_two().max(4) };
    allocation(index * 4) + allocation(places * FIELD) + allocation(further * FURTHER)
}

/// What a map of fields takes with its names and values, each of them on its own.
pub(super) fn fields(fields: &HeaderMap) -> usize {
    let text = fields.iter().map(|(name, value)| name.as_str().len() + value.len());
    tables(fields) + text.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_until_it_is_free() {
        let memory = Arc::new(Memory::default());
        let mut first = memory.share(100);
        let second = first.another(20);
        assert_eq!((memory.taken(), first.bytes()), (120, 100));
        first.set(500);
        first.set(30);
        assert_eq!(memory.taken(), 50);
        drop(first);
        assert_eq!(memory.taken(), 20);
        drop(second);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn allocations_are_rounded_as_allocators_round_them() {
        for (bytes, taken) in [
            (0, 0),
            (1, 8),
            (9, 16),
            (17, 32),
            (128, 128),
            (129, 160),
            (256, 256),
            (257, 320),
            (1025, 1280),
            (5 * 1024 + 1, 6 * 1024),
            (65_536, 69_632),
            (100_000, 106_496),
        ] {
            assert_eq!(allocation(bytes), taken, "{bytes}");
        }
    }

    #[test]
    fn the_tables_of_a_map_have_room_for_all_that_it_can_hold() {
        assert_eq!(FIELD, 104);
        for (wanted, taken) in [(1, 8 + 112), (6, 32 + 640), (12, 64 + 1280), (13, 128 + 2560)] {
            assert_eq!(tables(&HeaderMap::with_capacity(wanted)), taken, "{wanted}");
        }
        let mut map = HeaderMap::with_capacity(6);
        for value in ["a", "b", "c"] {
            map.append("x-a", HeaderValue::from_static(value));
        }
        assert_eq!(tables(&map), 32 + 640 + allocation(4 * FURTHER));
    }
}
