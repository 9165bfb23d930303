//! `/admin/cache`: what is stored, what came of requests, and clearing.

use bytes::Bytes;
use http::Response;

use super::query::Query;
use super::response::{bad_request, json};
use super::sources::Sources;
use crate::filter::cache::Event;
use crate::pages::cache::{Cleared, Page, Service};

/// Figures of the cache.
pub(super) fn page(sources: &Sources) -> Page {
    let figures = sources.cache.figures();
    let services = figures
        .services
        .iter()
        .map(|(service, entries, bytes)| Service { service: service.to_string(), entries: *entries, bytes: *bytes })
        .collect();
    Page {
        entries: figures.entries,
        bytes: figures.bytes,
        size: figures.size,
        hits: figures.count(Event::Hit),
        misses: figures.count(Event::Miss),
        stale: figures.count(Event::Stale),
        revalidated: figures.count(Event::Revalidated),
        stored: figures.count(Event::Stored),
        coalesced: figures.count(Event::Coalesced),
        bypassed: figures.count(Event::Bypassed),
        cleared: figures.cleared,
        services,
    }
}

/// Clears all, or what belongs to a service, or what lies at or below a path; says how many answers went.
pub(super) fn clear(sources: &Sources, query: &Query<'_>) -> Response<Bytes> {
    if let Some(why) = query.mistake(&["service", "path"]) {
        return bad_request(why);
    }
    let (service, path) = (query.get("service"), query.get("path"));
    if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return bad_request("a path begins with /");
    }
    let cleared = sources.cache.clear(service.as_deref(), path.as_deref());
    json(&Cleared { cleared, service, path })
}
