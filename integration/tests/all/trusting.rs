//! Aggregates and trust: what clients say of themselves ends at the gateway, and what is made for one of them is not for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use integration::client::KEY;
use integration::instance::{Asked, Instance, answer, json};
use integration::world::World;
use serde_json::json;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const STORED: &str = "cache = { ttl = \"60s\" }\n";

/// A gateway with an aggregate at `/page`; `route` is more of its route.
async fn world(instance: &Instance, calls: &str, route: &str) -> World {
    let service = instance.service("s");
    let page = format!("[[route]]\nname = \"pages\"\npath = {{ prefix = \"/page\" }}\ncompose = \"page\"\n{route}");
    World::of(&format!("{service}[[compose]]\nname = \"page\"\ndeadline = \"10s\"\n{calls}{page}")).await
}

fn call(name: &str, path: &str, more: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\n{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_fields_that_a_call_always_has_is_for_no_call_or_route_without_them() {
    let instance = Instance::start(|asked| json(format!("\"{}\"", asked.values("x-role").concat()))).await;
    let role = |role: &str| format!("headers = {{ X-Role = \"{role}\" }}\n{STORED}");
    let calls = call("a", "/role", &role("admin")) + &call("b", "/role", &role("user")) + &call("c", "/role", STORED);
    let plain = format!("[[route]]\npath = {{ exact = \"/role\" }}\nservice = \"s\"\n{STORED}");
    let world = world(&instance, &calls, &plain).await;
    for _ in 0..2 {
        let page = world.client.get("/page").await;
        assert_eq!(page.json(), json!({ "a": "admin", "b": "user", "c": "" }), "{}", page.body);
        assert_eq!(world.client.get("/role").await.json(), "");
    }
    assert!(instance.hits() <= 4, "each is stored: {}", instance.hits());
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_see_the_fields_of_a_client_that_they_name_and_vary_says_which_these_are() {
    let instance = Instance::start(|_| json("1")).await;
    let calls = call("own", "/own", "when = \"header.\\\"x-own\\\" == '1'\"")
        + &call("other", "/other", "when = \"header.\\\"x-other\\\"\"");
    let world = world(&instance, &calls, "").await;
    let page = world.client.ask(Method::GET, "/page", &[("x-api-key", KEY), ("x-own", "1")], "").await;
    let said = (page.json(), page.header("vary"), page.header("cache-control"));
    assert_eq!(said, (json!({ "own": 1, "other": null }), "x-own, x-other", "no-cache"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_key_for_the_gateway_is_no_value_however_it_is_sent() {
    let instance = Instance::start(|asked| json(format!("\"{}\"", asked.values("x-auth").concat()))).await;
    let calls = call("a", "/a", "headers = { X-Auth = \"{header.Authorization}\" }");
    let world = world(&instance, &calls, "").await;
    let key = format!("ApiKey {KEY}");
    let page = world.client.ask(Method::GET, "/page", &[("authorization", &key)], "").await;
    assert_eq!((page.status, page.json()), (200, json!({ "a": "" })), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_credentials_is_private_unless_its_services_say_that_it_is_for_all() {
    let instance = Instance::start(|asked| {
        let control = match asked.last() {
            "own" => "max-age=60",
            "all" => "public, max-age=60",
            _ => return json("1"),
        };
        answer(200, &[JSON, ("Cache-Control", control)], "1")
    })
    .await;
    let secret = "headers = { Authorization = \"Bearer service\" }";
    for (path, more, wanted) in [
        ("/own", secret, "private, max-age=60"),
        ("/all", secret, "max-age=60"),
        ("/own", "", "max-age=60"),
        ("/own", "headers = { X-As = \"{header.Authorization}\" }", "private, max-age=60"),
        ("/own", "headers = { X-As = \"{header.Cookie}\" }", "private, max-age=60"),
        ("/none", "cache = { ttl = \"60s\" }", "max-age=60"),
        ("/none", "cache = { ttl = \"60s\" }\nheaders = { Cookie = \"a=b\" }", "private, no-cache"),
    ] {
        let world = world(&instance, &call("a", path, more), "").await;
        let page = world.client.get("/page").await;
        assert_eq!((page.status, page.header("cache-control")), (200, wanted), "{path} {more}: {}", page.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_part_is_found_also_where_its_call_says_something_of_who_asks_and_only_for_them() {
    let fails = Arc::new(AtomicBool::new(false));
    let now = fails.clone();
    let instance = Instance::start(move |asked: &Asked| match now.load(Ordering::SeqCst) {
        true => answer(500, &[JSON], "{}"),
        // It can be stored, and must be asked about each time.
        false => {
            let of = format!("\"{}\"", asked.values("x-of").concat());
            answer(200, &[JSON, ("Cache-Control", "max-age=0"), ("ETag", &of)], &of)
        }
    })
    .await;
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let more = format!("headers = {{ X-Of = \"{{query.of}}\" }}\n{STORED}on_error = \"stale\"");
    let world = world(&instance, &call("a", "/a", &more), calm).await;
    let ask = async |of: &str| world.client.get(&format!("/page?of={of}")).await;
    assert_eq!((ask("one").await.json(), ask("two").await.json()), (json!({ "a": "one" }), json!({ "a": "two" })));
    fails.store(true, Ordering::SeqCst);
    for of in ["one", "two"] {
        let page = ask(of).await;
        assert_eq!((page.status, page.json()), (200, json!({ "a": of })), "{}", page.body);
    }
    assert_eq!(ask("three").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_a_part_passes_on_has_the_challenge_that_it_needs_and_our_own_mistakes_are_not_the_clients() {
    let instance = Instance::start(|asked| {
        let status = asked.last().parse().expect("a status");
        let fields = [("WWW-Authenticate", "Bearer realm=\"s\""), ("Allow", "PUT"), ("Content-Length", "0")];
        answer(status, &fields, "")
    })
    .await;
    let calls = call("a", "/{query.status}", "on_error = \"pass\"");
    let world = world(&instance, &calls, "").await;
    for (status, wanted) in
        [(400, 400), (401, 401), (403, 403), (404, 404), (405, 502), (407, 502), (416, 502), (426, 502), (503, 503)]
    {
        let page = world.client.get(&format!("/page?status={status}")).await;
        let challenge = if wanted == 401 { "Bearer realm=\"s\"" } else { "" };
        assert_eq!((page.status, page.header("www-authenticate")), (wanted, challenge), "{status}: {}", page.body);
        let detail = format!("A part of this answer could not be had. a: status {status}.");
        assert_eq!(page.json()["detail"], detail.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_shape_a_field_of_the_client_chose_says_so() {
    let instance = Instance::start(|_| json("{\"id\":1}")).await;
    let phone = "[[route]]\nname = \"phone\"\npath = { prefix = \"/page\" }\nheaders = { X-Client = \"phone\" }\ncompose = \"page\"\nanswer = \"a.id\"\n";
    let world = world(&instance, &call("a", "/a", ""), phone).await;
    let page = world.client.ask(Method::GET, "/page", &[("x-api-key", KEY), ("x-client", "phone")], "").await;
    assert_eq!((page.body.as_str(), page.header("vary")), ("1", "x-client"));
}
