//! Scenarios of other crowds than the mass: memory, eyes, nodes, gossip.

use super::scenarios::{FORGETFUL, run};
use super::*;

const FILTERED: Evidence = Evidence { forgetful: false, filtered: true };

#[test]
fn what_vanishes_with_the_agents_memory_is_held_whatever_its_size() {
    run(
        HOLD,
        |world| world.with(0..9, 9),
        &[
            (
                "one instance",
                |w| {
                    w.evidence = FORGETFUL;
                    w.scale("s00", 8);
                },
                (1, 0),
            ),
            (
                "one, 29 s after such an answer",
                |w| {
                    w.evidence = FORGETFUL;
                    w.scale("s01", 9);
                    w.evidence = Evidence::default();
                    w.pass(29);
                    w.scale("s00", 8);
                },
                (1, 0),
            ),
            (
                "one, 31 s after such an answer",
                |w| {
                    w.evidence = FORGETFUL;
                    w.scale("s01", 9);
                    w.evidence = Evidence::default();
                    w.pass(31);
                    w.scale("s00", 8);
                },
                (0, 1),
            ),
            (
                "one 29 s before such an answer comes back, one 31 s before does not",
                |w| {
                    w.scale("s01", 8);
                    w.pass(2);
                    w.scale("s00", 8);
                    w.pass(29);
                    w.evidence = FORGETFUL;
                    w.scale("s02", 9);
                },
                (1, 1),
            ),
            (
                "everything, and half of it returns",
                |w| {
                    w.evidence = FORGETFUL;
                    w.shrink(0..9, 0);
                    w.evidence = Evidence::default();
                    w.pass(20);
                    w.shrink(0..9, 4);
                },
                (45, 0),
            ),
            (
                "everything, half of it returns, and ten minutes pass",
                |w| {
                    w.evidence = FORGETFUL;
                    w.shrink(0..9, 0);
                    w.evidence = Evidence::default();
                    w.shrink(0..9, 4);
                    w.pass(600);
                },
                (0, 45),
            ),
        ],
    );
}

#[test]
fn what_vanishes_behind_a_token_without_eyes_is_held_whatever_its_size() {
    run(
        HOLD,
        |world| world.with(0..9, 9),
        &[
            (
                "one, while blind",
                |w| {
                    w.blind = true;
                    w.scale("s00", 8);
                },
                (1, 0),
            ),
            (
                "all, while blind, for an hour",
                |w| {
                    w.blind = true;
                    w.shrink(0..9, 0);
                    w.pass(3_600);
                },
                (81, 0),
            ),
            (
                "one 20 s before it was known that the token is blind",
                |w| {
                    w.scale("s00", 8);
                    w.pass(20);
                    w.blind = true;
                    w.scale("s01", 9);
                },
                (1, 0),
            ),
            (
                "one after the token sees again",
                |w| {
                    w.blind = true;
                    w.scale("s01", 9);
                    w.blind = false;
                    w.scale("s00", 8);
                },
                (0, 1),
            ),
            (
                "one in an answer that was filtered, another one in the next answer",
                |w| {
                    w.evidence = FILTERED;
                    w.scale("s00", 8);
                    w.evidence = Evidence::default();
                    w.scale("s01", 8);
                },
                (1, 1),
            ),
        ],
    );
}

/// A node of its own carries one instance each of a, b and c; another one, one each of d and e.
fn nodes(world: World) -> World {
    let mut world = world.with(0..9, 9);
    for (service, node) in [("a", "n1"), ("b", "n1"), ("c", "n1"), ("d", "n2"), ("e", "n2")] {
        world.answer(vec![(service, vec![on_node(service, 0, node)])], None);
    }
    world
}

#[test]
fn a_node_that_loses_everything_while_it_stays_a_member_is_a_crowd() {
    fn lose(world: &mut World, services: &[&'static str]) {
        world.answer(services.iter().map(|&service| (service, Vec::new())).collect(), None);
    }
    run(
        HOLD,
        nodes,
        &[
            (
                "it stays a member",
                |w| {
                    lose(w, &["d", "e"]);
                    w.guard.member("n2", true, w.now);
                },
                (2, 0),
            ),
            (
                "it left",
                |w| {
                    lose(w, &["d", "e"]);
                    w.guard.member("n2", false, w.now);
                },
                (0, 2),
            ),
            ("nobody knows yet", |w| lose(w, &["d", "e"]), (0, 2)),
            (
                "it still carries one",
                |w| {
                    lose(w, &["a", "b"]);
                    w.guard.member("n1", true, w.now);
                },
                (0, 2),
            ),
            (
                "it lost one long before",
                |w| {
                    lose(w, &["d"]);
                    w.pass(31);
                    lose(w, &["e"]);
                    w.guard.member("n2", true, w.now);
                },
                (0, 2),
            ),
            (
                "it lost one shortly before",
                |w| {
                    lose(w, &["d"]);
                    w.pass(29);
                    lose(w, &["e"]);
                    w.guard.member("n2", true, w.now);
                },
                (2, 0),
            ),
            (
                "services register and deregister there one after the other",
                |w| {
                    for service in ["f", "g", "h", "i"] {
                        w.put(service, vec![on_node(service, 0, "n3")]);
                        w.put(service, Vec::new());
                    }
                    w.guard.member("n3", true, w.now);
                },
                (0, 4),
            ),
        ],
    );
}

#[test]
fn only_what_could_be_picked_counts_and_is_held() {
    run(
        HOLD,
        |world| world.with(0..4, 5),
        &[
            (
                "one instance that gossip loses alone is obeyed",
                |w| {
                    w.put(
                        "s00",
                        (0..5).map(|n| if n == 0 { gossip(instance("s00", n)) } else { instance("s00", n) }).collect(),
                    );
                },
                (0, 0),
            ),
            (
                "all own checks fail",
                |w| {
                    for service in ["s00", "s01", "s02"] {
                        w.put(service, (0..5).map(|n| critical(instance(service, n), "own", false)).collect());
                    }
                },
                (0, 0),
            ),
            (
                "what is critical anyway vanishes",
                |w| {
                    for service in ["s00", "s01", "s02"] {
                        w.put(service, (0..5).map(|n| critical(instance(service, n), "own", false)).collect());
                    }
                    w.shrink(0..3, 0);
                },
                (0, 15),
            ),
            (
                "another check of the node fails everywhere",
                |w| {
                    for service in ["s00", "s01", "s02"] {
                        w.put(service, (0..5).map(|n| critical(instance(service, n), "disk", true)).collect());
                    }
                },
                (0, 0),
            ),
            (
                "gossip loses all, and they vanish with the agent's memory",
                |w| {
                    w.put("s00", (0..5).map(|n| gossip(instance("s00", n))).collect());
                    w.evidence = FORGETFUL;
                    w.scale("s00", 0);
                },
                (5, 0),
            ),
        ],
    );
}
