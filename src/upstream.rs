//! Which instance a request goes to: breakers say who is eligible, round robin picks among them, the breaker grants a
//! permit - or why there is none.

pub mod breaker;
pub mod instance;
pub mod recent;
pub mod verdict;
pub mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::catalog::notice::Asked;
use crate::catalog::{self, ByName, DiffItem, ServiceName};
use crate::telemetry::metrics::Recorder;
use crate::worker::WorkerId;
use breaker::{Failure, Weight};
use instance::{InFlight, Instance, Local, Permit, Settings};
use recent::Budget;

/// A service in a snapshot: immutable, but for what hangs on its instances and its state.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What the catalog says of it.
    pub source: Arc<catalog::Service>,
    /// One per endpoint of `source`, in its order.
    pub members: Box<[Member]>,
    /// Instances that it had lately, and since when it has not: who comes back is known.
    pub departed: Box<[Departed]>,
    /// What all its instances share over all snapshots.
    pub state: Arc<ServiceState>,
    /// How many further attempts it may cost.
    pub budget: Arc<Budget>,
    /// Since when no provider lists it: then it only answers 503 until it is forgotten.
    pub gone: Option<Instant>,
}

/// An instance that departed, and when.
pub type Departed = (Arc<Instance>, Instant);

/// Services are equal when they are the same one: a change of anything in one makes another.
impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Service {}

/// What all instances of a service share. It outlives snapshots, as they do.
#[derive(Debug)]
pub struct ServiceState {
    /// Held while it is decided whether an instance trips that may be the last eligible one.
    tripping: Mutex<()>,
    /// Its requests.
    pub recorder: Recorder,
    /// Whether discovery knows that it is asked for.
    pub asked: Asked,
}

impl ServiceState {
    /// Of a service that has had no request yet.
    pub fn new(workers: usize) -> ServiceState {
        ServiceState { tripping: Mutex::default(), recorder: Recorder::new(workers), asked: Asked::default() }
    }
}

/// An instance in a service.
#[derive(Debug)]
pub struct Member {
    /// What we hold for it.
    pub instance: Arc<Instance>,
    /// Its share; 0 is never picked.
    pub weight: u32,
}

/// Why no instance can be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// None is healthy by its provider's word.
    NoInstances,
    /// All healthy ones are tripped; the first is tried again after this long.
    AllTripped(Duration),
    /// Every one that could be asked has been asked by this request.
    AllTried,
}

/// An instance that was picked, with the right to try it.
#[derive(Debug)]
pub struct Pick {
    /// The instance, with this worker's connections to it.
    pub local: Rc<Local>,
    /// The right to make one attempt.
    pub permit: Permit,
    /// Which member it is, to be passed to further picks of this request.
    pub member: usize,
}

/// All services as one worker sees them.
#[derive(Debug)]
pub struct Upstreams {
    worker: WorkerId,
    settings: Rc<Settings>,
    /// Those that it has been asked for, by name.
    known: RefCell<HashMap<Arc<str>, Rc<LocalService>, foldhash::fast::FixedState>>,
    /// All of the newest snapshot.
    all: RefCell<ByName<Service>>,
    pruned: Cell<usize>,
}

/// A service as one worker sees it.
#[derive(Debug)]
pub struct LocalService {
    /// What all workers share of it.
    pub shared: Arc<Service>,
    worker: WorkerId,
    /// One per member, in their order.
    slots: Box<[Slot]>,
}

/// An instance in a service, as one worker sees it: its connections, and its credit for the next turn.
#[derive(Debug)]
struct Slot {
    local: Rc<Local>,
    weight: i64,
    credit: Cell<i64>,
}

impl Service {
    /// The same with another budget.
    pub fn with_budget(&self, budget: Arc<Budget>) -> Service {
        let member = |m: &Member| Member { instance: m.instance.clone(), weight: m.weight };
        Service {
            name: self.name.clone(),
            source: self.source.clone(),
            members: self.members.iter().map(member).collect(),
            departed: self.departed.clone(),
            state: self.state.clone(),
            budget,
            gone: self.gone,
        }
    }
}

impl Upstreams {
    /// A worker that knows no service yet.
    pub fn new(worker: WorkerId, settings: Settings) -> Upstreams {
        Upstreams {
            worker,
            settings: Rc::new(settings),
            known: RefCell::default(),
            all: RefCell::default(),
            pruned: Cell::new(0),
        }
    }

    /// Takes over a snapshot's services, at the price of what differs from the one before. What did not change stays untouched;
    /// connections of instances that stay, stay; idle ones of departed instances close now. A service that no request has asked this
    /// worker for waits until one does.
    pub fn follow(&self, services: &ByName<Service>) {
        let mut known = self.known.borrow_mut();
        let before = self.all.replace(services.clone());
        for difference in before.diff(services) {
            match difference {
                DiffItem::Add(..) => {}
                DiffItem::Update { new: (name, new), .. } => {
                    if let Some(mine) = known.get_mut(name.as_str()) {
                        *mine = LocalService::adopt(new, Some(mine), self.worker, &self.settings);
                    }
                }
                DiffItem::Remove(name, _) => {
                    let gone = known.remove(name.as_str());
                    gone.iter().flat_map(|gone| &gone.slots).for_each(|slot| slot.local.prune(Instant::now()));
                }
            }
        }
    }

    /// The service of a name.
    pub fn named(&self, name: &str) -> Option<Rc<LocalService>> {
        let known = self.known.borrow().get(name).cloned();
        known.or_else(|| self.first_asked(name))
    }

    /// The same, when this worker is asked for it for the first time.
    #[cold]
    fn first_asked(&self, name: &str) -> Option<Rc<LocalService>> {
        let all = self.all.borrow();
        let local = LocalService::adopt(all.get(name)?, None, self.worker, &self.settings);
        self.known.borrow_mut().insert(local.shared.name.shared(), local.clone());
        Some(local)
    }

    /// Closes connections that are too old. A few services at each tick, so that many cost no request its time.
    pub fn tick(&self) {
        const AT_ONCE: usize = 64;
        let known = self.known.borrow();
        let (now, start) = (Instant::now(), self.pruned.get());
        for service in known.values().skip(start).take(AT_ONCE) {
            service.slots.iter().for_each(|slot| slot.local.prune(now));
        }
        self.pruned.set(if start + AT_ONCE >= known.len() { 0 } else { start + AT_ONCE });
    }

    /// Idle connections to an instance on this worker.
    pub fn idle(&self, service: &str, member: usize) -> usize {
        self.named(service).and_then(|s| s.slots.get(member).map(|slot| slot.local.idle())).unwrap_or(0)
    }
}

impl LocalService {
    fn adopt(
        new: &Arc<Service>,
        old: Option<&LocalService>,
        worker: WorkerId,
        settings: &Rc<Settings>,
    ) -> Rc<LocalService> {
        let before = old.iter().flat_map(|old| &old.slots).map(|slot| (Arc::as_ptr(&slot.local.instance), slot));
        let before: HashMap<_, _, foldhash::fast::FixedState> = before.collect();
        let slot = |member: &Member| {
            let (weight, known) = (i64::from(member.weight), before.get(&Arc::as_ptr(&member.instance)));
            let fresh = || Local::new(member.instance.clone(), settings.clone());
            Slot {
                local: known.map_or_else(fresh, |known| known.local.clone()),
                weight,
                credit: Cell::new(known.map_or(0, |known| known.credit_at(weight))),
            }
        };
        let slots: Box<[Slot]> = new.members.iter().map(slot).collect();
        let now = Instant::now();
        for slot in old.iter().flat_map(|old| &old.slots).chain(&slots) {
            slot.local.prune(now);
        }
        // Each worker begins at another place of the order, so that many workers do not pick in step.
        let skipped = if old.is_none() { worker.0 % slots.len().max(1) } else { 0 };
        for _ in 0..skipped {
            next_turn(&slots, |_| true);
        }
        Rc::new(LocalService { shared: new.clone(), worker, slots })
    }

    /// Picks an instance that this request has not tried: round robin over those whose breakers let it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn pick(&self, tried: &[usize]) -> Result<Pick, Unavailable> {
        // Those that refused a permit; almost always none.
        let mut refused = Vec::new();
        let mut now = None;
        // A request that began with this snapshot is not lost when the next one has none of its instances: where all have
        // departed since, one of them is asked all the same.
        let mut late = false;
        loop {
            let eligible = |index: usize| {
                let instance = &self.slots[index].local.instance;
                let here = late || !instance.departed();
                here && !tried.contains(&index) && !refused.contains(&index) && instance.sound(&mut now)
            };
            let Some(member) = next_turn(&self.slots, eligible) else {
                let mut all = self.shared.members.iter().filter(|member| member.weight > 0);
                if late || !tried.is_empty() || !all.all(|member| member.instance.departed()) {
                    return Err(self.why_none(tried));
                }
                late = true;
                continue;
            };
            let local = &self.slots[member].local;
            if let Some(permit) = local.instance.acquire(self.worker) {
                return Ok(Pick { local: local.clone(), permit, member });
            }
            // Another worker took the last probe between our look and our grasp.
            refused.push(member);
        }
    }

    /// Whether a further attempt has somebody else to go to.
    pub fn has_other(&self, tried: &[usize]) -> bool {
        let mut now = None;
        self.shared.members.iter().enumerate().any(|(index, member)| {
            member.weight > 0 && !tried.contains(&index) && self.slots[index].local.instance.eligible(&mut now)
        })
    }

    /// A verdict against an instance. The failure's [`Weight`] decides whether it may trip the last one that is left.
    pub fn failed(&self, permit: Permit, failure: Failure, flight: &InFlight) {
        flight.failed();
        let instance = permit.instance().clone();
        let may_trip = || match failure.weight() {
            Weight::Failure => true,
            // It may trip the only instance that there is.
            Weight::Status => self.members().count() < 2 || self.others_eligible(&instance),
            Weight::Rate => self.others_eligible(&instance) && self.stands_out(&instance),
        };
        if permit.failed(failure, &self.shared.state, may_trip) {
            let view = instance.breaker.view();
            tracing::warn!(
                service = %self.shared.name, instance = %instance.key.address, why = %failure,
                next_probe_ms = view.next_probe.map(|d| d.as_millis() as u64), "tripped"
            );
        }
    }

    /// What went wrong with an instance after an attempt had its verdict: one more piece of evidence.
    pub fn failed_later(&self, failure: Failure, flight: &InFlight) {
        match flight.instance().sample(self.worker) {
            Some(permit) => self.failed(permit, failure, flight),
            None => flight.failed(),
        }
    }

    /// An instance asks to be left alone for a while; obeyed unless half of its service's instances are left alone
    /// already.
    pub fn pause(&self, instance: &Arc<Instance>, wait: Duration) {
        let now = Instant::now();
        let paused = self.members().filter(|member| member.instance.paused(&mut Some(now))).count();
        if paused < self.members().count() / 2 || instance.paused(&mut Some(now)) {
            instance.pause(now + wait);
        }
    }

    /// Those that may be picked at all.
    fn members(&self) -> impl Iterator<Item = &Member> {
        self.shared.members.iter().filter(|member| member.weight > 0)
    }

    fn others(&self, instance: &Arc<Instance>) -> impl Iterator<Item = &Arc<Instance>> {
        self.members().map(|member| &member.instance).filter(move |other| !Arc::ptr_eq(other, instance))
    }

    fn others_eligible(&self, instance: &Arc<Instance>) -> bool {
        let mut now = None;
        self.others(instance).any(|other| other.eligible(&mut now))
    }

    /// Whether nothing of an instance's went well lately, and it fails at least twice as often as its peers do: what a client
    /// provokes, it provokes everywhere, and others are answered meanwhile.
    fn stands_out(&self, instance: &Arc<Instance>) -> bool {
        let mut shares: Vec<_> = self.others(instance).filter_map(|other| other.evidence.share()).collect();
        shares.sort_by(f64::total_cmp);
        // Where no peer was asked, nothing can be compared.
        let median = shares.get(shares.len() / 2);
        median.zip(instance.evidence.share()).is_some_and(|(median, own)| own >= (2.0 * median).max(1.0))
    }

    fn why_none(&self, tried: &[usize]) -> Unavailable {
        if !tried.is_empty() {
            return Unavailable::AllTried;
        }
        let now = Instant::now();
        let waits = self.members().filter(|member| !member.instance.departed());
        match waits.map(|member| member.instance.eligible_in(now)).min() {
            Some(wait) => Unavailable::AllTripped(wait),
            None => Unavailable::NoInstances,
        }
    }
}

impl Slot {
    /// Its credit under another weight: no more than that weight could have earned, no less than the larger of both could owe.
    fn credit_at(&self, weight: i64) -> i64 {
        if self.weight == 0 { 0 } else { self.credit.get().clamp(-weight.max(self.weight), weight) }
    }
}

/// Whose turn is next among the eligible: smooth weighted round robin. Weight 0 never is.
///
/// nginx's algorithm: each eligible instance gains its weight, the richest is picked and pays what all gained. Those not
/// eligible neither gain nor pay, so that a tripped one's share is spread evenly and it comes back without a burst. No allocation,
/// one pass.
fn next_turn(slots: &[Slot], mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut total = 0;
    for (index, slot) in slots.iter().enumerate() {
        if slot.weight == 0 || !eligible(index) {
            continue;
        }
        total += slot.weight;
        let credit = slot.credit.get() + slot.weight;
        slot.credit.set(credit);
        if best.is_none_or(|(_, richest)| credit > richest) {
            best = Some((index, credit));
        }
    }
    let (index, richest) = best?;
    slots[index].credit.set(richest - total);
    Some(index)
}

#[cfg(test)]
mod tests;
