//! Aggregates of which a part fails: what becomes of the whole, by the word of the call on it.

use integration::client::Response;
use integration::instance::{Asked, Instance, Step, answer, chunked, json};
use integration::world::World;
use serde_json::{Value, json};
use std::time::Duration;

/// The words of `on_error`, each of which is a compose and a route `/WORD/{kind}`.
const WORDS: [(&str, &str); 5] = [
    ("fail", "\"fail\""),
    ("pass", "\"pass\""),
    ("null", "\"null\""),
    ("omit", "\"omit\""),
    ("value", "{ value = { a = [1, \"x\"], b = true } }"),
];

/// How a part fails, and what is said of it.
struct Fault {
    /// The last segment of its path.
    kind: &'static str,
    reason: &'static str,
    status: Option<u16>,
}

const fn fault(kind: &'static str, reason: &'static str, status: Option<u16>) -> Fault {
    Fault { kind, reason, status }
}

const FAULTS: [Fault; 20] = [
    fault("reset", "reset", None),
    fault("garbage", "not_http", None),
    fault("cut", "cut", Some(200)),
    fault("400", "status", Some(400)),
    fault("404", "status", Some(404)),
    fault("500", "status", Some(500)),
    fault("503", "status", Some(503)),
    fault("redirect", "not_json", Some(302)),
    fault("html", "not_json", Some(200)),
    fault("untyped", "not_json", Some(200)),
    fault("empty", "not_json", Some(200)),
    fault("broken", "not_json", Some(200)),
    fault("two", "not_json", Some(200)),
    fault("duplicate", "not_json", Some(200)),
    fault("deep", "not_json", Some(200)),
    fault("nan", "not_json", Some(200)),
    fault("latin", "not_json", Some(200)),
    fault("gzip", "not_json", Some(200)),
    fault("large", "too_large", Some(200)),
    fault("endless", "too_large", Some(200)),
];

fn script(asked: &Asked) -> Vec<Step> {
    const JSON: (&str, &str) = ("Content-Type", "application/json");
    match asked.last() {
        "reset" => vec![Step::Close],
        "garbage" => vec![Step::Send(b"220 this is not HTTP\r\n\r\n".to_vec()), Step::Close],
        "cut" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"a\":";
            vec![Step::Send(head.into()), Step::Close]
        }
        "redirect" => answer(302, &[("Location", "/good"), ("Content-Type", "text/html")], "<a>there</a>"),
        "html" => answer(200, &[("Content-Type", "text/html")], "{\"a\":1}"),
        "untyped" => answer(200, &[], "{\"a\":1}"),
        "empty" => json(""),
        "broken" => json("{\"a\":1"),
        "two" => json("{\"a\":1}{\"a\":2}"),
        "duplicate" => json("{\"a\":1,\"b\":2,\"\\u0061\":3}"),
        "deep" => json("[".repeat(200) + &"]".repeat(200)),
        "nan" => json("{\"a\":NaN}"),
        "latin" => json(b"{\"a\":\"\xe4\"}"),
        "gzip" => answer(200, &[JSON, ("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        "large" => json(large()),
        "endless" => chunked(&large(), 1 << 20, Duration::ZERO),
        "nothing" => answer(204, &[], ""),
        "chunks" => chunked("{\"a\": [1, 2.50, \"\u{e4}\"]}", 3, Duration::ZERO),
        "problem" => answer(200, &[("Content-Type", "application/problem+json")], "{\"a\":1}"),
        "error" => answer(500, &[("Content-Type", "application/json")], "{\"error\":1}"),
        status => match status.parse() {
            Ok(status @ 400..=599) => answer(status, &[JSON], "{\"error\":\"no\"}"),
            _ => json("1"),
        },
    }
}

/// 10 MiB of JSON.
fn large() -> String {
    format!("\"{}\"", "x".repeat(10 << 20))
}

/// A gateway with an aggregate for each word, of which one call is well.
async fn world(instance: &Instance, of_part: &str) -> World {
    // Each fault alone is what is tested: no instance is tripped by the one before.
    let mut text = instance.service("s") + "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    for (name, word) in WORDS {
        text += &format!(
            r#"
[[compose]]
name = "{name}"
deadline = "10s"
[[compose.call]]
name = "good"
service = "s"
path = "/good"
[[compose.call]]
name = "part"
service = "s"
path = "/{{kind}}"
on_error = {word}
{of_part}
[[route]]
path = {{ pattern = "/{name}/{{kind}}" }}
compose = "{name}"
"#
        );
    }
    World::of(&text).await
}

/// Whether a page says that a part failed, and which.
fn is_failure(page: &Response, status: u16) -> bool {
    let problem = page.json();
    page.status == status
        && page.header("content-type") == "application/problem+json"
        && problem["status"] == status
        && problem["reason"] == "part_failed"
        && problem["call"] == "part"
        && page.header("lictor-partial").is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_part_the_whole_becomes_what_the_call_says() {
    let instance = Instance::start(script).await;
    let world = world(&instance, "").await;
    for Fault { kind, reason, status } in FAULTS {
        let said = status.map_or_else(String::new, |status| format!(";status={status}"));
        let said = format!("part;reason={reason}{said}");
        let failed = world.client.get(&format!("/fail/{kind}")).await;
        assert!(is_failure(&failed, 502), "{kind}: {failed:?}");
        let passed = world.client.get(&format!("/pass/{kind}")).await;
        let wanted = status.filter(|&status| status >= 400 && reason == "status").unwrap_or(502);
        assert!(is_failure(&passed, wanted), "{kind}: {passed:?}");
        for (word, body) in [
            ("null", json!({ "good": 1, "part": null })),
            ("omit", json!({ "good": 1 })),
            ("value", json!({ "good": 1, "part": { "a": [1, "x"], "b": true } })),
        ] {
            let page = world.client.get(&format!("/{word}/{kind}")).await;
            assert_eq!((page.status, page.json()), (200, body), "{kind} {word}: {page:?}");
            assert_eq!(page.header("lictor-partial"), said, "{kind} {word}");
            assert_eq!(page.header("cache-control"), "no-store", "{kind} {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unusual_and_no_failure_is_an_answer() {
    let instance = Instance::start(script).await;
    let world = world(&instance, "").await;
    let chunks = json!({ "a": [1, 2.5, "\u{e4}"] });
    for (kind, part) in [("nothing", Value::Null), ("chunks", chunks), ("problem", json!({ "a": 1 }))] {
        for (word, _) in WORDS {
            let page = world.client.get(&format!("/{word}/{kind}")).await;
            assert_eq!((page.status, page.json()), (200, json!({ "good": 1, "part": part })), "{kind} {word}");
            assert_eq!(page.header("lictor-partial"), "", "{kind} {word}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_text_is_expected_any_text_is_a_string_and_all_else_fails() {
    let instance = Instance::start(script).await;
    let world = world(&instance, "expects = \"text\"\n").await;
    let text = world.client.get("/null/html").await;
    assert_eq!(text.json(), json!({ "good": 1, "part": "{\"a\":1}" }), "{}", text.body);
    assert_eq!(world.client.get("/null/broken").await.json()["part"], "{\"a\":1");
    for kind in ["latin", "gzip"] {
        let page = world.client.get(&format!("/null/{kind}")).await;
        assert_eq!(page.header("lictor-partial"), "part;reason=not_text;status=200", "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_instances_or_with_a_dead_one_is_a_failed_part() {
    let gone = Instance::start(script).await;
    let address = gone.address;
    let world = world(&gone, "").await;
    // Requests that wait for it end with its connections.
    drop(gone);
    let eventually = integration::eventually;
    eventually("nobody listens", || async { tokio::net::TcpStream::connect(address).await.is_err() }).await;
    let failed = world.client.get("/fail/good").await;
    assert_eq!((failed.status, failed.reason().as_str()), (502, "part_failed"), "{}", failed.body);
    let other = Instance::start(script).await;
    let none = "[[compose]]\nname = \"c\"\n[[compose.call]]\nname = \"part\"\nservice = \"none\"\npath = \"/x\"\n\
                on_error = \"null\"\n[[route]]\npath = { prefix = \"/c\" }\ncompose = \"c\"\n";
    let world = World::of(&(other.service("s") + none)).await;
    let page = world.client.get("/c").await;
    assert_eq!((page.status, page.header("lictor-partial")), (200, "part;reason=no_instances"), "{}", page.body);
}

/// A gateway with one aggregate at `/page`.
async fn page(instance: &Instance, calls: &str) -> World {
    let route = "[[route]]\npath = { prefix = \"/page\" }\ncompose = \"page\"\n";
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let service = instance.service("s");
    World::of(&format!("{service}{calm}[[compose]]\nname = \"page\"\ndeadline = \"10s\"\n{calls}{route}")).await
}

fn call(name: &str, path: &str, on_error: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\non_error = {on_error}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_named_has_a_word_of_its_own() {
    let instance = Instance::start(script).await;
    let words = "{ 404 = \"pass\", 500 = \"null\", 503 = { value = 0 }, else = \"fail\" }";
    let query = call("part", "/{query.kind}", words);
    let world = page(&instance, &query).await;
    let ask = async |kind: &str| world.client.get(&format!("/page?kind={kind}")).await;
    assert!(is_failure(&ask("404").await, 404));
    assert!(is_failure(&ask("400").await, 502));
    assert!(is_failure(&ask("html").await, 502), "a status that is no error is not what failed");
    assert_eq!(ask("500").await.body, "{\"part\":null}");
    assert_eq!(ask("503").await.body, "{\"part\":0}");
    let nobody = world.client.get("/page").await;
    assert!(is_failure(&nobody, 502), "a value that is not there: {}", nobody.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_that_fail_leave_their_places_in_the_list() {
    let instance = Instance::start(|asked| match asked.last() {
        "list" => json("[\"1\",\"404\",\"500\",\"404\",\"a\"]"),
        _ => script(asked),
    })
    .await;
    for (word, stand_in) in [("\"null\"", json!(null)), ("\"omit\"", json!(null)), ("{ value = 7 }", json!(7))] {
        let each = call("each", "/{item}", word) + "each = \"list\"\n";
        let world = page(&instance, &(call("list", "/list", "\"fail\"") + &each)).await;
        let page = world.client.get("/page").await;
        let answers: Vec<_> =
            page.json()["each"].as_array().into_iter().flatten().map(|e| e["answer"].clone()).collect();
        let (s, one) = (stand_in, json!(1));
        assert_eq!(answers, [one.clone(), s.clone(), s.clone(), s, one], "{word}: {}", page.body);
        assert_eq!(page.header("lictor-partial"), "each;reason=status;status=404;count=3", "{word}");
    }
    let each = call("part", "/{item}", "{ 404 = \"null\", else = \"pass\" }") + "each = \"list\"\n";
    let world = page(&instance, &(call("list", "/list", "\"fail\"") + &each)).await;
    let page = world.client.get("/page").await;
    assert!(is_failure(&page, 500), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_part_that_failed_has_its_stand_in_or_fails_itself() {
    let instance = Instance::start(script).await;
    let calls = call("a", "/404", "{ value = { id = \"5\" } }")
        + &call("b", "/404", "\"null\"")
        + &call("of_a", "/x/{a.id}", "\"fail\"")
        + &call("of_b", "/x/{b.id}", "\"null\"")
        + &call("each_b", "/x/{item}", "\"fail\"")
        + "each = \"b.list\"\n"
        + &call("query_b", "/query", "\"fail\"")
        + "query = { id = \"{b.id}\", all = \"x\" }\n";
    let world = page(&instance, &calls).await;
    let page = world.client.get("/page").await;
    let wanted = json!({ "a": { "id": "5" }, "b": null, "of_a": 1, "of_b": null, "each_b": [], "query_b": 1 });
    assert_eq!((page.status, page.json()), (200, wanted), "{}", page.body);
    let mut said: Vec<_> = page.header("lictor-partial").split(", ").collect();
    said.sort_unstable();
    assert_eq!(said, ["a;reason=status;status=404", "b;reason=status;status=404", "of_b;reason=bad_value"]);
    let targets: Vec<_> = instance.asked().into_iter().map(|asked| asked.target).collect();
    assert!(targets.contains(&"/x/5".into()) && targets.contains(&"/query?all=x".into()), "{targets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_that_says_when_to_come_back_says_so_through_the_whole() {
    let instance =
        Instance::start(|_| answer(503, &[("Content-Type", "application/json"), ("Retry-After", "7")], "{}")).await;
    let world = page(&instance, &call("part", "/x", "\"pass\"")).await;
    let page = world.client.get("/page").await;
    assert!(is_failure(&page, 503), "{page:?}");
    assert_eq!(page.header("retry-after"), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shape_that_does_not_fit_its_parts_and_an_answer_that_is_too_large_are_502() {
    let instance = Instance::start(|asked| match asked.last() {
        "big" => json(format!("\"{}\"", "x".repeat(600))),
        _ => script(asked),
    })
    .await;
    let shape = "answer = \"abs(part)\"\n".to_owned() + &call("part", "/{query.kind}", "\"null\"");
    let world = page(&instance, &shape).await;
    assert_eq!(world.client.get("/page?kind=1").await.body, "1");
    let page_of = world.client.get("/page?kind=problem").await;
    assert_eq!((page_of.status, page_of.reason().as_str()), (502, "bad_shape"), "{}", page_of.body);
    let big = "size = \"1KiB\"\nanswer = \"[part, part]\"\n".to_owned() + &call("part", "/big", "\"fail\"");
    let world = page(&instance, &big).await;
    let page = world.client.get("/page").await;
    assert_eq!((page.status, page.reason().as_str()), (502, "answer_too_large"), "{}", page.body);
}
