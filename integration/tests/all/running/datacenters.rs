//! Two datacenters, joined: what the first one cannot serve, the second does.

use integration::agent::{Agent, Setup};
use integration::eventually;
use integration::world::World;
use serde_json::{Value, json};

use super::stand::{Load, checked, gateway, mock, until_answered_by, until_ready_is};

/// A server of each of two datacenters, which know each other.
async fn two() -> (Agent, Agent) {
    let second = Setup { flags: vec!["-datacenter=dc2".into(), "-node=far".into()], ..Setup::default() };
    // Killed and started again, the first one is known by its ports, its node and its id.
    let (first, second) = tokio::join!(Agent::of(Setup { durable: true, ..Setup::default() }), Agent::of(second));
    join(&first, &second).await;
    (first, second)
}

async fn join(first: &Agent, second: &Agent) {
    first.put(&format!("/v1/agent/join/127.0.0.1:{}?wan=1", second.wan()), None).await;
    eventually("each knows the other's catalog", || async {
        first.get("/v1/catalog/services?dc=dc2").await["consul"].is_array()
            && second.get("/v1/catalog/services?dc=dc1").await["consul"].is_array()
    })
    .await;
}

/// A gateway that prefers the first one.
async fn between(first: &Agent) -> World {
    // Instances on loopback are refused of other nodes than the agent's; here all nodes are one host.
    let consul = format!("address = \"{}\"\ndatacenters = [\"dc1\", \"dc2\"]\nallow_loopback = true\n", first.address);
    gateway(&consul).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_served_by_the_first_datacenter_that_can_and_by_the_next_while_that_one_cannot() {
    let (first, second) = two().await;
    let (near, far, only) = (mock().await, mock().await, mock().await);
    first.register("both", "both-1", near.address.port(), checked("both-1")).await;
    second.register("both", "both-1", far.address.port(), json!({})).await;
    second.register("only", "only-1", only.address.port(), json!({})).await;
    let world = between(&first).await;
    until_answered_by(&world, "only", &only).await;
    until_answered_by(&world, "both", &near).await;
    until_ready_is(&world, "ready").await;
    for _ in 0..6 {
        assert_eq!(world.client.get("/api/both/users").await.instance(), near.name());
    }
    first.check("ttl-both-1", "fail").await;
    until_answered_by(&world, "both", &far).await;
    let load = Load::on(&world, &["both", "only"]);
    first.check("ttl-both-1", "pass").await;
    until_answered_by(&world, "both", &near).await;
    load.end().await.was_good();
    for _ in 0..6 {
        assert_eq!(world.client.get("/api/both/users").await.instance(), near.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_elsewhere_is_reached_by_its_wan_address() {
    let (first, second) = two().await;
    let far = mock().await;
    let wan = json!({ "wan": { "Address": "127.0.0.1", "Port": far.address.port() } });
    second.register("remote", "remote-1", 9, json!({ "Address": "10.255.255.1", "TaggedAddresses": wan })).await;
    let world = between(&first).await;
    until_answered_by(&world, "remote", &far).await;
    let shown: Value = world.service("remote").await;
    assert_eq!(shown["instances"][0]["address"], json!(far.address.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_takes_nothing_with_it_in_any_datacenter() {
    let (mut first, second) = two().await;
    let (near, far, moved) = (mock().await, mock().await, mock().await);
    first.register("near", "near-1", near.address.port(), json!({})).await;
    second.register("far", "far-1", far.address.port(), json!({})).await;
    let world = between(&first).await;
    until_answered_by(&world, "near", &near).await;
    until_answered_by(&world, "far", &far).await;
    until_ready_is(&world, "ready").await;
    let load = Load::on(&world, &["near", "far"]);
    first.kill();
    until_ready_is(&world, "degraded").await;
    first.restart().await;
    join(&first, &second).await;
    until_ready_is(&world, "ready").await;
    second.register("far", "far-1", moved.address.port(), json!({})).await;
    until_answered_by(&world, "far", &moved).await;
    first.register("near", "near-1", moved.address.port(), json!({})).await;
    until_answered_by(&world, "near", &moved).await;
    load.end().await.was_good();
}
