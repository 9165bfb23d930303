//! Everything that the gateway answers by itself when something is wrong: one match for status, reason and blame.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::fields::DPOP_NONCE;
use crate::filter::Refusal;
use crate::request::RequestId;
use crate::route::Missed;
use crate::upstream::verdict::{self, Blame, Outcome, Told};

/// Why a request is not answered by its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The head breaks a rule; the word says which.
    BadRequest(&'static str, &'static str),
    /// CONNECT, or a target that only a proxy understands.
    MethodNotAllowed,
    /// The method is longer than any that a server has.
    MethodTooLong,
    /// A page of our own, which these methods are for.
    MethodNotOfPage(&'static str),
    /// The path is somebody's, but not for this method.
    MethodNotOfRoute(Missed),
    /// The target is longer than the limit.
    TargetTooLong,
    /// More fields, or more bytes of them, than the limits.
    HeadTooLarge,
    /// A transfer coding that we do not have.
    CodingUnknown,
    /// A filter refused it.
    Refused(Box<Refusal>),
    /// The client wants what is stored only, and nothing is (RFC 9111 5.2.1.7).
    NotCached,
    /// Nobody's path.
    NoRoute,
    /// No service of that name, as far as complete knowledge goes.
    NoService,
    /// Knowledge is not complete yet.
    NoCatalog,
    /// The service is known; no instance is healthy.
    NoInstances,
    /// All healthy instances are tripped; the first is tried again after this long.
    AllTripped(Duration),
    /// Too much at once, here.
    Overloaded,
    /// An attempt at an instance failed, as the table of verdicts has it.
    Attempt(Outcome),
    /// What a filter waited for did not come in time.
    FilterTimeout,
    /// A call of an aggregate failed, and the whole with it.
    Part(Box<PartFailed>),
    /// An aggregate was asked for by a call of its own, or of too many others in a row.
    Loop,
    /// The shape of an aggregate does not fit what its parts brought.
    NotShaped,
    /// An aggregate is larger than its limit.
    AnswerTooLarge,
    /// A panic, caught.
    Panicked,
}

/// A call with which an aggregate failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartFailed {
    /// The call's name.
    pub(super) call: Arc<str>,
    /// Why it failed.
    pub(super) reason: &'static str,
    /// The status of its answer, if there was one.
    pub(super) answered: Option<StatusCode>,
    /// The status of the whole.
    pub(super) status: StatusCode,
    /// When it is worth to ask again, in seconds.
    pub(super) retry_after: Option<u64>,
    /// What credentials the call's service asks for, where the whole has its status.
    pub(super) challenges: Vec<HeaderValue>,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(Box::new(refusal))
    }
}

/// What one error means, in every respect.
struct Meaning(StatusCode, &'static str, Blame, &'static str);

impl Error {
    fn meaning(&self) -> Meaning {
        use Blame::{Client, Gateway, Upstream};
        let is = |status: u16, reason, blame, detail| {
            let status = StatusCode::from_u16(status).expect("a status of this table");
            Meaning(status, reason, blame, detail)
        };
        match self {
            Error::BadRequest(reason, detail) => is(400, reason, Client, detail),
            Error::MethodNotAllowed => {
                is(405, "method_not_allowed", Client, "CONNECT and authority-form targets are for forward proxies")
            }
            Error::MethodTooLong => is(501, "method_too_long", Client, "The method is longer than 64 bytes"),
            Error::MethodNotOfPage(_) => is(
                405,
                "method_not_allowed",
                Client,
                "This page of the gateway's own is for other methods: Allow says which",
            ),
            Error::MethodNotOfRoute(_) => {
                is(405, "method_not_allowed", Client, "The path has routes for other methods only")
            }
            Error::NotCached => is(504, "not_cached", Client, "Only what is stored was asked for, and nothing is"),
            Error::TargetTooLong => {
                is(414, "target_too_long", Client, "The request target is longer than [request] target allows")
            }
            Error::HeadTooLarge => is(
                431,
                "head_too_large",
                Client,
                "The header fields are more or larger than [request] fields and head allow, or Connection names more than 100",
            ),
            Error::CodingUnknown => is(501, "coding_unknown", Client, "The only transfer coding understood is chunked"),
            Error::Refused(refusal) => {
                let blame = if refusal.status.is_server_error() { Gateway } else { Client };
                Meaning(refusal.status, refusal.reason, blame, refusal.detail)
            }
            Error::NoRoute => is(404, "no_route", Client, "Nothing is served at this path"),
            Error::NoService => is(404, "no_route", Client, "No service of this name is known"),
            Error::NoCatalog => is(503, "no_catalog", Gateway, "The catalog of services has not been read yet"),
            Error::NoInstances => {
                is(503, "no_instances", Gateway, "The service is known, but none of its instances is healthy")
            }
            Error::AllTripped(_) => {
                is(503, "all_tripped", Upstream, "Every healthy instance failed lately; they are given a pause")
            }
            Error::Attempt(outcome) => match verdict::of(*outcome).told {
                Some(Told { status, reason, blame, detail }) => Meaning(status, reason, blame, detail),
                None => is(502, "reset", Upstream, "The instance brought no answer"),
            },
            Error::Overloaded => is(503, "overloaded", Gateway, "Too much is asked of the gateway at once"),
            Error::FilterTimeout => {
                is(504, "filter_timeout", Gateway, "What the gateway needed to know before did not come in time")
            }
            Error::Part(failed) => {
                let blame = if failed.status.is_client_error() { Client } else { Upstream };
                Meaning(failed.status, "part_failed", blame, "A part of this answer could not be had")
            }
            Error::Loop => {
                is(508, "loop", Client, "This aggregate was asked for by a call of its own, or of many others")
            }
            Error::NotShaped => is(502, "bad_shape", Upstream, "What the services answered does not fit the shape"),
            Error::AnswerTooLarge => is(502, "answer_too_large", Gateway, "The answer is larger than its limit"),
            Error::Panicked => is(500, "panic", Gateway, "The gateway failed on this request; its log says where"),
        }
    }

    /// One stable word: access line, `type` and `reason` of the page.
    pub(super) fn reason(&self) -> &'static str {
        self.meaning().1
    }

    /// The status of its page.
    pub(super) fn status(&self) -> StatusCode {
        self.meaning().0
    }

    /// Whose doing it is.
    pub(super) fn blame(&self) -> Blame {
        self.meaning().2
    }

    /// When it is worth to ask again, in whole seconds, at least one.
    fn retry_after(&self) -> Option<u64> {
        let whole = |wait: Duration| wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        match self {
            Error::AllTripped(wait) => Some(whole(*wait).max(1)),
            Error::NoCatalog | Error::Overloaded | Error::Attempt(Outcome::Shortage) => Some(1),
            Error::NoInstances => Some(5),
            Error::Part(failed) => failed.retry_after,
            Error::Refused(refusal) => refusal.retry_after.map(|wait| whole(wait).max(1)),
            _ => None,
        }
    }
}

/// RFC 9457 section 3, with `reason` and `request_id` as extension members.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: String,
    reason: &'a str,
    request_id: &'a str,
    /// The call that failed, where it is an aggregate.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
}

/// The page for an error. `hint` follows the detail: what exists instead, where to look.
pub(super) fn page(error: &Error, id: &RequestId, hint: &str) -> Response<Bytes> {
    let Meaning(status, reason, _, detail) = error.meaning();
    let problem = Problem {
        kind: format!("urn:lictor:{reason}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: if hint.is_empty() { format!("{detail}.") } else { format!("{detail}. {hint}") },
        reason,
        request_id: id.as_str(),
        call: if let Error::Part(failed) = error { Some(&failed.call) } else { None },
    };
    let mut text = serde_json::to_vec(&problem).expect("a problem is plain text and numbers");
    text.push(b'\n');
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match error {
        Error::Refused(refusal) => {
            for challenge in &refusal.challenges {
                headers.append(header::WWW_AUTHENTICATE, challenge.clone());
            }
            if let Some(nonce) = &refusal.nonce {
                headers.insert(DPOP_NONCE, nonce.clone());
                // Of one moment, and for one client (RFC 9449 section 8).
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
        }
        Error::Part(failed) => {
            for challenge in &failed.challenges {
                headers.append(header::WWW_AUTHENTICATE, challenge.clone());
            }
        }
        Error::MethodNotOfRoute(missed) => {
            headers.extend(HeaderValue::from_str(&missed.allowed()).map(|allowed| (header::ALLOW, allowed)));
        }
        Error::MethodNotOfPage(allowed) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        Error::MethodNotAllowed => {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
            headers.insert(header::ALLOW, allowed);
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_that_a_refusal_demands_reaches_the_client_and_no_store() {
        let refusal = Refusal {
            status: StatusCode::UNAUTHORIZED,
            reason: "dpop_nonce",
            detail: "A nonce is needed",
            retry_after: None,
            challenges: vec![HeaderValue::from_static("DPoP error=\"use_dpop_nonce\"")],
            nonce: Some(HeaderValue::from_static("n-1")),
        };
        let id = RequestId::new(&mut fastrand::Rng::with_seed(1));
        let said = |refusal: Refusal| {
            let headers = page(&refusal.into(), &id, "").into_parts().0.headers;
            let names = ["dpop-nonce", "cache-control", "www-authenticate"];
            names.map(|name| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned()))
        };
        let challenge = Some("DPoP error=\"use_dpop_nonce\"".to_owned());
        assert_eq!(said(refusal.clone()), [Some("n-1".into()), Some("no-store".into()), challenge.clone()]);
        assert_eq!(said(Refusal { nonce: None, ..refusal }), [None, None, challenge]);
    }
}
