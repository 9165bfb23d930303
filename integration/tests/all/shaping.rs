//! Shapes beside JMESPath's compliance suite, and beside an implementation that nobody here wrote: Python's.

use integration::jmespath::{Pair, by_python, suite};
use lictor::shape::{Budget, Shape, Value, read, write};
use serde_json::json;

/// What a shape makes of a value, or why it does not.
fn shaped((expression, given): &Pair) -> Result<Value, String> {
    let shape = Shape::parse(expression).map_err(|why| why.to_string())?;
    shape.apply(&value(given), Budget::default()).map_err(|why| why.to_string())
}

fn value(json: &serde_json::Value) -> Value {
    read(json.to_string().as_bytes()).expect("it is JSON")
}

fn text(value: &Value) -> String {
    write(value, 1 << 20).map_or_else(String::new, |text| String::from_utf8_lossy(&text).into_owned())
}

/// The pairs of which ours and theirs differ, in words: both refuse, or what both make is equal.
fn differences<'a>(answers: impl Iterator<Item = (&'a Pair, Result<serde_json::Value, String>)>) -> Vec<String> {
    let difference = |(pair, theirs): (&Pair, Result<serde_json::Value, String>)| {
        let ours = shaped(pair);
        match (&ours, &theirs) {
            (Err(_), Err(_)) => return None,
            (Ok(ours), Ok(theirs)) if *ours == value(theirs) => return None,
            _ => {}
        }
        let theirs = theirs.map(|theirs| theirs.to_string());
        Some(format!("{} of {}: {:?}, theirs {theirs:?}", pair.0, pair.1, ours.as_ref().map(text)))
    };
    answers.filter_map(difference).collect()
}

#[test]
fn shapes_hold_to_the_compliance_suite() {
    let cases = suite();
    assert!(cases.len() > 800, "{} cases", cases.len());
    let answers = cases.iter().map(|(pair, result)| (pair, result.clone().ok_or_else(|| "an error".to_owned())));
    let wrong = differences(answers);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn shapes_give_what_pythons_implementation_gives_for_the_compliance_suite() {
    let pairs: Vec<Pair> = suite().into_iter().map(|(pair, _)| pair).collect();
    let Some(answers) = by_python(&pairs) else { return };
    let wrong = differences(pairs.iter().zip(answers));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}

/// Numbers as if by chance, the same in each run (a linear congruential generator, Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A value whose members have few names, so that expressions find some.
    fn value(&mut self, depth: usize) -> serde_json::Value {
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0 => json!(null),
            1 => json!(self.below(2) == 0),
            2 => json!(self.below(7)),
            3 => json!(self.below(9) as f64 / 4.0 - 1.0),
            4 => json!(self.one(&["", "a", "b", "ab", "é", "😀", "10", "1.5"])),
            5 | 6 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let names: Vec<&str> = ["a", "b", "c", "d e"].into_iter().filter(|_| self.below(3) > 0).collect();
                names.into_iter().map(|name| (name.to_owned(), self.value(depth - 1))).collect()
            }
        }
    }

    /// An expression of this language, with functions that mostly fit.
    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 {
            let place = self.below(5);
            return match self.below(8) {
                0 => "@".to_owned(),
                1 => format!("`{}`", self.value(1)),
                2 => "'a'".to_owned(),
                3 => format!("[{place}]"),
                _ => self.one(&["a", "b", "c", "\"d e\""]).to_owned(),
            };
        }
        let inner = |dice: &mut Dice| dice.expression(depth - 1);
        match self.below(17) {
            0 | 1 => {
                // After `[*].{a: b}`, what follows is of each object, and in Python of the list of them.
                let first = inner(self);
                let first = if first.ends_with('}') { format!("({first})") } else { first };
                let then = ["a", "b", "c", "\"d e\"", "*", "[a, b]", "{x: a, y: @}"];
                format!("{first}.{}", self.one(&then))
            }
            2 => format!(
                "{}[{}]",
                self.one(&["a", "b", "c", "@"]),
                self.one(&["0", "-1", "*", "1:", "::-1", ":2", "?a", "?@ == `1`"])
            ),
            3 => format!("({})[*].{}", inner(self), self.one(&["a", "b", "[a]", "{a: b}", "type(@)", "length(@)"])),
            4 => format!("({})[]", inner(self)),
            5 => format!("{} | {}", inner(self), inner(self)),
            6 => format!("({} || {})", inner(self), inner(self)),
            7 => format!("({} && {})", inner(self), inner(self)),
            8 => format!("!({})", inner(self)),
            9 => format!("({} {} {})", inner(self), self.one(&["==", "!=", "<", "<=", ">", ">="]), inner(self)),
            10 => format!("[{}, {}]", inner(self), inner(self)),
            11 => format!("{{x: {}, y: {}}}", inner(self), inner(self)),
            12 => format!("({})[?{}]", inner(self), inner(self)),
            13 => format!("({})[?a {} {}]", inner(self), self.one(&["==", "<"]), inner(self)),
            14 => format!(
                "{}(to_array({}), &{})",
                self.one(&["sort_by", "max_by", "min_by"]),
                inner(self),
                self.one(&["a", "@", "type(@)", "to_string(@)"])
            ),
            15 => format!("map(&{}, to_array({}))", self.one(&["a", "@", "type(@)", "[a]"]), inner(self)),
            _ => {
                let function = self.one(&[
                    "abs",
                    "avg",
                    "ceil",
                    "floor",
                    "keys",
                    "length",
                    "max",
                    "min",
                    "not_null",
                    "reverse",
                    "sort",
                    "sum",
                    "to_array",
                    "to_number",
                    "type",
                    "values",
                    "merge",
                ]);
                format!("{function}({})", inner(self))
            }
        }
    }
}

#[test]
fn shapes_give_what_pythons_implementation_gives_for_expressions_that_nobody_thought_of() {
    let mut dice = Dice(17);
    let pairs: Vec<Pair> = (0..4_000).map(|at| (dice.expression(1 + at % 4), dice.value(4))).collect();
    let Some(answers) = by_python(&pairs) else { return };
    let given = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|value| !value.is_null())).count();
    assert!(given > pairs.len() / 4, "too few that give anything: {given}");
    let wrong = differences(pairs.iter().zip(answers));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
}
