//! What follows from endpoints that have vanished in a way that is not believed yet.

use std::time::SystemTime;

use super::*;
use crate::catalog::{Check, Suspect};

fn suspect(mut endpoint: Endpoint) -> Endpoint {
    let (reason, since) = ("a crowd".into(), SystemTime::UNIX_EPOCH);
    endpoint.suspect = Some(Arc::new(Suspect { reason, since, until: since + Duration::from_secs(600) }));
    endpoint
}

fn passing(port: u16) -> Endpoint {
    endpoint(port, Health::Passing, 1)
}

/// An endpoint of this health, with checks by id, status, and whether they are the node's.
fn checked(port: u16, health: Health, checks: &[(&str, &str, bool)]) -> Endpoint {
    let mut endpoint = endpoint(port, health, 1);
    let check = |&(id, status, node): &(&str, &str, bool)| Check { id: id.into(), status: status.into(), node };
    endpoint.registrations[0].checks = checks.iter().map(check).collect();
    endpoint
}

impl Story {
    fn weights(&self) -> Vec<u32> {
        self.snapshot.service("orders").expect("it is known").members.iter().map(|member| member.weight).collect()
    }
}

/// Each effect as a letter, with the port of its instance.
fn letters(effects: &[Effect]) -> String {
    let letter = |effect: &Effect| match effect {
        Effect::Arrived(instance) => ('A', instance.key.address.port()),
        Effect::Departed(instance) => ('D', instance.key.address.port()),
        Effect::Suspected(instance) => ('S', instance.key.address.port()),
        Effect::Settled(instance) => ('C', instance.key.address.port()),
        Effect::ProbeNow(instance) => ('P', instance.key.address.port()),
        Effect::Tuned(instance, _) => ('T', instance.key.address.port()),
    };
    effects.iter().map(letter).map(|(letter, port)| format!("{letter}{port} ")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_suspect_weighs_nothing_beside_a_confirmed_instance_and_its_own_weight_without() {
    let mut story = Story::begin();
    let mut heavy = passing(2);
    heavy.weight = 7;
    let critical = endpoint(1, Health::Critical, 1);
    // What the catalog says, then: weights, words of the log, effects, suspects.
    let steps = [
        (vec![passing(1), heavy.clone()], vec![1, 7], " +10.0.0.1:1 +10.0.0.1:2", "A1 A2 ", 0),
        (vec![passing(1), suspect(heavy.clone())], vec![1, 0], " ~10.0.0.1:2", "D2 S2 ", 1),
        (vec![critical.clone(), suspect(heavy.clone())], vec![0, 7], " -10.0.0.1:1 ~10.0.0.1:2 weighs 7", "D1 A2 ", 1),
        (vec![suspect(passing(1)), suspect(heavy.clone())], vec![1, 7], " ~10.0.0.1:1", "A1 S1 P1 ", 2),
        (vec![passing(1), suspect(heavy.clone())], vec![1, 0], " +10.0.0.1:1 ~10.0.0.1:2 weighs 0", "C1 D2 ", 1),
        (vec![passing(1), heavy.clone()], vec![1, 7], " +10.0.0.1:2", "A2 C2 ", 0),
        (vec![passing(1), suspect(heavy.clone())], vec![1, 0], " ~10.0.0.1:2", "D2 S2 ", 1),
        (vec![passing(1)], vec![1], " -10.0.0.1:2", "C2 ", 0),
        (vec![suspect(passing(1))], vec![1], " ~10.0.0.1:1", "S1 ", 1),
        (vec![], vec![], " -10.0.0.1:1", "D1 C1 ", 0),
    ];
    for (number, (endpoints, weights, words, effects, suspects)) in steps.into_iter().enumerate() {
        let before = story.snapshot.service("orders").map(|service| service.state.clone());
        let (seen, changes, _) = story.then(&catalog(Some(endpoints)));
        assert_eq!(changes, [format!("orders:{words}")], "step {number}");
        assert_eq!((letters(&seen).as_str(), story.weights()), (effects, weights), "step {number}");
        assert_eq!(story.snapshot.suspects.get("consul").copied().unwrap_or_default(), suspects, "step {number}");
        let state = &story.snapshot.service("orders").expect("it is known").state;
        assert!(before.is_none_or(|before| Arc::ptr_eq(&before, state)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_is_confirmed_again_is_the_instance_that_it_was() {
    let mut story = Story::begin();
    story.then(&catalog(Some(vec![passing(1), passing(2)])));
    let instance = story.instance(1);
    story.then(&catalog(Some(vec![passing(1), suspect(passing(2))])));
    tokio::time::advance(2 * RETURN).await;
    story.then(&catalog(Some(vec![passing(1), passing(2)])));
    assert!(Arc::ptr_eq(&instance, &story.instance(1)));
    // Another process stands there now.
    let (effects, ..) = story.then(&catalog(Some(vec![passing(1), suspect(passing(2))])));
    assert_eq!(letters(&effects), "D2 S2 ");
    let (effects, ..) = story.then(&catalog(Some(vec![passing(1), endpoint(2, Health::Passing, 9)])));
    assert_eq!(letters(&effects), "A2 C2 P2 ");
}

#[tokio::test(start_paused = true)]
async fn what_a_suspects_checks_said_last_is_obeyed_but_for_the_gossip_of_nodes() {
    let lost = [("serfHealth", "critical", true), ("web", "passing", false)];
    let sick = [("serfHealth", "critical", true), ("web", "critical", false)];
    let other = [("disk", "critical", true), ("web", "passing", false)];
    let named = [("serfHealth", "critical", false)];
    let mut weightless = passing(1);
    weightless.weight = 0;
    for (endpoint, weight) in [
        (passing(1), 1),
        (endpoint(1, Health::Warning, 1), 1),
        (weightless, 0),
        (checked(1, Health::Critical, &lost), 1),
        (checked(1, Health::Critical, &sick), 0),
        (checked(1, Health::Critical, &other), 0),
        (checked(1, Health::Critical, &named), 0),
        (endpoint(1, Health::Maintenance, 1), 0),
    ] {
        let mut story = Story::begin();
        let why = format!("{endpoint:?}");
        story.then(&catalog(Some(vec![suspect(endpoint)])));
        assert_eq!(story.weights(), [weight], "{why}");
    }
}
