//! What gateways share lies in Redis: how it is reached, and what becomes of a question. These are words, without a policy: who asks
//! decides what happens without an answer.
//!
//! Redis never fails a request and never makes it wait for long (`shared/connection`): a call has a deadline, and after one that missed
//! it or broke off, its connection pauses, so that the deadline is paid once. Nothing waits for Redis at the start: each worker connects
//! when it first asks, and again in the background. Workers share no connection, and no lock that a request waits for.

mod away;
mod call;
mod connection;
mod figures;
mod link;
mod monitor;
mod pauses;
mod policy;
mod seal;
mod status;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::redis::{self, Redis};
use crate::supervisor::Supervisor;
use crate::worker::{PerWorker, WorkerId};
pub use away::Away;
pub use call::{Call, Script, Value};
pub use connection::{Shared, Standing};
pub use figures::{Figures, Outcome};
use link::Target;
use monitor::{Monitor, PATIENCE};
pub use seal::Seals;
pub use status::{Serves, Status};

/// One Redis, with a connection of each worker and one of the control plane. Clones share them.
#[derive(Clone, Debug)]
pub struct Server {
    /// The section that names it: `redis` or `redis.cache`.
    pub name: &'static str,
    /// Where it is, without credentials.
    pub address: String,
    /// What every key begins with.
    pub prefix: Arc<str>,
    /// What it is for.
    pub serves: Serves,
    /// How it fares.
    pub status: watch::Receiver<Arc<Status>>,
    workers: Arc<PerWorker<Shared>>,
    control: Shared,
}

impl Server {
    /// A worker's own connection. Only tasks of that worker may ask through it.
    pub fn of(&self, worker: WorkerId) -> &Shared {
        &self.workers[worker]
    }

    /// The workers' connections, in the order of their numbers.
    pub fn workers(&self) -> impl Iterator<Item = &Shared> {
        self.workers.iter()
    }

    /// The control plane's connection, for which nothing on the path of a request waits.
    pub fn control(&self) -> &Shared {
        &self.control
    }
}

/// Every Redis of a configuration. Dropping it ends nothing; see [`Servers::stop`].
#[derive(Clone, Debug, Default)]
pub struct Servers {
    /// One or two; none where no `[redis]` is written.
    pub all: Vec<Server>,
    tasks: Vec<AbortHandle>,
}

impl Servers {
    /// Where limits are kept.
    pub fn limits(&self) -> Option<&Server> {
        self.all.first()
    }

    /// Where answers are kept.
    pub fn answers(&self) -> Option<&Server> {
        self.all.last()
    }

    /// Ends what goes on beside requests.
    pub fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Begins to look after what a configuration says. It waits for no server: workers connect when they first ask.
pub fn start(config: Option<&Redis>, workers: usize, supervisor: &Supervisor) -> Servers {
    let Some(config) = config else { return Servers::default() };
    let serves = if config.cache.is_some() { Serves::Limits } else { Serves::Both };
    let mut servers = Servers::default();
    let cache = config.cache.as_ref().map(|cache| ("redis.cache", cache, Serves::Answers));
    for (name, server, serves) in [("redis", &config.main, serves)].into_iter().chain(cache) {
        let (server, task) = follow(name, server, serves, workers, supervisor);
        servers.all.push(server);
        servers.tasks.push(task);
    }
    servers
}

/// One server, with the task that looks whether it answers.
fn follow(
    name: &'static str,
    config: &redis::Server,
    serves: Serves,
    workers: usize,
    supervisor: &Supervisor,
) -> (Server, AbortHandle) {
    let target = Arc::new(Target::new(config.clone()));
    let connections = Arc::new(PerWorker::new(workers, || Shared::new(target.clone(), config.deadline)));
    let (report, status) = watch::channel(Arc::new(Status::default()));
    let server = Server {
        name,
        address: config.to_string(),
        prefix: config.prefix.as_str().into(),
        serves,
        status,
        workers: connections,
        control: Shared::new(target, PATIENCE),
    };
    let monitor = Monitor::new(server.clone(), config, report, supervisor.clone());
    let task = supervisor.spawn(name, monitor, |monitor| Box::pin(monitor.run()));
    (server, task)
}
