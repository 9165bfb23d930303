//! `/admin/cache`: what is stored, what came of requests, and clearing.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{Query, Sources, page as shown, wrong};
use crate::filter::cache::Event;

/// Figures of the cache.
pub(super) fn page(sources: &Sources) -> Value {
    let figures = sources.cache.figures();
    let services: Vec<_> = figures
        .services
        .iter()
        .map(|(service, entries, bytes)| json!({ "service": &**service, "entries": entries, "bytes": bytes }))
        .collect();
    let count = |event: Event| figures.events[event as usize];
    json!({
        "entries": figures.entries,
        "bytes": figures.bytes,
        "size": figures.size,
        "hits": count(Event::Hit),
        "misses": count(Event::Miss),
        "stale": count(Event::Stale),
        "revalidated": count(Event::Revalidated),
        "stored": count(Event::Stored),
        "coalesced": count(Event::Coalesced),
        "bypassed": count(Event::Bypassed),
        "cleared": figures.cleared,
        "services": services,
    })
}

/// Clears all, or what belongs to a service, or what lies below a path; says how many answers went.
pub(super) fn clear(sources: &Sources, query: &Query<'_>) -> Response<Bytes> {
    if let Some(why) = query.wrong(&["service", "path"]) {
        return wrong(&why);
    }
    let (service, path) = (query.get("service"), query.get("path"));
    if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return wrong("a path begins with /");
    }
    let cleared = sources.cache.clear(service.as_deref(), path.as_deref());
    shown(&json!({ "cleared": cleared, "service": service, "path": path }))
}
