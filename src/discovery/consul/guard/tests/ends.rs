//! Scenarios of how suspects end.

use super::scenarios::{FORGETFUL, run};
use super::*;

#[test]
fn a_suspect_ends_when_it_reappears_or_refuses_a_connection() {
    run(
        HOLD,
        |world| world.with(0..4, 5),
        &[
            (
                "all reappear",
                |w| {
                    w.shrink(0..4, 0);
                    w.shrink(0..4, 5);
                },
                (0, 0),
            ),
            (
                "one refuses a connection",
                |w| {
                    w.shrink(0..4, 0);
                    w.guard.refused(&instance("s00", 0).key, w.now);
                },
                (19, 1),
            ),
            (
                "what refused does not come back with the agent's memory",
                |w| {
                    w.shrink(0..4, 0);
                    w.guard.refused(&instance("s00", 0).key, w.now);
                    w.evidence = FORGETFUL;
                    w.shrink(0..4, 0);
                },
                (19, 1),
            ),
            (
                "it is no suspect that refuses a connection",
                |w| {
                    w.guard.refused(&instance("s00", 0).key, w.now);
                },
                (0, 0),
            ),
        ],
    );
}

#[test]
fn an_operator_ends_suspects_and_what_vanishes_then_is_judged_anew() {
    run(
        HOLD,
        |world| world.with(0..4, 5),
        &[
            (
                "an operator accepts one service",
                |w| {
                    w.shrink(0..4, 0);
                    assert_eq!(w.guard.accept(Some(&name("s00")), w.now), 5);
                },
                (15, 5),
            ),
            (
                "an operator accepts all, and one more vanishes",
                |w| {
                    w.shrink(0..4, 3);
                    assert_eq!(w.guard.accept(None, w.now), 8);
                    w.scale("s00", 2);
                },
                (0, 9),
            ),
            (
                "an operator accepts all, and a crowd vanishes",
                |w| {
                    w.shrink(0..4, 3);
                    assert_eq!(w.guard.accept(None, w.now), 8);
                    w.shrink(0..4, 1);
                },
                (8, 8),
            ),
        ],
    );
}

#[test]
fn suspects_are_held_for_so_long() {
    run(
        HOLD,
        |world| world.with(0..4, 5),
        &[
            (
                "599 s pass",
                |w| {
                    w.shrink(0..4, 3);
                    w.pass(599);
                },
                (8, 0),
            ),
            (
                "600 s pass",
                |w| {
                    w.shrink(0..4, 3);
                    w.pass(600);
                },
                (0, 8),
            ),
        ],
    );
    run(Duration::ZERO, |world| world.with(0..4, 5), &[("nothing is to be held", |w| w.shrink(0..4, 0), (0, 20))]);
    run(
        Duration::from_secs(10),
        |world| world.with(0..4, 5),
        &[(
            "what vanished longer ago than it may be held does not come back",
            |w| {
                w.scale("s00", 3);
                w.pass(11);
                w.shrink(1..4, 3);
            },
            (6, 2),
        )],
    );
}

#[test]
fn what_reappears_with_another_weight_is_confirmed_with_it() {
    let mut world = World::new().with(0..4, 5);
    world.shrink(0..4, 0);
    world.put("s00", vec![Endpoint { weight: 7, ..instance("s00", 0) }]);
    let shown = world.shown("s00");
    assert!(shown[0].weight == 7 && shown[0].suspect.is_none() && shown[1].suspect.is_some(), "{shown:?}");
}
