//! `/admin/rate-limits`: who is how near which limit, and a new beginning for one of them.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use super::query::Query;
use super::response::{bad_request, json};
use super::sources::Sources;
use crate::config::policy::By;
use crate::filter::limit::{Usage, Who};
use crate::pages::limits::{self as pages, Addresses, Limit, Page, Reset};

/// The limits, and what is used of them.
pub(super) fn page(sources: &Sources, consumer: Option<&str>) -> Page {
    let snapshot = sources.current.load();
    let limits: Vec<_> = snapshot
        .filters
        .limits
        .sets()
        .into_iter()
        .flat_map(|(set, of, refused)| {
            let one = |limit: &crate::config::policy::Limit| Limit {
                name: set.name.to_string(),
                of: of.to_owned(),
                count: limit.count,
                period_ms: limit.period.as_millis() as u64,
                by: by(limit.by).to_owned(),
                refused,
            };
            set.limits.iter().map(one).collect::<Vec<_>>()
        })
        .collect();
    let wanted = |usage: &Usage| match (consumer, &usage.who) {
        (None, _) => true,
        (Some(wanted), Who::Consumer(name)) => name == wanted,
        (Some(_), _) => false,
    };
    let used: Vec<_> =
        snapshot.filters.limits.usage(Instant::now()).iter().filter(|usage| wanted(usage)).map(usage).collect();
    Page { limits, usage: used, addresses: Addresses { bytes: snapshot.filters.limits.bytes() as u64 } }
}

fn by(by: By) -> &'static str {
    match by {
        By::Consumer => "consumer",
        By::User => "user",
        By::App => "app",
        By::Address => "address",
        By::Everyone => "everyone",
    }
}

fn usage(usage: &Usage) -> pages::Usage {
    let (mut consumer, mut address, mut everyone) = (None, None, None);
    match &usage.who {
        Who::Consumer(name) => consumer = Some(name.to_string()),
        Who::Address(client) => address = Some(client.to_string()),
        Who::Everyone => everyone = Some(true),
    }
    pages::Usage {
        limit: usage.set.to_string(),
        count: usage.count,
        period_ms: usage.period.as_millis() as u64,
        consumer,
        address,
        everyone,
        remaining: usage.left,
        whole_in_ms: usage.whole_in.as_millis() as u64,
        refused: usage.refused,
    }
}

/// Forgets what one consumer, or one address, has used.
pub(super) fn reset(sources: &Sources, query: &Query<'_>) -> Response<Bytes> {
    if let Some(why) = query.mistake(&["consumer", "address"]) {
        return bad_request(why);
    }
    let limits = &sources.current.load().filters.limits;
    match (query.get("consumer"), query.get("address")) {
        (Some(name), None) => match limits.reset_consumer(&name) {
            Some(reset) => json(&Reset { consumer: Some(name), address: None, reset: reset as u64 }),
            None => bad_request("there is no consumer of this name"),
        },
        (None, Some(text)) => match text.parse::<IpAddr>() {
            Ok(address) => {
                json(&Reset { consumer: None, address: Some(text), reset: limits.reset_address(address) as u64 })
            }
            Err(_) => bad_request("the address is not an IP address"),
        },
        _ => bad_request("say whose: ?consumer=NAME or ?address=IP"),
    }
}
