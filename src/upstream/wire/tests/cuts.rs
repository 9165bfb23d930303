//! Answers that come in pieces.

use super::corpus;
use super::*;

/// Longer answers are cut where something may depend on it, and not at every byte.
const LONG: usize = 4 * 1024;

/// Whether an answer in pieces came to the same as when it came whole.
fn same(whole: &Outcome, cut: &Outcome) -> bool {
    // A head that comes in pieces is parsed at its first and at its last: what is no head is seen when it ends, and not before.
    let late = whole.head == Told::Failed && cut.head == Told::Waits;
    late || whole == cut
}

/// Where an answer of this length is cut.
fn places(length: usize) -> Vec<usize> {
    if length <= LONG {
        return (1..length).collect();
    }
    // At its ends, around what is read at once, around the largest head, and some odd places between.
    let around = [READ.0, 16 * 1024, LARGEST, READ.1].into_iter().flat_map(|at| at - 2..=at + 2);
    let ends = (1..length).step_by(7).take(10).chain(length - 10..length);
    let mut places: Vec<_> = ends.chain(around).chain((1..length).step_by(9973)).filter(|&at| at < length).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn an_answer_cut_at_any_byte_is_the_same_answer() {
    let mut wrong = Vec::new();
    for case in corpus::all() {
        for closes in [false, true] {
            let whole = ours(&case.method, &[&case.bytes], closes);
            for at in places(case.bytes.len()) {
                let (first, second) = case.bytes.split_at(at);
                let cut = ours(&case.method, &[first, second], closes);
                if !same(&whole, &cut) {
                    let (whole, cut) = (whole.tell(), cut.tell());
                    wrong.push(format!("{} cut at {at} ({closes})\n  whole: {whole}\n  cut:   {cut}", case.name));
                }
            }
        }
    }
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_the_same_answer() {
    let mut wrong = Vec::new();
    for case in corpus::all() {
        // A long one comes in pieces that do not fit anything.
        let size = if case.bytes.len() <= LONG { 1 } else { 1009 };
        let pieces: Vec<_> = case.bytes.chunks(size).collect();
        for closes in [false, true] {
            let whole = ours(&case.method, &[&case.bytes], closes);
            let cut = ours(&case.method, &pieces, closes);
            if !same(&whole, &cut) {
                wrong.push(format!("{} ({closes})\n  whole: {}\n  cut:   {}", case.name, whole.tell(), cut.tell()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lines that end nowhere are looked at once for each byte that comes, and not from their beginning: a test that takes forever
/// otherwise.
#[test]
fn a_line_that_comes_byte_by_byte_and_never_ends_is_given_up() {
    let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    for (line, head) in
        [(format!("{begin}x: "), true), (format!("{begin}\r\n1;"), false), (format!("{begin}\r\n0\r\nx: "), false)]
    {
        let bytes = format!("{line}{}", "y".repeat(LARGEST + 1));
        let outcome = ours(&http::Method::GET, &bytes.as_bytes().chunks(1).collect::<Vec<_>>(), false);
        assert_eq!((outcome.head == Told::Failed, outcome.end), (head, End::Broken), "{line}");
    }
}
