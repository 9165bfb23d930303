//! A gateway between clients and a fake agent, with instances that answer: what clients see while the agent does its worst.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;

use integration::client::Response;
use integration::eventually;
use integration::fake_agent::{Catalog, FakeAgent, Fault, Instance, Rule};
use integration::world::{World, config};
use lictor::config::digest;
use mock_services::{Kind, Mock};
use serde_json::Value;

/// The key of a consumer who may steer.
const OPERATOR: &str = "operator-key";

/// Services `s0`, `s1`, … of two instances each, `s0-1` and `s0-2`, on the nodes `node-0` and `node-1`.
pub(super) struct Stand {
    pub(super) agent: FakeAgent,
    pub(super) world: World,
    /// What the instances are.
    pub(super) mocks: Vec<Mock>,
    names: Vec<String>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    good: u64,
    /// Other answers than 200: how often, by service, status and reason.
    bad: BTreeMap<(String, u16, String), u64>,
}

impl Seen {
    fn note(&mut self, name: &str, answer: &Response) {
        if answer.status == 200 {
            self.good += 1;
        } else {
            *self.bad.entry((name.to_owned(), answer.status, answer.reason())).or_default() += 1;
        }
    }

    /// Some request was answered otherwise.
    pub(super) fn lacks(&self) -> bool {
        !self.bad.is_empty()
    }

    /// Every request was answered with 200, and there were some.
    pub(super) fn was_good(&self) {
        assert!(self.bad.is_empty() && self.good > 0, "{self:?}");
    }
}

impl Stand {
    /// So many services, all of them served.
    pub(super) async fn of(services: usize) -> Stand {
        Stand::with(services, "").await
    }

    /// The same with more in `[consul]`.
    pub(super) async fn with(services: usize, more: &str) -> Stand {
        let agent = FakeAgent::start().await;
        let stand = Stand::before(agent, services, more).await;
        stand.ready().await;
        stand
    }

    /// A gateway that has just begun to ask an agent.
    pub(super) async fn before(agent: FakeAgent, services: usize, more: &str) -> Stand {
        let mut mocks = Vec::new();
        for _ in 0..2 {
            mocks.push(Mock::start(Kind::User, 0).await.expect("a mock"));
        }
        let names: Vec<_> = (0..services).map(|number| format!("s{number}")).collect();
        agent.change(|catalog| {
            for (number, name) in names.iter().enumerate() {
                for (at, mock) in mocks.iter().enumerate() {
                    let node = format!("node-{}", (number + at) % 2);
                    catalog.register(Instance::new(name, &format!("{name}-{}", at + 1), mock.address).on(&node));
                }
            }
        });
        let operator: String = digest(OPERATOR).iter().map(|byte| format!("{byte:02x}")).collect();
        let consumer = format!(
            "[[consumer]]\nname = \"operator\"\nkeys = [\"sha256:{operator}\"]\nroles = [\"admin\", \"operator\"]\n"
        );
        let consul = format!("[consul]\naddress = \"{}\"\nallow_loopback = true\n{more}", agent.url());
        let world = World::start(config(&format!("workers = 1\n{consul}\n{consumer}"))).await;
        Stand { agent, world, mocks, names }
    }

    /// Until every service is served, each instance is confirmed, and nothing is degraded.
    pub(super) async fn ready(&self) {
        eventually("all is served", || async { self.ask().await.bad.is_empty() }).await;
        eventually("/ready is ready", || async { self.status().await == "ready" }).await;
    }

    /// Asks each service once.
    pub(super) async fn ask(&self) -> Seen {
        let mut seen = Seen::default();
        self.ask_into(&mut seen).await;
        seen
    }

    async fn ask_into(&self, seen: &mut Seen) {
        for name in &self.names {
            seen.note(name, &self.get(name).await);
        }
    }

    /// Asks a service once.
    pub(super) async fn get(&self, name: &str) -> Response {
        self.world.client.get(&format!("/api/{name}/users")).await
    }

    /// What clients see while something happens: every service is asked in turn, again and again.
    pub(super) async fn during(&self, what: impl Future<Output = ()>) -> Seen {
        let (mut seen, mut what) = (Seen::default(), pin!(what));
        loop {
            tokio::select! {
                () = &mut what => break,
                () = self.ask_into(&mut seen) => {}
            }
        }
        self.ask_into(&mut seen).await;
        seen
    }

    /// Faults begin, and all queries that wait return into them.
    pub(super) fn fail(&self, rules: impl IntoIterator<Item = Rule>) {
        rules.into_iter().for_each(|rule| self.agent.fail(rule));
        self.agent.change(Catalog::touch);
    }

    /// Services are missing from one answer, the list of names. Whoever reads them anew is told the same.
    pub(super) fn vanish(&self, names: &[&str]) {
        let ids = names.iter().flat_map(|name| [format!("{name}-1"), format!("{name}-2")]);
        let gone = names.iter().map(|name| (*name).to_owned()).chain(ids).collect();
        self.agent.fail(Rule::new("/v1/", Fault::Without(gone)));
        // It moves the index of the list, and of no other service.
        self.agent.register(Instance::new("bystander", "bystander-1", self.mocks[0].address));
    }

    /// Faults end.
    pub(super) fn heal(&self) {
        self.agent.heal();
        self.agent.change(Catalog::touch);
    }

    /// Until the agent was asked so often more.
    pub(super) async fn asked(&self, path: &str, more: u64) {
        let before = self.agent.count(path);
        eventually("the agent is asked", || async { self.agent.count(path) >= before + more }).await;
    }

    /// `ready` or `degraded`, as `/ready` says.
    pub(super) async fn status(&self) -> String {
        let ready = self.world.client.get("/ready").await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        ready.json()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Until `/ready` says that something is degraded.
    pub(super) async fn degraded(&self) {
        eventually("/ready is degraded", || async { self.status().await == "degraded" }).await;
    }

    /// A service that registers now is routed.
    pub(super) async fn follows(&self, name: &str) {
        self.agent.register(Instance::new(name, &format!("{name}-1"), self.mocks[0].address));
        self.world.until(&format!("/api/{name}/users"), 200).await;
    }

    /// The only instance of a service has another address now, and that is followed.
    pub(super) async fn moves(&self, name: &str) {
        let other = &self.mocks[1];
        self.agent.register(Instance::new(name, &format!("{name}-1"), other.address));
        eventually("its new address is asked", || async { self.get(name).await.instance() == other.name() }).await;
    }

    /// The only instance of a service deregisters now, and that is obeyed.
    pub(super) async fn obeys(&self, name: &str) {
        self.agent.deregister(&format!("{name}-1"));
        self.world.until(&format!("/api/{name}/users"), 503).await;
        assert_eq!(self.get(name).await.reason(), "no_instances");
    }

    /// How Consul fares, as admin shows it.
    pub(super) async fn provider(&self) -> Value {
        self.world.admin.get("/admin/services").await.json()["discovery"][0].clone()
    }

    /// Until so many instances are suspect.
    pub(super) async fn suspects(&self, count: u64) {
        eventually(&format!("{count} instances are suspect"), || async {
            self.provider().await["suspects"].as_u64().unwrap_or(0) == count
        })
        .await;
    }

    /// The instances of a service, those that are suspect by their reason.
    pub(super) async fn instances(&self, name: &str) -> Vec<Option<String>> {
        let service = self.world.service(name).await;
        let all = service["instances"].as_array().cloned().unwrap_or_default();
        all.iter().map(|instance| instance["suspect"]["reason"].as_str().map(str::to_owned)).collect()
    }

    /// An operator accepts that suspects are gone: of a service, or of all. How many they were.
    pub(super) async fn accept(&self, query: &str) -> Value {
        let path = format!("/admin/discovery/accept{query}");
        let answer = self.world.admin.ask(http::Method::POST, &path, &[("x-api-key", OPERATOR)], "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["accepted"].clone()
    }
}
