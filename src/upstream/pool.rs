//! One worker's idle connections to one instance.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::instance::{InFlight, Instance};
use super::wire::{ConnectError, Connection, Connector};

/// Connections idle for longer never carry a method that may not be sent twice: Node and others close after 5 s.
const FRESH: Duration = Duration::from_secs(4);

/// What a worker's pools share.
#[derive(Debug)]
pub struct Settings {
    /// How connections are made.
    pub connector: Connector,
    /// Idle connections per instance, on this worker.
    pub idle: usize,
    /// How long an idle connection is kept.
    pub idle_age: Duration,
}

/// An instance as one worker sees it.
#[derive(Debug)]
pub struct Local {
    /// What all workers share of it.
    pub instance: Arc<Instance>,
    idle: RefCell<Vec<Idle>>,
    settings: Rc<Settings>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    age: Duration,
}

/// A connection in use. Dropped, it is closed; given back, it waits for the next request.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: Connection,
    /// It has carried a request before: it may have been closed under us.
    pub reused: bool,
    home: Rc<Local>,
    sending: Option<Sending>,
}

/// A task that sends what is left of a request; it ends with its connection's lease.
#[derive(Debug)]
struct Sending(JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Local {
    /// An instance without connections.
    pub fn new(instance: Arc<Instance>, settings: Rc<Settings>) -> Rc<Local> {
        Rc::new(Local { instance, idle: RefCell::default(), settings })
    }

    /// The connection that was used last, if one waits; `once` asks for one that surely lives.
    pub fn reuse(self: &Rc<Local>, once: bool, now: Instant) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        while let Some(candidate) = idle.last() {
            let lain = now.saturating_duration_since(candidate.since);
            let usable = candidate.connection.is_ready() && lain < candidate.age;
            if usable && once && lain > FRESH {
                return None;
            }
            let candidate = idle.pop()?;
            if usable {
                return Some(Lease {
                    connection: candidate.connection,
                    reused: true,
                    home: self.clone(),
                    sending: None,
                });
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// When nobody answers, or not in time.
    pub async fn connect(self: &Rc<Local>, deadline: Duration) -> Result<Lease, ConnectError> {
        let connection = self.settings.connector.connect(self.instance.key.address, deadline).await?;
        Ok(Lease { connection, reused: false, home: self.clone(), sending: None })
    }

    /// Closes what is too old, or closed already; everything when the instance is gone.
    pub fn prune(&self, now: Instant) {
        let departed = self.instance.departed();
        let keep = |idle: &Idle| !departed && now - idle.since < idle.age && !idle.connection.is_closed();
        self.idle.borrow_mut().retain(keep);
    }

    /// How many connections lie idle here.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Keeps a connection that is free.
    fn keep(&self, connection: Connection, since: Instant, age: Duration) {
        let mut idle = self.idle.borrow_mut();
        if !age.is_zero() && !self.instance.departed() && idle.len() < self.settings.idle {
            idle.push(Idle { connection, since, age });
        }
    }
}

impl Lease {
    /// The answer has begun: what is left of the request goes on by itself.
    pub fn send_on(&mut self) {
        self.sending = self.connection.rest().map(|rest| Sending(tokio::task::spawn_local(rest)));
    }

    /// The answer was read to its end, now. `keep_alive` is what it said of `Keep-Alive: timeout`. What is left of the request goes on,
    /// and is in flight: for as long as it does not stand still for `idle` (or twice that at most), and not beyond `total`.
    pub fn give_back(
        mut self,
        keep_alive: Option<Duration>,
        (idle, total): (Duration, Option<Instant>),
        flight: InFlight,
        now: Instant,
    ) {
        let told = keep_alive.map_or(Duration::MAX, |told| told.saturating_sub(Duration::from_secs(1)));
        let age = self.home.settings.idle_age.min(told);
        // Whether the instance closed it is seen when it is used again.
        if self.connection.is_free() {
            return self.home.keep(self.connection, now, age);
        }
        if self.connection.is_closed() {
            return;
        }
        // The request is still being written.
        self.sending = None;
        tokio::task::spawn_local(async move {
            let moving = async {
                loop {
                    let written = self.connection.written();
                    match tokio::time::timeout(idle, self.connection.ready()).await {
                        Ok(ready) => return ready,
                        Err(_) if self.connection.written() == written => return false,
                        Err(_) => {}
                    }
                }
            };
            let ready = match total {
                Some(total) => tokio::time::timeout_at(total, moving).await.unwrap_or(false),
                None => moving.await,
            };
            if ready {
                self.home.keep(self.connection, Instant::now(), age);
            }
            drop(flight);
        });
    }
}
