//! What the state promises: what is published, from where, and what is held.

use std::sync::Arc;

use tokio::sync::watch;

use super::*;
use crate::catalog::{DiscoveryStatus, Endpoint, Health, Registration, Unroutable};
use crate::discovery::outlet::outlets;

mod datacenters;
mod restored;

const HOLD: Duration = Duration::from_secs(600);
const FORGETFUL: Evidence = Evidence { forgetful: true, filtered: false };

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a name")
}

fn names(texts: &[&str]) -> Vec<ServiceName> {
    texts.iter().map(|text| name(text)).collect()
}

fn endpoint(service: &str, n: u8, health: Health) -> Endpoint {
    let none: Arc<str> = "".into();
    let key = Key {
        datacenter: none.clone(),
        partition: none.clone(),
        namespace: none.clone(),
        peer: none,
        service: name(service),
        address: ([10, 0, 0, n], 80).into(),
    };
    let registration = Registration {
        node: format!("n{n}").into(),
        id: service.into(),
        create_index: 1,
        modify_index: 1,
        checks: Vec::new(),
        health,
        weight: 1,
        tags: [].into(),
        meta: [].into(),
    };
    Endpoint { key, registrations: vec![registration], health, weight: 1, suspect: None }
}

fn service(text: &str, instances: std::ops::Range<u8>) -> Service {
    let endpoints = instances.map(|n| endpoint(text, n, Health::Passing)).collect();
    Service { name: name(text), provider: "consul", endpoints, unroutable: Vec::new() }
}

fn answer(text: &str, instances: std::ops::Range<u8>) -> Assembled {
    Assembled::Exposed(service(text, instances), Vec::new())
}

fn critical(text: &str) -> Assembled {
    let endpoints = vec![endpoint(text, 1, Health::Critical)];
    Assembled::Exposed(Service { endpoints, ..service(text, 0..0) }, Vec::new())
}

fn failure() -> Failure {
    Failure::not_understood("on command".into())
}

fn list(state: &State, dc: usize, services: &[&str]) -> bool {
    state.list(dc, &names(services), BTreeMap::new(), false, 7, Evidence::default())
}

fn put(state: &State, dc: usize, text: &str, instances: std::ops::Range<u8>) -> bool {
    state.put(dc, &name(text), answer(text, instances), Evidence::default())
}

/// A state that knows these services, with five instances each.
fn knowing(services: &[&str]) -> State {
    let state = State::new(1, HOLD);
    list(&state, 0, services);
    for service in services {
        put(&state, 0, service, 0..5);
    }
    state
}

#[test]
fn registrations_that_move_to_other_addresses_all_at_once_have_not_vanished() {
    for forgetful in [false, true] {
        let state = knowing(&["a", "b", "c"]);
        for text in ["a", "b", "c"] {
            let mut moved = service(text, 0..5);
            moved.endpoints.iter_mut().for_each(|endpoint| endpoint.key.address.set_port(81));
            let evidence = Evidence { forgetful, filtered: false };
            state.put(0, &name(text), Assembled::Exposed(moved, Vec::new()), evidence);
        }
        assert_eq!(["a", "b", "c"].map(|text| counts(&state, text)), [Some((5, 0)); 3]);
    }
}

/// What would be published now.
fn catalog(state: &State) -> Catalog {
    state.union.lock().published = 0;
    let report = state.report(status());
    report.catalog.expect("a catalog that was not published").1
}

fn status() -> ProviderStatus {
    outlets([("consul", "a test".to_owned())].into_iter()).0[0].status()
}

fn reported(state: &State) -> ProviderStatus {
    state.report(status()).status
}

/// How many endpoints a service has, and how many of them are suspects.
fn counts(state: &State, service: &str) -> Option<(usize, usize)> {
    let catalog = catalog(state);
    let endpoints = &catalog.services.get(service)?.endpoints;
    Some((endpoints.len(), endpoints.iter().filter(|endpoint| endpoint.suspect.is_some()).count()))
}

type Published = (watch::Receiver<Arc<Catalog>>, watch::Receiver<Arc<DiscoveryStatus>>);

/// Publishes what a state knows, until the task is aborted.
fn publish(state: &Arc<State>) -> (tokio::task::AbortHandle, Published) {
    let (mut all, catalog, status) = outlets([("consul", "a test".to_owned())].into_iter());
    let (outlet, state) = (all.remove(0), state.clone());
    let task = tokio::spawn(async move { state.publish(&outlet).await });
    (task.abort_handle(), (catalog, status))
}

#[test]
fn an_answer_changes_its_service_and_an_equal_one_changes_nothing() {
    let state = knowing(&["a", "b"]);
    let before = catalog(&state);
    assert!(before.complete);
    assert!(!put(&state, 0, "a", 0..5) && !list(&state, 0, &["a", "b"]));
    assert!(put(&state, 0, "a", 0..4));
    let after = catalog(&state);
    assert_eq!(after.services["a"].endpoints.len(), 4);
    assert!(Arc::ptr_eq(&before.services["b"], &after.services["b"]));
    // An equal answer of an agent that lost its memory brings back what was lost shortly before.
    assert!(!state.put(0, &name("a"), answer("a", 0..4), FORGETFUL));
    assert_eq!(counts(&state, "a"), Some((5, 1)));
    let version = state.union.lock().version;
    put(&state, 0, "unknown", 0..4);
    let after = state.union.lock().version;
    assert_eq!(after, version);
}

#[test]
fn what_a_list_no_longer_has_is_held_in_a_crowd_and_stays_in_the_catalog() {
    let state = knowing(&["a", "b", "c", "d"]);
    assert!(state.list_removes(0, &names(&["a"])) && !state.list_removes(0, &names(&["a", "b", "c", "d", "e"])));
    assert!(list(&state, 0, &["a"]));
    assert_eq!(["a", "b", "c", "d"].map(|name| counts(&state, name)), [(5, 0), (5, 5), (5, 5), (5, 5)].map(Some));
    let status = reported(&state);
    assert!(status.suspects == 15 && status.notes[0].starts_with("suspect: 15 instances of 3 services"), "{status:?}");
    // Listed again, they are suspects until their answers come.
    list(&state, 0, &["a", "b", "c"]);
    put(&state, 0, "b", 0..4);
    assert_eq!(counts(&state, "b"), Some((5, 1)));
    assert_eq!(state.accept(Some(&name("b"))), 1);
    state.refused(&endpoint("d", 0, Health::Passing).key);
    assert_eq!((counts(&state, "b"), counts(&state, "d")), (Some((4, 0)), Some((4, 4))));
    assert_eq!(state.accept(None), 9);
    assert_eq!((counts(&state, "c"), counts(&state, "d"), reported(&state).suspects), (None, None, 0));
}

#[test]
fn what_is_removed_alone_is_gone_at_once() {
    let state = knowing(&["a", "b"]);
    list(&state, 0, &["a"]);
    assert_eq!(counts(&state, "b"), None);
    let state = knowing(&["a", "b"]);
    put(&state, 0, "a", 0..0);
    assert_eq!(counts(&state, "a"), Some((0, 0)));
}

#[test]
fn a_blind_token_loses_nothing_and_what_it_sees_applies() {
    let state = knowing(&["a", "b"]);
    state.list(0, &[], BTreeMap::new(), true, 8, Evidence::default());
    assert_eq!((counts(&state, "a"), counts(&state, "b")), (Some((5, 5)), Some((5, 5))));
    state.list(0, &names(&["a", "new"]), BTreeMap::new(), true, 9, Evidence::default());
    put(&state, 0, "a", 0..3);
    put(&state, 0, "new", 0..1);
    assert_eq!((counts(&state, "a"), counts(&state, "new")), (Some((5, 2)), Some((1, 0))));
}

#[test]
fn an_agent_that_is_another_one_than_before_is_not_believed_that_what_it_lacks_is_gone() {
    let state = knowing(&["a", "b"]);
    put(&state, 0, "a", 0..4);
    assert_eq!(counts(&state, "a"), Some((4, 0)));
    state.forgotten();
    list(&state, 0, &["a"]);
    assert_eq!((counts(&state, "a"), counts(&state, "b")), (Some((5, 1)), Some((5, 5))));
}

#[test]
fn what_is_hidden_on_purpose_goes_at_once_and_says_why() {
    let state = knowing(&["a", "b", "c"]);
    let why: BTreeMap<String, String> = ["b", "c"].map(|name| (name.into(), "has no tag".into())).into();
    state.list(0, &names(&["a"]), why, false, 8, FORGETFUL);
    assert_eq!((counts(&state, "b"), counts(&state, "c")), (None, None));
    state.put(0, &name("a"), Assembled::Hidden("a sidecar".into()), FORGETFUL);
    let catalog = catalog(&state);
    assert!(catalog.services.is_empty());
    let hidden: Vec<_> = catalog.hidden.iter().map(|hidden| (&*hidden.name, &*hidden.reason)).collect();
    assert_eq!(hidden, [("a", "a sidecar"), ("b", "has no tag"), ("c", "has no tag")]);
}

#[test]
fn what_an_answer_refuses_goes_at_once_but_what_it_cannot_read_is_lost() {
    for (address, expected) in [("169.254.1.1:80", (4, 0)), ("", (5, 1))] {
        let state = knowing(&["a", "b"]);
        let unroutable = Unroutable { id: "n4/a".into(), address: address.into(), reason: "on command".into() };
        let answer = Assembled::Exposed(Service { unroutable: vec![unroutable], ..service("a", 0..4) }, Vec::new());
        assert!(state.removes(0, &name("a"), &answer));
        state.put(0, &name("a"), answer, FORGETFUL);
        assert_eq!(counts(&state, "a"), Some(expected), "{address}");
    }
}

#[test]
fn an_error_changes_nothing_and_a_service_that_cannot_be_read_delays_nobody() {
    let state = State::new(1, HOLD);
    list(&state, 0, &["a", "b"]);
    put(&state, 0, "a", 0..5);
    for nth in 1..=3 {
        assert!(!catalog(&state).complete);
        state.service_failed(0, &name("b"), &failure(), nth);
    }
    assert!(catalog(&state).complete && counts(&state, "b") == Some((0, 0)));
    state.catalog_failed(0, &failure());
    state.service_failed(0, &name("a"), &failure(), 1);
    let status = reported(&state);
    assert_eq!((status.state, status.errors, counts(&state, "a")), ("failing", 5, Some((5, 0))));
    put(&state, 0, "a", 0..5);
    list(&state, 0, &["a"]);
    let status = reported(&state);
    assert_eq!((status.state, status.error), ("watching", None));
}

#[test]
fn what_is_saved_is_what_the_agent_confirmed_and_never_a_degraded_catalog() {
    let state = State::new(1, HOLD);
    assert!(state.confirmed().is_none());
    list(&state, 0, &["a", "b"]);
    put(&state, 0, "a", 0..5);
    assert!(state.confirmed().is_none());
    put(&state, 0, "b", 0..5);
    assert_eq!(state.confirmed().expect("all").len(), 2);
    state.put(0, &name("a"), answer("a", 0..1), FORGETFUL);
    assert!(state.confirmed().is_none());
    state.accept(None);
    let saved = state.confirmed().expect("all");
    assert_eq!((saved["a"].endpoints.len(), saved["b"].endpoints.len()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn suspects_are_given_up_when_their_time_is_over_and_the_catalog_says_so() {
    let state = Arc::new(knowing(&["a", "b"]));
    let (_, (mut seen, status)) = publish(&state);
    seen.wait_for(|catalog| catalog.complete).await.expect("a publisher");
    state.put(0, &name("a"), answer("a", 0..1), FORGETFUL);
    let suspects =
        |catalog: &Arc<Catalog>| catalog.services["a"].endpoints.iter().filter(|e| e.suspect.is_some()).count();
    seen.wait_for(|catalog| suspects(catalog) == 4).await.expect("a publisher");
    let start = Instant::now();
    // Paused time: nobody wakes the publisher but the end of the hold.
    seen.wait_for(|catalog| catalog.services["a"].endpoints.len() == 1).await.expect("a publisher");
    assert_eq!(start.elapsed().as_secs(), HOLD.as_secs());
    assert_eq!(status.borrow().providers[0].suspects, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_published_and_what_changes_next_share_their_history_so_that_only_changes_are_compared() {
    let state = Arc::new(knowing(&["a", "b"]));
    let (_, (mut seen, _)) = publish(&state);
    let endpoints = |catalog: &Catalog| catalog.services.get("a").map_or(0, |service| service.endpoints.len());
    for count in [5, 3, 4] {
        put(&state, 0, "a", 0..count);
        let published =
            seen.wait_for(|catalog| endpoints(catalog) == count as usize).await.expect("a publisher").clone();
        // The publisher's turn ends: it has nothing more to do.
        tokio::task::yield_now().await;
        assert!(state.union.lock().services.ptr_eq(&published.services), "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_begun_again_publishes_what_is_known() {
    let state = Arc::new(knowing(&["a", "b"]));
    let (first, (mut seen, _)) = publish(&state);
    seen.wait_for(|catalog| catalog.complete).await.expect("a publisher");
    first.abort();
    put(&state, 0, "a", 0..1);
    let (_, (mut seen, _)) = publish(&state);
    let catalog = seen.wait_for(|catalog| catalog.complete).await.expect("a publisher").clone();
    assert_eq!((catalog.services["a"].endpoints.len(), catalog.services["b"].endpoints.len()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_everything_is_asked_for_and_what_it_lost_comes_back() {
    let state = State::new(1, HOLD);
    let services: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    list(&state, 0, &services);
    for service in &services[2..] {
        put(&state, 0, service, 10..20);
    }
    for service in &services[..2] {
        put(&state, 0, service, 1..2);
    }
    assert!(state.doubts().is_empty());
    list(&state, 0, &services[2..]);
    state.doubted().await;
    assert_eq!((state.doubts(), counts(&state, "s00")), (vec![(0, "n1".to_owned())], None));
    state.member(0, "n1", true);
    assert_eq!((state.doubts().len(), counts(&state, "s00"), counts(&state, "s01")), (0, Some((1, 1)), Some((1, 1))));
}

#[test]
fn while_the_entries_of_a_service_are_held_what_is_saved_of_it_stays_what_it_was() {
    let state = knowing(&["a", "b", "c"]);
    let before = state.confirmed().expect("all was answered");
    // Answers of a token without the right to see nodes, while the list still has the names.
    for text in ["a", "b", "c"] {
        state.put(0, &name(text), answer(text, 0..0), Evidence { forgetful: false, filtered: true });
        assert_eq!(counts(&state, text), Some((5, 5)));
    }
    assert_eq!(state.confirmed().expect("what was good"), before);
    state.put(0, &name("a"), answer("a", 0..3), Evidence::default());
    assert_eq!(state.accept(None), 12);
    let after = state.confirmed().expect("what is there");
    assert_eq!(["a", "b"].map(|text| after[&name(text)].endpoints.len()), [3, 0]);
}
