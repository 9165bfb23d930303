//! `/admin/discovery/accept`: an operator says that suspect instances are gone.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Answer;
use super::query::Query;
use super::response::{bad_request, json, unavailable};
use super::sources::Sources;
use crate::catalog::ServiceName;
use crate::catalog::notice::Notice;
use crate::pages::services::Accepted;

/// How long discovery may take to answer. It only looks at what it knows: where this is too short, it is not there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Accepts that the suspects of a service, or all suspects, are gone; says how many they were.
pub(super) fn accept(sources: &Sources, query: &Query<'_>, consumer: &str) -> Answer {
    if let Some(why) = query.mistake(&["service"]) {
        return Answer::Now(bad_request(why));
    }
    let service = match query.get("service").map(|name| ServiceName::new(&name)) {
        None => None,
        Some(Some(name)) => Some(name),
        Some(None) => return Answer::Now(bad_request("no service has such a name")),
    };
    // Only Consul's catalog can have suspects.
    if sources.current.load().config.consul.is_none() {
        return Answer::Now(json(&Accepted { accepted: 0 }));
    }
    let (reply, told) = oneshot::channel();
    sources.notices.tell(Notice::Accept(service.clone(), reply));
    let consumer = consumer.to_owned();
    Answer::Later(Box::pin(async move {
        let Ok(Ok(accepted)) = tokio::time::timeout(PATIENCE, told).await else {
            return unavailable("discovery does not answer: the log says why");
        };
        let of = service.as_ref().map_or("every service", ServiceName::as_str);
        tracing::info!(consumer, service = of, accepted, "an operator accepts that suspect instances are gone");
        json(&Accepted { accepted: accepted as u64 })
    }))
}
