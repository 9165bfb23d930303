//! The pages that the gateway answers by itself: health, readiness, and admin pages through the control plane.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use serde_json::json;

use super::call::Request;
use super::error::Error;
use super::exchange::Worker;
use crate::config::fleet::{FIELD, Field, PREFIX, SKEW, STATE};
use crate::config::identity::{Dpop, Iss};
use crate::config::routes::Action;
use crate::filter::auth::{Caller, Denied};
use crate::filter::{Notes, Refusal};
use crate::io::{Client, Door};
use crate::route::Found;
use crate::snapshot::Snapshot;

/// A worker that did not turn for this long is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// How many calls of other gateways the control plane has at once: nothing proves them before it does.
const OF_THE_FLEET: usize = 4;

/// How many it has.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Where clients find out which issuers count (RFC 9728 section 3).
pub(super) const METADATA: &str = crate::filter::auth::METADATA;

/// A builtin page.
pub(super) enum Builtin {
    /// Here it is.
    Page(Response<Bytes>),
    /// The control plane has it.
    Errand(Errand),
    /// Who asks for it is not known yet: [`crate::filter::Filter::Auth`] waits for that.
    Wait,
}

/// A page that the control plane is asked for.
pub(super) struct Errand {
    request: http::Request<Bytes>,
    consumer: String,
    /// Ends with it; only calls of other gateways have one.
    turn: Option<Turn>,
}

/// One of the few places for calls of other gateways.
struct Turn;

impl Turn {
    fn take() -> Option<Turn> {
        let more = |count| (count < OF_THE_FLEET).then_some(count + 1);
        UNDER_WAY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The page for a path of our own, `None` for anybody else's.
///
/// # Errors
/// When there is no such page, or not for this method or this client.
pub(super) fn page(
    worker: &Worker,
    snapshot: &Snapshot,
    request: &Request,
    (client, address): (&Client, IpAddr),
    notes: &mut Notes,
) -> Result<Option<Builtin>, Error> {
    let page = match request.target.path() {
        "/health" => health(worker),
        "/ready" => ready(worker, snapshot),
        "*" => options(),
        METADATA if client.door == Door::Public => match metadata(snapshot) {
            Some(page) => page,
            None => return Ok(None),
        },
        path if path == "/admin" || path.starts_with("/admin/") => {
            if client.door != Door::Admin && !snapshot.config.admin.public {
                return Ok(None);
            }
            return admin(worker, snapshot, request, (client, address), notes).map(Some);
        }
        path if path.starts_with(PREFIX) => {
            return of_the_fleet(snapshot, request, (client, address)).map(Some);
        }
        _ if client.door == Door::Admin => return Err(Error::NoRoute),
        _ => return Ok(None),
    };
    if !matches!(request.head.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Err(Error::MethodNotOfPage("GET, HEAD"));
    }
    Ok(Some(Builtin::Page(page)))
}

/// Alive: every worker turns.
fn health(worker: &Worker) -> Response<Bytes> {
    let pulse = &worker.resources.pulse;
    let silent = pulse.longest_silence();
    let healthy = silent < STUCK;
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let words = json!({
        "status": if healthy { "healthy" } else { "stuck" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": pulse.uptime().as_millis() as u64,
        "workers": pulse.workers(),
    });
    json_page(status, &words)
}

/// Ready: there was a catalog once, be it one that was saved before the start, and the end has not begun. A stale catalog is `degraded`, not
/// unready: else one outage of Consul would take the whole fleet out. So is one that holds suspects, and a control plane with a task that
/// fails. Anybody may read this page: it says of a failure which kind it is, in words of our own. What the agent said, with names and ids in
/// it, is for the log and for `/admin/services`.
fn ready(worker: &Worker, snapshot: &Snapshot) -> Response<Bytes> {
    if worker.resources.pulse.draining.load(Ordering::Relaxed) {
        return json_page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
    }
    let discovery = worker.resources.discovery.borrow().clone();
    let restored = || discovery.providers.iter().filter(|provider| provider.restored_at.is_some());
    if !snapshot.catalog.complete && restored().next().is_none() {
        return json_page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "no_catalog" }));
    }
    let failing =
        discovery.providers.iter().filter_map(|provider| Some(format!("{}: {}", provider.name, provider.failure?)));
    let suspects = snapshot.suspects.iter().map(|(provider, count)| {
        let are = if *count == 1 { "instance has" } else { "instances have" };
        format!("{provider}: {count} {are} vanished in a way that is not believed yet; /admin/services says why")
    });
    let stale = restored()
        .map(|provider| format!("{}: services are served as they were saved before the start", provider.name));
    let why: Vec<_> = failing.chain(stale).chain(suspects).chain(worker.resources.pulse.control.faults()).collect();
    let status = if why.is_empty() { "ready" } else { "degraded" };
    json_page(StatusCode::OK, &json!({ "status": status, "why": why, "snapshot": snapshot.version }))
}

/// The control plane's page.
pub(super) async fn fetch(worker: &Worker, errand: Errand) -> Result<Response<Bytes>, Error> {
    let Errand { request, consumer, turn } = errand;
    let answer = worker.resources.handoff.ask(request, consumer).await.ok_or(Error::Overloaded)?;
    drop(turn);
    match answer.status() {
        // One with a body says itself what there is.
        StatusCode::NOT_FOUND if answer.body().is_empty() => Err(Error::NoRoute),
        StatusCode::INTERNAL_SERVER_ERROR => Err(Error::Panicked),
        StatusCode::METHOD_NOT_ALLOWED => {
            let written = answer.headers().get(header::ALLOW).is_some_and(|allow| allow == "POST");
            Err(Error::MethodNotOfPage(if written { "POST" } else { "GET, HEAD" }))
        }
        _ => Ok(answer),
    }
}

/// What to say besides the error: what exists, where to look.
pub(super) fn hint(worker: &Worker, error: &Error, request: &Request, client: &Client) -> String {
    match error {
        Error::NoRoute if client.door == Door::Admin => {
            "This listener has /admin/services, /health and /ready.".to_owned()
        }
        Error::NoRoute => {
            let snapshot = worker.resources.current.load();
            let mut hint = snapshot.routes.overview();
            hint = if hint.is_empty() {
                "There are /health and /ready.".into()
            } else {
                format!("There are {hint}, /health and /ready.")
            };
            if is_on_this_host(request, client) {
                let public =
                    if snapshot.config.admin.public { "/admin/services here, and ".to_owned() } else { String::new() };
                hint += &format!(" Admin: {public}http://{}/admin/services.", snapshot.config.admin.address);
            }
            hint
        }
        Error::NoService => {
            "It must be registered in Consul and exposed; /admin/services lists what is, and why what is not.".into()
        }
        Error::Part(failed) => match failed.answered {
            Some(status) if failed.reason == "status" => format!("{}: status {}.", failed.call, status.as_u16()),
            Some(status) => format!("{}: {}, status {}.", failed.call, failed.reason, status.as_u16()),
            None => format!("{}: {}.", failed.call, failed.reason),
        },
        _ => String::new(),
    }
}

/// Whether the client itself is on this host, as far as can be known: who connects over loopback may be a proxy for others. So the request
/// must have asked for a loopback address, and have no mark of another hop. What a balancer calls loopback may be its own host's.
fn is_on_this_host(request: &Request, client: &Client) -> bool {
    let Request { head, target, .. } = request;
    let forwarded = |name: &HeaderName| {
        let name = name.as_str();
        matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
    };
    let host = target.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
    client.ip().is_loopback()
        && client.trusted.is_none()
        && !client.balanced
        && head.version == Version::HTTP_11
        && (name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback()))
        && !head.headers.keys().any(forwarded)
}

/// An admin page, for whoever may see it.
fn admin(
    worker: &Worker,
    snapshot: &Snapshot,
    request: &Request,
    (client, address): (&Client, IpAddr),
    notes: &mut Notes,
) -> Result<Builtin, Error> {
    let Request { head, target, .. } = request;
    let auth = &snapshot.filters.auth;
    let Some(Caller { consumer, issuer }) = auth.of_admin(head, (client, address), &worker.local, &mut notes.auth)?
    else {
        return Ok(Builtin::Wait);
    };
    if !consumer.roles.admin {
        return Err(Refusal::from(Denied::NoRole).into());
    }
    let request = http::Request::builder().method(&head.method).uri(target.as_str()).body(Bytes::new());
    // Whom a token names may be called as somebody else is in the configuration.
    let consumer = issuer.map_or_else(|| consumer.name.to_string(), |issuer| format!("{} of {issuer}", consumer.name));
    Ok(Builtin::Errand(Errand { request: request.or(Err(Error::NoRoute))?, consumer, turn: None }))
}

/// What another gateway asks for, if it may be one: by who sent it, who it says it is for, and what its proof looks like. The control plane
/// judges whether that proves anything.
fn of_the_fleet(
    snapshot: &Snapshot,
    request: &Request,
    (client, address): (&Client, IpAddr),
) -> Result<Builtin, Error> {
    let fleet = snapshot.config.fleet.as_ref().ok_or(Error::NoRoute)?;
    let near = |ip: IpAddr| fleet.admin_networks.iter().any(|network| network.contains(&ip));
    let Request { head, target, .. } = request;
    let proof = head.headers.get(FIELD).and_then(|field| field.to_str().ok()).unwrap_or_default();
    let asks = head.method == Method::GET && target.as_str() == STATE && near(client.ip()) && near(address);
    if !asks || !is_plausible(proof, fleet.service.as_str(), SystemTime::now()) {
        return Err(Error::NoRoute);
    }
    let turn = Some(Turn::take().ok_or(Error::Overloaded)?);
    let request = http::Request::builder().method(&head.method).uri(target.as_str()).header(FIELD, proof);
    let request = request.body(Bytes::new()).or(Err(Error::NoRoute))?;
    Ok(Builtin::Errand(Errand { request, consumer: "another gateway".to_owned(), turn }))
}

/// Whether a proof could be right: made about now, for a gateway of this service.
fn is_plausible(proof: &str, service: &str, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ours = |to: &str| to.strip_prefix(service).is_some_and(|rest| rest.starts_with('-'));
    Field::read(proof).is_some_and(|field| ours(field.to) && now.abs_diff(field.time) <= SKEW)
}

/// What this gateway is as a protected resource (RFC 9728 section 2), where the configuration says by which URL clients call it.
fn metadata(snapshot: &Snapshot) -> Option<Response<Bytes>> {
    let config = &snapshot.config;
    let resource = config.public_url.as_deref().filter(|_| !config.issuers.is_empty())?;
    let issuers = config.issuers.iter().filter_map(|issuer| match &issuer.iss {
        Iss::Exact(iss) => Some(&**iss),
        Iss::Pattern { .. } => None,
    });
    let issuers: Vec<&str> = issuers.filter(|iss| iss.starts_with("https://")).collect();
    let demands = config.routes.iter().filter_map(|route| route.policy.auth.as_deref());
    let scopes: BTreeSet<&str> = demands.flat_map(|demand| &demand.scopes).map(String::as_str).collect();
    let mut words = json!({ "resource": resource, "bearer_methods_supported": ["header"] });
    if !issuers.is_empty() {
        words["authorization_servers"] = json!(issuers);
    }
    if !scopes.is_empty() {
        words["scopes_supported"] = json!(scopes);
    }
    if config.issuers.iter().all(|issuer| issuer.dpop == Dpop::Require) {
        words["dpop_bound_access_tokens_required"] = json!(true);
    }
    Some(json_page(StatusCode::OK, &words))
}

fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

fn json_page(status: StatusCode, words: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{words}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer of a route that asks nobody.
pub(super) fn of_route(action: &Action, request: &Request, found: &Found) -> Response<Bytes> {
    let target = &request.target;
    let mut response = Response::new(Bytes::new());
    match action {
        Action::Forward { .. } | Action::Compose { .. } => {}
        Action::Respond { status, content_type, body } => {
            *response.status_mut() = *status;
            *response.body_mut() = Bytes::copy_from_slice(body.as_bytes());
            if !body.is_empty() {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
            }
        }
        Action::Redirect { status, to } => {
            let host = target.host.as_ref().and_then(|host| host.to_str().ok());
            let mut location = found.fill(to, target.path(), host);
            // A path that begins with two slashes would name another host.
            if location.starts_with("//") {
                location.replace_range(..location.len() - location.trim_start_matches('/').len(), "/");
            }
            if let Some(query) = target.query().filter(|_| !location.contains('?')) {
                location = format!("{location}?{query}");
            }
            match HeaderValue::from_str(&location) {
                Ok(location) => {
                    *response.status_mut() = *status;
                    response.headers_mut().insert(header::LOCATION, location);
                }
                Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
            }
        }
    }
    response
}
