//! Values in their places: none changes more than its own.

use http::HeaderName;
use percent_encoding::percent_decode_str;

use super::{compose, known};
use crate::proxy::compose::failure::Failure;
use crate::proxy::compose::render::{Known, Rendered, requests};
use crate::shape;

/// What clients and services may say to break out of a place.
const HOSTILE: &[&str] = &[
    "../",
    "..",
    ".",
    "...",
    "../../etc/passwd",
    "..%2f..%2f",
    "%2e%2e",
    "%2e%2e%2f",
    "%252e%252e",
    "/",
    "//",
    "//evil.example",
    "\\",
    "..\\",
    "a/b",
    "a//b",
    "/a",
    "a/",
    "%2f",
    "%2F",
    "%5c",
    "?",
    "a?b=c",
    "?admin=1",
    "%3f",
    "#",
    "#x",
    "%23",
    "&",
    "&a=b",
    "a&b",
    "=",
    ";",
    ";v=1",
    "..;",
    "..;/x",
    "+",
    " ",
    "a b",
    "\t",
    "\r\n",
    "\r\nX-Admin: 1",
    "\r\n\r\nGET / HTTP/1.1",
    "\n",
    "%0d%0a",
    "\0",
    "a\0b",
    "%00",
    "http://evil.example/",
    "@evil.example",
    ":80",
    "a:b@c",
    "\u{e9}",
    "\u{2025}",
    "\u{ff0f}",
    "\u{202e}x",
    "\u{fffd}",
    "\u{1f600}",
    "{id}",
    "{{",
    "\"",
    "\",\"admin\":true,\"x\":\"",
    "'",
    "<script>",
    "$(id)",
    "`id`",
    "null",
    "true",
    "0",
    "%",
    "%%",
    "%zz",
    "*",
    "~",
    "-",
    "_",
    "!",
];

const CALL: &str = r#"
[[compose.call]]
name = "first"
service = "orders"
path = "/first"
[[compose.call]]
name = "one"
service = "orders"
method = "POST"
path = "/a/{first.v}/b/x{first.v}y/c"
query = { q = "{first.v}", r = "x{first.v}y", s = "1" }
headers = { X-Alone = "{first.v}", X-Part = "x{first.v}y" }
body = { alone = "{first.v}", part = "x{first.v}y", list = ["{first.v}"], after = 1 }
"#;

fn render(value: &str) -> Result<Rendered, Failure> {
    let compose = compose(CALL);
    let answer = serde_json::json!({ "v": value }).to_string();
    let known = known(&compose, &["1", "n"], "", &[(0, &answer)]);
    let mut requests = requests(&known, &compose.calls[1])?;
    let (_, request) = requests.elements.remove(0);
    let place = request?.expect("it is asked");
    Ok(requests.different.remove(place))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}

#[test]
fn a_hostile_value_in_any_place_is_that_place_or_a_failed_call() {
    assert!(HOSTILE.len() >= 60);
    for value in HOSTILE {
        let segment = value.split(';').next().unwrap_or_default();
        let rendered = match render(value) {
            Ok(rendered) => rendered,
            // What a server would resolve or take for several segments, also where it is percent-encoded.
            Err(failure) => {
                let parts = value.contains(['/', '\\', '\0']);
                assert!(
                    (parts || matches!(segment, "." | "..")) && failure.reason == "bad_value",
                    "{value:?}: {failure:?}"
                );
                continue;
            }
        };
        assert!(!matches!(*value, "." | "..") && !value.contains(['/', '\\', '\0']), "{value:?}");
        // The path has its segments, and the query its parameters.
        let path = rendered.path.path();
        assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/%-._~".contains(&b)), "{path}");
        let segments: Vec<_> = path.split('/').skip(1).map(decoded).collect();
        assert_eq!(segments, ["a", value, "b", &format!("x{value}y"), "c"]);
        let query = rendered.path.query().expect("it has one");
        assert!(query.bytes().all(|b| b.is_ascii_alphanumeric() || b"=&%-._~".contains(&b)), "{query}");
        let pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').expect("a pair")).collect();
        let wanted = [("q", (*value).to_owned()), ("r", format!("x{value}y")), ("s", "1".to_owned())];
        assert_eq!(pairs.iter().map(|(name, value)| (*name, decoded(value))).collect::<Vec<_>>(), wanted);
        // Each field is one line of visible characters, and there are no others.
        let names: Vec<_> = rendered.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept", "content-type", "x-alone", "x-part"]);
        for (name, wanted) in [("x-alone", (*value).to_owned()), ("x-part", format!("x{value}y"))] {
            let line = rendered.headers[name].to_str().expect("ASCII");
            assert!(line.bytes().all(|b| b.is_ascii_graphic()), "{line:?}");
            assert_eq!(decoded(line), wanted);
        }
        // The body is the JSON that was written, with other texts.
        let body: serde_json::Value = serde_json::from_slice(&rendered.body.expect("it has one")).expect("JSON");
        let wanted = serde_json::json!({ "alone": value, "part": format!("x{value}y"), "list": [value], "after": 1 });
        assert_eq!(body, wanted);
    }
}

#[test]
fn a_value_of_64_kib_is_a_failed_call() {
    assert_eq!(render(&"x".repeat(64 * 1024)), Err(Failure::because("bad_value")));
}

#[test]
fn null_lists_and_objects_are_no_part_of_a_path_and_an_empty_text_is_no_segment() {
    let compose = compose(CALL);
    for answer in [r#"{"v":null}"#, "{}", "null", r#"{"v":[1]}"#, r#"{"v":{"a":1}}"#, r#"{"v":""}"#] {
        let known = known(&compose, &["1", "n"], "", &[(0, answer)]);
        let asked = requests(&known, &compose.calls[1]).expect("one element");
        assert_eq!(asked.elements[0].1, Err(Failure::because("bad_value")), "{answer}");
    }
}

#[test]
fn in_json_a_value_alone_keeps_its_type_and_digits_and_in_a_query_it_is_left_out_where_it_is_not_there() {
    let calls = r#"
[[compose.call]]
name = "first"
service = "orders"
path = "/first"
[[compose.call]]
name = "one"
service = "orders"
method = "POST"
path = "/a"
query = { there = "{first.id}", none = "{first.none}", page = "{query.page}", odd = "{query.odd}" }
body = { id = "{first.id}", list = "{first.list}", none = "{first.none}", text = "id {first.id}" }
"#;
    let compose = compose(calls);
    let answer = r#"{"id":12345678901234567890,"list":[1.10,{"b":1,"a":2}],"none":null}"#;
    let known = known(&compose, &[], "page=2&page=3&odd=%ff", &[(0, answer)]);
    let asked = requests(&known, &compose.calls[1]).expect("one element");
    let rendered = &asked.different[0];
    assert_eq!(rendered.path, "/a?page=2&there=12345678901234567890");
    let body = std::str::from_utf8(rendered.body.as_deref().expect("it has one")).expect("UTF-8");
    let wanted =
        r#"{"id":12345678901234567890,"list":[1.10,{"b":1,"a":2}],"none":null,"text":"id 12345678901234567890"}"#;
    assert_eq!(body, wanted);
    assert!(shape::read(body.as_bytes()).is_ok());
}

const EACH: &str = r#"
[[compose.call]]
name = "first"
service = "orders"
path = "/first"
[[compose.call]]
name = "one"
service = "orders"
each = "first.items"
most = 4
when = "item.n != `2`"
path = "/a/{item.n}"
"#;

#[test]
fn equal_requests_of_a_list_are_asked_once_and_each_element_knows_which_is_its_own() {
    let compose = compose(EACH);
    let known = known(&compose, &[], "", &[(0, r#"{"items":[{"n":1},{"n":3,"x":1},{"n":1},{"n":2}]}"#)]);
    let asked = requests(&known, &compose.calls[1]).expect("a list");
    let paths: Vec<_> = asked.different.iter().map(|rendered| rendered.path.as_str()).collect();
    assert_eq!(paths, ["/a/1", "/a/3"]);
    let own: Vec<_> = asked.elements.iter().map(|(_, request)| request.clone()).collect();
    assert_eq!(own, [Ok(Some(0)), Ok(Some(1)), Ok(Some(0)), Ok(None)]);
}

#[test]
fn requests_of_a_list_that_change_something_are_asked_for_each_of_its_elements() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let compose = compose(&format!("{EACH}method = \"{method}\"\n"));
        let known = known(&compose, &[], "", &[(0, r#"{"items":[{"n":1},{"n":1},{"n":2}]}"#)]);
        let asked = requests(&known, &compose.calls[1]).expect("a list");
        assert_eq!(asked.different.len(), 2, "{method}");
        let own: Vec<_> = asked.elements.iter().map(|(_, request)| request.clone()).collect();
        assert_eq!(own, [Ok(Some(0)), Ok(Some(1)), Ok(None)], "{method}");
    }
}

#[test]
fn a_list_that_is_not_there_is_empty_and_one_that_is_too_long_or_no_list_is_a_failure() {
    let compose = compose(EACH);
    let asked = |answer: &str| requests(&known(&compose, &[], "", &[(0, answer)]), &compose.calls[1]);
    for none in ["{}", r#"{"items":null}"#, "null", r#"{"items":[]}"#, "[]"] {
        assert!(asked(none).expect("no failure").elements.is_empty(), "{none}");
    }
    assert_eq!(asked(r#"{"items":[1,2,3,4,5]}"#).err(), Some(Failure::because("too_many")));
    for odd in [r#"{"items":{"n":1}}"#, r#"{"items":"12"}"#, r#"{"items":0}"#, r#"{"items":false}"#] {
        assert_eq!(asked(odd).err(), Some(Failure::because("bad_value")), "{odd}");
    }
}

#[test]
fn bodies_of_a_list_that_are_too_much_together_are_a_failure_before_all_of_them_are_made() {
    let body = "method = \"POST\"\nbody = { all = \"{first}\" }\n";
    let compose = compose(&EACH.replace("when = \"item.n != `2`\"\n", body));
    let answer = r#"{"items":[{"n":1},{"n":2},{"n":3}]}"#;
    let each = answer.len() + r#"{"all":}"#.len();
    for (bodies, wanted) in [(3 * each, None), (3 * each - 1, Some(Failure::because("too_large")))] {
        let known = Known { bodies, ..known(&compose, &[], "", &[(0, answer)]) };
        assert_eq!(requests(&known, &compose.calls[1]).err(), wanted, "{bodies}");
    }
}
