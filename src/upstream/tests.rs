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

/// Services of these names, each with one instance of its own.
fn services(names: &[&str], instances: &[Arc<Instance>]) -> ByName<Service> {
    let service = |(name, instance): (&&str, &Arc<Instance>)| {
        let shared = local(0, std::slice::from_ref(instance), &[1], None).shared.clone();
        let name = ServiceName::new(name).expect("a name");
        let members = Box::new([Member { instance: instance.clone(), weight: 1 }]);
        (name.clone(), Arc::new(Service { name, members, ..shared.with_budget(shared.budget.clone()) }))
    };
    names.iter().zip(instances).map(service).collect()
}

#[test]
fn a_worker_knows_the_services_that_it_was_asked_for_and_follows_those_alone() {
    let instances = instances(3);
    let settings = Settings { connector: wire::Connector::Tcp, idle: 1, idle_age: Duration::ZERO };
    let upstreams = Upstreams::new(WorkerId(0), settings);
    let known = || upstreams.known.borrow().len();
    let mut all = services(&["a", "b", "c"], &instances);
    upstreams.follow(&all);
    assert_eq!(known(), 0);
    let (a, b) = (upstreams.named("a").expect("it is there"), upstreams.named("b").expect("it is there"));
    assert!(Rc::ptr_eq(&a, &upstreams.named("a").expect("it is there")));
    assert!(upstreams.named("d").is_none());
    assert_eq!(known(), 2);
    // One that it knows and one that it does not know change, one goes, one comes.
    let changed = services(&["b", "c", "d"], &[instances[1].clone(), instances[2].clone(), instances[0].clone()]);
    all = changed.union(all.without("a"));
    let before = all.get("c").cloned();
    upstreams.follow(&all);
    assert_eq!(known(), 1);
    assert!(upstreams.named("a").is_none());
    let now = upstreams.named("b").expect("it is there");
    assert!(!Rc::ptr_eq(&b, &now) && Rc::ptr_eq(&b.slots[0].local, &now.slots[0].local), "its connections stay");
    assert!(before.is_some_and(|c| Arc::ptr_eq(&c, &upstreams.named("c").expect("it is there").shared)));
    assert!(upstreams.named("d").is_some());
    upstreams.follow(&ByName::new());
    assert!(known() == 0 && ["b", "c", "d"].iter().all(|name| upstreams.named(name).is_none()));
}
