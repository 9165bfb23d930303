//! The watch: one query for the names, one for each exposed service, and a rotation for what the budget leaves over.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::client::{Block, Client, Error, escape};
use super::judge::{self, Loopback, Rules};
use super::model;
use super::query::{News, Query, WAIT};
use crate::catalog::{Service, ServiceName};
use crate::config;
use crate::discovery::Desk;

/// Slots that no service's own watch takes: the names, the agent's self, and two for the rotation.
const RESERVED: usize = 4;

/// The rotation reads each service at most this often.
const ROUND: Duration = Duration::from_secs(10);

/// And not more services than this in a second.
const RATE: u64 = 50;

/// Everything that the watches share.
#[derive(Debug)]
struct Shared {
    client: Client,
    desk: Desk,
    rules: Mutex<Rules>,
    /// Candidates that were never answered for: while there are any, the catalog is not complete.
    pending: Mutex<HashSet<String>>,
    named: Mutex<bool>,
    swept: Mutex<BTreeSet<String>>,
}

/// The watch of one agent.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    config: config::Consul,
    services: HashMap<String, Task>,
    hidden: HashSet<String>,
}

/// A service's own watch; it ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    pub(super) fn new(client: Client, config: config::Consul, own: Vec<std::net::SocketAddr>, desk: Desk) -> Watch {
        let near = is_near(&config.address);
        let loopback = match (config.allow_loopback, near) {
            (true, _) => Loopback::Allowed,
            (false, true) => {
                Loopback::Refused("a loopback address, and the agent did not tell its own node's name yet")
            }
            (false, false) => Loopback::Refused(
                "a loopback address, but the agent is on another machine ([consul] allow_loopback = true takes it)",
            ),
        };
        let rules = Rules { expose: config.expose.clone(), own, loopback };
        let shared = Shared {
            client,
            desk,
            rules: Mutex::new(rules),
            pending: Mutex::default(),
            named: Mutex::new(false),
            swept: Mutex::default(),
        };
        Watch { shared: Arc::new(shared), config, services: HashMap::new(), hidden: HashSet::new() }
    }

    /// For ever.
    pub(super) async fn run(mut self) {
        let sweeper = Task(tokio::spawn(self.shared.clone().sweep()));
        let mut query = Query::new("/v1/catalog/services".into(), WAIT);
        loop {
            match query.next(&self.shared.client).await {
                Ok(news) => {
                    self.shared.answered(match &news {
                        News::Changed(answer) => Some(answer.index),
                        News::Same(index) => Some(*index),
                    });
                    if let News::Changed(answer) = news {
                        self.shared.learn_node(&self.config).await;
                        match serde_json::from_slice::<model::Names>(&answer.body) {
                            Ok(names) => self.take(names),
                            Err(error) => {
                                self.shared.failed("/v1/catalog/services", &Error::Json(error), query.errors())
                            }
                        }
                    }
                }
                Err(error) => {
                    self.shared.failed("/v1/catalog/services", &error, query.errors());
                    query.pause().await;
                }
            }
            if sweeper.0.is_finished() {
                break;
            }
        }
    }

    /// The names that are there now: watches for new ones, an end to those of vanished ones.
    fn take(&mut self, names: model::Names) {
        let mut candidates = BTreeSet::new();
        let mut hidden = HashSet::new();
        for (name, tags) in names {
            match judge::exposed(&name, &tags.unwrap_or_default(), &self.config.expose) {
                Ok(()) => {
                    candidates.insert(name);
                }
                Err(reason) => {
                    self.shared.desk.hide(&name, Some(reason));
                    hidden.insert(name);
                }
            }
        }
        for gone in self.hidden.difference(&hidden) {
            self.shared.desk.hide(gone, None);
        }
        self.hidden = hidden;
        self.shared.vanish(&mut self.services, &candidates);
        self.start(candidates);
        *self.shared.named.lock() = true;
        self.shared.check_complete();
    }

    fn start(&mut self, candidates: BTreeSet<String>) {
        let room = self.shared.client.slots.saturating_sub(RESERVED).max(1);
        for name in candidates {
            if self.services.contains_key(&name) || self.shared.swept.lock().contains(&name) {
                continue;
            }
            let Some(service) = ServiceName::new(&name) else {
                self.shared.desk.hide(&name, Some("its name does not fit into a path".into()));
                continue;
            };
            self.shared.pending.lock().insert(name.clone());
            if self.services.len() < room {
                let task = tokio::spawn(self.shared.clone().watch(service));
                self.services.insert(name, Task(task));
            } else {
                self.shared.swept.lock().insert(name);
            }
        }
        let (watched, swept) = (self.services.len(), self.shared.swept.lock().len());
        let connections = self.config.connections;
        self.shared.desk.status(|status| {
            (status.watched, status.swept) = (watched, swept);
            status.notes.retain(|note| !note.starts_with("degraded"));
            if swept > 0 {
                status.notes.push(format!(
                    "degraded: {swept} services are read in rotation, because [consul] connections = {connections} leaves \
                     no watch for them; raise it (and the agent's limits.http_max_conns_per_client beyond 200)"
                ));
            }
        });
    }
}

impl Shared {
    /// One service's own watch, for ever.
    async fn watch(self: Arc<Shared>, name: ServiceName) {
        let mut query = Query::new(format!("/v1/health/service/{}", escape(name.as_str())), WAIT);
        loop {
            match query.next(&self.client).await {
                Ok(News::Changed(answer)) => {
                    self.answered(None);
                    self.tell(&name, &answer.body);
                }
                Ok(News::Same(_)) => self.answered(None),
                Err(error) => {
                    self.failed(name.as_str(), &error, query.errors());
                    self.unknown(&name);
                    query.pause().await;
                }
            }
        }
    }

    /// The rotation over what has no watch of its own: plain reads, each service every 10 s or at 50 a second.
    async fn sweep(self: Arc<Shared>) {
        loop {
            let names: Vec<_> = self.swept.lock().iter().filter_map(|name| ServiceName::new(name)).collect();
            let round = ROUND.max(Duration::from_millis(1000 * names.len() as u64 / RATE));
            let each = round / (names.len() as u32).max(1);
            if names.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            for name in names {
                let first = self.pending.lock().contains(name.as_str());
                let path = format!("/v1/health/service/{}", escape(name.as_str()));
                match self.client.get(&path, Block::default()).await {
                    Ok(answer) => {
                        self.answered(None);
                        if self.swept.lock().contains(name.as_str()) {
                            self.tell(&name, &answer.body);
                        }
                    }
                    Err(error) => {
                        self.failed(name.as_str(), &error, 1);
                        self.unknown(&name);
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
                // The first fill does not dawdle.
                tokio::time::sleep(if first { Duration::ZERO } else { each }).await;
            }
        }
    }

    /// An answer about a service.
    fn tell(&self, name: &ServiceName, body: &[u8]) {
        let (entries, bad) = match model::entries(body) {
            Ok(read) => read,
            Err(error) => {
                self.failed(name.as_str(), &Error::Json(error), 1);
                return self.unknown(name);
            }
        };
        let judged = judge::service(name, &entries, &bad, &self.rules.lock());
        match judged {
            Ok(service) => {
                for sentence in judge::shared(&service) {
                    tracing::warn!(service = %name, "{sentence}");
                }
                self.desk.hide(name.as_str(), None);
                self.desk.tell(service);
            }
            Err(reason) => {
                self.desk.forget(name.as_str());
                self.desk.hide(name.as_str(), Some(reason));
            }
        }
        self.settled(name);
    }

    /// No answer about a service. What is known of it stays; of one that nothing is known of, at least that it exists.
    fn unknown(&self, name: &ServiceName) {
        if !self.desk.knows(name.as_str()) {
            let nothing =
                Service { name: name.clone(), provider: "consul", endpoints: Vec::new(), unroutable: Vec::new() };
            self.desk.tell(nothing);
        }
        self.settled(name);
    }

    fn settled(&self, name: &ServiceName) {
        if self.pending.lock().remove(name.as_str()) {
            self.check_complete();
        }
    }

    fn check_complete(&self) {
        if *self.named.lock() && self.pending.lock().is_empty() {
            self.desk.complete();
        }
    }

    /// Ends what the agent no longer lists.
    fn vanish(&self, services: &mut HashMap<String, Task>, candidates: &BTreeSet<String>) {
        let gone: Vec<String> = {
            let swept = self.swept.lock();
            services.keys().chain(swept.iter()).filter(|name| !candidates.contains(*name)).cloned().collect()
        };
        for name in gone {
            services.remove(&name);
            self.swept.lock().remove(&name);
            self.pending.lock().remove(&name);
            self.desk.forget(&name);
        }
    }

    /// The agent's own node, once: only its instances are believed on loopback.
    async fn learn_node(&self, config: &config::Consul) {
        let wanted = matches!(self.rules.lock().loopback, Loopback::Refused(_)) && is_near(&config.address);
        if !wanted {
            return;
        }
        let read = self.client.get("/v1/agent/self", Block::default()).await;
        let node = read.and_then(|answer| serde_json::from_slice::<model::Agent>(&answer.body).map_err(Error::Json));
        match node {
            Ok(agent) => self.rules.lock().loopback = Loopback::OfNode(agent.config.node_name),
            Err(error) => {
                tracing::warn!("the agent's own node is unknown, so instances on loopback are refused: {error}");
                let why =
                    "a loopback address, and the agent does not tell its own node's name (agent_prefix \"\" read)";
                self.rules.lock().loopback = Loopback::Refused(why);
            }
        }
    }

    fn answered(&self, index: Option<u64>) {
        let sweeping = !self.swept.lock().is_empty();
        self.desk.status(|status| {
            if status.error.take().is_some() {
                tracing::info!("the agent at {} answers again", status.source);
            }
            status.last_answer = Some(SystemTime::now());
            status.state = if sweeping { "sweeping" } else { "watching" };
            status.index = index.unwrap_or(status.index);
        });
    }

    /// What is known stays. Logged when it begins, not each time.
    fn failed(&self, what: &str, error: &Error, times: u32) {
        self.desk.status(|status| {
            if status.error.is_none() {
                tracing::warn!("{what}: {error}; what is known stays");
            } else {
                tracing::debug!("{what}: {error} ({times} times)");
            }
            status.state = "failing";
            status.errors += 1;
            status.error = Some(error.to_string());
        });
    }
}

/// Whether the agent is reached over loopback or a socket file.
fn is_near(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    scheme == "unix" || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
