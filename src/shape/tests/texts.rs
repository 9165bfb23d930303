//! Texts become values and texts again: nothing is lost, and what is no JSON is refused.

use proptest::prelude::*;

use super::{Budget, NotJson, Number, Object, Shape, read, text, value, write};

/// What the shape `@` makes of a text, as a text.
fn identity(given: &str) -> String {
    let shape = Shape::parse("@").expect("an expression");
    text(&shape.apply(&value(given), Budget::default()).expect("it takes everything"))
}

#[test]
fn numbers_and_order_come_through_unchanged() {
    for given in [
        "null",
        "true",
        "0",
        "-0",
        "-0.0",
        "1.10",
        "1E5",
        "1e+05",
        "9007199254740993",
        "18446744073709551616",
        "-9223372036854775809",
        "3.14159265358979323846264338327950288419716939937510",
        "0.000000000000000000000000000000000000000000000000001",
        "1e400",
        "[]",
        "{}",
        "[[],{},[[]],[{}]]",
        r#"{"z":1,"a":{"y":[],"b":null},"":""}"#,
        r#""é😀\u0000\u0014\u001f\n\"\\/""#,
    ] {
        assert_eq!(identity(given), given);
    }
}

#[test]
fn escapes_become_their_characters_and_white_space_goes() {
    for (given, expected) in [
        (r#" [ 1 , "\u00e9\ud83d\ude00\u002f\/" ] "#, "[1,\"é😀//\"]"),
        ("\t{\r\n\"a\" : {} }\n", "{\"a\":{}}"),
        (r#""\u2028\b\f""#, "\"\u{2028}\\b\\f\""),
        (r#"{"\u0061":1}"#, r#"{"a":1}"#),
    ] {
        assert_eq!(identity(given), expected);
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (given, at) in [
        ("", 0),
        (" ", 1),
        ("nul", 1),
        ("[1,]", 3),
        ("{\"a\":1,}", 7),
        ("{\"a\" 1}", 5),
        ("{a:1}", 1),
        ("{1:1}", 1),
        ("[1 2]", 3),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        ("1e", 2),
        ("+1", 0),
        (".5", 0),
        ("NaN", 0),
        ("-Infinity", 1),
        ("'a'", 0),
        ("[1]]", 3),
        ("{} x", 3),
        ("// a\n1", 0),
        ("\u{feff}1", 0),
    ] {
        assert_eq!(read(given.as_bytes()), Err(NotJson::Syntax { at }), "{given}");
    }
    for given in ["\"a", "\"\n\"", r#""\x""#, r#""\u00g0""#, "[", "{", "[1", "{\"a\"", "tru", "True"] {
        assert!(matches!(read(given.as_bytes()), Err(NotJson::Syntax { .. })), "{given}");
    }
}

#[test]
fn text_that_is_not_unicode_is_refused() {
    for given in [
        &b"\"\xff\""[..],
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        br#""\ud800""#,
        br#""\udc00""#,
        br#""\ud800\ud800""#,
        br#""\ud800x""#,
        br#"{"\ud83d":1}"#,
    ] {
        assert!(matches!(read(given), Err(NotJson::Unicode { .. })), "{}", String::from_utf8_lossy(given));
    }
}

#[test]
fn a_member_that_stands_twice_is_refused_wherever_it_is_and_however_it_is_written() {
    for given in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"a":1,"b":2,"a":3}}]"#] {
        assert_eq!(read(given.as_bytes()), Err(NotJson::Duplicate { name: "a".to_owned() }), "{given}");
    }
}

#[test]
fn values_may_lie_128_deep_and_no_deeper() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(identity(&nested(128)), nested(128));
        assert_eq!(read(nested(129).as_bytes()), Err(NotJson::Depth { most: 128 }));
        assert_eq!(read(nested(100_000).as_bytes()), Err(NotJson::Depth { most: 128 }));
    }
}

#[test]
fn an_exponent_beyond_nine_digits_is_refused() {
    for given in ["1e1000000000", "[-1E-1000000000]", "0e99999999999999999999"] {
        assert!(matches!(read(given.as_bytes()), Err(NotJson::Exponent { .. })), "{given}");
    }
    assert_eq!(identity("1e999999999"), "1e999999999");
}

#[test]
fn a_text_is_written_up_to_its_longest_length() {
    for given in ["[1,2]", r#"{"a":"b"}"#, "\"a\"", "[[[]]]"] {
        assert_eq!(write(&value(given), given.len()).as_deref(), Some(given.as_bytes()));
        assert_eq!(write(&value(given), given.len() - 1), None, "{given}");
    }
}

/// Any JSON as this gateway writes it.
fn json() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?";
    let string = any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string"));
    let leaf = prop_oneof![Just("null".to_owned()), Just("false".to_owned()), number, string];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let members = proptest::collection::btree_map("[a-zé]{0,6}", inner.clone(), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|elements| format!("[{}]", elements.join(","))),
            members.prop_map(|members| {
                let members: Vec<_> = members.iter().rev().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_shape_of_the_whole_is_the_identity(given in json()) {
        prop_assert_eq!(identity(&given), given);
    }

    #[test]
    fn a_string_is_the_same_however_it_is_escaped(given in any::<String>()) {
        let escaped: String = given.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        prop_assert_eq!(value(&format!("\"{escaped}\"")), given.as_str().into());
    }
}

#[test]
fn objects_with_few_members_and_with_many_are_the_same() {
    for count in [15, 16, 17, 18, 1_000] {
        let names: Vec<_> = (0..count).map(|at| format!("{}", (at * 7_919) % 1_009)).collect();
        let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":{name}")).collect();
        let object = format!("{{{}}}", members.join(","));
        assert_eq!(identity(&object), object);
        let read_once = value(&object);
        for name in &names {
            assert_eq!(read_once.member(name).map(text).as_ref(), Some(name));
        }
        assert_eq!(read_once.member("x"), None);
        let turned = format!("{{{}}}", members.iter().rev().map(String::as_str).collect::<Vec<_>>().join(","));
        assert_eq!(value(&object), value(&turned));
        let twice = format!("{{{},\"{}\":1}}", members.join(","), names[count / 2]);
        assert_eq!(read(twice.as_bytes()), Err(NotJson::Duplicate { name: names[count / 2].clone() }));
        let members =
            names.iter().chain(&names).zip(0_u64..).map(|(name, at)| (name.as_str(), Number::from(at).into()));
        let merged: Object = members.collect();
        assert_eq!(merged.keys().map(|name| name.to_string()).collect::<Vec<_>>(), names);
        assert_eq!(merged.get(&names[1]).map(text), Some((count + 1).to_string()));
    }
}
