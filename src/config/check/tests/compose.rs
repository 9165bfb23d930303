//! Aggregates: mistakes by table, and what is meant.

mod meaning;
mod refused;

use super::*;
use crate::config::compose::{Piece, Value};

/// A compose whose first call has a list, and the route that uses it.
const BASE: &str = "[[route]]\npath = { pattern = \"/pages/{id}\" }\ncompose = \"page\"\n[[compose]]\nname = \"page\"\n[[compose.call]]\nname = \"order\"\nservice = \"orders\"\npath = \"/orders/{id}\"\n";

/// What stands in a second call of [`BASE`], the key and a part of the message of its one mistake.
const CALLS: [(&str, &str, &str); 48] = [
    ("path = \"users\"", "path", "does not begin with /"),
    ("path = \"http://evil/x\"", "path", "the host is the service's"),
    ("path = \"/a?b=1\"", "path", "there is query"),
    ("path = \"/a/../b\"", "path", "never"),
    ("path = \"/a b\"", "path", "percent-encode"),
    ("path = \"/{\"", "path", "write {{"),
    ("path = \"/}\"", "path", "write }}"),
    ("path = \"/{}\"", "path", "is no value"),
    ("path = \"/{order.}\"", "path", "is no value"),
    ("path = \"/{ order.id }\"", "path", "is no value"),
    ("path = \"/{claim.\\\"a}\"", "path", "is no value"),
    ("path = \"/{claim.\\\"a\\\"b}\"", "path", "is no value"),
    ("path = \"/{ordr.id}\"", "path", "`ordr` is no call of this compose; there are: order, user"),
    ("path = \"/{query}\"", "path", "{query.page}"),
    ("path = \"/{query.a.b}\"", "path", "one name"),
    ("path = \"/{header}\"", "path", "{header.Accept-Language}"),
    ("path = \"/{header.\\\"a b\\\"}\"", "path", "not a header's name"),
    ("path = \"/{header.X-API-Key}\"", "path", "word to the gateway alone"),
    ("path = \"/a\"\nquery = { a = \"{header.X-Forwarded-Host}\" }", "query", "word to the gateway alone"),
    ("path = \"/{claim}\"", "path", "{claim.org}"),
    ("path = \"/{item.id}\"", "path", "each = \"call.list\""),
    ("path = \"/a\"\nservice = \"{order.service}\"", "service", "no value chooses"),
    ("path = \"/a\"\nservice = \"a/b\"", "service", "as it is registered"),
    ("path = \"/a\"\nquery = { a = 1 }", "query", "is a text"),
    ("path = \"/a\"\nquery = { a = \"{x.y}\" }", "query", "is no call"),
    ("path = \"/a\"\nheaders = { Connection = \"x\" }", "headers", "the gateway's to manage"),
    ("path = \"/a\"\nheaders = { Host = \"{query.host}\" }", "headers", "only the gateway says"),
    ("path = \"/a\"\nheaders = { X-Forwarded-Host = \"a{query.host}\" }", "headers", "only the gateway says"),
    ("path = \"/a\"\nheaders = { X = \"a\\nb{order.id}\" }", "headers", "no header can have"),
    ("path = \"/a\"\nbody = { a = 1 }", "body", "method = \"POST\""),
    ("path = \"/a\"\nmethod = \"POST\"\nbody = { a = [\"{item}\"] }", "body", "each = \"call.list\""),
    ("path = \"/a\"\nmethod = \"POST\"\nbody = { a = 2026-01-01 }", "body", "a date that JSON has not"),
    ("path = \"/a\"\nmethod = \"POST\"\nbody = { a = inf }", "body", "a fraction that JSON has not"),
    ("path = \"/a\"\nmethod = \"post\"", "method", "\"GET\", \"POST\""),
    ("path = \"/a\"\neach = \"{order.items}\"", "each", "without braces"),
    ("path = \"/a\"\neach = \"ordr.items\"", "each", "is no call"),
    ("path = \"/a\"\nmost = 3", "most", "which is not written"),
    ("path = \"/a\"\neach = \"order.items\"\nat_once = 0", "at_once", "from 1"),
    ("path = \"/a\"\nwhen = \"order.\"", "when", "is no JMESPath"),
    ("path = \"/a\"\nwhen = \"@\"", "when", "name what it reads"),
    ("path = \"/a\"\nwhen = \"item.a\"", "when", "each = \"call.list\""),
    ("path = \"/a\"\nwhen = \"header.\\\"X-Client\\\" == 'a'\"", "when", "write header.\"x-client\""),
    ("path = \"/a\"\nwhen = \"length(header) > `3`\"", "when", "reads all fields of the client's"),
    ("path = \"/a\"\nwhen = \"query.a && @.header.\\\"x-api-key\\\"\"", "when", "word to the gateway alone"),
    ("path = \"/a\"\non_error = \"ignore\"", "on_error", "`ignore` is not understood: write \"fail\""),
    ("path = \"/a\"\non_error = { 200 = \"null\" }", "on_error", "from 400 to 599"),
    ("path = \"/a\"\non_error = { value = 1, else = \"fail\" }", "on_error", "is not understood"),
    ("path = \"/a\"\non_error = \"stale\"", "on_error", "cache = { ttl = \"30s\" }"),
];

/// A whole configuration, the key and a part of the message of its one mistake.
const WHOLE: [(&str, &str, &str); 24] = [
    ("[[compose]]\nname = \"a\"", "compose[0].call", "[[compose.call]]"),
    ("[[compose]]\n[[compose.call]]\nname = \"a\"\nservice = \"s\"\npath = \"/\"", "compose[0].name", "is needed"),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"a\"\npath = \"/\"",
        "compose[0].call[0].service",
        "is needed",
    ),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"a\"\nservice = \"s\"",
        "compose[0].call[0].path",
        "is needed",
    ),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nservice = \"s\"\npath = \"/\"",
        "compose[0].call[0].name",
        "letters, digits and _",
    ),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"item\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].call[0].name",
        "another name",
    ),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/{b.id}\"",
        "compose[0].call[0]",
        "b -> b",
    ),
    (
        "[[compose]]\nname = \"a\"\nmost_calls = 1\n[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/\"\n[[compose.call]]\nname = \"c\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].call",
        "are 2, more than most_calls = 1",
    ),
    (
        "[[compose]]\nname = \"a\"\nanswer = \"{ b: \"\n[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].answer",
        "is no JMESPath",
    ),
    (
        "[[compose]]\nname = \"a\"\nanswer = \"c.id\"\n[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].answer",
        "`c` is no call of the compose; there are: b",
    ),
    ("[[route]]\ncompose = \"a\"", "route[0].compose", "is no [[compose]]"),
    ("[[route]]\nservice = \"s\"\nanswer = \"a\"", "route[0].answer", "shapes an aggregate"),
    ("[[route]]\nservice = \"s\"\nfields = false", "route[0].fields", "lets clients choose members of an aggregate"),
    ("[[compose]]\nname = \"a\"\nsize = \"1\"", "compose[0].size", "out of bounds"),
    ("[[compose]]\nname = \"a\"\nsizes = 1", "compose[0].sizes", "did you mean `size`"),
    ("[[compose]]\nname = \"a b\"", "compose[0].name", "begins with a letter"),
    ("[[compose]]\nname = \"4a\"", "compose[0].name", "begins with a letter"),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"_a\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].call[0].name",
        "begins with a letter",
    ),
    (
        "[[compose]]\nname = \"a\"\n[[compose.call]]\nname = \"a-b\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].call[0].name",
        "letters, digits and _",
    ),
    ("[aggregates]\nmemory = \"1023KiB\"", "aggregates.memory", "out of bounds: 1048576 to"),
    ("[[compose]]\nname = \"a\"\nerrors = \"yes\"", "compose[0].errors", "true or false"),
    (
        "[[compose]]\nname = \"a\"\nerrors = true\n[[compose.call]]\nname = \"errors\"\nservice = \"s\"\npath = \"/\"",
        "compose[0].call[0].name",
        "another name",
    ),
    ("[aggregates]\nwait = 1", "aggregates.wait", "with its unit"),
    ("[aggregates]\nwaits = \"1s\"", "aggregates.waits", "did you mean `wait`"),
];

/// What `answer` is in a route that takes keys only, the key and a part of the message of its one mistake.
const ANSWERS: [(&str, &str, &str); 13] = [
    ("1", "answer", "a text or a list of tables, not a number"),
    ("[]", "answer", "is empty"),
    ("[\"order\"]", "answer[0]", "is a table"),
    ("[{}]", "answer[0]", "says nothing"),
    ("[{ plan = \"gold\", answer = \"order\" }]", "answer[0].plan", "`gold` is no plan; there are: `silver`"),
    ("[{ plan = \"silver\", answer = \"ordr\" }]", "answer[0].answer", "`ordr` is no call"),
    ("[{ answer = \"{ all: @, id: ordr.id }\" }]", "answer[0].answer", "`ordr` is no call"),
    ("[{ plan = \"silver\", shape = \"order\" }]", "answer[0].shape", "there are: plan, claims, answer"),
    ("[{ answer = \"order\" }, { plan = \"silver\" }]", "answer[0]", "make it the last"),
    ("[{ plan = \"silver\" }, { plan = \"silver\", answer = \"@\" }]", "answer[1]", "entry of line 17 has the same"),
    ("[{ claims = { tier = \"gold\" } }]", "answer[0].claims", "none counts on this route: name an [[issuer]]"),
    ("[{ plan = \"silver\" }]\nauth = false", "answer[0].plan", "write auth = true"),
    ("\"uppercase(order)\"", "answer", "there is no function uppercase()"),
];

/// What follows [`BASE`], the key and a part of the message of its one mistake.
const MORE: [(&str, &str, &str); 14] = [
    ("[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\nfields = 1", "route[1].fields", "true or false"),
    (
        "query = { of = \"{query.fields}\" }\n[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\nfields = true",
        "route[1].fields",
        "{query.fields} (line 10) is what clients choose",
    ),
    (
        "headers = { \"X.User\" = \"a\" }\n[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\nforward = { sub = \"X-User\" }",
        "compose[0].call[0].headers",
        "where an issuer's `forward` says a claim",
    ),
    ("[aggregates]\nmemory = \"2MiB\"", "aggregates.memory", "is 2MiB, and [[compose]] `page` may take 4MiB for one"),
    (
        "object = \"1GiB\"\n[aggregates]\nwait = \"0s\"",
        "aggregates.memory",
        "is 64MiB, and [[compose]] `page` may take 1GiB",
    ),
    (
        "[[compose.call]]\nname = \"c\"\nservice = \"s\"\npath = \"/{claim.org}\"",
        "route[0].compose",
        "needs claims (line 13), and no token counts",
    ),
    (
        "[[compose.call]]\nname = \"c\"\nservice = \"s\"\npath = \"/\"\nwhen = \"claim.org == 'a'\"",
        "route[0].compose",
        "needs claims (line 14)",
    ),
    ("[[compose.call]]\nname = \"order\"\nservice = \"s\"\npath = \"/\"", "compose[0].call[1].name", "two calls"),
    (
        "[[compose.call]]\nname = \"list\"\nservice = \"s\"\neach = \"order.items\"\npath = \"/{item}\"\n[[compose.call]]\nname = \"after\"\nservice = \"s\"\npath = \"/{list.id}\"",
        "compose[0].call[2].path",
        "each = \"list\"",
    ),
    (
        "[[route]]\npath = { exact = \"/x\" }\ncompose = \"page\"",
        "route[1].compose",
        "needs {id} (line 9), which is neither",
    ),
    ("[[route]]\npath = { pattern = \"/y/{*id}\" }\ncompose = \"page\"", "route[1].compose", "one segment each"),
    (
        "[[route]]\npath = { pattern = \"/x/{id}/{order}\" }\ncompose = \"page\"",
        "route[1].compose",
        "a parameter of this route's path: give",
    ),
    ("[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\nservice = \"s\"", "route[1]", "keep one"),
    (
        "[[compose]]\nname = \"page\"\n[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/\"",
        "compose[1].name",
        "that of line 4",
    ),
];

fn has(text: &str, key: &str, part: &str) {
    let found = mistakes(text);
    let hit = found.iter().any(|(line, k, m)| *line > 0 && k == key && m.contains(part));
    assert!(hit, "{text}\n{key}: {part}\n{found:#?}");
}

fn config(text: &str) -> Config {
    let config = parse(Some(text), "test", Overrides::default(), &env());
    config.unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_mistake_of_an_aggregate_names_its_line_its_key_and_the_remedy() {
    for (text, key, part) in CALLS {
        let service = if text.contains("service = ") { "" } else { "service = \"users\"\n" };
        let text = format!("{BASE}[[compose.call]]\nname = \"user\"\n{service}{text}\n");
        has(&text, &format!("compose[0].call[1].{key}"), part);
        assert_eq!(mistakes(&text).len(), 1, "{text}\n{:#?}", mistakes(&text));
    }
    WHOLE.iter().for_each(|(text, key, part)| has(text, key, part));
    for (text, key, part) in ANSWERS {
        let plan = "[[plan]]\nname = \"silver\"\nlimits = [\"1/s\"]\n";
        let route = "[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\n";
        let text = format!("{BASE}{plan}{route}\nanswer = {text}\n");
        has(&text, &format!("route[1].{key}"), part);
        assert_eq!(mistakes(&text).len(), 1, "{text}\n{:#?}", mistakes(&text));
    }
    MORE.iter().for_each(|(text, key, part)| has(&format!("{BASE}{text}"), key, part));
}

/// Calls of these names, each of which needs those behind the colon.
fn calls(needs: &[(&str, &[&str])]) -> String {
    let call = |(name, needs): &(&str, &[&str])| {
        let path: String = needs.iter().map(|need| format!("/{{{need}.id}}")).collect();
        format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"/x{path}\"\n")
    };
    format!("[[compose]]\nname = \"page\"\n{}", needs.iter().map(call).collect::<String>())
}

#[test]
fn a_circle_is_named_in_its_order() {
    let text = calls(&[("a", &[]), ("b", &["d", "a"]), ("c", &["b"]), ("d", &["c"])]);
    has(&text, "compose[0].call[1]", "b -> d -> c -> b");
    let text = calls(&[("outside", &["b"]), ("b", &["c"]), ("c", &["b"])]);
    has(&text, "compose[0].call[1]", "b -> c -> b");
}

#[test]
fn calls_stand_in_an_order_in_which_each_comes_after_what_it_needs() {
    let text = calls(&[("a", &["c"]), ("b", &[]), ("c", &["b"]), ("d", &["a", "b"])]);
    let composes = config(&text).composes;
    let order: Vec<_> = composes[0].calls.iter().map(|call| (&*call.name, call.needs.clone())).collect();
    assert_eq!(order, [("b", vec![]), ("c", vec![0]), ("a", vec![1]), ("d", vec![0, 2])]);
    for call in &composes[0].calls {
        let named = call.path.0.iter().filter_map(|piece| match piece {
            Piece::Value(Value::Answer { call, .. }, _) => Some(*call),
            _ => None,
        });
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        assert_eq!(named, call.needs, "values name the same places");
    }
}

#[test]
fn eight_calls_in_a_row_are_the_most() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let chain = |length: usize| {
        let needs: Vec<Vec<&str>> = (0..length).map(|at| names[..at].last().copied().into_iter().collect()).collect();
        let all: Vec<_> = needs.iter().enumerate().map(|(at, needs)| (names[at], &needs[..])).collect();
        calls(&all)
    };
    assert_eq!(config(&chain(8)).composes[0].calls.len(), 8);
    has(&chain(9), "compose[0].call[8]", "8 calls in a row are the most (a, b, c, d, e, f, g, h, i)");
}

#[test]
fn what_nobody_uses_or_provides_is_a_warning() {
    let unused = config(&calls(&[("a", &[])]));
    assert!(unused.warnings.iter().any(|warning| warning.contains("`page` is used by no route")));
    let text = format!("[[service]]\nname = \"other\"\ninstances = [\"10.0.0.1:80\"]\n{BASE}");
    let warnings = config(&text).warnings;
    assert!(warnings.iter().any(|w| w.contains("`order` of [[compose]] `page` leads to `orders`")), "{warnings:?}");
}

#[test]
fn an_aggregate_without_a_key_beyond_loopback_must_be_asked_for_in_so_many_words() {
    let listener = "[[listener]]\naddress = \"0.0.0.0:5000\"\n";
    let text = BASE.replace("compose = \"page\"", "compose = \"page\"\nauth = false");
    let found = mistakes(&format!("{listener}{text}"));
    assert!(found.iter().any(|(_, _, message)| message.contains("open_to_everyone")), "{found:?}");
}

#[test]
fn an_expression_that_nests_too_deep_is_a_mistake_and_does_not_end_the_process() {
    let call = format!("{BASE}[[compose.call]]\nname = \"user\"\nservice = \"s\"\npath = \"/\"\n");
    let when = |expression: &str| format!("{call}when = {}\n", toml_text(expression));
    for unit in ["!", "&", "(", "[", "[*]", "[]", "[?", "{a:", "a.", "a|", "a||", "a&&", "a==", "*.", "f(a,", "[a,[b]."]
    {
        has(&when(&format!("order{}", unit.repeat(600))), "compose[0].call[1].when", "nested deeper than 256");
        has(&when(&format!("{}order", unit.repeat(600))), "compose[0].call[1].when", "nested deeper than 256");
        // What is just below the bound is parsed, and may be right or wrong.
        let few = 256 / unit.bytes().filter(|b| !b.is_ascii_alphanumeric()).count();
        let _ = parse(Some(&when(&format!("{}order", unit.repeat(few)))), "test", Overrides::default(), &env());
    }
    let long = format!("[{}order]", "order.id, ".repeat(300));
    assert!(parse(Some(&when(&long)), "test", Overrides::default(), &env()).is_ok(), "many parts beside each other");
}

proptest! {
    #[test]
    fn no_value_and_no_expression_makes_the_reader_panic(text in "[{}\"'`@*.a-z0-9/ \\\\\\[\\]()|&!<>=-]{0,40}") {
        let key = |key: &str| format!("{key} = {}\n", toml_text(&text));
        let call = format!("{BASE}[[compose.call]]\nname = \"user\"\nservice = \"s\"\n");
        for more in [key("path"), format!("path = \"/\"\n{}", key("each")), format!("path = \"/\"\n{}", key("when"))] {
            let _ = parse(Some(&format!("{call}{more}")), "test", Overrides::default(), &env());
        }
    }
}

/// A text as TOML writes it.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
