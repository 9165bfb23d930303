//! Numbers are compared and calculated with exactly, whatever their size.

use std::cmp::Ordering::{Greater, Less};

use super::{Fault, Number, Value, holds, shaped, value};

fn numbers(texts: &[&str]) -> Vec<Number> {
    let number = |text: &&str| match value(text) {
        Value::Number(number) => number,
        other => panic!("{text}: {other:?}"),
    };
    texts.iter().map(number).collect()
}

#[test]
fn numbers_are_ordered_by_what_they_are_worth() {
    // Each one is less than the next.
    let ascending = numbers(&[
        "-1e999999999",
        "-1e400",
        "-9007199254740993",
        "-9007199254740992",
        "-1.0000000000000000000001",
        "-1",
        "-0.1",
        "-0.01",
        "-1e-999999999",
        "0",
        "1e-999999999",
        "0.00099",
        "0.001",
        "0.0010000000000000000000001",
        "0.1",
        "9.99e-1",
        "1",
        "1.05",
        "1.5",
        "9",
        "10",
        "11",
        "99e0",
        "1.01e2",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        "1.1e400",
        "1e999999999",
    ]);
    for (at, less) in ascending.iter().enumerate() {
        for more in &ascending[at + 1..] {
            assert_eq!(
                (less.partial_cmp(more), more.partial_cmp(less)),
                (Some(Less), Some(Greater)),
                "{less:?} {more:?}"
            );
            assert_ne!(less, more);
        }
    }
}

#[test]
fn a_number_equals_itself_however_it_is_written() {
    for same in [
        &["0", "-0", "0.0", "0e5", "-0.00e-7"][..],
        &["1", "1.0", "1e0", "10e-1", "0.1e1", "0.01E+2", "100e-2", "1e-0", "1e000000000000"],
        &["-120", "-1.2e2", "-12e1", "-0.0012e5", "-120.000"],
        &["1.10", "1.1", "110e-2", "0.0110e2"],
        &["1000000000000000000000000", "1e24", "0.001e27"],
    ] {
        for (a, b) in same.iter().flat_map(|a| same.iter().map(move |b| (a, b))) {
            let both = numbers(&[a, b]);
            assert_eq!(both[0], both[1], "{a} {b}");
        }
    }
}

#[test]
fn large_ids_and_long_decimals_are_told_apart_where_doubles_are_not() {
    holds(&[
        ("a == b", r#"{"a":9007199254740993,"b":9007199254740992}"#, "false"),
        ("a > b", r#"{"a":9007199254740993,"b":9007199254740992}"#, "true"),
        ("a == `18446744073709551617`", r#"{"a":18446744073709551617}"#, "true"),
        ("a == `18446744073709551616`", r#"{"a":18446744073709551617}"#, "false"),
        ("[?id == `9007199254740993`].n", r#"[{"id":9007199254740992,"n":1},{"id":9007199254740993,"n":2}]"#, "[2]"),
        (
            "sort(@)",
            "[9007199254740993,9007199254740992,9007199254740994]",
            "[9007199254740992,9007199254740993,9007199254740994]",
        ),
        ("sort_by(@, &a)[].b", r#"[{"a":0.10000000000000000002,"b":2},{"a":0.10000000000000000001,"b":1}]"#, "[1,2]"),
        ("max(@)", "[9007199254740992,9007199254740993]", "9007199254740993"),
        ("min(@)", "[0.10000000000000000002,0.10000000000000000001]", "0.10000000000000000001"),
        ("contains(@, `9007199254740993`)", "[9007199254740992]", "false"),
        ("sum(@)", "[18446744073709551615,1]", "18446744073709551616"),
        ("sum(@)", "[0.1,0.2]", "0.3"),
        ("sum(@)", "[1e-30,1]", "1.000000000000000000000000000001"),
        ("abs(@)", "-9223372036854775809", "9223372036854775809"),
    ]);
}

#[test]
fn results_are_laid_out_as_javascript_does_it() {
    holds(&[
        ("sum(@)", "[1e2]", "100"),
        ("sum(@)", "[1.50,1.50]", "3"),
        ("sum(@)", "[1,-1.0]", "0"),
        ("sum(@)", "[1e20]", "100000000000000000000"),
        ("sum(@)", "[1e21]", "1e21"),
        ("sum(@)", "[-12e22]", "-1.2e23"),
        ("sum(@)", "[0.000001]", "0.000001"),
        ("sum(@)", "[0.0000001]", "1e-7"),
        ("sum(@)", "[-12e-9]", "-1.2e-8"),
    ]);
}

#[test]
fn a_mean_that_does_not_end_is_rounded_after_34_digits_or_more() {
    holds(&[
        ("avg(@)", "[1,0,0]", "0.33333333333333333333333333333333333"),
        ("avg(@)", "[2,0,0]", "0.66666666666666666666666666666666667"),
        ("avg(@)", "[-2,0,0]", "-0.66666666666666666666666666666666667"),
        ("avg(@)", "[9007199254740993,9007199254740994]", "9007199254740993.5"),
    ]);
}

#[test]
fn nobody_can_have_a_gigabyte_of_digits_calculated() {
    for expression in ["sum(@)", "avg(@)", "floor([0])", "ceil([0])"] {
        for given in ["[1e999999999]", "[1e-999999999]", "[-1e1101]", "[1e-1101]"] {
            let found = shaped(expression, given);
            assert!(matches!(found, Err(Fault::Digits { .. })), "{expression} of {given}: {found:?}");
        }
    }
    holds(&[
        ("sum(@)", "[1.7976931348623157e308]", "1.7976931348623157e308"),
        ("sum(@)", "[5e-324,0]", "5e-324"),
        ("abs(@)", "-1e999999999", "1e999999999"),
    ]);
}
