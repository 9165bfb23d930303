//! Whose doing it was: what the end of an attempt says of its instance, whether another attempt may follow, and what client and log are
//! told. One table for all that can happen, but for what goes well.

use std::time::Duration;

use http::StatusCode;

use super::breaker::Failure;

/// The longest that a 503 with `Retry-After` keeps an instance out of the rotation.
const PAUSE: Duration = Duration::from_secs(10);

/// How an attempt ended otherwise than well, or what it brought. *The client owes* means: all that came of the request's body was
/// written, its rest has not come, and the instance waited for the client for a second or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody listens at the instance's address, or it cannot be reached.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// The gateway lacks descriptors, ports or memory for a connection.
    Shortage,
    /// A kept connection was closed before a byte of the request was written.
    KeptUnwritten,
    /// A kept connection broke after the request was written, at least in part, and not a byte came.
    KeptSilent,
    /// A new connection broke before a byte of the request was written.
    Unwritten,
    /// A new connection broke after the request was written, at least in part; or any connection in the middle of an answer's head.
    Reset,
    /// The instance closed the connection while the client owed.
    ResetOwed,
    /// What came does not begin with a status line of HTTP/1.
    NotHttp,
    /// A status line came, and with it a form that we refuse; or a 101 that nobody asked for.
    BadAnswer,
    /// All of the request was written, or the instance takes no more of it, and no answer came in time.
    FirstByteTimeout,
    /// The request's own deadline passed.
    TotalTimeout,
    /// The client went away.
    ClientGone,
    /// The client stopped sending.
    ClientStalled,
    /// The client sent more than it may.
    TooLarge,
    /// An answer with this status; `Retry-After` as it says it.
    Answered(StatusCode, Option<Duration>),
    /// The answer came before the end of the request's body, which then broke off.
    UploadBroken,
    /// The instance broke the answer's body off while we were reading it.
    Cut,
    /// The instance broke the answer's body off. Its client had not read for most of the time, and for a second or more.
    CutUnread,
    /// The instance broke the answer's body off while the client owed.
    CutOwed,
    /// The instance broke the answer's body off after the attempt had succeeded: it was a stream, or it had come for 5 s.
    CutLater,
    /// The answer's body stood still for the idle deadline while we were reading it.
    Idle,
    /// The same, of a stream.
    StreamIdle,
    /// A stream goes on, and its instance departed too long ago.
    Departed,
}

/// What an outcome says of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Nothing yet: the end of the answer's body will tell.
    Open,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed(Failure),
    /// It failed after it had succeeded: that is evidence of its own.
    FailedLater(Failure),
    /// It asked to be left alone for so long.
    Pause(Duration),
}

/// Whether another attempt may follow, as far as the outcome goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// Elsewhere, only for a request that may be sent twice: the instance may have acted on it.
    IfRepeatable,
    /// Elsewhere, for any request: no instance has seen it.
    Always,
    /// On a new connection to the same instance, for any request. It is the same attempt.
    Here,
    /// The same, only for a request that may be sent twice.
    HereIfRepeatable,
}

/// Whose doing something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Client,
    /// The instance's.
    Upstream,
    /// Ours, or the state of the world as we know it.
    Gateway,
}

impl Blame {
    /// The word that the access line uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Blame::Client => "client",
            Blame::Upstream => "upstream",
            Blame::Gateway => "gateway",
        }
    }
}

/// What client and log are told where no other attempt follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The status of the page that explains it; where the answer's head was sent already, nobody sees it.
    pub status: StatusCode,
    /// One stable word: access line, `type` and `reason` of the page.
    pub reason: &'static str,
    /// Whose doing it is.
    pub blame: Blame,
    /// A sentence for the page.
    pub detail: &'static str,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it says of the instance.
    pub verdict: Verdict,
    /// Whether another attempt may follow.
    pub again: Again,
    /// What client and log are told; `None` where the instance's answer goes on to the client.
    pub told: Option<Told>,
}

/// The table.
pub fn of(outcome: Outcome) -> Row {
    use Again::{Always, Here, HereIfRepeatable, IfRepeatable, Never};
    use Outcome::*;
    use Verdict::{Failed, FailedLater, Nothing, Open, Pause, Succeeded};
    let (verdict, again, told) = match outcome {
        // -- no connection --
        ConnectRefused => (Failed(Failure::ConnectRefused), Always, Some(CONNECT_REFUSED)),
        ConnectTimeout => (Failed(Failure::ConnectTimeout), Always, Some(CONNECT_TIMEOUT)),
        Shortage => (Nothing, Never, Some(OVERLOADED)),
        // -- no answer --
        KeptUnwritten => (Nothing, Here, Some(RESET)),
        KeptSilent => (Nothing, HereIfRepeatable, Some(RESET)),
        Unwritten => (Failed(Failure::Reset), Always, Some(RESET)),
        Reset => (Failed(Failure::Reset), IfRepeatable, Some(RESET)),
        ResetOwed => (Nothing, Never, Some(UPLOAD_STALLED)),
        NotHttp => (Failed(Failure::NotHttp), IfRepeatable, Some(NOT_HTTP)),
        // It would be the same elsewhere, unless by chance.
        BadAnswer => (Failed(Failure::BadAnswer), Never, Some(BAD_ANSWER)),
        FirstByteTimeout => (Failed(Failure::FirstByteTimeout), IfRepeatable, Some(FIRST_BYTE_TIMEOUT)),
        TotalTimeout => (Nothing, Never, Some(TOTAL_TIMEOUT)),
        ClientGone => (Nothing, Never, Some(CLIENT_GONE)),
        ClientStalled => (Nothing, Never, Some(BODY_TIMEOUT)),
        TooLarge => (Nothing, Never, Some(BODY_TOO_LARGE)),
        // -- an answer --
        Answered(status, retry_after) => match (status.as_u16(), retry_after) {
            (503, Some(wait)) => (Pause(wait.min(PAUSE)), IfRepeatable, None),
            (status @ (502..=504), _) => (Failed(Failure::Status(status)), IfRepeatable, None),
            // Usually the quota of one caller.
            (429, _) => (Nothing, Never, None),
            _ => (Open, Never, None),
        },
        // -- its body --
        UploadBroken => (Succeeded, Never, Some(CLIENT_GONE)),
        Cut => (Failed(Failure::Reset), Never, Some(ANSWER_BROKEN)),
        CutUnread => (Nothing, Never, Some(ANSWER_UNREAD)),
        CutOwed => (Nothing, Never, Some(UPLOAD_STALLED)),
        CutLater => (FailedLater(Failure::Reset), Never, Some(ANSWER_BROKEN)),
        Idle => (Failed(Failure::Idle), Never, Some(IDLE_TIMEOUT)),
        StreamIdle => (Nothing, Never, Some(IDLE_TIMEOUT)),
        Departed => (Nothing, Never, Some(INSTANCE_DEPARTED)),
    };
    Row { verdict, again, told }
}

const fn told(status: StatusCode, reason: &'static str, blame: Blame, detail: &'static str) -> Told {
    Told { status, reason, blame, detail }
}

const CONNECT_REFUSED: Told =
    told(StatusCode::BAD_GATEWAY, "connect_refused", Blame::Upstream, "The instance does not accept connections");
const CONNECT_TIMEOUT: Told = told(
    StatusCode::BAD_GATEWAY,
    "connect_timeout",
    Blame::Upstream,
    "The instance did not accept the connection in time",
);
const OVERLOADED: Told = told(
    StatusCode::SERVICE_UNAVAILABLE,
    "overloaded",
    Blame::Gateway,
    "The gateway lacks descriptors, ports or memory for another connection",
);
const RESET: Told =
    told(StatusCode::BAD_GATEWAY, "reset", Blame::Upstream, "The instance closed the connection before it answered");
const UPLOAD_STALLED: Told = told(
    StatusCode::BAD_GATEWAY,
    "upload_stalled",
    Blame::Client,
    "The instance closed the connection while the rest of the request's body was awaited",
);
const NOT_HTTP: Told =
    told(StatusCode::BAD_GATEWAY, "not_http", Blame::Upstream, "What the instance answers is not HTTP/1");
const BAD_ANSWER: Told = told(
    StatusCode::BAD_GATEWAY,
    "bad_answer",
    Blame::Upstream,
    "The instance's answer has a form that the gateway does not pass on",
);
const FIRST_BYTE_TIMEOUT: Told = told(
    StatusCode::GATEWAY_TIMEOUT,
    "first_byte_timeout",
    Blame::Upstream,
    "The instance did not begin its answer in time",
);
const TOTAL_TIMEOUT: Told = told(
    StatusCode::GATEWAY_TIMEOUT,
    "total_timeout",
    Blame::Upstream,
    "The request took longer than [timeouts] total allows",
);
const CLIENT_GONE: Told = told(StatusCode::BAD_REQUEST, "client_gone", Blame::Client, "The request's body broke off");
const BODY_TIMEOUT: Told =
    told(StatusCode::REQUEST_TIMEOUT, "body_timeout", Blame::Client, "The request's body stopped coming");
const BODY_TOO_LARGE: Told = told(
    StatusCode::PAYLOAD_TOO_LARGE,
    "body_too_large",
    Blame::Client,
    "The request's body is larger than [request] body allows",
);
const ANSWER_BROKEN: Told =
    told(StatusCode::BAD_GATEWAY, "answer_broken", Blame::Upstream, "The instance broke its answer off");
const ANSWER_UNREAD: Told = told(
    StatusCode::BAD_GATEWAY,
    "answer_unread",
    Blame::Client,
    "The instance broke its answer off, which nobody read",
);
const IDLE_TIMEOUT: Told = told(
    StatusCode::GATEWAY_TIMEOUT,
    "idle_timeout",
    Blame::Upstream,
    "The instance stopped in the middle of its answer",
);
const INSTANCE_DEPARTED: Told = told(
    StatusCode::BAD_GATEWAY,
    "instance_departed",
    Blame::Gateway,
    "The instance was taken out of its service while it streamed",
);

#[cfg(test)]
mod tests;
