//! This gateway in Consul's catalog, and the others of its fleet: it registers itself, looks every few seconds whether the agent has not
//! forgotten it, takes itself out at its end, and follows who else is there. Nothing of this is needed to serve requests.
//!
//! It has two connections of its own to each agent, so that the budget of those who follow services is not touched. Who is asked is decided
//! as `failover` does it, but apart from that: a gateway belongs to the agent of its own host for as long as that answers.

mod follow;
mod place;
mod registration;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::client::{Client, Failure, Patience};
use super::watch::Timings;
use crate::catalog::Health;
use crate::config::Config;
use crate::discovery::provider::Error;
use crate::fleet::{Fleet, Leave, Living, Members};
use crate::supervisor::Supervisor;
use follow::Follower;
use place::{Known, Place};
use registration::Wanted;

/// What the supervisor calls it.
const TASK: &str = "fleet";

/// How much more often the agent is asked whether it has the registration while that does not stand; else as often as whether it is there.
const SOONER: u32 = 5;

/// What anybody may read while the registration does not stand.
const NOT_REGISTERED: &str = "this gateway is not registered in Consul; /admin/fleet says why";

/// Connections to each agent: one for who follows the fleet, one for the registration.
const CONNECTIONS: usize = 2;

/// How long fewer gateways must live until fewer are counted: while an agent begins anew its checks fail for some seconds, and gateways that
/// share a limit would let through too much.
const LOWER: Duration = Duration::from_secs(30);

/// Where the metadata of a registration says where other gateways reach it.
const PEER: &str = "lictor-peer";

/// Keeps a gateway registered, and follows its fleet.
struct Membership {
    clients: Vec<Arc<Client>>,
    own: Own,
    /// Which of the agents is asked.
    current: watch::Sender<usize>,
    members: watch::Sender<Arc<Members>>,
    living: Living,
    leaving: mpsc::Receiver<Leave>,
    supervisor: Supervisor,
    timings: Timings,
    /// Which agents may have it, and which were told by this process: what another one has left may look right and have another check.
    held: Vec<bool>,
    told: Vec<bool>,
    /// Since when the agent fails.
    failing: Option<Instant>,
    /// Since when each of those that are preferred answers again.
    well: Vec<Option<Instant>>,
    /// The kind of the last failure that the log has.
    said: Option<&'static str>,
}

/// What is registered.
#[derive(Clone)]
struct Own {
    fleet: Fleet,
    configs: watch::Receiver<Arc<Config>>,
    public: SocketAddr,
    admin: SocketAddr,
}

/// Registers this gateway, and follows its fleet, where the configuration has one. `bound` is where it listens: the first is that of clients,
/// the last that of admin.
///
/// # Errors
/// Which address or which file of `[consul]` cannot be used.
pub(crate) fn start(
    configs: &watch::Receiver<Arc<Config>>,
    bound: &[SocketAddr],
    supervisor: &Supervisor,
) -> Result<Option<Fleet>, Error> {
    start_with(configs, bound, supervisor, Timings::default())
}

fn start_with(
    configs: &watch::Receiver<Arc<Config>>,
    bound: &[SocketAddr],
    supervisor: &Supervisor,
    timings: Timings,
) -> Result<Option<Fleet>, Error> {
    let config = configs.borrow().clone();
    let (Some(wanted), Some(consul)) = (&config.fleet, &config.consul) else { return Ok(None) };
    let (Some(&public), Some(&admin)) = (bound.first(), bound.last()) else { return Ok(None) };
    let clients = consul.addresses.iter().map(|address| Client::new(consul, address, CONNECTIONS).map(Arc::new));
    let clients: Vec<_> = clients.collect::<Result<_, _>>()?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = place::id(wanted.service.as_str(), &host, public);
    let (members, followed) = watch::channel(Arc::new(Members::default()));
    let living = Living::default();
    let (fleet, leaving) = Fleet::new(id.into(), wanted.clone(), followed, living.clone());
    let own = Own { fleet: fleet.clone(), configs: configs.clone(), public, admin };
    let membership = Membership {
        well: vec![None; clients.len()],
        held: vec![false; clients.len()],
        told: vec![false; clients.len()],
        clients,
        own,
        current: watch::Sender::new(0),
        members,
        living,
        leaving,
        supervisor: supervisor.clone(),
        timings,
        failing: None,
        said: None,
    };
    supervisor.spawn(TASK, membership, |membership| Box::pin(membership.run()));
    Ok(Some(fleet))
}

impl Membership {
    /// Never ends: a task that ends is begun again.
    async fn run(&mut self) {
        let follower = Follower {
            clients: self.clients.clone(),
            own: self.own.clone(),
            members: self.members.clone(),
            count: watch::Sender::new(1),
            living: self.living.clone(),
            supervisor: self.supervisor.clone(),
            timings: self.timings.clone(),
        };
        let current = self.current.subscribe();
        let left = tokio::select! {
            left = self.keep_registered() => left,
            () = follower.follow(current) => return,
        };
        // The follower's connection is closed by now.
        while !self.leave_all_but(None).await {
            tokio::time::sleep(self.timings.liveness / SOONER).await;
        }
        tracing::info!(id = &*self.own.fleet.id, "no agent has this gateway any more");
        self.clients.clear();
        let _ = left.map(|left| left.send(()));
        std::future::pending::<()>().await;
    }

    /// Keeps the registration until somebody wants it taken out. A request that is under way ends first: else it could come to the agent
    /// after that which takes it out.
    async fn keep_registered(&mut self) -> Option<Leave> {
        loop {
            let registered = self.look().await;
            if registered {
                let current = *self.current.borrow();
                self.leave_all_but(Some(current)).await;
            }
            let pause = if registered { self.timings.liveness } else { self.timings.liveness / SOONER };
            tokio::select! {
                left = self.leaving.recv() => return left,
                () = tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())) => {}
                // Another configuration has another name.
                Ok(()) = self.own.configs.changed() => {}
            }
        }
    }

    /// Looks whether the agent has the registration, and registers where it has not. True if it stands.
    async fn look(&mut self) -> bool {
        self.prefer().await;
        let index = *self.current.borrow();
        match self.at(index).await {
            Ok(()) => {
                self.failing = None;
                self.stands(index);
                true
            }
            Err(failure) => {
                let since = *self.failing.get_or_insert_with(Instant::now);
                let away = !failure.definitive && since.elapsed() >= self.timings.failover;
                self.fails(index, failure);
                away && self.elsewhere(index).await
            }
        }
    }

    /// Registers at an agent, unless it has this gateway already.
    async fn at(&mut self, index: usize) -> Result<(), Failure> {
        let (client, patience) = (self.clients[index].clone(), self.patience());
        let before = self.wanted(index);
        let known = before.is_known(&client, patience).await?;
        // The first answer says where the agent is, and so which address this host has toward it.
        let wanted = self.wanted(index);
        if known && wanted == before && self.told[index] {
            return Ok(());
        }
        let moves = (0..self.clients.len()).any(|other| other != index && self.held[other]);
        // Also where no answer comes it may have it.
        self.held[index] = true;
        wanted.register(&client, patience, moves && self.passes()).await?;
        self.told[index] = true;
        tracing::info!(id = &*wanted.id, agent = client.address(), "registered in Consul as {}", wanted.service);
        Ok(())
    }

    /// Whether Consul knows that this gateway passes.
    fn passes(&self) -> bool {
        let own = &*self.own.fleet.id;
        self.members
            .borrow()
            .all
            .iter()
            .any(|member| member.id == own && member.health == Health::Passing && member.proven)
    }

    /// Takes the registration out at all agents that may have it but this one: there, nobody else would. True if none has it.
    async fn leave_all_but(&mut self, kept: Option<usize>) -> bool {
        let current = *self.current.borrow();
        // The one that is asked answers most likely.
        let all = std::iter::once(current).chain((0..self.clients.len()).filter(|index| *index != current));
        let mut none = true;
        for index in all.filter(|index| Some(*index) != kept) {
            if !self.held[index] {
                continue;
            }
            let client = self.clients[index].clone();
            match self.wanted(index).deregister(&client, self.patience()).await {
                Err(failure) if !failure.definitive => {
                    tracing::debug!(agent = client.address(), "not taken out yet: {}", failure.reason);
                    none = false;
                    continue;
                }
                Err(failure) => {
                    let why = failure.reason;
                    tracing::warn!(agent = client.address(), "this gateway could not take itself out of Consul: {why}");
                }
                Ok(()) => tracing::info!(agent = client.address(), "deregistered in Consul"),
            }
            (self.held[index], self.told[index]) = (false, false);
        }
        none
    }

    /// Registers at the first other agent that takes it.
    async fn elsewhere(&mut self, index: usize) -> bool {
        for other in (0..self.clients.len()).filter(|other| *other != index) {
            if self.at(other).await.is_ok() {
                self.current.send_replace(other);
                self.failing = None;
                self.stands(other);
                return true;
            }
        }
        false
    }

    /// Goes back to an agent that is preferred, once it has answered for some time.
    async fn prefer(&mut self) {
        let current = *self.current.borrow();
        for index in 0..current {
            let answers = self.wanted(index).is_known(&self.clients[index], self.patience()).await.is_ok();
            self.well[index] = if answers { self.well[index].or_else(|| Some(Instant::now())) } else { None };
            let well = self.well[index].is_some_and(|since| since.elapsed() >= self.timings.failback);
            if well && self.at(index).await.is_ok() {
                self.well.fill(None);
                self.current.send_replace(index);
                return;
            }
        }
    }

    /// The registration stands.
    fn stands(&mut self, index: usize) {
        let unreadable = self.own.configuration().err();
        self.said = None;
        self.supervisor.fault(TASK, unreadable.is_some().then_some("the fleet's secret cannot be used"));
        self.tell(|registration| registration.registered = true, index, unreadable);
    }

    /// It does not, or it is not known.
    fn fails(&mut self, index: usize, failure: Failure) {
        if self.said != Some(failure.kind) {
            self.said = Some(failure.kind);
            let agent = self.clients[index].address();
            tracing::warn!(agent, "this gateway is not registered in Consul: {}", failure.reason);
        }
        self.supervisor.fault(TASK, Some(NOT_REGISTERED));
        self.tell(|registration| registration.registered = false, index, Some(failure.reason));
    }

    fn tell(&self, how: impl FnOnce(&mut crate::fleet::Registration), index: usize, error: Option<String>) {
        self.members.send_modify(|members| {
            let registration = &mut Arc::make_mut(members).registration;
            self.clients[index].address().clone_into(&mut registration.agent);
            registration.error = error;
            how(registration);
        });
    }

    /// What is registered at an agent.
    fn wanted(&self, index: usize) -> Wanted {
        self.own.wanted(&self.clients[index])
    }

    fn patience(&self) -> Patience {
        Patience { head: self.timings.first, waits: None }
    }
}

impl Own {
    fn configuration(&self) -> Result<String, String> {
        self.fleet.named("configuration", &self.configs.borrow().digest.0)
    }

    fn wanted(&self, client: &Client) -> Wanted {
        let found = client.found();
        let place: Place = place::place(&Known {
            public: self.public,
            admin: self.admin,
            address: self.fleet.config.address.as_deref(),
            agent_is_local: client.is_local(),
            toward: found.first().copied().and_then(place::toward),
        });
        let service = self.fleet.config.service.to_string();
        Wanted { id: self.fleet.id.clone(), service, place, configuration: self.configuration().ok() }
    }
}

#[cfg(test)]
mod tests;
