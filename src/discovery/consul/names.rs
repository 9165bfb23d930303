//! The catalog watch: which services exist and are candidates, and one follower for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::assemble::{self, Rules};
use super::client::{Failure, Lane};
use super::model::{self, Names};
use super::watch::Watch;
use super::{Shared, follow};
use crate::catalog::ServiceName;
use crate::config::Expose;

/// After a refusal the agent's own node is asked for again so often.
const NODE_AGAIN: Duration = Duration::from_secs(60);

/// Services worth a look, sorted, and the others with the reason why not.
struct Sifted {
    candidates: Vec<ServiceName>,
    hidden: BTreeMap<String, String>,
}

/// Follows the catalog and everything in it. Never ends; dropped, it ends all followers.
pub(super) async fn watch(shared: Arc<Shared>, mut rules: Rules) {
    let mut watch = Watch::new("/v1/catalog/services".into(), &shared.timings, shared.timings.canary);
    let mut followers = Followers::default();
    let mut node = OwnNode::default();
    // Taken before anyone else asks and kept: the catalog never waits in the queue of a big first read.
    let mut lane = shared.client.lane().await;
    loop {
        let answered = match node.ask(&shared, &mut lane, &mut rules).await {
            Err(failure) => {
                watch.fail();
                Err(failure)
            }
            Ok(changed) => {
                if changed {
                    followers.end();
                }
                let parse = |body: &[u8]| model::names(body).map(|names| sift(names, &rules.expose));
                let removes = |sifted: &Sifted| shared.board.list_removes(&sifted.candidates);
                watch.ask(&mut lane, true, parse, removes).await
            }
        };
        match answered {
            Ok((sifted, moved)) => {
                let revived = std::mem::take(&mut node.failing);
                let changed = shared.board.list(&sifted.candidates, sifted.hidden, watch.index());
                followers.adjust(&sifted.candidates, &shared, &rules);
                note_budget(&shared, sifted.candidates.len());
                if revived {
                    shared.revived.notify_waiters();
                }
                tokio::time::sleep(watch.pause(moved, changed)).await;
            }
            Err(failure) => {
                shared.board.catalog_failed(&failure);
                (node.failing, node.due) = (true, None);
                tokio::time::sleep(watch.backoff()).await;
            }
        }
    }
}

fn sift(names: Names, expose: &Expose) -> Sifted {
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
    Sifted { candidates, hidden }
}

fn note_budget(shared: &Shared, services: usize) {
    let (budget, swept) = (shared.budget, shared.board.swept());
    let note = (swept > 0).then(|| {
        let every = follow::rotation(swept, shared.timings.sweep).as_secs();
        // Consul's default of `limits.http_max_conns_per_client`, shared by all gateways of one address.
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
    shared.board.note("budget", note);
}

/// The tasks that follow one service each.
#[derive(Default)]
struct Followers {
    tasks: JoinSet<()>,
    by_name: BTreeMap<ServiceName, AbortHandle>,
}

impl Followers {
    /// Ends those of services that are gone, starts those of new ones (and of any that has ended by a panic).
    fn adjust(&mut self, names: &[ServiceName], shared: &Arc<Shared>, rules: &Rules) {
        self.by_name.retain(|name, task| {
            let stays = names.binary_search(name).is_ok();
            if !stays {
                task.abort();
            }
            stays && !task.is_finished()
        });
        while self.tasks.try_join_next().is_some() {}
        for name in names {
            if !self.by_name.contains_key(name) {
                let task = self.tasks.spawn(follow::follow(name.clone(), shared.clone(), rules.clone()));
                self.by_name.insert(name.clone(), task);
            }
        }
    }

    /// Ends all: the rules have changed, every answer is to be judged again.
    fn end(&mut self) {
        self.by_name.clear();
        self.tasks.abort_all();
    }
}

/// The agent's own node: asked for where loopback addresses depend on it.
#[derive(Default)]
struct OwnNode {
    /// The last query failed.
    failing: bool,
    /// When it is asked for next; None is now.
    due: Option<Instant>,
}

impl OwnNode {
    /// Asks if need be; true if the rules have changed. A refusal changes the rules, a failure is one of the agent.
    async fn ask(&mut self, shared: &Shared, lane: &mut Lane, rules: &mut Rules) -> Result<bool, Failure> {
        let trust = &mut rules.trust;
        if trust.allow_loopback || !trust.agent_is_local || self.due.is_some_and(|due| Instant::now() < due) {
            return Ok(false);
        }
        let answer = lane.get("/v1/agent/self", &[], shared.timings.slack).await;
        let answer = answer.and_then(|answer| model::node_name(&answer.body).map_err(refusal));
        let own_node = match answer {
            Ok(name) => Ok(name),
            Err(failure) if failure.definitive => Err(failure.reason),
            Err(failure) => return Err(failure),
        };
        // Known once, it is asked for again only after an error: then it may be another agent.
        let next = if own_node.is_ok() { Duration::from_secs(86_400) } else { NODE_AGAIN };
        self.due = Some(Instant::now() + next);
        let note =
            own_node.as_ref().err().map(|why| format!("instances on loopback are refused, own node unknown: {why}"));
        shared.board.note("node", note);
        // A node that was known stays known: its refusal now (a token that lost a right) proves nothing.
        let changed = trust.own_node != own_node && (own_node.is_ok() || trust.own_node.is_err());
        if changed {
            trust.own_node = own_node;
        }
        Ok(changed)
    }
}

fn refusal(reason: String) -> Failure {
    Failure { reason, definitive: true }
}
