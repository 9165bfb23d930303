//! Trees as they are printed, character by character.

use serde_json::json;

use super::super::table::Style;
use super::*;

fn detail() -> Detail {
    let words = json!({
        "name": "order_page", "deadline_ms": 2000, "answers": { "complete": 41, "partial": 2, "failed": 1 },
        "of_late": { "count": 32, "median_ms": 12.34, "longest_ms": 34.0 },
        "routes": [
            { "name": "orders", "path": "/orders/{id}", "fronts": [{ "not_made": [] }] },
            { "name": "phone", "path": "/m/{id}", "fields": true, "fronts": [
                { "plan": "gold", "claims": [{ "claim": ["org", "name"], "is": ["a", 7] }, { "claim": ["groups"], "has": "b" }] },
                { "not_made": ["products"] },
            ] },
        ],
        "rounds": [["order"], ["user", "products"], ["stock"]],
        "calls": [
            { "name": "order", "service": "order_service", "method": "GET", "path": "/orders/{id}", "on_error": "404: pass, else: fail",
              "answered": 44, "mean_ms": 12.0 },
            { "name": "user", "service": "user_service", "method": "GET", "path": "/users/{order.user_id}", "needs": ["order"],
              "on_error": "null", "answered": 3, "stored": 39, "failed": 2, "mean_ms": 0.41 },
            { "name": "products", "service": "product_service", "method": "GET", "path": "/products/{item.id}", "needs": ["order"],
              "each": { "list": "order.items", "most": 32, "at_once": 8 }, "on_error": "fail" },
            { "name": "stock", "service": "stock\u{1b}", "method": "POST", "path": "/stock", "needs": ["user", "products"],
              "when": "user.staff", "on_error": "omit" },
        ],
        "runs": [
            { "id": "ab", "route": "orders", "at": "2026-01-02T03:04:05.678Z", "took_ms": 12.1, "outcome": "failed",
              "reason": "part_failed", "failed": "user", "parts": [
                { "call": "order", "took_ms": 3.0 }, { "call": "user", "took_ms": 9.1 }] },
            { "id": "cd", "route": "phone", "at": "2026-01-02T03:04:04.678Z", "took_ms": 1.0, "outcome": "complete" },
        ],
    });
    serde_json::from_value(words).expect("a page")
}

fn canvas(ascii: bool) -> Canvas {
    Canvas { style: Style { colour: false }, width: 100, ascii }
}

#[test]
fn the_tree_shows_what_runs_at_once_after_what_and_what_a_shape_does_not_need() {
    let text = one(&detail(), canvas(true));
    assert_eq!(text, include_str!("tests/ascii.txt"), "\n{text}");
}

#[test]
fn on_a_terminal_the_branches_are_lines() {
    let text = tree(&detail().compose, canvas(false));
    let branches: Vec<_> = text.lines().skip(2).take(4).map(|line| line.chars().take(15).collect::<String>()).collect();
    assert_eq!(branches, ["├─ 1 ─── order ", "├─ 2 ─┬─ user  ", "│     └─ produc", "└─ 3 ─── stock "], "{text}");
}

#[test]
fn all_aggregates_are_followed_by_the_memory_that_they_hold() {
    let mut page = Page { composes: vec![detail().compose], ..Page::default() };
    (page.memory.bound, page.memory.held) = (64 << 20, 3 << 20);
    assert!(all(&page, canvas(true)).ends_with("\nmemory: 3.0 MiB of 64.0 MiB held, 0 waiting\n"));
    (page.memory.waited, page.memory.refused) = (7, 2);
    assert!(all(&page, canvas(true)).ends_with("held, 0 waiting, 7 had to wait, 2 of them in vain\n"));
    assert_eq!(all(&Page::default(), canvas(true)), "There are no aggregates.\n");
}
