//! Gossip loses nodes, and what they carry is heard of service by service, more slowly than the window is long.

use super::scenarios::run;
use super::*;

const SERVICES: u32 = 400;

fn service(n: u32) -> String {
    format!("s{n:03}")
}

/// The node that carries the `copy`th instance of the `n`th service: one of forty.
fn node(n: u32, copy: u32) -> String {
    format!("n{copy}-{}", n % 40)
}

fn nodes(copy: u32) -> impl Iterator<Item = String> {
    (0..40).map(move |n| node(n, copy))
}

/// The instances of a service, of which gossip has lost the first so many.
fn instances(n: u32, copies: u32, lost: u32) -> Vec<Endpoint> {
    let one = |copy| {
        let endpoint = on_node(&service(n), copy, &node(n, copy));
        if copy < lost { gossip(endpoint) } else { endpoint }
    };
    (0..copies).map(one).collect()
}

/// Each service has so many instances, all of them on different nodes.
fn with(world: World, copies: u32) -> World {
    let mut world = world;
    for n in 0..SERVICES {
        world.answer(vec![(&service(n), instances(n, copies, 0))], None);
    }
    world.pass(100);
    world
}

/// A service a second is read: of all services, within 30 s as many as 40 a second are of 16,000.
fn read(world: &mut World, services: std::ops::Range<u32>, copies: u32, lost: u32) {
    for n in services {
        world.put(&service(n), instances(n, copies, lost));
        world.pass(1);
    }
}

#[test]
fn a_partition_that_is_heard_of_over_minutes_is_held_from_its_first_loss_to_its_last() {
    for (copies, lost) in [(1, 1), (2, 1)] {
        let mut world = with(World::new(), copies);
        world.lost_nodes(nodes(0));
        read(&mut world, 0..SERVICES, copies, lost);
        assert_eq!(world.counts(), (400, 0), "{copies}");
        assert_eq!(world.reason("s399"), "its node's serfHealth is critical, as those of 399 others");
        assert!(world.guard.notes()[0].contains("400 instances of 400 services vanished within 30 s"));
        // The agent confirms all when gossip finds the nodes again.
        world.lost_nodes([]);
        read(&mut world, 0..SERVICES, copies, 0);
        assert_eq!((world.counts(), world.guard.notes().len()), ((0, 0), 0), "{copies}");
        // What one node loses then is alone again.
        world.lost_nodes([node(7, 0)]);
        read(&mut world, 7..8, copies, lost);
        assert_eq!(world.guard.count(), 0, "{copies}");
    }
}

#[test]
fn nodes_that_gossip_loses_one_after_the_other_are_summed_like_losses() {
    let lose = |pause: u64| {
        let mut world = with(World::new(), 1);
        for n in 0..14 {
            world.lost_nodes((0..=n).map(|n| node(n, 0)));
            world.pass(pause);
        }
        read(&mut world, 0..1, 1, 1);
        world.guard.count()
    };
    // Fourteen of forty nodes, within 26 s and within 70 s.
    assert_eq!((lose(2), lose(5)), (1, 0));
}

#[test]
fn what_was_heard_of_before_the_nodes_comes_back_and_what_comes_later_joins() {
    let mut world = with(World::new(), 1);
    // These have watches of their own.
    read(&mut world, 0..3, 1, 1);
    assert_eq!(world.counts(), (0, 0));
    world.lost_nodes(nodes(0).skip(1));
    assert_eq!(world.counts(), (3, 0));
    world.pass(20);
    // This node is lost later than the others, and what it carries is heard of later still.
    world.lost_nodes(nodes(0));
    world.pass(60);
    read(&mut world, 40..41, 1, 1);
    assert_eq!(world.counts(), (4, 0));
}

#[test]
fn the_losses_of_nodes_belong_to_a_crowd_only_where_gossip_lost_many_at_once() {
    run(
        HOLD,
        |world| with(world, 1),
        &[
            (
                "one node of forty: its ten services are out",
                |w| {
                    w.lost_nodes([node(0, 0)]);
                    (0..10).for_each(|n| read(w, 40 * n..40 * n + 1, 1, 1));
                },
                (0, 0),
            ),
            (
                "nodes that were lost when nothing that they carry could be picked any more",
                |w| {
                    for n in 0..SERVICES {
                        w.put(&service(n), vec![critical(instances(n, 1, 0).remove(0), "own", false)]);
                    }
                    w.lost_nodes(nodes(0));
                    w.put("new", vec![on_node("new", 0, &node(0, 0))]);
                    w.put("new", vec![gossip(on_node("new", 0, &node(0, 0)))]);
                },
                (0, 0),
            ),
            (
                "an answer that adds one node to those that were lost long before",
                |w| {
                    w.lost_nodes((0..7).map(|n| node(n, 0)));
                    w.pass(3_600);
                    w.lost_nodes((0..8).map(|n| node(n, 0)));
                    read(w, 0..8, 1, 1);
                },
                (0, 0),
            ),
            (
                "all nodes, but these services fail their own checks",
                |w| {
                    w.lost_nodes(nodes(0));
                    for n in 0..9 {
                        w.put(&service(n), vec![critical(instances(n, 1, 0).remove(0), "own", false)]);
                    }
                },
                (0, 0),
            ),
            (
                "all nodes, and a minute later one service is removed on purpose",
                |w| {
                    w.lost_nodes(nodes(0));
                    read(w, 0..60, 1, 1);
                    w.put(&service(100), Vec::new());
                },
                (60, 1),
            ),
        ],
    );
}

#[test]
fn what_gossip_lost_as_part_of_a_crowd_belongs_to_it_for_a_limited_time() {
    run(
        HOLD,
        |world| with(world, 1),
        &[
            (
                "all nodes, and an operator accepts what is held: what comes then is judged anew",
                |w| {
                    w.lost_nodes(nodes(0));
                    read(w, 0..60, 1, 1);
                    assert_eq!(w.guard.accept(None, w.now), 60);
                    read(w, 60..120, 1, 1);
                    w.lost_nodes(nodes(0));
                    read(w, 120..180, 1, 1);
                },
                (0, 0),
            ),
            (
                "an answer that was made before its node came back, and one that is too late for that",
                |w| {
                    w.lost_nodes(nodes(0));
                    w.lost_nodes([]);
                    w.pass(29);
                    read(w, 0..1, 1, 1);
                    read(w, 1..2, 1, 1);
                },
                (1, 0),
            ),
            (
                "what is read when it may be held no longer",
                |w| {
                    w.lost_nodes(nodes(0));
                    w.pass(599);
                    read(w, 0..1, 1, 1);
                    read(w, 1..2, 1, 1);
                },
                (1, 0),
            ),
        ],
    );
}

#[test]
fn nodes_that_were_lost_shortly_before_or_after_another_mass_began_belong_to_it() {
    let mut world = with(World::new(), 1);
    world.lost_nodes((0..6).map(|n| node(n, 0)));
    let vanish = |n: u32| (service(n), Vec::new());
    let gone: Vec<_> = (280..SERVICES).filter(|n| n % 40 > 6).map(vanish).collect();
    world.answer(
        gone.iter().map(|(name, none): &(String, Vec<Endpoint>)| (name.as_str(), none.clone())).collect(),
        None,
    );
    let held = world.guard.count();
    assert_eq!(held, gone.len());
    world.pass(29);
    world.lost_nodes((0..7).map(|n| node(n, 0)));
    world.pass(100);
    read(&mut world, 0..7, 1, 1);
    assert_eq!(world.guard.count(), held + 7);
}

#[test]
fn where_nothing_is_held_a_partition_is_obeyed() {
    let mut world = with(World::holding(Duration::ZERO), 1);
    world.lost_nodes(nodes(0));
    read(&mut world, 0..SERVICES, 1, 1);
    assert_eq!(world.counts(), (0, 0));
}
