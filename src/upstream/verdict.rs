//! Whose doing it was: what the end of an attempt says of its instance, and whether another attempt may follow. One table for all that
//! can happen, but for what goes well.

use std::time::Duration;

use http::StatusCode;

use super::breaker::Failure;

/// The longest that a 503 with `Retry-After` keeps an instance out of the rotation.
const PAUSE: Duration = Duration::from_secs(10);

/// How an attempt ended otherwise than well, or what it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody listens at the instance's address, or it cannot be reached.
    ConnectRefused,
    /// No connection in time.
    ConnectTimeout,
    /// A new connection broke before a byte of the request was written.
    Unwritten,
    /// The connection broke after the request was written, at least in part, and before the head of an answer.
    Reset,
    /// What came is not HTTP, or of a form that we refuse; a 101 that nobody asked for.
    BadAnswer,
    /// No answer in time.
    FirstByteTimeout,
    /// The request's own deadline passed.
    TotalTimeout,
    /// The client went away, stopped sending, or sent too much.
    Client,
    /// An answer with this status; `Retry-After` as it says it.
    Answered(StatusCode, Option<Duration>),
    /// The instance broke the answer's body off.
    Broken,
    /// The answer's body stood still for the idle deadline.
    Idle,
}

/// What an outcome says of the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    None,
    /// Nothing yet: the end of the answer's body will tell.
    Open,
    /// It failed.
    Failed(Failure),
    /// It asked to be left alone for so long.
    Pause(Duration),
}

/// Whether another attempt may follow, as far as the outcome goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No.
    Never,
    /// Only for a request that may be sent twice: the instance may have acted on it.
    IfRepeatable,
    /// For any request: no instance has seen it.
    Always,
}

/// The table.
pub fn of(outcome: Outcome) -> (Verdict, Again) {
    use Again::{Always, IfRepeatable, Never};
    use Verdict::{Failed, None, Open, Pause};
    match outcome {
        Outcome::ConnectRefused => (Failed(Failure::ConnectRefused), Always),
        Outcome::ConnectTimeout => (Failed(Failure::ConnectTimeout), Always),
        Outcome::Unwritten => (Failed(Failure::Reset), Always),
        Outcome::Reset => (Failed(Failure::Reset), IfRepeatable),
        // It would be the same elsewhere, unless by chance.
        Outcome::BadAnswer => (Failed(Failure::BadAnswer), Never),
        Outcome::FirstByteTimeout => (Failed(Failure::FirstByteTimeout), IfRepeatable),
        Outcome::TotalTimeout | Outcome::Client => (None, Never),
        Outcome::Answered(status, retry_after) => match (status.as_u16(), retry_after) {
            (503, Some(wait)) => (Pause(wait.min(PAUSE)), IfRepeatable),
            (status @ (502..=504), _) => (Failed(Failure::Status(status)), IfRepeatable),
            // Usually the quota of one caller.
            (429, _) => (None, Never),
            _ => (Open, Never),
        },
        Outcome::Broken => (Failed(Failure::Reset), Never),
        Outcome::Idle => (Failed(Failure::Idle), Never),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_the_verdict_and_the_further_attempt_of_the_table() {
        use Again::{Always, IfRepeatable, Never};
        let status = |status: u16, after: Option<u64>| {
            Outcome::Answered(StatusCode::from_u16(status).expect("a status"), after.map(Duration::from_secs))
        };
        let failed = Verdict::Failed;
        for (outcome, verdict, again) in [
            (Outcome::ConnectRefused, failed(Failure::ConnectRefused), Always),
            (Outcome::ConnectTimeout, failed(Failure::ConnectTimeout), Always),
            (Outcome::Unwritten, failed(Failure::Reset), Always),
            (Outcome::Reset, failed(Failure::Reset), IfRepeatable),
            (Outcome::BadAnswer, failed(Failure::BadAnswer), Never),
            (Outcome::FirstByteTimeout, failed(Failure::FirstByteTimeout), IfRepeatable),
            (Outcome::TotalTimeout, Verdict::None, Never),
            (Outcome::Client, Verdict::None, Never),
            (status(200, None), Verdict::Open, Never),
            (status(500, None), Verdict::Open, Never),
            (status(429, Some(1)), Verdict::None, Never),
            (status(502, None), failed(Failure::Status(502)), IfRepeatable),
            (status(504, Some(1)), failed(Failure::Status(504)), IfRepeatable),
            (status(503, None), failed(Failure::Status(503)), IfRepeatable),
            (status(503, Some(3)), Verdict::Pause(Duration::from_secs(3)), IfRepeatable),
            (status(503, Some(60)), Verdict::Pause(PAUSE), IfRepeatable),
            (Outcome::Broken, failed(Failure::Reset), Never),
            (Outcome::Idle, failed(Failure::Idle), Never),
        ] {
            assert_eq!(of(outcome), (verdict, again), "{outcome:?}");
        }
    }
}
