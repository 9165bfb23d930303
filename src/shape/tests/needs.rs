//! Which members a shape can read.

use super::Shape;

fn needs(expression: &str) -> Option<String> {
    let shape = Shape::parse(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
    shape.needs().map(|names| names.into_iter().collect::<Vec<_>>().join(" "))
}

#[test]
fn a_shape_needs_the_members_that_it_reads_of_the_whole_and_no_others() {
    for (expression, members) in [
        ("order", "order"),
        ("order.user.name", "order"),
        ("@.order.id", "order"),
        ("@ | order", "order"),
        ("order | @", "order"),
        ("order | user", "order"),
        ("order.*", "order"),
        ("order[*].item", "order"),
        ("order[?user == `1`].id", "order"),
        ("order[].x | [0]", "order"),
        ("order[1:]", "order"),
        ("{a: order.id, b: user.name, c: order.at}", "order user"),
        ("[order, user.x]", "order user"),
        ("order || user", "order user"),
        ("!order && user", "order user"),
        ("order.id == user.id", "order user"),
        ("sort_by(products, &name)", "products"),
        ("map(&{id: id, all: @}, products)", "products"),
        ("merge(order, {user: user})", "order user"),
        ("length(products[?price > `1`])", "products"),
        ("`{\"a\":1}`.a", ""),
        ("'text'", ""),
        ("order.{id: id, whole: @}", "order"),
    ] {
        assert_eq!(needs(expression).as_deref(), Some(members), "{expression}");
    }
    let products = "{ id: order.id, buyer: user.name, items: products[].{ count: item.count, name: answer.name } }";
    assert_eq!(needs(products).as_deref(), Some("order products user"));
}

#[test]
fn a_shape_says_which_members_of_a_member_it_reads_by_name() {
    for (expression, members) in [
        ("header.a", Some("a")),
        ("@.header.a.b", Some("a")),
        ("header | a", Some("a")),
        ("header.{x: a, y: \"b-c\"} && !(header.d)", Some("a b-c d")),
        ("contains(header.a, order.b) || header.c == 'x'", Some("a c")),
        ("order.header.a", Some("")),
        ("order[?header.a].id", Some("")),
        ("'header'", Some("")),
        ("header", None),
        ("@.header", None),
        ("header.*", None),
        ("header.a && keys(header)", None),
        ("header | @", None),
        ("@", None),
        ("*", None),
    ] {
        let shape = Shape::parse(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
        let found = shape.members("header").map(|names| names.into_iter().collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), members, "{expression}");
    }
}

#[test]
fn a_shape_that_takes_the_whole_does_not_say_what_it_needs() {
    for expression in [
        "@",
        "*",
        "*.id",
        "{a: order, all: @}",
        "keys(@)",
        "order || @",
        "[?x]",
        "[*]",
        "[]",
        "[0]",
        "[1:]",
        "merge(@, order)",
    ] {
        assert_eq!(needs(expression), None, "{expression}");
    }
}

#[test]
fn what_a_shape_names_is_known_also_where_it_takes_the_whole() {
    for (expression, members) in [
        ("{a: order.id, all: @, b: user.name}", "order user"),
        ("merge(@, {a: order})", "order"),
        ("* || order", "order"),
        ("@", ""),
    ] {
        let shape = Shape::parse(expression).unwrap_or_else(|why| panic!("{expression}: {why}"));
        assert_eq!(shape.names().into_iter().collect::<Vec<_>>().join(" "), members, "{expression}");
        assert_eq!(shape.needs(), None, "{expression}");
    }
}
