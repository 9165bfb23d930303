//! Counting without locks: each worker has a part of its own in every recorder, whoever asks sums them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of a histogram's buckets, in seconds; what is above the last one is in the bucket `+Inf`.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Statuses that are counted one by one; any other counts for its class.
const STATUSES: [u16; 34] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413,
    414, 415, 422, 429, 431, 499, 500, 501, 502, 503, 504,
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

const CODES: usize = STATUSES.len() + CLASSES.len();

/// The place of every status from 100 on.
const PLACES: [u8; 500] = places();

const fn places() -> [u8; 500] {
    let mut places = [0; 500];
    let mut status = 0;
    while status < 500 {
        places[status] = (STATUSES.len() + status / 100) as u8;
        status += 1;
    }
    let mut known = 0;
    while known < STATUSES.len() {
        places[STATUSES[known] as usize - 100] = known as u8;
        known += 1;
    }
    places
}

/// Requests by status, and how long they took.
#[derive(Debug)]
pub struct Recorder {
    shards: Box<[OnceLock<Box<Codes>>]>,
    timings: Timings,
    retries: Box<[Padded]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Codes([AtomicU64; CODES]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// How long something took, as a histogram.
#[derive(Debug)]
pub struct Timings {
    shards: Box<[OnceLock<Box<Buckets>>]>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// The sum of a histogram over all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// In each bucket, those below it not included.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Of all values, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Timings {
    /// For this many workers; memory is taken when one of them counts.
    pub fn new(workers: usize) -> Timings {
        Timings { shards: (0..workers.max(1)).map(|_| OnceLock::new()).collect() }
    }

    /// One more. Only the worker of this number may say so.
    pub fn record(&self, worker: usize, took: Duration) {
        let shard = self.shards[worker % self.shards.len()].get_or_init(Box::default);
        let seconds = took.as_secs_f64();
        add(&shard.counts[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())], 1);
        add(&shard.micros, took.as_micros() as u64);
    }

    /// The sum over all workers.
    pub fn sum(&self) -> Histogram {
        let mut sum = Histogram::default();
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            sum.counts.iter_mut().zip(&shard.counts).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
            sum.sum += shard.micros.load(Ordering::Relaxed) as f64 / 1e6;
        }
        sum
    }
}

impl Recorder {
    /// For this many workers; memory is taken when one of them counts.
    pub fn new(workers: usize) -> Recorder {
        let workers = workers.max(1);
        Recorder {
            shards: (0..workers).map(|_| OnceLock::new()).collect(),
            timings: Timings::new(workers),
            retries: (0..workers).map(|_| Padded::default()).collect(),
        }
    }

    /// One more request; without a time when its end says nothing of speed, as that of a stream. Only the worker of this
    /// number may say so.
    pub fn record(&self, worker: usize, status: u16, took: Option<Duration>) {
        let shard = &self.shards[worker % self.shards.len()];
        let place = PLACES[usize::from(status.clamp(100, 599)) - 100];
        add(&shard.get_or_init(Box::default).0[usize::from(place)], 1);
        if let Some(took) = took {
            self.timings.record(worker, took);
        }
    }

    /// So many further attempts.
    pub fn retried(&self, worker: usize, attempts: u32) {
        add(&self.retries[worker % self.retries.len()].0, attempts.into());
    }

    /// Further attempts so far.
    pub fn retries(&self) -> u64 {
        self.retries.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Requests by status, those without any left out.
    pub fn codes(&self) -> Vec<(String, u64)> {
        let label = |place: usize| match STATUSES.get(place) {
            Some(status) => status.to_string(),
            None => CLASSES[place - STATUSES.len()].to_owned(),
        };
        let shards = || self.shards.iter().filter_map(OnceLock::get);
        let sum = |place: usize| shards().map(|shard| shard.0[place].load(Ordering::Relaxed)).sum::<u64>();
        (0..CODES).map(|place| (label(place), sum(place))).filter(|(_, sum)| *sum > 0).collect()
    }

    /// How long they took.
    pub fn timings(&self) -> Histogram {
        self.timings.sum()
    }
}

impl Default for Codes {
    fn default() -> Codes {
        Codes(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// One writer: a load and a store, no locked instruction.
fn add(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_over_all_workers_and_rare_ones_by_their_class() {
        let recorder = Recorder::new(3);
        for (worker, status) in [(0, 200), (1, 200), (2, 404), (0, 418), (1, 451), (2, 999), (0, 0)] {
            recorder.record(worker, status, None);
        }
        let wanted = [("200", 2), ("404", 1), ("1xx", 1), ("4xx", 2), ("5xx", 1)];
        assert_eq!(recorder.codes(), wanted.map(|(label, count)| (label.to_owned(), count)));
        assert_eq!(recorder.timings().count(), 0);
        recorder.retried(0, 2);
        recorder.retried(2, 1);
        assert_eq!(recorder.retries(), 3);
    }

    #[test]
    fn a_time_lies_in_the_bucket_whose_bound_it_does_not_pass() {
        let timings = Timings::new(2);
        for (worker, micros) in [(0, 0), (1, 1000), (0, 1001), (1, 60_000_000), (0, 60_000_001)] {
            timings.record(worker, Duration::from_micros(micros));
        }
        let sum = timings.sum();
        assert_eq!((sum.counts[0], sum.counts[1], sum.counts[14], sum.counts[15]), (2, 1, 1, 1));
        assert_eq!(sum.count(), 5);
        assert!((sum.sum - 120.002_002).abs() < 1e-9, "{}", sum.sum);
    }
}
