//! More services than connections: which are watched, and how the others are heard of.

use super::*;
use crate::catalog::Key;
use crate::catalog::notice::Asked;

/// A fake with so many services, each on a node of its own ten, and what tells discovery that they are asked for.
async fn many(services: usize, connections: usize) -> (Fake, Discovery, Notices) {
    let fake = Fake::start().await;
    for n in 0..services {
        fake.put(&name(n), vec![on_node(n, "10.0.0.1", "passing")]);
    }
    let (notices, heard) = notice::channel();
    let discovery = telling(&fake, heard, |config, timings| {
        (config.connections, timings.wait, timings.reread) = (connections, HOUR, HOUR);
    });
    until(&discovery, |c| c.complete && c.services.len() == services).await;
    until_status(&discovery, |s| s.state == "sweeping").await;
    (fake, discovery, notices)
}

fn name(n: usize) -> String {
    format!("s{n:03}")
}

fn on_node(n: usize, address: &str, status: &str) -> serde_json::Value {
    let mut entry = instance(&name(n), address, status);
    entry["Node"]["Node"] = format!("node{}", n / 10).into();
    entry
}

/// The same, of which gossip has lost the node.
fn lost_by_gossip(n: usize) -> serde_json::Value {
    let mut entry = on_node(n, "10.0.0.1", "passing");
    let serf = serde_json::json!({"CheckID": "serfHealth", "ServiceID": "", "Status": "critical"});
    entry["Checks"].as_array_mut().unwrap().push(serf);
    entry
}

#[tokio::test]
async fn a_check_that_turns_critical_has_only_its_service_read() {
    let (fake, discovery, _notices) = many(100, 16).await;
    until_quiet(&fake).await;
    let (before, quiet) = (fake.requests("/v1/health/service/").len(), 97);
    fake.put_silently(&name(quiet), vec![on_node(quiet, "10.0.0.1", "critical")]);
    fake.wake("/v1/health/state/critical");
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Critical).await;
    let read = fake.requests("/v1/health/service/").split_off(before);
    assert!(read.iter().all(|request| request.contains(&name(quiet))), "{read:?}");
    fake.put_silently(&name(quiet), vec![on_node(quiet, "10.0.0.1", "warning")]);
    fake.wake("/v1/health/state/");
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Warning).await;
}

#[tokio::test]
async fn what_turned_critical_and_recovered_while_no_check_could_be_watched_is_read_again() {
    let (fake, discovery, notices) = many(100, 16).await;
    until_quiet(&fake).await;
    take_all_watches(&fake, &notices).await;
    let quiet = 99;
    fake.fail("/v1/health/state/", Fault::Status(500));
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("rotation"))).await;
    // A sweep finds that it is registered anew, and it is read while it is critical.
    let mut critical = on_node(quiet, "10.0.0.1", "critical");
    critical["Service"]["ModifyIndex"] = 7.into();
    fake.put_silently(&name(quiet), vec![critical]);
    fake.wake("/v1/catalog/services");
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Critical).await;
    let mut passing = on_node(quiet, "10.0.0.1", "passing");
    passing["Service"]["ModifyIndex"] = 7.into();
    fake.put_silently(&name(quiet), vec![passing]);
    fake.heal_silently();
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Passing).await;
}

#[tokio::test]
async fn what_was_critical_only_between_two_answers_of_the_signals_is_read_again() {
    let (fake, discovery, notices) = many(100, 16).await;
    until_quiet(&fake).await;
    take_all_watches(&fake, &notices).await;
    let quiet = 99;
    let changed = |status: &str| {
        let mut entry = on_node(quiet, "10.0.0.1", status);
        entry["Service"]["ModifyIndex"] = 7.into();
        fake.put_silently(&name(quiet), vec![entry]);
    };
    changed("critical");
    fake.wake("/v1/catalog/services");
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Critical).await;
    changed("passing");
    fake.wake("/v1/health/state/");
    until(&discovery, |c| c.services[name(quiet).as_str()].endpoints[0].health == Health::Passing).await;
}

#[tokio::test]
async fn a_nodes_critical_check_has_all_services_of_the_node_read() {
    let (fake, discovery, _notices) = many(100, 16).await;
    until_quiet(&fake).await;
    (50..60).for_each(|n| fake.put_silently(&name(n), vec![lost_by_gossip(n)]));
    fake.wake("/v1/health/state/critical");
    let critical = |c: &Catalog, n: usize| c.services[name(n).as_str()].endpoints[0].health == Health::Critical;
    let catalog = until(&discovery, |c| (50..60).all(|n| critical(c, n))).await;
    // One node of ten is obeyed.
    assert!((50..60).all(|n| suspects(&catalog, &name(n)).is_empty()));
}

#[tokio::test]
async fn a_partition_of_all_nodes_is_held_although_few_services_are_heard_of_within_the_window() {
    let (fake, discovery, _notices) = many(200, 16).await;
    until_quiet(&fake).await;
    let watched = fake.waiting("/v1/health/service/");
    let mut unwatched = (0..200).map(name).filter(|name| !watched.iter().any(|path| path.ends_with(name.as_str())));
    let heard: Vec<String> = unwatched.by_ref().take(5).collect();
    // The reads of all others come to nothing: what is lost is heard of from these and from those with a watch, and that is less than a
    // tenth.
    unwatched.for_each(|name| fake.fail_silently(&format!("/v1/health/service/{name}"), Fault::Status(500)));
    (0..200).for_each(|n| fake.put_silently(&name(n), vec![lost_by_gossip(n)]));
    fake.wake("/v1/health/state/critical");
    until(&discovery, |c| heard.iter().all(|name| suspects(c, name).len() == 1)).await;
    let status = until_status(&discovery, |s| s.suspects >= 5).await;
    assert!(
        status.suspects < 20 && status.notes.iter().any(|note| note.contains("200 instances of 200 services vanished")),
        "{status:?}"
    );
    // Gossip finds the nodes again.
    fake.heal_silently();
    (0..200).for_each(|n| fake.put_silently(&name(n), vec![on_node(n, "10.0.0.1", "passing")]));
    fake.wake("/v1/health/");
    let passing = |c: &Catalog, name: &str| c.services[name].endpoints[0].health == Health::Passing;
    until(&discovery, |c| heard.iter().all(|name| suspects(c, name).is_empty() && passing(c, name))).await;
    until_status(&discovery, |s| s.suspects == 0).await;
}

#[tokio::test]
async fn a_new_address_of_a_quiet_service_is_found_by_the_services_of_the_nodes() {
    let (fake, discovery, _notices) = many(100, 16).await;
    until_quiet(&fake).await;
    let (before, quiet) = (fake.requests("/v1/").len(), 42);
    let mut moved = on_node(quiet, "10.0.0.9", "passing");
    moved["Service"]["ModifyIndex"] = 7.into();
    fake.put_silently(&name(quiet), vec![moved]);
    fake.wake("/v1/catalog/services");
    until(&discovery, |c| addresses(c, &name(quiet)) == ["10.0.0.9:80"]).await;
    let asked = fake.requests("/v1/").split_off(before);
    assert!(asked.len() < 20, "{asked:?}");
}

#[tokio::test]
async fn a_service_that_is_asked_for_is_watched_at_once_and_its_next_change_needs_no_signal() {
    let (fake, discovery, notices) = many(100, 16).await;
    until_quiet(&fake).await;
    // All watches are taken by services that nobody asked for.
    let watched = fake.waiting("/v1/health/service/");
    let quiet = (0..100).map(name).find(|name| !watched.iter().any(|path| path.ends_with(name.as_str()))).unwrap();
    notices.asked(&ServiceName::new(&quiet).unwrap(), &Asked::default());
    while !fake.waiting("/v1/health/service/").iter().any(|path| path.ends_with(&quiet)) {
        tokio::task::yield_now().await;
    }
    assert!(fake.waiting("/v1/health/service/").len() <= watched.len());
    fake.put_silently(&quiet, web(&["10.0.0.7"]));
    fake.wake(&format!("/v1/health/service/{quiet}"));
    until(&discovery, |c| addresses(c, &quiet) == ["10.0.0.7:80"]).await;
    assert!(fake.most() <= 16, "{} connections", fake.most());
}

#[tokio::test]
async fn without_the_right_to_see_checks_services_are_read_in_rotation() {
    let fake = Fake::start().await;
    fake.fail("/v1/health/state", Fault::Status(403));
    for n in 0..40 {
        fake.put(&name(n), vec![on_node(n, "10.0.0.1", "passing")]);
    }
    let discovery = discover(&fake, |config, timings| {
        (config.connections, timings.wait, timings.reread) = (16, HOUR, Duration::from_millis(300));
    });
    until(&discovery, |c| c.complete && c.services.len() == 40).await;
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("rotation") && note.contains("403"))).await;
    fake.put_silently(&name(39), vec![on_node(39, "10.0.0.1", "critical")]);
    until(&discovery, |c| c.services[name(39).as_str()].endpoints[0].health == Health::Critical).await;
}

#[tokio::test]
async fn what_became_of_suspects_reaches_the_state() {
    let fake = Fake::start().await;
    let (notices, heard) = notice::channel();
    let discovery = telling(&fake, heard, |_, _| {});
    until(&discovery, |c| c.complete).await;
    let (reply, answer) = tokio::sync::oneshot::channel();
    notices.tell(notice::Notice::Accept(None, reply));
    assert_eq!(answer.await, Ok(0));
    let none: Arc<str> = "".into();
    let key = Key {
        datacenter: none.clone(),
        partition: none.clone(),
        namespace: none.clone(),
        peer: none,
        service: ServiceName::new("web").unwrap(),
        address: "10.0.0.1:80".parse().unwrap(),
    };
    notices.tell(notice::Notice::Refused(key));
}
