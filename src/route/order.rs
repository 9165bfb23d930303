//! Which routes are tried before another one, as [`super::search`] walks: what these look at decides on that other one, too.

use std::cmp::Ordering;

use crate::config::routes::{Host, Pattern, Route, Segment};

/// Whether some request for which `route` could be is tried with `first` before, or with both in a row. A route comes before itself.
pub(super) fn comes_before(first: &Route, route: &Route) -> bool {
    match hosts(first, route) {
        Some(Ordering::Greater) => paths(&first.path, &route.path).is_some(),
        Some(Ordering::Equal) => match paths(&first.path, &route.path) {
            Some(Ordering::Equal) => first.conditions() >= route.conditions(),
            order => order == Some(Ordering::Greater),
        },
        Some(Ordering::Less) | None => false,
    }
}

/// How far before another's a route's hosts are looked at, for a name that both have; `None` where there is none.
fn hosts(first: &Route, route: &Route) -> Option<Ordering> {
    match (&*first.hosts, &*route.hosts) {
        ([], []) => Some(Ordering::Equal),
        ([], _) => Some(Ordering::Less),
        (_, []) => Some(Ordering::Greater),
        (first, route) => first.iter().flat_map(|first| route.iter().filter_map(|host| names(first, host))).max(),
    }
}

/// Likewise for one host of each.
fn names(first: &Host, host: &Host) -> Option<Ordering> {
    let below = |name: &str, above: &str| name.strip_suffix(above).is_some_and(|left| left.ends_with('.'));
    match (first, host) {
        (Host::Exact(one), Host::Exact(other)) | (Host::Below(one), Host::Below(other)) if one == other => {
            Some(Ordering::Equal)
        }
        (Host::Exact(name) | Host::Below(name), Host::Below(above)) if below(name, above) => Some(Ordering::Greater),
        (Host::Below(above), Host::Exact(name) | Host::Below(name)) if below(name, above) => Some(Ordering::Less),
        _ => None,
    }
}

/// How far before another's a path is tried, for one that both match; `None` where there is none.
fn paths(first: &Pattern, path: &Pattern) -> Option<Ordering> {
    let mut order = Ordering::Equal;
    for pair in first.segments.iter().zip(&path.segments) {
        let step = match pair {
            (Segment::Literal(one), Segment::Literal(other)) if one != other => return None,
            (Segment::Literal(_), Segment::Parameter(_)) => Ordering::Greater,
            (Segment::Parameter(_), Segment::Literal(_)) => Ordering::Less,
            _ => Ordering::Equal,
        };
        order = order.then(step);
    }
    let lengths = first.segments.len().cmp(&path.segments.len());
    match lengths {
        Ordering::Greater if !path.below => None,
        Ordering::Less if !first.below => None,
        // What ends here is tried before what goes on below.
        _ => Some(order.then(lengths).then(path.below.cmp(&first.below))),
    }
}
