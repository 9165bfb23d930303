//! WebSockets and event streams: they pass routes, keys, limits and breakers, and last for as long as they like.

use std::time::{Duration, Instant};

use integration::agent::Agent;
use integration::client::KEY;
use integration::eventually;
use integration::websocket::WebSocket;
use integration::world::{World, service};
use mock_services::{Kind, Mock};
use serde_json::json;

const PATH: &str = "/api/user_service/ws";
const K: (&str, &str) = ("x-api-key", KEY);

async fn world(more: &str) -> (World, Mock) {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let (top, sections) = more.split_at(more.find('[').unwrap_or(more.len()));
    (World::of(&format!("{top}{}{sections}", service("user_service", &[&mock]))).await, mock)
}

async fn open(world: &World, mock: &Mock) -> WebSocket {
    let mut socket = WebSocket::open(world.address, PATH, &[K]).await.expect("101");
    assert_eq!(socket.next().await, Some(format!("{} echoes", mock.name())));
    socket
}

async fn echoes(socket: &mut WebSocket, text: &str) -> bool {
    socket.send(text).await.is_ok() && socket.next().await.as_deref() == Some(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_both_ways_with_its_key_asked_for_and_its_limits_counted() {
    let (world, mock) = world("[api]\nlimits = [\"3/h\"]\n").await;
    assert_eq!(WebSocket::open(world.address, PATH, &[]).await.err(), Some(401));
    assert_eq!(mock.hits(), 0);
    let mut socket = open(&world, &mock).await;
    for text in ["hello", "", &"long ".repeat(100_000)] {
        assert!(echoes(&mut socket, text).await, "{} bytes", text.len());
    }
    let seen = mock.seen().pop().expect("it was asked");
    let header = |name: &str| seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!((header("connection"), header("upgrade")), (Some("upgrade".into()), Some("websocket".into())));
    assert_eq!((header("x-api-key"), header("x-forwarded-for")), (None, Some("127.0.0.1".into())));
    let instance = world.service("user_service").await["instances"][0].clone();
    assert_eq!((instance["in_flight"].as_u64(), instance["failures"].as_u64()), (Some(1), Some(0)));
    let second = open(&world, &mock).await;
    let third = open(&world, &mock).await;
    assert_eq!(WebSocket::open(world.address, PATH, &[K]).await.err(), Some(429));
    drop((socket, second, third));
    eventually("nothing is in flight", || async {
        world.service("user_service").await["instances"][0]["in_flight"] == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_refuses_an_upgrade_is_heard_and_a_tripped_one_is_left_alone() {
    let (world, mock) = world("[breaker]\nconsecutive = 2\nopen = \"3s\"\n[retry]\nmore = 0\n").await;
    let elsewhere = WebSocket::open(world.address, "/api/user_service/users/99", &[K]).await;
    assert_eq!(elsewhere.err(), Some(404));
    mock.behave(|behaviour| behaviour.reset = true);
    let mut resets = 0;
    while WebSocket::open(world.address, PATH, &[K]).await.err() == Some(502) {
        resets += 1;
    }
    // That a connection breaks which was kept is no evidence: one may be used besides.
    assert!((2..=3).contains(&resets), "{resets}");
    mock.behave(|behaviour| behaviour.reset = false);
    assert_eq!(WebSocket::open(world.address, PATH, &[K]).await.err(), Some(503));
    // An upgrade may be the probe of an open breaker: an instance that serves only WebSockets gets no other request.
    eventually("it is probed", || async { WebSocket::open(world.address, PATH, &[K]).await.is_ok() }).await;
    assert_eq!(world.service("user_service").await["instances"][0]["breaker"]["state"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_no_total_deadline_but_ends_when_nothing_comes_for_long() {
    let (world, mock) = world("[timeouts]\ntotal = \"200ms\"\nidle = \"200ms\"\nstream_idle = \"600ms\"\n").await;
    let mut socket = open(&world, &mock).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert!(echoes(&mut socket, "still here").await, "after {:?}", began.elapsed());
        // Messages follow each other faster than the idle deadline.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let silent = Instant::now();
    assert_eq!(socket.next().await, None);
    assert!(silent.elapsed() >= Duration::from_millis(400), "{:?}", silent.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_comes_as_it_is_sent_and_outlives_the_total_deadline() {
    let (world, mock) = world("[timeouts]\ntotal = \"300ms\"\n").await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let url = format!("http://{}/api/user_service/events", world.address);
    let mut answer = client.get(url).header("x-api-key", KEY).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (began, mut text) = (Instant::now(), String::new());
    while !text.contains("id: 5\n") {
        let piece = answer.chunk().await.expect("it goes on").expect("it goes on");
        text += std::str::from_utf8(&piece).expect("text");
    }
    assert!(text.starts_with(&format!("id: 1\ndata: {} 1\n\n", mock.name())), "{text}");
    assert!(began.elapsed() >= Duration::from_millis(500), "each came when it was sent: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_on_while_the_gateway_drains_and_ends_at_the_deadline() {
    let (world, mock) = world("[shutdown]\nannounce = \"0s\"\ndeadline = \"1s\"\n").await;
    let mut socket = open(&world, &mock).await;
    let (address, began) = (world.address, Instant::now());
    let stopping = tokio::spawn(world.stop());
    eventually("nobody accepts any more", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    assert!(echoes(&mut socket, "during the drain").await);
    assert_eq!(socket.next().await, None);
    stopping.await.expect("no panic");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deregistered_instance_keeps_its_websocket_and_gets_no_new_one() {
    let agent = Agent::shared().await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    agent.register("talker", "talker-1", mock.address.port(), json!({})).await;
    let world = World::watching(agent, "").await;
    world.until("/api/talker/users", 200).await;
    let mut socket = WebSocket::open(world.address, "/api/talker/ws", &[K]).await.expect("101");
    assert!(socket.next().await.is_some());
    agent.deregister("talker-1").await;
    world.until("/api/talker/users", 503).await;
    assert!(echoes(&mut socket, "after the deregistration").await);
    assert_eq!(WebSocket::open(world.address, "/api/talker/ws", &[K]).await.err(), Some(503));
}
