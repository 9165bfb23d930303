//! The cases of W3C's own test suite for trace context (<https://github.com/w3c/trace-context>, `test/test.py`), each by its name there,
//! and more of their kinds.

use super::*;

const TRACE: &str = "12345678901234567890123456789012";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        )
    };
    // Not collected from an iterator: that would keep one line of each name.
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

/// The id of the trace that goes on, if one does.
fn continued(lines: &[&str]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| ("traceparent", *line)).collect();
    Parent::of(&headers(&lines)).map(|parent| String::from_utf8(parent.trace.to_vec()).expect("ASCII"))
}

fn state_of(lines: &[&str]) -> Option<String> {
    let lines: Vec<_> = lines.iter().map(|line| ("tracestate", *line)).collect();
    state(&headers(&lines)).map(|state| String::from_utf8(state).expect("ASCII"))
}

#[test]
fn a_valid_traceparent_goes_on_also_one_of_a_later_version_and_with_space_around_it() {
    for line in [
        "00-12345678901234567890123456789012-1234567890123456-01",
        // test_traceparent_version_0xcc
        "cc-12345678901234567890123456789012-1234567890123456-01",
        "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
        "01-12345678901234567890123456789012-1234567890123456-01-",
        // test_traceparent_ows_handling
        " 00-12345678901234567890123456789012-1234567890123456-01",
        "\t00-12345678901234567890123456789012-1234567890123456-01",
        "00-12345678901234567890123456789012-1234567890123456-01 ",
        "00-12345678901234567890123456789012-1234567890123456-01\t",
        "\t 00-12345678901234567890123456789012-1234567890123456-01 \t",
    ] {
        assert_eq!(continued(&[line]).as_deref(), Some(TRACE), "{line:?}");
    }
}

#[test]
fn a_traceparent_that_breaks_a_rule_is_not_continued() {
    for line in [
        "",
        // test_traceparent_version_0x00
        "00-12345678901234567890123456789012-1234567890123456-01.",
        "00-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like",
        "00-12345678901234567890123456789012-1234567890123456-01-",
        // test_traceparent_version_0xcc, _0xff, _illegal_characters, _too_long, _too_short
        "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like",
        "ff-12345678901234567890123456789012-1234567890123456-01",
        ".0-12345678901234567890123456789012-1234567890123456-01",
        "0.-12345678901234567890123456789012-1234567890123456-01",
        "000-12345678901234567890123456789012-1234567890123456-01",
        "0000-12345678901234567890123456789012-1234567890123456-01",
        "0-12345678901234567890123456789012-1234567890123456-01",
        // test_traceparent_trace_id_…
        "00-00000000000000000000000000000000-1234567890123456-01",
        "00-.2345678901234567890123456789012-1234567890123456-01",
        "00-1234567890123456789012345678901.-1234567890123456-01",
        "00-123456789012345678901234567890123-1234567890123456-01",
        "00-1234567890123456789012345678901-1234567890123456-01",
        // test_traceparent_parent_id_…
        "00-12345678901234567890123456789012-0000000000000000-01",
        "00-12345678901234567890123456789012-.234567890123456-01",
        "00-12345678901234567890123456789012-123456789012345.-01",
        "00-12345678901234567890123456789012-12345678901234567-01",
        "00-12345678901234567890123456789012-123456789012345-01",
        // test_traceparent_trace_flags_…
        "00-12345678901234567890123456789012-1234567890123456-.0",
        "00-12345678901234567890123456789012-1234567890123456-0.",
        "00-12345678901234567890123456789012-1234567890123456-001",
        "00-12345678901234567890123456789012-1234567890123456-1",
        // Digits are in lower case everywhere.
        "00-1234567890123456789012345678901A-1234567890123456-01",
        "00-12345678901234567890123456789012-123456789012345A-01",
        "CC-12345678901234567890123456789012-1234567890123456-01",
        "00-12345678901234567890123456789012-1234567890123456-0A",
        "00 12345678901234567890123456789012 1234567890123456 01",
        "00-12345678901234567890123456789012-1234567890123456-01, 00-12345678901234567890123456789012-1234567890123456-01",
    ] {
        assert_eq!(continued(&[line]), None, "{line:?}");
    }
}

#[test]
fn two_traceparent_lines_are_none_even_where_they_agree() {
    // test_traceparent_duplicated
    let first = "00-12345678901234567890123456789011-1234567890123456-01";
    let second = "00-12345678901234567890123456789012-1234567890123456-01";
    assert_eq!((continued(&[first, second]), continued(&[second, second])), (None, None));
}

#[test]
fn other_names_are_no_traceparent_and_no_tracestate() {
    // test_traceparent_header_name, test_tracestate_header_name
    let line = "00-12345678901234567890123456789012-1234567890123456-01";
    for name in ["trace-parent", "trace.parent"] {
        assert_eq!(Parent::of(&headers(&[(name, line)])), None);
    }
    for name in ["trace-state", "trace.state"] {
        assert_eq!(state(&headers(&[(name, "foo=1")])), None);
    }
    // test_traceparent_header_name_valid_casing, test_tracestate_header_name_valid_casing
    assert!(
        Parent::of(&headers(&[("TrAcEpArEnT", line)])).is_some() && state(&headers(&[("TRACESTATE", "a=1")])).is_some()
    );
}

#[test]
fn the_flags_that_are_known_go_on_and_no_others() {
    // test_propagates_random_flag
    for (given, known) in
        [("00", b'0'), ("01", b'1'), ("02", b'2'), ("03", b'3'), ("04", b'0'), ("ff", b'3'), ("10", b'0')]
    {
        let line = format!("00-{TRACE}-1234567890123456-{given}");
        assert_eq!(Parent::of(&headers(&[("traceparent", &line)])).expect("it is valid").flags, known, "{given}");
    }
}

#[test]
fn the_lines_of_a_state_are_one_list_in_their_order_without_space_and_empty_members() {
    for (lines, joined) in [
        (&["foo=1,bar=2"][..], Some("foo=1,bar=2")),
        // test_tracestate_empty_header
        (&[""], None),
        (&["foo=1", ""], Some("foo=1")),
        (&["", "foo=1"], Some("foo=1")),
        (&[",, ,foo=1,,"], Some("foo=1")),
        // test_tracestate_multiple_headers_different_keys
        (&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], Some("foo=1,bar=2,rojo=1,congo=2,baz=3")),
        // test_tracestate_ows_handling
        (&["foo=1 \t , \t bar=2, \t baz=3"], Some("foo=1,bar=2,baz=3")),
        (&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], Some("foo=1,bar=2,baz=3")),
        (&["\t foo=1 \t"], Some("foo=1")),
        // Only the space around a member is none of it.
        (&["foo= a b"], Some("foo= a b")),
        // test_tracestate_duplicated_keys
        (&["foo=1,foo=1"], Some("foo=1")),
        (&["foo=1,foo=2"], Some("foo=1")),
        (&["foo=1", "foo=2"], Some("foo=1")),
        (&["foo=1,bar=1", "foo=2,baz=1"], Some("foo=1,bar=1,baz=1")),
    ] {
        assert_eq!(state_of(lines).as_deref(), joined, "{lines:?}");
    }
}

#[test]
fn a_state_with_a_member_that_is_not_valid_goes_no_further() {
    for line in [
        // test_tracestate_key_illegal_characters, _illegal_vendor_format
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "@foo=1,bar=2",
        "_foo=1",
        "-a=1",
        "f\u{e9}=1",
        // test_tracestate_value_illegal_characters
        "foo=bar=baz",
        "foo=,bar=3",
        "foo=\u{e9}",
        "foo=a\tb",
        "foo",
        "=1",
        "=",
        "foo=1,bar",
        "foo=1;bar=2=",
    ] {
        assert_eq!(state_of(&[line]), None, "{line:?}");
        assert_eq!(state_of(&["good=1", line]), None, "{line:?}");
    }
}

#[test]
fn every_character_that_is_allowed_goes_on() {
    // test_tracestate_all_allowed_characters, test_tracestate_key_illegal_vendor_format
    let value: String = (b' '..=b'~').map(char::from).filter(|c| !matches!(c, ',' | '=')).collect();
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    for key in [key, &format!("{key}@a-z0-9_-*/"), "0foo", "foo@", "foo@@bar", "foo@bar@baz"] {
        let line = format!("{key}={value}");
        assert_eq!(state_of(&[&line]).as_deref(), Some(line.as_str()));
    }
}

#[test]
fn a_state_has_32_members_at_most_its_keys_and_values_256_characters() {
    // test_tracestate_member_count_limit
    let members = |count: usize| (1..=count).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",");
    assert_eq!(state_of(&[&members(32)]), Some(members(32)));
    assert_eq!(state_of(&[&members(33)]), None);
    assert_eq!(state_of(&[&members(32), "bar33=33"]), None);
    assert_eq!(state_of(&[&members(32), ""]), Some(members(32)));
    // test_tracestate_key_length_limit
    for (key, value, fits) in [
        ("z".repeat(256), 1, true),
        ("z".repeat(257), 1, false),
        ("t".repeat(241) + "@" + &"v".repeat(14), 1, true),
        ("t".repeat(242) + "@v", 1, true),
        ("t@".to_owned() + &"v".repeat(15), 1, true),
        ("t".repeat(242) + "@" + &"v".repeat(14), 1, false),
        ("z".to_owned(), 256, true),
        ("z".to_owned(), 257, false),
    ] {
        let member = format!("{key}={}", "1".repeat(value));
        assert_eq!(state_of(&["foo=1", &member]).is_some(), fits, "{member}");
    }
}
