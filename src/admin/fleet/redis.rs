//! How what gateways share fares.

use tokio::time::Instant;

use crate::pages::fleet::{Connection, Failures, Redis};
use crate::shared::{Outcome, Server, Serves, Shared, Standing};
use crate::telemetry::access::rfc3339;

/// One Redis.
pub(super) fn redis(server: &Server) -> Redis {
    let status = server.status.borrow().clone();
    let count = |outcome| server.workers().map(|worker| worker.figures().count(outcome)).sum::<u64>();
    Redis {
        name: server.name.to_owned(),
        address: server.address.clone(),
        serves: serves(server.serves).iter().map(|word| (*word).to_owned()).collect(),
        state: match status.up {
            None => "unknown",
            Some(true) => "up",
            Some(false) => "away",
        }
        .to_owned(),
        since: status.since.map(|since| rfc3339(since).to_string()),
        error: status.error.clone(),
        round_trip_us: status.round_trip.map(|took| took.as_micros().try_into().unwrap_or(u64::MAX)),
        role: status.role.clone(),
        warning: status.warning.clone(),
        calls: Outcome::ALL.into_iter().map(|(_, outcome)| count(outcome)).sum(),
        failures: Failures {
            late: count(Outcome::Late),
            lost: count(Outcome::Lost),
            refused: count(Outcome::Refused),
            paused: count(Outcome::Paused),
        },
        workers: server.workers().enumerate().map(|(number, worker)| connection(number, worker)).collect(),
    }
}

fn serves(serves: Serves) -> &'static [&'static str] {
    match serves {
        Serves::Both => &["limits", "answers"],
        Serves::Limits => &["limits"],
        Serves::Answers => &["answers"],
    }
}

fn connection(worker: usize, shared: &Shared) -> Connection {
    let (state, paused) = match shared.standing() {
        Standing::Unused => ("unused", None),
        Standing::Connecting => ("connecting", None),
        Standing::Up => ("up", None),
        Standing::Paused { until, why } => ("paused", Some((until, why))),
    };
    let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_millis() as u64;
    Connection {
        worker,
        state: state.to_owned(),
        paused_ms: paused.as_ref().map(|(until, _)| left(*until)),
        error: paused.map(|(_, why)| why.to_string()),
    }
}
