//! Fairness, by property.

use proptest::prelude::*;

use super::*;
use crate::catalog::{Key, ServiceName};
use crate::config;

fn instances(count: usize) -> Vec<Arc<Instance>> {
    let policy = config::for_tests().breaker;
    let key = |port: usize| Key {
        datacenter: "".into(),
        partition: "".into(),
        namespace: "".into(),
        peer: "".into(),
        service: ServiceName::new("x").expect("a name"),
        address: ([127, 0, 0, 1], port as u16 + 1).into(),
    };
    (0..count).map(|port| Arc::new(Instance::new(key(port), &policy, 1))).collect()
}

fn balancer(worker: usize, instances: &[Arc<Instance>], weights: &[u32]) -> Balancer {
    Balancer::new(WorkerId(worker), instances.iter().zip(weights.iter().copied()))
}

fn counts(balancer: &mut Balancer, picks: usize, eligible: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut counts = vec![0; balancer.slots.len()];
    for _ in 0..picks {
        if let Some(index) = balancer.pick(&eligible) {
            counts[index] += 1;
        }
    }
    counts
}

#[test]
fn weight_zero_and_the_ineligible_are_never_picked_and_nobody_means_none() {
    let all = instances(3);
    let mut balancer = balancer(0, &all, &[1, 0, 1]);
    assert_eq!(counts(&mut balancer, 10, |index| index != 2), [10, 0, 0]);
    assert_eq!(balancer.pick(|_| false), None);
}

#[test]
fn a_tripped_instances_share_is_spread_evenly_and_it_comes_back_without_a_burst() {
    let all = instances(4);
    let mut balancer = balancer(0, &all, &[1, 1, 1, 1]);
    counts(&mut balancer, 7, |_| true);
    let tripped = counts(&mut balancer, 300, |index| index != 1);
    assert!([0, 2, 3].iter().all(|&other| (99..=101).contains(&tripped[other])) && tripped[1] == 0, "{tripped:?}");
    let after = counts(&mut balancer, 40, |_| true);
    assert!(after.iter().all(|count| (9..=11).contains(count)), "{after:?}");
}

#[test]
fn who_stays_keeps_its_turn_when_the_set_changes() {
    let all = instances(3);
    let mut two = balancer(0, &all[..2], &[1, 1]);
    assert_eq!(two.pick(|_| true), Some(0));
    let mut three = two.rebuilt(all.iter().zip([1, 1, 1]));
    assert_eq!(three.pick(|_| true), Some(1), "the one whose turn it was");
}

proptest! {
    #[test]
    fn within_a_worker_each_stays_within_one_of_its_share_at_equal_weights(count in 1usize..12, picks in 1usize..200, worker in 0usize..5) {
        let all = instances(count);
        let mut balancer = balancer(worker, &all, &vec![1; count]);
        for picked in counts(&mut balancer, picks, |_| true) {
            prop_assert!((picked as f64 - picks as f64 / count as f64).abs() <= 1.0);
        }
    }

    #[test]
    fn at_any_weights_each_stays_within_two_of_its_share(weights in proptest::collection::vec(1u32..20, 1..8), picks in 1usize..300) {
        let all = instances(weights.len());
        let total: u32 = weights.iter().sum();
        let mut balancer = balancer(0, &all, &weights);
        for (picked, weight) in counts(&mut balancer, picks, |_| true).into_iter().zip(weights) {
            let share = picks as f64 * f64::from(weight) / f64::from(total);
            prop_assert!((picked as f64 - share).abs() <= 2.0, "{} of {}", picked, share);
        }
    }

    #[test]
    fn over_four_workers_each_stays_within_the_number_of_workers(count in 1usize..9, picks in 1usize..100) {
        let all = instances(count);
        let mut sums = vec![0; count];
        for worker in 0..4 {
            let mut balancer = balancer(worker, &all, &vec![1; count]);
            for (sum, picked) in sums.iter_mut().zip(counts(&mut balancer, picks, |_| true)) {
                *sum += picked;
            }
        }
        for sum in sums {
            prop_assert!((sum as f64 - 4.0 * picks as f64 / count as f64).abs() <= 4.0);
        }
    }
}
