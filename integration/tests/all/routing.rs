//! Routing by path, bodies that stream, and the pages that the gateway answers by itself.

use http::Method;
use integration::client::KEY;
use integration::world::{World, service};
use mock_services::{Kind, Mock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_service_that_its_path_names_and_the_rest_of_the_path_stays() {
    let (users, orders) =
        (Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::Order, 0).await.expect("a mock"));
    let world =
        World::of(&format!("{}{}", service("user_service", &[&users]), service("order_service", &[&orders]))).await;
    assert!(world.client.get("/api/user_service/users").await.body.contains("Ada"));
    assert!(world.client.get("/api/order_service/orders/1").await.body.contains("items"));
    assert_eq!(users.seen()[0].line, "GET /users");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_says_so_and_names_what_is() {
    let world = World::of(&service_at("down", 1)).await;
    let refused = world.client.get("/api/down/x").await;
    assert_eq!((refused.status, refused.reason().as_str()), (502, "connect_refused"));
    let unknown = world.client.get("/api/nobody/x").await;
    assert_eq!((unknown.status, unknown.reason().as_str()), (404, "no_route"));
    let nowhere = world.client.get("/dashboard").await;
    assert_eq!(nowhere.header("content-type"), "application/problem+json");
    assert!(
        nowhere.body.contains("/api/{service}/{path}") && nowhere.body.contains("/admin/services"),
        "{}",
        nowhere.body
    );
}

fn service_at(name: &str, port: u16) -> String {
    format!("[[service]]\nname = \"{name}\"\ninstances = [\"127.0.0.1:{port}\"]\n[retry]\nmore = 0\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_catalog_every_service_is_503_and_ready_says_why() {
    let config = integration::world::config("[consul]\naddress = \"http://127.0.0.1:1\"\n");
    let world = World::start(config).await;
    let answer = world.client.get("/api/anything/x").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_catalog"));
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(world.client.get("/ready").await.status, 503);
    assert_eq!(world.client.get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_whole() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("echo", &[&mock])).await;
    let big = "0123456789abcdef".repeat(1 << 18); // 4 MiB: many times every buffer on the way
    let answer = world.client.post("/api/echo/echo/body", &big).await;
    assert_eq!((answer.status, answer.body.len()), (200, big.len()));
    assert!(answer.body == big);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("echo", &[&mock])).await;
    let mut stream = TcpStream::connect(world.address).await.expect("it listens");
    // The echo sends the body back with its trailers.
    let request = format!(
        "POST /api/echo/echo/body HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.to_ascii_lowercase().contains("x-sum: 42"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_and_a_location_gets_its_prefix_back() {
    let mock = Mock::start(Kind::Order, 0).await.expect("a mock");
    let world = World::of(&format!("{}[request]\nbody = \"1KiB\"\n", service("order_service", &[&mock]))).await;
    let created = world.client.post("/api/order_service/orders", "{\"user_id\":1,\"items\":[]}").await;
    assert_eq!((created.status, created.header("location")), (201, "/api/order_service/orders/3"));
    let large = world.client.post("/api/order_service/orders", &"x".repeat(2000)).await;
    assert_eq!((large.status, large.reason().as_str()), (413, "body_too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_id_that_its_instance_saw() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    let answer = world.client.ask(Method::GET, "/api/user_service/users", &[("x-api-key", KEY)], "").await;
    let id = answer.header("x-request-id").to_owned();
    assert_eq!(id.len(), 32);
    let seen = mock.seen()[0].headers.clone();
    assert!(seen.contains(&("x-request-id".into(), id.clone())));
    assert!(seen.iter().any(|(name, value)| name == "traceparent" && value.contains(&id)));
    let error = world.client.get("/nobody").await;
    assert_eq!(error.json()["request_id"], error.header("x-request-id"));
}
