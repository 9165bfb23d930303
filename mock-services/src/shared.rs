//! What all connections of an instance share: how it behaves, what it has seen, and what it is.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::issuer;
use crate::shop::Shop;

/// How many requests an instance remembers.
const REMEMBERED: usize = 10_000;

/// What an instance saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /users?x=1`.
    pub line: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
}

/// What an instance is.
#[derive(Debug)]
pub(crate) enum Trade {
    /// A service of the shop.
    Shop(Shop),
    /// An issuer of tokens.
    Issuer(Box<issuer::State>),
}

/// The state of an instance.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) hits: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) seen: Mutex<VecDeque<Seen>>,
    /// The tasks of WebSockets and event streams, which go on when the request that began them is answered.
    pub(crate) streams: Mutex<JoinSet<()>>,
    pub(crate) trade: Trade,
    name: String,
}

impl Shared {
    pub(crate) fn new(trade: Trade, name: String) -> Shared {
        Shared {
            behaviour: Mutex::default(),
            hits: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            seen: Mutex::default(),
            streams: Mutex::default(),
            trade,
            name,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn remember(&self, request: Seen) {
        let mut seen = self.seen.lock().expect("no one panics while holding this");
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(request);
    }

    /// How the instance behaves now.
    pub(crate) fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().expect("no one panics while holding this").clone()
    }
}
