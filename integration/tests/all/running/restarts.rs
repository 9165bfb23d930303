//! Agents that are killed during load, and come back with and without their memory.

use std::time::Duration;

use integration::agent::Agent;
use integration::eventually;
use integration::world::World;
use mock_services::Mock;
use serde_json::json;

use super::stand::{Load, gateway, mock, provider, says, until_answered_by, until_ready_is};

/// So many services, of two instances each: `s0-0` and `s0-1`, each of which is a mock of its own.
struct Crowd {
    names: Vec<String>,
    mocks: Vec<[Mock; 2]>,
}

impl Crowd {
    async fn of(agent: &Agent, count: usize) -> Crowd {
        let mut mocks = Vec::new();
        for _ in 0..count {
            mocks.push([mock().await, mock().await]);
        }
        let crowd = Crowd { names: (0..count).map(|number| format!("s{number}")).collect(), mocks };
        crowd.register(agent, 0).await;
        crowd.register(agent, 1).await;
        crowd
    }

    /// Registers the first or second instance of each.
    async fn register(&self, agent: &Agent, which: usize) {
        for (name, mocks) in self.names.iter().zip(&self.mocks) {
            agent.register(name, &format!("{name}-{which}"), mocks[which].address.port(), json!({})).await;
        }
    }

    /// A gateway that serves them all.
    async fn world(&self, agent: &Agent) -> World {
        let world = gateway(&format!("address = \"{}\"\n", agent.address)).await;
        for name in &self.names {
            eventually("both are known", || async {
                world.service(name).await["instances"].as_array().is_some_and(|all| all.len() == 2)
            })
            .await;
        }
        until_ready_is(&world, "ready").await;
        world
    }

    fn load(&self, world: &World) -> Load {
        Load::on(world, &self.names.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_and_comes_back_with_its_memory_costs_no_request_and_leaves_no_suspect() {
    let mut agent = Agent::start(true).await;
    let crowd = Crowd::of(&agent, 6).await;
    let world = crowd.world(&agent).await;
    let load = crowd.load(&world);
    agent.kill();
    until_ready_is(&world, "degraded").await;
    // What counts is that it lasts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    agent.restart().await;
    until_ready_is(&world, "ready").await;
    let fresh = mock().await;
    for which in 0..2 {
        agent.register("s0", &format!("s0-{which}"), fresh.address.port(), json!({})).await;
    }
    until_answered_by(&world, "s0", &fresh).await;
    says(&world, "nothing is held", |consul| consul["suspects"] == 0).await;
    load.end().await.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_without_its_memory_costs_no_request_although_half_never_register_again() {
    let mut agent = Agent::start(false).await;
    let mut crowd = Crowd::of(&agent, 6).await;
    let world = crowd.world(&agent).await;
    let load = crowd.load(&world);
    agent.kill();
    until_ready_is(&world, "degraded").await;
    agent.restart().await;
    says(&world, "all is held", |consul| consul["suspects"] == 12).await;
    crowd.register(&agent, 0).await;
    says(&world, "half is confirmed", |consul| consul["suspects"] == 6).await;
    // The others end without a word.
    let _stay: Vec<Mock> = crowd.mocks.drain(..).map(|[stays, _]| stays).collect();
    load.end().await.was_good();
    assert_eq!(provider(&world).await["suspects"], 6);
}
