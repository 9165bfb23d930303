//! Counting without locks: each worker has counts of its own in every recorder; whoever asks adds them up.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::worker::{LazyPerWorker, WorkerId, add};

/// Upper bounds of a histogram's buckets, in seconds. Values above the last one are in a further bucket, `+Inf`.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Statuses that are counted each on its own. Any other status counts for its class.
const STATUSES: [u16; 35] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413,
    414, 415, 422, 429, 431, 499, 500, 501, 502, 503, 504, 508,
];

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

const CODES: usize = STATUSES.len() + CLASSES.len();

/// For each status from 100 to 599, the index of its count in [`Codes`].
const INDEXES: [u8; 500] = indexes();

const fn indexes() -> [u8; 500] {
    let mut indexes = [0; 500];
    let mut status = 0;
    while status < 500 {
        indexes[status] = (STATUSES.len() + status / 100) as u8;
        status += 1;
    }
    let mut known = 0;
    while known < STATUSES.len() {
        indexes[STATUSES[known] as usize - 100] = known as u8;
        known += 1;
    }
    indexes
}

/// Requests by status, and how long they took.
#[derive(Debug)]
pub struct Recorder(LazyPerWorker<Requests>);

/// One worker's requests.
#[derive(Debug)]
struct Requests {
    /// By each of [`STATUSES`], then by each of [`CLASSES`].
    codes: [AtomicU64; CODES],
    timings: Buckets,
    retries: AtomicU64,
}

/// One worker's part of a histogram: how long something took.
#[derive(Debug, Default)]
pub struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    /// Sum of all values, in microseconds.
    micros: AtomicU64,
}

/// The sum of a histogram over all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many values are in each bucket alone, lower buckets not included.
    pub counts: [u64; BOUNDS.len() + 1],
    /// The sum of all values, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of the workers' parts.
    pub fn of<'a>(workers: impl Iterator<Item = &'a Buckets>) -> Histogram {
        let mut sum = Histogram::default();
        for buckets in workers {
            sum.counts.iter_mut().zip(&buckets.counts).for_each(|(sum, count)| *sum += count.load(Ordering::Relaxed));
            sum.sum += buckets.micros.load(Ordering::Relaxed) as f64 / 1e6;
        }
        sum
    }
}

/// The sum of several.
impl Sum for Histogram {
    fn sum<I: Iterator<Item = Histogram>>(all: I) -> Histogram {
        all.fold(Histogram::default(), |mut sum, next| {
            sum.counts.iter_mut().zip(next.counts).for_each(|(sum, count)| *sum += count);
            Histogram { sum: sum.sum + next.sum, ..sum }
        })
    }
}

impl Buckets {
    /// One more value. Only the worker whose part it is may record it.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        add(&self.counts[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())], 1);
        add(&self.micros, took.as_micros() as u64);
    }
}

impl Recorder {
    /// For this many workers; memory is taken when one of them counts.
    pub fn new(workers: usize) -> Recorder {
        Recorder(LazyPerWorker::new(workers))
    }

    /// One more request; without a time where that says nothing of speed, as for a stream. Only this worker itself may record it.
    pub fn record(&self, worker: WorkerId, status: u16, took: Option<Duration>) {
        let index = INDEXES[usize::from(status.clamp(100, 599)) - 100];
        let requests = &self.0[worker];
        add(&requests.codes[usize::from(index)], 1);
        if let Some(took) = took {
            requests.timings.record(took);
        }
    }

    /// So many further attempts. Only this worker itself may record them.
    pub fn retried(&self, worker: WorkerId, attempts: u32) {
        add(&self.0[worker].retries, attempts.into());
    }

    /// Further attempts so far.
    pub fn retries(&self) -> u64 {
        self.0.iter().map(|requests| requests.retries.load(Ordering::Relaxed)).sum()
    }

    /// The number of requests by status; a status without requests is left out.
    pub fn codes(&self) -> Vec<(String, u64)> {
        let label = |index: usize| match STATUSES.get(index) {
            Some(status) => status.to_string(),
            None => CLASSES[index - STATUSES.len()].to_owned(),
        };
        let sum =
            |index: usize| self.0.iter().map(|requests| requests.codes[index].load(Ordering::Relaxed)).sum::<u64>();
        (0..CODES).map(|index| (label(index), sum(index))).filter(|(_, sum)| *sum > 0).collect()
    }

    /// How long requests took.
    pub fn timings(&self) -> Histogram {
        Histogram::of(self.0.iter().map(|requests| &requests.timings))
    }
}

impl Default for Requests {
    fn default() -> Requests {
        let codes = std::array::from_fn(|_| AtomicU64::new(0));
        Requests { codes, timings: Buckets::default(), retries: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_over_all_workers_and_rare_ones_by_their_class() {
        let recorder = Recorder::new(3);
        for (worker, status) in [(0, 200), (1, 200), (2, 404), (0, 418), (1, 451), (2, 999), (0, 0)] {
            recorder.record(WorkerId(worker), status, None);
        }
        let wanted = [("200", 2), ("404", 1), ("1xx", 1), ("4xx", 2), ("5xx", 1)];
        assert_eq!(recorder.codes(), wanted.map(|(label, count)| (label.to_owned(), count)));
        assert_eq!(recorder.timings().count(), 0);
        recorder.retried(WorkerId(0), 2);
        recorder.retried(WorkerId(2), 1);
        assert_eq!(recorder.retries(), 3);
    }

    #[test]
    fn a_time_lies_in_the_bucket_whose_bound_it_does_not_pass() {
        let timings = [Buckets::default(), Buckets::default()];
        for (worker, micros) in [(0, 0), (1, 1000), (0, 1001), (1, 60_000_000), (0, 60_000_001)] {
            timings[worker].record(Duration::from_micros(micros));
        }
        let sum = Histogram::of(timings.iter());
        assert_eq!((sum.counts[0], sum.counts[1], sum.counts[14], sum.counts[15]), (2, 1, 1, 1));
        assert_eq!(sum.count(), 5);
        assert!((sum.sum - 120.002_002).abs() < 1e-9, "{}", sum.sum);
    }
}
