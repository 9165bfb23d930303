//! The watch of Consul's catalog: which services exist, which of them may be exposed, and one follower for each of these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::address::{AgentPorts, Trust};
use super::agent::Agent;
use super::assemble::{self, Rules};
use super::client::{Failure, Lane};
use super::follow;
use super::model::{self, AgentSelf, Names};
use super::watch::Watch;
use crate::catalog::ServiceName;
use crate::config::Expose;

/// How long after a refusal the agent is asked again for what it says of itself.
const NODE_AGAIN: Duration = Duration::from_secs(60);

/// The services of the catalog.
struct Listing {
    /// Those that may be exposed, sorted: only their instances tell.
    candidates: Vec<ServiceName>,
    /// The others by name, and why they are not exposed.
    hidden: BTreeMap<String, String>,
}

/// Follows the catalog and everything in it. Never ends; dropped, it ends all followers.
pub(super) async fn watch(agent: Arc<Agent>, mut rules: Rules) {
    let mut watch = Watch::new("/v1/catalog/services".into(), &agent.timings, agent.timings.canary);
    let mut followers = Followers::default();
    let mut node = OwnNode::default();
    // This lane is taken before any other and kept, so that the catalog never waits behind the first reads of many services.
    let mut lane = agent.client.lane().await;
    loop {
        // Which addresses are taken depends on the agent's own node and ports. When that changes, all followers start anew.
        let answered = match node.ask(&agent, &mut lane, &mut rules).await {
            Err(failure) => {
                watch.fail();
                Err(failure)
            }
            Ok(changed) => {
                if changed {
                    followers.end();
                }
                let parse = |body: &[u8]| model::names(body).map(|names| list(names, &rules.expose));
                let removes = |listing: &Listing| agent.state.list_removes(&listing.candidates);
                watch.ask(&mut lane, true, parse, removes).await
            }
        };
        match answered {
            Ok((listing, moved)) => {
                let revived = std::mem::take(&mut node.failing);
                let changed = agent.state.list(&listing.candidates, listing.hidden, watch.index());
                followers.adjust(&listing.candidates, &agent, &rules);
                note_budget(&agent, listing.candidates.len());
                if revived {
                    agent.revived.notify_waiters();
                }
                tokio::time::sleep(watch.pause(moved, changed)).await;
            }
            Err(failure) => {
                agent.state.catalog_failed(&failure);
                (node.failing, node.due) = (true, None);
                tokio::time::sleep(watch.backoff()).await;
            }
        }
    }
}

/// Tells the candidates from the services that are hidden whatever their instances say.
fn list(names: Names, expose: &Expose) -> Listing {
    let (mut candidates, mut hidden) = (Vec::new(), BTreeMap::new());
    for (name, tags) in names {
        let reason = match expose {
            Expose::All => assemble::infrastructure(&name),
            Expose::Tagged(_) => assemble::not_exposed(expose, &tags),
        };
        match (reason, ServiceName::new(&name)) {
            (Some(reason), _) => drop(hidden.insert(name, reason)),
            (None, Some(name)) => candidates.push(name),
            (None, None) => drop(hidden.insert(name, "its name does not fit a segment of a path".into())),
        }
    }
    candidates.sort();
    Listing { candidates, hidden }
}

/// Tells the operator which services are read in rotation, because there are fewer connections than services.
fn note_budget(agent: &Agent, services: usize) {
    let (budget, swept) = (agent.budget, agent.state.swept());
    let note = (swept > 0).then(|| {
        let every = follow::rotation(swept, agent.timings.sweep).as_secs();
        // 200 is Consul's default of `limits.http_max_conns_per_client`, which all gateways on one address share.
        let advice = match services + 1 + budget.spare.max(4) {
            needed if needed <= 200 => format!("{needed} would watch all"),
            _ => "raise it as far as the agent's limits.http_max_conns_per_client allows (200 by default)".into(),
        };
        format!(
            "degraded: {swept} of {services} services are read every {every} s instead of being watched, because \
             consul.connections is {}; {advice}",
            budget.connections,
        )
    });
    agent.state.note("budget", note);
}

/// The tasks that follow one service each.
#[derive(Default)]
struct Followers {
    tasks: JoinSet<()>,
    by_name: BTreeMap<ServiceName, AbortHandle>,
}

impl Followers {
    /// Ends the followers of services that are gone, and starts those of new services.
    fn adjust(&mut self, names: &[ServiceName], agent: &Arc<Agent>, rules: &Rules) {
        self.by_name.retain(|name, task| {
            let stays = names.binary_search(name).is_ok();
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for name in names {
            if !self.by_name.contains_key(name) {
                let task = self.tasks.spawn(follow::follow(name.clone(), agent.clone(), rules.clone()));
                self.by_name.insert(name.clone(), task);
            }
        }
    }

    /// Ends all followers: the rules have changed, so that each service must be read again.
    fn end(&mut self) {
        self.by_name.clear();
        self.tasks.abort_all();
    }
}

/// What the agent says of itself, on which it depends which addresses are taken.
#[derive(Default)]
struct OwnNode {
    /// The last query failed.
    failing: bool,
    /// When the agent is asked for it next; `None` is now.
    due: Option<Instant>,
}

impl OwnNode {
    /// Asks for it if it is due; true if the rules have changed. A refusal changes the rules; any other failure is one of the
    /// agent.
    async fn ask(&mut self, agent: &Agent, lane: &mut Lane, rules: &mut Rules) -> Result<bool, Failure> {
        let trust = &mut rules.trust;
        let before = trust.clone();
        if self.due.is_none_or(|due| due <= Instant::now()) {
            let lookup = agent.client.look_up();
            let _ = tokio::time::timeout(agent.timings.slack, lookup).await;
            let answer = lane.get("/v1/agent/self", &[], agent.timings.slack).await;
            match answer.and_then(|answer| model::agent(&answer.body).map_err(refusal)) {
                Ok(told) => self.learn(agent, trust, Ok(told)),
                Err(failure) if failure.definitive => self.learn(agent, trust, Err(failure.reason)),
                Err(failure) => return Err(failure),
            }
        }
        // A connection may have led to another address meanwhile.
        trust.agent.found = agent.client.found();
        Ok(*trust != before)
    }

    /// Takes what the agent says of itself, or why it does not.
    fn learn(&mut self, agent: &Agent, trust: &mut Trust, told: Result<AgentSelf, String>) {
        // What is known is asked for again after a day, or after an error: then it may be another agent.
        let next = if told.is_ok() { Duration::from_secs(86_400) } else { NODE_AGAIN };
        self.due = Some(Instant::now() + next);
        let matters = trust.agent_is_local && !trust.allow_loopback;
        let why = told.as_ref().err().filter(|_| matters);
        let note = why.map(|why| format!("instances on loopback are refused, own node unknown: {why}"));
        agent.state.note("node", note);
        match told {
            Ok(AgentSelf { node, addresses, ports }) => {
                let ports = if ports.is_empty() { AgentPorts::default().ports } else { ports };
                (trust.own_node, trust.agent.addresses, trust.agent.ports) = (Ok(node), addresses, ports);
            }
            // What was known stays known when it is refused now: a token may have lost a right, but the node is the same.
            Err(why) if trust.own_node.is_err() => trust.own_node = Err(why),
            Err(_) => {}
        }
    }
}

fn refusal(reason: String) -> Failure {
    Failure { definitive: true, ..Failure::not_understood(reason) }
}
