//! What the gateway answers by itself: health, readiness, and admin pages through the control plane.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::json;
use tokio::time::Instant;

use super::Worker;
use super::error::Error;
use super::head::Target;
use crate::filter::auth::Denied;
use crate::io::{Client, Door};
use crate::snapshot::Snapshot;

/// A worker that did not turn for this long is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// A page of our own.
pub(super) enum Own {
    /// Here it is.
    Page(Response<Bytes>),
    /// The control plane has it.
    Errand(Errand),
}

/// A page that the control plane is asked for.
pub(super) struct Errand {
    request: Request<Bytes>,
    consumer: String,
}

impl Worker {
    /// The page for a path of our own, `None` for anybody else's.
    pub(super) fn own(
        &self,
        snapshot: &Snapshot,
        target: &Target,
        parts: &Parts,
        client: &Client,
    ) -> Result<Option<Own>, Error> {
        let path = target.path();
        let page = match path {
            "/health" => self.health(),
            "/ready" => self.ready(snapshot),
            "*" => options(),
            _ if path == "/admin" || path.starts_with("/admin/") => {
                if client.door != Door::Admin && !snapshot.config.admin.public {
                    return Ok(None);
                }
                return admin(snapshot, target, parts, client).map(|errand| Some(Own::Errand(errand)));
            }
            _ if client.door == Door::Admin => return Err(Error::NoRoute),
            _ => return Ok(None),
        };
        if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Err(Error::MethodNotOfPage("GET, HEAD"));
        }
        Ok(Some(Own::Page(page)))
    }

    /// Alive: every worker turns.
    fn health(&self) -> Response<Bytes> {
        let pulse = &self.parts.pulse;
        let silent = pulse.longest_silence();
        let healthy = silent < STUCK;
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let words = json!({
            "status": if healthy { "healthy" } else { "stuck" },
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": pulse.uptime().as_millis() as u64,
            "workers": pulse.workers(),
        });
        page(status, &words)
    }

    /// Ready: there was a catalog once, and the end has not begun. A stale catalog is `degraded`, not unready: else one
    /// outage of Consul would take the whole fleet out.
    fn ready(&self, snapshot: &Snapshot) -> Response<Bytes> {
        if self.parts.pulse.draining.load(Ordering::Relaxed) {
            return page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "draining" }));
        }
        if !snapshot.catalog.complete {
            return page(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "no_catalog" }));
        }
        let discovery = self.parts.discovery.borrow().clone();
        let why: Vec<_> = discovery
            .providers
            .iter()
            .filter_map(|provider| Some(format!("{}: {}", provider.name, provider.error.as_ref()?)))
            .collect();
        let status = if why.is_empty() { "ready" } else { "degraded" };
        page(StatusCode::OK, &json!({ "status": status, "why": why, "snapshot": snapshot.version }))
    }

    /// The control plane's page.
    pub(super) async fn fetch_page(&self, errand: &mut Errand) -> Result<Response<Bytes>, Error> {
        let (request, consumer) = (std::mem::take(&mut errand.request), std::mem::take(&mut errand.consumer));
        let answer = self.parts.handoff.ask(request, consumer).await.ok_or(Error::Overloaded)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Err(Error::NoRoute),
            StatusCode::METHOD_NOT_ALLOWED => {
                let written = answer.headers().get(header::ALLOW).is_some_and(|allow| allow == "POST");
                Err(Error::MethodNotOfPage(if written { "POST" } else { "GET, HEAD" }))
            }
            _ => Ok(answer),
        }
    }

    /// What to say besides the error: what exists, where to look.
    pub(super) fn hint(&self, error: &Error, client: &Client) -> String {
        let snapshot = self.parts.current.load();
        match error {
            Error::NoRoute if client.door == Door::Admin => {
                "This listener has /admin/services, /health and /ready.".to_owned()
            }
            Error::NoRoute => {
                let mut hint = snapshot.routes.overview();
                hint = if hint.is_empty() {
                    "There are /health and /ready.".into()
                } else {
                    format!("There are {hint}, /health and /ready.")
                };
                if client.ip().is_loopback() {
                    let public = if snapshot.config.admin.public {
                        "/admin/services here, and ".to_owned()
                    } else {
                        String::new()
                    };
                    hint += &format!(" Admin: {public}http://{}/admin/services.", snapshot.config.admin.address);
                }
                hint
            }
            Error::NoService => {
                "It must be registered in Consul and exposed; /admin/services lists what is, and why what is not."
                    .into()
            }
            _ => String::new(),
        }
    }
}

/// An admin page, for whoever may see it.
fn admin(snapshot: &Snapshot, target: &Target, parts: &Parts, client: &Client) -> Result<Errand, Error> {
    let consumer = snapshot.auth.check(&parts.headers, &client.learnt, client.ip(), Instant::now())?;
    if !consumer.roles.admin {
        return Err(Error::Denied(Denied::NoRole));
    }
    let request = Request::builder().method(&parts.method).uri(target.as_str()).body(Bytes::new());
    Ok(Errand { request: request.or(Err(Error::NoRoute))?, consumer: consumer.name.to_string() })
}

fn options() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

fn page(status: StatusCode, words: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{words}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
