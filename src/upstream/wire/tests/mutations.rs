//! Answers that nobody would think of: those of the corpus, changed at random and cut at random.
//!
//! This is the fuzz target that a stable compiler has. It runs longer when it is told to:
//! `PROPTEST_CASES=1000000 cargo test --release -p lictor --lib upstream::wire::tests::mutations`.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::corpus::{self, Case};
use super::differential::theirs;
use super::*;

/// What all days' tests run.
const CASES: u32 = 10_000;

/// The short ones: a change in a long one would hit its filling.
static CORPUS: LazyLock<Vec<Case>> =
    LazyLock::new(|| corpus::all().into_iter().filter(|case| (1..1024).contains(&case.bytes.len())).collect());

/// A change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Put(Index, u8),
    Insert(Index, u8),
    Delete(Index, usize),
    Repeat(Index, usize),
}

impl Change {
    fn to(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Change::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << (bit % 8);
            }
            Change::Put(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Change::Delete(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Change::Repeat(at, count) => {
                let at = at.index(bytes.len());
                let piece = bytes[at..(at + count).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Bytes that mean something in a message come more often than others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![proptest::sample::select(&b"\r\n \t:;,=-+0159afAFx\0\x7f\xff"[..]), any::<u8>()]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<Index>(), 1usize..12).prop_map(|(at, count)| Change::Delete(at, count)),
        (any::<Index>(), 1usize..40).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

/// All but what ours normalizes: how the length was said.
fn passed_on(told: &Told) -> Option<(http::StatusCode, http::Version, Option<Vec<u8>>, HeaderMap)> {
    let Told::Head(head) = told else { return None };
    let mut head = (**head).clone();
    head.3.remove(http::header::CONTENT_LENGTH);
    Some(head)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(CASES), failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_ours_accepts_of_a_changed_answer_hyper_reads_the_same(
        which in any::<Index>(),
        changes in proptest::collection::vec(change(), 1..5),
        cuts in proptest::collection::vec(any::<Index>(), 0..4),
        closes in any::<bool>(),
    ) {
        let case = &CORPUS[which.index(CORPUS.len())];
        let mut bytes = case.bytes.clone();
        changes.iter().for_each(|change| change.to(&mut bytes));
        let whole = ours(&case.method, &[&bytes], closes);
        prop_assert!(whole.body.len() <= bytes.len());

        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let cut = ours(&case.method, &pieces, closes);
        let late = whole.head == Told::Failed && cut.head == Told::Waits;
        prop_assert!(late || whole == cut, "whole: {}\ncut:   {}\n{}", whole.tell(), cut.tell(), bytes.escape_ascii());

        let theirs = theirs(&case.method, &[&bytes], closes);
        let told = format!("ours:    {}\nhyper's: {}\n{}", whole.tell(), theirs.tell(), bytes.escape_ascii());
        if let Told::Head(_) = whole.head {
            prop_assert_eq!(passed_on(&whole.head), passed_on(&theirs.head), "{}", told);
            prop_assert!(theirs.body.starts_with(&whole.body), "{}", told);
            // What hyper refuses is refused, and a connection that hyper gives up is given up.
            prop_assert!(whole.end != End::Complete || (theirs.end, &theirs.body) == (End::Complete, &whole.body), "{}", told);
            prop_assert!(whole.end != End::Complete || theirs.trailers == whole.trailers, "{}", told);
            prop_assert!(!whole.reusable || theirs.reusable, "{}", told);
        }
    }
}
