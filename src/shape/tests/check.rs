//! A text that nobody looks into is held to the rules of one that is read.

use proptest::prelude::*;

use crate::shape::{is_value, read};

/// Texts of values, and others.
const TEXTS: [&str; 52] = [
    "1",
    " [1, 2.50, -0, 1e5, 1E-400] ",
    r#"{"a":{"a":[{"a":1},{"a":2}]},"b":1}"#,
    r#""\u00e9\ud83d\ude00\n""#,
    "true",
    "null",
    "",
    " ",
    "tru",
    "nul",
    "truer",
    "01",
    "1.",
    "-",
    "+1",
    ".5",
    "1e",
    "1e9999999999",
    "NaN",
    "Infinity",
    "[",
    "]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{",
    "{}",
    "[]",
    "{,}",
    r#"{"a"}"#,
    r#"{"a":}"#,
    r#"{"a":1,}"#,
    "{a:1}",
    "{1:2}",
    r#"{"a":1 "b":2}"#,
    r#""a"#,
    "\"\n\"",
    "\"\t\"",
    r#""\x""#,
    r#""\ud800""#,
    r#""\udc00x""#,
    "1 1",
    "[1]]",
    "// x",
    "'a'",
    r#"{"a":1,"a":2}"#,
    r#"{"a":1,"\u0061":2}"#,
    r#"[{"b":1,"a":{"b":1,"c":1,"b":2}}]"#,
    "\u{feff}1",
    "{\"\":1,\"\":2}",
    "\"\\u0000\"",
    "\"\u{7f}\"",
];

#[test]
fn what_is_passed_on_is_checked_as_what_is_read_is() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let members = |count: usize, last: &str| {
        let names: Vec<_> = (0..count).map(|n| format!("\"n{n}\":{{\"n0\":{n}}}")).collect();
        format!("{{{},{last}}}", names.join(","))
    };
    let long = [
        deep(128),
        deep(129),
        deep(100_000),
        members(15, "\"x\":1"),
        members(40, "\"x\":1"),
        members(15, "\"n3\":1"),
        members(40, "\"n3\":1"),
        members(40, "\"n39\":1"),
        members(40, "\"n\\u0033\":1"),
    ];
    let bytes: [&[u8]; 6] = [b"\"\xff\"", b"\xff", b"[\"\xc3\"]", b"\"\xc3\xa9\"", b"\"\xed\xa0\x80\"", b"1\0"];
    let texts = TEXTS.iter().map(|text| text.as_bytes()).chain(long.iter().map(|text| text.as_bytes())).chain(bytes);
    for text in texts {
        let shown = String::from_utf8_lossy(&text[..text.len().min(60)]);
        assert_eq!(is_value(text), read(text).is_ok(), "{shown}");
    }
}

/// Texts of values and of what looks like one: names come again, in lists and beside each other, in one form or another.
fn texts() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => Just("a"),
        4 => Just("b"),
        2 => Just("a name with more than sixteen"),
        1 => Just("\\u0061"),
        1 => Just("sixteen bytes"),
        1 => Just("")
    ];
    let leaf = prop_oneof![Just("1".to_owned()), Just("\"a\"".to_owned()), Just("null".to_owned())];
    leaf.prop_recursive(4, 64, 4, move |inner| {
        let colon = prop_oneof![6 => Just(":"), 1 => Just(" : "), 1 => Just("")];
        let member = (name.clone(), colon, inner.clone()).prop_map(|(name, colon, value)| format!("\"{name}\"{colon}{value}"));
        let object = prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")));
        let again = (object.clone(), 1..4usize, object.clone())
            .prop_map(|(one, times, other)| format!("[{}{other},{one}]", format!("{one},").repeat(times)));
        prop_oneof![2 => object, 2 => again, 1 => prop::collection::vec(inner, 0..3).prop_map(|all| format!("[{}]", all.join(",")))]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn objects_that_follow_each_other_are_checked_as_if_each_stood_alone(text in texts()) {
        prop_assert_eq!(is_value(text.as_bytes()), read(text.as_bytes()).is_ok(), "{}", text);
    }
}
