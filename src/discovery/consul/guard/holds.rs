//! The endpoints that are held as suspects, and the crowds that they belong to: how each began, and how it ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ledger::{How, Loss};
use super::window::Now;
use crate::catalog::{Endpoint, Key, ServiceName, Suspect};

/// Why endpoints that have vanished are held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Too many of too many services vanished at once.
    Mass,
    /// The agent lost its memory, or is another one.
    Memory,
    /// The token does not see what it must see.
    Blind,
    /// The answer said that ACLs filtered it.
    Filter,
    /// This node lost everything and stays a member.
    Node(String),
}

/// How it ended that an endpoint was a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The agent speaks of it again.
    Confirmed,
    /// It refused a connection.
    Refused,
    /// An operator accepted that it is gone.
    Accepted,
    /// It was held for as long as may be.
    GivenUp,
}

/// Something to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A crowd began: why, and how much it is so far.
    Began { reason: Arc<str>, instances: usize, services: usize },
    /// A crowd is over: why it was, for how long, and what became of how many.
    Over { reason: Arc<str>, lasted: Duration, confirmed: usize, refused: usize, accepted: usize, given_up: usize },
}

/// An endpoint that is held.
#[derive(Debug)]
struct Hold {
    endpoint: Arc<Endpoint>,
    suspect: Arc<Suspect>,
    until: Instant,
    cause: Cause,
    /// The agent still has the endpoint, as one that gossip lost.
    present: bool,
}

/// Endpoints that are held for one cause.
#[derive(Debug)]
struct Crowd {
    reason: Arc<str>,
    /// That of the endpoints that gossip lost.
    by_gossip: Option<Arc<str>>,
    since: Instant,
    /// Until then, whatever vanishes joins it.
    joins: Instant,
    /// It was logged.
    told: bool,
    /// How many are held, by service.
    services: BTreeMap<ServiceName, usize>,
    instances: usize,
    /// By [`Fate`].
    ends: [usize; 4],
}

/// How a crowd begins, or goes on.
#[derive(Debug)]
pub(super) struct Beginning {
    /// Why it is one.
    pub(super) reason: String,
    /// Until then, whatever vanishes joins it.
    pub(super) joins: Instant,
    /// How many instances gossip is known to lose with it, where that is known before.
    pub(super) by_gossip: usize,
}

/// All that is held.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_service: BTreeMap<ServiceName, BTreeMap<Key, Hold>>,
    crowds: BTreeMap<Cause, Crowd>,
    /// Nothing is given up before.
    due: Option<Instant>,
    news: Vec<News>,
}

impl Holds {
    /// Begins a crowd, or lets one go on. Its reason stays the first one.
    pub(super) fn begin(&mut self, cause: &Cause, beginning: Beginning, now: Now) {
        let Beginning { reason, joins, by_gossip } = beginning;
        let crowd = self.crowds.entry(cause.clone()).or_insert_with(|| Crowd {
            reason: reason.into(),
            by_gossip: None,
            since: now.instant,
            joins,
            told: false,
            services: BTreeMap::new(),
            instances: 0,
            ends: [0; 4],
        });
        crowd.joins = crowd.joins.max(joins);
        self.of_gossip(cause, by_gossip);
    }

    /// Whether what vanishes now joins the crowd of this cause.
    pub(super) fn joins(&self, cause: &Cause, now: Now) -> bool {
        self.crowds.get(cause).is_some_and(|crowd| now.instant < crowd.joins)
    }

    /// Says that this many of the losses that a crowd is to hold next are by gossip.
    pub(super) fn of_gossip(&mut self, cause: &Cause, count: usize) {
        let Some(crowd) = self.crowds.get_mut(cause).filter(|crowd| count > 0 && crowd.by_gossip.is_none()) else {
            return;
        };
        let others = if count > 1 { format!(", as those of {} others", count - 1) } else { String::new() };
        crowd.by_gossip = Some(format!("its node's serfHealth is critical{others}").into());
    }

    /// Holds what was lost, as one of a crowd that has begun. It shares the suspect of the loss before where that says the same.
    pub(super) fn hold(
        &mut self,
        loss: &Loss,
        cause: &Cause,
        hold: Duration,
        before: Option<Arc<Suspect>>,
    ) -> Option<Arc<Suspect>> {
        let crowd = self.crowds.get_mut(cause)?;
        let present = loss.how == How::Gossip;
        let reason = crowd.by_gossip.as_ref().filter(|_| present).unwrap_or(&crowd.reason);
        let since = loss.at.clock;
        let says_the_same = |other: &Arc<Suspect>| other.since == since && Arc::ptr_eq(&other.reason, reason);
        let suspect = before
            .filter(says_the_same)
            .unwrap_or_else(|| Arc::new(Suspect { reason: reason.clone(), since, until: since + hold }));
        let (key, until) = (loss.endpoint.key.clone(), loss.at.instant + hold);
        *crowd.services.entry(key.service.clone()).or_default() += 1;
        crowd.instances += 1;
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
        let (endpoint, cause) = (loss.endpoint.clone(), cause.clone());
        let held = Hold { endpoint, suspect: suspect.clone(), until, cause, present };
        self.by_service.entry(key.service.clone()).or_default().insert(key, held);
        Some(suspect)
    }

    /// Makes news of crowds that have just begun.
    pub(super) fn tell(&mut self) {
        for crowd in self.crowds.values_mut().filter(|crowd| !crowd.told) {
            crowd.told = true;
            let (reason, instances, services) = (crowd.reason.clone(), crowd.instances, crowd.services.len());
            self.news.push(News::Began { reason, instances, services });
        }
    }

    /// Whether an endpoint is held.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.by_service.get(&key.service).is_some_and(|holds| holds.contains_key(key))
    }

    /// Whether any endpoint of a service is held.
    pub(super) fn of(&self, service: &ServiceName) -> bool {
        self.by_service.contains_key(service)
    }

    /// Says whether the agent still has an endpoint that is held.
    pub(super) fn present(&mut self, key: &Key, present: bool) {
        if let Some(hold) = self.by_service.get_mut(&key.service).and_then(|holds| holds.get_mut(key)) {
            hold.present = present;
        }
    }

    /// Ends it that an endpoint is a suspect; false where it was none.
    pub(super) fn end(&mut self, key: &Key, fate: Fate, now: Now) -> bool {
        let Some(holds) = self.by_service.get_mut(&key.service) else { return false };
        let Some(hold) = holds.remove(key) else { return false };
        if holds.is_empty() {
            self.by_service.remove(&key.service);
        }
        let Some(crowd) = self.crowds.get_mut(&hold.cause) else { return true };
        crowd.ends[fate as usize] += 1;
        crowd.instances -= 1;
        if let Some(count) = crowd.services.get_mut(&key.service) {
            *count -= 1;
            if *count == 0 {
                crowd.services.remove(&key.service);
            }
        }
        if crowd.instances == 0 {
            let ([confirmed, refused, accepted, given_up], reason) = (crowd.ends, crowd.reason.clone());
            let lasted = now.instant - crowd.since;
            self.crowds.remove(&hold.cause);
            self.news.push(News::Over { reason, lasted, confirmed, refused, accepted, given_up });
        }
        true
    }

    /// The suspects, all or those of one service.
    pub(super) fn keys(&self, service: Option<&ServiceName>) -> Vec<Key> {
        let meant = self.by_service.iter().filter(|(name, _)| service.is_none_or(|service| service == *name));
        meant.flat_map(|(_, holds)| holds.keys().cloned()).collect()
    }

    /// The services with suspects.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.by_service.keys()
    }

    /// The suspects whose time is over.
    pub(super) fn overdue(&mut self, now: Now) -> Vec<Key> {
        if self.due.is_none_or(|due| now.instant < due) {
            return Vec::new();
        }
        let all = || self.by_service.values().flatten();
        let overdue = all().filter(|(_, hold)| hold.until <= now.instant).map(|(key, _)| key.clone()).collect();
        self.due = all().map(|(_, hold)| hold.until).filter(|until| *until > now.instant).min();
        overdue
    }

    /// When suspects may have to be given up next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.by_service.is_empty())
    }

    /// Lets each suspect whose time would be over within `longer` have that much; says which services that concerns.
    pub(super) fn extend(&mut self, longer: Duration, now: Now) -> Vec<ServiceName> {
        let (until, clock) = (now.instant + longer, now.clock + longer);
        let mut concerns = Vec::new();
        for (name, holds) in &mut self.by_service {
            let short: Vec<&mut Hold> = holds.values_mut().filter(|hold| hold.until < until).collect();
            if !short.is_empty() {
                concerns.push(name.clone());
            }
            for hold in short {
                hold.until = until;
                hold.suspect = Arc::new(Suspect { until: clock, ..Suspect::clone(&hold.suspect) });
            }
        }
        self.due = self.by_service.values().flatten().map(|(_, hold)| hold.until).min();
        concerns
    }

    /// The endpoints of a service that the agent has, together with those that are held; `None` where none is.
    pub(super) fn compose(&self, service: &ServiceName, confirmed: &[Endpoint]) -> Option<Vec<Endpoint>> {
        let holds = self.by_service.get(service)?;
        let mut all = confirmed.to_vec();
        for endpoint in &mut all {
            endpoint.suspect = holds.get(&endpoint.key).map(|hold| hold.suspect.clone());
        }
        let absent = holds.values().filter(|hold| !hold.present);
        all.extend(
            absent.map(|hold| Endpoint { suspect: Some(hold.suspect.clone()), ..Endpoint::clone(&hold.endpoint) }),
        );
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Some(all)
    }

    /// How many endpoints are suspects.
    pub(super) fn count(&self) -> usize {
        self.crowds.values().map(|crowd| crowd.instances).sum()
    }

    /// The causes for which something is held.
    pub(super) fn causes(&self) -> impl Iterator<Item = &Cause> {
        self.crowds.keys()
    }

    /// A sentence for the operator on each crowd.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |crowd: &Crowd| {
            let (instances, services, reason) = (crowd.instances, crowd.services.len(), &crowd.reason);
            format!(
                "suspect: {instances} instances of {services} services are held, because {reason}; POST /admin/discovery/accept lets them go"
            )
        };
        self.crowds.values().map(note).collect()
    }

    /// What is to be logged.
    pub(super) fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }
}
