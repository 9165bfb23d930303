//! Gateways that start while no agent answers.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use integration::agent::Agent;
use integration::eventually;
use serde_json::json;

use super::stand::{Folder, gateway, mock, provider, says, until_answered_by, until_ready_is};

fn saving(agent: &Agent, file: &Path) -> String {
    format!("address = \"{}\"\nsnapshot = {{ file = \"{}\" }}\n", agent.address, file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_while_the_agent_is_dead_serves_what_was_saved_and_says_that_it_is_stale() {
    let (mut agent, folder) = (Agent::start(true).await, Folder::new());
    let (one, two) = (mock().await, mock().await);
    agent.register("kept", "kept-1", one.address.port(), json!({})).await;
    agent.register("other", "other-1", one.address.port(), json!({})).await;
    let consul = saving(&agent, &folder.file("catalog.json"));
    let world = gateway(&consul).await;
    until_answered_by(&world, "kept", &one).await;
    until_answered_by(&world, "other", &one).await;
    until_ready_is(&world, "ready").await;
    world.stop().await;
    agent.kill();

    let world = gateway(&consul).await;
    until_answered_by(&world, "kept", &one).await;
    until_ready_is(&world, "degraded").await;
    says(&world, "it is stale, and since when", |consul| {
        consul["state"] == "stale" && consul["notes"].to_string().contains("saved")
    })
    .await;
    assert!(world.client.get("/ready").await.json()["why"].to_string().contains("saved"));
    for name in ["kept", "other", "kept", "other"] {
        assert_eq!(world.client.get(&format!("/api/{name}/users")).await.status, 200);
    }

    agent.restart().await;
    until_ready_is(&world, "ready").await;
    says(&world, "it is watched", |consul| consul["state"] == "watching" && consul["suspects"] == 0).await;
    agent.register("kept", "kept-1", two.address.port(), json!({})).await;
    until_answered_by(&world, "kept", &two).await;
    agent.deregister("other-1").await;
    world.until("/api/other/users", 503).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_others_could_have_written_is_refused_and_the_reason_is_shown() {
    let (mut agent, folder) = (Agent::start(false).await, Folder::new());
    let one = mock().await;
    agent.register("kept", "kept-1", one.address.port(), json!({})).await;
    let file = folder.file("catalog.json");
    let world = gateway(&saving(&agent, &file)).await;
    until_answered_by(&world, "kept", &one).await;
    until_ready_is(&world, "ready").await;
    world.stop().await;
    agent.kill();
    assert!(file.exists(), "nothing was saved at the end");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o622)).expect("it is ours");
    let world = gateway(&saving(&agent, &file)).await;
    eventually("the reason is shown", || async {
        provider(&world).await["notes"].to_string().contains("others than its owner can write it")
    })
    .await;
    let answer = world.client.get("/api/kept/users").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "no_catalog"));
}
