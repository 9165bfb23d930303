//! Agents that die, come back with nothing, come late, or take no more connections; and what the log says of it.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::agent::free_port;
use integration::client::Client;
use integration::eventually;
use integration::fake_agent::{FakeAgent, Fault, Instance, Rule, Version};
use integration::process::{Process, built};
use integration::world::text;
use mock_services::{Kind, Mock};

use super::stand::Stand;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_takes_nothing_with_it() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.agent.kill().await;
            stand.degraded().await;
            stand.agent.revive().await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    stand.ready().await;
    stand.suspects(0).await;
    stand.obeys("later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_without_its_memory_takes_nothing_with_it() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.agent.kill().await;
            stand.degraded().await;
            stand.agent.forget();
            stand.agent.revive().await;
            stand.suspects(6).await;
            stand.degraded().await;
            // What registers again is confirmed; the rest goes on being held.
            stand.agent.register(Instance::new("s0", "s0-1", stand.mocks[0].address).on("node-0"));
            stand.suspects(5).await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_loses_its_memory_while_it_is_heard_takes_nothing_with_it() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.agent.forget();
            stand.agent.disconnect().await;
            stand.suspects(6).await;
        })
        .await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_late_is_heard_when_it_comes() {
    let agent = FakeAgent::start().await;
    agent.kill().await;
    let stand = Stand::before(agent, 3, "").await;
    let early = stand.get("s0").await;
    assert_eq!((early.status, early.reason().as_str()), (503, "no_catalog"));
    stand.agent.revive().await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_connections_than_the_budget_allows() {
    let stand = Stand::with(30, "connections = 8\n").await;
    let seen = stand
        .during(async {
            stand.follows("later").await;
            stand.agent.disconnect().await;
            stand.fail([Rule::new("/v1/health/", Fault::Status(500)).times(20)]);
            stand.asked("/v1/", 30).await;
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
    let [_, most, refused] = stand.agent.connections();
    assert!(most <= 8 && refused == 0, "{most} connections, {refused} refused");
}

/// Others take most of the connections that the agent allows this address.
async fn connections_become_short(version: Version) {
    let stand = Stand::of(12).await;
    stand.agent.set_version(version);
    let seen = stand
        .during(async {
            stand.agent.set_limit(6);
            stand.agent.disconnect().await;
            eventually("some are refused", || async { stand.agent.connections()[2] > 0 }).await;
            let before = stand.agent.connections()[2];
            // The time in which is counted.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let refused = stand.agent.connections()[2] - before;
            assert!(refused < 150, "{refused} attempts in 3 s");
        })
        .await;
    seen.was_good();
    stand.agent.set_limit(200);
    stand.follows("later").await;
    stand.ready().await;
    stand.suspects(0).await;
    stand.obeys("later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_because_they_are_too_many_cost_no_service() {
    connections_become_short(Version::Old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_answered_429_because_they_are_too_many_cost_no_service() {
    connections_become_short(Version::Filtering).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_gets_fewer_connections_than_it_may_have_serves_all() {
    let agent = FakeAgent::start().await;
    agent.set_limit(6);
    let stand = Stand::before(agent, 12, "").await;
    eventually("all is served", || async { !stand.ask().await.lacks() }).await;
    let seen = stand.during(stand.follows("later")).await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_lasts_is_logged_once() {
    let agent = FakeAgent::start().await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    for number in 0..5 {
        agent.register(Instance::new(&format!("s{number}"), &format!("s{number}-1"), mock.address));
    }
    let folder = std::env::temp_dir().join(format!("lictor-enduring-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (file, log, port) = (folder.join("lictor.toml"), folder.join("log"), free_port());
    let more = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[consul]\naddress = \"{}\"\nallow_loopback = true\n",
        agent.url()
    );
    std::fs::write(&file, text(&more)).expect("it can be written");
    let mut command = Command::new(built(&["lictor"]).expect("it builds").remove(0));
    command.args(["run", "--config"]).arg(&file).env_remove("CONSUL_HTTP_ADDR").stdout(Stdio::null());
    command.stderr(File::create(&log).expect("a file"));
    let mut gateway = Process::start("lictor", &mut command).expect("it starts");
    let client = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    eventually("it serves", || async { client.get("/api/s4/users").await.status == 200 }).await;
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    agent.fail(Rule::new("/v1/", Fault::Status(500)));
    agent.change(integration::fake_agent::Catalog::touch);
    let before = agent.count("/v1/");
    eventually("it fails many times", || async { agent.count("/v1/") >= before + 25 }).await;
    assert_eq!(client.get("/api/s0/users").await.status, 200);
    let said = lines().lines().filter(|line| line.contains("500")).count();
    // Once for the list of names, once for each service.
    assert!((1..=6).contains(&said), "{said} lines:\n{}", lines());
    gateway.end(Duration::from_secs(5));
    let _ = std::fs::remove_dir_all(&folder);
}
