//! The cache, from outside: one fill for all who wait, responses that say where they come from, and clearing by the operator.

use http::Method;
use integration::client::{Client, KEY};
use integration::world::{World, service};
use mock_services::{Kind, Mock};

const K: (&str, &str) = ("x-api-key", KEY);

async fn world(more: &str) -> (World, Mock, Mock) {
    let (users, products) = (Mock::start(Kind::User, 0).await, Mock::start(Kind::Product, 0).await);
    let (users, products) = (users.expect("a mock"), products.expect("a mock"));
    let services = service("user_service", &[&users]) + &service("product_service", &[&products]);
    let world = World::of(&format!("{more}{services}[api]\ncache = {{ ttl = \"60s\" }}\n")).await;
    (world, users, products)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_for_one_cold_key_over_four_workers_reach_the_instance_once() {
    let (world, users, _) = world("workers = 4\n").await;
    users.behave(|behaviour| behaviour.delay_ms = 300);
    let clients: Vec<_> = (0..16).map(|_| Client::new(world.address)).collect();
    let asking: Vec<_> = (0..1000)
        .map(|number| {
            let client = clients[number % 16].clone();
            tokio::spawn(async move { client.get("/api/user_service/users").await })
        })
        .collect();
    let mut statuses = std::collections::BTreeMap::new();
    for one in asking {
        let answer = one.await.expect("no panic");
        assert!(answer.status == 200 && answer.body.contains("Ada"), "{} {}", answer.status, answer.body);
        let status = answer.header("cache-status").split("; ttl").next().unwrap_or_default().to_owned();
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(users.hits(), 1);
    assert_eq!(statuses["lictor; fwd=uri-miss; stored"], 1, "{statuses:?}");
    // How many come while it is asked depends on the machine.
    assert!(statuses["lictor; fwd=uri-miss; collapsed"] > 0, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_again_says_so_and_is_304_for_who_has_it() {
    let (world, users, _) = world("").await;
    let first = world.client.get("/api/user_service/users").await;
    assert_eq!(first.header("cache-status"), "lictor; fwd=uri-miss; stored");
    let second = world.client.get("/api/user_service/users").await;
    assert!(second.header("cache-status").starts_with("lictor; hit; ttl="), "{}", second.header("cache-status"));
    assert_eq!((&second.body, second.instance()), (&first.body, first.instance()));
    assert!(second.header("age").parse::<u64>().is_ok_and(|age| age < 5));
    assert_ne!(second.header("x-request-id"), first.header("x-request-id"), "each request has its own id");
    let head = world.client.ask(Method::HEAD, "/api/user_service/users", &[K], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, first.body.len().to_string().as_str()));
    let since = second.header("date").to_owned();
    let fresh = world.client.ask(Method::GET, "/api/user_service/users", &[K, ("cache-control", "no-cache")], "").await;
    assert_eq!(fresh.header("cache-status"), "lictor; fwd=request; stored", "{since}");
    let past = world.client.ask(Method::GET, "/api/user_service/users", &[K, ("cache-control", "no-store")], "").await;
    assert_eq!(past.header("cache-status"), "lictor; fwd=request");
    assert_eq!(users.hits(), 3);
    let only = [K, ("cache-control", "only-if-cached")];
    assert_eq!(world.client.ask(Method::GET, "/api/user_service/users", &only, "").await.status, 200);
    let none = world.client.ask(Method::GET, "/api/user_service/users/1", &only, "").await;
    assert_eq!((none.status, none.reason().as_str()), (504, "not_cached"));
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_share_an_answer_and_who_identifies_himself_to_the_instance_does_not() {
    let digest: String = lictor::config::digest("other").iter().map(|byte| format!("{byte:02x}")).collect();
    let other = format!("[[consumer]]\nname = \"other\"\nkeys = [\"sha256:{digest}\"]\n");
    let (world, users, _) = world(&other).await;
    let ask = async |headers: &[(&str, &str)]| {
        world.client.ask(Method::GET, "/api/user_service/users", headers, "").await.header("cache-status").to_owned()
    };
    assert_eq!(ask(&[K]).await, "lictor; fwd=uri-miss; stored");
    assert!(ask(&[("x-api-key", "other")]).await.starts_with("lictor; hit"));
    assert!(ask(&[("authorization", "ApiKey other")]).await.starts_with("lictor; hit"));
    assert_eq!(ask(&[]).await, "", "no key, no answer, stored or not");
    let hits = users.hits();
    let bearer = ask(&[K, ("authorization", "Bearer x")]).await;
    let cookie = ask(&[K, ("cookie", "session=1")]).await;
    assert!(bearer.starts_with("lictor; fwd=") && !bearer.contains("stored"), "{bearer}");
    assert!(cookie.starts_with("lictor; fwd=") && !cookie.contains("stored"), "{cookie}");
    assert_eq!(users.hits(), hits + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_clears_all_or_a_service_or_a_path_and_is_told_how_many_went() {
    let (world, _users, _products) = world("").await;
    let paths = ["/api/user_service/users", "/api/user_service/users/1", "/api/product_service/products"];
    let fill = async || {
        for path in paths {
            let answer = world.client.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        }
    };
    let clear = async |query: &str| {
        let answer = world.admin.post(&format!("/admin/cache/clear{query}"), "").await;
        (answer.status, answer.json()["cleared"].as_u64())
    };
    fill().await;
    let page = world.admin.get("/admin/cache").await.json();
    assert_eq!((page["entries"].as_u64(), page["stored"].as_u64()), (Some(3), Some(3)), "{page}");
    assert_eq!(clear("?service=product_service").await, (200, Some(1)));
    for nothing in ["?path=/api/user_service/us", "?path=/api/user_service/users/1/"] {
        assert_eq!(clear(nothing).await, (200, Some(0)), "{nothing}");
    }
    assert_eq!(clear("?path=/api/user_service/users/1").await, (200, Some(1)));
    for wrong in ["?path", "?service=", "?path=x"] {
        assert_eq!(clear(wrong).await, (400, None), "{wrong} clears nothing");
    }
    assert_eq!(clear("?sevice=user_service").await, (400, None), "a misspelt filter clears nothing");
    assert_eq!(clear("").await, (200, Some(1)));
    assert_eq!(clear("").await, (200, Some(0)));
    fill().await;
    assert_eq!(clear("").await, (200, Some(3)));
    for (method, page, allow) in [
        (Method::GET, "/admin/cache/clear", "POST"),
        (Method::POST, "/admin/cache", "GET, HEAD"),
        (Method::POST, "/health", "GET, HEAD"),
    ] {
        let answer = world.admin.ask(method, page, &[K], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow), "{page}");
    }
    assert_eq!(world.admin.get("/admin/cach").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_what_was_asked_over_https_and_over_http_are_two_things() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let (world, users, _) = world(listener).await;
    let ask = async |scheme: &str, host: &str| {
        let headers = [K, ("x-forwarded-proto", scheme), ("x-forwarded-host", host)];
        world.client.ask(Method::GET, "/api/user_service/users", &headers, "").await.status
    };
    for (scheme, host, hits) in [
        ("http", "a.example", 1),
        ("https", "a.example", 2),
        ("https", "b.example", 3),
        ("http", "a.example", 3),
        ("https", "b.example", 3),
    ] {
        assert_eq!((ask(scheme, host).await, users.hits()), (200, hits), "{scheme} {host}");
    }
}
