//! Which worker, and what every worker has its own of: two words that all rooms share.

use std::ops::Index;

/// One worker thread. Workers are numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// One value for each worker, each on cache lines of its own. Only its worker writes a value, and whoever asks reads them all:
/// so a worker counts without a lock, and without taking a cache line from another.
#[derive(Debug, Default)]
pub struct PerWorker<T>(Box<[Padded<T>]>);

/// Two cache lines of 64 bytes: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> PerWorker<T> {
    /// Values for so many workers, at least one.
    pub fn new(workers: usize, make: impl Fn() -> T) -> PerWorker<T> {
        PerWorker((0..workers.max(1)).map(|_| Padded(make())).collect())
    }

    /// How many workers have a value here.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: there is at least one worker.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of all workers, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// A worker's own value. Numbers start again behind the last one, so that an instance made for fewer workers still counts.
impl<T> Index<WorkerId> for PerWorker<T> {
    type Output = T;

    fn index(&self, worker: WorkerId) -> &T {
        let place = if worker.0 < self.0.len() { worker.0 } else { worker.0 % self.0.len() };
        &self.0[place].0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn every_worker_counts_in_a_value_of_its_own_and_there_is_always_one() {
        let counts = PerWorker::new(3, AtomicU64::default);
        for worker in [0, 1, 1, 2] {
            counts[WorkerId(worker)].fetch_add(1, Ordering::Relaxed);
        }
        let seen: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [1, 2, 1]);
        assert_eq!(PerWorker::new(0, || ()).len(), 1);
    }

    #[test]
    fn no_two_workers_write_to_the_same_cache_line() {
        let counts = PerWorker::new(2, AtomicU64::default);
        let place = |worker| std::ptr::from_ref(&counts[WorkerId(worker)]) as usize;
        assert_eq!(place(1) - place(0), 128);
    }
}
