//! How often: each limit is one arrival time (GCRA), exact over all workers.
//!
//! GCRA keeps, per key, the time at which the quota would be whole again. A request moves it by one interval; it is refused
//! when that would be more than a whole period ahead. Consumers have places of their own, made at their first request;
//! addresses share a table of fixed size.

mod addresses;
mod gcra;
mod usage;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::auth::Consumer;
use crate::config::policy::{By, Limit, LimitSet};
use crate::config::{Config, RateLimits};
use addresses::Addresses;
use gcra::{Rate, Taken};
pub use usage::{Usage, Who};

/// Consumers whose places are made together.
const CHUNK: usize = 64;

/// All limits of a configuration. What was used of them outlives it.
#[derive(Debug)]
pub struct Limits {
    ledger: Arc<Ledger>,
    /// By the name of the set; plans and routes have names of their own.
    plans: HashMap<Arc<str>, Arc<Meter>>,
    /// By the route's place in the table.
    routes: Vec<Option<Arc<Meter>>>,
    headers: bool,
}

/// What is remembered of all clients, whatever the configuration.
#[derive(Debug)]
struct Ledger {
    epoch: Instant,
    /// Each consumer's number, by name.
    consumers: Mutex<HashMap<String, u32>>,
    addresses: Addresses,
    /// Numbers given to limits, for the table of addresses.
    numbers: AtomicU64,
}

/// One set of limits, and what consumers have used of it.
#[derive(Debug)]
pub struct Meter {
    set: Arc<LimitSet>,
    rates: Box<[Rate]>,
    /// By consumer number, in chunks, then by limit.
    consumers: Box<[OnceLock<Box<[Place]>>]>,
    /// By limit, for those of everyone together.
    everyone: Box<[Place]>,
    policy: HeaderValue,
    refused: AtomicU64,
}

/// One arrival time, and how often its owner was refused.
#[derive(Debug, Default)]
struct Place {
    arrival: AtomicU64,
    refused: AtomicU64,
}

/// What is left of a client's limits (draft-ietf-httpapi-ratelimit-headers-10).
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What the limits are.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What an answer says of a client's limits: [`RATELIMIT_POLICY`] and [`RATELIMIT`].
pub type Told = (HeaderValue, HeaderValue);

/// What it says of the consumer's plan, and of the route, where answers say what is left.
pub type Said = [Option<Told>; 2];

impl Limits {
    /// The limits of a configuration; what was used of those that stay as they are, stays used.
    pub fn new(config: &Config, before: Option<&Limits>) -> Limits {
        let ledger = before.map_or_else(|| Arc::new(Ledger::new(&config.rate_limits)), |before| before.ledger.clone());
        let numbers: Vec<u32> = config.consumers.iter().map(|consumer| ledger.number(&consumer.name)).collect();
        let room = numbers.iter().max().map_or(0, |&highest| highest as usize + 1);
        let make = |set: &Arc<LimitSet>, known: Option<&Arc<Meter>>| match known {
            Some(meter) if *meter.set == **set && meter.consumers.len() * CHUNK >= room => meter.clone(),
            _ => Arc::new(Meter::new(set, room, &ledger, known.map(|known| &**known))),
        };
        let known = |name: &Arc<str>| before.and_then(|before| before.plans.get(name));
        let plans = config.plans.iter().map(|set| (set.name.clone(), make(set, known(&set.name)))).collect();
        let before: HashMap<&str, &Arc<Meter>> = before
            .iter()
            .flat_map(|before| before.routes.iter().flatten())
            .map(|meter| (&*meter.set.name, meter))
            .collect();
        let mut made: HashMap<Arc<str>, Arc<Meter>> = HashMap::new();
        let mut meter = |set: &Arc<LimitSet>| {
            let make = || make(set, before.get(&*set.name).copied());
            made.entry(set.name.clone()).or_insert_with(make).clone()
        };
        let set = |route: &Arc<crate::config::Route>| route.policy.limits.clone().filter(|set| !set.limits.is_empty());
        let routes = config.routes.iter().map(|route| set(route).as_ref().map(&mut meter)).collect();
        Limits { ledger, plans, routes, headers: config.rate_limits.headers }
    }

    /// The limits of a plan.
    pub(super) fn plan(&self, set: &LimitSet) -> Option<Arc<Meter>> {
        self.plans.get(&set.name).cloned()
    }

    /// A consumer's number.
    pub(super) fn number(&self, name: &str) -> u32 {
        self.ledger.number(name)
    }

    /// Takes one request from each limit that holds for it: the consumer's plan's, and the route's. What the answer says of them is
    /// written to `told`.
    ///
    /// # Errors
    /// When to ask again, when one of them has none left; then nothing was taken of the others, and only that one is told.
    pub fn take(
        &self,
        route: usize,
        consumer: Option<&Consumer>,
        client: IpAddr,
        now: Instant,
        told: &mut Said,
    ) -> Result<(), Duration> {
        let plan = consumer.and_then(|consumer| consumer.plan.as_deref());
        let of_route = self.routes[route].as_deref();
        if plan.is_none() && of_route.is_none() {
            return Ok(());
        }
        let asks =
            Asks { ledger: &self.ledger, consumer: consumer.map(|c| c.number), client, now: self.ledger.ns(now) };
        for (index, meter) in [plan, of_route].into_iter().enumerate() {
            let Some(meter) = meter else { continue };
            let mut left = self.headers.then(String::new);
            let taken = meter.take(&asks, left.as_mut());
            told[index] = left.map(|left| (meter.policy.clone(), written(left)));
            if let Err(wait) = taken {
                if let (1, Some(plan)) = (index, plan) {
                    plan.give_back(&asks, plan.rates.len());
                    told[0] = None;
                }
                meter.refused.fetch_add(1, Ordering::Relaxed);
                return Err(wait);
            }
        }
        Ok(())
    }
}

impl Ledger {
    fn new(config: &RateLimits) -> Ledger {
        Ledger {
            epoch: Instant::now(),
            consumers: Mutex::default(),
            addresses: Addresses::new(config.memory),
            numbers: AtomicU64::new(1),
        }
    }

    fn number(&self, name: &str) -> u32 {
        let mut consumers = self.consumers.lock();
        let next = consumers.len() as u32;
        *consumers.entry(name.to_owned()).or_insert(next)
    }

    /// A moment as limits count it. It begins a while after zero, so that zero is long ago.
    fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// Who asks, and when.
struct Asks<'a> {
    ledger: &'a Ledger,
    consumer: Option<u32>,
    client: IpAddr,
    now: u64,
}

impl Meter {
    fn new(set: &Arc<LimitSet>, room: usize, ledger: &Ledger, before: Option<&Meter>) -> Meter {
        // A limit that stays keeps its number, and with it what addresses have used of it; and its place, for the others.
        let mut kept: Vec<Option<usize>> = Vec::new();
        for limit in set.limits.iter().take(8) {
            let old = before.iter().flat_map(|before| before.set.limits.iter().take(8).enumerate());
            let mut same = old.filter(|(place, old)| *old == limit && !kept.contains(&Some(*place)));
            let place = same.next().map(|(place, _)| place);
            kept.push(place);
        }
        let rate = |(limit, kept): (&Limit, &Option<usize>)| {
            let number = kept.zip(before).map(|(place, before)| before.rates[place].number);
            let number = number.unwrap_or_else(|| ledger.numbers.fetch_add(1, Ordering::Relaxed) as u32);
            Rate::new(limit, number, label(set, limit))
        };
        let rates: Box<[Rate]> = set.limits.iter().zip(&kept).map(rate).collect();
        let meter = Meter {
            policy: policy(set, &rates),
            consumers: (0..room.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            everyone: rates.iter().map(|_| Place::default()).collect(),
            rates,
            set: set.clone(),
            refused: AtomicU64::new(0),
        };
        if let Some(before) = before {
            meter.adopt(before, &kept);
        }
        meter
    }

    /// Takes over what was used of the limits that stay: for each, its place before.
    fn adopt(&self, before: &Meter, kept: &[Option<usize>]) {
        let pairs = || kept.iter().zip(0..).filter_map(|(old, new)| old.map(|old| (old, new)));
        let copy = |from: &Place, to: &Place| {
            to.arrival.store(from.arrival.load(Ordering::Relaxed), Ordering::Relaxed);
            to.refused.store(from.refused.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        for (index, chunk) in before.consumers.iter().enumerate().take(self.consumers.len()) {
            if let Some(places) = chunk.get() {
                let mine = self.consumers[index].get_or_init(|| self.chunk());
                let rows = places.chunks(before.rates.len()).zip(mine.chunks(self.rates.len()));
                for (from, to) in rows {
                    pairs().for_each(|(old, new)| copy(&from[old], &to[new]));
                }
            }
        }
        pairs().for_each(|(old, new)| copy(&before.everyone[old], &self.everyone[new]));
        self.refused.store(before.refused.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn chunk(&self) -> Box<[Place]> {
        (0..CHUNK * self.rates.len()).map(|_| Place::default()).collect()
    }

    /// A consumer's place for a limit.
    fn place(&self, consumer: u32, limit: usize) -> Option<&Place> {
        let (chunk, within) = (consumer as usize / CHUNK, consumer as usize % CHUNK);
        let places = self.consumers.get(chunk)?.get_or_init(|| self.chunk());
        places.get(within * self.rates.len() + limit)
    }

    /// Takes one of each limit, or none of any: then it says how long to wait. `left` hears how far each one is used.
    fn take(&self, asks: &Asks<'_>, mut left: Option<&mut String>) -> Result<(), Duration> {
        let mut tell = |rate: &Rate, taken| left.as_mut().into_iter().for_each(|text| write_left(text, rate, taken));
        for (index, rate) in self.rates.iter().enumerate() {
            match self.take_one(index, rate, asks) {
                Ok(taken) => tell(rate, taken),
                Err(wait) => {
                    self.give_back(asks, index);
                    // What was not asked any more is told as if untouched: the client is to wait for this one.
                    tell(rate, Taken { left: 0, whole_in: rate.whole() });
                    for rate in &self.rates[index + 1..] {
                        tell(rate, Taken { left: rate.count, whole_in: Duration::ZERO });
                    }
                    return Err(wait);
                }
            }
        }
        Ok(())
    }

    fn take_one(&self, index: usize, rate: &Rate, asks: &Asks<'_>) -> Result<Taken, Duration> {
        match self.own(index, rate, asks) {
            Some(place) => rate.take(&place.arrival, asks.now).inspect_err(|_| {
                place.refused.fetch_add(1, Ordering::Relaxed);
            }),
            None => asks.ledger.addresses.take(rate, asks.client, asks.now),
        }
    }

    /// The place that is not in the table of addresses, if the limit has such a one for who asks.
    fn own(&self, index: usize, rate: &Rate, asks: &Asks<'_>) -> Option<&Place> {
        match rate.by {
            By::Everyone => Some(&self.everyone[index]),
            By::Consumer => asks.consumer.and_then(|consumer| self.place(consumer, index)),
            By::Address => None,
        }
    }

    /// Gives back what the first limits took.
    fn give_back(&self, asks: &Asks<'_>, first: usize) {
        for (index, rate) in self.rates.iter().enumerate().take(first) {
            match self.own(index, rate, asks) {
                Some(place) => rate.give_back(&place.arrival),
                None => asks.ledger.addresses.give_back(rate, asks.client),
            }
        }
    }
}

/// `RateLimit: "silver";r=9;t=1` (draft-ietf-httpapi-ratelimit-headers-10, section 4), of one limit.
fn write_left(text: &mut String, rate: &Rate, taken: Taken) {
    let (mut left, mut whole_in) = (itoa::Buffer::new(), itoa::Buffer::new());
    let comma = if text.is_empty() { "" } else { ", " };
    let pieces = [comma, &rate.label, ";r=", left.format(taken.left), ";t=", whole_in.format(seconds(taken.whole_in))];
    // To its exact size: a text with room to spare costs another allocation when it becomes a header's value.
    text.reserve_exact(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| text.push_str(piece));
}

fn written(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `RateLimit-Policy: "silver";q=10;w=1` (the same draft, section 3).
fn policy(set: &LimitSet, rates: &[Rate]) -> HeaderValue {
    let one = |(limit, rate): (&Limit, &Rate)| format!("{};q={};w={}", rate.label, limit.count, seconds(limit.period));
    let all: Vec<_> = set.limits.iter().zip(rates).map(one).collect();
    HeaderValue::from_str(&all.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A limit's name in headers, as a structured field's string (RFC 9651 section 3.3.3): the set's name, with the limit itself
/// where the set has several.
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

#[cfg(test)]
mod tests;
