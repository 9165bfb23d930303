//! Waterfalls as they are printed, character by character.

use super::super::table::Style;
use super::*;

fn part(call: &str, element: Option<u64>, (began_ms, took_ms): (f64, f64)) -> Part {
    Part {
        call: call.into(),
        element,
        began_ms,
        took_ms,
        status: Some(200),
        instance: Some("10.0.0.7:8080".into()),
        attempts: 1,
        cache: Some("miss".into()),
        ..Part::default()
    }
}

fn run() -> Run {
    let user = Part {
        status: Some(503),
        reason: Some("status".into()),
        attempts: 2,
        cache: None,
        ..part("user", None, (12.1, 5.0))
    };
    let second =
        Part { cache: Some("hit".into()), instance: None, attempts: 0, ..part("products", Some(1), (12.1, 0.2)) };
    let third = Part { status: None, reason: Some("reset".into()), ..part("products", Some(2), (12.6, 7.5)) };
    let parts = vec![part("order", None, (0.1, 12.0)), second, user, third, part("products", Some(0), (12.1, 20.0))];
    Run {
        id: "ab".into(),
        route: "orders".into(),
        took_ms: 34.0,
        outcome: "partial".into(),
        not_made: vec!["photos".into()],
        parts,
        ..Run::default()
    }
}

fn tried() -> Tried {
    Tried {
        status: 200,
        partial: Some("user;reason=status;status=503, products;reason=reset;count=1".into()),
        request_id: Some("ab".into()),
        bytes: 1229,
        took_ms: 35.04,
        compose: Some("order_page".into()),
        run: Some(run()),
        ..Tried::default()
    }
}

fn canvas(width: usize, ascii: bool) -> Canvas {
    Canvas { style: Style { colour: false }, width, ascii }
}

#[test]
fn each_part_has_a_bar_from_its_beginning_to_its_end_and_says_what_came_of_it() {
    let wanted = "\
200, 1.2 KiB in 35.0ms
Lictor-Partial: user;reason=status;status=503, products;reason=reset;count=1
order_page, route orders, partial: 5 parts in 34.0ms (ab)

";
    let text = waterfall(&tried(), canvas(116, true));
    assert!(text.starts_with(wanted), "{text}");
    let drawing: Vec<&str> = text[wanted.len()..].lines().collect();
    let wanted = include_str!("tests/drawing.txt");
    assert_eq!(drawing.join("\n"), wanted.trim_end(), "\n{}", drawing.join("\n"));
}

#[test]
fn no_line_is_wider_than_the_terminal_unless_there_is_no_place_for_bars() {
    for width in [100, 116, 160] {
        let text = waterfall(&tried(), canvas(width, false));
        let widest = text.lines().skip(3).map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= width), "{width}: {text}");
        assert!(text.contains('█') && text.contains('▒'), "{text}");
    }
    assert!(waterfall(&tried(), canvas(20, true)).contains('#'));
}

#[test]
fn a_bar_is_never_empty_and_never_leaves_its_place() {
    let most = f64::MAX;
    for (began, took, end) in
        [(0.0, 0.0, 0.0), (10.0, 0.0, 10.0), (10.0, 5.0, 10.0), (-1.0, 2.0, 10.0), (most, most, 1.0)]
    {
        let (before, length) = bar((began, took), end, 20);
        assert!(length >= 1 && before + length <= 20, "{began} {took} {end}: {before} {length}");
    }
    assert_eq!((bar((0.0, 10.0), 10.0, 20), bar((5.0, 2.5), 10.0, 20)), ((0, 20), (10, 5)));
}

#[test]
fn without_a_run_it_says_why_there_may_be_none() {
    let text = waterfall(&Tried { run: None, compose: None, partial: None, ..tried() }, canvas(100, true));
    assert!(text.starts_with("200, 1.2 KiB in 35.0ms\nNo calls are known") && text.contains("(ab)"), "{text}");
}

#[test]
fn whoever_was_refused_without_a_key_is_told_that_none_was_sent_and_where() {
    let keyless = |status| Tried { status, without_key: Some("shop.example".into()), run: None, ..tried() };
    let text = |status| waterfall(&keyless(status), canvas(100, true));
    assert!(text(401).contains("No key was sent to shop.example,") && text(403).contains("No key"), "{}", text(401));
    assert!(!text(200).contains("No key"), "{}", text(200));
}

#[test]
fn what_a_foreign_server_says_in_a_part_steers_no_terminal() {
    let odd = Part { reason: Some("a\u{1b}[2Jb\n".into()), ..part("c\u{1b}", None, (0.0, 1.0)) };
    let run = Run { parts: vec![odd], id: "\u{1b}".into(), outcome: "\u{1b}".into(), ..run() };
    let text = waterfall(&Tried { run: Some(run), cache: Some("\u{1b}".into()), ..tried() }, canvas(100, true));
    assert!(!text.contains('\u{1b}'), "{text:?}");
}
