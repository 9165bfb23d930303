//! Scenarios in words: what happens, and then how many endpoints are suspects and how many are gone.

use super::*;

pub(super) type Scenario = (&'static str, fn(&mut World), (usize, usize));

pub(super) fn run(hold: Duration, start: fn(World) -> World, scenarios: &[Scenario]) {
    for (words, happens, expected) in scenarios {
        let mut world = start(World::holding(hold));
        world.pass(100);
        happens(&mut world);
        assert_eq!(world.counts(), *expected, "{words}: {:?}", world.guard.notes());
        // Nothing is held for ever.
        world.evidence = Evidence::default();
        world.blind = false;
        world.put("after", Vec::new());
        world.pass(3_600);
        assert_eq!((world.counts().0, world.guard.due()), (0, None), "{words}");
    }
}

/// Lets these services lose two instances each, one after the other, with a pause of so many seconds between them.
fn one_by_one(world: &mut World, pause: u64) {
    for service in ["s00", "s01", "s02", "s03"] {
        world.scale(service, 3);
        world.pass(pause);
    }
}

pub(super) const FORGETFUL: Evidence = Evidence { forgetful: true, filtered: false };

#[test]
fn a_crowd_is_more_than_a_share_of_several_services() {
    run(
        HOLD,
        |world| world.with(0..4, 5),
        &[
            ("6 of 20 are 30 %", |w| w.shrink(0..3, 3), (0, 6)),
            ("8 of 20 are more", |w| w.shrink(0..4, 3), (8, 0)),
            ("all of everything", |w| w.shrink(0..4, 0), (20, 0)),
            ("all of one service", |w| w.scale("s00", 0), (0, 5)),
            ("8 of 20 within 15 s, service by service", |w| one_by_one(w, 5), (8, 0)),
            ("8 of 20, service by service, never more than 4 within 30 s", |w| one_by_one(w, 16), (0, 8)),
            (
                "one more within 30 s joins the crowd",
                |w| {
                    w.shrink(0..4, 3);
                    w.pass(29);
                    w.scale("s00", 2);
                },
                (9, 0),
            ),
            (
                "one more later is obeyed",
                |w| {
                    w.shrink(0..4, 3);
                    w.pass(31);
                    w.scale("s00", 2);
                },
                (8, 1),
            ),
            (
                "the next crowd later is held, too",
                |w| {
                    w.shrink(0..4, 3);
                    w.pass(31);
                    w.shrink(0..4, 0);
                },
                (20, 0),
            ),
        ],
    );
}

#[test]
fn a_crowd_of_instances_is_five_at_least() {
    run(
        HOLD,
        |world| world.with(0..2, 5),
        &[
            ("4 of 10", |w| w.shrink(0..2, 3), (0, 4)),
            ("6 of 10", |w| w.shrink(0..2, 2), (6, 0)),
            ("5 of 10, of one service", |w| w.scale("s00", 0), (0, 5)),
            (
                "5 of 10, of two services",
                |w| {
                    w.scale("s00", 1);
                    w.scale("s01", 4);
                },
                (5, 0),
            ),
        ],
    );
}

#[test]
fn a_crowd_of_services_is_three_at_least_and_more_than_a_fifth() {
    run(
        HOLD,
        |world| world.with(0..12, 10).with(12..15, 1),
        &[("3 of 15 services are 20 %", |w| w.shrink(12..15, 0), (0, 3))],
    );
    run(
        HOLD,
        |world| world.with(0..11, 10).with(12..15, 1),
        &[("3 of 14 services are more", |w| w.shrink(12..15, 0), (3, 0)), ("2 of 14", |w| w.shrink(13..15, 0), (0, 2))],
    );
    run(
        HOLD,
        |world| world.with(0..2, 10).with(13..15, 1),
        &[("2 of 4 services are a half, but two", |w| w.shrink(13..15, 0), (0, 2))],
    );
    run(
        HOLD,
        |world| world.with(0..11, 10).with(12..15, 2),
        &[("each of three services keeps one instance", |w| w.shrink(12..15, 1), (0, 3))],
    );
}

#[test]
fn what_comes_alone_goes_at_once() {
    run(
        HOLD,
        |world| world.with(0..2, 20).with(2..3, 1),
        &[
            ("scale-in from 20 to 1", |w| w.scale("s00", 1), (0, 19)),
            ("scale-in from 20 to 1, step by step", |w| (1..20).rev().for_each(|n| w.scale("s00", n)), (0, 19)),
            ("the last instance of a service", |w| w.scale("s02", 0), (0, 1)),
        ],
    );
}

#[test]
fn sums_count_only_what_existed_together() {
    run(
        HOLD,
        |world| world.with(0..2, 2),
        &[
            (
                "30 services register and deregister alone, one after the other",
                |w| {
                    for n in 0..30 {
                        let service = format!("job-{n}");
                        w.scale(&service, 1);
                        w.pass(1);
                        w.scale(&service, 0);
                    }
                },
                (0, 30),
            ),
            (
                "each registers when the one before deregisters",
                |w| {
                    for n in 0..30 {
                        w.scale(&format!("job-{}", n + 1), 1);
                        w.scale(&format!("job-{n}"), 0);
                    }
                },
                (0, 29),
            ),
            (
                "ten register one after the other, and go together",
                |w| {
                    for n in 0..10 {
                        w.scale(&format!("job-{n}"), 1);
                        w.pass(1);
                    }
                    w.answer((0..10).map(|n| [format!("job-{n}")]).map(|[s]| (&*s.leak(), Vec::new())).collect(), None);
                },
                (10, 0),
            ),
            (
                "ten exist together, but so do a hundred others",
                |w| {
                    for n in 0..110 {
                        w.scale(&format!("job-{n}"), 1);
                    }
                    (0..10).for_each(|n| w.scale(&format!("job-{n}"), 0));
                },
                (0, 10),
            ),
            (
                "an instance that comes and goes is one loss",
                |w| {
                    for _ in 0..10 {
                        w.scale("s00", 1);
                        w.scale("s01", 1);
                        w.scale("s00", 2);
                        w.scale("s01", 2);
                    }
                    w.scale("s00", 1);
                    w.scale("s01", 1);
                },
                (0, 2),
            ),
        ],
    );
}

#[test]
fn a_rolling_deployment_keeps_confirmed_instances() {
    let mut world = World::new().with(0..4, 5);
    for step in 0..=5 {
        for service in 0..4 {
            let service = format!("s{service:02}");
            world.put(&service, (step..step + 5).map(|n| instance(&service, n)).collect());
            let confirmed = world.shown(&service).iter().filter(|endpoint| endpoint.suspect.is_none()).count();
            assert_eq!(confirmed, 5);
        }
        world.pass(5);
    }
}
