//! What a client sends for the gateway itself goes no further, and nobody but the gateway says what tokens say.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::identity::{Method, Methods};
use crate::config::routes::Route;
use crate::fields;

/// The field with a proof of possession (RFC 9449 section 4.1).
const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Takes away, once the filters have seen them, the credentials that a route takes, unless it passes them on; and from every request what
/// only the gateway may say. Keys are not among these fields: no instance ever gets one (`fields`).
pub(super) fn end_here(headers: &mut HeaderMap, route: &Route) {
    if !route.claimed.is_empty() {
        let claimed: Vec<_> = headers.keys().filter(|name| fields::is_spelt(name, &route.claimed)).cloned().collect();
        for name in claimed {
            headers.remove(name);
        }
    }
    let Some(demand) = route.policy.auth.as_deref().filter(|demand| !demand.pass) else { return };
    let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
    if methods.iter().any(|method| *method != Method::Key) {
        headers.remove(header::AUTHORIZATION);
        headers.remove(DPOP);
    }
    if let Some(cookie) = &demand.cookie {
        without(headers, &cookie.name);
    }
}

/// Takes a cookie out of the fields that carry them.
fn without(headers: &mut HeaderMap, name: &str) {
    let own = |pair: &&[u8]| {
        let pair = pair.trim_ascii();
        pair.iter().position(|&b| b == b'=').is_some_and(|at| pair[..at] == *name.as_bytes())
    };
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    if !lines.iter().any(|line| line.as_bytes().split(|&b| b == b';').any(|pair| own(&pair))) {
        return;
    }
    headers.remove(header::COOKIE);
    for line in lines {
        let kept: Vec<&[u8]> = line.as_bytes().split(|&b| b == b';').filter(|pair| !own(pair)).collect();
        let kept = kept.join(&b';');
        if let Ok(value) = HeaderValue::from_bytes(kept.trim_ascii())
            && !value.is_empty()
        {
            headers.append(header::COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_with_a_token_is_taken_out_and_the_others_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        for line in ["a=1; session=x;b=2", "session=y", " session =z; c=session"] {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        without(&mut headers, "session");
        let left: Vec<_> = headers.get_all(header::COOKIE).iter().map(|line| line.to_str().expect("ASCII")).collect();
        assert_eq!(left, ["a=1;b=2", "session =z; c=session"]);
    }
}
