//! What a worker does by itself: little, however often little is said.

use super::{compose, known};
use crate::proxy::compose::answer::Ingredients;
use crate::proxy::compose::calls::{Answered, effort};
use crate::proxy::compose::render::requests;
use crate::proxy::compose::{BRIEF, INLINE, freshness};
use crate::proxy::error::Error;
use crate::shape::{self, Budget, Shape};

/// A list, and a call for each of its elements.
fn calls(of_each: &str) -> String {
    let list = "[[compose.call]]\nname = \"list\"\nservice = \"s\"\npath = \"/list\"\n";
    format!("{list}[[compose.call]]\nname = \"one\"\nservice = \"s\"\neach = \"list.items\"\nmost = 1024\n{of_each}")
}

fn list(elements: usize) -> String {
    format!("{{\"items\":{:?}}}", (0..elements).collect::<Vec<_>>())
}

#[test]
fn what_is_said_again_for_each_element_counts_for_each_of_them() {
    let effort = |of_each: &str, elements| {
        let compose = compose(&calls(of_each));
        let list = list(elements);
        effort(&known(&compose, &[], "", &[(0, &list)]), &compose.calls[1], list.len())
    };
    let own = "path = \"/{item}\"";
    assert!(effort(own, 32) <= INLINE, "usual ones are asked at once");
    for (of_each, elements) in [
        (own, 1000),
        ("method = \"POST\"\npath = \"/one\"\nbody = { order = \"{list}\", item = \"{item}\" }", 60),
        ("path = \"/{item}\"\nquery = { all = \"{list.text}\" }", 60),
        ("path = \"/{item}\"\nwhen = \"query.org == 'a'\"", 32),
    ] {
        assert!(effort(of_each, elements) > INLINE, "{of_each}");
    }
}

#[test]
fn a_condition_that_takes_more_than_a_worker_may_take_is_a_failure_until_it_is_asked_elsewhere() {
    let compose = compose(&calls("path = \"/{item}\"\nwhen = \"sort(list.items)[0] == `0`\""));
    let mut known = known(&compose, &[], "", &[(0, &list(1000))]);
    let asked = |known: &_| requests(known, &compose.calls[1]).expect("a list").different.len();
    assert_eq!(asked(&known), 1000);
    known.budget = BRIEF;
    assert_eq!(asked(&known), 0);
}

#[test]
fn a_shape_that_takes_more_than_a_worker_may_take_is_no_shape_that_does_not_fit() {
    let compose = compose(&calls("path = \"/{item}\""));
    let mix = |shape: &str, budget: Option<Budget>| {
        let list = shape::read(list(3000).as_bytes()).expect("JSON");
        let answered =
            Answered { content: Some(list.into()), missing: Vec::new(), life: freshness::UNBOUNDED, bytes: 15 * 1024 };
        let shape = Shape::parse(shape).expect("an expression").into();
        let ingredients = Ingredients::of(&compose, (Some(shape), None), vec![Some(answered)]);
        ingredients.mix(1 << 20, budget).map(|whole| whole.text)
    };
    assert_eq!(mix("list.items[0]", Some(BRIEF)), Ok(b"0".to_vec()));
    assert_eq!(mix("sort(list.items)[0]", Some(BRIEF)), Err(Error::AnswerTooLarge));
    assert_eq!(mix("sort(list.items)[0]", None), Ok(b"0".to_vec()));
    assert_eq!(mix("length(list.items[0])", Some(BRIEF)), Err(Error::NotShaped));
}
