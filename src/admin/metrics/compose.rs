//! Aggregates: what came of them, of the requests of their calls, and the memory that they hold.

use crate::admin::compose::used;
use crate::admin::sources::Sources;
use crate::route::journal::{Ending, Outcome};
use crate::telemetry::exposition::{Exposition, Kind};

/// Adds them to the page. Each route that uses a compose counts for all of them.
pub(super) fn describe(page: &mut Exposition, sources: &Sources) {
    let snapshot = sources.current.load();
    let composes: Vec<_> = snapshot.config.composes.iter().map(|compose| (compose, used(&snapshot, compose))).collect();
    let help = "Aggregates whose calls were made, by what came of them; what the store answered is not counted.";
    let mut family = page.family("lictor_compose_answers_total", Kind::Counter, help);
    for (compose, used) in &composes {
        for outcome in Outcome::ALL {
            let count = used.first().map_or(0, |(_, composed)| composed.journal.counted(outcome));
            family.sample(&[("compose", &compose.name), ("outcome", outcome.as_str())], count);
        }
    }
    let help = "Requests of aggregates' calls, by what came of them.";
    let mut family = page.family("lictor_compose_parts_total", Kind::Counter, help);
    for (compose, used) in &composes {
        for (place, call) in compose.calls.iter().enumerate() {
            for ending in Ending::ALL {
                let count = used.first().map_or(0, |(_, composed)| composed.requests[place].count(ending));
                let labels = [("compose", &*compose.name), ("call", &*call.name), ("outcome", ending.as_str())];
                family.sample(&labels, count);
            }
        }
    }
    let help = "From the beginning of a request of a call until its answer was read, by call.";
    let mut family = page.family("lictor_compose_part_duration_seconds", Kind::Histogram, help);
    for (compose, used) in &composes {
        for (place, call) in compose.calls.iter().enumerate() {
            let timings = used.first().map(|(_, composed)| composed.requests[place].timings()).into_iter().sum();
            family.histogram(&[("compose", &compose.name), ("call", &call.name)], &timings);
        }
    }
    memory(page, sources);
}

fn memory(page: &mut Exposition, sources: &Sources) {
    let figures = sources.room.figures();
    let help = "Bytes of memory that aggregates hold, or that are set aside for those under way.";
    page.single("lictor_compose_memory_bytes", Kind::Gauge, help, figures.held);
    let help = "Bytes of memory that aggregates may hold.";
    page.single("lictor_compose_memory_limit_bytes", Kind::Gauge, help, figures.bound);
    page.single("lictor_compose_waiting", Kind::Gauge, "Aggregates that wait for memory.", figures.waiting);
    let help = "How often an aggregate had to wait for memory.";
    page.single("lictor_compose_waits_total", Kind::Counter, help, figures.waited);
    let help = "How often an aggregate waited for memory in vain, and was answered with 503.";
    page.single("lictor_compose_refused_total", Kind::Counter, help, figures.refused);
}
