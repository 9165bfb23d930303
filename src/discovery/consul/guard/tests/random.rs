//! Whatever happens: no endpoint is lost without a record, and none is held for ever.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A service has the instances of this mask, of which those of the other mask are lost by gossip.
    Put(u8, u8, u8),
    /// Only the services of this mask are left, in one answer.
    List(u8),
    Pass(u64),
    Forgetful(bool),
    Filtered(bool),
    Blind(bool),
    Refused(u8, u8),
    Accept(Option<u8>),
    Member(u8, bool),
    /// Gossip has lost the nodes of this mask.
    Nodes(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_u8, any::<u8>(), any::<u8>()).prop_map(|(s, mask, lost)| Step::Put(s, mask, lost & lost.rotate_left(3))),
        4 => any::<u8>().prop_map(Step::List),
        3 => (0..40_u64).prop_map(Step::Pass),
        1 => (0..700_u64).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::Forgetful),
        1 => any::<bool>().prop_map(Step::Filtered),
        1 => any::<bool>().prop_map(Step::Blind),
        2 => (0..8_u8, 0..8_u8).prop_map(|(s, n)| Step::Refused(s, n)),
        1 => prop::option::of(0..8_u8).prop_map(Step::Accept),
        2 => (0..8_u8, any::<bool>()).prop_map(|(n, member)| Step::Member(n, member)),
        3 => any::<u8>().prop_map(Step::Nodes),
    ]
}

fn service(n: u8) -> String {
    format!("s{n}")
}

fn endpoints(of: u8, mask: u8, lost: u8) -> Vec<Endpoint> {
    let one = |n: u8| {
        let endpoint = on_node(&service(of), n.into(), &format!("n{n}"));
        if lost & (1 << n) == 0 { endpoint } else { gossip(endpoint) }
    };
    (0..8).filter(|n| mask & (1 << n) != 0).map(one).collect()
}

impl Step {
    fn take(&self, world: &mut World) {
        match *self {
            Step::Put(of, mask, lost) => world.put(&service(of), endpoints(of, mask, lost)),
            Step::List(mask) => {
                let left: Vec<String> = (0..8).filter(|n| mask & (1 << n) == 0).map(service).collect();
                world.answer(left.iter().map(|service| (service.as_str(), Vec::new())).collect(), None);
            }
            Step::Pass(seconds) => world.pass(seconds),
            Step::Forgetful(is) => world.evidence.forgetful = is,
            Step::Filtered(is) => world.evidence.filtered = is,
            Step::Blind(is) => world.blind = is,
            Step::Refused(of, n) => world.guard.refused(&on_node(&service(of), n.into(), "").key, world.now),
            Step::Accept(of) => drop(world.guard.accept(of.map(|of| name(&service(of))).as_ref(), world.now)),
            Step::Member(n, is) => world.guard.member(&format!("n{n}"), is, world.now),
            Step::Nodes(mask) => {
                world.lost_nodes((0..8).filter(|n| mask & (1 << n) != 0).map(|n| format!("n{n}")));
            }
        }
    }
}

/// All that is shown, and whether it is suspect.
fn shown(world: &World) -> BTreeMap<Key, bool> {
    let all = (0..8).flat_map(|n| world.shown(&service(n)));
    all.map(|endpoint| (endpoint.key, endpoint.suspect.is_some())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_endpoint_is_lost_without_a_record_and_none_is_held_for_ever(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            let before = shown(&world);
            step.take(&mut world);
            let (suspects, _) = world.counts();
            let after = shown(&world);
            for (key, suspect) in before.iter().filter(|(key, _)| !after.contains_key(key)) {
                // What is no longer shown was obeyed, which is on record, or was a suspect that was let go.
                let on_record = world.guard.ledger.all().any(|(_, loss)| loss.endpoint.key == *key && !loss.held);
                let let_go = *suspect && matches!(step, Step::Refused(..) | Step::Accept(_) | Step::Pass(_));
                prop_assert!(on_record || let_go, "{key:?} by {step:?}");
            }
            // A suspect is never one of those that the agent confirms.
            for confirmed in world.services.values().flatten().filter(|endpoint| endpoint.available()) {
                prop_assert!(!after[&confirmed.key], "{confirmed:?}");
            }
            prop_assert!(suspects == 0 || world.guard.due().is_some());
            let due_at_most = world.now.instant + HOLD;
            prop_assert!(world.guard.due().is_none_or(|due| due <= due_at_most));
        }
        world.guard.sight(false, world.now);
        world.pass(HOLD.as_secs() + WINDOW.as_secs());
        world.evidence = Evidence::default();
        world.blind = false;
        world.put("end", Vec::new());
        prop_assert_eq!(world.counts().0, 0);
        prop_assert_eq!(world.guard.ledger.all().count(), 0);
        prop_assert!(world.guard.doubts().next().is_none() && world.guard.notes().is_empty());
    }
}
