//! The routes of a configuration: which requests each one takes, and how it changes requests and responses.

use http::Method;
use integration::client::KEY;
use integration::world::{World, service};
use mock_services::{Kind, Mock, Seen};

const K: (&str, &str) = ("x-api-key", KEY);

async fn shop(routes: &str) -> (World, Mock, Mock) {
    let (users, orders) = (Mock::start(Kind::User, 0).await, Mock::start(Kind::Order, 0).await);
    let (users, orders) = (users.expect("a mock"), orders.expect("a mock"));
    let services = service("user_service", &[&users]) + &service("order_service", &[&orders]);
    (World::of(&format!("{services}{routes}")).await, users, orders)
}

fn last(mock: &Mock) -> Seen {
    mock.seen().pop().expect("it was asked")
}

fn header<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_route_has_a_request_and_one_whose_conditions_fail_leaves_it_to_the_next() {
    let answer = |name: &str, conditions: &str| {
        format!("[[route]]\nname = \"{name}\"\n{conditions}\nrespond = {{ body = \"{name}\" }}\n")
    };
    let routes = [
        answer("any", "path = { prefix = \"/a\" }"),
        answer("below host", "host = \"*.example.com\"\npath = { prefix = \"/a\" }"),
        answer("host", "host = \"shop.example.com\"\npath = { prefix = \"/a\" }"),
        answer("parameter", "path = { pattern = \"/a/{id}\" }"),
        answer("exact", "path = { exact = \"/a/b\" }"),
        answer("posted", "path = { exact = \"/a/b\" }\nmethods = [\"POST\"]"),
        answer("versioned", "path = { exact = \"/a/b\" }\nheaders = { X-Version = \"2\" }\nmethods = [\"GET\"]"),
        answer("previewed", "path = { exact = \"/a/p\" }\nquery = { preview = \"yes please\" }"),
    ];
    let (world, ..) = shop(&routes.concat()).await;
    let no: (&str, &str) = ("x-none", "");
    for (method, path, host, more, name) in [
        (Method::GET, "/a", "x", no, "any"),
        (Method::GET, "/a/b/c", "x", no, "any"),
        (Method::GET, "/a/c", "x", no, "parameter"),
        (Method::GET, "/a/b", "x", no, "exact"),
        (Method::POST, "/a/b", "x", no, "posted"),
        (Method::GET, "/a/b", "x", ("x-version", "2"), "versioned"),
        (Method::GET, "/a/b", "x", ("x-version", "3"), "exact"),
        (Method::POST, "/a/b", "x", ("x-version", "2"), "posted"),
        (Method::GET, "/a/p?preview=yes%20please", "x", no, "previewed"),
        (Method::GET, "/a/p?preview=no", "x", no, "parameter"),
        (Method::GET, "/a/b", "SHOP.example.com:8080", no, "host"),
        (Method::GET, "/a/b", "shop.example.com.", no, "host"),
        (Method::GET, "/a", "deep.shop.example.com", no, "below host"),
        (Method::GET, "/a", "example.com", no, "any"),
    ] {
        let answer = world.client.ask(method, path, &[K, ("host", host), more], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, name), "{path} {host} {more:?}");
    }
    assert_eq!(world.client.get("/a-b").await.status, 404, "a prefix counts by whole segments");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_a_server_may_read_as_another_routes_is_refused() {
    let routes = "
[[route]]
path = { prefix = \"/account\" }
service = \"user_service\"

[[route]]
name = \"site\"
auth = false
service = \"user_service\"
";
    let (world, users, _) = shop(routes).await;
    let ask = async |path: &str| {
        let answer = world.client.ask(Method::GET, path, &[], "").await;
        (answer.status, answer.reason())
    };
    for path in ["/account;x/orders", "//account/orders", "/;/account", "/account;x=1"] {
        assert_eq!(ask(path).await, (400, "bad_path".into()), "{path}");
    }
    assert_eq!(users.hits(), 0);
    for path in ["/users;x=1", "/echo//deep", "/account-x;y"] {
        assert!(matches!(ask(path).await.0, 200 | 404), "{path}");
    }
    assert_eq!(users.hits(), 3);
    assert_eq!(ask("/account/orders").await, (401, "no_key".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_a_service_that_nobody_provides_is_503_and_an_unknown_one_by_path_404() {
    let (world, ..) = shop("[[route]]\npath = { prefix = \"/x\" }\nservice = \"missing\"\n").await;
    let answer = world.client.get("/x").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_instances"));
    assert_eq!(world.client.get("/api/missing/x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_other_methods_is_405_and_says_which() {
    let route = "[[route]]\npath = { exact = \"/x\" }\nmethods = [\"GET\", \"PUT\"]\nservice = \"user_service\"\n";
    let (world, users, _) = shop(route).await;
    let answer = world.client.post("/x", "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, PUT"));
    assert_eq!(world.client.ask(Method::HEAD, "/x", &[K], "").await.status, 404, "the instance's word");
    assert_eq!(users.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_sees_of_a_path_is_as_the_route_says() {
    let route = |path: &str, change: &str| format!("[[route]]\npath = {path}\nservice = \"user_service\"\n{change}\n");
    let routes = [
        route("{ prefix = \"/plain\" }", ""),
        route("{ prefix = \"/stripped/deep\" }", "strip = \"/stripped\""),
        route("{ prefix = \"/added\" }", "strip = \"/added\"\nadd = \"/echo/v2\""),
        route("{ pattern = \"/u/{id}/o/{*rest}\" }", "rewrite = \"/echo/{rest}/of/{id}\""),
    ];
    let (world, users, _) = shop(&routes.concat()).await;
    for (path, line, prefix) in [
        ("/plain/a?q=1", "GET /plain/a?q=1", ""),
        ("/stripped/deep/a", "GET /deep/a", "/stripped"),
        ("/added", "GET /echo/v2", "/added"),
        ("/added/a?q=%20", "GET /echo/v2/a?q=%20", "/added"),
        ("/u/7/o/a/b?q=1", "GET /echo/a/b/of/7?q=1", ""),
        ("/u/%7Eme/o", "GET /echo//of/~me", ""),
    ] {
        world.client.get(path).await;
        let seen = last(&users);
        assert_eq!(
            (seen.line.as_str(), header(&seen, "x-forwarded-prefix").concat()),
            (line, prefix.to_owned()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_and_a_fixed_answer_ask_no_instance() {
    let routes = "
[[route]]
path = { prefix = \"/old\" }
auth = false
redirect = { to = \"https://new.example.com{path}\" }

[[route]]
path = { pattern = \"/p/{*rest}\" }
auth = false
redirect = { to = \"/{rest}\", status = 302 }

[[route]]
path = { exact = \"/robots.txt\" }
auth = false
respond = { body = \"User-agent: *\" }
";
    let (world, ..) = shop(routes).await;
    let ask = async |path: &str| world.client.ask(Method::GET, path, &[], "").await;
    let moved = ask("/old/a?q=1").await;
    assert_eq!((moved.status, moved.header("location")), (308, "https://new.example.com/old/a?q=1"));
    let elsewhere = ask("/p//evil.example").await;
    assert_eq!((elsewhere.status, elsewhere.header("location")), (302, "/evil.example"), "no other host");
    let robots = ask("/robots.txt").await;
    assert_eq!((robots.status, robots.body.as_str()), (200, "User-agent: *"));
    assert_eq!(robots.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_change_both_ways_as_the_route_says() {
    let route = "
[[route]]
path = { prefix = \"/echo\" }
service = \"user_service\"
request_headers = { set = { X-Shop = \"1\" }, add = { X-Tag = \"b\" }, remove = [\"X-Debug\"] }
response_headers = { set = { X-Frame-Options = \"DENY\" }, remove = [\"X-Instance\"] }
";
    let (world, users, _) = shop(route).await;
    let answer = world
        .client
        .ask(
            Method::GET,
            "/echo",
            &[K, ("x-shop", "9"), ("x-tag", "a"), ("x-debug", "1"), ("x_shop", "9"), ("x.debug", "1")],
            "",
        )
        .await;
    let seen = last(&users);
    assert_eq!(header(&seen, "x-shop"), ["1"]);
    assert_eq!(header(&seen, "x-tag"), ["a", "b"]);
    assert!(header(&seen, "x-debug").is_empty());
    let aliases = ["x_shop", "x.debug"];
    assert!(aliases.iter().all(|alias| header(&seen, alias).is_empty()), "CGI would take them for those");
    assert_eq!((answer.header("x-frame-options"), answer.header("x-instance")), ("DENY", ""));
    let refused = world.client.ask(Method::GET, "/echo", &[], "").await;
    assert_eq!((refused.status, refused.header("x-frame-options")), (401, "DENY"), "on pages of our own too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_here_and_only_allowed_origins_may_read_answers() {
    let route = "
[[route]]
path = { prefix = \"/echo\" }
service = \"user_service\"
[route.cors]
origins = [\"https://shop.example.com\"]
methods = [\"PUT\"]
headers = [\"X-Api-Key\"]
expose = [\"X-Request-Id\"]
";
    let (world, users, _) = shop(route).await;
    let preflight = async |origin: &str, method: &str| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        world.client.ask(Method::OPTIONS, "/echo", &headers, "").await
    };
    let good = preflight("https://shop.example.com", "PUT").await;
    assert_eq!((good.status, good.header("access-control-allow-origin")), (204, "https://shop.example.com"));
    assert_eq!(good.header("access-control-allow-methods"), "PUT");
    assert_eq!(good.header("access-control-allow-headers"), "x-api-key");
    let bad = preflight("https://evil.example", "PUT").await;
    assert_eq!((bad.status, bad.header("access-control-allow-origin")), (204, ""));
    assert_eq!(bad.header("access-control-allow-methods"), "");
    assert_eq!(users.hits(), 0, "no key was asked for, and no instance");
    let read = world.client.ask(Method::GET, "/echo", &[K, ("origin", "https://shop.example.com")], "").await;
    assert_eq!(read.header("access-control-allow-origin"), "https://shop.example.com");
    assert_eq!((read.header("access-control-expose-headers"), read.header("vary")), ("x-request-id", "Origin"));
    let refused = world.client.ask(Method::GET, "/echo", &[("origin", "https://shop.example.com")], "").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "https://shop.example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routes_own_policies_hold_for_it_and_for_no_other() {
    let route = "
[[route]]
path = { prefix = \"/quick\" }
strip = \"/quick\"
service = \"order_service\"
auth = false
timeouts = { first_byte = \"50ms\" }
retry = { more = 0 }
request = { body = \"10\" }
";
    let (world, _, orders) = shop(route).await;
    orders.behave(|behaviour| behaviour.delay_ms = 150);
    let late = world.client.ask(Method::GET, "/quick/orders", &[], "").await;
    assert_eq!((late.status, late.reason().as_str(), orders.hits()), (504, "first_byte_timeout", 1));
    assert_eq!(world.client.get("/api/order_service/orders").await.status, 200);
    let large = world.client.ask(Method::POST, "/quick/orders", &[], "0123456789a").await;
    assert_eq!((large.status, large.reason().as_str()), (413, "body_too_large"));
    let routes = world.service("order_service").await["routes"].clone();
    assert_eq!(routes.as_array().map(Vec::len), Some(2), "{routes}");
}
