//! Aggregates explained: the access line, admin, metrics, and `lictor compose show`, with a waterfall of one that was asked for.

use std::process::Command;

use integration::client::KEY;
use integration::process::built;
use integration::world::{World, service};
use mock_services::{Kind, Mock};
use serde_json::{Value, json};

const PAGE: &str = r#"
[[compose]]
name = "page"
answer = "{ id: order.id, user: user.name, product: product.name }"
[[compose.call]]
name = "order"
service = "order_service"
path = "/orders/{id}"
on_error = { 404 = "pass" }
[[compose.call]]
name = "user"
service = "user_service"
path = "/users/{order.user_id}"
on_error = "null"
[[compose.call]]
name = "product"
service = "product_service"
path = "/products/{order.id}"
[[route]]
name = "pages"
path = { pattern = "/pages/{id}" }
compose = "page"
[[route]]
name = "phone"
path = { pattern = "/m/{id}" }
compose = "page"
answer = "order.id"
[[compose]]
name = "alone"
[[compose.call]]
name = "order"
service = "order_service"
path = "/orders/1"
[[route]]
path = { exact = "/alone" }
compose = "alone"
[retry]
more = 0
"#;

/// A gateway with an aggregate of three calls, the second of which fails, and whom it asks.
async fn world() -> (World, [Mock; 3]) {
    let mut mocks = Vec::new();
    for kind in [Kind::Order, Kind::User, Kind::Product] {
        mocks.push(Mock::start(kind, 0).await.expect("a mock"));
    }
    let [order, user, product] = mocks.try_into().expect("there are three");
    user.behave(|behaviour| (behaviour.error_percent, behaviour.error_status) = (100, 503));
    let services = [("order_service", &order), ("user_service", &user), ("product_service", &product)];
    let services: String = services.into_iter().map(|(name, mock)| service(name, &[mock])).collect();
    (World::of(&format!("{services}{PAGE}")).await, [order, user, product])
}

/// What `lictor compose show` prints: its text, or what it says on stderr when it fails.
async fn show(world: &World, arguments: &[&str]) -> Result<String, String> {
    let admin = world.gateway.as_ref().map(|gateway| format!("http://{}", gateway.admin)).unwrap_or_default();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let run = move || {
        let program = built(&["lictor"]).expect("it builds").remove(0);
        let mut command = Command::new(program);
        command.env_clear().env("LICTOR_API_KEY", KEY).args(["compose", "show", "--admin", &admin]).args(arguments);
        let output = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_shows_the_rounds_of_calls_and_each_answer_by_its_id_with_its_parts() {
    let (world, [order, _user, _product]) = world().await;
    let answer = world.client.get("/pages/1").await;
    assert_eq!((answer.status, answer.header("lictor-partial")), (200, "user;reason=status;status=503"));
    assert_eq!(world.client.get("/m/1").await.status, 200);
    assert_eq!(world.client.get("/pages/99").await.status, 404);
    let page = world.admin.get("/admin/compose/page").await.json();
    assert_eq!(page["rounds"], json!([["order"], ["user", "product"]]));
    assert_eq!(page["answers"], json!({ "complete": 1, "partial": 1, "failed": 1 }));
    let runs = page["runs"].as_array().expect("runs");
    let run = runs.iter().find(|run| run["id"] == answer.header("x-request-id")).expect("it is remembered");
    assert_eq!((&run["outcome"], &run["route"], &run["not_made"]), (&"partial".into(), &"pages".into(), &json!([])));
    let parts = run["parts"].as_array().expect("parts");
    assert_eq!(
        (&parts[0]["call"], &parts[0]["instance"], parts.len()),
        (&"order".into(), &order.address.to_string().into(), 3)
    );
    let end =
        |part: &Value| part["began_ms"].as_f64().unwrap_or_default() + part["took_ms"].as_f64().unwrap_or_default();
    assert!(parts[1..].iter().all(|part| part["began_ms"].as_f64() >= Some(end(&parts[0]) - 0.002)), "{parts:?}");
    let user = parts.iter().find(|part| part["call"] == "user").expect("it was asked");
    assert_eq!((&user["status"], &user["reason"]), (&503.into(), &"status".into()));
    let phone = runs.iter().find(|run| run["route"] == "phone").expect("it is remembered");
    assert_eq!((&phone["not_made"], phone["parts"].as_array().map(Vec::len)), (&json!(["user", "product"]), Some(1)));
    let failed = runs.iter().find(|run| run["outcome"] == "failed").expect("it is remembered");
    assert_eq!((&failed["failed"], &failed["parts"][0]["status"]), (&"order".into(), &404.into()));
    assert_eq!(world.client.get("/admin/compose/page").await.status, 404, "it is admin's alone");
    assert_eq!(world.admin.post("/admin/compose/page", "").await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_aggregates_and_the_requests_of_their_calls_by_what_came_of_them() {
    let (world, _mocks) = world().await;
    for path in ["/pages/1", "/pages/1", "/m/1", "/pages/99"] {
        world.client.get(path).await;
    }
    let page = world.admin.get("/admin/metrics").await.body;
    for line in [
        "lictor_compose_answers_total{compose=\"page\",outcome=\"complete\"} 1",
        "lictor_compose_answers_total{compose=\"page\",outcome=\"partial\"} 2",
        "lictor_compose_answers_total{compose=\"page\",outcome=\"failed\"} 1",
        "lictor_compose_parts_total{compose=\"page\",call=\"order\",outcome=\"answered\"} 3",
        "lictor_compose_parts_total{compose=\"page\",call=\"order\",outcome=\"failed\"} 1",
        "lictor_compose_parts_total{compose=\"page\",call=\"user\",outcome=\"failed\"} 2",
        "lictor_compose_parts_total{compose=\"page\",call=\"product\",outcome=\"stored\"} 0",
        "lictor_compose_part_duration_seconds_count{compose=\"page\",call=\"order\"} 4",
        "lictor_compose_memory_limit_bytes 67108864",
        "lictor_compose_waiting 0",
        "lictor_compose_refused_total 0",
    ] {
        assert!(page.lines().any(|known| known == line), "{line}\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_is_drawn_as_a_tree_and_one_that_is_tried_as_a_waterfall_of_its_parts() {
    let (world, [order, _user, _product]) = world().await;
    let all = show(&world, &[]).await.expect("it is shown");
    let tree = [
        "+- 1 --- order",
        "+- 2 -+- user",
        "      +- product",
        "not made, because its shape needs none of it: user, product",
    ];
    assert!(tree.iter().all(|part| all.contains(part)) && all.contains("memory: "), "{all}");
    let url = format!("http://{}/pages/1", world.address);
    let tried = show(&world, &["--try", &url]).await.expect("it is tried");
    let address = order.address.to_string();
    let parts = [
        "200, ",
        "Lictor-Partial: user;reason=status;status=503\n",
        "page, route pages, partial: 3 parts in ",
        "503 status",
        "#",
        &address,
    ];
    assert!(parts.iter().all(|part| tried.contains(part)), "{tried}");
    let tried = show(&world, &["page", "--try", &url, "--json"]).await.expect("it is tried");
    let tried: Value = serde_json::from_str(&tried).expect("JSON");
    assert_eq!(
        (&tried["status"], &tried["compose"], &tried["run"]["outcome"]),
        (&200.into(), &"page".into(), &"partial".into())
    );
    assert_eq!(tried["run"]["id"], tried["request_id"]);
    let one = show(&world, &["page"]).await.expect("it is shown");
    assert!(one.contains("ENDED") && one.contains(tried["request_id"].as_str().unwrap_or("?")), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_is_made_with_the_key_whatever_the_host_is_called_and_says_whose_calls_it_made() {
    let (world, _mocks) = world().await;
    let url = format!("http://localhost:{}/pages/1", world.address.port());
    let tried = show(&world, &["alone", "--try", &url]).await.expect("it is tried");
    assert!(tried.starts_with("200, ") && tried.contains("page, route pages, partial: 3 parts"), "{tried}");
    let tried = show(&world, &["--try", &url, "-H", "Cookie: session=mine"]).await.expect("it is tried");
    assert!(tried.starts_with("401, "), "whoever gives a cookie asks as its owner: {tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_says_what_is_wrong_with_it() {
    let (world, _mocks) = world().await;
    let url = format!("http://{}/pages/1", world.address);
    let refused = show(&world, &["--try", &url, "-H", "X-API-Key: another"]).await.expect("there is an answer");
    assert!(refused.starts_with("401, ") && refused.contains("No calls are known"), "{refused}");
    for (arguments, why) in [
        (&["nothing", "--try", url.as_str()][..], "no [[compose]] `nothing`"),
        (&["nothing"][..], "there are: page"),
        (&["--try", "/pages/1"][..], "say the whole URL"),
        (&["--try", url.as_str(), "-H", "phone"][..], "write -H 'Name: value'"),
        (&["--try", "http://127.0.0.1:1/pages/1"][..], "no gateway answers at 127.0.0.1"),
        (&["-H", "A: b"][..], "--try"),
    ] {
        let said = show(&world, arguments).await.expect_err("it fails");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waited_for_any_more_is_a_part_all_the_same() {
    let (world, [_order, user, product]) = world().await;
    user.behave(|behaviour| behaviour.hang = true);
    product.behave(|behaviour| (behaviour.error_percent, behaviour.error_status) = (100, 500));
    let answer = world.client.get("/pages/1").await;
    assert_eq!(answer.status, 502);
    let page = world.admin.get("/admin/compose/page").await.json();
    let (run, part) = (&page["runs"][0], |name: &str| {
        let parts = page["runs"][0]["parts"].as_array().expect("parts");
        parts.iter().find(|part| part["call"] == name).cloned().unwrap_or_default()
    });
    assert_eq!((&run["failed"], &run["outcome"]), (&"product".into(), &"failed".into()));
    assert_eq!((&part("product")["reason"], &part("user")["reason"]), (&"status".into(), &"abandoned".into()));
    assert_eq!(part("user")["status"], Value::Null);
}
