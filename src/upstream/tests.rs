//! Whose turn it is: fairness, by property.

use proptest::prelude::*;

use super::*;
use crate::catalog::Key;
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

/// A service of these instances, as a worker sees it.
fn local(worker: usize, instances: &[Arc<Instance>], weights: &[u32], old: Option<&LocalService>) -> Rc<LocalService> {
    let member = |(instance, &weight): (&Arc<Instance>, &u32)| Member { instance: instance.clone(), weight };
    let name = ServiceName::new("x").expect("a name");
    let source = catalog::Service { name: name.clone(), provider: "file", endpoints: vec![], unroutable: vec![] };
    let service = Service {
        name,
        slot: 0,
        source: Arc::new(source),
        members: instances.iter().zip(weights).map(member).collect(),
        departed: Box::default(),
        state: Arc::new(ServiceState::new(1)),
        budget: Arc::new(Budget::new(&config::for_tests().policy.retry.budget, 1)),
        gone: None,
    };
    let settings = Settings { connector: wire::Connector::Tcp, idle: 1, idle_age: Duration::ZERO };
    LocalService::adopt(&Arc::new(service), old, WorkerId(worker), &Rc::new(settings))
}

fn counts(service: &LocalService, picks: usize, eligible: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut counts = vec![0; service.slots.len()];
    for _ in 0..picks {
        if let Some(index) = next_turn(&service.slots, &eligible) {
            counts[index] += 1;
        }
    }
    counts
}

#[test]
fn weight_zero_and_the_ineligible_are_never_picked_and_nobody_means_none() {
    let all = instances(3);
    let balancer = local(0, &all, &[1, 0, 1], None);
    assert_eq!(counts(&balancer, 10, |index| index != 2), [10, 0, 0]);
    assert_eq!(next_turn(&balancer.slots, |_| false), None);
}

#[test]
fn a_tripped_instances_share_is_spread_evenly_and_it_comes_back_without_a_burst() {
    let all = instances(4);
    let balancer = local(0, &all, &[1, 1, 1, 1], None);
    counts(&balancer, 7, |_| true);
    let tripped = counts(&balancer, 300, |index| index != 1);
    assert!([0, 2, 3].iter().all(|&other| (99..=101).contains(&tripped[other])) && tripped[1] == 0, "{tripped:?}");
    let after = counts(&balancer, 40, |_| true);
    assert!(after.iter().all(|count| (9..=11).contains(count)), "{after:?}");
}

#[test]
fn who_stays_keeps_its_turn_when_the_set_changes() {
    let all = instances(3);
    let two = local(0, &all[..2], &[1, 1], None);
    assert_eq!(next_turn(&two.slots, |_| true), Some(0));
    let three = local(0, &all, &[1, 1, 1], Some(&two));
    assert_eq!(next_turn(&three.slots, |_| true), Some(1), "the one whose turn it was");
}

proptest! {
    #[test]
    fn within_a_worker_each_stays_within_one_of_its_share_at_equal_weights(count in 1usize..12, picks in 1usize..200, worker in 0usize..5) {
        let all = instances(count);
        let balancer = local(worker, &all, &vec![1; count], None);
        for picked in counts(&balancer, picks, |_| true) {
            prop_assert!((picked as f64 - picks as f64 / count as f64).abs() <= 1.0);
        }
    }

    #[test]
    fn at_any_weights_each_stays_within_two_of_its_share(weights in proptest::collection::vec(1u32..20, 1..8), picks in 1usize..300) {
        let all = instances(weights.len());
        let total: u32 = weights.iter().sum();
        let balancer = local(0, &all, &weights, None);
        for (picked, weight) in counts(&balancer, picks, |_| true).into_iter().zip(weights) {
            let share = picks as f64 * f64::from(weight) / f64::from(total);
            prop_assert!((picked as f64 - share).abs() <= 2.0, "{} of {}", picked, share);
        }
    }

    #[test]
    fn over_four_workers_each_stays_within_the_number_of_workers(count in 1usize..9, picks in 1usize..100) {
        let all = instances(count);
        let mut sums = vec![0; count];
        for worker in 0..4 {
            let balancer = local(worker, &all, &vec![1; count], None);
            for (sum, picked) in sums.iter_mut().zip(counts(&balancer, picks, |_| true)) {
                *sum += picked;
            }
        }
        for sum in sums {
            prop_assert!((sum as f64 - 4.0 * picks as f64 / count as f64).abs() <= 4.0);
        }
    }
}

/// Services of these names, each with one instance, in slots of this order.
fn services(names: &[Option<&str>], instances: &[Arc<Instance>]) -> Vec<Option<Arc<Service>>> {
    let service = |(slot, name): (usize, &Option<&str>)| {
        let shared = local(0, instances, &[1], None).shared.clone();
        let name = ServiceName::new((*name)?).expect("a name");
        let (source, members) =
            (shared.source.clone(), Box::new([Member { instance: instances[0].clone(), weight: 1 }]));
        let (state, budget) = (shared.state.clone(), shared.budget.clone());
        Some(Arc::new(Service { name, slot, source, members, departed: Box::default(), state, budget, gone: None }))
    };
    names.iter().enumerate().map(service).collect()
}

#[test]
fn a_service_is_found_by_its_name_also_when_it_has_changed_its_slot() {
    let instances = instances(1);
    let settings = Settings { connector: wire::Connector::Tcp, idle: 1, idle_age: Duration::ZERO };
    let upstreams = Upstreams::new(WorkerId(0), settings);
    let slot = |name| upstreams.named(name).map(|service| service.shared.slot);
    for (names, at) in [
        ([Some("a"), Some("b"), None], [Some(0), Some(1), None]),
        ([Some("b"), Some("a"), None], [Some(1), Some(0), None]),
        ([None, Some("c"), Some("a")], [Some(2), None, Some(1)]),
        ([None, None, None], [None; 3]),
    ] {
        upstreams.follow(&services(&names, &instances));
        assert_eq!(["a", "b", "c"].map(slot), at, "{names:?}");
    }
}
