//! Where an answer sends its client: a `Location` of the instance's own origin must lead through the gateway.

use std::net::SocketAddr;

use http::HeaderValue;

use crate::config::routes::{Action, PathChange};
use crate::proxy::call::Call;
use crate::proxy::head::Target;

/// A `Location` of the instance's own origin, as the client must see it: with the prefix that was stripped.
pub(super) fn outside(
    call: &Call,
    target: &Target,
    location: &HeaderValue,
    instance: SocketAddr,
) -> Option<HeaderValue> {
    let Action::Forward { path: PathChange::Prefix { add, .. }, .. } = &call.route.route.action else { return None };
    let prefix = &target.path()[..call.path.stripped];
    if prefix.is_empty() && add.is_empty() {
        return None;
    }
    let location = location.to_str().ok()?;
    let (origin, path) = own_origin(call, target, location, instance)?;
    let below = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
    let path = path.strip_prefix(add.as_str()).filter(below).unwrap_or(path);
    // The instance may have put it before already: the whole of it, as it was told, or what the route took off.
    let told = call.forwarded.told.as_ref().and_then(|told| told.prefix.as_deref()).unwrap_or_default();
    let has = |prefix: &str| !prefix.is_empty() && path.strip_prefix(prefix).filter(below).is_some();
    if has(prefix) || has(&[told, prefix].concat()) {
        return HeaderValue::from_str(&format!("{origin}{path}")).ok();
    }
    // A path that is empty so far, and one that begins with two slashes, would not be paths of this host.
    let path = path.trim_start_matches('/');
    let slash = if path.starts_with(['?', '#']) && !prefix.is_empty() { "" } else { "/" };
    HeaderValue::from_str(&format!("{origin}{prefix}{slash}{path}")).ok()
}

/// The origin that stays in a `Location`, and the path in it, when it is of the instance's own. Where the client is already
/// needs no origin, and an address that only we reach is none for it; only that it is to change to https must be said.
fn own_origin<'l>(call: &Call, target: &Target, location: &'l str, instance: SocketAddr) -> Option<(String, &'l str)> {
    if location.starts_with('/') {
        // `//elsewhere/` is an authority of its own.
        return (!location.starts_with("//")).then_some((String::new(), location));
    }
    let secure = location.strip_prefix("https://");
    let rest = secure.or_else(|| location.strip_prefix("http://"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority == instance.to_string() {
        return Some((String::new(), path));
    }
    // A trusted proxy knows better than we do which host the client asked.
    let hosts = [call.forwarded.host.as_ref(), target.host.as_ref()].into_iter().flatten();
    let mut hosts = hosts.filter_map(|host| host.to_str().ok());
    let asked = hosts.next()?;
    let own = asked.eq_ignore_ascii_case(authority) || hosts.any(|host| host.eq_ignore_ascii_case(authority));
    let changes = secure.is_some() && call.forwarded.scheme != "https";
    own.then(|| (if changes { format!("https://{asked}") } else { String::new() }, path))
}
