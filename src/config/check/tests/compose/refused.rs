//! What would never do anything in an aggregate, and is refused for that.

use super::*;

/// A key of a second call of [`BASE`] with its mistake, and what the call says.
const CALLS: [(&str, &str, &str); 18] = [
    ("headers", "`host` says who asks, or whom", "path = \"/a\"\nheaders = { Host = \"shop.example\" }"),
    ("headers", "`x-api-key` says who asks", "path = \"/a\"\nheaders = { X-API-Key = \"k\" }"),
    ("headers", "`x-forwarded-proto` says", "path = \"/a\"\nheaders = { X-Forwarded-Proto = \"https\" }"),
    ("headers", "`x_forwarded_for` says", "path = \"/a\"\nheaders = { X_Forwarded_For = \"{query.ip}\" }"),
    ("headers", "`x.api.key` says", "path = \"/a\"\nheaders = { \"X.API.Key\" = \"k\" }"),
    ("headers", "`tracestate` says", "path = \"/a\"\nheaders = { Tracestate = \"a=b\" }"),
    ("headers", "write another scheme", "path = \"/a\"\nheaders = { Authorization = \"apikey k\" }"),
    ("on_error", "is for a GET", "path = \"/a\"\nmethod = \"POST\"\ncache = { ttl = \"1s\" }\non_error = \"stale\""),
    ("on_error", "is for a GET", "path = \"/a\"\nmethod = \"POST\"\non_error = { 404 = \"stale\" }"),
    ("path", "{ itself does not stand in a path: percent-encode it, %7B", "path = \"/a{{b}}\""),
    ("path", "%7D", "path = \"/a}}b\""),
    ("path", "percent-encode it, %2A", "path = \"/files/*\""),
    ("path", "fits only alone in a body", "path = \"/x/{list}\""),
    ("query", "fits only alone in a body", "path = \"/\"\nquery = { all = \"{list}\" }"),
    ("body", "fits only alone in a body", "path = \"/\"\nmethod = \"POST\"\nbody = { a = \"all: {list}\" }"),
    ("path", "`motd` expects a text, which has no members", "path = \"/{motd.title}\""),
    ("each", "`motd` expects a text, in which there is no list", "path = \"/\"\neach = \"motd.items\""),
    ("each", "`motd` expects a text", "path = \"/\"\neach = \"motd\""),
];

/// A call whose answer is a list, and one whose answer is a text, behind [`BASE`] and a second call.
const OTHERS: &str = "[[compose.call]]\nname = \"list\"\nservice = \"s\"\neach = \"order.items\"\npath = \"/{item}\"\n[[compose.call]]\nname = \"motd\"\nservice = \"s\"\nexpects = \"text\"\npath = \"/\"\n";

#[test]
fn what_a_call_says_in_vain_is_a_mistake_with_a_remedy_that_calls_have() {
    for (key, part, text) in CALLS {
        let text = format!("{BASE}[[compose.call]]\nname = \"user\"\nservice = \"users\"\n{text}\n{OTHERS}");
        has(&text, &format!("compose[0].call[1].{key}"), part);
        assert_eq!(mistakes(&text).len(), 1, "{text}\n{:#?}", mistakes(&text));
    }
    for fine in [
        "path = \"/{motd}\"\nmethod = \"POST\"\nbody = { all = \"{list}\", text = \"{motd}!\" }",
        "path = \"/%7B%2A\"",
        "path = \"/\"\nheaders = { Authorization = \"Basic a2V5\", X-Team = \"shop\" }",
    ] {
        config(&format!("{BASE}[[compose.call]]\nname = \"user\"\nservice = \"users\"\n{fine}\n{OTHERS}"));
    }
}

#[test]
fn a_route_cannot_say_of_an_aggregate_what_holds_for_calls() {
    let route = "[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\n";
    for (key, text) in [
        ("retry", "retry = { more = 0 }"),
        ("breaker", "breaker = false"),
        ("request_headers", "request_headers = { set = { X-A = \"b\" } }"),
        ("timeouts.connect", "timeouts = { connect = \"1s\" }"),
        ("timeouts.idle", "timeouts = { idle = \"1s\", total = \"1s\" }"),
    ] {
        let text = format!("{BASE}{route}{text}\n");
        has(&text, &format!("route[1].{key}"), "in the [[compose.call]]");
        assert_eq!(mistakes(&text).len(), 1, "{text}\n{:#?}", mistakes(&text));
    }
    config(&format!("{BASE}{route}timeouts = {{ total = \"1s\" }}\ncache = {{ ttl = \"1s\" }}\n"));
}

#[test]
fn a_shape_for_callers_who_all_fit_an_earlier_one_is_a_mistake() {
    let issuer = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = \"api\"\n";
    let plan = "[[plan]]\nname = \"silver\"\nlimits = [\"1/s\"]\n";
    let with = |answer: &str| {
        let route =
            "[[route]]\npath = { pattern = \"/x/{id}\" }\ncompose = \"page\"\nauth = { any = [\"key\", \"corp\"] }\n";
        format!("{BASE}{issuer}{plan}{route}answer = [{answer}]\n")
    };
    let gold = "{ claims = { tier = \"gold\" }, answer = \"order\" }";
    let both = "{ plan = \"silver\", claims = { tier = \"gold\" }, answer = \"@\" }";
    for answer in [
        format!("{gold}, {both}"),
        format!("{{ plan = \"silver\" }}, {both}"),
        format!("{gold}, {{ claims = {{ tier = \"gold\", org = \"a\" }} }}"),
    ] {
        let text = with(&answer);
        has(&text, "route[1].answer[1]", "fits the entry of line 21, too: write it above");
        assert_eq!(mistakes(&text).len(), 1, "{text}\n{:#?}", mistakes(&text));
    }
    config(&with(&format!("{both}, {gold}, {{ plan = \"silver\" }}")));
}

#[test]
fn a_circle_is_reported_beside_the_mistakes_of_other_calls() {
    let text = format!(
        "{}[[compose.call]]\nname = \"c\"\nservice = \"s\"\npath = \"c\"\n",
        calls(&[("a", &["b"]), ("b", &["a"])])
    );
    has(&text, "compose[0].call[0]", "a -> b -> a");
    has(&text, "compose[0].call[2].path", "does not begin with /");
}

#[test]
fn whoever_names_what_there_is_none_of_is_told_so() {
    has("[[route]]\ncompose = \"a\"", "route[0].compose", "`a` is no [[compose]]; there are: none");
}

#[test]
fn a_stored_answer_to_a_call_that_says_who_asks_is_a_warning() {
    let second = "[[compose.call]]\nname = \"user\"\nservice = \"users\"\npath = \"/u\"\n";
    for (more, wanted) in [
        (
            "headers = { Authorization = \"Bearer x\" }\ncache = { ttl = \"1m\" }",
            "sends `authorization`, and it has `cache`",
        ),
        ("headers = { Cookie = \"{header.Cookie}\" }\ncache = { ttl = \"1m\" }\non_error = \"stale\"", "has \"stale\""),
        ("headers = { Authorization = \"Bearer x\" }", ""),
        ("headers = { X-Of = \"1\" }\ncache = { ttl = \"1m\" }", ""),
        ("headers = { Cookie = \"a=b\" }\ncache = { enabled = false }", ""),
    ] {
        let warnings = config(&format!("{BASE}{second}{more}\n")).warnings;
        let found = warnings.iter().find(|warning| warning.contains("with this field is stored"));
        assert_eq!(found.is_some_and(|found| found.contains(wanted)), !wanted.is_empty(), "{more}: {warnings:?}");
        assert!(found.is_some() || wanted.is_empty(), "{more}: {warnings:?}");
    }
}

#[test]
fn a_call_that_changes_something_without_methods_of_its_route_is_a_warning() {
    let pay = |methods: &str| {
        let call = "[[compose.call]]\nname = \"pay\"\nservice = \"s\"\nmethod = \"DELETE\"\npath = \"/\"\n";
        let route = format!("path = {{ pattern = \"/pages/{{id}}\" }}\n{methods}");
        let warnings =
            config(&format!("{}{call}", BASE.replace("path = { pattern = \"/pages/{id}\" }\n", &route))).warnings;
        warnings.iter().any(|warning| warning.contains("`pay` of [[compose]] `page` is a DELETE, which its GET"))
    };
    assert!(pay(""));
    assert!(!pay("methods = [\"DELETE\"]\n") && !pay("methods = [\"GET\", \"HEAD\"]\n"));
}

#[test]
fn what_takes_more_memory_than_there_is_is_said_in_a_line_that_is_written() {
    let found = mistakes(&format!("{BASE}object = \"1GiB\"\n"));
    let wanted = |(line, key, _): &(usize, String, String)| (*line, key.as_str()) == (4, "aggregates.memory");
    assert!(found.iter().any(wanted), "{found:#?}");
    let warnings = config(&format!("{BASE}object = \"62MiB\"\n")).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("`page` may take 66MiB")), "{warnings:?}");
    let warnings = config(&format!("{BASE}object = \"60MiB\"\n")).warnings;
    assert!(warnings.iter().all(|warning| !warning.contains("may take")), "{warnings:?}");
}
