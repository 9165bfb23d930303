//! One set of limits with the counters of those who use it. The next configuration's meter of the same set shares them. The arithmetic is
//! GCRA's: each request moves an arrival time by one interval, at most one period ahead of now. Times are nanoseconds since the epoch.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;

use super::table::{Owner, Table};
use super::usage::{Usage, Who};
use crate::config::policy::{By, Limit, LimitSet};

/// How many consumers' counters are made together, when the first of these consumers asks.
const CHUNK: usize = 64;

/// A set of limits, ready to be counted.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) set: Arc<LimitSet>,
    limits: Box<[Counted]>,
    /// The value of `RateLimit-Policy`.
    pub(super) policy: HeaderValue,
    /// How often one of its limits refused a request.
    refused: Arc<AtomicU64>,
}

/// One limit of a set.
#[derive(Debug)]
struct Counted {
    rate: Rate,
    counters: Counters,
}

/// Where a limit's use is counted. Meters of two configurations hold the same counters, and count for both.
#[derive(Debug)]
enum Counters {
    /// Each consumer of the configuration has a counter, found by slot. Who has no slot is counted in the table.
    Consumers(Box<[Arc<Chunk>]>),
    /// Each address is counted in the table.
    Addresses,
    /// All clients share one counter.
    Everyone(Arc<Counter>),
}

/// The counters of neighbouring slots.
type Chunk = OnceLock<Box<[Counter; CHUNK]>>;

/// One arrival time, and how often a request was refused by it.
#[derive(Debug, Default)]
struct Counter {
    arrival: AtomicU64,
    refused: AtomicU64,
}

/// Who makes a request, as limits tell clients apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// The consumer's slot, if the configuration lists them.
    pub(super) slot: Option<u32>,
    /// Who is counted in the table where there is no slot: the consumer, else the address.
    pub(super) owner: Owner,
    /// Who is counted by limits of apps; `None`: the consumer.
    pub(super) app: Option<(Option<u32>, Owner)>,
    /// The client's address, for limits by address.
    pub(super) address: IpAddr,
}

/// Which limit of a set lets no more through, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsedUp {
    index: usize,
    pub(super) wait: Duration,
}

/// Where one caller's use of one limit is counted.
enum Account<'a> {
    Counter(&'a Counter),
    Table(Owner),
}

impl Meter {
    /// A meter with counters for so many slots. A limit that the meter before has, too, with the same count, period and `by`, keeps its
    /// number and its counters; to other limits `next_number` is given.
    pub(super) fn new(set: &Arc<LimitSet>, slots: usize, before: Option<&Meter>, next_number: &mut u32) -> Meter {
        // Each earlier limit is kept at most once: of two equal limits, the second one is new.
        let mut earlier: Vec<&Counted> = before.iter().flat_map(|before| &before.limits).collect();
        let counted = |limit: &Limit| {
            let same = earlier.iter().position(|earlier| earlier.rate.limit == *limit);
            let kept = same.map(|index| earlier.remove(index));
            let number = kept.map_or(*next_number, |kept| kept.rate.number);
            *next_number += u32::from(kept.is_none());
            let counters = Counters::new(limit.by, slots, kept.map(|kept| &kept.counters));
            Counted { rate: Rate::new(limit, number, label(set, limit)), counters }
        };
        let limits: Box<[Counted]> = set.limits.iter().map(counted).collect();
        Meter {
            set: set.clone(),
            policy: policy(&limits),
            limits,
            refused: before.map(|before| before.refused.clone()).unwrap_or_default(),
        }
    }

    /// Whether it can serve the next configuration as it is: it has the same set, and counters for so many slots.
    pub(super) fn serves(&self, set: &LimitSet, slots: usize) -> bool {
        *self.set == *set && self.limits.iter().all(|limit| limit.counters.have(slots))
    }

    /// Takes one request of each limit. `remaining`, if given, gets the value of `RateLimit`.
    ///
    /// # Errors
    /// The limit that lets no more through. Then nothing was taken of any, and `remaining` is of no use: see [`Meter::left`].
    pub(super) fn take(
        &self,
        caller: &Caller,
        table: &Table,
        now: u64,
        mut remaining: Option<&mut String>,
    ) -> Result<(), UsedUp> {
        for (index, limit) in self.limits.iter().enumerate() {
            match limit.take(caller, table, now) {
                Ok(left) => write_left(&mut remaining, &limit.rate, left),
                Err(wait) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    self.limits[..index].iter().for_each(|limit| limit.give_back(caller, table));
                    return Err(UsedUp { index, wait });
                }
            }
        }
        Ok(())
    }

    /// The value of `RateLimit` of an answer to a request that was refused, of which nothing was taken: what each limit has left, whether it
    /// was asked or not. Of the limit that refused, if it is one of these, it says when it lets one more through, as `Retry-After` does.
    pub(super) fn left(&self, caller: &Caller, table: &Table, now: u64, used_up: Option<UsedUp>) -> String {
        let mut text = String::new();
        for (index, limit) in self.limits.iter().enumerate() {
            let left = match used_up {
                Some(used_up) if used_up.index == index => Left { count: 0, whole_in: used_up.wait },
                _ => limit.rate.left(limit.arrival(caller, table), now),
            };
            write_left(&mut Some(&mut text), &limit.rate, left);
        }
        text
    }

    /// Gives back what one request took of each limit.
    pub(super) fn give_back(&self, caller: &Caller, table: &Table) {
        self.limits.iter().for_each(|limit| limit.give_back(caller, table));
    }

    /// How often one of its limits refused a request.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Its limits that are counted in the table.
    pub(super) fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.limits.iter().map(|limit| &limit.rate)
    }

    /// How far a consumer, by slot, has used each limit: those that are used now, or have ever refused the consumer.
    pub(super) fn usage_of(&self, slot: u32, name: &str, now: u64) -> impl Iterator<Item = Usage> {
        let used = move |limit: &Counted| {
            limit.usage(limit.counters.existing(slot)?, Who::Consumer(name.to_owned()), &self.set.name, now)
        };
        self.limits.iter().filter_map(used)
    }

    /// How far all clients together have used each limit that they share.
    pub(super) fn usage_of_everyone(&self, now: u64) -> impl Iterator<Item = Usage> {
        let used = move |limit: &Counted| match &limit.counters {
            Counters::Everyone(counter) => limit.usage(counter, Who::Everyone, &self.set.name, now),
            Counters::Consumers(_) | Counters::Addresses => None,
        };
        self.limits.iter().filter_map(used)
    }

    /// Forgets what a consumer, by slot, has used of each limit; of how many limits that was something.
    pub(super) fn reset(&self, slot: u32) -> usize {
        let reset = |counter: &Counter| {
            counter.refused.store(0, Ordering::Relaxed);
            counter.arrival.swap(0, Ordering::Relaxed) != 0
        };
        self.limits.iter().filter(|limit| limit.counters.existing(slot).is_some_and(reset)).count()
    }
}

impl Counted {
    fn take(&self, caller: &Caller, table: &Table, now: u64) -> Result<Left, Duration> {
        match self.counters.account(caller, self.rate.limit.by) {
            Account::Table(owner) => {
                let rate = &self.rate;
                let next = table.take(rate.number, owner, |arrival| rate.step(arrival, now))?;
                Ok(rate.left(next, now))
            }
            Account::Counter(counter) => self.rate.take(&counter.arrival, now).inspect_err(|_| {
                counter.refused.fetch_add(1, Ordering::Relaxed);
            }),
        }
    }

    fn give_back(&self, caller: &Caller, table: &Table) {
        match self.counters.account(caller, self.rate.limit.by) {
            Account::Table(owner) => table.give_back(self.rate.number, owner, |arrival| self.rate.step_back(arrival)),
            Account::Counter(counter) => self.rate.give_back(&counter.arrival),
        }
    }

    /// The arrival time of a caller, who need not have asked before.
    fn arrival(&self, caller: &Caller, table: &Table) -> u64 {
        match self.counters.account(caller, self.rate.limit.by) {
            Account::Table(owner) => table.arrival(self.rate.number, owner),
            Account::Counter(counter) => counter.arrival.load(Ordering::Relaxed),
        }
    }

    /// A counter's use, unless it is unused now and has never refused anybody.
    fn usage(&self, counter: &Counter, who: Who, set: &Arc<str>, now: u64) -> Option<Usage> {
        let (arrival, refused) = (counter.arrival.load(Ordering::Relaxed), counter.refused.load(Ordering::Relaxed));
        (arrival > now || refused > 0).then(|| self.rate.usage(who, set, arrival, refused, now))
    }
}

impl Counters {
    /// Counters for so many slots: those of an equal limit before, and new ones for what it lacks.
    fn new(by: By, slots: usize, kept: Option<&Counters>) -> Counters {
        match (by, kept) {
            (By::Address, _) => Counters::Addresses,
            (By::Everyone, Some(Counters::Everyone(counter))) => Counters::Everyone(counter.clone()),
            (By::Everyone, _) => Counters::Everyone(Arc::default()),
            (By::Consumer | By::User | By::App, kept) => {
                let kept = if let Some(Counters::Consumers(chunks)) = kept { &chunks[..] } else { &[] };
                let needed = slots.div_ceil(CHUNK).max(kept.len());
                let chunks = kept.iter().cloned().chain(std::iter::repeat_with(Arc::default));
                Counters::Consumers(chunks.take(needed).collect())
            }
        }
    }

    /// Whether they suffice for so many slots.
    fn have(&self, slots: usize) -> bool {
        match self {
            Counters::Consumers(chunks) => chunks.len() * CHUNK >= slots,
            Counters::Addresses | Counters::Everyone(_) => true,
        }
    }

    /// Where a caller's use is counted.
    fn account(&self, caller: &Caller, by: By) -> Account<'_> {
        match self {
            Counters::Everyone(counter) => Account::Counter(counter),
            Counters::Addresses => Account::Table(Owner::Address(caller.address)),
            Counters::Consumers(chunks) => {
                let (slot, owner) = caller.app.filter(|_| by == By::App).unwrap_or((caller.slot, caller.owner));
                let own = slot.map(|slot| slot as usize).and_then(|slot| {
                    let chunk = chunks.get(slot / CHUNK)?.get_or_init(new_chunk);
                    Some(&chunk[slot % CHUNK])
                });
                own.map_or(Account::Table(owner), Account::Counter)
            }
        }
    }

    /// A consumer's counter, unless no consumer of its chunk has ever made a request.
    fn existing(&self, slot: u32) -> Option<&Counter> {
        let Counters::Consumers(chunks) = self else { return None };
        let chunk = chunks.get(slot as usize / CHUNK)?.get()?;
        Some(&chunk[slot as usize % CHUNK])
    }
}

fn new_chunk() -> Box<[Counter; CHUNK]> {
    Box::new(std::array::from_fn(|_| Counter::default()))
}

/// A limit, ready to be counted.
#[derive(Debug)]
pub(super) struct Rate {
    /// As the configuration has it.
    pub(super) limit: Limit,
    /// Its number among all limits that this process has ever had: the table tells limits apart by it.
    pub(super) number: u32,
    /// The time between two requests that come evenly, rounded down, so that `count` of them fit into a period.
    interval: u64,
    /// The length of `count` intervals.
    burst: u64,
    /// Its name in headers, as a structured field's string (RFC 9651 section 3.3.3).
    label: String,
    /// The beginning of what `RateLimit` says of it: its name, and the parameter for what is left.
    left_of: String,
}

/// What a limit still lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// How many more requests may come at once.
    count: u32,
    /// After how long the whole quota is there again.
    whole_in: Duration,
}

impl Rate {
    pub(super) fn new(limit: &Limit, number: u32, label: String) -> Rate {
        let interval = (limit.period.as_nanos() as u64 / u64::from(limit.count)).max(1);
        let left_of = format!("{label};r=");
        Rate { number, interval, burst: interval * u64::from(limit.count), label, left_of, limit: limit.clone() }
    }

    /// The arrival time after one more request.
    ///
    /// # Errors
    /// How long to wait, when the limit lets no more through.
    fn step(&self, arrival: u64, now: u64) -> Result<u64, Duration> {
        let next = arrival.max(now) + self.interval;
        match (next - now).checked_sub(self.burst) {
            None | Some(0) => Ok(next),
            Some(over) => Err(Duration::from_nanos(over)),
        }
    }

    /// The arrival time before the last request.
    fn step_back(&self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval)
    }

    /// What an arrival time leaves.
    fn left(&self, arrival: u64, now: u64) -> Left {
        let used = arrival.saturating_sub(now);
        let left = self.burst.saturating_sub(used) / self.interval;
        Left { count: left as u32, whole_in: Duration::from_nanos(used) }
    }

    /// Takes one request from an arrival time that several workers share.
    ///
    /// # Errors
    /// How long to wait, when the limit lets no more through.
    pub(super) fn take(&self, arrival: &AtomicU64, now: u64) -> Result<Left, Duration> {
        let mut seen = arrival.load(Ordering::Relaxed);
        loop {
            let next = self.step(seen, now)?;
            match arrival.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(self.left(next, now)),
                Err(other) => seen = other,
            }
        }
    }

    /// Gives one request back to an arrival time that several workers share. If it was reset meanwhile, it stays reset.
    pub(super) fn give_back(&self, arrival: &AtomicU64) {
        let _ = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| seen.checked_sub(self.interval));
    }

    /// What an arrival time says of its use.
    pub(super) fn usage(&self, who: Who, set: &Arc<str>, arrival: u64, refused: u64, now: u64) -> Usage {
        let Left { count: left, whole_in } = self.left(arrival, now);
        let Limit { count, period, .. } = self.limit;
        Usage { who, set: set.clone(), count, period, left, whole_in, refused }
    }
}

/// Adds one limit to `RateLimit: "silver";r=9;t=1` (draft-ietf-httpapi-ratelimit-headers-10, section 4), if that is wanted.
fn write_left(text: &mut Option<&mut String>, rate: &Rate, left: Left) {
    let Some(text) = text else { return };
    let (mut count, mut whole_in) = (itoa::Buffer::new(), itoa::Buffer::new());
    let pieces = [&rate.left_of, count.format(left.count), ";t=", whole_in.format(seconds(left.whole_in))];
    let comma = if text.is_empty() { "" } else { ", " };
    // To its exact size: a text with room to spare costs another allocation when it becomes a header's value.
    text.reserve_exact(comma.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>());
    if !comma.is_empty() {
        text.push_str(comma);
    }
    pieces.iter().for_each(|piece| text.push_str(piece));
}

/// `RateLimit-Policy: "silver";q=10;w=1` (the same draft, section 3).
fn policy(limits: &[Counted]) -> HeaderValue {
    let one = |Counted { rate, .. }: &Counted| {
        format!("{};q={};w={}", rate.label, rate.limit.count, seconds(rate.limit.period))
    };
    let all: Vec<_> = limits.iter().map(one).collect();
    HeaderValue::from_str(&all.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A limit's name in headers, as a structured field's string (RFC 9651 section 3.3.3): the set's name, and the limit itself where the
/// set has several.
fn label(set: &LimitSet, limit: &Limit) -> String {
    let fits = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    let name: String = set.name.chars().filter(fits).collect();
    let each =
        if set.limits.len() > 1 { format!("-{}-per-{}s", limit.count, seconds(limit.period)) } else { String::new() };
    format!("\"{name}{each}\"")
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
