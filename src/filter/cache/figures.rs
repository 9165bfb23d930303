//! What the cache counts.

use std::sync::Arc;

/// What can become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answered from the store.
    Hit,
    /// Nothing there.
    Miss,
    /// What was there was too old.
    Stale,
    /// ... and still held, by the instance's word.
    Revalidated,
    /// An answer was stored.
    Stored,
    /// Waited for another's fill.
    Coalesced,
    /// Past the cache.
    Bypassed,
}

/// How many kinds there are.
pub(super) const EVENTS: usize = 7;

/// Figures for admin and metrics.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Answers stored.
    pub entries: u64,
    /// Bytes of memory that the cache takes: answers that are stored, what else it knows of keys, and answers on their way to the store
    /// or from it.
    pub bytes: u64,
    /// Bytes at most.
    pub size: u64,
    /// By event, in the order of [`Event`].
    pub events: [u64; EVENTS],
    /// Entries cleared by hand.
    pub cleared: u64,
    /// By service: entries and bytes.
    pub services: Vec<(Arc<str>, u64, u64)>,
}

impl Figures {
    /// How often something happened.
    pub fn count(&self, event: Event) -> u64 {
        self.events[event as usize]
    }
}
