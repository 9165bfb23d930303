//! Why a request of a call brings nothing, and what becomes of the whole then.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::config::compose::{Call, Fallback};
use crate::io::body;
use crate::proxy::error::Error;
use crate::upstream::verdict::Outcome;

/// Why a request of a call brought nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// A stable word.
    pub(super) reason: &'static str,
    /// The status of its answer, if there was one.
    pub(super) status: Option<StatusCode>,
    /// The status with which a request alone would have been answered, where it is our own.
    pub(super) own: Option<StatusCode>,
    /// When it is worth to ask again, in seconds, as its answer says it.
    pub(super) retry_after: Option<u64>,
    /// What credentials its answer asks for, which 401 must say (RFC 9110 section 15.5.2).
    pub(super) challenges: Vec<HeaderValue>,
}

impl Failure {
    pub(super) fn because(reason: &'static str) -> Failure {
        Failure { reason, ..Failure::default() }
    }

    /// Time was the reason.
    pub(super) fn is_late(&self) -> bool {
        self.own == Some(StatusCode::GATEWAY_TIMEOUT)
    }

    /// An answer with a status that counts as failed.
    pub(super) fn by_status(status: StatusCode, headers: &HeaderMap) -> Failure {
        let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let asks = status == StatusCode::UNAUTHORIZED;
        let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter().filter(|_| asks).cloned().collect();
        Failure { status: Some(status), retry_after, challenges, ..Failure::because("status") }
    }

    /// No answer.
    pub(super) fn of(error: &Error) -> Failure {
        Failure { own: Some(error.status()), ..Failure::because(error.reason()) }
    }

    /// The deadline of the whole has come.
    pub(super) fn late() -> Failure {
        Failure::of(&Error::Attempt(Outcome::TotalTimeout))
    }

    /// A body that did not come to its end.
    pub(super) fn of_body(error: &body::Error) -> Failure {
        match error {
            body::Error::Idle => Failure::of(&Error::Attempt(Outcome::Idle)),
            body::Error::Deadline => Failure::late(),
            _ => Failure::because("cut"),
        }
    }

    /// What becomes of the whole by the call's word on it.
    pub(super) fn fallback<'c>(&self, call: &'c Call) -> &'c Fallback {
        let status = self.status.filter(|_| self.reason == "status");
        let written = call.on_error.by_status.iter().any(|(known, _)| Some(*known) == status);
        match call.on_error.fallback(status) {
            // These are about the call's own method, fields and connection, which are none of the client's doing.
            Fallback::Pass if !written && matches!(status.map_or(0, |it| it.as_u16()), 405 | 407 | 416 | 426) => {
                &Fallback::Fail
            }
            other => other,
        }
    }
}

/// Why a request of a call does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// It failed: what the call says of that becomes of the whole.
    Failed(Failure),
    /// The whole has failed.
    Ended(Error),
}

impl Stop {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Stop::Failed(failure) => failure.clone(),
            Stop::Ended(error) => Failure::of(error),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}
