//! Every expression ends, in bounded time and memory, whatever it is applied to.

use super::{Budget, Fault, Shape, Value, shaped, shaped_within, text, value};

/// A hundredth of what there is by default, for tests that are built without optimisation.
const SMALL: Budget = Budget { steps: 100_000, bytes: 4 << 20 };

/// A value that is doubled so many times: its parts share all that they have.
fn doubled(times: usize) -> String {
    format!("(@{})", " | [@,@]".repeat(times))
}

#[test]
fn an_expression_that_grows_without_end_is_given_up() {
    let twice = format!("{{a: {0}, b: {0}}}", doubled(60));
    let flat = format!("(@{})", " | [@,@][]".repeat(60));
    let longer = format!("(@{})", " | [join('', @), join('', @)]".repeat(60));
    for (expression, given) in [
        (format!("{twice} | a == b"), "1"),
        (format!("{twice} | a != b"), "{}"),
        (format!("{twice} | contains([a], b)"), "1"),
        (format!("{twice} | [@][?a == b]"), "1"),
        (flat.clone(), "[1]"),
        (format!("(@{})", " | [@[],@[]]".repeat(60)), "[[1],[2]]"),
        (format!("{flat} | sort(@)"), "[1]"),
        (longer, r#"["abcdefgh"]"#),
        (format!("{} | map(&to_string(@), @)", doubled(40)), "[1,2]"),
    ] {
        let found = shaped_within(SMALL, &expression, given);
        assert!(matches!(found, Err(Fault::Steps { .. } | Fault::Memory { .. })), "{expression}: {found:.99?}");
    }
}

#[test]
fn comparing_and_searching_long_texts_again_and_again_takes_steps() {
    // 512 elements of 100,000 bytes, of which two are there.
    let long = "x".repeat(100_000);
    let given = format!(r#"["{long}a","{long}b"]"#);
    let many = format!("(@{})", " | [@,@][]".repeat(8));
    for expression in [
        "sort(@)",
        "sort_by(@, &@)",
        "[*].contains(@, 'c')",
        "max(@)",
        "[*].length(@)",
        "[*].reverse(@)",
        "[?@ != 'x'] | sort(@)",
    ] {
        let found = shaped_within(SMALL, &format!("{many} | {expression}"), &given);
        assert!(matches!(found, Err(Fault::Steps { .. } | Fault::Memory { .. })), "{expression}: {found:.99?}");
    }
    let numbers = format!("[{}1]", "1e1099,1e-1099,".repeat(500));
    for expression in ["sum(@)", "avg(@)", "[*].floor(@)"] {
        let found = shaped_within(SMALL, expression, &numbers);
        assert!(matches!(found, Err(Fault::Steps { .. })), "{expression}: {found:.99?}");
    }
}

#[test]
fn what_values_share_is_not_compared() {
    let expression = format!("{} | {{a: @, b: @}} | a == b", doubled(60));
    assert_eq!(shaped(&expression, "[1]").as_deref(), Ok("true"));
}

#[test]
fn a_budget_that_is_just_enough_is_enough() {
    let expression = "{id: order.id, names: items[].{n: name, s: to_string(@)}, same: items == sort_by(items, &name)}";
    let given = r#"{"order":{"id":1},"items":[{"name":"a long name for an item"},{"name":"b"}]}"#;
    let least = |enough: &dyn Fn(usize) -> bool| (0..10_000).find(|most| enough(*most)).expect("it is enough");
    let all = Budget::default();
    let steps = least(&|steps| shaped_within(Budget { steps, ..all }, expression, given).is_ok());
    let bytes = least(&|bytes| shaped_within(Budget { bytes, ..all }, expression, given).is_ok());
    assert!(shaped_within(Budget { steps, bytes }, expression, given).is_ok());
    let found = shaped_within(Budget { steps: steps - 1, bytes }, expression, given);
    assert_eq!(found, Err(Fault::Steps { most: steps - 1 }));
    let found = shaped_within(Budget { steps, bytes: bytes - 1 }, expression, given);
    assert_eq!(found, Err(Fault::Memory { most: bytes - 1 }));
    assert!(steps < 100 && bytes < 4_000, "{steps} steps, {bytes} bytes");
}

#[test]
fn an_answer_of_the_largest_size_can_be_shaped_by_default() {
    let items: Vec<String> = (0..40_000)
        .map(|id| format!(r#"{{"item":{{"id":{id},"price":{id}.5}},"answer":{{"name":"a product"}}}}"#))
        .collect();
    let given = format!("[{}]", items.join(","));
    assert!(given.len() > 2 << 20);
    let found = shaped(
        "[?item.price > `10`].{ id: item.id, price: item.price, name: answer.name } | sort_by(@, &price)[:2]",
        &given,
    );
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn what_an_expression_nests_can_be_written_compared_and_dropped() {
    let deep = value(&format!("{}1{}", "[".repeat(128), "]".repeat(128)));
    let expression = format!("{}@{}", "[".repeat(256), "]".repeat(256));
    let made = |given: &Value| Shape::parse(&expression)?.apply(given, Budget::default());
    let (one, other) = (made(&deep).expect("it is applied"), made(&deep).expect("it is applied"));
    assert_eq!(text(&one).len(), 2 * (128 + 256) + 1);
    assert_eq!(one, other);
}
