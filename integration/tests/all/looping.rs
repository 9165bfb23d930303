//! Aggregates that ask for themselves, directly or over other gateways: they end at once, and those that only stand in a row do not.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::Method;
use integration::client::KEY;
use integration::instance::{Instance, json};
use integration::world::World;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

/// An address that passes all bytes on to a gateway, whose own address is known only when it has started.
struct Relay {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
}

impl Relay {
    async fn new() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let target: Arc<OnceLock<SocketAddr>> = Arc::default();
        let to = target.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let to = *to.get().expect("the gateway has started");
                tokio::spawn(async move {
                    let mut gateway = TcpStream::connect(to).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut gateway).await
                });
            }
        });
        Relay { address, target }
    }

    /// `[[service]]` for it.
    fn service(&self, name: &str) -> String {
        format!("[[service]]\nname = \"{name}\"\ninstances = [\"{}\"]\n", self.address)
    }

    fn leads_to(&self, world: &World) {
        self.target.set(world.address).expect("it is told once");
    }
}

/// An aggregate at `/NAME`, which needs no key, with one call to a path of a service.
fn compose(name: &str, service: &str, path: &str, on_error: &str) -> String {
    format!(
        r#"
[[compose]]
name = "{name}"
deadline = "10s"
[[compose.call]]
name = "part"
service = "{service}"
path = "{path}"
on_error = {on_error}
[[route]]
name = "{name}"
path = {{ exact = "/{name}" }}
compose = "{name}"
auth = false
"#
    )
}

/// How often a route was asked for.
async fn count(world: &World, route: &str) -> usize {
    let name = format!("lictor_route_requests_total{{route=\"{route}\",");
    let page = world.admin.get("/admin/metrics").await.body;
    let counts = page.lines().filter(|line| line.starts_with(&name)).filter_map(|line| line.rsplit_once(' '));
    counts.filter_map(|(_, count)| count.parse::<usize>().ok()).sum()
}

/// A page that comes well before any deadline.
async fn soon(world: &World, path: &str) -> integration::client::Response {
    let began = Instant::now();
    let page = world.client.get(path).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{path} took {:?}", began.elapsed());
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_asks_for_itself_is_508_inside_and_a_failed_part_outside() {
    let relay = Relay::new().await;
    let own = |name: &str, on_error: &str| compose(name, "me", &format!("/{name}"), on_error);
    let composes = own("fail", "\"fail\"") + &own("pass", "\"pass\"") + &own("null", "\"null\"");
    let world = World::of(&(relay.service("me") + &composes)).await;
    relay.leads_to(&world);
    let failed = soon(&world, "/fail").await;
    assert_eq!((failed.status, failed.reason().as_str()), (502, "part_failed"), "{}", failed.body);
    assert!(failed.body.contains("508"), "{}", failed.body);
    assert_eq!(count(&world, "fail").await, 2, "once by the client, and once by itself");
    assert_eq!(soon(&world, "/pass").await.status, 508);
    let partial = soon(&world, "/null").await;
    assert_eq!((partial.status, partial.body.as_str()), (200, "{\"part\":null}"));
    assert_eq!(partial.header("lictor-partial"), "part;reason=status;status=508");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_is_stored_does_not_wait_for_itself() {
    let relay = Relay::new().await;
    let own = compose("kept", "me", "/kept", "\"fail\"\ncache = { ttl = \"60s\" }") + "cache = { ttl = \"60s\" }\n";
    let world = World::of(&(relay.service("me") + &own)).await;
    relay.leads_to(&world);
    let page = soon(&world, "/kept").await;
    assert_eq!((page.status, page.reason().as_str()), (502, "part_failed"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_over_two_gateways_ends_at_the_first_one_that_is_asked_again() {
    let relay = Relay::new().await;
    let first = World::of(&(relay.service("second") + &compose("a", "second", "/b", "\"fail\""))).await;
    let service = format!("[[service]]\nname = \"first\"\ninstances = [\"{}\"]\n", first.address);
    let second = World::of(&(service + &compose("b", "first", "/a", "\"fail\""))).await;
    relay.leads_to(&second);
    let page = soon(&first, "/a").await;
    assert_eq!((page.status, page.reason().as_str()), (502, "part_failed"), "{}", page.body);
    assert_eq!((count(&first, "a").await, count(&second, "b").await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_of_aggregates_are_answered_up_to_eight_in_a_row() {
    let (relay, instance) = (Relay::new().await, Instance::start(|_| json("1")).await);
    let mut text = relay.service("me") + &instance.service("s");
    for at in 0..12 {
        text += &compose(&format!("c{at}"), "me", &format!("/c{}", at + 1), "\"pass\"");
    }
    text += &compose("c12", "s", "/end", "\"pass\"");
    let world = World::of(&text).await;
    relay.leads_to(&world);
    // From c5 to c12 there are eight.
    let page = soon(&world, "/c5").await;
    let wanted = (0..8).fold(json!(1), |inner, _| json!({ "part": inner }));
    assert_eq!((page.status, page.json()), (200, wanted), "{}", page.body);
    for more in ["/c4", "/c0"] {
        let page = soon(&world, more).await;
        assert_eq!((page.status, page.reason().as_str()), (508, "part_failed"), "{more}: {}", page.body);
    }
    assert_eq!(instance.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_came_over_other_proxies_is_no_loop_and_says_so_further_on() {
    let instance = Instance::start(|_| json("1")).await;
    let world = World::of(&(instance.service("s") + &compose("page", "s", "/x", "\"fail\""))).await;
    let over = "1.1 edge, 1.1 lictor (pages), 2 lictor, 1.1 other (page)";
    let page = world.client.ask(Method::GET, "/page", &[("via", over), ("x-api-key", KEY)], "").await;
    assert_eq!((page.status, page.body.as_str()), (200, "{\"part\":1}"));
    assert_eq!(instance.asked()[0].values("via").join(", "), format!("{over}, 1.1 lictor (page)"));
    let again = world.client.ask(Method::GET, "/page", &[("via", "1.1 lictor (page), 1.1 edge")], "").await;
    assert_eq!((again.status, again.reason().as_str()), (508, "loop"), "{}", again.body);
    assert_eq!(instance.hits(), 1);
}
