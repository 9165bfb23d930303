//! What the agent says of itself, on which it depends which addresses are taken.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::address::{AgentPorts, Host};
use super::assemble::Rules;
use super::client::{Answer, Failure, Lane, Patience};
use super::model::{self, AgentSelf};
use super::view::View;

/// How long after an error the agent is asked again for what it says of itself.
const AGAIN: Duration = Duration::from_secs(60);

/// How long the agent's word on itself lasts. After an error of the catalog's watch it is asked for anew at once: it may be another agent.
const LASTS: Duration = Duration::from_secs(86_400);

/// What agents have told so far, and what is known by that whichever of them is followed: those of one configuration are of one datacenter.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Their datacenter; empty while it is not known.
    datacenter: String,
    /// The node of this host and its datacenter, told by an agent that is on it.
    host: Option<(Host, String)>,
}

/// What the agent says of itself.
pub(super) struct OwnNode {
    /// As configured, with what was learned.
    rules: Rules,
    /// When the agent is asked for it next; `None` is now.
    due: Option<Instant>,
    /// Its node's id.
    id: String,
    told: Arc<Mutex<Told>>,
}

impl OwnNode {
    pub(super) fn new(rules: Rules, told: Arc<Mutex<Told>>) -> OwnNode {
        OwnNode { rules, due: None, id: String::new(), told }
    }

    /// It may be another agent that answers from now on.
    pub(super) fn doubt(&mut self) {
        self.due = None;
    }

    /// Asks for it if that is due, and publishes the rules that follow from it.
    ///
    /// # Errors
    /// The agent's, where nothing can be decided without the answer: whether loopback addresses are taken depends on it, and no agent on this
    /// host has said it before.
    pub(super) async fn ask(&mut self, view: &View, lane: &mut Lane) -> Result<(), Failure> {
        let agent = &view.agent;
        if self.due.is_none_or(|due| due <= Instant::now()) {
            let _ = tokio::time::timeout(agent.timings.first, agent.client.look_up()).await;
            let answer = lane.get("/v1/agent/self", &[], patience(view)).await;
            let refusal = |reason| Failure { definitive: true, ..Failure::not_understood(reason) };
            match answer.and_then(|answer| model::agent(&answer.body).map_err(refusal)) {
                Ok(told) => self.learn(view, told),
                Err(failure) => self.fails(view, failure)?,
            }
            self.locate(view, lane).await;
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
        self.id = id;
        view.agent.datacenter.lock().clone_from(&datacenter);
        if view.agent.datacenters.is_empty() {
            view.state.is_in(&datacenter);
        }
        let ports = if ports.is_empty() { AgentPorts::default().ports } else { ports };
        let trust = &mut self.rules.trust;
        (trust.own_node, trust.agent.addresses, trust.agent.ports) = (Ok(node), addresses, ports);
        if !datacenter.is_empty() {
            self.told.lock().datacenter = datacenter;
        }
    }

    /// The agent does not say it.
    fn fails(&mut self, view: &View, failure: Failure) -> Result<(), Failure> {
        let trust = &mut self.rules.trust;
        let unknown = trust.own_node.is_err() && self.told.lock().host.is_none();
        let matters = trust.agent_is_local && !trust.allow_loopback && unknown;
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
        Ok(())
    }

    /// Finds out which datacenter the agent is in, where that matters and no agent has told it. To ask for the list of datacenters takes no
    /// right, while a token needs one for what the agent says of itself.
    async fn locate(&mut self, view: &View, lane: &mut Lane) {
        let Some(assumed) = view.agent.datacenters.first() else { return };
        let mut note = None;
        if self.told.lock().datacenter.is_empty() {
            let answer = lane.get("/v1/catalog/datacenters", &[], patience(view)).await;
            let read = |answer: Answer| model::datacenters(&answer.body).map_err(Failure::not_understood);
            let none = || Failure::not_understood("it knows no datacenter".into());
            match answer.and_then(read).and_then(|all| all.into_iter().next().ok_or_else(none)) {
                Ok(own) => self.told.lock().datacenter = own,
                Err(Failure { reason, .. }) => {
                    note = Some(format!("the agent does not say its datacenter, {assumed} is assumed: {reason}"));
                }
            }
        }
        view.state.note("datacenter", note);
    }

    /// Publishes the rules of each datacenter, where they have changed.
    fn tell(&self, view: &View) {
        let names = &view.agent.datacenters;
        let mut told = self.told.lock();
        // While the agent's is not known, it is the first one: agents mostly are where the gateway is. To call the instances of the own
        // datacenter from outside, at addresses that may not be reached from inside, would be to lose all of them.
        let own = if told.datacenter.is_empty() { names.first().cloned() } else { Some(told.datacenter.clone()) };
        let own = own.unwrap_or_default();
        let trust = &self.rules.trust;
        if let (true, Ok(node)) = (trust.agent_is_local, &trust.own_node) {
            told.host = Some((Host { node: node.clone(), near: true, agent: trust.agent.clone() }, own.clone()));
        }
        let of = |datacenter: &String| {
            let mut rules = self.rules.clone();
            // A node of the same name is another one in another datacenter, and loopback is elsewhere.
            rules.wan = *datacenter != own;
            rules.trust.agent_is_local &= !rules.wan;
            rules.trust.host = told.host.clone().map(|(host, its)| Host { near: *datacenter == its, ..host });
            Arc::new(rules)
        };
        let all: Vec<_> = match names.is_empty() {
            true => vec![of(&own)],
            false => names.iter().map(of).collect(),
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

/// How long an answer may take.
fn patience(view: &View) -> Patience {
    Patience { head: view.agent.timings.first, waits: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::address::accept;
    use super::super::agent::Agent;
    use super::super::client::Client;
    use super::super::state::State;
    use super::super::tests::fake::{Fake, Fault};
    use super::super::tests::{config, rules};
    use super::super::watch::Timings;
    use super::*;

    /// The rules of each of these datacenters after this agent was asked, which is on this host or not.
    async fn asked(fake: &Fake, names: &[&str], is_local: bool, told: &Arc<Mutex<Told>>) -> Vec<Arc<Rules>> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let address = format!("http://{}", fake.address);
        let client = Arc::new(Client::new(&config(address.clone()), &address, 8).unwrap());
        let timings = Timings { first: Duration::from_millis(300), ..Timings::default() };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let agent = Arc::new(Agent::new(client, timings, names, false));
        let view = View::new(agent.clone(), Arc::new(State::new(2, Duration::ZERO)), (0, None), None);
        let mut base = rules();
        (base.trust.agent_is_local, base.trust.own_node) = (is_local, Err("it was not asked yet".into()));
        let mut lane = agent.client.lane().await;
        OwnNode::new(base, told.clone()).ask(&view, &mut lane).await.unwrap();
        agent.rules.borrow().clone().unwrap()
    }

    fn wan(rules: &[Arc<Rules>]) -> Vec<bool> {
        rules.iter().map(|rules| rules.wan).collect()
    }

    async fn silent() -> Fake {
        let fake = Fake::start().await;
        fake.fail("/v1/agent/self", Fault::Status(403));
        fake
    }

    #[tokio::test]
    async fn only_what_is_known_to_be_another_datacenter_is_called_from_outside() {
        let here = |own: &str| json!({"Config": {"NodeName": "mine", "Datacenter": own}});
        for own in ["dc1", "dc2", "dc3"] {
            let expected = [own != "dc1", own != "dc2"];
            // It says so itself.
            let (fake, told) = (Fake::start().await, Arc::default());
            fake.say("/v1/agent/self", here(own));
            assert_eq!(wan(&asked(&fake, &["dc1", "dc2"], true, &told).await), expected, "{own}");
            // Another agent said so before, and this one is late.
            let late = Fake::start().await;
            late.fail("/v1/agent/self", Fault::Silent);
            assert_eq!(wan(&asked(&late, &["dc1", "dc2"], false, &told).await), expected, "{own}");
            assert!(late.requests("/v1/catalog").is_empty());
            // The token may not ask, but the list of datacenters begins with it.
            let fake = silent().await;
            fake.say("/v1/catalog/datacenters", json!([own, "dc1", "dc2"]));
            assert_eq!(wan(&asked(&fake, &["dc1", "dc2"], true, &Arc::default()).await), expected, "{own}");
        }
        // Nobody says it.
        for fault in [Fault::Status(500), Fault::Silent, Fault::Nonsense] {
            let fake = silent().await;
            fake.fail("/v1/catalog/datacenters", fault);
            let rules = asked(&fake, &["dc2", "dc1"], true, &Arc::default()).await;
            assert_eq!(wan(&rules), [false, true], "{fault:?}");
            assert!(rules[0].trust.agent_is_local && !rules[1].trust.agent_is_local);
        }
        let fake = silent().await;
        assert_eq!(wan(&asked(&fake, &[], true, &Arc::default()).await), [false]);
        assert!(fake.requests("/v1/catalog").is_empty());
    }

    #[tokio::test]
    async fn what_an_agent_on_this_host_told_of_its_node_holds_while_another_one_is_followed() {
        let takes = |rules: &Rules, port, node: &str| accept("127.0.0.1", port, node, &rules.trust).is_ok();
        let (here, there, told) = (Fake::start().await, Fake::start().await, Arc::default());
        there.say("/v1/agent/self", json!({"Config": {"NodeName": "there", "Datacenter": "dc1"}}));
        // Before that, nothing on loopback is taken at the word of an agent elsewhere.
        let rules = asked(&there, &[], false, &told).await;
        assert!(!takes(&rules[0], 80, "mine") && !takes(&rules[0], 80, "there"));
        asked(&here, &[], true, &told).await;
        for names in [&[][..], &["dc1", "dc2"]] {
            let rules = asked(&there, names, false, &told).await;
            assert!(takes(&rules[0], 80, "mine") && !takes(&rules[0], 80, "there"));
            assert!(!takes(&rules[0], i64::from(here.address.port()), "mine"), "the agent itself");
            assert!(rules.get(1).is_none_or(|rules| !takes(rules, 80, "mine")), "another datacenter's node");
        }
        // The agent is back, and cannot say it yet.
        here.fail("/v1/agent/self", Fault::Silent);
        assert!(takes(&asked(&here, &[], true, &told).await[0], 80, "mine"));
        // An agent elsewhere is followed that is of another datacenter.
        there.say("/v1/agent/self", json!({"Config": {"NodeName": "there", "Datacenter": "dc2"}}));
        assert!(!takes(&asked(&there, &[], false, &told).await[0], 80, "mine"));
    }
}
