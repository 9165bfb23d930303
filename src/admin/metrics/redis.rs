//! How Redis fares, in metrics.

use crate::admin::sources::Sources;
use crate::shared::{Outcome, Server, Shared};
use crate::telemetry::exposition::{Exposition, Kind};
use crate::telemetry::metrics::Histogram;

pub(super) fn describe(page: &mut Exposition, sources: &Sources) {
    let servers = &sources.shared.all;
    if servers.is_empty() {
        return;
    }
    let help = "1 while Redis answers and no worker goes without it.";
    let mut family = page.family("lictor_redis_up", Kind::Gauge, help);
    for server in servers {
        let up = server.status.borrow().up;
        if let Some(up) = up {
            family.sample(&[("server", server.name)], u8::from(up));
        }
    }
    let help = "Calls of workers to Redis, by what became of them; paused: nobody was asked.";
    let mut family = page.family("lictor_redis_calls_total", Kind::Counter, help);
    for server in servers {
        for (result, outcome) in Outcome::ALL {
            family.sample(&[("server", server.name), ("result", result)], count(server, outcome));
        }
    }
    let help = "How long calls of workers took that Redis was asked, with an answer or without.";
    let mut family = page.family("lictor_redis_call_seconds", Kind::Histogram, help);
    for server in servers {
        let timings = Histogram::of(server.workers().map(|worker| &worker.figures().timings));
        family.histogram(&[("server", server.name)], &timings);
    }
}

fn count(server: &Server, outcome: Outcome) -> u64 {
    server.workers().map(|worker: &Shared| worker.figures().count(outcome)).sum()
}
