//! Several agents of one datacenter, and one behind a Unix socket.

use integration::agent::{Agent, Setup};
use serde_json::json;

use super::stand::{Folder, Load, gateway, mock, provider, says, until_answered_by, until_ready_is};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_preferred_agent_is_killed_the_next_one_is_followed_and_no_request_fails() {
    let server = Agent::start(false).await;
    let setup = Setup { client_of: Some(server.lan()), flags: vec!["-node=edge".into()], ..Setup::default() };
    let mut edge = Agent::of(setup).await;
    let (one, two) = (mock().await, mock().await);
    server.register("shifted", "shifted-1", one.address.port(), json!({})).await;
    let agents = format!("addresses = [\"{}\", \"{}\"]\nallow_loopback = true\n", edge.address, server.address);
    let world = gateway(&agents).await;
    until_answered_by(&world, "shifted", &one).await;
    assert_eq!(provider(&world).await["plan"]["agent"], json!(edge.address));
    until_ready_is(&world, "ready").await;
    let load = Load::on(&world, &["shifted"]);
    edge.kill();
    until_ready_is(&world, "degraded").await;
    says(&world, "the other agent is followed", |consul| consul["plan"]["agent"] == json!(server.address)).await;
    server.register("shifted", "shifted-1", two.address.port(), json!({})).await;
    until_answered_by(&world, "shifted", &two).await;
    server.register("late", "late-1", two.address.port(), json!({})).await;
    until_answered_by(&world, "late", &two).await;
    load.end().await.was_good();
    let notes = provider(&world).await["notes"].to_string();
    assert!(notes.contains("does not answer") && notes.contains(&edge.address), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_behind_a_unix_socket_is_followed() {
    let folder = Folder::new();
    let socket = folder.file("consul.sock");
    let hcl = format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}", socket.display());
    let agent = Agent::of(Setup { hcl, ..Setup::default() }).await;
    let (one, two) = (mock().await, mock().await);
    agent.register("plugged", "plugged-1", one.address.port(), json!({})).await;
    let world = gateway(&format!("address = \"unix://{}\"\n", socket.display())).await;
    until_answered_by(&world, "plugged", &one).await;
    agent.register("plugged", "plugged-1", two.address.port(), json!({})).await;
    until_answered_by(&world, "plugged", &two).await;
    until_ready_is(&world, "ready").await;
}
