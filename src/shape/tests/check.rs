//! A text that nobody looks into is held to the rules of one that is read.

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
