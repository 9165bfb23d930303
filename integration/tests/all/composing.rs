//! Aggregates, from outside: in which order their calls are made, what each of them sends, and what the client gets.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use integration::client::KEY;
use integration::instance::{Asked, Instance, Step, answer, json};
use integration::world::World;
use mock_services::Issuer;
use mock_services::issuer::Wanted;
use serde_json::{Value, json};
use tokio::sync::Barrier;

const K: (&str, &str) = ("x-api-key", KEY);

/// A service in which all is its own name and number: `/orders/7` names a user and items, a user names a company.
async fn shop() -> Instance {
    Instance::start(|asked| json(thing(asked))).await
}

fn thing(asked: &Asked) -> String {
    let id = asked.last();
    let items = (0..32).map(|at| format!("{{\"product\":{},\"count\":{at}}}", at % 20)).collect::<Vec<_>>().join(",");
    match asked.target.split('/').nth(1) {
        Some("orders") => format!("{{\"id\":\"{id}\",\"user\":\"u{id}\",\"items\":[{items}],\"none\":[]}}"),
        Some("users") => format!("{{\"name\":\"Ada {id}\",\"company\":\"c{id}\"}}"),
        _ => format!("{{\"name\":\"{id}\"}}"),
    }
}

/// A gateway with an aggregate `page` at `/pages/{id}`, whose calls these are.
async fn world(instance: &Instance, calls: &str) -> World {
    let route = "[[route]]\nname = \"pages\"\npath = { pattern = \"/pages/{id}\" }\ncompose = \"page\"\n";
    let service = instance.service("s");
    World::of(&format!("{service}[[compose]]\nname = \"page\"\ndeadline = \"10s\"\n{calls}{route}")).await
}

fn call(name: &str, path: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\n")
}

fn targets(instance: &Instance) -> Vec<String> {
    instance.asked().into_iter().map(|asked| asked.target).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_three_is_asked_in_the_order_of_its_values_whatever_order_it_is_written_in() {
    let shop = shop().await;
    let calls = call("company", "/companies/{user.company}")
        + &call("user", "/users/{order.user}")
        + &call("order", "/orders/{id}");
    let world = world(&shop, &calls).await;
    let page = world.client.get("/pages/7").await;
    assert_eq!((page.status, page.header("content-type")), (200, "application/json"), "{}", page.body);
    assert_eq!(targets(&shop), ["/orders/7", "/users/u7", "/companies/cu7"]);
    let body = page.json();
    assert_eq!(body["order"]["id"], "7");
    assert_eq!(body["user"]["name"], "Ada u7");
    assert_eq!(body["company"], json!({ "name": "cu7" }));
    assert_eq!(body.as_object().map(|members| members.len()), Some(3));
    assert_eq!(page.header("lictor-partial"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_each_of_32_elements_keeps_their_order_and_equal_requests_are_asked_once() {
    let shop = shop().await;
    let each = call("products", "/products/{item.product}") + "each = \"order.items\"\n";
    let world = world(&shop, &(call("order", "/orders/{id}") + &each)).await;
    let page = world.client.get("/pages/1").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let body = page.json();
    let products = body["products"].as_array().cloned().unwrap_or_default();
    assert_eq!(products.len(), 32);
    for (at, product) in products.iter().enumerate() {
        let wanted = json!({
            "item": { "product": at % 20, "count": at },
            "answer": { "name": (at % 20).to_string() },
        });
        assert_eq!(*product, wanted, "{at}");
    }
    let asked = targets(&shop);
    let different: BTreeSet<_> = asked.iter().collect();
    assert_eq!((asked.len(), different.len()), (21, 21), "{asked:?}");
    assert!(shop.most_at_once() <= 8, "{} at once", shop.most_at_once());
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_elements_are_asked_for_at_once_as_is_written_and_no_more() {
    // It answers only where four have come; with a fifth among them the last ones would never be answered.
    let (four, elements) = (Arc::new(Barrier::new(4)), (0..32).collect::<Vec<u32>>());
    let shop = Instance::start(move |asked| match asked.last() {
        "list" => json(format!("{elements:?}")),
        last => [vec![Step::Meet(four.clone())], json(last)].concat(),
    })
    .await;
    let each = call("each", "/each/{item}") + "each = \"list\"\nat_once = 4\n";
    let world = world(&shop, &(call("list", "/list") + &each)).await;
    let page = world.client.get("/pages/1").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let answers: Vec<_> = page.json()["each"].as_array().into_iter().flatten().map(|e| e["answer"].clone()).collect();
    assert_eq!(answers, (0..32).map(Value::from).collect::<Vec<_>>());
    assert_eq!((shop.most_at_once(), shop.hits()), (4, 33));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_need_nothing_of_each_other_are_under_way_at_once() {
    // None of the three is answered before all of them have come.
    let three = Arc::new(Barrier::new(3));
    let shop = Instance::start(move |_| [vec![Step::Meet(three.clone())], json("1")].concat()).await;
    let world = world(&shop, &["a", "b", "c"].map(|name| call(name, &format!("/{name}/{{id}}"))).concat()).await;
    let page = world.client.get("/pages/1").await;
    assert_eq!((page.status, page.json()), (200, json!({ "a": 1, "b": 1, "c": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_empty_or_absent_asks_nobody_and_one_that_is_too_long_or_no_list_fails() {
    let shop = shop().await;
    let each = |name: &str, list: &str| {
        call(name, &format!("/{name}/{{item}}")) + &format!("each = \"order.{list}\"\non_error = \"null\"\nmost = 31\n")
    };
    let calls = [("empty", "none"), ("absent", "nothing"), ("text", "id"), ("long", "items")];
    let calls = calls.map(|(name, list)| each(name, list)).concat();
    let world = world(&shop, &(call("order", "/orders/{id}") + &calls)).await;
    let page = world.client.get("/pages/1").await;
    let body = page.json();
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!((&body["empty"], &body["absent"]), (&json!([]), &json!([])));
    assert_eq!((&body["text"], &body["long"]), (&Value::Null, &Value::Null));
    assert_eq!(page.header("lictor-partial"), "text;reason=bad_value, long;reason=too_many");
    assert_eq!(targets(&shop), ["/orders/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_shape_does_not_need_or_whose_condition_does_not_hold_are_not_made() {
    let shop = shop().await;
    let calls = "answer = \"{ name: user.name, extra: extra }\"\n".to_owned()
        + &call("order", "/orders/{id}")
        + &call("user", "/users/{order.user}")
        + &call("extra", "/extra/{id}")
        + "when = \"query.extra == 'yes'\"\n"
        + &call("company", "/companies/{user.company}");
    let small = "[[route]]\npath = { pattern = \"/small/{id}\" }\ncompose = \"page\"\nanswer = \"order.id\"\n";
    let world = world(&shop, &(calls + small)).await;
    let page = world.client.get("/pages/1").await;
    assert_eq!(page.json(), json!({ "name": "Ada u1", "extra": null }), "{}", page.body);
    assert_eq!((page.header("lictor-partial"), shop.hits()), ("", 2));
    assert_eq!(world.client.get("/pages/2?extra=yes").await.json()["extra"], json!({ "name": "2" }));
    assert_eq!(shop.hits(), 5);
    assert_eq!(world.client.get("/small/3").await.body, "\"3\"");
    assert_eq!(targets(&shop)[5..], ["/orders/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_a_client_sends_only_what_is_named_goes_along_beside_its_trace() {
    let shop = shop().await;
    let named = call("b", "/b/{id}") + "headers = { X-Wish = \"{header.X-Wish}\", X-Lang = \"{query.lang}\" }\n";
    let each = call("c", "/c/{item.product}") + "each = \"order.items\"\n";
    let world = world(&shop, &(call("order", "/orders/{id}") + &named + &each)).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = [
        K,
        ("cookie", "session=1"),
        ("authorization", "Bearer secret"),
        ("x-wish", "blue"),
        ("x-other", "red"),
        ("accept-language", "la"),
        ("range", "bytes=0-1"),
        ("if-match", "\"1\""),
        ("traceparent", parent),
        ("tracestate", "vendor=1"),
    ];
    let page = world.client.ask(Method::GET, "/pages/1?lang=la", &sent, "").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let (whole, asked) = (page.header("x-request-id").to_owned(), shop.asked());
    assert!(!whole.is_empty());
    let mut spans = BTreeSet::new();
    for part in &asked {
        for name in ["cookie", "authorization", "x-api-key", "x-other", "accept-language", "range", "if-match"] {
            assert!(part.values(name).is_empty(), "{name} went along: {part:?}");
        }
        let trace = part.values("traceparent");
        assert!(trace.len() == 1 && trace[0].starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{part:?}");
        spans.insert(trace[0][36..52].to_owned());
        assert_eq!(part.values("tracestate"), ["vendor=1"]);
        assert_eq!(part.values("accept"), ["application/json"]);
        assert_eq!(part.values("via"), ["1.1 lictor (page)"]);
        let name = part.target.split('/').nth(1).unwrap_or_default();
        let id = match name {
            "orders" => format!("{whole}.order"),
            "c" => format!("{whole}.c.{}", part.last()),
            other => format!("{whole}.{other}"),
        };
        assert_eq!(part.values("x-request-id"), [id]);
        let b = name == "b";
        assert_eq!(part.values("x-wish"), if b { vec!["blue"] } else { vec![] }, "{part:?}");
        assert_eq!(part.values("x-lang"), if b { vec!["la"] } else { vec![] }, "{part:?}");
    }
    assert_eq!((asked.len(), spans.len()), (22, 22), "each request is a span of its own");
    assert!(!spans.contains("b7ad6b7169203331"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_have_one_trace_also_where_the_client_has_none() {
    let shop = shop().await;
    let world = world(&shop, &(call("order", "/orders/{id}") + &call("user", "/users/{order.user}"))).await;
    assert_eq!(world.client.get("/pages/1").await.status, 200);
    let trace = |asked: &Asked| asked.values("traceparent")[0][3..35].to_owned();
    let asked = shop.asked();
    assert_eq!(trace(&asked[0]), trace(&asked[1]));
    assert_eq!(world.client.get("/pages/1").await.status, 200);
    assert_ne!(trace(&shop.asked()[2]), trace(&asked[0]), "another request is another trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_in_which_a_value_that_stands_alone_keeps_its_type() {
    let shop = Instance::start(|asked| match asked.method.as_str() {
        "GET" => json("{\"id\":18446744073709551617,\"lines\":[1.10,{\"a\":null}],\"text\":\"a\\\"b\"}"),
        _ => json(&asked.body),
    })
    .await;
    let body = "body = { id = \"{order.id}\", lines = \"{order.lines}\", label = \"no {order.id} {order.text}\", fixed = 1 }\n";
    let calls = call("order", "/orders/{id}") + &call("made", "/made") + "method = \"POST\"\n" + body;
    let world = world(&shop, &calls).await;
    let page = world.client.get("/pages/1").await;
    let made = shop.asked().remove(1);
    assert_eq!((made.method.as_str(), made.values("content-type")), ("POST", vec!["application/json"]));
    for piece in
        ["\"id\":18446744073709551617", "[1.10,{\"a\":null}]", "\"no 18446744073709551617 a\\\"b\"", "\"fixed\":1"]
    {
        assert!(made.body.contains(piece) && page.body.contains(piece), "{piece}: {} {}", made.body, page.body);
    }
    assert_eq!(page.header("cache-control"), "no-store", "it changed something");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_conditions_can_be_claims_of_the_callers_token() {
    let (shop, issuer) = (shop().await, Issuer::start(0).await.expect("an issuer"));
    let route = "[[route]]\npath = { pattern = \"/mine/{id}\" }\ncompose = \"mine\"\nauth = { any = [\"corp\"] }\n";
    let compose = "[[compose]]\nname = \"mine\"\n".to_owned()
        + &call("org", "/orgs/{claim.org}")
        + "headers = { X-Org = \"{claim.org}\" }\n"
        + &call("staff", "/staff")
        + "when = \"claim.role == 'staff'\"\n";
    let issuers = format!("[[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = [\"api\"]\n", issuer.url());
    let top = "public_url = \"https://api.example.com\"\n";
    let world = World::of(&(top.to_owned() + &shop.service("s") + &compose + route + &issuers)).await;
    let ask = async |claims: Value| {
        let bearer = format!("Bearer {}", issuer.token(&Wanted::with(claims)));
        world.client.ask(Method::GET, "/mine/1", &[("authorization", &bearer)], "").await
    };
    let page = ask(json!({ "aud": "api", "org": "a b..c", "role": "guest" })).await;
    assert_eq!(page.json(), json!({ "org": { "name": "a%20b..c" }, "staff": null }), "{}", page.body);
    assert_eq!(shop.asked()[0].values("x-org"), ["a%20b..c"]);
    let page = ask(json!({ "aud": "api", "org": 7, "role": "staff" })).await;
    assert_eq!(page.json(), json!({ "org": { "name": "7" }, "staff": { "name": "staff" } }), "{}", page.body);
    assert!(page.header("cache-control").contains("private") || page.header("cache-control") == "no-store");
    assert_eq!(ask(json!({ "aud": "api", "org": "a/../b" })).await.reason(), "part_failed", "several segments");
    assert_eq!(ask(json!({ "aud": "api" })).await.reason(), "part_failed", "a token without that claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_is_for_get_and_head_unless_its_route_says_otherwise() {
    let shop = shop().await;
    let posts = "[[route]]\npath = { pattern = \"/posts/{id}\" }\nmethods = [\"POST\"]\ncompose = \"page\"\n";
    let world = world(&shop, &(call("order", "/orders/{id}") + posts)).await;
    let whole = world.client.get("/pages/1").await;
    let head = world.client.ask(Method::HEAD, "/pages/1", &[K], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for name in ["content-length", "content-type", "etag", "cache-control"] {
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    assert_eq!(shop.hits(), 2);
    for method in [Method::POST, Method::DELETE] {
        let refused = world.client.ask(method, "/pages/1", &[K], "").await;
        assert_eq!((refused.status, refused.header("allow")), (405, "GET, HEAD"), "{}", refused.body);
    }
    assert_eq!(shop.hits(), 2);
    assert_eq!(world.client.post("/posts/1", "a body that nobody reads").await.status, 200);
    assert_eq!(shop.asked().pop().map(|asked| (asked.method, asked.body)), Some(("GET".into(), String::new())));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_an_answer_already_gets_304_until_a_part_changes() {
    let shop = Instance::start(|asked| match asked.target.as_str() {
        "/orders/1?v=2" => json("{\"id\":2}"),
        "/orders/1" => answer(200, &[("Content-Type", "application/vnd.shop+json; charset=utf-8")], "{\"id\":1}"),
        _ => answer(404, &[], ""),
    })
    .await;
    let world = world(&shop, &(call("order", "/orders/{id}") + "query = { v = \"{query.v}\" }\n")).await;
    let first = world.client.get("/pages/1").await;
    assert_eq!((first.status, first.body.as_str()), (200, "{\"order\":{\"id\":1}}"));
    let ask = async |path, tag: &str| world.client.ask(Method::GET, path, &[K, ("if-none-match", tag)], "").await;
    let again = ask("/pages/1", first.header("etag")).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(ask("/pages/1", "\"other\"").await.status, 200);
    let other = ask("/pages/1?v=2", first.header("etag")).await;
    assert_eq!((other.status, other.json()["order"]["id"].as_u64()), (200, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_services_believe_of_clients_is_the_same_for_a_part_as_for_a_plain_request() {
    let sent = [
        K,
        ("host", "shop.example"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outside.example"),
        ("x-real-ip", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7"),
        ("x-request-id", "their-own"),
    ];
    let trusting = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    for listener in ["", trusting] {
        let shop = shop().await;
        let world = world(&shop, &(call("a", "/a/{id}") + listener)).await;
        for path in ["/api/s/plain", "/pages/1"] {
            assert_eq!(world.client.ask(Method::GET, path, &sent, "").await.status, 200, "{path}");
        }
        let [plain, part] = &shop.asked()[..] else { panic!("two requests: {:?}", shop.asked()) };
        for name in ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"] {
            assert_eq!(part.values(name), plain.values(name), "{name}, {listener:?}");
        }
        // The route's prefix was taken off the plain request only.
        assert!(part.values("x-forwarded-prefix").is_empty(), "{part:?}");
        let id = if listener.is_empty() { "" } else { "their-own.a" };
        assert!(part.values("x-request-id")[0].ends_with(if id.is_empty() { ".a" } else { id }), "{part:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_an_issuer_forwards_come_with_each_part_and_nobody_can_forge_them() {
    let (shop, issuer) = (shop().await, Issuer::start(0).await.expect("an issuer"));
    let route = "[[route]]\npath = { pattern = \"/mine/{id}\" }\ncompose = \"mine\"\nauth = { any = [\"corp\"] }\n";
    let headers = "headers = { X-Copy = \"{header.X-Org}\" }\n";
    let compose = format!("[[compose]]\nname = \"mine\"\n{}{}{headers}", call("a", "/a"), call("b", "/b"));
    let issuers = format!(
        "[[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = [\"api\"]\nforward = {{ org = \"X-Org\" }}\n",
        issuer.url()
    );
    let top = "public_url = \"https://api.example.com\"\n";
    let world = World::of(&(top.to_owned() + &shop.service("s") + &compose + route + &issuers)).await;
    let bearer = format!("Bearer {}", issuer.token(&Wanted::with(json!({ "aud": "api", "org": "acme" }))));
    let sent = [("authorization", bearer.as_str()), ("x-org", "forged"), ("x_org", "forged")];
    let page = world.client.ask(Method::GET, "/mine/1", &sent, "").await;
    assert_eq!(page.status, 200, "{}", page.body);
    for part in shop.asked() {
        assert_eq!(part.values("x-org"), ["acme"], "{part:?}");
        assert!(part.values("x_org").is_empty() && !part.values("x-copy").contains(&"forged"), "{part:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_counts_once_against_the_limits_of_its_caller() {
    let shop = shop().await;
    let each = call("products", "/products/{item.product}") + "each = \"order.items\"\n";
    let calls = call("order", "/orders/{id}") + &each + "[api]\nlimits = [\"3/h\"]\n";
    let limited = "[[route]]\npath = { pattern = \"/limited/{id}\" }\ncompose = \"page\"\nlimits = [\"2/h\"]\n";
    let world = world(&shop, &(calls + limited)).await;
    for status in [200, 200, 429] {
        assert_eq!(world.client.get("/limited/1").await.status, status);
    }
    assert_eq!(shop.hits(), 2 * 21, "what is refused asks nobody");
    // Limits of the services' own routes are for those who ask there.
    for status in [200, 200, 200, 429] {
        assert_eq!(world.client.get("/api/s/x").await.status, status);
    }
}
