//! Promises of shapes: what each part of the language makes of values, and that nothing is lost on the way.

mod budget;
mod check;
mod expressions;
mod functions;
mod mistakes;
mod needs;
mod numbers;
mod texts;
mod weight;

use super::{Budget, Fault, NotJson, Number, Object, Shape, Value, read, read_within, write};

/// The longest text that tests write.
const LONGEST: usize = 1 << 20;

fn value(text: &str) -> Value {
    read(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn text(value: &Value) -> String {
    let text = write(value, LONGEST).expect("it is short");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// What an expression makes of a text, as a text.
fn shaped(expression: &str, given: &str) -> Result<String, Fault> {
    shaped_within(Budget::default(), expression, given)
}

/// Likewise, with another budget.
fn shaped_within(budget: Budget, expression: &str, given: &str) -> Result<String, Fault> {
    Shape::parse(expression)?.apply(&value(given), budget).map(|value| text(&value))
}

/// Fails for each line of a table - an expression, what it is applied to, the answer's text - that is not so.
fn holds(table: &[(&str, &str, &str)]) {
    let wrong = table.iter().filter_map(|(expression, given, expected)| {
        let found = shaped(expression, given);
        (found.as_deref() != Ok(*expected)).then(|| format!("{expression} of {given}: {found:?}, not {expected}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn shapes_and_values_can_be_used_by_any_thread() {
    fn any_thread<T: Send + Sync>() {}
    any_thread::<Shape>();
    any_thread::<Value>();
}
