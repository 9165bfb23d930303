//! The task that looks once a second whether a Redis answers, and how it is set up. What it finds is in admin, in metrics and in `/ready`;
//! nothing on the path of a request reads it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Server;
use super::away::Away;
use super::call::{Call, Value};
use super::connection::{Shared, Standing};
use super::figures::Outcome;
use super::policy::Info;
use super::status::Status;
use crate::config::redis::{self, Reach};
use crate::supervisor::Supervisor;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// How long the control plane waits for an answer: so it can tell a slow Redis from one that does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What `/ready` says of a Redis that is away.
const FAULT: &str = "Redis does not answer in time: this gateway goes on without it";

/// The task.
#[derive(Debug)]
pub(super) struct Monitor {
    server: Server,
    /// How long requests wait.
    deadline: Duration,
    report: watch::Sender<Arc<Status>>,
    supervisor: Supervisor,
    /// The configuration takes it for a cluster.
    is_cluster: bool,
    refusals: Refusals,
}

/// Whether workers' calls are only refused.
#[derive(Debug, Default)]
struct Refusals {
    /// How many calls were answered and refused so far.
    counted: (u64, u64),
    only: bool,
}

impl Refusals {
    /// Looks at the counts as they are now. Without calls since the last look, what was found then holds.
    fn look(&mut self, answered: u64, refused: u64) -> bool {
        let (answers, refusals) = (answered > self.counted.0, refused > self.counted.1);
        self.counted = (answered, refused);
        self.only = !answers && (refusals || self.only);
        self.only
    }
}

/// What one look found.
#[derive(Debug, Default)]
struct Look {
    error: Option<String>,
    round_trip: Option<Duration>,
    info: Vec<Info>,
}

impl Monitor {
    pub(super) fn new(
        server: Server,
        config: &redis::Server,
        report: watch::Sender<Arc<Status>>,
        supervisor: Supervisor,
    ) -> Monitor {
        let is_cluster = matches!(config.reach, Reach::Cluster(_));
        Monitor { server, deadline: config.deadline, report, supervisor, is_cluster, refusals: Refusals::default() }
    }

    /// Looks for as long as the returned future lives.
    pub(super) async fn run(&mut self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut look = self.look().await;
            if look.error.is_none() {
                look.error = self.paused();
            }
            self.tell(look);
        }
    }

    async fn look(&self) -> Look {
        let control = &self.server.control;
        let begun = Instant::now();
        if let Err(away) = control.call(&Call::new("PING")).await {
            return Look { error: Some(reason(control, &away)), ..Look::default() };
        }
        let round_trip = Some(begun.elapsed());
        let mut texts = Vec::new();
        for section in ["memory", "replication", "cluster"] {
            // Who may not ask is not told: the gateway works without.
            if let Ok(answer) = control.call(&Call::new("INFO").arg(section)).await {
                collect(answer, &mut texts);
            }
        }
        Look { error: None, round_trip, info: texts.iter().map(|text| Info::read(text)).collect() }
    }

    /// Why workers pause, where Redis answers the control plane.
    fn paused(&self) -> Option<String> {
        let standings: Vec<_> = self.server.workers().map(Shared::standing).collect();
        let why = standings.iter().find_map(|standing| match standing {
            Standing::Paused { why, .. } => Some(why),
            _ => None,
        })?;
        let count = standings.iter().filter(|standing| matches!(standing, Standing::Paused { .. })).count();
        let deadline = match why {
            Away::Late => format!(" ({:?})", self.deadline),
            _ => String::new(),
        };
        Some(format!("{count} of {} workers go without it: {why}{deadline}", standings.len()))
    }

    /// What a worker was last told, where all that workers asked since the last look was refused.
    fn refused(&mut self) -> Option<String> {
        let count = |outcome| self.server.workers().map(|worker| worker.figures().count(outcome)).sum();
        let (answered, refused) = (count(Outcome::Answered), count(Outcome::Refused));
        if !self.refusals.look(answered, refused) {
            return None;
        }
        let code = self.server.workers().find_map(Shared::refusal)?;
        Some(format!("it refuses all that requests ask ({code}): see what its user may do, and on which keys"))
    }

    /// Publishes what was found, and says in the log what is new.
    fn tell(&mut self, look: Look) {
        let refused = self.refused();
        let (before, name, address) = (self.report.borrow().clone(), self.server.name, &self.server.address);
        let up = look.error.is_none();
        let known = |read: fn(&Info) -> Option<String>| look.info.iter().find_map(read);
        let warning = look.info.iter().find_map(|info| info.warning(self.server.serves, self.is_cluster)).or(refused);
        let role = known(|info| info.role.clone());
        let changed = before.up != Some(up);
        if changed && up {
            tracing::info!("[{name}] {address} answers");
        } else if changed {
            let why = look.error.as_deref().unwrap_or_default();
            tracing::warn!("[{name}] {address} is away, and requests go on without it: {why}");
        }
        if let Some(warning) = warning.as_ref().filter(|warning| before.warning.as_ref() != Some(*warning)) {
            tracing::warn!("[{name}] {address}: {warning}");
        }
        self.supervisor.fault(name, (!up).then_some(FAULT));
        let since = if changed { Some(SystemTime::now()) } else { before.since };
        // The last error stays to be read after Redis is back, and what it said of itself while it is away.
        let status = Status {
            up: Some(up),
            since,
            error: look.error.or_else(|| before.error.clone()),
            round_trip: look.round_trip.or(before.round_trip),
            role: role.or_else(|| before.role.clone().filter(|_| !up)),
            warning: warning.or_else(|| before.warning.clone().filter(|_| !up)),
        };
        self.report.send_replace(Arc::new(status));
    }
}

/// Why there is no answer; of a connection that pauses, why it does.
fn reason(control: &Shared, away: &Away) -> String {
    match (away, control.standing()) {
        (Away::Paused, Standing::Paused { why, .. }) => why.to_string(),
        (Away::Late, _) => format!("no answer came within {PATIENCE:?}"),
        _ => away.to_string(),
    }
}

/// The texts of an answer: a cluster's is one of each node.
fn collect(answer: Value, into: &mut Vec<String>) {
    match answer {
        Value::BulkString(bytes) => into.push(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => into.push(text),
        Value::Map(nodes) => nodes.into_iter().for_each(|(_, answer)| collect(answer, into)),
        Value::Array(answers) => answers.into_iter().for_each(|answer| collect(answer, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_said_until_a_call_is_answered() {
        let mut refusals = Refusals::default();
        let looks = [(0, 0), (5, 0), (6, 3), (6, 4), (6, 4), (7, 4), (7, 4)];
        let found = looks.map(|(answered, refused)| refusals.look(answered, refused));
        assert_eq!(found, [false, false, false, true, true, false, false]);
    }
}
