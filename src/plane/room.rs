//! The memory that aggregates hold, and those that find none, as whoever asks sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// How full the memory for aggregates is. Workers take of it, anyone reads.
#[derive(Debug, Default)]
pub struct Gauge {
    /// What there is, as the newest configuration says.
    permits: Mutex<Option<Permits>>,
    waiting: AtomicUsize,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// Two sorts of permits to take memory.
#[derive(Debug)]
struct Permits {
    /// Bytes that each stands for.
    unit: usize,
    /// How many there are.
    all: usize,
    /// Those that are free.
    free: [Arc<Semaphore>; 2],
}

/// A look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The most bytes that aggregates may hold.
    pub bound: usize,
    /// Bytes that are taken, or set aside for those under way.
    pub held: usize,
    /// Aggregates that wait for room.
    pub waiting: usize,
    /// How often one had to wait, since the start.
    pub waited: u64,
    /// How often one waited in vain, since the start.
    pub refused: u64,
}

/// An aggregate that waits, until this is dropped.
#[derive(Debug)]
pub struct Waits<'a>(&'a Gauge);

impl Gauge {
    /// From now on there are these permits, of so many bytes each; all of them are free. What was taken of others is not looked at any
    /// more.
    pub fn follow(&self, unit: usize, free: [Arc<Semaphore>; 2]) {
        let all = free.iter().map(|free| free.available_permits()).sum();
        *self.permits.lock() = Some(Permits { unit, all, free });
    }

    /// One begins to wait.
    pub fn waits(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// One found no room.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How it is now.
    pub fn figures(&self) -> Figures {
        let (bound, held) = self.permits.lock().as_ref().map_or((0, 0), Permits::bytes);
        Figures {
            bound,
            held,
            waiting: self.waiting.load(Ordering::Relaxed),
            waited: self.waited.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Permits {
    /// All bytes, and those that are taken.
    fn bytes(&self) -> (usize, usize) {
        let free: usize = self.free.iter().map(|free| free.available_permits()).sum();
        (self.all * self.unit, self.all.saturating_sub(free) * self.unit)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_what_is_not_free_and_who_waits_is_counted_until_it_ends() {
        let free = [Arc::new(Semaphore::new(6)), Arc::new(Semaphore::new(2))];
        let room = Gauge::default();
        room.follow(1024, free.clone());
        let held = free[0].try_acquire_many(5).expect("it is free");
        let waits = room.waits();
        room.refuse();
        let wanted = Figures { bound: 8192, held: 5120, waiting: 1, waited: 1, refused: 1 };
        assert_eq!(room.figures(), wanted);
        drop((held, waits));
        assert_eq!(room.figures(), Figures { held: 0, waiting: 0, ..wanted });
        room.follow(1024, [Arc::new(Semaphore::new(3)), Arc::new(Semaphore::new(1))]);
        assert_eq!(room.figures(), Figures { bound: 4096, held: 0, waiting: 0, ..wanted });
    }
}
