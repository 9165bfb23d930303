//! A cold start with a saved catalog.

use super::*;

fn saved_at() -> SystemTime {
    SystemTime::now() - Duration::from_secs(300)
}

fn restored(services: &[&str]) -> State {
    let state = State::new(1, HOLD);
    state.restore(services.iter().map(|text| service(text, 0..5)).collect(), saved_at(), "dc1".into());
    state
}

#[test]
fn restored_services_are_served_as_stale_and_unknown_ones_are_not_known_to_be_missing() {
    let state = restored(&["a", "b"]);
    state.catalog_failed(0, &failure());
    let (catalog, status) = (catalog(&state), reported(&state));
    assert!(!catalog.complete && catalog.services.len() == 2);
    assert_eq!((status.state, status.error.as_deref()), ("stale", Some("on command")));
    assert!(status.restored_at.is_some());
    assert_eq!(status.notes, ["stale: 2 services are served from the saved catalog, which is 5 min old"]);
    assert!(state.confirmed().is_none());
}

#[test]
fn what_the_agent_answers_replaces_what_was_restored_service_by_service() {
    let state = restored(&["a", "b"]);
    list(&state, 0, &["a", "b", "new"]);
    assert_eq!((counts(&state, "a"), counts(&state, "new")), (Some((5, 0)), None));
    put(&state, 0, "a", 0..7);
    put(&state, 0, "new", 0..1);
    assert_eq!((counts(&state, "a"), reported(&state).state), (Some((7, 0)), "stale"));
    assert!(!catalog(&state).complete && state.confirmed().is_none());
    // An equal answer confirms, too.
    assert!(put(&state, 0, "b", 0..5));
    let status = reported(&state);
    assert!(status.state == "watching" && status.restored_at.is_none() && status.notes.is_empty(), "{status:?}");
    assert!(catalog(&state).complete && state.confirmed().is_some());
}

#[test]
fn what_the_agent_lacks_is_judged_as_if_it_had_been_there() {
    let state = restored(&["a", "b", "c", "d"]);
    list(&state, 0, &["a"]);
    assert_eq!((counts(&state, "a"), counts(&state, "d")), (Some((5, 0)), Some((5, 5))));
    let alone = restored(&["a", "b", "c", "d"]);
    list(&alone, 0, &["a", "b", "c"]);
    assert_eq!(counts(&alone, "d"), None);
}

#[test]
fn a_restored_service_that_cannot_be_read_is_served_on() {
    let state = restored(&["a"]);
    list(&state, 0, &["a"]);
    for nth in 1..9 {
        state.service_failed(0, &name("a"), &failure(), nth);
    }
    assert!(catalog(&state).complete);
    assert_eq!((counts(&state, "a"), reported(&state).state), (Some((5, 0)), "stale"));
}

#[test]
fn once_the_agent_has_answered_nothing_is_restored() {
    let state = knowing(&["a"]);
    state.restore(vec![service("a", 0..1), service("b", 0..1)], saved_at(), "dc1".into());
    assert_eq!((counts(&state, "a"), counts(&state, "b")), (Some((5, 0)), None));
    assert_eq!(reported(&state).state, "watching");
}
