//! `lictor doctor`: whether what the configuration says of Consul works, and what would be served.

mod agent;
mod finding;
mod judgement;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;

use self::agent::{Datacenter, PATIENCE, Seen};
use self::finding::{advised, counted, fail, ok, warn};
use super::address::AgentPorts;
use super::assemble::{self, Assembled, Rules};
use super::client::{Client, Failure};
use super::saved::{self, Scope};
use super::{listing, model};
use crate::catalog::{Service, ServiceName};
use crate::config::{self, Config, StaticService};
use crate::own_file;
use crate::pages::doctor::{Finding, Level, NotServed, Page, Served, Subject};

/// How many services are read at once.
const AT_ONCE: usize = 8;

/// Asks every agent of a configuration once, changes nothing, and says what it found. `source` is what the configuration is called.
///
/// The process must have installed its rustls provider before.
pub async fn examine(config: &Config, source: &str) -> Page {
    let mut page = Page::default();
    page.subjects.push(configuration(config, source));
    let mut reading = Reading::default();
    config.services.iter().for_each(|service| reading.of_file(service));
    if let Some(consul) = &config.consul {
        consult(consul, config, &mut page.subjects, &mut reading).await;
    }
    let failed = page.count(Level::Fail) > 0;
    page.subjects.push(reading.subject(failed));
    (page.served, page.not_served) = (reading.served, reading.not_served);
    page
}

/// What is to be said of the configuration itself; its mistakes were said before.
fn configuration(config: &Config, source: &str) -> Subject {
    let mut findings: Vec<_> = config.warnings.iter().map(|warning| warn("configuration", warning.clone())).collect();
    if findings.is_empty() {
        findings.push(ok("configuration", "has no mistakes"));
    }
    if config.consul.is_none() {
        findings.push(ok("Consul", "is not asked: there is no [consul] in a file that has [[service]]"));
    }
    Subject { name: format!("configuration {source}"), findings }
}

/// Asks the agents and looks at the saved catalog; reads what would be served from the first agent that shows anything.
async fn consult(consul: &config::Consul, config: &Config, subjects: &mut Vec<Subject>, reading: &mut Reading) {
    let mut first: Option<Seen> = None;
    let mut local = false;
    for address in &consul.addresses {
        let (findings, seen) = agent::examine(consul, address).await;
        subjects.push(Subject { name: format!("agent {address}"), findings });
        local |= seen.as_ref().is_some_and(|seen| seen.client.is_local());
        first = first.or(seen);
    }
    let rules = |local: bool| Rules::new(consul, local, config.own_addresses());
    let saved = consul.saved.as_ref().map(|place| {
        // Which of the agents is local matters only where none answers; then each may have told it.
        (place, saved::load(place, &Scope::of(consul), &rules(local || first.is_none()), SystemTime::now()))
    });
    subjects.push(snapshot(saved.as_ref().map(|(place, loaded)| (*place, loaded))));
    match (first, saved) {
        (Some(seen), _) => {
            let rules = informed(rules(seen.client.is_local()), &seen);
            reading.of_agent(seen, &rules).await;
        }
        (None, Some((_, Ok(Some(loaded))))) => {
            reading.from = "the saved catalog".into();
            loaded.services.values().for_each(|service| reading.put(service));
        }
        (None, _) => reading.unread.push("no agent shows its catalog, and none is saved".into()),
    }
}

/// The rules with what an agent said of itself.
fn informed(mut rules: Rules, seen: &Seen) -> Rules {
    let trust = &mut rules.trust;
    trust.agent.found = seen.client.found();
    // In another datacenter a node of the same name is another node, and loopback is elsewhere.
    let is_other = |wanted: &String| seen.own.as_ref().is_some_and(|own| own != wanted);
    rules.wan = seen.datacenter.iter().any(|(_, wanted)| is_other(wanted));
    trust.agent_is_local &= !rules.wan;
    match &seen.told {
        Ok(told) => {
            trust.own_node = Ok(told.node.clone());
            trust.agent.addresses.clone_from(&told.addresses);
            trust.agent.ports = if told.ports.is_empty() { AgentPorts::default().ports } else { told.ports.clone() };
        }
        Err(why) => trust.own_node = Err(why.clone()),
    }
    rules
}

/// What is to be said of the saved catalog.
fn snapshot(saved: Option<(&config::SavedCatalog, &Result<Option<saved::Loaded>, String>)>) -> Subject {
    const WHAT: &str = "snapshot";
    let subject = |findings: Vec<Finding>| Subject { name: "saved catalog".into(), findings };
    let Some((place, loaded)) = saved else {
        let text = "off: a gateway that starts while no agent answers serves nothing until one does";
        let advice = "write snapshot = { file = \"…\" } in [consul] to serve what was known";
        return subject(vec![advised(ok(WHAT, text), advice)]);
    };
    let readable = match loaded {
        Ok(None) => ok(WHAT, format!("{} is not there yet: a running gateway writes it", place.file.display())),
        Ok(Some(loaded)) => {
            let age = SystemTime::now().duration_since(loaded.saved_at).unwrap_or_default();
            let instances: usize = loaded.services.values().map(|service| service.endpoints.len()).sum();
            let (services, age) = (loaded.services.len(), saved::in_words(age));
            ok(
                WHAT,
                format!("{} with {}, saved {age} ago", counted(services, "service"), counted(instances, "instance")),
            )
        }
        Err(why) => advised(
            warn(WHAT, why.clone()),
            "run the doctor as the gateway's user; a running gateway replaces the file as soon as an agent answers",
        ),
    };
    let place = match saved::try_place(place) {
        Ok(()) => ok("its place", format!("{} can be written", own_file::directory(&place.file).display())),
        Err(why) => advised(fail("its place", why), "let the gateway's user write to the directory, and nobody else"),
    };
    subject(vec![readable, place])
}

/// What would be served, as far as it was read.
#[derive(Default)]
struct Reading {
    served: Vec<Served>,
    not_served: Vec<NotServed>,
    /// What could not be read, a sentence each.
    unread: Vec<String>,
    /// Where it was read, for people.
    from: String,
}

impl Reading {
    fn of_file(&mut self, service: &StaticService) {
        let instances = service.instances.len() as u64;
        self.served.push(Served { name: service.name.to_string(), instances, available: instances });
    }

    /// Reads every service that an agent lists, some at once.
    async fn of_agent(&mut self, seen: Seen, rules: &Rules) {
        let listing = listing::listing(&seen.names, (&rules.expose, &rules.gateways), None);
        self.from = format!("the agent {}", seen.address);
        let hidden = |(name, reason): (&String, &String)| NotServed { name: name.clone(), reason: reason.clone() };
        self.not_served.extend(listing.hidden.iter().map(hidden));
        let (mut waiting, mut tasks) = (listing.candidates.iter().cloned(), JoinSet::new());
        loop {
            while tasks.len() < AT_ONCE
                && let Some(name) = waiting.next()
            {
                tasks.spawn(read(name, seen.client.clone(), seen.datacenter.clone(), rules.clone()));
            }
            match tasks.join_next().await {
                None => break,
                Some(Ok((name, Ok(Assembled::Hidden(reason))))) => {
                    self.not_served.push(NotServed { name: name.to_string(), reason });
                }
                Some(Ok((_, Ok(Assembled::Exposed(service, _))))) => self.put(&service),
                Some(Ok((name, Err(failure)))) => self.unread.push(format!("{name}: {}", failure.reason)),
                Some(Err(panic)) => self.unread.push(format!("reading a service failed: {panic}")),
            }
        }
    }

    /// Adds a service, unless the file has one of that name: then that one is served.
    fn put(&mut self, service: &Service) {
        let name = service.name.to_string();
        for refused in &service.unroutable {
            let instance = format!("{name} {} {}", refused.id, refused.address).trim_end().to_owned();
            self.not_served.push(NotServed { name: instance, reason: refused.reason.clone() });
        }
        if self.served.iter().any(|served| served.name == name) {
            self.not_served.push(NotServed { name, reason: "a [[service]] of the file has the same name".into() });
            return;
        }
        let instances = service.endpoints.len() as u64;
        let available = service.endpoints.iter().filter(|endpoint| endpoint.available()).count() as u64;
        self.served.push(Served { name, instances, available });
    }

    /// Sorts what was read, and says what it comes to. Where something has failed, that is the first to be mended.
    fn subject(&mut self, failed: bool) -> Subject {
        self.served.sort_by(|a, b| a.name.cmp(&b.name));
        self.not_served.sort_by(|a, b| a.name.cmp(&b.name));
        let mut findings: Vec<_> = self.unread.iter().map(|why| fail("unread", why.clone())).collect();
        let subject = |findings| Subject { name: "services".into(), findings };
        if self.served.is_empty() && !self.unread.is_empty() {
            return subject(findings);
        }
        let instances: u64 = self.served.iter().map(|one| one.instances).sum();
        let available: u64 = self.served.iter().map(|one| one.available).sum();
        let from = if self.from.is_empty() { String::new() } else { format!(", read from {}", self.from) };
        let (services, instances) = (counted(self.served.len(), "service"), counted(instances as usize, "instance"));
        let text = format!("{services} with {instances}, {available} of them available{from}");
        findings.push(match available {
            0 if failed => warn("served", text),
            0 => advised(
                warn("served", text),
                "register services with the tag of [consul], and a check that passes: consul/README.md",
            ),
            _ => ok("served", text),
        });
        let without: Vec<_> =
            self.served.iter().filter(|one| one.available == 0).map(|one| one.name.as_str()).collect();
        if available > 0 && !without.is_empty() {
            findings.push(warn("without", format!("nothing answers for {}", without.join(", "))));
        }
        subject(findings)
    }
}

/// Reads one service.
async fn read(
    name: ServiceName,
    client: Arc<Client>,
    datacenter: Datacenter,
    rules: Rules,
) -> (ServiceName, Result<Assembled, Failure>) {
    let mut lane = client.lane().await;
    let answer = lane.get(&format!("/v1/health/service/{name}"), &datacenter, PATIENCE).await;
    let parse = |body: &[u8]| model::entries(body).map_err(Failure::not_understood);
    let entries = answer.and_then(|answer| parse(&answer.body));
    let assembled = entries.map(|entries| assemble::service(&name, &entries, &rules));
    (name, assembled)
}

#[cfg(test)]
mod tests;
