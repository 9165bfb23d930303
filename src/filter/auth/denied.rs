//! Why a request is refused before it reaches its route's action.

use std::time::Duration;

use super::nonces::Nonce;
use crate::token::{ProofFault, Rejection};

/// What a proof without a nonce lacks, where one is needed.
const NO_NONCE: Rejection = Rejection::Proof(ProofFault::Nonce);

/// Why a request is refused before it reaches its route's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key was sent, and nothing else counts here.
    NoKey,
    /// No consumer has this key.
    UnknownKey,
    /// More than one key was sent.
    SeveralKeys,
    /// This address has sent too many unknown keys; after so long it may try again.
    TooManyUnknown(Duration),
    /// The credential is good, but whom it belongs to lacks the role.
    NoRole,
    /// Not all credentials that are needed were sent.
    NoCredential,
    /// More than one credential of a kind was sent, or two where one decides.
    SeveralCredentials,
    /// The scheme of `Authorization` is none that counts here.
    OtherScheme,
    /// The token came in a cookie, from a page that may not send it.
    OtherOrigin,
    /// The token does not hold.
    Token(Rejection),
    /// The proof beside the token is good, and must be made again with this nonce.
    Nonce(Nonce),
    /// Whether the token holds cannot be said now; after so long it may be known.
    Unavailable(Duration),
    /// The token holds, and lacks a scope.
    Scope,
    /// The token holds, and one of its claims is not as the route demands.
    Claim,
    /// Nobody has this name and password.
    WrongPassword,
    /// Too much of this kind is asked of the gateway at once.
    Busy,
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Denied {
        match rejection {
            Rejection::IssuerUnavailable => Denied::Unavailable(Duration::from_secs(1)),
            rejection => Denied::Token(rejection),
        }
    }
}

impl Denied {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Denied::NoKey | Denied::UnknownKey | Denied::NoCredential | Denied::OtherScheme => 401,
            Denied::WrongPassword | Denied::Nonce(_) => 401,
            Denied::SeveralKeys | Denied::SeveralCredentials => 400,
            Denied::TooManyUnknown(_) => 429,
            Denied::NoRole | Denied::OtherOrigin | Denied::Scope | Denied::Claim => 403,
            Denied::Token(rejection) => rejection.status(),
            Denied::Unavailable(_) | Denied::Busy => 503,
        }
    }

    /// A stable word for the access line and the problem page.
    pub fn reason(&self) -> &'static str {
        match self {
            Denied::NoKey => "no_key",
            Denied::UnknownKey => "unknown_key",
            Denied::SeveralKeys => "several_keys",
            Denied::TooManyUnknown(_) => "too_many_unknown_keys",
            Denied::NoRole => "no_role",
            Denied::NoCredential => "no_credential",
            Denied::SeveralCredentials => "several_credentials",
            Denied::OtherScheme => "wrong_scheme",
            Denied::OtherOrigin => "wrong_origin",
            Denied::Token(rejection) => rejection.reason(),
            Denied::Nonce(_) => NO_NONCE.reason(),
            Denied::Unavailable(_) => Rejection::IssuerUnavailable.reason(),
            Denied::Scope => "insufficient_scope",
            Denied::Claim => "claim_demanded",
            Denied::WrongPassword => "wrong_password",
            Denied::Busy => "overloaded",
        }
    }

    /// A sentence for the caller.
    pub fn detail(&self) -> &'static str {
        match self {
            Denied::NoKey => "An API key is needed in the header X-API-Key",
            Denied::UnknownKey => "The key in the header X-API-Key is not known",
            Denied::SeveralKeys => "One API key is enough, more than one was sent",
            Denied::TooManyUnknown(_) => "Too many unknown keys came from this address",
            Denied::NoRole => "This credential's consumer lacks the role that is needed here",
            Denied::NoCredential => "A credential is needed that was not sent: WWW-Authenticate says which",
            Denied::SeveralCredentials => "One credential decides here, and more than one was sent",
            Denied::OtherScheme => "The scheme of Authorization does not count here: WWW-Authenticate says which does",
            Denied::OtherOrigin => {
                "A token in a cookie counts from the pages of some origins only, and this is none of them"
            }
            Denied::Token(rejection) => rejection.detail(),
            Denied::Nonce(_) => NO_NONCE.detail(),
            Denied::Unavailable(_) => Rejection::IssuerUnavailable.detail(),
            Denied::Scope => "The token lacks a scope that is needed here",
            Denied::Claim => "The token is good, and a claim of it is not as it must be here",
            Denied::WrongPassword => "Nobody has this name and password",
            Denied::Busy => "Too many credentials of this kind are checked at once",
        }
    }

    /// After how long another request may succeed, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Denied::TooManyUnknown(wait) | Denied::Unavailable(wait) => Some(*wait),
            Denied::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
