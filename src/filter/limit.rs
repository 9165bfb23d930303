//! How often a client may ask. Each limit is one arrival time per client (GCRA), exact over all workers.
//!
//! GCRA keeps the time at which a client's quota is whole again. A request moves it by one interval; it is refused when the time
//! would be more than a whole period ahead. Consumers of the configuration have counters of their own, made at the first request;
//! addresses, and consumers that no configuration lists, share a table of fixed size.
//!
//! The limits of the next configuration share the counters of each limit that stays. To make them changes nothing that the limits
//! before hold, and nothing is lost that workers take through those meanwhile.

mod meter;
mod table;
mod usage;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{Passing, Refusal, Step};
use crate::config::policy::LimitSet;
use crate::config::{self, Config, RateLimits};
use crate::fields::{RATELIMIT, RATELIMIT_POLICY};
use crate::request::{Consumer, Facts, LimitsKey, Source};
use meter::{Caller, Meter};
use table::{Owner, Table};
use usage::Nearest;
pub use usage::{Usage, Who};

/// What an answer says of one set of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The value of [`RATELIMIT_POLICY`]: what the limits are.
    pub policy: HeaderValue,
    /// The value of [`RATELIMIT`]: what is left of each.
    pub left: HeaderValue,
}

/// The limits of a configuration. What was used of them outlives it.
#[derive(Debug)]
pub struct Limits {
    shared: Arc<Shared>,
    consumers: Arc<Consumers>,
    /// What a request of one of the configuration's consumers needs, in one place.
    known: HashMap<LimitsKey, Known, FixedState>,
    plans: Meters,
    /// By the name of the set. Several routes may share one.
    routes: Meters,
    /// The same by the place of the set in memory, which is found sooner than a name. It holds the sets, so that they stay there.
    by_place: HashMap<usize, (Arc<LimitSet>, Arc<Meter>), FixedState>,
    /// The number of the next limit that was not there before.
    next_number: u32,
    /// Whether answers say what is left.
    headers: bool,
}

/// What all limits of this process have in common, whatever the configuration.
#[derive(Debug)]
struct Shared {
    epoch: Instant,
    table: Table,
}

/// The consumers that this process has been configured with, also those that are gone: who comes back finds what they have used,
/// and nobody else gets their slot.
type Consumers = HashMap<LimitsKey, Listed, FixedState>;

/// A consumer of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    name: Arc<str>,
    /// Where the consumer's counters are in each meter. Slots begin at 0 and have no gaps.
    slot: u32,
}

/// A consumer of this configuration.
#[derive(Debug)]
struct Known {
    slot: u32,
    plan: Option<Arc<Meter>>,
}

/// Meters by the names of their sets.
type Meters = HashMap<Arc<str>, Arc<Meter>, FixedState>;

/// Takes one request of each limit that holds for it.
pub(super) fn before(limits: &Limits, passing: &mut Passing<'_>) -> Step {
    let Facts { consumer, app, client, began, .. } = &*passing.facts;
    let callers = (consumer.as_deref(), app.as_deref());
    let route = passing.route.policy.limits.as_deref();
    match limits.take(route, callers, *client, *began, &mut passing.notes.limit) {
        Ok(()) => Step::Continue,
        Err(wait) => Step::Refuse(Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            reason: "rate_limited",
            detail: "The limit is used up; RateLimit says which, Retry-After until when",
            retry_after: Some(wait),
            challenges: Vec::new(),
            nonce: None,
        }),
    }
}

/// Says what is left of the client's limits, of the plan's and of the route's.
pub(super) fn after(remaining: &mut [Option<Remaining>; 2], headers: &mut HeaderMap) {
    for Remaining { policy, left } in remaining.iter_mut().filter_map(Option::take) {
        headers.append(RATELIMIT_POLICY, policy);
        headers.append(RATELIMIT, left);
    }
}

impl Limits {
    /// The limits of a configuration. What was used of a limit that `before` has, too - in a set of the same name, with the same
    /// count, period and `by` - stays used. Nothing that `before` shares is written.
    pub fn new(config: &Config, before: Option<&Limits>) -> Limits {
        let shared = before.map_or_else(|| Arc::new(Shared::new(&config.rate_limits)), |before| before.shared.clone());
        let consumers = slots(&config.consumers, before.map(|before| &before.consumers));
        let mut next_number = before.map_or(1, |before| before.next_number);
        let of_routes = || config.routes.iter().filter_map(|route| route.policy.limits.as_ref());
        let plans = meters(&config.plans, consumers.len(), before.map(|before| &before.plans), &mut next_number);
        let routes = meters(of_routes(), consumers.len(), before.map(|before| &before.routes), &mut next_number);
        let known = |consumer: &config::Consumer| {
            let key = LimitsKey::of(Source::Configuration, &consumer.name);
            let plan = consumer.plan.as_ref().and_then(|set| plans.get(&set.name)).cloned();
            Some((key, Known { slot: consumers.get(&key)?.slot, plan }))
        };
        let placed = |set: &Arc<LimitSet>| Some((place(set), (set.clone(), routes.get(&set.name)?.clone())));
        Limits {
            by_place: of_routes().filter_map(placed).collect(),
            known: config.consumers.iter().filter_map(known).collect(),
            plans,
            routes,
            shared,
            consumers,
            next_number,
            headers: config.rate_limits.headers,
        }
    }

    /// Takes one request from each limit that holds for it: those of the consumer's plan, or else of the plan of the app by which they call,
    /// and those of its route. `remaining` gets what the answer says of the plan, and of the route, where answers say what is left.
    ///
    /// # Errors
    /// How long to wait, when a limit lets no more through. Then nothing was taken of any limit, and `remaining` says what each has left.
    pub fn take(
        &self,
        route: Option<&LimitSet>,
        (consumer, app): (Option<&Consumer>, Option<&Consumer>),
        client: IpAddr,
        now: Instant,
        remaining: &mut [Option<Remaining>; 2],
    ) -> Result<(), Duration> {
        let known = consumer.and_then(|consumer| self.known.get(&consumer.limits_key));
        let planned = consumer.filter(|consumer| consumer.plan.is_some()).or(app);
        let named = planned.and_then(|planned| planned.plan.as_ref());
        let plan = named.and_then(|name| match known.and_then(|known| known.plan.as_ref()) {
            Some(meter) if meter.set.name == *name => Some(meter),
            _ => self.plans.get(name),
        });
        let of_route = route.and_then(|set| match self.by_place.get(&place(set)) {
            Some((_, meter)) => Some(meter),
            // The route is of another configuration than these limits.
            None => self.routes.get(&set.name),
        });
        if plan.is_none() && of_route.is_none() {
            return Ok(());
        }
        let key = consumer.map(|consumer| consumer.limits_key);
        let caller = Caller {
            slot: match known {
                Some(known) => Some(known.slot),
                None => key.and_then(|key| self.consumers.get(&key)).map(|listed| listed.slot),
            },
            owner: match key {
                Some(key) => Owner::Consumer(key),
                None => Owner::Address(client),
            },
            app: app.map(|app| (self.slot(app.limits_key), Owner::Consumer(app.limits_key))),
            address: client,
        };
        let (now, table) = (self.shared.ns(now), &self.shared.table);
        for (index, meter) in [plan, of_route].into_iter().enumerate() {
            let Some(meter) = meter else { continue };
            let mut left = self.headers.then(String::new);
            if let Err(used_up) = meter.take(&caller, table, now, left.as_mut()) {
                // The route refuses what the plan has let through.
                if let (1, Some(plan)) = (index, plan) {
                    plan.give_back(&caller, table);
                }
                for (other, meter) in [plan, of_route].into_iter().enumerate() {
                    let said = meter.filter(|_| self.headers).map(|meter| {
                        let used_up = Some(used_up).filter(|_| other == index);
                        let left = value(meter.left(&caller, table, now, used_up));
                        Remaining { policy: meter.policy.clone(), left }
                    });
                    remaining[other] = said;
                }
                return Err(used_up.wait);
            }
            remaining[index] = left.map(|left| Remaining { policy: meter.policy.clone(), left: value(left) });
        }
        Ok(())
    }

    /// Where a consumer of the configuration has its counters.
    fn slot(&self, key: LimitsKey) -> Option<u32> {
        self.consumers.get(&key).map(|listed| listed.slot)
    }

    /// All that is used now, and all that has ever refused a consumer; the nearest to their limits first. Of addresses only the
    /// nearest are there; consumers that no configuration lists are missing, for the table does not hold their names.
    pub fn usage(&self, now: Instant) -> Vec<Usage> {
        let now = self.shared.ns(now);
        let mut used = Vec::new();
        for (meter, _) in self.meters() {
            let of_consumers =
                self.consumers.values().flat_map(|listed| meter.usage_of(listed.slot, &listed.name, now));
            used.extend(of_consumers);
            used.extend(meter.usage_of_everyone(now));
        }
        used.extend(self.usage_of_addresses(now));
        usage::sort(&mut used);
        used
    }

    fn usage_of_addresses(&self, now: u64) -> Vec<Usage> {
        let meters = self.meters();
        let limits =
            meters.iter().flat_map(|(meter, _)| meter.rates().map(|rate| (rate.number, (rate, &meter.set.name))));
        let limits: HashMap<u32, _, FixedState> = limits.collect();
        let mut nearest = Nearest::default();
        self.shared.table.each_address(now, |place| {
            // The table still holds places of limits that the configuration no longer has.
            if let Some((rate, set)) = limits.get(&place.number) {
                let who = Who::Address(place.client);
                nearest.push(rate.usage(who, set, place.arrival, place.refused.into(), now));
            }
        });
        nearest.into_vec()
    }

    /// Each set of limits, as the configuration has it, whether it is a `plan`'s or a `route`'s, and how often it has refused a
    /// request.
    pub fn sets(&self) -> Vec<(Arc<LimitSet>, &'static str, u64)> {
        let set = |(meter, kind): (&Meter, &'static str)| (meter.set.clone(), kind, meter.refused());
        self.meters().into_iter().map(set).collect()
    }

    /// Bytes of the table of addresses.
    pub fn bytes(&self) -> usize {
        self.shared.table.bytes()
    }

    /// Forgets what a consumer of the configuration has used. Says of how many limits that was something, and `None` when no consumer
    /// has this name.
    pub fn reset_consumer(&self, name: &str) -> Option<usize> {
        let listed = self.consumers.get(&LimitsKey::of(Source::Configuration, name))?;
        Some(self.meters().into_iter().map(|(meter, _)| meter.reset(listed.slot)).sum())
    }

    /// Forgets what an address has used. Says of how many limits that was something.
    pub fn reset_address(&self, client: IpAddr) -> usize {
        let meters = self.meters();
        let numbers = meters.iter().flat_map(|(meter, _)| meter.rates()).map(|rate| rate.number);
        numbers.filter(|&number| self.shared.table.forget(number, Owner::Address(client))).count()
    }

    /// Every set's meter and whether it is a `plan`'s or a `route`'s, by name.
    fn meters(&self) -> Vec<(&Meter, &'static str)> {
        let plans = self.plans.values().map(|meter| (&**meter, "plan"));
        let routes = self.routes.values().map(|meter| (&**meter, "route"));
        let mut meters: Vec<_> = plans.chain(routes).collect();
        meters.sort_by(|(a, _), (b, _)| a.set.name.cmp(&b.set.name));
        meters
    }
}

impl Shared {
    fn new(config: &RateLimits) -> Shared {
        Shared { epoch: Instant::now(), table: Table::new(config.memory) }
    }

    /// A moment in the limits' unit: nanoseconds since the epoch.
    fn ns(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// The slots of a configuration's consumers. Known consumers keep theirs, new ones get the next.
fn slots(written: &[config::Consumer], before: Option<&Arc<Consumers>>) -> Arc<Consumers> {
    let mut consumers = before.cloned().unwrap_or_default();
    for consumer in written {
        let key = LimitsKey::of(Source::Configuration, &consumer.name);
        if !consumers.contains_key(&key) {
            let slot = consumers.len() as u32;
            // The first new consumer makes a copy: the limits before keep the map that they have.
            Arc::make_mut(&mut consumers).insert(key, Listed { name: consumer.name.as_str().into(), slot });
        }
    }
    consumers
}

fn place(set: &LimitSet) -> usize {
    std::ptr::from_ref(set).addr()
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The meters of sets of limits. One that serves as it is, is shared with the limits before.
fn meters<'s>(
    sets: impl IntoIterator<Item = &'s Arc<LimitSet>>,
    slots: usize,
    before: Option<&Meters>,
    next_number: &mut u32,
) -> Meters {
    let mut meters = Meters::default();
    // A set without limits counts nothing.
    for set in sets.into_iter().filter(|set| !set.limits.is_empty()) {
        if meters.contains_key(&set.name) {
            continue;
        }
        let meter = match before.and_then(|before| before.get(&set.name)) {
            Some(known) if known.serves(set, slots) => known.clone(),
            known => Arc::new(Meter::new(set, slots, known.map(|known| &**known), next_number)),
        };
        meters.insert(set.name.clone(), meter);
    }
    meters
}

#[cfg(test)]
mod tests;
