//! Gateways that are one fleet: what this one knows of the others, and how they prove to each other that they are no strangers. Consul says
//! who there is (`discovery/consul/membership`); it is not believed in more than that, because whoever may register a service could be in it.

mod desk;
mod nonces;
mod peers;
pub mod seal;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::catalog::Health;
use crate::config;
use desk::Desk;
use peers::Peers;

pub use desk::Refused;

/// A gateway as Consul's catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its service id.
    pub id: String,
    /// The node that carries it.
    pub node: String,
    /// Where clients reach it: host and port.
    pub address: String,
    /// Where other gateways reach it; `None` where its registration does not say so.
    pub peer: Option<String>,
    /// The worst of its checks.
    pub health: Health,
    /// A check of its own passes: whoever only registers does not count.
    pub proven: bool,
}

impl Member {
    /// Whether it may be well enough to answer.
    pub fn lives(&self) -> bool {
        self.health <= Health::Warning
    }
}

/// Whether this gateway is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The agent knows it.
    pub registered: bool,
    /// The agent that is asked for it.
    pub agent: String,
    /// Why it is not registered, or why that is not known, in full: for operators.
    pub error: Option<String>,
}

/// What Consul says of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Every gateway, by its id; one that is registered at several places is there several times.
    pub all: Vec<Member>,
    /// Whether this one is among them.
    pub registration: Registration,
    /// Why this may be out of date.
    pub error: Option<String>,
    /// Who else has this gateway's id, if somebody does.
    pub double: Option<String>,
}

impl Members {
    /// Whether entries that live give different places for this id. Ids are unique per node only, so that one of them may be a stranger.
    pub fn disputed(&self, id: &str) -> bool {
        let mut peers = self.all.iter().filter(|member| member.id == id && member.lives()).map(|member| &member.peer);
        peers.next().is_some_and(|first| peers.any(|other| other != first))
    }
}

/// How many gateways live: this one, and the others whose checks all pass, by what Consul says.
#[derive(Clone, Debug)]
pub struct Living(Arc<AtomicUsize>);

impl Default for Living {
    fn default() -> Living {
        Living(Arc::new(AtomicUsize::new(1)))
    }
}

impl Living {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Consul says how many there are.
    pub fn set(&self, count: usize) {
        self.0.store(count.max(1), Ordering::Relaxed);
    }
}

/// Somebody waits until this gateway is deregistered.
pub type Leave = oneshot::Sender<()>;

/// This gateway as one of a fleet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its service id in Consul.
    pub id: Arc<str>,
    /// What the configuration says of the fleet.
    pub config: Arc<config::fleet::Fleet>,
    /// What Consul says of it.
    pub members: watch::Receiver<Arc<Members>>,
    /// How many gateways live.
    pub living: Living,
    leave: mpsc::Sender<Leave>,
    desk: Arc<Desk>,
    peers: Arc<Peers>,
}

impl Fleet {
    /// This gateway, whom Consul knows by `id`, and what whoever registers it tells and is told.
    pub fn new(
        id: Arc<str>,
        config: config::fleet::Fleet,
        members: watch::Receiver<Arc<Members>>,
        living: Living,
    ) -> (Fleet, mpsc::Receiver<Leave>) {
        let (leave, leaving) = mpsc::channel(1);
        let desk = Arc::new(Desk::new(id.clone()));
        let fleet = Fleet { id, config: Arc::new(config), members, living, leave, desk, peers: Arc::default() };
        (fleet, leaving)
    }

    /// Has this gateway deregistered. Waits for that, but no longer than `patience`.
    pub async fn leave(&self, patience: Duration) {
        let (left, done) = oneshot::channel();
        if self.leave.try_send(left).is_ok() {
            let _ = tokio::time::timeout(patience, done).await;
        }
    }

    /// By what gateways of the same secret name a digest.
    ///
    /// # Errors
    /// Why the secret cannot be used.
    pub fn named(&self, what: &str, digest: &[u8]) -> Result<String, String> {
        Ok(seal::Key::read(&self.config.secret)?.name(what, digest))
    }

    /// Judges a call of another gateway, made now: the field is what proves it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn judge(&self, method: &str, target: &str, field: Option<&str>) -> Result<seal::Seal, Refused> {
        self.desk.judge(&self.config.secret, (method, target), field)
    }

    /// Asks another gateway for what is at a path of its own, within a second.
    ///
    /// # Errors
    /// Why there is no answer of a gateway of this fleet.
    pub async fn ask(&self, member: &Member, path: &str) -> Result<Vec<u8>, String> {
        self.peers.ask(&self.config, member, path).await
    }
}

#[cfg(test)]
mod tests;
