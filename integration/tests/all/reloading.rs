//! The configuration is read again: all of it is taken or nothing, and breakers, limits and connections survive.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use integration::client::KEY;
use integration::eventually;
use integration::world::{World, service, text};
use mock_services::{Kind, Mock};
use serde_json::Value;

const K: (&str, &str) = ("x-api-key", KEY);

/// A configuration that is removed at the end of its test.
struct File(PathBuf);

impl File {
    fn new(more: &str) -> File {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = File(std::env::temp_dir().join(format!("lictor-reload-{}-{number}.toml", std::process::id())));
        file.write(more);
        file
    }

    fn write(&self, more: &str) {
        std::fs::write(&self.0, text(more)).expect("a temporary file");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn page(world: &World) -> Value {
    world.admin.get("/admin/config").await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_brings_new_routes_services_and_limits_and_nothing_that_lives_is_lost() {
    let (users, orders) = (Mock::start(Kind::User, 0).await, Mock::start(Kind::Order, 0).await);
    let (users, orders) = (users.expect("a mock"), orders.expect("a mock"));
    let limits = "[api]\nlimits = [\"5/h\"]\n[breaker]\nconsecutive = 1\nopen = \"1m\"\n[retry]\nmore = 0\n";
    let before = format!("{}{limits}", service("user_service", &[&users]));
    let file = File::new(&before);
    let world = World::following(&file.0).await;
    assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
    assert_eq!(world.client.get("/api/order_service/orders").await.status, 404);
    users.behave(|behaviour| behaviour.reset = true);
    assert_eq!(world.client.get("/api/user_service/users").await.status, 502);
    assert_eq!(world.client.get("/api/user_service/users").await.status, 503, "tripped");
    users.behave(|behaviour| behaviour.reset = false);
    let connections = orders.connections();
    assert_eq!(connections, 0);

    let route = "[[route]]\npath = { prefix = \"/shop\" }\nstrip = \"/shop\"\nservice = \"order_service\"\n";
    file.write(&format!("{before}{}{route}", service("order_service", &[&orders])));
    world.until("/shop/orders", 200).await;
    let health = world.service("user_service").await["instances"][0]["breaker"]["state"].clone();
    assert_eq!(health, "open", "a breaker survives");
    // Four of five requests were used before. The limit is the same, so one is left.
    assert_eq!(world.client.get("/api/order_service/orders").await.status, 200);
    assert_eq!(world.client.get("/api/order_service/orders").await.status, 429, "what was used stays used");
    let shown = page(&world).await;
    assert_eq!((shown["reloads"].as_u64(), shown["failed_reloads"].as_u64()), (Some(1), Some(0)));
    let names: Vec<_> = shown["routes"].as_array().expect("a list").iter().map(|r| r["path"].clone()).collect();
    assert_eq!(names, ["/api/{service}/{*path}", "/shop/*"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_and_the_service_that_it_leads_to_change_at_once_and_no_request_is_lost() {
    let users = Mock::start(Kind::User, 0).await.expect("a mock");
    let route = |name: &str| {
        let route = format!("[[route]]\npath = {{ prefix = \"/r\" }}\nstrip = \"/r\"\nservice = \"{name}\"\n");
        service(name, &[&users]) + &route
    };
    let file = File::new(&route("s0"));
    let world = World::following(&file.0).await;
    let reload = world.gateway.as_ref().expect("it runs").reload.clone();
    let asking = tokio::spawn({
        let client = world.client.clone();
        async move {
            let mut statuses = std::collections::BTreeMap::new();
            for _ in 0..1500 {
                *statuses.entry(client.get("/r/users").await.status).or_insert(0) += 1;
            }
            statuses
        }
    });
    for number in 1..=20 {
        file.write(&route(&format!("s{number}")));
        reload.notify_one();
        eventually("it is read", || async { page(&world).await["reloads"].as_u64() >= Some(number) }).await;
    }
    assert_eq!(asking.await.expect("no panic"), [(200, 1500)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_admin_shows_every_mistake_until_it_is_mended() {
    let users = Mock::start(Kind::User, 0).await.expect("a mock");
    let good = service("user_service", &[&users]);
    let file = File::new(&good);
    let world = World::following(&file.0).await;
    file.write(&format!("{good}[timeouts]\nidel = \"1s\"\n[[route]]\npath = {{ prefix = \"x\" }}\n"));
    eventually("admin shows the mistakes", || async {
        page(&world).await["errors"].as_array().is_some_and(|errors| errors.len() == 3)
    })
    .await;
    let errors = page(&world).await["errors"].to_string();
    for part in ["did you mean `idle`", "write \\\"/x\\\"", "route[0].service: is needed"] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
    let metrics = world.admin.get("/admin/metrics").await.body;
    assert!(metrics.contains("\nlictor_config_current 0\n"));
    assert!(metrics.contains("\nlictor_config_reloads_total{result=\"failure\"} 1\n"));
    file.write(&format!("{good}[timeouts]\nidle = \"1s\"\n"));
    eventually("it is mended", || async { page(&world).await["errors"].as_array().is_some_and(Vec::is_empty) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_taken_from_the_file_opens_nothing_any_more() {
    let users = Mock::start(Kind::User, 0).await.expect("a mock");
    let digest: String = lictor::config::digest("guest").iter().map(|byte| format!("{byte:02x}")).collect();
    let guest = format!("[[consumer]]\nname = \"guest\"\nkeys = [\"sha256:{digest}\"]\n");
    let good = service("user_service", &[&users]);
    let file = File::new(&format!("{guest}{good}"));
    let world = World::following(&file.0).await;
    let ask =
        async || world.client.ask(Method::GET, "/api/user_service/users", &[("x-api-key", "guest")], "").await.status;
    assert_eq!(ask().await, 200);
    file.write(&good);
    eventually("the key is unknown", || async { ask().await == 401 }).await;
    assert_eq!(world.client.ask(Method::GET, "/api/user_service/users", &[K], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_start_can_change_is_said_and_the_rest_holds() {
    let users = Mock::start(Kind::User, 0).await.expect("a mock");
    let good = service("user_service", &[&users]);
    let file = File::new(&format!("workers = 1\n{good}"));
    let world = World::following(&file.0).await;
    file.write(&format!("workers = 2\n{good}[request]\ntarget = \"64\"\n"));
    world.until(&format!("/api/user_service/users?{}", "x".repeat(64)), 414).await;
    assert_eq!(page(&world).await["needs_restart"], serde_json::json!(["workers"]));
    assert_eq!(world.gateway.as_ref().expect("it runs").pulse.workers(), 1);
}
