//! One agent, asked step by step: each answer is a finding, and what it lacks says what to do.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::finding::{advised, counted, fail, ok, warn};
use super::judgement::{clock, policies, version};
use crate::config;
use crate::discovery::consul::agent::{Budget, fewest};
use crate::discovery::consul::client::{Answer, Client, Failure, Lane, Patience};
use crate::discovery::consul::listing;
use crate::discovery::consul::model::{self, AgentSelf, Names};
use crate::pages::doctor::{Finding, Level};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long an answer may take.
pub(super) const PATIENCE: Patience = Patience { head: DEADLINE, waits: None };

/// How many connections are used.
const CONNECTIONS: usize = 8;

/// An agent that shows its catalog.
pub(super) struct Seen {
    pub(super) address: String,
    pub(super) client: Arc<Client>,
    pub(super) names: Names,
    /// Whose names these are, for further questions: empty where it is the agent's own datacenter.
    pub(super) datacenter: Datacenter,
    /// Its own datacenter, if that is known.
    pub(super) own: Option<String>,
    /// What it says of itself, or why it does not.
    pub(super) told: Result<AgentSelf, String>,
}

/// The datacenter that is asked for, as part of a query.
pub(super) type Datacenter = Vec<(&'static str, String)>;

/// The examination of one agent.
struct Examination<'a> {
    config: &'a config::Consul,
    address: &'a str,
    lane: Lane,
    /// The first one of the configuration, from which services come as long as they have instances there.
    datacenter: Datacenter,
    findings: Vec<Finding>,
}

/// Asks an agent.
pub(super) async fn examine(config: &config::Consul, address: &str) -> (Vec<Finding>, Option<Seen>) {
    let client = match Client::new(config, address, CONNECTIONS) {
        Ok(client) => Arc::new(client),
        Err(why) => return (vec![fail("configuration", why.to_string())], None),
    };
    let _ = tokio::time::timeout(DEADLINE, client.look_up()).await;
    let lane = client.lane().await;
    let datacenter = config.datacenters.first().map(|name| ("dc", name.clone())).into_iter().collect();
    let mut examination = Examination { config, address, lane, datacenter, findings: Vec::new() };
    if !examination.reach().await {
        return (examination.findings, None);
    }
    // Where the token is refused, every other question is.
    if !examination.token().await {
        return (examination.findings, None);
    }
    let names = examination.services().await;
    if let Some(names) = &names {
        examination.nodes(names).await;
    }
    let told = examination.itself().await;
    let own = examination.datacenters(told.as_ref().ok()).await;
    examination.budget(told.as_ref().ok(), names.as_ref(), client.lanes() > client.connections());
    let Examination { findings, datacenter, .. } = examination;
    let told = told.map_err(|failure| failure.reason);
    let seen = names.map(|names| Seen { address: address.to_owned(), client, names, datacenter, own, told });
    (findings, seen)
}

impl Examination<'_> {
    fn note(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    async fn ask(&mut self, path: &str) -> Result<Answer, Failure> {
        self.lane.get(path, &[], PATIENCE).await
    }

    /// Asks the first datacenter of the configuration by it.
    async fn ask_there(&mut self, path: &str) -> Result<Answer, Failure> {
        self.lane.get(path, &self.datacenter, PATIENCE).await
    }

    /// Whether it answers at all; and if so, after what time, whether it knows a leader, and what its clock says.
    async fn reach(&mut self) -> bool {
        let begin = Instant::now();
        // This needs no right.
        let answer = match self.ask("/v1/status/leader").await {
            Ok(answer) => answer,
            Err(failure) => {
                let (what, advice) = match failure.kind {
                    Failure::TOKEN => ("token", self.token_file()),
                    _ => ("reachable", unreachable(&failure, self.address).to_owned()),
                };
                self.note(advised(fail(what, failure.reason), advice));
                return false;
            }
        };
        let took = begin.elapsed();
        self.note(ok("reachable", format!("answers after {:.1} ms", took.as_secs_f64() * 1000.0)));
        let Ok(leader) = serde_json::from_slice::<String>(&answer.body) else {
            let advice = "say in [consul] address where a Consul agent listens";
            self.note(advised(fail("leader", "the answer is not Consul's: this is no agent"), advice));
            return false;
        };
        self.note(match leader.is_empty() {
            false => ok("leader", format!("is {leader}")),
            true => advised(
                fail("leader", "none is known: what disappears is not believed until there is one"),
                "look at the servers: consul operator raft list-peers",
            ),
        });
        self.note(clock(answer.date, SystemTime::now(), took));
        true
    }

    /// Where the token must be, if it cannot be read.
    fn token_file(&self) -> String {
        match &self.config.token {
            Some(config::Secret::File(path)) => {
                format!("write it to {}, readable for the gateway's user and nobody else", path.display())
            }
            _ => "write a token of visible ASCII characters: token in [consul], or CONSUL_HTTP_TOKEN".into(),
        }
    }

    /// What the token is worth; false if the agent refuses it.
    async fn token(&mut self) -> bool {
        const WHAT: &str = "token";
        let configured = self.config.token.is_some();
        let answer = self.ask("/v1/acl/token/self").await;
        let disabled = |failure: &Failure| failure.reason.contains("ACL support disabled");
        let finding = match answer {
            Err(failure) if disabled(&failure) => ok(WHAT, "none is needed: the agent's ACLs are off"),
            Ok(answer) if configured => ok(WHAT, format!("is valid{}", policies(&answer.body))),
            Ok(_) | Err(Failure { status: Some(403 | 404), .. }) if !configured => advised(
                warn(WHAT, "none is configured: the agent's default token is used, or what it lets anybody see"),
                "write token = { file = \"…\" } in [consul], with the policy of consul/policy.hcl",
            ),
            Err(Failure { status: Some(403), reason, .. }) => advised(
                fail(WHAT, format!("the agent does not know it, or it has expired ({reason})")),
                "create one: consul acl token create -policy-name lictor",
            ),
            Err(Failure { status: Some(404), .. }) => warn(
                WHAT,
                "cannot be judged: an agent of before 1.4, or something between it and the gateway, does not know the question",
            ),
            Err(failure) => warn(WHAT, format!("cannot be judged: {}", failure.reason)),
            Ok(_) => ok(WHAT, "is valid"),
        };
        let usable = finding.level != Level::Fail;
        self.note(finding);
        usable
    }

    /// The names of the catalog, if it shows any.
    async fn services(&mut self) -> Option<Names> {
        const WHAT: &str = "sees services";
        let policy = "give the token service_prefix \"\" { policy = \"read\" }: consul/policy.hcl";
        let parse = |answer: Answer| model::names(&answer.body).map_err(Failure::not_understood);
        let names = match self.ask_there("/v1/catalog/services").await.and_then(parse) {
            Ok(names) => names,
            Err(failure) => {
                let scoped = self.config.namespace.is_some() || self.config.partition.is_some();
                let advice = match failure.status {
                    Some(400) if scoped => "leave namespace and partition out: only Consul Enterprise knows them",
                    Some(403) => policy,
                    _ => "look into the agent's log",
                };
                self.note(advised(fail(WHAT, failure.reason), advice));
                return None;
            }
        };
        let count = counted(names.len(), "service");
        let lost = self.config.canary.as_ref().filter(|canary| !names.contains_key(*canary));
        let anonymous = self.config.token.is_none();
        self.note(match lost {
            None if names.is_empty() => advised(warn(WHAT, "there is none"), policy),
            None => ok(WHAT, format!("{count} in the catalog")),
            Some(canary) => {
                let who = if anonymous { "without a token the catalog shows" } else { "the token sees" };
                let remedy = if anonymous { "write token = { file = \"…\" } in [consul]" } else { policy };
                let other = "or name another service that must be seen: canary in [consul]";
                let text = format!("{who} {count}, and not `{canary}`");
                // What is seen is served; but if the token loses more rights, nothing tells.
                let finding = match names.is_empty() {
                    true => fail(WHAT, text),
                    false => warn(WHAT, format!("{text}: if it loses more rights, that is not noticed")),
                };
                advised(finding, format!("{remedy}; {other}"))
            }
        });
        Some(names)
    }

    /// Whether health answers are more than empty lists: for these, the token must see nodes, too.
    async fn nodes(&mut self, names: &Names) {
        const WHAT: &str = "sees nodes";
        let canary = self.config.canary.as_ref().filter(|canary| names.contains_key(*canary));
        let Some(name) = canary.or_else(|| names.keys().next()).cloned() else { return };
        let parse = |answer: Answer| model::entries(&answer.body).map_err(Failure::not_understood);
        let entries = self.ask_there(&format!("/v1/health/service/{name}")).await.and_then(parse);
        self.note(match entries {
            Ok(entries) if entries.is_empty() => advised(
                fail(WHAT, format!("`{name}` is in the catalog, and its health answer is empty")),
                "give the token node_prefix \"\" { policy = \"read\" }: consul/policy.hcl",
            ),
            Ok(_) => ok(WHAT, "health answers have instances"),
            Err(failure) => fail(WHAT, failure.reason),
        });
    }

    /// What it says of itself.
    async fn itself(&mut self) -> Result<AgentSelf, Failure> {
        const WHAT: &str = "reads agent";
        let parse = |answer: Answer| model::agent(&answer.body).map_err(Failure::not_understood);
        let told = self.ask("/v1/agent/self").await.and_then(parse);
        match &told {
            Ok(told) => {
                self.note(ok(WHAT, format!("its node is {}", told.node)));
                self.note(version(&told.version));
            }
            Err(failure) => {
                let lost = "instances on loopback are refused, and Consul's default ports are taken for the agent's";
                let advice = "give the token agent_prefix \"\" { policy = \"read\" }: consul/policy.hcl";
                self.note(advised(warn(WHAT, format!("{}; so {lost}", failure.reason)), advice));
            }
        }
        told
    }

    /// Whether the datacenters that the configuration names can be reached. Says which one is the agent's own, if that is known.
    async fn datacenters(&mut self, told: Option<&AgentSelf>) -> Option<String> {
        const WHAT: &str = "datacenter";
        let own = told.map(|told| told.datacenter.clone()).filter(|name| !name.is_empty());
        if self.config.datacenters.is_empty() {
            own.iter().for_each(|own| self.note(ok(WHAT, format!("is {own}"))));
            return own;
        }
        let read = |answer: Answer| model::datacenters(&answer.body).map_err(Failure::not_understood);
        let known = match self.ask("/v1/catalog/datacenters").await.and_then(read) {
            Ok(known) => known,
            Err(failure) => {
                self.note(fail(WHAT, failure.reason));
                return own;
            }
        };
        let own = own.or_else(|| known.first().cloned());
        for name in &self.config.datacenters {
            if !known.contains(name) {
                let text = format!("{name} is not known here; there are {}", known.join(", "));
                self.findings.push(advised(
                    fail(WHAT, text),
                    "take it off datacenters of [consul], or join it: consul join -wan",
                ));
                continue;
            }
            let answer = self.lane.get("/v1/catalog/services", &[("dc", name.clone())], PATIENCE).await;
            let whose = if own.as_ref() == Some(name) { "the agent's own" } else { "it answers" };
            self.findings.push(match answer {
                Ok(_) => ok(WHAT, format!("{name}: {whose}")),
                Err(failure) => advised(
                    fail(WHAT, failure.reason),
                    "look at the servers' gossip between datacenters: consul members -wan",
                ),
            });
        }
        own
    }

    /// Whether the agent allows as many connections as are wanted, and how the services would be followed over them.
    fn budget(&mut self, told: Option<&AgentSelf>, names: Option<&Names>, multiplexed: bool) {
        const WHAT: &str = "connections";
        let (wanted, limit) = (self.config.connections as u64, told.and_then(|told| told.most_connections));
        // Two gateways run side by side while one is replaced.
        self.note(match limit {
            None => ok(WHAT, format!("at most {wanted}; the agent does not tell how many it allows (200 by default)")),
            Some(0) => ok(WHAT, format!("at most {wanted}; the agent allows any number")),
            Some(limit) if wanted > limit => advised(
                fail(WHAT, format!("up to {wanted} are wanted, and the agent allows one address {limit}")),
                "lower connections of [consul], or raise the agent's limits.http_max_conns_per_client",
            ),
            Some(limit) if 2 * wanted > limit => advised(
                warn(
                    WHAT,
                    format!("at most {wanted} of {limit}: two gateways do not fit beside each other during a restart"),
                ),
                "lower connections of [consul], or raise the agent's limits.http_max_conns_per_client",
            ),
            Some(limit) => ok(WHAT, format!("at most {wanted} of the {limit} that the agent allows one address")),
        });
        let Some(names) = names else { return };
        let services = listing::listing(names, (&self.config.expose, &self.config.gateways), None).candidates.len();
        let finding = self.plan(services, multiplexed, limit.filter(|limit| *limit > 0).unwrap_or(200));
        self.note(finding);
    }

    /// How so many services would be followed by an agent that allows one address `limit` connections.
    fn plan(&self, services: usize, multiplexed: bool, limit: u64) -> Finding {
        const WHAT: &str = "plan";
        let each = format!("a watch of its own for each of {}", counted(services, "service"));
        let datacenters = self.config.datacenters.len().max(1);
        let budget = Budget::new(self.config.connections.max(fewest(datacenters)), datacenters);
        if multiplexed {
            return ok(WHAT, format!("{each}, many over one connection of HTTP/2"));
        }
        if services <= budget.watches {
            return ok(WHAT, each);
        }
        // With so many connections all services would have watches.
        let needed = services + datacenters + 4;
        let advice = match 2 * needed as u64 <= limit {
            true => format!("connections = {needed} in [consul] would watch each of them"),
            false => "reach the agent by https, where many watches share one connection".to_owned(),
        };
        let own = budget.watches_beside_signals;
        let text = format!("watches for the {own} of {services} services that are asked for or change");
        advised(
            match budget.signals {
                true => {
                    ok(WHAT, format!("{text}; the others are followed by what changes in the catalog and its checks"))
                }
                false => warn(WHAT, format!("{text}; the others are read in turns, for signals there is no room")),
            },
            advice,
        )
    }
}

/// What to do about an agent that does not answer as one.
fn unreachable(failure: &Failure, address: &str) -> &'static str {
    match (failure.kind, failure.status) {
        (Failure::LATE, _) => {
            "something accepts connections there and does not answer: look at the agent, or what stands before it"
        }
        (_, Some(401 | 407)) => "something before the agent asks for a name and a password: http_auth in [consul]",
        (_, Some(429)) => "others on this address use up its connections: raise its limits.http_max_conns_per_client",
        (_, Some(_)) => "is a Consul agent at this address? Look into its log",
        _ if address.starts_with("unix:") => "is the agent running, and may the gateway's user open its socket?",
        _ if address.starts_with("https:") => {
            "is the agent running, and does it listen there with TLS? ca_file, tls_server_name and client_cert in [consul]"
        }
        _ => "is the agent running, and does it listen there? address in [consul], or CONSUL_HTTP_ADDR",
    }
}
