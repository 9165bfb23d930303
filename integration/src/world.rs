//! A gateway in this process, on ports of its own, with whatever stands behind it.

use std::net::SocketAddr;
use std::path::Path;

use lictor::app::{self, Running};
use lictor::config::watch::Source;
use lictor::config::{self, Config, Environment, Overrides};
use mock_services::Mock;
use serde_json::Value;

use crate::agent::Agent;
use crate::client::{Client, KEY};
use crate::eventually;

/// A gateway and a client for it.
#[derive(Debug)]
pub struct World {
    /// The public listener.
    pub address: SocketAddr,
    /// A client with the key.
    pub client: Client,
    /// A client of the admin listener.
    pub admin: Client,
    /// The gateway.
    pub gateway: Option<Running>,
}

/// The configuration of most worlds: every port chosen by the system, one admin, no announcement at the end.
pub fn config(more: &str) -> Config {
    let text = text(more);
    config::parse(Some(&text), "test", Overrides::default(), &Environment::default())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// That configuration as it is written.
pub fn text(more: &str) -> String {
    let digest: String = config::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut top = String::new();
    let mut sections = String::new();
    for part in [more] {
        match part.split_once('[') {
            Some((keys, rest)) => {
                top += keys;
                sections += &format!("[{rest}");
            }
            None => top += part,
        }
    }
    let own = |section: &str, text: &str| if sections.contains(section) { String::new() } else { text.to_owned() };
    format!(
        "{top}\n[[consumer]]\nname = \"tests\"\nkeys = [\"sha256:{digest}\"]\nroles = [\"admin\"]\n{}{}{}{}{sections}\n",
        own("[[listener]]", "[[listener]]\naddress = \"127.0.0.1:0\"\n"),
        own("[admin]", "[admin]\naddress = \"127.0.0.1:0\"\n"),
        own("[log]", "[log]\naccess = false\n"),
        own("[shutdown]", "[shutdown]\nannounce = \"0s\"\ndeadline = \"2s\"\n"),
    )
}

/// `[[service]]` for mocks.
pub fn service(name: &str, mocks: &[&Mock]) -> String {
    let instances: Vec<_> = mocks.iter().map(|mock| format!("\"{}\"", mock.address)).collect();
    format!("[[service]]\nname = \"{name}\"\ninstances = [{}]\n", instances.join(", "))
}

impl World {
    /// Starts a gateway, off the test's runtime.
    pub async fn start(config: Config) -> World {
        World::run(move || app::start(config)).await
    }

    /// A gateway whose configuration is a file that it follows, ready.
    pub async fn following(file: &Path) -> World {
        let mut source = Source::new(Some(file.to_owned()), Overrides::default(), &Environment::default());
        let config = source.load().unwrap_or_else(|errors| panic!("{errors}"));
        let world = World::run(move || app::start_from(config, source)).await;
        world.ready().await;
        world
    }

    async fn run(start: impl FnOnce() -> Result<Running, app::Error> + Send + 'static) -> World {
        let gateway = tokio::task::spawn_blocking(start).await.expect("no panic");
        let gateway = gateway.unwrap_or_else(|error| panic!("{error}"));
        let address = gateway.addresses[0];
        World { address, client: Client::new(address), admin: Client::new(gateway.admin), gateway: Some(gateway) }
    }

    /// A gateway with services from the file, ready.
    pub async fn of(more: &str) -> World {
        let world = World::start(config(more)).await;
        world.ready().await;
        world
    }

    /// A gateway that watches an agent, ready.
    pub async fn watching(agent: &Agent, more: &str) -> World {
        // `workers` belongs to the top, what else stands before a section belongs to `[consul]`.
        let (top, rest) = match more.split_once('\n') {
            Some((first, rest)) if first.starts_with("workers") => (format!("{first}\n"), rest),
            _ => (String::new(), more),
        };
        World::of(&format!("{top}[consul]\naddress = \"{}\"\n{}{rest}", agent.address, agent.settings())).await
    }

    /// Until `/ready` says so.
    pub async fn ready(&self) {
        eventually("/ready is 200", || async { self.client.get("/ready").await.status == 200 }).await;
    }

    /// A service as admin shows it.
    pub async fn service(&self, name: &str) -> Value {
        let page = self.admin.get(&format!("/admin/services?service={name}")).await;
        page.json()["services"][0].clone()
    }

    /// Until a path is answered with a status.
    pub async fn until(&self, path: &str, status: u16) {
        eventually(&format!("{path} is {status}"), || async { self.client.get(path).await.status == status }).await;
    }

    /// Stops the gateway in its orderly way.
    pub async fn stop(mut self) {
        if let Some(gateway) = self.gateway.take() {
            let _ = tokio::task::spawn_blocking(move || gateway.stop()).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            // The end waits for threads: not here, where it would hold up a test's runtime.
            std::thread::spawn(move || drop(gateway));
        }
    }
}
