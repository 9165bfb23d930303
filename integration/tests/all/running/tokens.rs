//! Tokens that are rotated, deleted, and lose rights while the gateway runs.

use integration::agent::{Agent, Setup};
use integration::eventually;
use integration::process::root;
use integration::world::World;
use mock_services::Mock;
use serde_json::{Value, json};

use super::stand::{Folder, Load, checked, gateway, mock, provider, says, until_answered_by, until_ready_is};

/// Whoever has it may do everything.
const MANAGEMENT: &str = "b1650000-0000-4000-8000-000000000015";

/// An agent that shows nothing without a token, with services of two instances each.
struct Guarded {
    agent: Agent,
    mocks: [Mock; 2],
    folder: Folder,
}

impl Guarded {
    async fn start() -> Guarded {
        let file = root().join("consul/agent-acl.hcl").display().to_string();
        let token = MANAGEMENT.to_owned();
        let hcl = format!("acl {{ tokens {{ master = \"{token}\" agent = \"{token}\" }} }}");
        let flags = vec![format!("-config-file={file}")];
        let agent = Agent::of(Setup { hcl, token, flags, ..Setup::default() }).await;
        let guarded = Guarded { agent, mocks: [mock().await, mock().await], folder: Folder::new() };
        for name in NAMES {
            for (index, mock) in guarded.mocks.iter().enumerate() {
                let id = format!("{name}-{index}");
                guarded.agent.register(name, &id, mock.address.port(), checked(&id)).await;
            }
        }
        guarded
    }

    /// Creates or changes a policy; its id.
    async fn policy(&self, id: Option<&str>, rules: &str) -> String {
        let path = id.map_or("/v1/acl/policy".to_owned(), |id| format!("/v1/acl/policy/{id}"));
        let mut body = json!({ "Name": "lictor", "Rules": rules });
        if let Some(id) = id {
            body["ID"] = json!(id);
        }
        let policy = self.agent.put(&path, Some(body)).await;
        policy["ID"].as_str().expect("a policy").to_owned()
    }

    /// Creates a token with this policy; what it is called, and the token.
    async fn token(&self, policy: &str) -> (String, String) {
        let token = self.agent.put("/v1/acl/token", Some(json!({ "Policies": [{ "ID": policy }] }))).await;
        let text = |key: &str| token[key].as_str().expect("a token").to_owned();
        (text("AccessorID"), text("SecretID"))
    }

    /// Deletes a token, until the agent knows it no more.
    async fn delete(&self, (accessor, secret): &(String, String)) {
        self.agent.delete(&format!("/v1/acl/token/{accessor}")).await;
        let asked = format!("/v1/catalog/services?token={secret}");
        eventually("the token is gone", || async { self.agent.get(&asked).await.is_null() }).await;
    }

    /// A gateway with a token in a file.
    async fn gateway(&self, (_, secret): &(String, String)) -> World {
        let file = self.folder.write("token", secret);
        let consul = format!("address = \"{}\"\ntoken = {{ file = \"{}\" }}\n", self.agent.address, file.display());
        let world = gateway(&consul).await;
        for name in NAMES {
            world.until(&format!("/api/{name}/users"), 200).await;
        }
        until_ready_is(&world, "ready").await;
        world
    }

    /// A service has another address, and that is followed.
    async fn moves(&self, world: &World, name: &str) -> Mock {
        let fresh = mock().await;
        for index in 0..2 {
            let id = format!("{name}-{index}");
            self.agent.register(name, &id, fresh.address.port(), checked(&id)).await;
        }
        until_answered_by(world, name, &fresh).await;
        let all = || async { world.service(name).await["instances"].as_array().map_or(0, Vec::len) };
        eventually("only its new address is known", || async { all().await == 1 }).await;
        for _ in 0..4 {
            assert_eq!(world.client.get(&format!("/api/{name}/users")).await.instance(), fresh.name());
        }
        fresh
    }
}

const NAMES: [&str; 4] = ["s0", "s1", "s2", "s3"];

fn documented() -> String {
    std::fs::read_to_string(root().join("consul/policy.hcl")).expect("the policy")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_is_rotated_without_a_restart_and_nothing_is_lost() {
    let guarded = Guarded::start().await;
    let policy = guarded.policy(None, &documented()).await;
    let (old, new) = (guarded.token(&policy).await, guarded.token(&policy).await);
    let world = guarded.gateway(&old).await;
    let load = Load::on(&world, &NAMES);
    guarded.folder.write("token", &new.1);
    guarded.delete(&old).await;
    let _moved = guarded.moves(&world, "s0").await;
    guarded.agent.register("late", "late-1", guarded.mocks[0].address.port(), json!({})).await;
    until_answered_by(&world, "late", &guarded.mocks[0]).await;
    until_ready_is(&world, "ready").await;
    load.end().await.was_good();
    assert_eq!(provider(&world).await["suspects"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_deleted_takes_nothing_with_it_and_a_new_one_heals_without_a_restart() {
    let guarded = Guarded::start().await;
    let policy = guarded.policy(None, &documented()).await;
    let old = guarded.token(&policy).await;
    let world = guarded.gateway(&old).await;
    let load = Load::on(&world, &NAMES);
    guarded.delete(&old).await;
    // Queries that wait come back with a change.
    guarded.agent.register("late", "late-1", guarded.mocks[0].address.port(), json!({})).await;
    until_ready_is(&world, "degraded").await;
    says(&world, "the agent refuses", |consul| consul["error"].as_str().is_some_and(|why| why.contains("403"))).await;
    let new = guarded.token(&policy).await;
    guarded.folder.write("token", &new.1);
    until_answered_by(&world, "late", &guarded.mocks[0]).await;
    let _moved = guarded.moves(&world, "s1").await;
    until_ready_is(&world, "ready").await;
    load.end().await.was_good();
    assert_eq!(provider(&world).await["suspects"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_loses_its_eyes_takes_nothing_with_it_and_is_forgiven_when_it_sees_again() {
    let guarded = Guarded::start().await;
    let policy = guarded.policy(None, &documented()).await;
    let token = guarded.token(&policy).await;
    let world = guarded.gateway(&token).await;
    let load = Load::on(&world, &NAMES);
    guarded.policy(Some(&policy), "node_prefix \"\" { policy = \"read\" }").await;
    let seen = format!("/v1/catalog/services?token={}", token.1);
    eventually("the token sees nothing", || async { guarded.agent.get(&seen).await == json!({}) }).await;
    // Queries that wait still have the rights with which they began. They end with a change, and the next change is seen by a blind one.
    let changes = std::cell::Cell::new(0);
    eventually("all is held", || async {
        changes.set(changes.get() + 1);
        let port = guarded.mocks[changes.get() % 2].address.port();
        guarded.agent.register("late", "late-1", port, json!({})).await;
        let mut held = 0;
        for name in NAMES {
            let instances = world.service(name).await["instances"].as_array().cloned().unwrap_or_default();
            held += instances.iter().filter(|instance| instance["suspect"].is_object()).count();
        }
        held == 2 * NAMES.len()
    })
    .await;
    until_ready_is(&world, "degraded").await;
    let notes = provider(&world).await["notes"].to_string();
    assert!(notes.contains("no longer sees the service `consul`"), "{notes}");
    let shown: Value = world.service("s0").await;
    assert!(shown["instances"][0]["suspect"]["reason"].is_string(), "{shown}");
    guarded.policy(Some(&policy), &documented()).await;
    eventually("the token sees again", || async {
        guarded.agent.get(&seen).await.as_object().is_some_and(|all| all.len() > NAMES.len())
    })
    .await;
    // Nothing changes in the catalog.
    says(&world, "nothing is held", |consul| consul["suspects"] == 0).await;
    until_ready_is(&world, "ready").await;
    let _moved = guarded.moves(&world, "s2").await;
    load.end().await.was_good();
}
