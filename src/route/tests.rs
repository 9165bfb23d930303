//! Which route wins, by table; and that what is found is what the path says, by property.

use http::{HeaderMap, HeaderName, Method};
use proptest::prelude::*;

use super::*;
use crate::config::routes::Action;
use crate::config::{Environment, Overrides, parse};

fn table(text: &str) -> Table {
    let env = Environment::of(&[("LICTOR_API_KEY", "k")]);
    let config = parse(Some(text), "test", Overrides::default(), &env).unwrap_or_else(|errors| panic!("{errors}"));
    Table::new(&config.routes, 1)
}

fn find(table: &Table, host: &str, path: &str) -> Option<Found> {
    let (method, headers) = (&Method::GET, &HeaderMap::new());
    super::find(table, &Lookup { host: Some(host), path, query: None, method, headers }).ok()
}

fn name(table: &Table, host: &str, path: &str) -> String {
    find(table, host, path).map(|found| found.entry.route.name.to_string()).unwrap_or_default()
}

#[test]
fn the_segment_after_the_api_prefix_names_the_service_and_the_rest_stays_as_it_is() {
    let table = table("");
    for (path, service, stripped) in [
        ("/api/orders/1", "orders", "/api/orders"),
        ("/api/orders", "orders", "/api/orders"),
        ("/api/orders/", "orders", "/api/orders"),
        ("/api/orders//x", "orders", "/api/orders"),
        ("/api/a%20b/x", "a%20b", "/api/a%20b"),
    ] {
        let found = find(&table, "any", path).unwrap_or_else(|| panic!("{path} has a route"));
        assert_eq!((found.service(path), found.stripped(path)), (Some(service), stripped), "{path}");
    }
    for path in ["/", "/api", "/api/", "/api//x", "/apiary/orders", "/orders", "/API/orders"] {
        assert_eq!(name(&table, "any", path), "", "{path}");
    }
}

/// Name, host, path, and what else it asks for.
fn routes(list: &[(&str, &str, &str)]) -> String {
    let one = |(name, host, rest): &(&str, &str, &str)| {
        let host = if host.is_empty() { String::new() } else { format!("host = \"{host}\"\n") };
        format!("[[route]]\nname = \"{name}\"\n{host}{rest}\nservice = \"s\"\n")
    };
    list.iter().map(one).collect()
}

#[test]
fn the_most_specific_route_wins_by_host_then_path_then_conditions() {
    let table = table(&routes(&[
        ("any", "", "path = { prefix = \"/\" }"),
        ("orders", "", "path = { prefix = \"/orders\" }"),
        ("one", "", "path = { pattern = \"/orders/{id}\" }"),
        ("new", "", "path = { exact = \"/orders/new\" }"),
        ("items", "", "path = { pattern = \"/orders/{id}/items/{*rest}\" }"),
        ("shop", "shop.example.com", "path = { prefix = \"/orders\" }"),
        ("below", "*.example.com", "path = { prefix = \"/\" }"),
        ("deeper", "*.eu.example.com", "path = { prefix = \"/\" }"),
        ("six", "[2001:db8::1]", "path = { prefix = \"/six\" }"),
        ("over-api", "", "path = { prefix = \"/api/orders\" }"),
    ]));
    for (host, path, wins) in [
        ("x", "/", "any"),
        ("x", "/orders", "orders"),
        ("x", "/orders/", "orders"),
        ("x", "/orders-old", "any"),
        ("x", "/orders/7", "one"),
        ("x", "/orders/new", "new"),
        ("x", "/orders/new/", "orders"),
        ("x", "/orders/7/items/1/2", "items"),
        ("x", "/orders/7/other", "orders"),
        ("shop.example.com", "/orders/7", "shop"),
        ("SHOP.Example.com:8080", "/orders/7", "shop"),
        ("shop.example.com.", "/orders/7", "shop"),
        ("shop.example.com", "/other", "below"),
        ("a.b.eu.example.com", "/orders", "deeper"),
        ("example.com", "/orders", "orders"),
        ("[2001:DB8::1]:80", "/six/1", "six"),
        ("x", "/api/orders/1", "over-api"),
        ("x", "/api/users/1", "api"),
    ] {
        assert_eq!(name(&table, host, path), wins, "{host}{path}");
    }
}

#[test]
fn conditions_choose_among_routes_of_one_path_and_a_miss_by_method_says_what_is_allowed() {
    let table = table(&routes(&[
        ("plain", "", "path = { exact = \"/x\" }\nmethods = [\"GET\"]"),
        (
            "beta",
            "",
            "path = { exact = \"/x\" }\nmethods = [\"GET\"]\nheaders = { X-Beta = true }\nquery = { v = \"9\" }",
        ),
        ("two", "", "path = { exact = \"/x\" }\nmethods = [\"GET\"]\nquery = { v = \"2 3\" }"),
        ("write", "", "path = { exact = \"/x\" }\nmethods = [\"PUT\", \"POST\"]"),
    ]));
    let asked = |method: &Method, header: Option<(&str, &str)>, query: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.insert(name, value.parse().expect("a value"));
        }
        let found = crate::route::find(&table, &Lookup { host: None, path: "/x", query, method, headers: &headers });
        found.map(|found| found.entry.route.name.to_string()).map_err(Missed::allowed)
    };
    assert_eq!(asked(&Method::GET, None, None), Ok("plain".into()));
    assert_eq!(asked(&Method::HEAD, None, None), Ok("plain".into()));
    assert_eq!(asked(&Method::GET, Some(("x-beta", "")), Some("v=9")), Ok("beta".into()));
    assert_eq!(asked(&Method::GET, None, Some("a=1&v=2%203")), Ok("two".into()));
    assert_eq!(asked(&Method::GET, None, Some("v=2")), Ok("plain".into()));
    assert_eq!(asked(&Method::POST, None, None), Ok("write".into()));
    assert_eq!(asked(&Method::DELETE, None, None), Err("GET, HEAD, POST, PUT".into()));
}

#[test]
fn templates_are_filled_with_what_the_path_says() {
    let table = table(
        "[[route]]\npath = { pattern = \"/old/{id}/{*rest}\" }\nredirect = { to = \"https://{host}/new/{id}/{rest}?from={path}\" }\n",
    );
    let found = find(&table, "h", "/old/7/a/b").expect("a route");
    let Action::Redirect { to, .. } = &found.entry.route.action else { panic!("a redirect") };
    assert_eq!(found.fill(to, "/old/7/a/b", Some("h:1")), "https://h:1/new/7/a/b?from=/old/7/a/b");
    let found = find(&table, "h", "/old/7").expect("a route");
    assert_eq!(found.fill(to, "/old/7", Some("h")), "https://h/new/7/?from=/old/7");
}

#[test]
fn another_spelling_of_another_routes_path_is_ambiguous_and_of_ones_own_it_is_not() {
    let table =
        table(&routes(&[("private", "", "path = { prefix = \"/a:b/c\" }"), ("all", "", "path = { prefix = \"/\" }")]));
    for (path, ambiguous) in [
        ("/a%3Ab/c", true),
        ("/a%3Ab/c/d", true),
        ("/a%3Ab/;/c", true),
        ("//a%3Ab//c", true),
        ("/a%3Ab/x", false),
        ("/a%20b/c", false),
        ("/a:b/c/%3A", false),
        ("/a%3ab", false),
    ] {
        let (method, headers) = (&http::Method::GET, &http::HeaderMap::new());
        let lookup = Lookup { host: None, path, query: None, method, headers };
        let found = super::find(&table, &lookup).expect("a route");
        assert_eq!(is_ambiguous(&table, &lookup, &found), ambiguous, "{path}");
    }
    for (path, plain) in [
        ("a%3Ab", "a:b"),
        ("%40%2B", "@+"),
        ("a%20b%25", "a%20b%25"),
        ("%", "%"),
        ("a%3", "a%3"),
        ("%C3%A4%2C", "%C3%A4,"),
    ] {
        assert_eq!(super::plain(path), plain);
    }
}

#[test]
fn among_ten_thousand_routes_each_finds_its_own() {
    let mut text = String::new();
    for number in 0..10_000 {
        text += &format!(
            "[[route]]\nname = \"r{number}\"\nhost = \"h{}.example.com\"\npath = {{ prefix = \"/a/{number}\" }}\nservice = \"s\"\n",
            number % 100
        );
    }
    let table = table(&text);
    for number in (0..10_000).step_by(97) {
        let host = format!("h{}.example.com", number % 100);
        assert_eq!(name(&table, &host, &format!("/a/{number}/x")), format!("r{number}"));
    }
    assert_eq!(name(&table, "h1.example.com", "/a/2/x"), "");
}

proptest! {
    #[test]
    fn whatever_the_path_the_parts_found_are_parts_of_it(path in "(/[a-c%.~]{0,3}){1,6}", host in "[a-z.:\\[\\]]{0,12}") {
        let table = table(&routes(&[
            ("a", "", "path = { pattern = \"/{x}/b/{*rest}\" }"),
            ("b", "", "path = { pattern = \"/a/{x}/{y}\" }"),
            ("c", "*.b", "path = { prefix = \"/\" }"),
        ]));
        if let Some(found) = find(&table, &host, &path) {
            prop_assert!(path.starts_with(found.stripped(&path)));
            prop_assert!(path.ends_with(found.rest(&path)));
            prop_assert!(found.rest(&path).is_empty() || found.rest(&path).starts_with('/'));
        }
    }
}

#[test]
fn a_route_leads_to_a_service_that_it_names_or_that_a_call_of_its_aggregate_does() {
    let call = |name: &str| format!("[[compose.call]]\nname = \"{name}\"\nservice = \"{name}\"\npath = \"/\"\n");
    let compose = format!("[[compose]]\nname = \"page\"\n{}{}", call("orders"), call("users"));
    let route = "[[route]]\npath = { exact = \"/page\" }\ncompose = \"page\"\n";
    let table = table(&format!("{compose}{route}{}", routes(&[("s", "", "path = { exact = \"/s\" }")])));
    let to = |service: &str| table.to(service).collect::<Vec<_>>();
    assert_eq!(to("users"), ["/api/users/{*path}", "GET,HEAD /page"]);
    assert_eq!(
        (to("s"), to("x")),
        (vec!["/api/s/{*path}".to_owned(), "/s".to_owned()], vec!["/api/x/{*path}".to_owned()])
    );
}

#[test]
fn what_came_of_a_compose_is_counted_over_its_routes_and_stays_when_one_of_them_goes() {
    use super::journal::{Ending, Outcome};
    use crate::worker::WorkerId;
    let compose = "[[compose]]\nname = \"page\"\n[[compose.call]]\nname = \"a\"\nservice = \"s\"\npath = \"/\"\n";
    let route = |path: &str| format!("[[route]]\npath = {{ exact = \"{path}\" }}\ncompose = \"page\"\n");
    let composed = |table: &Table, place: usize| {
        let mut all = table.all().iter().filter_map(|entry| entry.composed.clone());
        all.nth(place).expect("an aggregate")
    };
    let before = table(&format!("{compose}{}{}", route("/a"), route("/b")));
    for place in [0, 1, 1] {
        composed(&before, place).journal.count(WorkerId(0), Outcome::Complete);
        composed(&before, place).requests[0].record(WorkerId(0), Ending::Answered, std::time::Duration::ZERO);
    }
    for paths in [["/a", "/c"], ["/b", "/c"], ["/c", "/d"]] {
        let after = table(&format!("{compose}{}", paths.map(route).concat())).keeping(&before);
        for place in [0, 1] {
            let composed = composed(&after, place);
            let counted = (composed.journal.counted(Outcome::Complete), composed.requests[0].count(Ending::Answered));
            assert_eq!(counted, (3, 3), "{paths:?}");
        }
    }
}

/// The fields by which the aggregate of the route `page` varies, beside these others.
fn varies(page: &str, others: &[&str]) -> String {
    let calls = "[[compose]]\nname = \"page\"\n[[compose.call]]\nname = \"a\"\nservice = \"s\"\npath = \"/{header.X-Of}\"\nwhen = \"header.\\\"x-if\\\" == 'a'\"\n";
    let route = |more: &str| format!("[[route]]\n{more}\n");
    let others: String = others.iter().map(|more| route(&format!("service = \"s\"\n{more}"))).collect();
    let table = table(&(route(&format!("name = \"page\"\ncompose = \"page\"\n{page}")) + &others + calls));
    let entry = table.all().iter().find(|entry| &*entry.route.name == "page").expect("it is there");
    let composed = entry.composed.as_ref().expect("it is an aggregate");
    assert!(!composed.personal);
    let names: Vec<&str> = composed.varies.iter().map(HeaderName::as_str).collect();
    names.join(" ").replace("x-of x-if", "").trim().to_owned()
}

#[test]
fn an_aggregate_varies_by_the_fields_that_could_have_chosen_another_route_and_by_no_others() {
    let conditions = "methods = [\"GET\"]\nheaders = { X-Beta = \"1\" }\n";
    for (page, other, wanted) in [
        ("path = { prefix = \"/page\" }", "path = { prefix = \"/page\" }", "x-beta"),
        ("path = { prefix = \"/page\" }", "path = { exact = \"/page\" }", "x-beta"),
        ("path = { exact = \"/page\" }", "path = { prefix = \"/page\" }", ""),
        ("path = { prefix = \"/page\" }", "path = { pattern = \"/page/{id}\" }", "x-beta"),
        ("path = { prefix = \"/page\" }", "path = { prefix = \"/\" }", ""),
        ("path = { prefix = \"/page\" }", "path = { prefix = \"/other\" }", ""),
        ("path = { pattern = \"/{tenant}/page\" }", "path = { prefix = \"/acme\" }", "x-beta"),
        ("path = { pattern = \"/page\" }", "path = { pattern = \"/{name}\" }", ""),
        ("path = { prefix = \"/page\" }", "host = [\"a.example\"]\npath = { prefix = \"/\" }", "x-beta"),
        ("host = [\"a.example\"]\npath = { prefix = \"/page\" }", "path = { prefix = \"/page\" }", ""),
        (
            "host = [\"a.example\"]\npath = { prefix = \"/page\" }",
            "host = [\"b.example\"]\npath = { prefix = \"/page\" }",
            "",
        ),
        (
            "host = [\"*.example\"]\npath = { prefix = \"/page\" }",
            "host = [\"b.example\"]\npath = { prefix = \"/\" }",
            "x-beta",
        ),
        (
            "host = [\"b.example\"]\npath = { prefix = \"/page\" }",
            "host = [\"*.example\"]\npath = { prefix = \"/page\" }",
            "",
        ),
        (
            "host = [\"*.example\"]\npath = { prefix = \"/page\" }",
            "host = [\"*.a.example\"]\npath = { prefix = \"/\" }",
            "x-beta",
        ),
    ] {
        assert_eq!(varies(page, &[&format!("{other}\n{conditions}")]), wanted, "{page} beside {other}");
    }
    let own = "path = { prefix = \"/page\" }\nheaders = { X-Client = \"phone\" }";
    assert_eq!(varies(own, &[]), "x-client");
    assert_eq!(varies(own, &["path = { prefix = \"/page\" }"]), "x-client");
}

#[test]
fn what_is_stored_of_an_aggregate_is_another_routes_once_it_varies_by_more() {
    let calls = "[[compose]]\nname = \"page\"\n[[compose.call]]\nname = \"a\"\nservice = \"s\"\npath = \"/\"\n[[route]]\nname = \"page\"\ncompose = \"page\"\n";
    let canary = "[[route]]\nname = \"canary\"\nservice = \"s\"\nmethods = [\"GET\"]\nheaders = { X-Beta = \"1\" }\n";
    let form = |text: &str| {
        let table = table(text);
        table.all().iter().find(|entry| &*entry.route.name == "page").expect("it is there").form.clone()
    };
    assert_ne!(form(calls), form(&format!("{calls}{canary}")));
}
