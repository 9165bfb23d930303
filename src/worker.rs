//! Which worker, and what every worker has its own of: words that all rooms share.

use std::ops::Index;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// One worker thread. Workers are numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// One value for each worker, each on cache lines of its own. As a rule only its worker writes a value, and whoever asks reads them
/// all: so a worker counts without a lock, and without taking a cache line from another.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[Padded<T>]>);

/// The same for large values that many workers never need: each is made when its worker first asks for it.
#[derive(Debug)]
pub struct LazyPerWorker<T>(Box<[OnceLock<Box<Padded<T>>>]>);

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

/// A worker's own value.
impl<T> Index<WorkerId> for PerWorker<T> {
    type Output = T;

    fn index(&self, worker: WorkerId) -> &T {
        &self.0[place(worker, self.0.len())].0
    }
}

impl<T: Default> LazyPerWorker<T> {
    /// For so many workers, at least one; none has a value yet.
    pub fn new(workers: usize) -> LazyPerWorker<T> {
        LazyPerWorker((0..workers.max(1)).map(|_| OnceLock::new()).collect())
    }

    /// The values that were made so far, in the order of their workers' numbers.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(|padded| &padded.0)
    }
}

/// A worker's own value, which is made now if this is the first time.
impl<T: Default> Index<WorkerId> for LazyPerWorker<T> {
    type Output = T;

    fn index(&self, worker: WorkerId) -> &T {
        &self.0[place(worker, self.0.len())].get_or_init(Box::default).0
    }
}

/// Where a worker's value lies. Numbers start again behind the last one, so that what was made for fewer workers still counts; a
/// request pays for a comparison only, never for the division.
fn place(worker: WorkerId, values: usize) -> usize {
    if worker.0 < values { worker.0 } else { worker.0 % values }
}

/// Adds to a count that only one worker writes: a load and a store, which cost less than an atomic addition.
pub fn add(count: &AtomicU64, by: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
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
        let lazy = LazyPerWorker::<AtomicU64>::new(2);
        for worker in [0, 1] {
            assert_eq!(std::ptr::from_ref(&lazy[WorkerId(worker)]) as usize % 128, 0);
        }
    }

    #[test]
    fn a_lazy_value_is_made_when_its_worker_first_counts() {
        let counts = LazyPerWorker::<AtomicU64>::new(3);
        assert_eq!(counts.iter().count(), 0);
        for worker in [2, 2, 5] {
            add(&counts[WorkerId(worker)], 1);
        }
        let seen: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [3], "the sixth of three counts where the third does");
    }
}
