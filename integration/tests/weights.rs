//! Counts the bytes that values of JSON take: what an aggregate is told that a part weighs, it weighs.

use std::alloc::System;

use lictor::shape::read_within;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An order, as services answer it.
fn order(items: usize) -> String {
    let item = |at: usize| {
        let price = format!("{}.{:02}", at * 3, at % 100);
        format!(r#"{{"product_id":{at},"price":{price},"name":"Product \"{at}\"","discounts":[[1,0.5],[10,1.25]]}}"#)
    };
    let items: Vec<String> = (0..items).map(item).collect();
    format!(r#"{{"id":9007199254740993,"created":"2026-11-29T02:30:00Z","items":[{}]}}"#, items.join(","))
}

#[test]
fn values_weigh_no_less_than_they_take_and_not_much_more() {
    let names: Vec<String> = (0..5_000).map(|at| format!("\"{at}\":{at}")).collect();
    for text in [
        "null".to_owned(),
        order(1),
        order(20),
        order(1_000),
        format!("[{}]", vec!["1"; 20_000].join(",")),
        format!("[{}]", vec!["[]"; 20_000].join(",")),
        format!("[{}]", vec!["[[1]]"; 20_000].join(",")),
        format!("[{}]", vec![r#"{"a":{}}"#; 20_000].join(",")),
        format!("[{}]", vec![r#""\n""#; 20_000].join(",")),
        format!("{{{}}}", names.join(",")),
        format!("\"{}\"", "long ".repeat(20_000)),
    ] {
        let region = Region::new(GLOBAL);
        let (value, weight) = read_within(text.as_bytes(), usize::MAX).expect("it is JSON");
        let change = region.change();
        let (taken, given) = (change.bytes_allocated, change.bytes_deallocated);
        // What grew and was moved is in both.
        let takes = taken - given + size_of_val(&value);
        println!("{} bytes of text: {takes} bytes, {weight} by weight", text.len());
        assert!(takes <= weight, "{:.40}: {takes} bytes, {weight} by weight", text);
        assert!(weight <= takes * 2 + 200, "{:.40}: {takes} bytes, {weight} by weight", text);
    }
}
