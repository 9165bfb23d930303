//! Each function: what it gives, and what it refuses.

use super::{Budget, Fault, holds, shaped, shaped_within};

#[test]
fn functions_of_numbers_give_what_the_language_says() {
    holds(&[
        ("abs(@)", "-1.50", "1.50"),
        ("abs(@)", "2", "2"),
        ("ceil(@)", "1.001", "2"),
        ("ceil(@)", "-1.5", "-1"),
        ("ceil(@)", "-0.5", "0"),
        ("ceil(@)", "7", "7"),
        ("floor(@)", "1.9", "1"),
        ("floor(@)", "-1.5", "-2"),
        ("floor(@)", "-0.001", "-1"),
        ("floor(@)", "12345678901234567890.5", "12345678901234567890"),
        ("sum(@)", "[1,2.5,-0.25]", "3.25"),
        ("sum(@)", "[]", "0"),
        ("avg(@)", "[1,2,4.5]", "2.5"),
        ("avg(@)", "[]", "null"),
        ("to_number(@)", "\"1.50\"", "1.50"),
        ("to_number(@)", "\"1x\"", "null"),
        ("to_number(@)", "\" 1\"", "null"),
        ("to_number(@)", "1e2", "1e2"),
        ("to_number(@)", "[1]", "null"),
    ]);
}

#[test]
fn functions_of_strings_count_code_points() {
    holds(&[
        ("length(@)", "\"é😀\"", "2"),
        ("reverse(@)", "\"aé😀\"", "\"😀éa\""),
        ("starts_with(@, 'ab')", "\"abc\"", "true"),
        ("starts_with(@, 'b')", "\"abc\"", "false"),
        ("ends_with(@, 'bc')", "\"abc\"", "true"),
        ("ends_with(@, 'b')", "\"abc\"", "false"),
        ("contains(@, 'b')", "\"abc\"", "true"),
        ("contains(@, `1`)", "\"abc1\"", "false"),
        ("join(', ', @)", r#"["a","b"]"#, "\"a, b\""),
        ("join('-', @)", "[]", "\"\""),
        ("to_string(@)", "\"a\"", "\"a\""),
        ("to_string(@)", r#"{"b":[1.0,null],"a":"x"}"#, r#""{\"b\":[1.0,null],\"a\":\"x\"}""#),
    ]);
}

#[test]
fn functions_of_arrays_and_objects_keep_their_order() {
    holds(&[
        ("contains(@, `1.0`)", "[0,1]", "true"),
        ("contains(@, `3`)", "[0,1]", "false"),
        ("keys(@)", r#"{"z":1,"a":2}"#, r#"["z","a"]"#),
        ("values(@)", r#"{"z":1,"a":null}"#, "[1,null]"),
        ("length(@)", "[1,2]", "2"),
        ("length(@)", r#"{"a":1}"#, "1"),
        ("reverse(@)", "[1,2,3]", "[3,2,1]"),
        ("map(&a, @)", r#"[{"a":1},{},{"a":2}]"#, "[1,null,2]"),
        ("merge(a, b)", r#"{"a":{"x":1,"y":2},"b":{"z":3,"x":4}}"#, r#"{"x":4,"y":2,"z":3}"#),
        ("merge(@)", "{}", "{}"),
        ("not_null(a, b, c)", r#"{"b":false,"c":1}"#, "false"),
        ("not_null(a)", "{}", "null"),
        ("to_array(@)", "[1]", "[1]"),
        ("to_array(@)", "{}", "[{}]"),
        ("[*].type(@)", r#"[true,1,"",[],{}]"#, r#"["boolean","number","string","array","object"]"#),
        ("type(@)", "null", "\"null\""),
    ]);
}

#[test]
fn sorting_is_stable_and_extremes_are_the_first_of_their_kind() {
    let given = r#"[{"k":2,"n":"a"},{"k":1,"n":"b"},{"k":2.0,"n":"c"},{"k":1.0,"n":"d"}]"#;
    holds(&[
        ("sort(@)", "[3,1.5,1e1,-2]", "[-2,1.5,3,1e1]"),
        ("sort(@)", r#"["b","é","a","B","😀"]"#, r#"["B","a","b","é","😀"]"#),
        ("sort(@)", "[1.0,1,1.00]", "[1.0,1,1.00]"),
        ("sort(@)", "[]", "[]"),
        ("sort_by(@, &k)[].n", given, r#"["b","d","a","c"]"#),
        ("sort_by(@, &n)[].k", given, "[2,1,2.0,1.0]"),
        ("sort_by(@, &k)", "[]", "[]"),
        ("max_by(@, &k).n", given, "\"a\""),
        ("min_by(@, &k).n", given, "\"b\""),
        ("max_by(@, &k)", "[]", "null"),
        ("max(@)", "[1,3,2]", "3"),
        ("min(@)", "[3,1,2]", "1"),
        ("max(@)", r#"["a","c","b"]"#, "\"c\""),
        ("min(@)", "[]", "null"),
    ]);
}

#[test]
fn a_function_refuses_a_type_that_it_does_not_take() {
    for (expression, given) in [
        ("abs(@)", "\"1\""),
        ("avg(@)", "[1,\"2\"]"),
        ("avg(@)", "1"),
        ("ceil(@)", "null"),
        ("contains(@, 'a')", "1"),
        ("ends_with(@, 'a')", "1"),
        ("ends_with('a', @)", "1"),
        ("floor(@)", "[]"),
        ("join(@, `[]`)", "1"),
        ("join('', @)", "[1]"),
        ("join('', @)", "\"a\""),
        ("keys(@)", "[]"),
        ("length(@)", "1"),
        ("map(&a, @)", "{}"),
        ("max(@)", "[1,\"a\"]"),
        ("max(@)", "[true]"),
        ("max_by(@, &a)", "[{\"a\":1},{}]"),
        ("merge(@, `1`)", "{}"),
        ("min(@)", "{}"),
        ("min_by(@, &a)", "{}"),
        ("reverse(@)", "1"),
        ("sort(@)", "[\"a\",1]"),
        ("sort(@)", "[[]]"),
        ("sort_by(@, &a)", "[{\"a\":null}]"),
        ("starts_with(@, 'a')", "[]"),
        ("sum(@)", "[null]"),
        ("values(@)", "null"),
        ("[*].abs(@)", "[1,\"a\"]"),
    ] {
        let found = shaped(expression, given);
        assert!(matches!(found, Err(Fault::Type { .. })), "{expression} of {given}: {found:?}");
    }
    let why = shaped("abs(@)", "\"1\"").expect_err("a string").to_string();
    assert_eq!(why, "abs() takes a number, not string");
}

#[test]
fn a_text_that_a_function_makes_has_a_longest_length() {
    // Each step doubles what the text says, but not what it takes of memory.
    let steps = format!("@{}", " | [@,@]".repeat(60));
    let found = shaped(&format!("({steps}) | to_string(@)"), "\"abcdefgh\"");
    assert!(matches!(found, Err(Fault::Length { function: "to_string", .. })), "{found:?}");
    let joined = format!("(@{}) | join('', @)", " | [join('', @), join('', @)]".repeat(30));
    let found = shaped_within(Budget { bytes: 1 << 30, ..Budget::default() }, &joined, r#"["a"]"#);
    assert!(matches!(found, Err(Fault::Length { function: "join", .. })), "{found:?}");
}
