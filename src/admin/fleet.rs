//! `/admin/fleet`: every gateway of the fleet, what each says of itself, who disagrees, and how what they share fares; and what this one
//! says to the others.

mod compare;
mod redis;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Answer;
use super::response::{json, status};
use super::sources::Sources;
use crate::catalog::Service;
use crate::config::fleet::{FIELD, STATE};
use crate::fleet::{Fleet, Member, Members};
use crate::pages::fleet::{Gateway, Page, Registration, State};
use crate::telemetry::access::rfc3339;
use crate::upstream::breaker;

/// The most services that a gateway lists to others.
const LISTED: usize = 2_000;

/// The most tripped instances that it lists.
const TRIPPED: usize = 1_000;

/// How many bytes of a digest are shown.
const SHOWN: usize = 8;

/// The most gateways that are shown, and how many of them are asked at once: whoever may register services in Consul could name any number.
const GATEWAYS: usize = 256;
const AT_ONCE: usize = 16;

/// What this gateway says of itself to another one of its fleet; 404 to whoever cannot prove to be one, as for a path that nobody has.
pub(super) fn told(sources: &Sources, request: &Request<Bytes>) -> Response<Bytes> {
    let Some(fleet) = &sources.fleet else { return status(StatusCode::NOT_FOUND) };
    let field = request.headers().get(FIELD).and_then(|field| field.to_str().ok());
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let Ok(seal) = fleet.judge(request.method().as_str(), target, field) else { return status(StatusCode::NOT_FOUND) };
    let text = serde_json::to_vec(&state(sources)).expect("its keys are texts");
    let mut response = Response::new(Bytes::from(seal.close(&text)));
    let sealed = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, sealed);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The page. All gateways are asked at once, each for a second at most.
pub(super) fn page(sources: &Sources) -> Answer {
    let own = state(sources);
    let redis = sources.shared.all.iter().map(redis::redis).collect();
    let Some(fleet) = sources.fleet.clone() else {
        let gateway = Gateway { health: UNKNOWN.to_owned(), own: true, state: Some(own), ..Gateway::default() };
        return Answer::Now(json(&Page { living: 1, gateways: vec![gateway], redis, ..Page::default() }));
    };
    Answer::Later(Box::pin(async move { json(&Page { redis, ..gathered(fleet, own).await }) }))
}

/// What the health of a gateway is called of which Consul has not said it.
const UNKNOWN: &str = "unknown";

async fn gathered(fleet: Fleet, own: State) -> Page {
    let members = fleet.members.borrow().clone();
    let own_entry = members.all.iter().filter(|member| *member.id == *fleet.id).min_by_key(|member| member.health);
    let others: Vec<_> =
        members.all.iter().filter(|member| own_entry.is_none_or(|own| !std::ptr::eq(own, *member))).collect();
    let (room, mut asked) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for member in others.iter().take(GATEWAYS - 1) {
        let (fleet, member, members, room) = (fleet.clone(), (*member).clone(), members.clone(), room.clone());
        asked.spawn(async move {
            let _turn = room.acquire().await;
            other(&fleet, &members, &member).await
        });
    }
    let mut gateways = vec![this(&fleet, own_entry, own)];
    // Whatever panics is left out: the log says why.
    while let Some(answer) = asked.join_next().await {
        gateways.extend(answer);
    }
    gateways[1..].sort_by(|a, b| (&a.id, &a.address, &a.node).cmp(&(&b.id, &b.address, &b.node)));
    let known: Vec<_> = gateways.iter().filter_map(|one| Some((&*one.id, one.state.as_ref()?))).collect();
    let registration = &members.registration;
    Page {
        registration: Some(Registration {
            service: fleet.config.service.to_string(),
            id: fleet.id.to_string(),
            registered: registration.registered,
            agent: registration.agent.clone(),
            error: registration.error.clone(),
        }),
        living: fleet.living.count() as u64,
        error: noted(&members, others.len().saturating_sub(GATEWAYS - 1)),
        disagreements: compare::disagreements(&known),
        gateways,
        redis: Vec::new(),
    }
}

/// What is wrong with what the page says.
fn noted(members: &Members, left_out: usize) -> Option<String> {
    let left_out = (left_out > 0).then(|| format!("{left_out} more are left out: at most {GATEWAYS} are shown"));
    let all: Vec<_> = [members.error.clone(), members.double.clone(), left_out].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// This gateway, as Consul has it if it does.
fn this(fleet: &Fleet, member: Option<&Member>, own: State) -> Gateway {
    let gateway = Gateway { id: fleet.id.to_string(), own: true, state: Some(own), ..Gateway::default() };
    match member {
        Some(member) => described(gateway, member),
        None => Gateway { health: UNKNOWN.to_owned(), ..gateway },
    }
}

/// Another one, which is asked if it lives.
async fn other(fleet: &Fleet, members: &Members, member: &Member) -> Gateway {
    let gateway = described(Gateway { id: member.id.clone(), ..Gateway::default() }, member);
    let why_not = match member.lives() {
        _ if *member.id == *fleet.id => Some("it has the id of this gateway: it was not asked"),
        false => Some("its checks fail: it was not asked"),
        true if members.disputed(&member.id) => Some("its id is registered with different places: it was not asked"),
        true => None,
    };
    if let Some(why) = why_not {
        return Gateway { error: Some(why.to_owned()), ..gateway };
    }
    let read =
        |body: Vec<u8>| serde_json::from_slice(&body).map_err(|why| format!("its answer is not understood: {why}"));
    match fleet.ask(member, STATE).await.and_then(read) {
        Ok(state) => Gateway { state: Some(state), ..gateway },
        Err(why) => Gateway { error: Some(why), ..gateway },
    }
}

fn described(gateway: Gateway, member: &Member) -> Gateway {
    let (node, address) = (member.node.clone(), member.address.clone());
    Gateway { node, address, health: member.health.as_str().to_owned(), ..gateway }
}

/// What this gateway says of itself.
fn state(sources: &Sources) -> State {
    let snapshot = sources.current.load();
    let mut whole = Context::new(&SHA256);
    let mut services = BTreeMap::new();
    for service in snapshot.catalog.services.values() {
        let said = digest(service);
        whole.update(service.name.as_str().as_bytes());
        whole.update(said.as_bytes());
        if snapshot.catalog.services.len() <= LISTED {
            services.insert(service.name.to_string(), said);
        }
    }
    let tripped = snapshot.services.values().flat_map(|service| {
        let open = service.members.iter().filter(|m| m.instance.breaker.view().state != breaker::State::Closed);
        open.map(|member| format!("{} {}", service.name, member.instance.key.address))
    });
    let (config, began) = (&snapshot.config, sources.pulse.began);
    State {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: rfc3339(began).to_string(),
        age_ms: SystemTime::now().duration_since(began).unwrap_or_default().as_millis() as u64,
        configuration: sources.fleet.as_ref().and_then(|fleet| fleet.named("configuration", &config.digest.0).ok()),
        snapshot: short(whole),
        services,
        tripped: tripped.take(TRIPPED).collect(),
    }
}

/// How many instances a service has, and a digest of them: of what matters for who gets requests.
fn digest(service: &Service) -> String {
    let mut digest = Context::new(&SHA256);
    for endpoint in &service.endpoints {
        let (key, suspect) = (&endpoint.key, endpoint.suspect.is_some());
        let health = endpoint.health.as_str();
        digest
            .update(format!("{} {} {health} {} {suspect}\n", key.datacenter, key.address, endpoint.weight).as_bytes());
    }
    let count = service.endpoints.len();
    format!("{count} instance{}, {}", if count == 1 { "" } else { "s" }, short(digest))
}

fn short(digest: Context) -> String {
    digest.finish().as_ref()[..SHOWN].iter().map(|byte| format!("{byte:02x}")).collect()
}
