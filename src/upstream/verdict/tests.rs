//! The table row by row, and its print in the README.

use super::*;
use crate::upstream::breaker::Weight;

/// What happened, in the words of the README, and what the table must say of it.
type Expected = (&'static str, Outcome, Verdict, Again, Option<(u16, &'static str)>);

fn status(status: u16, after: Option<u64>) -> Outcome {
    Outcome::Answered(StatusCode::from_u16(status).expect("a status"), after.map(Duration::from_secs))
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Expected> {
    use Again::{Always, Here, HereIfRepeatable, IfRepeatable, Never};
    use Outcome::*;
    use Verdict::{Failed, FailedLater, Nothing, Open, Succeeded};
    let reset = Failed(Failure::Reset);
    vec![
        (
            "nobody listens at its address, or it cannot be reached",
            ConnectRefused,
            Failed(Failure::ConnectRefused),
            Always,
            Some((502, "connect_refused")),
        ),
        (
            "no connection within `connect`",
            ConnectTimeout,
            Failed(Failure::ConnectTimeout),
            Always,
            Some((502, "connect_timeout")),
        ),
        ("the gateway has no descriptor, port or memory left", Shortage, Nothing, Never, Some((503, "overloaded"))),
        (
            "a kept connection was closed, nothing of the request was written",
            KeptUnwritten,
            Nothing,
            Here,
            Some((502, "reset")),
        ),
        (
            "a kept connection broke, not a byte of an answer came",
            KeptSilent,
            Nothing,
            HereIfRepeatable,
            Some((502, "reset")),
        ),
        ("a new connection broke, nothing of the request was written", Unwritten, reset, Always, Some((502, "reset"))),
        (
            "a new connection broke before an answer, or any in the middle of its head",
            Reset,
            reset,
            IfRepeatable,
            Some((502, "reset")),
        ),
        (
            "the connection broke while the client owed its body",
            ResetOwed,
            Nothing,
            Never,
            Some((502, "upload_stalled")),
        ),
        ("what came is not HTTP/1", NotHttp, Failed(Failure::NotHttp), IfRepeatable, Some((502, "not_http"))),
        (
            "a form that we refuse (framing, fields, size, characters); a 101 that nobody asked for",
            BadAnswer,
            Failed(Failure::BadAnswer),
            Never,
            Some((502, "bad_answer")),
        ),
        (
            "no answer within `first_byte`, after all was sent or because it takes no more",
            FirstByteTimeout,
            Failed(Failure::FirstByteTimeout),
            IfRepeatable,
            Some((504, "first_byte_timeout")),
        ),
        ("the request took longer than `total`", TotalTimeout, Nothing, Never, Some((504, "total_timeout"))),
        ("the client left", ClientGone, Nothing, Never, Some((400, "client_gone"))),
        ("the client's body stopped for `idle`", ClientStalled, Nothing, Never, Some((408, "body_timeout"))),
        ("the client's body is over `[request] body`", TooLarge, Nothing, Never, Some((413, "body_too_large"))),
        ("502", status(502, None), Failed(Failure::Status(502)), IfRepeatable, None),
        ("504", status(504, Some(1)), Failed(Failure::Status(504)), IfRepeatable, None),
        ("503 without `Retry-After`", status(503, None), Failed(Failure::Status(503)), IfRepeatable, None),
        ("503 with `Retry-After`", status(503, Some(60)), Verdict::Pause(PAUSE), IfRepeatable, None),
        ("429", status(429, Some(1)), Nothing, Never, None),
        ("any other status, 500 among them", status(500, None), Open, Never, None),
        (
            "an early answer, and then the client's body broke off",
            UploadBroken,
            Succeeded,
            Never,
            Some((400, "client_gone")),
        ),
        ("its answer broke off while it was read", Cut, reset, Never, Some((502, "answer_broken"))),
        (
            "its answer broke off, and the client had not read it",
            CutUnread,
            Nothing,
            Never,
            Some((502, "answer_unread")),
        ),
        ("its answer broke off while the client owed its body", CutOwed, Nothing, Never, Some((502, "upload_stalled"))),
        (
            "its answer broke off after it had counted as a success",
            CutLater,
            FailedLater(Failure::Reset),
            Never,
            Some((502, "answer_broken")),
        ),
        (
            "its answer stood still for `idle` while it was read",
            Idle,
            Failed(Failure::Idle),
            Never,
            Some((504, "idle_timeout")),
        ),
        ("its stream was quiet for `stream_idle`", StreamIdle, Nothing, Never, Some((504, "idle_timeout"))),
        ("its stream went on for 5 min after it departed", Departed, Nothing, Never, Some((502, "instance_departed"))),
    ]
}

/// Its row, in words. A row that is missing does not compile.
fn number(outcome: Outcome) -> usize {
    match outcome {
        Outcome::ConnectRefused => 0,
        Outcome::ConnectTimeout => 1,
        Outcome::Shortage => 2,
        Outcome::KeptUnwritten => 3,
        Outcome::KeptSilent => 4,
        Outcome::Unwritten => 5,
        Outcome::Reset => 6,
        Outcome::ResetOwed => 7,
        Outcome::NotHttp => 8,
        Outcome::BadAnswer => 9,
        Outcome::FirstByteTimeout => 10,
        Outcome::TotalTimeout => 11,
        Outcome::ClientGone => 12,
        Outcome::ClientStalled => 13,
        Outcome::TooLarge => 14,
        Outcome::Answered(..) => 15,
        Outcome::UploadBroken => 16,
        Outcome::Cut => 17,
        Outcome::CutUnread => 18,
        Outcome::CutOwed => 19,
        Outcome::CutLater => 20,
        Outcome::Idle => 21,
        Outcome::StreamIdle => 22,
        Outcome::Departed => 23,
    }
}

#[test]
fn every_outcome_has_the_verdict_the_further_attempt_and_the_words_of_its_row() {
    for (what, outcome, verdict, again, told) in rows() {
        let row = of(outcome);
        assert_eq!((row.verdict, row.again), (verdict, again), "{what}");
        assert_eq!(row.told.map(|told| (told.status.as_u16(), told.reason)), told, "{what}");
    }
    let mut numbers: Vec<_> = rows().iter().map(|(_, outcome, ..)| number(*outcome)).collect();
    numbers.dedup();
    assert_eq!(numbers, (0..24).collect::<Vec<_>>(), "each outcome has a row");
    assert_eq!(of(status(503, Some(3))).verdict, Verdict::Pause(Duration::from_secs(3)));
    assert_eq!(of(status(200, None)).verdict, Verdict::Open);
}

/// A row as the README has it.
fn in_readme((what, _, verdict, again, told): Expected) -> String {
    let says = match verdict {
        Verdict::Nothing => "nothing",
        Verdict::Open => "what its body's end says",
        Verdict::Succeeded => "success",
        Verdict::Pause(_) => "a pause of up to 10 s",
        Verdict::FailedLater(_) => "failure, besides its success",
        Verdict::Failed(failure) => match failure.weight() {
            Weight::Failure => "failure",
            Weight::Status => "failure, never of the last one",
            Weight::Rate => "failure, in the rate only, never of the last one",
        },
    };
    let again = match again {
        Again::Never => "no",
        Again::IfRepeatable => "elsewhere, for methods that may be sent twice",
        Again::Always => "elsewhere, for any method",
        Again::Here => "on a new connection, for any method; not counted",
        Again::HereIfRepeatable => "on a new connection, for methods that may be sent twice; not counted",
    };
    let told = told.map_or("the answer goes on".to_owned(), |(status, reason)| format!("{status} `{reason}`"));
    format!("| {what} | {says} | {again} | {told} |")
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../../README.md");
    let table: Vec<_> = rows().into_iter().map(in_readme).collect();
    assert!(readme.contains(&table.join("\n")), "README.md must say:\n{}", table.join("\n"));
}
