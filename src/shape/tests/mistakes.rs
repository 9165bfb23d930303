//! What is no shape, and how that is said.

use super::{Fault, Shape};

fn why(expression: &str) -> String {
    match Shape::parse(expression) {
        Err(fault @ Fault::Syntax { .. }) => fault.to_string(),
        other => panic!("{expression}: {other:?}"),
    }
}

#[test]
fn what_can_be_known_before_is_a_mistake_of_the_expression() {
    for (expression, expected) in [
        ("a | nothing(b)", "at byte 11: there is no function nothing()"),
        ("abs(a, b)", "at byte 3: abs() takes 1 argument(s), and has 2"),
        ("sort_by(a)", "at byte 7: sort_by() takes 2 argument(s), and has 1"),
        ("not_null()", "at byte 8: not_null() takes at least one argument"),
        ("sort_by(a, b)", "at byte 7: argument 2 of sort_by() is an expression: write &name"),
        ("map(a, &b)", "at byte 3: argument 1 of map() is an expression: write &name"),
        ("abs(&a)", "at byte 4: an expression (&) is only for functions that apply one"),
        ("x.[a, b c]", "at byte 2: a comma is missing in the list that begins here"),
        ("join(',' a)", "at byte 4: a comma is missing in the list that begins here"),
        ("{a: b, a: c}", "at byte 0: the key \"a\" is given twice"),
        ("`{\"a\":1,\"a\":2}`", "at byte 0: in the literal: the member \"a\" is there twice"),
    ] {
        assert_eq!(why(expression), expected, "{expression}");
    }
    assert!(why("a[::0]").ends_with("the step of a slice is not 0"), "{}", why("a[::0]"));
}

#[test]
fn what_is_not_of_the_language_is_refused() {
    for expression in [
        "", " ", "a.", ".a", "a..b", "a[", "a]", "{a}", "{}", "a b", "'a", "`1", "`x`", "\"a", "a = b", "[1.5]", "#",
        "foo(", "&",
    ] {
        let found = why(expression);
        assert!(found.starts_with("at byte "), "{expression}: {found}");
    }
}

#[test]
fn an_expression_that_is_nested_too_deep_is_refused_before_a_stack_ends() {
    let deep = [
        "(".repeat(100_000),
        "!".repeat(100_000) + "a",
        "&".repeat(100_000) + "a",
        "[".repeat(100_000),
        "a".to_owned() + &".a".repeat(100_000),
        "a".to_owned() + &"[*]".repeat(100_000),
        "a".to_owned() + &" || a".repeat(100_000),
        "a".to_owned() + &" == a".repeat(100_000),
        "abs(".repeat(100_000),
        "{a:".repeat(100_000),
    ];
    for expression in deep {
        assert!(why(&expression).ends_with("its parts are nested deeper than 256"), "{}", &expression[..9]);
    }
    let wide: Vec<_> = (0..2_000).map(|at| format!("m{at}: a.b[?c == 'x.(' && d][0].\"(\"")).collect();
    assert!(Shape::parse(&format!("{{{}}}", wide.join(", "))).is_ok());
    let most = format!("{}a{}", "(".repeat(256), ")".repeat(256));
    assert!(Shape::parse(&most).is_ok());
}
