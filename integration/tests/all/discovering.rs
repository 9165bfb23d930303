//! With a real agent: changes in Consul are followed, and without Consul requests go on.

use http::Method;
use integration::agent::Agent;
use integration::client::KEY;
use integration::eventually;
use integration::world::World;
use mock_services::{Kind, Mock};
use serde_json::json;

async fn mock() -> Mock {
    Mock::start(Kind::User, 0).await.expect("a mock")
}

fn ttl(id: &str) -> serde_json::Value {
    json!({ "Check": { "CheckID": format!("ttl-{id}"), "TTL": "10m", "Status": "passing" } })
}

/// The names of the mocks that answer a few requests.
async fn answering(world: &World, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..6 {
        let answer = world.client.get(&format!("/api/{name}/users")).await;
        if answer.status == 200 && !seen.contains(&answer.instance().to_owned()) {
            seen.push(answer.instance().to_owned());
        }
    }
    seen.sort();
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_registers_is_routed_and_what_deregisters_is_503_and_not_404() {
    let agent = Agent::shared().await;
    let world = World::watching(agent, "").await;
    let mock = mock().await;
    assert_eq!(world.client.get("/api/newcomer/users").await.status, 404);
    agent.register("newcomer", "newcomer-1", mock.address.port(), json!({})).await;
    world.until("/api/newcomer/users", 200).await;
    agent.deregister("newcomer-1").await;
    world.until("/api/newcomer/users", 503).await;
    assert_eq!(world.client.get("/api/newcomer/users").await.reason(), "no_instances");
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_and_maintenance_take_an_instance_out_and_back_and_warning_leaves_it() {
    let agent = Agent::shared().await;
    let (one, two) = (mock().await, mock().await);
    agent.register("judged", "judged-1", one.address.port(), ttl("judged-1")).await;
    agent.register("judged", "judged-2", two.address.port(), ttl("judged-2")).await;
    let world = World::watching(agent, "").await;
    eventually("both answer", || async { answering(&world, "judged").await.len() == 2 }).await;
    agent.check("ttl-judged-1", "fail").await;
    eventually("the critical one is out", || async { answering(&world, "judged").await.len() == 1 }).await;
    agent.check("ttl-judged-1", "warn").await;
    eventually("the warning one is in", || async { answering(&world, "judged").await.len() == 2 }).await;
    agent.maintenance("judged-2", true).await;
    eventually("the one in maintenance is out", || async { answering(&world, "judged").await.len() == 1 }).await;
    let shown = world.service("judged").await;
    let health: Vec<_> =
        shown["instances"].as_array().expect("instances").iter().map(|i| i["health"].clone()).collect();
    assert!(health.contains(&json!("warning")) && health.contains(&json!("maintenance")), "{health:?}");
    agent.maintenance("judged-2", false).await;
    eventually("it is back", || async { answering(&world, "judged").await.len() == 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_address_and_a_changed_tag_are_followed() {
    let agent = Agent::shared().await;
    let (one, two) = (mock().await, mock().await);
    agent.register("mover", "mover-1", one.address.port(), json!({})).await;
    let world = World::watching(agent, "").await;
    world.until("/api/mover/users", 200).await;
    agent.register("mover", "mover-1", two.address.port(), json!({})).await;
    eventually("the new address answers", || async {
        answering(&world, "mover").await == [format!("user_service-{}", two.address.port())]
    })
    .await;
    agent.register("mover", "mover-1", two.address.port(), json!({ "Tags": ["other"] })).await;
    world.until("/api/mover/users", 503).await;
    let page = world.admin.get("/admin/services").await.json();
    let hidden = page["not_exposed"].as_array().cloned().unwrap_or_default();
    let reason = hidden.iter().find(|h| h["name"] == "mover").map(|h| h["reason"].clone());
    assert_eq!(reason, Some(json!("has no tag `gateway`")));
    agent.register("mover", "mover-1", two.address.port(), json!({})).await;
    world.until("/api/mover/users", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_share_the_requests_and_two_registrations_on_one_address_are_one_instance() {
    let agent = Agent::shared().await;
    let (one, two) = (mock().await, mock().await);
    let heavy = json!({ "Weights": { "Passing": 3, "Warning": 1 } });
    agent.register("weighed", "weighed-1", one.address.port(), heavy).await;
    agent.register("weighed", "weighed-2", two.address.port(), json!({})).await;
    agent.register("weighed", "weighed-2-again", two.address.port(), json!({})).await;
    let world = World::watching(agent, "workers = 1\n").await;
    eventually("both are known", || async {
        world.service("weighed").await["instances"].as_array().is_some_and(|i| i.len() == 2)
    })
    .await;
    let before = (one.hits(), two.hits());
    for _ in 0..40 {
        assert_eq!(world.client.get("/api/weighed/users").await.status, 200);
    }
    assert_eq!((one.hits() - before.0, two.hits() - before.1), (30, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_takes_no_traffic_with_it_and_is_watched_again_when_it_is_back() {
    let mut agent = Agent::start(true).await;
    let (one, two) = (mock().await, mock().await);
    agent.register("survivor", "survivor-1", one.address.port(), json!({})).await;
    let world = World::watching(&agent, "").await;
    world.until("/api/survivor/users", 200).await;
    agent.kill();
    eventually("admin says that the agent fails", || async {
        world.admin.get("/admin/services").await.json()["discovery"][0]["state"] == "failing"
    })
    .await;
    for _ in 0..20 {
        assert_eq!(world.client.get("/api/survivor/users").await.status, 200);
    }
    let ready = world.client.get("/ready").await;
    assert_eq!((ready.status, ready.json()["status"].clone()), (200, json!("degraded")));
    // Anybody may read this page: which kind of failure it is, and nothing of the agent.
    assert_eq!(ready.json()["why"], json!(["consul: the agent cannot be reached"]));
    agent.restart().await;
    agent.register("survivor", "survivor-2", two.address.port(), json!({})).await;
    eventually("the one that came after is routed", || async { answering(&world, "survivor").await.len() == 2 }).await;
    eventually("ready without degradation", || async { world.client.get("/ready").await.json()["status"] == "ready" })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_never_be_an_instance_is_shown_with_the_reason() {
    let agent = Agent::shared().await;
    agent.register("odd", "odd-metadata", 80, json!({ "Address": "169.254.169.254" })).await;
    agent.register("odd", "odd-port", 0, json!({})).await;
    agent.register("odd", "odd-name", 80, json!({ "Address": "host.example" })).await;
    let world = World::watching(agent, "").await;
    assert_eq!(world.client.get("/api/odd/x").await.reason(), "no_instances");
    let shown = world.service("odd").await["unroutable"].to_string();
    for reason in ["link-local", "no port", "host name"] {
        assert!(shown.contains(reason), "{reason}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_own_ports_are_no_instances_on_any_address_of_its_node() {
    let agent = Agent::shared().await;
    let port: u16 = agent.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    for (id, address) in
        [("evil-1", "127.0.0.1"), ("evil-2", "127.0.0.77"), ("evil-3", "::ffff:127.0.0.1"), ("evil-4", "10.9.9.9")]
    {
        agent.register("evil", id, port, json!({ "Address": address })).await;
    }
    let world = World::watching(agent, "allow_loopback = true\n").await;
    let planted = world
        .client
        .ask(Method::PUT, "/api/evil/v1/agent/service/register", &[("x-api-key", KEY)], "{\"Name\": \"planted\"}")
        .await;
    assert_eq!((planted.status, planted.reason().as_str()), (503, "no_instances"));
    let shown = world.service("evil").await;
    assert_eq!(shown["unroutable"].to_string().matches("agent itself").count(), 4, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_consul_as_an_independent_witness_sees_the_same_instances() {
    let agent = Agent::shared().await;
    let mock = mock().await;
    agent.register("witnessed", "witnessed-1", mock.address.port(), json!({})).await;
    let world = World::watching(agent, "").await;
    world.until("/api/witnessed/users", 200).await;
    let config = rs_consul::Config { address: agent.address.clone(), ..Default::default() };
    let witness = rs_consul::Consul::new(config);
    let seen = witness.get_service_addresses_and_ports("witnessed", None).await.expect("Consul answers");
    let shown = world.service("witnessed").await;
    let ours: Vec<_> = shown["instances"].as_array().expect("instances").iter().map(|i| i["address"].clone()).collect();
    let theirs: Vec<_> = seen.iter().map(|(address, port)| json!(format!("{address}:{port}"))).collect();
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_survives_a_swap_and_a_replaced_process_is_probed_at_once() {
    let agent = Agent::shared().await;
    let (bad, good) = (mock().await, mock().await);
    agent.register("swapped", "swapped-1", bad.address.port(), ttl("swapped-1")).await;
    agent.register("swapped", "swapped-2", good.address.port(), json!({})).await;
    let world = World::watching(agent, "[breaker]\nconsecutive = 2\nopen = \"60s\"\n[retry]\nmore = 0\n").await;
    eventually("both answer", || async { answering(&world, "swapped").await.len() == 2 }).await;
    let state = || async {
        let shown = world.service("swapped").await;
        let all = shown["instances"].as_array().cloned().unwrap_or_default();
        let mine = all.into_iter().find(|i| i["address"] == bad.address.to_string());
        mine.map(|i| i["breaker"]["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    bad.behave(|behaviour| behaviour.reset = true);
    eventually("it is tripped", || async {
        world.client.get("/api/swapped/users").await;
        state().await == "open"
    })
    .await;
    // A third instance makes a new snapshot, in which the breaker stays open.
    let third = mock().await;
    agent.register("swapped", "swapped-3", third.address.port(), json!({})).await;
    eventually("the third is known", || async {
        world.service("swapped").await["instances"].as_array().is_some_and(|i| i.len() == 3)
    })
    .await;
    assert_eq!(state().await, "open");
    // A check that was critical and passes again means that another process may be there now: it is probed at once.
    bad.behave(|behaviour| behaviour.reset = false);
    agent.check("ttl-swapped-1", "fail").await;
    eventually("it is critical", || async { world.service("swapped").await.to_string().contains("\"critical\"") })
        .await;
    agent.check("ttl-swapped-1", "pass").await;
    eventually("it is closed long before its minute is over", || async {
        world.client.get("/api/swapped/users").await;
        state().await == "closed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_services_than_connections_are_followed_by_signals_within_the_budget() {
    let agent = Agent::start(false).await;
    let mock = mock().await;
    for number in 0..40 {
        agent.register(&format!("many-{number}"), &format!("many-{number}"), mock.address.port(), json!({})).await;
    }
    let world = World::watching(&agent, "connections = 16\n").await;
    for number in 0..40 {
        let answer = world.client.get(&format!("/api/many-{number}/users")).await;
        assert_eq!(answer.status, 200, "many-{number}: {}", answer.body);
    }
    let discovery = world.admin.get("/admin/services").await.json()["discovery"][0].clone();
    assert_eq!(discovery["state"], "sweeping");
    assert_eq!(discovery["watched"].as_u64().unwrap_or(0) + discovery["swept"].as_u64().unwrap_or(0), 40);
    assert!(discovery["notes"].to_string().contains("consul.connections = "), "{discovery}");
    assert_eq!(discovery["plan"]["name"], "signals", "{discovery}");
    let open = connections_to(&agent.address);
    // Those of the gateway, and up to two of this test's own client.
    assert!((1..=16 + 2).contains(&open), "{open} connections to the agent");
}

/// How many connections to a port are established. The kernel's table lists both ends, for both are on this machine; those of
/// the clients are counted, whose remote address has the port.
fn connections_to(address: &str) -> usize {
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let to = format!(":{port:04X}");
    let established = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.len() > 3 && fields[2].ends_with(&to) && fields[3] == "01"
    };
    table.lines().filter(established).count()
}
