//! What a request must pass before anybody is asked for it: its route, its key, its limits.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};

use bytes::Bytes;

use super::cors;
use super::error::Error;
use super::exchange::Exchange;
use super::head::Target;
use super::{Worker, headers, origin, trace};
use crate::config::routes::{Action, HeaderRules, Route};
use crate::filter::limit::{RATELIMIT, RATELIMIT_POLICY, Remaining};
use crate::io::Client;
use crate::route::{Asked, Found};
use crate::snapshot::Snapshot;

impl Worker {
    /// The route of a request, and the method that a preflight asks about, when it is one that the gateway answers.
    pub(super) fn find<'s>(
        &self,
        snapshot: &'s Snapshot,
        target: &'s Target,
        parts: &Parts,
    ) -> Result<(Found<'s>, Option<Method>), Error> {
        let host = target.host.as_ref().and_then(|host| host.to_str().ok());
        let (path, query, headers) = (target.path(), target.query(), &parts.headers);
        let asked = Asked { host, path, query, method: &parts.method, headers };
        if let Some(method) = cors::asked_for(parts)
            && let Ok(found) = snapshot.routes.find(&Asked { method: &method, ..asked })
            && found.route.cors.is_some()
        {
            return Ok((found, Some(method)));
        }
        match snapshot.routes.find(&asked) {
            Ok(found) if doubtful(snapshot, &asked, found.index) => {
                let why = "An instance may read this path as one of another route: write it without // and ;";
                Err(Error::BadRequest("bad_path", why))
            }
            Ok(found) => Ok((found, None)),
            Err(missed) if missed.only_by_method() => Err(Error::MethodNotOfRoute(missed)),
            Err(_) => Err(Error::NoRoute),
        }
    }

    /// Its key and its limits; what they say is remembered in the exchange.
    pub(super) fn admit(
        &self,
        snapshot: &Snapshot,
        found: &Found<'_>,
        parts: &Parts,
        client: &Client,
        exchange: &mut Exchange,
    ) -> Result<(), Error> {
        let mut known = None;
        if found.route.policy.auth {
            let consumer = snapshot.auth.check(&parts.headers, &client.learnt, exchange.client, exchange.began)?;
            exchange.consumer = Some(consumer.name.clone());
            known = Some(&**consumer);
        }
        let limits = found.route.policy.limits.as_deref();
        let taken = snapshot.limits.take(limits, known, exchange.client, exchange.began, &mut exchange.remaining);
        taken.map_err(Error::RateLimited)
    }
}

/// Some servers take `//` for `/` and cut a segment at `;`. Where that would be another route's path, its key and its limits
/// would be walked around.
fn doubtful(snapshot: &Snapshot, asked: &Asked<'_, '_>, index: usize) -> bool {
    if !asked.path.contains("//") && !asked.path.contains(';') {
        return false;
    }
    let segments = asked.path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut plain: String = segments.filter(|segment| !segment.is_empty()).flat_map(|segment| ["/", segment]).collect();
    if plain.is_empty() || asked.path.ends_with('/') {
        plain.push('/');
    }
    snapshot.routes.find(&Asked { path: &plain, ..*asked }).is_ok_and(|found| found.index != index)
}

/// The answer of a route that asks nobody.
pub(super) fn answer(found: &Found<'_>, target: &Target) -> Option<Response<Bytes>> {
    match &found.route.action {
        Action::Forward { .. } => None,
        Action::Respond { status, content_type, body } => {
            let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
            *response.status_mut() = *status;
            if !body.is_empty() {
                response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
            }
            Some(response)
        }
        Action::Redirect { status, to } => {
            let host = target.host.as_ref().and_then(|host| host.to_str().ok());
            let mut place = found.fill(to, host);
            // A path that begins with two slashes would name another host.
            if place.starts_with("//") {
                place.replace_range(..place.len() - place.trim_start_matches('/').len(), "/");
            }
            if let Some(query) = target.query().filter(|_| !place.contains('?')) {
                place = format!("{place}?{query}");
            }
            let mut response = Response::new(Bytes::new());
            match HeaderValue::from_str(&place) {
                Ok(place) => {
                    *response.status_mut() = *status;
                    response.headers_mut().insert(header::LOCATION, place);
                }
                Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
            }
            Some(response)
        }
    }
}

/// What some servers would take for a header that a route sets or removes: `X_Tenant` becomes `X-Tenant` in CGI and WSGI.
pub(super) fn aliases(rules: &HeaderRules, given: &http::HeaderMap) -> Vec<HeaderName> {
    let odd = |name: &HeaderName| name.as_str().contains(['_', '.']);
    let named = || rules.set.iter().chain(&rules.add).map(|(name, _)| name).chain(&rules.remove);
    let managed = [
        origin::X_FORWARDED_FOR,
        origin::X_FORWARDED_PROTO,
        origin::X_FORWARDED_HOST,
        headers::X_FORWARDED_PREFIX,
        headers::X_REQUEST_ID,
        trace::TRACEPARENT,
        header::VIA,
    ];
    if !given.keys().chain(named()).any(odd) {
        return Vec::new();
    }
    let plain = |name: &HeaderName| name.as_str().replace(['_', '.'], "-");
    let alias =
        |name: &&HeaderName| named().any(|own| own != *name && (odd(own) || odd(name)) && plain(own) == plain(name));
    given.keys().chain(&managed).filter(alias).cloned().collect()
}

/// A route's own changes of headers.
pub(super) fn apply(rules: &HeaderRules, headers: &mut http::HeaderMap) {
    for name in &rules.remove {
        headers.remove(name);
    }
    for (name, value) in &rules.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &rules.add {
        headers.append(name, value.clone());
    }
}

/// What every answer of a route has besides its own: the route's headers, what a page of another origin may read, and what
/// is left of the client's limits.
pub(super) fn dress(route: &Route, exchange: &mut Exchange, headers: &mut http::HeaderMap) {
    apply(&route.response_headers, headers);
    if let Some(cors) = &route.cors {
        cors::dress(cors, exchange.origin.as_ref(), headers);
    }
    for Remaining { policy, left } in exchange.remaining.iter_mut().filter_map(Option::take) {
        headers.append(RATELIMIT_POLICY, policy);
        headers.append(RATELIMIT, left);
    }
}
