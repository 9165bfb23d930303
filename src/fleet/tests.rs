//! Who is believed, and who is not.

use std::time::SystemTime;

use super::desk::Desk;
use super::seal::{Call, Key, seconds};
use crate::config::Secret;
use crate::config::fleet::Field;

const PATH: &str = "/_lictor/fleet/v1/state";
const NONCE: &str = "00112233445566778899aabbccddeeff";

fn secret() -> Secret {
    Secret::Text("a secret of the whole fleet".into())
}

fn key() -> Key {
    Key::read(&secret()).expect("it is long enough")
}

fn call(to: &str, time: u64) -> Call<'_> {
    Call { method: "GET", target: PATH, body: b"", to, time, nonce: NONCE }
}

#[test]
fn a_call_counts_once_for_whom_it_is_meant_within_half_a_minute_and_as_it_was_made() {
    let now = SystemTime::now();
    let judge = |field: &str, method: &str, target: &str| {
        Desk::new("lictor-a".into()).judge_at(now, &secret(), (method, target), Some(field)).map(drop)
    };
    let why = |field: &str| judge(field, "GET", PATH).expect_err("it is refused").0;
    let good = key().field(&call("lictor-a", seconds(now)));
    assert!(judge(&good, "GET", PATH).is_ok());
    for offset in [-30, 30] {
        let time = seconds(now).saturating_add_signed(offset);
        assert!(judge(&key().field(&call("lictor-a", time)), "GET", PATH).is_ok(), "{offset}");
        let beyond = seconds(now).saturating_add_signed(offset + offset.signum());
        assert!(why(&key().field(&call("lictor-a", beyond))).contains("31 s apart"));
    }
    assert!(why(&key().field(&call("lictor-b", seconds(now)))).contains("it is for lictor-b"));
    // Each part of what was proven.
    assert!(judge(&good, "POST", PATH).is_err() && judge(&good, "GET", "/_lictor/fleet/v1/other").is_err());
    assert!(why(&good.replace(NONCE, "ff112233445566778899aabbccddeeff")).contains("another secret"));
    assert!(why(&good.replace("lictor-a", "lictor-c")).contains("another secret"));
    assert!(why(&good.replace(&seconds(now).to_string(), &(seconds(now) + 1).to_string())).contains("another secret"));
    let body = Call { body: b"more", ..call("lictor-a", seconds(now)) };
    assert!(why(&key().field(&body)).contains("another secret"));
    let stranger = Key::read(&Secret::Text("a secret of somebody else".into())).expect("a key");
    assert!(why(&stranger.field(&call("lictor-a", seconds(now)))).contains("another secret"));
    for field in ["", "hmac-sha256", "hmac-sha256 1 2 3 4", &good.replace("sha256", "md5"), "Bearer x"] {
        assert!(why(field).contains("cannot be read"), "{field}");
    }
    // The second time, to the same gateway.
    let desk = Desk::new("lictor-a".into());
    assert!(desk.judge_at(now, &secret(), ("GET", PATH), Some(&good)).is_ok());
    let again = desk.judge_at(now, &secret(), ("GET", PATH), Some(&good)).expect_err("it was made before");
    assert!(again.0.contains("made before"));
    assert!(desk.judge_at(now, &secret(), ("GET", PATH), None).is_err());
}

#[test]
fn an_answer_counts_for_its_own_call_from_whom_it_was_asked_and_as_it_was_given() {
    let now = SystemTime::now();
    let field = key().field(&call("lictor-a", seconds(now)));
    let desk = Desk::new("lictor-a".into());
    let seal = desk.judge_at(now, &secret(), ("GET", PATH), Some(&field)).expect("it is right");
    let sealed = seal.close(b"{\"version\": 1}");
    let open = |id: &str, nonce: &str, sealed: &[u8]| key().open((id, nonce), sealed.to_vec());
    assert_eq!(open("lictor-a", NONCE, &sealed).as_deref(), Some(&b"{\"version\": 1}"[..]));
    assert_eq!(open("lictor-b", NONCE, &sealed), None);
    assert_eq!(open("lictor-a", "ff112233445566778899aabbccddeeff", &sealed), None);
    for place in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[place] ^= 1;
        assert_eq!(open("lictor-a", NONCE, &changed), None, "byte {place}");
        assert_eq!(open("lictor-a", NONCE, &sealed[..place]), None, "{place} bytes");
    }
}

#[test]
fn an_answer_is_read_by_nobody_without_the_secret_and_never_looks_the_same() {
    let now = SystemTime::now();
    let seal = || {
        let field = key().field(&call("lictor-a", seconds(now)));
        Desk::new("lictor-a".into()).judge_at(now, &secret(), ("GET", PATH), Some(&field)).expect("it is right")
    };
    let sealed = seal().close(b"orders 10.0.0.1:80");
    assert!(!sealed.windows(6).any(|part| part == b"orders"));
    assert_ne!(sealed, seal().close(b"orders 10.0.0.1:80"));
    let stranger = Key::read(&Secret::Text("a secret of somebody else".into())).expect("a key");
    assert_eq!(stranger.open(("lictor-a", NONCE), sealed), None);
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_and_a_digest_has_another_name_under_another_secret() {
    assert!(Key::read(&Secret::Text("fifteen bytes..".into())).is_err());
    let other = Key::read(&Secret::Text("another secret of a fleet".into())).expect("a key");
    assert_eq!(key().name("configuration", b"x"), key().name("configuration", b"x"));
    assert_ne!(key().name("configuration", b"x"), key().name("snapshot", b"x"));
    assert_ne!(key().name("configuration", b"x"), other.name("configuration", b"x"));
    assert_eq!(Field::read("hmac-sha256 1 short 00 id"), None);
}
