//! What admin shows of aggregates.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::request::parts::{Part, Parts};
use crate::route::Composed;
use crate::route::journal::{Ending, Outcome, Run};

const AGGREGATES: &str = r#"
[[compose]]
name = "order_page"
deadline = "2s"
[[compose.call]]
name = "products"
service = "product_service"
path = "/products/{item.id}"
query = { lang = "{header.Accept-Language}" }
each = "order.items"
most = 7
at_once = 3
on_error = { 404 = { value = 1 }, else = "omit" }
[[compose.call]]
name = "order"
service = "order_service"
path = "/orders/{id}/a{claim.org}"
[[compose.call]]
name = "user"
service = "user_service"
path = "/users/{order.user_id}"
when = "order.user_id"
cache = { ttl = "30s" }
[[compose.call]]
name = "badge"
service = "user_service"
path = "/badges/{user.id}/{order.id}"
[[route]]
name = "orders"
path = { pattern = "/orders/{id}" }
compose = "order_page"
auth = { any = ["corp"] }
[[route]]
name = "phone"
path = { pattern = "/m/{id}" }
compose = "order_page"
answer = "order.id"
auth = { any = ["corp"] }
[[issuer]]
name = "corp"
issuer = "https://corp.example"
audience = "shop"
keys = { secret = "a secret of at least 32 characters" }
consumer = "sub"
[api]
auth = false
"#;

/// Admin's sources, and the routes' aggregates.
fn with_aggregates() -> (Sources, [Arc<Composed>; 2]) {
    let config = format!("workers = 2\n{AGGREGATES}");
    let config = parse(Some(&config), "test", Overrides::default(), &Environment::of(&[]));
    let (sources, _) = sources(config.unwrap_or_else(|why| panic!("{why}")));
    let snapshot = sources.current.load();
    let of = |name: &str| {
        let entry = snapshot.routes.all().iter().find(|entry| &*entry.route.name == name);
        entry.and_then(|entry| entry.composed.clone()).expect("it is an aggregate")
    };
    let composed = [of("orders"), of("phone")];
    (sources, composed)
}

fn run(id: &str, second: u64, outcome: Outcome) -> Run {
    let order = Part {
        call: "order".into(),
        element: None,
        began: Duration::from_micros(100),
        took: Duration::from_micros(12_345),
        status: Some(200),
        reason: "",
        instance: "10.0.0.7:80".parse().ok(),
        attempts: 1,
        cache: "miss",
        bytes: 9,
    };
    let product =
        Part { call: "products".into(), element: Some(0), reason: "reset", status: None, cache: "", ..order.clone() };
    let failed = (outcome == Outcome::Failed).then(|| "order".into());
    Run {
        id: id.into(),
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        took: Duration::from_millis(second),
        left_out: if failed.is_some() { vec!["badge".into(), "user".into()] } else { Vec::new() },
        outcome,
        reason: if failed.is_some() { "part_failed" } else { "" },
        parts: Arc::new(Parts { all: vec![order, product], failed }),
    }
}

/// A page, as it is sent.
fn asked(sources: &Sources, path: &str) -> (u16, Value) {
    let request = Request::builder().uri(path).body(Bytes::new()).expect("a request");
    let answer = page(sources, &request);
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
}

#[tokio::test]
async fn the_page_of_aggregates_shows_what_runs_at_once_what_a_shape_does_not_need_and_how_it_went() {
    let (sources, [orders, phone]) = with_aggregates();
    for (second, outcome) in [(4, Outcome::Complete), (9, Outcome::Partial)] {
        orders.journal.note(WorkerId(0), run("a", second, outcome));
    }
    phone.journal.note(WorkerId(1), run("b", 6, Outcome::Failed));
    let place = orders.compose.calls.iter().position(|call| &*call.name == "user").expect("it is there");
    orders.requests[place].record(WorkerId(0), Ending::Answered, Duration::from_millis(3));
    phone.requests[place].record(WorkerId(1), Ending::Stored, Duration::from_millis(1));
    let (status, page) = asked(&sources, "/admin/compose");
    assert_eq!(status, 200);
    let memory = json!({ "bound": 8192, "held": 0, "waiting": 0, "waited": 0, "refused": 0 });
    assert_eq!(page["memory"], memory);
    let compose = &page["composes"][0];
    assert_eq!((&compose["name"], &compose["deadline_ms"]), (&"order_page".into(), &2000.into()));
    assert_eq!(compose["answers"], json!({ "complete": 1, "partial": 1, "failed": 1 }));
    let late = json!({ "since": "1970-01-01T00:00:04.000Z", "count": 3, "partial": 1, "failed": 1, "median_ms": 6.0, "longest_ms": 9.0 });
    assert_eq!(compose["of_late"], late);
    let rounds = compose["rounds"].as_array().expect("rounds");
    assert_eq!((&rounds[0], &rounds[2], rounds.len()), (&json!(["order"]), &json!(["badge"]), 3));
    assert!(rounds[1] == json!(["products", "user"]) || rounds[1] == json!(["user", "products"]), "{rounds:?}");
    assert_eq!(compose["routes"][0]["fronts"], json!([{ "plan": null, "claims": [], "shape": null, "not_made": [] }]));
    assert_eq!(compose["routes"][1]["fronts"].as_array().map(Vec::len), Some(1), "nobody gets another one");
    let front = &compose["routes"][1]["fronts"][0];
    let not_made: std::collections::BTreeSet<_> =
        front["not_made"].as_array().expect("calls").iter().map(Value::as_str).collect();
    assert_eq!(not_made, [Some("badge"), Some("products"), Some("user")].into());
    assert_eq!(front["shape"], "order.id");
    let user = &compose["calls"][place];
    assert_eq!((&user["answered"], &user["stored"], &user["mean_ms"]), (&1.into(), &1.into(), &2.0.into()));
}

#[tokio::test]
async fn a_call_is_shown_in_the_words_of_the_configuration() {
    let (sources, _) = with_aggregates();
    let (_, page) = asked(&sources, "/admin/compose/order_page");
    let call = |name: &str| {
        let calls = page["calls"].as_array().expect("calls");
        calls.iter().find(|call| call["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(call("order")["path"], "/orders/{id}/a{claim.org}");
    assert_eq!(call("order")["on_error"], "fail");
    let products = call("products");
    assert_eq!((&products["path"], &products["service"]), (&"/products/{item.id}".into(), &"product_service".into()));
    assert_eq!(products["each"], json!({ "list": "order.items", "most": 7, "at_once": 3 }));
    assert_eq!((&products["on_error"], &products["needs"]), (&"404: value 1, else: omit".into(), &json!(["order"])));
    let user = call("user");
    assert_eq!(
        (&user["when"], &user["cached"], &user["path"]),
        (&"order.user_id".into(), &true.into(), &"/users/{order.user_id}".into())
    );
}

#[tokio::test]
async fn the_page_of_one_has_its_last_answers_with_their_parts_and_an_unknown_name_is_told_what_there_is() {
    let (sources, [orders, phone]) = with_aggregates();
    orders.journal.note(WorkerId(0), run("a", 4, Outcome::Complete));
    phone.journal.note(WorkerId(0), run("b", 6, Outcome::Failed));
    let (_, page) = asked(&sources, "/admin/compose/order%5Fpage");
    let runs = page["runs"].as_array().expect("runs");
    assert_eq!((&runs[0]["id"], &runs[1]["id"], runs.len()), (&"b".into(), &"a".into(), 2));
    assert_eq!(
        (&runs[0]["route"], &runs[0]["outcome"], &runs[0]["failed"]),
        (&"phone".into(), &"failed".into(), &"order".into())
    );
    assert_eq!((&runs[0]["reason"], &runs[1]["reason"]), (&"part_failed".into(), &Value::Null));
    assert_eq!((&runs[0]["not_made"], &runs[1]["not_made"]), (&json!(["badge", "user"]), &json!([])));
    let order = json!({
        "call": "order", "element": null, "began_ms": 0.1, "took_ms": 12.345, "status": 200, "reason": null,
        "instance": "10.0.0.7:80", "attempts": 1, "cache": "miss", "bytes": 9,
    });
    assert_eq!(runs[1]["parts"][0], order);
    let product = &runs[1]["parts"][1];
    assert_eq!(
        (&product["element"], &product["reason"], &product["cache"]),
        (&0.into(), &"reset".into(), &Value::Null)
    );
    let (status, refusal) = asked(&sources, "/admin/compose/nothing");
    assert!(
        status == 404 && refusal["error"].as_str().is_some_and(|why| why.ends_with("there are: order_page")),
        "{refusal}"
    );
}
