//! The page of the fleet.

use std::collections::BTreeMap;

use super::{golden, texts};
use crate::pages::fleet as pages;

#[test]
fn the_page_of_the_fleet_keeps_its_keys_their_order_and_its_nulls() {
    let state = pages::State {
        version: "0.1.0".into(),
        started: "2026-01-02T03:04:05.678Z".into(),
        age_ms: 5,
        configuration: Some("3f0a".into()),
        snapshot: "9b1f".into(),
        services: BTreeMap::from([("orders".into(), "2 instances, aa".into())]),
        tripped: texts(&["orders 10.0.0.1:80"]),
    };
    let gateway = |id: &str, state: Option<pages::State>, error: Option<&str>| pages::Gateway {
        id: id.into(),
        node: "n1".into(),
        address: "10.0.0.7:5000".into(),
        health: "passing".into(),
        own: error.is_none(),
        state,
        error: error.map(str::to_owned),
    };
    let paused =
        pages::Connection { worker: 1, state: "paused".into(), paused_ms: Some(900), error: Some("why".into()) };
    let redis = pages::Redis {
        name: "redis".into(),
        address: "redis://127.0.0.1:6379/0".into(),
        serves: texts(&["limits", "answers"]),
        state: "up".into(),
        since: Some("2026-11-29T10:00:00.000Z".into()),
        round_trip_us: Some(85),
        role: Some("master".into()),
        calls: 10,
        failures: pages::Failures { late: 1, lost: 2, refused: 3, paused: 4 },
        workers: vec![pages::Connection { state: "up".into(), ..pages::Connection::default() }, paused],
        ..pages::Redis::default()
    };
    let page = pages::Page {
        registration: Some(pages::Registration {
            service: "lictor".into(),
            id: "lictor-a".into(),
            registered: true,
            agent: "http://127.0.0.1:8500".into(),
            error: None,
        }),
        living: 2,
        error: None,
        gateways: vec![gateway("lictor-a", Some(state), None), gateway("lictor-b", None, Some("no answer within 1s"))],
        disagreements: vec![pages::Disagreement {
            about: "breaker".into(),
            what: "orders 10.0.0.1:80".into(),
            sides: vec![pages::Side { says: "open".into(), gateways: texts(&["lictor-a"]) }],
        }],
        redis: vec![redis],
    };
    golden(&page, include_str!("fleet.json").trim_end());
    assert_eq!(serde_json::to_string(&pages::Page::default()).expect("JSON"), NO_FLEET);
}

const NO_FLEET: &str = r#"{"registration":null,"living":0,"error":null,"gateways":[],"disagreements":[],"redis":[]}"#;
