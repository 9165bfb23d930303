//! The task that asks issuers about tokens which only they understand (RFC 7662).

mod answers;
mod breaker;
mod call;
mod desk;
pub(crate) mod figures;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::{Failure, Http};
use crate::config::Config;
use crate::supervisor::outcome;
use crate::token::asking::{About, Introspected, SOON};
use breaker::Permit;
use call::{Said, call};
use desk::Desk;
use figures::Figures;

/// What the supervisor calls this task.
pub(crate) const TASK: &str = "introspection";

/// How many requests are taken up in one turn.
const REQUESTS: usize = 256;

/// What the task works with. It outlives a panic.
pub(crate) struct Introspector {
    configs: watch::Receiver<Arc<Config>>,
    /// The configuration whose issuers are asked.
    asked_of: Option<Arc<Config>>,
    asked: mpsc::Receiver<About>,
    http: Http,
    random: fastrand::Rng,
    desks: BTreeMap<Arc<str>, Desk>,
    serials: u64,
    calls: JoinSet<Called>,
    figures: watch::Sender<ByIssuer>,
}

/// Figures by the names of issuers.
pub(crate) type ByIssuer = BTreeMap<Arc<str>, Arc<Figures>>;

/// A question that has ended.
struct Called {
    issuer: Arc<str>,
    serial: u64,
    of: ([u8; 32], Permit),
    result: Result<Said, Failure>,
}

impl Introspector {
    pub(crate) fn new(
        configs: watch::Receiver<Arc<Config>>,
        asked: mpsc::Receiver<About>,
        http: Http,
    ) -> (Introspector, watch::Receiver<ByIssuer>) {
        let (figures, seen) = watch::channel(BTreeMap::new());
        let introspector = Introspector {
            configs,
            asked_of: None,
            asked,
            http,
            random: fastrand::Rng::new(),
            desks: BTreeMap::new(),
            serials: 0,
            calls: JoinSet::new(),
            figures,
        };
        (introspector, seen)
    }

    /// Asks for as long as the returned future lives.
    pub(crate) async fn run(&mut self) {
        let mut requests = Vec::new();
        loop {
            self.configure();
            self.begin();
            tokio::select! {
                Ok(()) = self.configs.changed() => {}
                Some(ended) = self.calls.join_next() => if let Ok(called) = ended {
                    self.ended(called);
                },
                1.. = self.asked.recv_many(&mut requests, REQUESTS) => {
                    // Who asks may know a newer configuration.
                    self.configure();
                    requests.drain(..).for_each(|about| self.hear(about));
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Asks the issuers of the newest configuration. What one said that is as it was, still holds.
    fn configure(&mut self) {
        let config = self.configs.borrow_and_update().clone();
        if self.asked_of.as_ref().is_some_and(|old| Arc::ptr_eq(old, &config)) {
            return;
        }
        let mut before = std::mem::take(&mut self.desks);
        for issuer in &config.issuers {
            let Some(endpoint) = &issuer.opaque else { continue };
            let desk = match before.remove(&issuer.name) {
                Some(desk) if desk.issuer == *issuer => desk,
                other => {
                    self.serials += 1;
                    Desk::new(issuer.clone(), endpoint.clone(), self.serials, other)
                }
            };
            self.desks.insert(issuer.name.clone(), desk);
        }
        self.asked_of = Some(config);
        self.figures.send_replace(self.desks.iter().map(|(name, desk)| (name.clone(), desk.figures.clone())).collect());
    }

    fn hear(&mut self, about: About) {
        match self.desks.get_mut(&about.issuer) {
            Some(desk) => desk.ask(about, Instant::now()),
            None => drop(about.reply.send(Introspected::Away { retry_after: SOON })),
        }
    }

    /// Begins what may be asked now. A panic in it is a failure of it.
    fn begin(&mut self) {
        let now = Instant::now();
        for (issuer, desk) in &mut self.desks {
            while let Some(next) = desk.next(now) {
                let (issuer, serial, of) = (issuer.clone(), desk.serial, (next.digest, next.permit));
                let call = call(self.http.clone(), desk.issuer.clone(), desk.endpoint.clone(), next.token);
                self.calls.spawn(async move {
                    let panicked = |panic| {
                        tracing::error!(issuer = &*issuer, "what it says of a token could not be read: {panic}");
                        Err(Failure::wrong("the gateway has a fault that it meets here; the log says where"))
                    };
                    let result = outcome(call).await.unwrap_or_else(panicked);
                    Called { issuer, serial, of, result }
                });
            }
        }
    }

    fn ended(&mut self, Called { issuer, serial, of, result }: Called) {
        // The configuration may have taken the issuer away meanwhile.
        if let Some(desk) = self.desks.get_mut(&issuer).filter(|desk| desk.serial == serial) {
            desk.end(of, result, self.random.f64(), (Instant::now(), SystemTime::now()));
        }
    }
}
