//! Several agents in order of preference: the first that answers is followed, and one that is preferred again once it has been well for some time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agent::Agent;
use super::assemble::Rules;
use super::client::{Client, Patience};
use super::following::Following;
use super::own_node::Told;
use super::state::State;
use super::view::View;
use super::watch::Timings;
use super::{follow, model, names, signals};
use crate::catalog::notice::{Heard, Notice};
use crate::config;

/// How often other agents are asked whether they answer.
const LOOK: Duration = Duration::from_secs(5);

/// How long a period of [`Heard`] is: of the requests for a service, the first one in each period is told.
const PERIOD: Duration = Duration::from_secs(30);

/// The pause before it is asked again whether a node is a member.
const DOUBT: Duration = Duration::from_secs(1);

/// The agents.
#[derive(Debug)]
pub(super) struct Agents {
    clients: Vec<Arc<Client>>,
    following: Arc<Following>,
    /// The one that is followed.
    current: usize,
    /// How often another one was followed before.
    before: usize,
    config: config::Consul,
    rules: Rules,
    /// What any of them has told: it outlives them, and the tasks that follow them.
    told: Arc<Mutex<Told>>,
    timings: Timings,
}

impl Agents {
    pub(super) fn new(
        config: &config::Consul,
        clients: Vec<Arc<Client>>,
        following: Arc<Following>,
        rules: Rules,
        timings: Timings,
    ) -> Agents {
        Agents {
            clients,
            following,
            current: 0,
            before: 0,
            config: config.clone(),
            rules,
            told: Arc::default(),
            timings,
        }
    }

    /// How the services are followed.
    pub(super) fn following(&self) -> Arc<Following> {
        self.following.clone()
    }

    /// Follows the first agent that answers. Never ends.
    pub(super) async fn follow(&mut self, state: &Arc<State>, heard: &mut Heard) {
        loop {
            let client = self.clients[self.current].clone();
            tracing::info!(agent = client.address(), "following Consul's catalog");
            let names = self.config.datacenters.clone();
            let agent = Arc::new(Agent::new(client.clone(), self.timings.clone(), names, self.before > 0));
            let canary = self.config.canary.clone();
            let of = |(dc, name)| Arc::new(View::new(agent.clone(), state.clone(), (dc, name), canary.clone()));
            let views: Vec<_> = match self.config.datacenters.is_empty() {
                true => vec![of((0, None))],
                false => self.config.datacenters.iter().cloned().map(Some).enumerate().map(of).collect(),
            };
            self.following.set(&views);
            let mut rules = self.rules.clone();
            rules.trust.agent_is_local = client.is_local();
            let next = tokio::select! {
                () = everything(&views, &rules, &self.told) => continue,
                () = hear(&views, state, heard) => continue,
                next = self.next(&agent, &views) => next,
            };
            self.before += 1;
            if next == self.current {
                // It no longer speaks HTTP/2: a new client has no more lanes than connections are allowed.
                let fresh = Client::new(&self.config, client.address(), client.connections());
                self.clients[next] = fresh.map_or(client, Arc::new);
                self.following.replace(next, self.clients[next].clone());
            } else {
                tracing::warn!(from = client.address(), to = self.clients[next].address(), "another agent is followed");
            }
            self.current = next;
            let first = self.clients[0].address();
            let note = (next > 0)
                .then(|| format!("the agent {first} does not answer: {} is asked", self.clients[next].address()));
            state.note("agents", note);
        }
    }

    /// Waits until another agent is to be followed, and says which.
    async fn next(&self, agent: &Agent, views: &[Arc<View>]) -> usize {
        let mut well: Vec<Option<Instant>> = vec![None; self.current];
        loop {
            tokio::time::sleep(LOOK.min(self.timings.failover)).await;
            self.following.sample();
            agent.recovers();
            views.iter().for_each(|view| view.roster.rebudget(view.budget()));
            if agent.client.has_changed() {
                return self.current;
            }
            let now = Instant::now();
            // One that is preferred must answer for some time first, because each change of agent costs a first fill.
            for (index, since) in well.iter_mut().enumerate() {
                *since = if self.answers(index).await { since.or(Some(now)) } else { None };
                if since.is_some_and(|since| now - since >= self.timings.failback) {
                    return index;
                }
            }
            if agent.failing().is_none_or(|since| now - since < self.timings.failover) {
                continue;
            }
            for index in (0..self.clients.len()).filter(|&index| index != self.current) {
                if self.answers(index).await {
                    return index;
                }
            }
        }
    }

    /// Whether an agent shows its list of services: it answers, takes the token, and has a leader that can be asked.
    async fn answers(&self, index: usize) -> bool {
        let mut lane = self.clients[index].lane().await;
        let patience = Patience { head: self.timings.first, waits: None };
        let parameters: Vec<_> = self.config.datacenters.first().map(|name| ("dc", name.clone())).into_iter().collect();
        let answer = lane.get("/v1/catalog/services", &parameters, patience).await;
        answer.is_ok_and(|answer| model::names(&answer.body).is_ok())
    }
}

/// Everything that follows an agent. Never ends.
async fn everything(views: &[Arc<View>], rules: &Rules, told: &Arc<Mutex<Told>>) {
    let mut tasks = JoinSet::new();
    for view in views {
        tasks.spawn(follow::read_what_is_due(view.clone()));
        tasks.spawn(follow::watch_the_promoted(view.clone()));
        tasks.spawn(signals::follow(view.clone()));
        tasks.spawn(names::watch(view.clone(), rules.clone(), told.clone()));
        if view.dc > 0 {
            tasks.spawn(stand_in(view.clone()));
        }
    }
    for index in 0..views.len() {
        tasks.spawn(count(views.to_vec(), index));
    }
    tasks.spawn(look_for_nodes(views.to_vec()));
    while let Some(ended) = tasks.join_next().await {
        // The supervisor begins all of this again.
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Follows in another datacenter what the better ones cannot serve.
async fn stand_in(view: Arc<View>) {
    loop {
        view.state.wanting(view.dc).await;
        view.relist();
    }
}

/// Says how the services are followed, when that changes in one datacenter.
async fn count(views: Vec<Arc<View>>, index: usize) {
    let mut counts = views[index].roster.counts.subscribe();
    loop {
        counts.mark_unchanged();
        let all = views.iter().map(|view| view.roster.count());
        let (watched, swept) = all.fold((0, 0), |sum, count| (sum.0 + count.watched, sum.1 + count.swept));
        views[0].state.plan(watched, swept);
        let beyond = views.iter().any(|view| view.roster.count().beyond);
        views[0].state.note("budget", beyond.then(|| budget(&views, watched, watched + swept)));
        if counts.changed().await.is_err() {
            return;
        }
    }
}

/// Says why there are services without a watch of their own, and what would change that.
fn budget(views: &[Arc<View>], watched: usize, all: usize) -> String {
    let (agent, budget) = (&views[0].agent, views[0].agent.budget());
    if let Some(allowed) = agent.allowed() {
        return format!(
            "the agent refused more than {allowed} connections: {watched} of {all} services have a watch of their own, those that are asked for \
             first; more are tried within a minute (limits.http_max_conns_per_client of the agent says how many it takes from an address)"
        );
    }
    let connections = agent.client.connections();
    // 200 is Consul's default of `limits.http_max_conns_per_client`, which all gateways on one address share: two while one is replaced.
    let advice = match all + views.len() + budget.spare.max(4) {
        needed if 2 * needed <= 200 => format!("with consul.connections = {needed} all have one"),
        _ => "over HTTPS, with HTTP/2, all have one".into(),
    };
    format!(
        "{watched} of {all} services have a watch of their own over {connections} connections, those that are asked for first; signals say when \
         another one must be read; {advice}"
    )
}

/// Finds out whether nodes that carry nothing any more are still members.
async fn look_for_nodes(views: Vec<Arc<View>>) {
    loop {
        let doubts = views[0].state.doubts();
        if doubts.is_empty() {
            views[0].state.doubted().await;
            continue;
        }
        for (dc, node) in doubts {
            let Some(view) = views.get(dc) else { continue };
            if let Ok(is_member) = signals::is_member(view, &node).await {
                view.state.member(dc, &node, is_member);
            }
        }
        if !views[0].state.doubts().is_empty() {
            tokio::time::sleep(DOUBT).await;
        }
    }
}

/// Takes what the rest of the gateway tells. Never ends.
async fn hear(views: &[Arc<View>], state: &State, heard: &mut Heard) {
    let mut period = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            notice = heard.notices.recv() => match notice {
                Some(Notice::Asked(name)) => views.iter().for_each(|view| view.roster.touch(&name, view.budget())),
                Some(Notice::Refused(key)) => state.refused(&key),
                Some(Notice::Accept(service, reply)) => drop(reply.send(state.accept(service.as_ref()))),
                None => std::future::pending().await,
            },
            _ = period.tick() => heard.begin(),
        }
    }
}
