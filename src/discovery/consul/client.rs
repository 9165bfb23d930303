//! Requests to the agent within a budget of connections. No other part of discovery uses reqwest.

mod answer;
mod connect;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::{Response, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config;
use crate::discovery::provider::Error;

use answer::in_words;
pub(crate) use answer::{Answer, Failure};
use connect::Connector;

/// The most addresses of an agent that are remembered.
const MOST_FOUND: usize = 256;

/// How many requests share one connection of HTTP/2. Consul's servers allow 250 (Go's default, <https://pkg.go.dev/net/http#HTTP2Config>).
const STREAMS: usize = 100;

/// The way to one agent. Each request that is under way has a lane: over HTTP/1.1 there is one for each connection, over HTTP/2 there are
/// many.
#[derive(Debug)]
pub(crate) struct Client {
    connector: Connector,
    scope: Vec<(&'static str, String)>,
    connections: usize,
    lanes: Arc<Semaphore>,
    /// Where the agent was found: the address of its configuration, and those that connections led to.
    found: Mutex<BTreeSet<SocketAddr>>,
    pool: Mutex<Pool>,
    /// Requests so far.
    sent: AtomicU64,
    /// It has answered once.
    answered: AtomicBool,
}

/// The connections of lanes that are free, and those that are shared.
#[derive(Debug, Default)]
struct Pool {
    /// Of one lane each.
    free: Vec<reqwest::Client>,
    /// Of HTTP/2, with how many lanes use each now.
    shared: Vec<(reqwest::Client, usize)>,
    /// The agent speaks HTTP/2.
    multiplexed: bool,
    /// It did so before, but does no longer.
    changed: bool,
}

/// The right to one request at a time, with the connection that it goes over.
///
/// Over HTTP/1.1 each lane has a pool of reqwest's to itself. A pool for all would open connections in advance and race them
/// against those that become free, and so exceed any budget while the catalog fills.
#[derive(Debug)]
pub(crate) struct Lane {
    home: Arc<Client>,
    way: Option<Way>,
    permit: Option<OwnedSemaphorePermit>,
    /// A request was begun and has not ended well: its connection is about to be closed.
    broken: bool,
}

/// The connection that a lane goes over.
#[derive(Debug)]
enum Way {
    Own(reqwest::Client),
    Shared(reqwest::Client, usize),
}

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the connect to the answer's head.
    pub(crate) head: Duration,
    /// The query waits at the agent: a connection that ends after this time was cut, which is no error.
    pub(crate) waits: Option<Duration>,
}

impl Client {
    /// A client of one agent. Reads the certificates and checks the address; connects to nothing.
    pub(crate) fn new(config: &config::Consul, address: &str, connections: usize) -> Result<Client, Error> {
        let connector = Connector::new(config, address)?;
        let scoped = [("ns", &config.namespace), ("partition", &config.partition)];
        let first = connector.client(false).map_err(|e| Error(format!("consul: {}", in_words(&e))))?;
        Ok(Client {
            scope: scoped.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
            connections,
            lanes: Arc::new(Semaphore::new(connections)),
            found: Mutex::new(connector.known().into_iter().collect()),
            pool: Mutex::new(Pool { free: vec![first], ..Pool::default() }),
            sent: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            connector,
        })
    }

    /// The agent's address as configured.
    pub(crate) fn address(&self) -> &str {
        self.connector.address()
    }

    /// Whether the agent is on this host, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        self.connector.is_local()
    }

    /// How many connections it may have.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Whether a token is configured.
    pub(crate) fn has_token(&self) -> bool {
        self.connector.has_token()
    }

    /// How many requests may be under way at once.
    pub(crate) fn lanes(&self) -> usize {
        if self.pool.lock().multiplexed { lanes_of(self.connections) } else { self.connections }
    }

    /// How many of them are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.lanes().saturating_sub(self.lanes.available_permits())
    }

    /// Whether the agent spoke HTTP/2 and no longer does: then there are more lanes than connections are allowed.
    pub(crate) fn has_changed(&self) -> bool {
        self.pool.lock().changed
    }

    /// How many requests were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Where the agent was found so far.
    pub(crate) fn found(&self) -> BTreeSet<SocketAddr> {
        self.found.lock().clone()
    }

    /// Looks up where the agent's name leads to, if it is known by name: each of its addresses is the agent's.
    pub(crate) async fn look_up(&self) {
        self.connector.look_up().await.into_iter().for_each(|address| self.found_at(address));
    }

    /// Notes where a connection to the agent led to. A name may lead to many addresses in turn: the first ones count.
    fn found_at(&self, address: SocketAddr) {
        let mut found = self.found.lock();
        if found.len() < MOST_FOUND {
            found.insert(SocketAddr::new(address.ip().to_canonical(), address.port()));
        }
    }

    /// Waits for a free lane: first come, first served.
    pub(crate) async fn lane(self: &Arc<Client>) -> Lane {
        let permit = self.lanes.clone().acquire_owned().await.expect("the semaphore is never closed");
        Lane { home: self.clone(), way: None, permit: Some(permit), broken: false }
    }

    /// A connection for a lane: one that is free, a place on one that is shared, else a new one.
    fn way(&self) -> reqwest::Result<Way> {
        let mut pool = self.pool.lock();
        if !pool.multiplexed {
            let free = pool.free.pop();
            drop(pool);
            return Ok(Way::Own(free.map_or_else(|| self.connector.client(false), Ok)?));
        }
        if let Some(index) = pool.shared.iter().position(|(_, lanes)| *lanes < STREAMS) {
            let (http, lanes) = &mut pool.shared[index];
            *lanes += 1;
            return Ok(Way::Shared(http.clone(), index));
        }
        let http = self.connector.client(true)?;
        pool.shared.push((http.clone(), 1));
        Ok(Way::Shared(http, pool.shared.len() - 1))
    }

    /// Learns from an answer on a connection of a lane's own whether the agent speaks HTTP/2.
    fn learn(&self, version: Version) {
        if !self.connector.is_tls() {
            return;
        }
        let mut pool = self.pool.lock();
        match (pool.multiplexed, version == Version::HTTP_2) {
            (false, true) => {
                pool.multiplexed = true;
                pool.free.clear();
                self.lanes.add_permits(lanes_of(self.connections) - self.connections);
            }
            (true, false) => pool.changed = true,
            _ => {}
        }
    }
}

/// How many lanes so many connections of HTTP/2 carry. One is the first, which found out that the agent speaks it.
fn lanes_of(connections: usize) -> usize {
    1 + (connections - 1) * STREAMS
}

impl Lane {
    /// Asks once.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        patience: Patience,
    ) -> Result<Answer, Failure> {
        self.send(path, query, None, patience).await
    }

    /// Changes something at the agent; the body is JSON, or empty.
    pub(crate) async fn put(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        body: Vec<u8>,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        self.send(path, query, Some(body), patience).await
    }

    async fn send(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        body: Option<Vec<u8>>,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        self.broken = true;
        let result = self.ask(path, query, body, patience).await;
        // The connection becomes free, or is closed, by a task of its own. That task must run first: else the next request
        // would find the connection still in use and open another.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.broken = result.is_err();
        result
    }

    async fn ask(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        body: Option<Vec<u8>>,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        let home = &*self.home;
        let way = match self.way.take() {
            Some(way) => way,
            None => home.way().map_err(|error| Failure::unreachable(path, error))?,
        };
        let (http, own) = match self.way.insert(way) {
            Way::Own(http) => (&*http, true),
            Way::Shared(http, _) => (&*http, false),
        };
        let scope = home.scope.iter().map(|(key, value)| (*key, value.clone()));
        let query: Vec<_> = query.iter().cloned().chain(scope).collect();
        let url = home.connector.url(path, &query);
        let request = match body {
            None => http.get(url),
            Some(body) => http.put(url).body(body),
        };
        let request = request.headers(home.connector.credentials()?);
        home.sent.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let response: Response = match tokio::time::timeout(patience.head, request.send()).await {
            Err(_) => return Err(Failure::late(patience.head)),
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let cut = !error.is_connect() && patience.waits.is_some_and(|waits| begun.elapsed() >= waits);
                let failure = Failure::unreachable(path, error);
                // Who lacks a certificate is told so in TLS 1.3 after the handshake, or just loses the connection (RFC 8446 section 4.4.2.4).
                let uncertified = failure.dropped && home.connector.lacks_certificate() && !home.has_answered();
                let failure = if uncertified { failure.of_no_certificate() } else { failure };
                return Err(if cut { Failure { kind: Failure::CUT, ..failure } } else { failure });
            }
        };
        home.answered.store(true, Ordering::Relaxed);
        if own {
            home.learn(response.version());
        }
        if let Some(address) = response.remote_addr() {
            home.found_at(address);
        }
        answer::read(path, response).await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (home, mut way, permit, broken) = (self.home.clone(), self.way.take(), self.permit.take(), self.broken);
        let shared = matches!(way, Some(Way::Shared(..)));
        if broken && !shared {
            // Its connection is closed at once. Those that are kept have one, which a new one may not get.
            way = None;
        }
        let give_back = move || {
            let mut pool = home.pool.lock();
            match way {
                Some(Way::Own(http)) if !pool.multiplexed => pool.free.push(http),
                Some(Way::Shared(_, index)) => pool.shared[index].1 -= 1,
                _ => {}
            }
            drop(pool);
            drop(permit);
        };
        match tokio::runtime::Handle::try_current() {
            // The connection of an aborted request is closed by a task of its own, which must have run before the lane is
            // free: else there would be one connection too many for a moment.
            Ok(runtime) if broken && !shared => drop(runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                give_back();
            })),
            _ => give_back(),
        }
    }
}
