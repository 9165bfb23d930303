//! What the agent says of itself, on which it depends which addresses are taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::address::AgentPorts;
use super::assemble::Rules;
use super::client::{Failure, Lane, Patience};
use super::model::{self, AgentSelf};
use super::view::View;

/// How long after an error the agent is asked again for what it says of itself.
const AGAIN: Duration = Duration::from_secs(60);

/// How long the agent's word on itself lasts. After an error of the catalog's watch it is asked for anew at once: it may be another agent.
const LASTS: Duration = Duration::from_secs(86_400);

/// What the agent says of itself.
pub(super) struct OwnNode {
    /// As configured, with what was learned.
    rules: Rules,
    /// When the agent is asked for it next; `None` is now.
    due: Option<Instant>,
    /// Its node's id, and its datacenter.
    id: String,
    datacenter: String,
}

impl OwnNode {
    pub(super) fn new(rules: Rules) -> OwnNode {
        OwnNode { rules, due: None, id: String::new(), datacenter: String::new() }
    }

    /// It may be another agent that answers from now on.
    pub(super) fn doubt(&mut self) {
        self.due = None;
    }

    /// Asks for it if that is due, and publishes the rules that follow from it.
    ///
    /// # Errors
    /// The agent's, where nothing can be decided without the answer: whether loopback addresses are taken depends on it, and it has not said it
    /// before.
    pub(super) async fn ask(&mut self, view: &View, lane: &mut Lane) -> Result<(), Failure> {
        let agent = &view.agent;
        if self.due.is_none_or(|due| due <= Instant::now()) {
            let _ = tokio::time::timeout(agent.timings.first, agent.client.look_up()).await;
            let patience = Patience { head: agent.timings.first, waits: None };
            let answer = lane.get("/v1/agent/self", &[], patience).await;
            let refusal = |reason| Failure { definitive: true, ..Failure::not_understood(reason) };
            match answer.and_then(|answer| model::agent(&answer.body).map_err(refusal)) {
                Ok(told) => self.learn(view, told),
                Err(failure) => {
                    let trust = &mut self.rules.trust;
                    let matters = trust.agent_is_local && !trust.allow_loopback && trust.own_node.is_err();
                    if matters && !failure.definitive {
                        return Err(failure);
                    }
                    // What was known stays known: a token may have lost a right, but the node is the same.
                    if trust.own_node.is_err() {
                        trust.own_node = Err(failure.reason.clone());
                        let note = format!("instances on loopback are refused, own node unknown: {}", failure.reason);
                        view.state.note("node", matters.then_some(note));
                    }
                    self.due = Some(Instant::now() + AGAIN);
                }
            }
        }
        // A connection may have led to another address meanwhile.
        self.rules.trust.agent.found = agent.client.found();
        self.tell(view);
        Ok(())
    }

    /// Takes what the agent says of itself.
    fn learn(&mut self, view: &View, told: AgentSelf) {
        let AgentSelf { node, id, datacenter, addresses, ports, .. } = told;
        self.due = Some(Instant::now() + LASTS);
        view.state.note("node", None);
        if !self.id.is_empty() && id != self.id {
            view.state.forgotten();
        }
        view.agent.datacenter.lock().clone_from(&datacenter);
        if view.agent.datacenters.is_empty() {
            view.state.is_in(&datacenter);
        }
        (self.id, self.datacenter) = (id, datacenter);
        let ports = if ports.is_empty() { AgentPorts::default().ports } else { ports };
        let trust = &mut self.rules.trust;
        (trust.own_node, trust.agent.addresses, trust.agent.ports) = (Ok(node), addresses, ports);
    }

    /// Publishes the rules of each datacenter, where they have changed.
    fn tell(&self, view: &View) {
        let of = |datacenter: Option<&String>| {
            let mut rules = self.rules.clone();
            if datacenter.is_some_and(|name| *name != self.datacenter) {
                // A node of the same name is another one there, and loopback is elsewhere.
                rules.wan = true;
                rules.trust.agent_is_local = false;
            }
            Arc::new(rules)
        };
        let names = &view.agent.datacenters;
        let all: Vec<_> = match names.is_empty() {
            true => vec![of(None)],
            false => names.iter().map(|name| of(Some(name))).collect(),
        };
        view.agent.rules.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&all);
            if changed {
                *known = Some(all);
            }
            changed
        });
    }
}
