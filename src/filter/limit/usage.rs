//! Who is how near which limit, for admin: looked up when asked, kept nowhere.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Limits, Meter, Place};
use crate::config::policy::By;

/// Addresses shown at most: those nearest to their limits.
const SHOWN: usize = 100;

/// Whose a place is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A consumer's.
    Consumer(String),
    /// An address's (IPv6: its /64).
    Address(IpAddr),
    /// Everyone's.
    Everyone,
}

/// How far one limit is used by one client.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Whose it is.
    pub who: Who,
    /// The set's name: `default`, `api`, a route, a plan.
    pub set: Arc<str>,
    /// How many requests in `period`.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// How many more may come at once.
    pub left: u32,
    /// When the quota is whole again.
    pub whole_in: Duration,
    /// How often it was refused.
    pub refused: u64,
}

impl Limits {
    /// Everything that is used now, or was ever refused to a consumer; those nearest to their limit first.
    pub fn usage(&self, now: Instant) -> Vec<Usage> {
        let ns = self.ledger.ns(now);
        let mut used = Vec::new();
        for meter in self.meters() {
            for (name, number) in &*self.ledger.consumers.lock() {
                let places = (0..meter.rates.len()).filter_map(|limit| Some((limit, meter.seen(*number, limit)?)));
                used.extend(
                    places.filter_map(|(limit, place)| meter.usage(limit, place, Who::Consumer(name.clone()), ns)),
                );
            }
            let everyone = meter.everyone.iter().enumerate();
            used.extend(everyone.filter_map(|(limit, place)| meter.usage(limit, place, Who::Everyone, ns)));
        }
        used.extend(self.addresses(ns));
        used.sort_by(|a, b| nearness(b).total_cmp(&nearness(a)).then_with(|| a.set.cmp(&b.set)));
        used
    }

    fn addresses(&self, now: u64) -> Vec<Usage> {
        let mut used = Vec::new();
        let meters = self.meters();
        self.ledger.addresses.each(now, |seen| {
            let known = |meter: &&Arc<Meter>| meter.rates.iter().any(|rate| rate.number == seen.number);
            let Some(meter) = meters.iter().copied().find(known) else { return };
            let limit = meter.rates.iter().position(|rate| rate.number == seen.number).unwrap_or(0);
            let taken = meter.rates[limit].left(seen.arrival, now);
            used.push(Usage {
                who: Who::Address(seen.client),
                set: meter.set.name.clone(),
                count: meter.rates[limit].count,
                period: meter.set.limits[limit].period,
                left: taken.left,
                whole_in: taken.whole_in,
                refused: seen.refused.into(),
            });
            if used.len() > 2 * SHOWN {
                keep_nearest(&mut used);
            }
        });
        keep_nearest(&mut used);
        used
    }

    /// Each set, once.
    fn meters(&self) -> Vec<&Arc<Meter>> {
        let mut meters: Vec<_> = self.plans.values().chain(self.routes.iter().flatten()).collect();
        meters.sort_by_key(|meter| Arc::as_ptr(meter));
        meters.dedup_by_key(|meter| Arc::as_ptr(meter));
        meters.sort_by(|a, b| a.set.name.cmp(&b.set.name));
        meters
    }

    /// Every limit, as the configuration has it, whether it is a `plan`'s or a `route`'s, and how often it refused anybody.
    pub fn sets(&self) -> Vec<(Arc<crate::config::LimitSet>, &'static str, u64)> {
        let is_plan = |meter: &Arc<Meter>| self.plans.values().any(|plan| Arc::ptr_eq(plan, meter));
        let kind = |meter: &Arc<Meter>| if is_plan(meter) { "plan" } else { "route" };
        let all = self.meters().into_iter();
        all.map(|meter| (meter.set.clone(), kind(meter), meter.refused.load(Ordering::Relaxed))).collect()
    }

    /// Bytes of the table of addresses.
    pub fn bytes(&self) -> usize {
        self.ledger.addresses.bytes()
    }

    /// A consumer begins anew; how many limits it had used, `None` when nobody has this name.
    pub fn reset_consumer(&self, name: &str) -> Option<usize> {
        let number = *self.ledger.consumers.lock().get(name)?;
        let mut reset = 0;
        for meter in self.meters() {
            for place in (0..meter.rates.len()).filter_map(|limit| meter.seen(number, limit)) {
                reset += usize::from(place.arrival.swap(0, Ordering::Relaxed) != 0);
                place.refused.store(0, Ordering::Relaxed);
            }
        }
        Some(reset)
    }

    /// An address begins anew; how many limits it had used.
    pub fn reset_address(&self, client: IpAddr) -> usize {
        let rates = self.meters().into_iter().flat_map(|meter| &meter.rates);
        rates.filter(|rate| self.ledger.addresses.forget(rate.number, client)).count()
    }
}

impl Meter {
    /// A consumer's place, if it was ever used.
    fn seen(&self, consumer: u32, limit: usize) -> Option<&Place> {
        let chunk = self.consumers.get(consumer as usize / super::CHUNK)?.get()?;
        chunk.get(consumer as usize % super::CHUNK * self.rates.len() + limit)
    }

    fn usage(&self, limit: usize, place: &Place, who: Who, now: u64) -> Option<Usage> {
        let (arrival, refused) = (place.arrival.load(Ordering::Relaxed), place.refused.load(Ordering::Relaxed));
        let mine = who != Who::Everyone || self.rates[limit].by == By::Everyone;
        if !mine || (arrival <= now && refused == 0) {
            return None;
        }
        let taken = self.rates[limit].left(arrival, now);
        Some(Usage {
            who,
            set: self.set.name.clone(),
            count: self.rates[limit].count,
            period: self.set.limits[limit].period,
            left: taken.left,
            whole_in: taken.whole_in,
            refused,
        })
    }
}

/// From 0, nothing used, to 1, nothing left.
fn nearness(usage: &Usage) -> f64 {
    1.0 - f64::from(usage.left) / f64::from(usage.count)
}

fn keep_nearest(used: &mut Vec<Usage>) {
    used.sort_by(|a, b| nearness(b).total_cmp(&nearness(a)));
    used.truncate(SHOWN);
}
