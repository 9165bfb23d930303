//! Requests by route, and those that no route claimed.

use crate::admin::sources::Sources;
use crate::telemetry::exposition::{Exposition, Family, Kind};
use crate::telemetry::metrics::Recorder;

/// Adds them to the page.
pub(super) fn describe(page: &mut Exposition, sources: &Sources) {
    let snapshot = sources.current.load();
    let mut family = page.family("lictor_route_requests_total", Kind::Counter, "Requests by route and status.");
    for entry in snapshot.routes.all() {
        by_status(&mut family, &entry.recorder, ("route", &entry.route.name));
    }
    let help = "From a request's head to the end of its answer, by route. Streams are left out.";
    let mut family = page.family("lictor_route_request_duration_seconds", Kind::Histogram, help);
    for entry in snapshot.routes.all() {
        family.histogram(&[("route", &entry.route.name)], &entry.recorder.timings());
    }
    let help = "Requests without a route, by status: the gateway's own pages, and what was refused before routing.";
    let mut family = page.family("lictor_unrouted_requests_total", Kind::Counter, help);
    for (code, count) in sources.unrouted.codes() {
        family.sample(&[("code", &code)], count);
    }
}

/// A recorder's requests by status, with a label that says whose they are.
pub(super) fn by_status(family: &mut Family<'_>, recorder: &Recorder, label: (&str, &str)) {
    for (code, count) in recorder.codes() {
        family.sample(&[label, ("code", &code)], count);
    }
}
