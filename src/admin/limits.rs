//! `/admin/rate-limits`: shows the limits and how far clients have used them, and resets what one client has used.

use std::net::IpAddr;

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Query, Sources, page as shown, wrong};
use crate::config::policy::By;
use crate::filter::limit::{Usage, Who};

/// The page: the limits, and how far clients have used them; of one consumer, if the query names one.
pub(super) fn page(sources: &Sources, consumer: Option<&str>) -> Value {
    let snapshot = sources.current.load();
    let limits: Vec<_> = snapshot
        .limits
        .sets()
        .into_iter()
        .flat_map(|(set, of, refused)| {
            let one = |limit: &crate::config::policy::Limit| {
                json!({
                    "name": &*set.name,
                    "of": of,
                    "count": limit.count,
                    "period_ms": limit.period.as_millis() as u64,
                    "by": match limit.by {
                        By::Consumer => "consumer",
                        By::Address => "address",
                        By::Everyone => "everyone",
                    },
                    "refused": refused,
                })
            };
            set.limits.iter().map(one).collect::<Vec<_>>()
        })
        .collect();
    let wanted = |usage: &Usage| match (consumer, &usage.who) {
        (None, _) => true,
        (Some(wanted), Who::Consumer(name)) => name == wanted,
        (Some(_), _) => false,
    };
    let used: Vec<_> = snapshot.limits.usage(Instant::now()).iter().filter(|usage| wanted(usage)).map(usage).collect();
    json!({ "limits": limits, "usage": used, "addresses": { "bytes": snapshot.limits.bytes() } })
}

fn usage(usage: &Usage) -> Value {
    let mut words = json!({
        "limit": &*usage.set,
        "count": usage.count,
        "period_ms": usage.period.as_millis() as u64,
    });
    match &usage.who {
        Who::Consumer(name) => words["consumer"] = json!(name),
        Who::Address(address) => words["address"] = json!(address.to_string()),
        Who::Everyone => words["everyone"] = json!(true),
    }
    words["remaining"] = json!(usage.left);
    words["whole_in_ms"] = json!(usage.whole_in.as_millis() as u64);
    words["refused"] = json!(usage.refused);
    words
}

/// Forgets what one consumer, or one address, has used of all limits.
pub(super) fn reset(sources: &Sources, query: &Query<'_>) -> Response<Bytes> {
    if let Some(why) = query.wrong(&["consumer", "address"]) {
        return wrong(&why);
    }
    let limits = &sources.current.load().limits;
    match (query.get("consumer"), query.get("address")) {
        (Some(name), None) => match limits.reset_consumer(&name) {
            Some(reset) => shown(&json!({ "consumer": name, "reset": reset })),
            None => wrong("there is no consumer of this name"),
        },
        (None, Some(text)) => match text.parse::<IpAddr>() {
            Ok(address) => shown(&json!({ "address": text, "reset": limits.reset_address(address) })),
            Err(_) => wrong("the address is not an IP address"),
        },
        _ => wrong("say whose: ?consumer=NAME or ?address=IP"),
    }
}
