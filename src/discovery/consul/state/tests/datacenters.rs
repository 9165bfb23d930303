//! Which datacenter serves.

use super::*;

/// What serves a service: the third byte of an address says its datacenter.
fn from(state: &State, service: &str) -> Vec<u8> {
    let catalog = catalog(state);
    let endpoints = catalog.services.get(service).map_or(&[][..], |service| &service.endpoints);
    let third = |endpoint: &Endpoint| match endpoint.key.address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[2],
        std::net::IpAddr::V6(_) => u8::MAX,
    };
    endpoints.iter().map(third).collect()
}

/// The answer of a datacenter: so many instances, at addresses of its own.
fn of(dc: u8, text: &str, instances: u8) -> Assembled {
    let endpoints = (0..instances).map(|n| {
        let mut endpoint = endpoint(text, n, Health::Passing);
        (endpoint.key.datacenter, endpoint.key.address) = (format!("dc{dc}").into(), ([10, 0, dc, n], 80).into());
        endpoint
    });
    Assembled::Exposed(Service { endpoints: endpoints.collect(), ..service(text, 0..0) }, Vec::new())
}

fn put(state: &State, dc: u8, text: &str, instances: u8) {
    state.put(dc.into(), &name(text), of(dc, text, instances), Evidence::default());
}

/// Two datacenters with the services a and b; b is also in a third one, which has c besides.
fn three() -> State {
    let state = State::new(3, HOLD);
    list(&state, 0, &["a", "b"]);
    list(&state, 1, &["a", "b"]);
    list(&state, 2, &["b", "c"]);
    for service in ["a", "b"] {
        put(&state, 0, service, 2);
    }
    state
}

#[tokio::test]
async fn a_service_is_served_by_the_first_datacenter_that_can() {
    let state = three();
    state.wanting(2).await;
    assert_eq!((state.wanted(1), state.wanted(2)), (Vec::new(), names(&["c"])));
    assert!(!catalog(&state).complete);
    put(&state, 2, "c", 1);
    assert!(catalog(&state).complete);
    put(&state, 1, "b", 2);
    assert_eq!((from(&state, "b"), from(&state, "c")), (vec![0, 0], vec![2]));
    state.put(0, &name("b"), critical("b"), Evidence::default());
    state.wanting(1).await;
    assert_eq!((from(&state, "b"), state.wanted(1)), (vec![1, 1], names(&["b"])));
    put(&state, 1, "b", 0);
    assert_eq!(state.wanted(2), names(&["b", "c"]));
    // Nobody can serve it: the first one that lists it is shown.
    assert_eq!(from(&state, "b"), [0]);
    put(&state, 2, "b", 1);
    assert_eq!(from(&state, "b"), [2]);
    put(&state, 0, "b", 1);
    assert_eq!((from(&state, "b"), state.wanted(1), state.wanted(2)), (vec![0], Vec::new(), names(&["c"])));
}

#[test]
fn no_error_of_the_agent_makes_another_datacenter_serve() {
    let state = three();
    put(&state, 1, "a", 2);
    state.catalog_failed(0, &failure());
    for nth in 1..9 {
        state.service_failed(0, &name("a"), &failure(), nth);
    }
    assert_eq!((from(&state, "a"), state.wanted(1)), (vec![0, 0], Vec::new()));
    // What was never answered is not lacked either.
    list(&state, 0, &["a", "b", "new"]);
    list(&state, 1, &["a", "b", "new"]);
    state.service_failed(0, &name("new"), &failure(), 9);
    assert!(state.wanted(1).is_empty());
    state.put(0, &name("new"), answer("new", 0..0), Evidence::default());
    assert_eq!(state.wanted(1), names(&["new"]));
}

#[test]
fn an_error_of_a_datacenter_that_has_become_superfluous_is_no_error() {
    let state = three();
    state.put(0, &name("b"), critical("b"), Evidence::default());
    state.service_failed(1, &name("b"), &failure(), 1);
    assert!(reported(&state).error.is_some());
    put(&state, 0, "b", 1);
    // A read that was under way ends only now.
    state.service_failed(1, &name("b"), &failure(), 2);
    assert_eq!(reported(&state).error, None);
}

#[test]
fn suspects_serve_only_where_no_datacenter_has_anything_confirmed() {
    let state = three();
    state.put(0, &name("b"), of(0, "b", 0), FORGETFUL);
    assert_eq!((from(&state, "b"), state.wanted(1)), (vec![0, 0], names(&["b"])));
    put(&state, 1, "b", 1);
    assert_eq!(from(&state, "b"), [1]);
    put(&state, 1, "b", 0);
    assert_eq!(from(&state, "b"), [0, 0]);
}

#[test]
fn datacenters_are_judged_apart() {
    let state = three();
    put(&state, 1, "a", 2);
    state.list(1, &[], BTreeMap::new(), true, 8, FORGETFUL);
    list(&state, 0, &["a"]);
    // The second one lost its memory and its eyes. What the first one lost alone is gone, and the third one serves it.
    assert!(from(&state, "b").is_empty());
    assert_eq!(from(&state, "a"), [0, 0]);
    assert_eq!(reported(&state).suspects, 2);
}

#[test]
fn a_datacenter_that_cannot_be_read_delays_nobody_and_an_unknown_one_changes_nothing() {
    let state = State::new(2, HOLD);
    list(&state, 0, &["a"]);
    put(&state, 0, "a", 1);
    assert!(!catalog(&state).complete);
    state.catalog_failed(1, &failure());
    assert!(catalog(&state).complete);
    assert!(!list(&state, 2, &["b"]) && state.wanted(2).is_empty() && state.list_removes(2, &[]));
    assert_eq!(reported(&state).error.as_deref(), Some("on command"));
}
