//! Smooth weighted round robin over the eligible instances of a service, as one worker does it.
//!
//! nginx's algorithm: each eligible instance gains its weight, the richest is picked and pays what all gained. Those not
//! eligible neither gain nor pay, so that a tripped one's share is spread evenly and it comes back without a burst.

use std::collections::HashMap;
use std::sync::Arc;

use super::instance::Instance;
use crate::worker::WorkerId;

/// One worker's turn order for one service.
#[derive(Debug)]
pub struct Balancer {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    instance: Arc<Instance>,
    weight: i64,
    current: i64,
}

impl Balancer {
    /// A fresh order; each worker begins at another place of it, so that many workers do not pick in step.
    pub fn new<'a>(worker: WorkerId, members: impl Iterator<Item = (&'a Arc<Instance>, u32)>) -> Balancer {
        let slot = |(instance, weight): (&Arc<Instance>, u32)| Slot {
            instance: instance.clone(),
            weight: i64::from(weight),
            current: 0,
        };
        let mut balancer = Balancer { slots: members.map(slot).collect() };
        let count = balancer.slots.len().max(1);
        for _ in 0..worker.0 % count {
            balancer.pick(|_| true);
        }
        balancer
    }

    /// The order for a changed set: who stays, keeps its place; who joins, begins in the middle.
    pub fn rebuilt<'a>(&self, members: impl Iterator<Item = (&'a Arc<Instance>, u32)>) -> Balancer {
        let before = self.slots.iter().map(|slot| (Arc::as_ptr(&slot.instance), slot));
        let before: HashMap<_, _, foldhash::fast::FixedState> = before.collect();
        let current = |instance: &Arc<Instance>, weight: u32| {
            let known = before.get(&Arc::as_ptr(instance));
            // A weight that changed since keeps the credit within what the new one could have earned.
            let bound = i64::from(weight);
            known.filter(|slot| slot.weight > 0).map_or(0, |slot| slot.current.clamp(-bound.max(slot.weight), bound))
        };
        let slot = |(instance, weight): (&Arc<Instance>, u32)| Slot {
            instance: instance.clone(),
            weight: i64::from(weight),
            current: current(instance, weight),
        };
        Balancer { slots: members.map(slot).collect() }
    }

    /// The next of the eligible, by index; weight 0 never is. No allocation, one pass.
    pub fn pick(&mut self, mut eligible: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.weight == 0 || !eligible(index) {
                continue;
            }
            total += slot.weight;
            slot.current += slot.weight;
            if best.is_none_or(|(_, richest)| slot.current > richest) {
                best = Some((index, slot.current));
            }
        }
        let (index, _) = best?;
        self.slots[index].current -= total;
        Some(index)
    }
}

#[cfg(test)]
mod tests;
