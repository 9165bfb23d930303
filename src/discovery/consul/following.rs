//! How the services are followed now, for whoever reports it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::client::Client;
use super::saved::Confirmed;
use super::state::State;
use super::view::{Signal, View};
use crate::catalog::{self, Followed, Plan};

/// Over how long requests are averaged.
const AVERAGE: Duration = Duration::from_secs(60);

/// The views of the agent that is followed, and what was asked of all agents.
#[derive(Debug)]
pub(super) struct Following {
    views: Mutex<Vec<Arc<View>>>,
    clients: Mutex<Vec<Arc<Client>>>,
    /// Requests so far, at some moments of the last minute.
    sent: Mutex<VecDeque<(Instant, u64)>>,
}

impl Following {
    pub(super) fn new(clients: Vec<Arc<Client>>) -> Following {
        let sent = VecDeque::from([(Instant::now(), 0)]);
        Following { views: Mutex::default(), clients: Mutex::new(clients), sent: Mutex::new(sent) }
    }

    /// Another agent is followed.
    pub(super) fn set(&self, views: &[Arc<View>]) {
        *self.views.lock() = views.to_vec();
    }

    /// A client takes another's place.
    pub(super) fn replace(&self, index: usize, client: Arc<Client>) {
        self.clients.lock()[index] = client;
    }

    /// Notes what was sent until now; to be called every few seconds.
    pub(super) fn sample(&self) {
        let (now, total) = (Instant::now(), self.total());
        let mut sent = self.sent.lock();
        while sent.len() > 1 && sent[1].0 + AVERAGE <= now {
            sent.pop_front();
        }
        sent.push_back((now, total));
    }

    /// What the agent confirms now, to be saved; `None` while it does not answer.
    pub(super) fn confirmed(&self, state: &State) -> Option<Confirmed> {
        let views = self.views.lock();
        let agent = &views.first()?.agent;
        if agent.failing().is_some() {
            return None;
        }
        let trust = agent.rules(0)?.trust.clone();
        Some(Confirmed { services: state.confirmed()?, datacenter: agent.datacenter.lock().clone(), trust })
    }

    fn total(&self) -> u64 {
        self.clients.lock().iter().map(|client| client.sent()).sum()
    }
}

impl catalog::Following for Following {
    fn service(&self, name: &str) -> Option<Followed> {
        let views = self.views.lock();
        let view = views.iter().find(|view| view.roster.has(name))?;
        let failing = view.agent.failing().map(|since| since.elapsed());
        let works = view.signals.iter().all(Signal::works);
        let (watched, current, heard) = view.roster.heard(name)?;
        let age = heard.map_or(Duration::MAX, |heard| heard.elapsed());
        let lag = match failing {
            Some(failing) => failing.min(age),
            None if current && (watched || works) => Duration::ZERO,
            None => age,
        };
        Some(Followed { by: if watched { "watch" } else { "signals" }, lag: heard.map(|_| lag) })
    }

    fn plan(&self) -> Plan {
        let views = self.views.lock();
        let beyond = views.iter().any(|view| view.roster.count().beyond);
        let (now, total) = (Instant::now(), self.total());
        let first = self.sent.lock().front().copied();
        let per_second =
            first.map_or(0.0, |(since, sent)| (total - sent.min(total)) as f64 / (now - since).as_secs_f64().max(1.0));
        Plan {
            name: if beyond { "signals" } else { "watches" },
            agent: views.first().map(|view| view.agent.client.address().to_owned()).unwrap_or_default(),
            requests: total,
            per_second,
        }
    }
}
