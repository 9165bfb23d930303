//! An agent that is none: it answers what gateways ask of Consul, scales to 5,000 services, and does whatever can go wrong, on command.

mod catalog;
mod command;
mod fault;
mod model;
mod render;
mod serve;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use catalog::Catalog;
pub use fault::{Asked, Fault, Rule};
pub use model::{Instance, OWN_NODE};
use state::State;
pub use state::{Request, Version};

/// The fake. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct FakeAgent {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    server: Mutex<JoinSet<()>>,
    generation: AtomicU32,
}

/// Counts the connection as closed when it is gone, however that came.
struct Open(Arc<State>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}

impl FakeAgent {
    /// An agent on a port of 127.0.0.1 that the system chooses, with nothing in it but the service `consul`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> FakeAgent {
        FakeAgent::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// An agent on this address.
    ///
    /// # Panics
    /// When it cannot listen there.
    pub async fn start_on(address: SocketAddr) -> FakeAgent {
        let listener = TcpListener::bind(address).await.expect("the fake agent can listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::new(address));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, state.clone()));
        FakeAgent { address, state, server: Mutex::new(server), generation: AtomicU32::new(1) }
    }

    /// Its address as a configuration has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes everything, as a killed agent does: connections are refused from now on.
    pub async fn kill(&self) {
        self.server.lock().await.shutdown().await;
    }

    /// Listens again, where it was, with what it knew.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn revive(&self) {
        let mut server = self.server.lock().await;
        if server.is_empty() {
            let listener = TcpListener::bind(self.address).await.expect("the fake agent can listen again");
            server.spawn(accept(listener, self.state.clone()));
        }
    }

    /// Forgets everything, as an agent in dev mode that was restarted: another node id, nothing registered, low indexes.
    pub fn forget(&self) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        self.state.change(|inner| {
            let local = inner.local.clone();
            inner.catalogs.insert(local.clone(), Catalog::new(&local, 1, generation));
        });
    }

    /// Changes the catalog of its own datacenter. All that `how` does is seen at once.
    pub fn change<T>(&self, how: impl FnOnce(&mut Catalog) -> T) -> T {
        let local = self.state.lock().local.clone();
        self.change_in(&local, how)
    }

    /// Changes the catalog of a datacenter, which exists from then on.
    pub fn change_in<T>(&self, datacenter: &str, how: impl FnOnce(&mut Catalog) -> T) -> T {
        self.state.change(|inner| {
            let new = || Catalog::new(datacenter, 10, 1);
            how(inner.catalogs.entry(datacenter.to_owned()).or_insert_with(new))
        })
    }

    /// Registers an instance, or changes it.
    pub fn register(&self, instance: Instance) {
        self.change(|catalog| catalog.register(instance));
    }

    /// Takes the instances with this id out.
    pub fn deregister(&self, id: &str) {
        self.change(|catalog| catalog.deregister_where(|instance| instance.id == id));
    }

    /// From now on requests fail in this way. Queries that wait already do so when they return: see [`Catalog::touch`].
    pub fn fail(&self, rule: Rule) {
        self.state.change(|inner| inner.rules.push(rule));
    }

    /// Ends all faults. Connections that one has silenced stay silent.
    pub fn heal(&self) {
        self.state.change(|inner| inner.rules.clear());
    }

    /// Closes all connections, as a restart of something between does; new ones are welcome.
    pub async fn disconnect(&self) {
        self.kill().await;
        self.revive().await;
    }

    /// Whose answers these are.
    pub fn set_version(&self, version: Version) {
        self.state.change(|inner| inner.version = version);
    }

    /// The most connections that it takes (`limits.http_max_conns_per_client`, 200).
    pub fn set_limit(&self, connections: usize) {
        self.state.change(|inner| inner.limit = connections);
    }

    /// Requests so far whose path begins so, oldest first.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        let inner = self.state.lock();
        inner.requests.iter().filter(|request| request.path.starts_with(path)).cloned().collect()
    }

    /// How many requests there were so far whose path begins so.
    pub fn count(&self, path: &str) -> u64 {
        let inner = self.state.lock();
        inner.counts.iter().filter(|(other, _)| other.starts_with(path)).map(|(_, count)| count).sum()
    }

    /// How many of the requests so far asked for a change: they had an index.
    pub fn waited(&self) -> u64 {
        self.state.waited()
    }

    /// When the last answer to this path was handed to the system, if it was small enough to be handed over at once.
    pub fn written(&self, path: &str) -> Option<Instant> {
        self.state.lock().written.get(path).copied()
    }

    /// Connections: open ones, the most that ever were open at once, and those that were refused.
    pub fn connections(&self) -> [usize; 3] {
        self.state.connections()
    }

    /// How many queries wait for a change.
    pub fn waiting(&self) -> usize {
        self.state.waiting()
    }

    /// Listens for commands over HTTP, on an address of its own: those who have no methods, such as scripts, send them there. Where it
    /// listens is returned; see `command.rs` for what it understands.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn serve_commands(agent: Arc<FakeAgent>, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).await.expect("the fake agent can listen for commands");
        let address = listener.local_addr().expect("a bound socket has an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(obey(stream, agent.clone()));
            }
        });
        address
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        // What has ended is forgotten; dropped with this task, all connections close.
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let version = state.lock().version;
        if !state.opened() {
            serve::refuse(stream, version).await;
            continue;
        }
        let open = Open(state.clone());
        connections.spawn(async move { serve::serve(stream, &open.0).await });
    }
}

/// Answers a connection's commands.
async fn obey(stream: TcpStream, agent: Arc<FakeAgent>) {
    let mut connection = serve::Connection::new(stream);
    while let Some(received) = connection.receive().await {
        let command = command::read(&received.method, &received.path, &received.body);
        let answer = match command {
            Err(why) => Err(why),
            Ok(command) => Ok(run(command, &agent).await),
        };
        if !connection.say(answer).await {
            return;
        }
    }
}

/// Does what was commanded; what is answered.
async fn run(command: command::Command, agent: &FakeAgent) -> serde_json::Value {
    use command::Command;
    match command {
        Command::Kill => agent.kill().await,
        Command::Revive => agent.revive().await,
        Command::Disconnect => agent.disconnect().await,
        Command::Forget => agent.forget(),
        Command::Fail(rule) => agent.fail(rule),
        Command::Heal => agent.heal(),
        Command::Touch => agent.change(Catalog::touch),
        Command::Rewind(index) => agent.change(|catalog| catalog.rewind(index)),
        Command::Leave(node) => agent.change(|catalog| catalog.leave(&node)),
        Command::Limit(limit) => agent.set_limit(limit),
        Command::Version(version) => agent.set_version(version),
        Command::Register(instances) => {
            agent.change(|catalog| instances.into_iter().for_each(|instance| catalog.register(instance)));
        }
        Command::Deregister(ids) => {
            return agent.change(|catalog| catalog.deregister_where(|instance| ids.contains(&instance.id))).into();
        }
        Command::Check(ids, status) => {
            agent.change(|catalog| ids.iter().for_each(|id| catalog.set_check(id, &status)));
        }
        Command::Serf(nodes, status) => {
            agent.change(|catalog| nodes.iter().for_each(|node| catalog.set_serf(node, &status)));
        }
        Command::Figures => {}
    }
    let [open, most, refused] = agent.connections();
    let inner = agent.state.lock();
    let index = inner.catalogs.get(&inner.local).map_or(0, Catalog::index);
    let connections = serde_json::json!({ "open": open, "most": most, "refused": refused });
    serde_json::json!({ "index": index, "connections": connections, "waiting": agent.state.waiting(), "requests": inner.counts })
}
