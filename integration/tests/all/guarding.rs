//! Keys and roles, the pages of each listener, and deadlines for clients.

use http::Method;
use integration::eventually;
use integration::world::{World, config, service};
use lictor::config::digest;
use mock_services::{Kind, Mock};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_reaches_an_instance() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    let none = world.client.ask(Method::GET, "/api/user_service/users", &[], "").await;
    assert_eq!((none.status, none.reason().as_str()), (401, "no_key"));
    assert!(none.header("www-authenticate").contains("X-API-Key"));
    let wrong = world.client.ask(Method::GET, "/api/user_service/users", &[("x-api-key", "guess")], "").await;
    assert_eq!((wrong.status, wrong.reason().as_str()), (401, "unknown_key"));
    assert_eq!(mock.hits(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_twenty_wrong_keys_an_address_is_told_to_wait_and_its_right_key_still_passes() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    let mut statuses = Vec::new();
    for _ in 0..21 {
        statuses
            .push(world.client.ask(Method::GET, "/api/user_service/users", &[("x-api-key", "guess")], "").await.status);
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 401).count(), 20);
    assert_eq!(statuses[20], 429);
    assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_pages_need_the_role_and_are_on_their_own_listener_unless_told_otherwise() {
    let digest: String = digest("guest").iter().map(|byte| format!("{byte:02x}")).collect();
    let guest = format!("[[consumer]]\nname = \"guest\"\nkeys = [\"sha256:{digest}\"]\n");
    let nobody = "[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n";
    let world = World::of(&format!("{guest}{nobody}")).await;
    assert_eq!(world.client.get("/admin/services").await.status, 404);
    assert_eq!(world.admin.get("/admin/services").await.status, 200);
    let guest = [("x-api-key", "guest")];
    let refused = world.admin.ask(Method::GET, "/admin/services", &guest, "").await;
    assert_eq!((refused.status, refused.reason().as_str()), (403, "no_role"));
    assert_eq!(world.admin.ask(Method::GET, "/admin/services", &[], "").await.status, 401);
    assert_eq!(world.admin.get("/api/nobody/x").await.status, 404);
    let public = World::of(&format!("[admin]\naddress = \"127.0.0.1:0\"\npublic = true\n{nobody}")).await;
    assert_eq!(public.client.get("/admin/services").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_explained_with_its_holder_and_the_key_to_change() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address");
    let config = config(&format!("[[listener]]\naddress = \"{address}\"\n"));
    let started = tokio::task::spawn_blocking(move || lictor::app::start(config)).await.expect("no panic");
    let error = started.expect_err("the port is taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("pid") && error.contains("--port"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_and_a_slow_head_are_cut_and_an_idle_connection_is_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = "[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\nhead = \"300ms\"\nkeep_alive = \"300ms\"\n";
    let world = World::of(listener).await;
    for sent in ["", "GET /health HTTP/1.1\r\nHost:", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.expect("the gateway accepts");
        stream.write_all(sent.as_bytes()).await.expect("it listens");
        let mut rest = Vec::new();
        let end = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{sent:?}: still open");
        assert_eq!(rest.is_empty(), !sent.ends_with("\r\n\r\n"), "{sent:?}");
    }
    eventually("no connection is counted open", || async {
        world.gateway.as_ref().is_some_and(|gateway| {
            (0..gateway.pulse.workers()).all(|worker| gateway.pulse.open(lictor::worker::WorkerId(worker)) <= 1)
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_is_told_only_to_who_asks_this_host_itself() {
    let nobody = "[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n";
    let world = World::of(nobody).await;
    let hint = async |world: &World, fields: &[(&str, &str)]| {
        let answer = world.client.ask(Method::GET, "/nowhere", fields, "").await;
        assert_eq!(answer.status, 404);
        answer.body.contains("/admin/services")
    };
    assert!(
        hint(&world, &[]).await
            && hint(&world, &[("host", "localhost:5000")]).await
            && hint(&world, &[("host", "[::1]")]).await
    );
    for mark in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.7"),
        ("via", "1.1 edge"),
        ("x-real-ip", "203.0.113.7"),
        ("host", "shop.example"),
        ("host", "localhost.example"),
    ] {
        assert!(!hint(&world, &[mark]).await, "{mark:?}");
    }
    let trusting = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    assert!(!hint(&World::of(&format!("{trusting}{nobody}")).await, &[]).await);
}
