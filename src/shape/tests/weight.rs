//! What values weigh.

use super::{NotJson, Value, read, read_within};

fn weight(text: &str) -> usize {
    read_within(text.as_bytes(), usize::MAX).map_or_else(|why| panic!("{why}"), |(_, weight)| weight)
}

#[test]
fn a_text_is_read_within_what_it_weighs_and_not_within_less() {
    let many: Vec<_> = (0..100).map(|name| format!("\"{name}\":[{name},null]")).collect();
    let many = format!("{{{}}}", many.join(","));
    for text in ["1", "[]", "{}", r#""\u00e9""#, r#"{"a":[1,"b",{"c":true}]}"#, &many] {
        let most = weight(text);
        assert!(read_within(text.as_bytes(), most).is_ok_and(|(_, weight)| weight == most), "{text}");
        assert_eq!(read_within(text.as_bytes(), most - 1), Err(NotJson::Weight { most: most - 1 }), "{text}");
    }
}

#[test]
fn a_text_of_which_much_would_be_made_is_refused_on_the_way() {
    let text = "[".to_owned() + &"[0],".repeat(100_000);
    // It has no end: that is not what is found.
    assert_eq!(read_within(text.as_bytes(), 1 << 20), Err(NotJson::Weight { most: 1 << 20 }));
    assert!(matches!(read(text.as_bytes()), Err(NotJson::Syntax { .. })));
}

#[test]
fn values_are_small() {
    assert_eq!(size_of::<Value>(), 24);
    assert_eq!(size_of::<Option<Value>>(), 24);
}
