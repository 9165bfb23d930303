//! Aggregates of which a part is slow or never comes: the whole ends with its deadline, with what there is by then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::client::Response;
use integration::eventually;
use integration::instance::{Asked, Instance, Step, chunked, json};
use integration::world::World;
use serde_json::{Value, json};
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_millis(300);

/// By how much the whole may outlast its deadline.
const LATE: Duration = Duration::from_millis(50);

/// How often a test may be kept waiting by this machine's other work.
const TRIES: usize = 8;

fn script(asked: &Asked) -> Vec<Step> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    match asked.last() {
        "hang" => vec![Step::Hang],
        "head" => vec![Step::Send(head.as_bytes()[..40].into()), Step::Hang],
        "no-body" => vec![Step::Send(head.into()), Step::Hang],
        "half" => vec![Step::Send([head, "{\"a\":1"].concat().into()), Step::Hang],
        // Twenty seconds for all of it.
        "trickle" => chunked(&format!("\"{}\"", "x".repeat(1000)), 1, Duration::from_millis(20)),
        "list" => json(format!("{:?}", (0..32).collect::<Vec<u32>>())),
        _ => json("1"),
    }
}

/// A gateway with an aggregate at `/page`. Nothing but the deadline ends its calls.
async fn world(instance: &Instance, calls: &str) -> World {
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    world_with(&(instance.service("s") + calm), calls).await
}

async fn world_with(more: &str, calls: &str) -> World {
    let route = "[[route]]\npath = { prefix = \"/page\" }\ncompose = \"page\"\n";
    let deadline = format!("deadline = \"{}ms\"\n", DEADLINE.as_millis());
    let deadline = if calls.starts_with("deadline") { String::new() } else { deadline };
    World::of(&format!("{more}[[compose]]\nname = \"page\"\n{deadline}{calls}{route}")).await
}

fn call(name: &str, path: &str, on_error: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\non_error = {on_error}\n")
}

/// What a page is that comes with its deadline. What comes later is asked for again: this machine may have done other things.
async fn in_time(world: &World, path: &str, deadline: Duration) -> Response {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        let began = Instant::now();
        let page = world.client.get(path).await;
        took.push(began.elapsed());
        assert!(began.elapsed() >= deadline, "{path} ended early, after {took:?}: {page:?}");
        if began.elapsed() <= deadline + LATE {
            return page;
        }
    }
    panic!("{path} never ended with its deadline of {deadline:?}: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_part_stops_the_whole_ends_with_its_deadline() {
    let instance = Instance::start(script).await;
    let world = world(&instance, &(call("good", "/good", "\"fail\"") + &call("part", "/{query.at}", "\"null\""))).await;
    for at in ["hang", "head", "no-body", "half", "trickle"] {
        let page = in_time(&world, &format!("/page?at={at}"), DEADLINE).await;
        assert_eq!((page.status, page.json()), (200, json!({ "good": 1, "part": null })), "{at}: {}", page.body);
        let said = page.header("lictor-partial");
        assert!(said.starts_with("part;reason=total_timeout"), "{at}: {said}");
    }
    // What was given up is closed, not kept for the next request.
    eventually("nothing is under way", || async { instance.under_way() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_may_not_be_missing_and_comes_too_late_is_504() {
    let instance = Instance::start(script).await;
    let world = world(&instance, &call("part", "/{query.at}", "\"fail\"")).await;
    for at in ["hang", "half", "trickle"] {
        let page = in_time(&world, &format!("/page?at={at}"), DEADLINE).await;
        let problem = page.json();
        assert_eq!((page.status, page.reason().as_str()), (504, "part_failed"), "{at}: {}", page.body);
        assert_eq!(problem["call"], "part");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_hangs_is_null_and_the_others_are_there() {
    let instance = Instance::start(|asked| match asked.target.as_str() {
        // Six of the eight that are under way at once; the others go past them.
        "/each/3" | "/each/4" | "/each/5" | "/each/7" | "/each/11" | "/each/31" => vec![Step::Hang],
        _ => script(asked),
    })
    .await;
    let each = call("each", "/each/{item}", "\"omit\"") + "each = \"list\"\n";
    let world = world(&instance, &(call("list", "/list", "\"fail\"") + &each)).await;
    let page = in_time(&world, "/page", DEADLINE).await;
    let body = page.json();
    let answers: Vec<_> = body["each"].as_array().into_iter().flatten().map(|element| &element["answer"]).collect();
    assert_eq!((page.status, answers.len()), (200, 32), "{}", page.body);
    for (at, answer) in answers.into_iter().enumerate() {
        let hangs = [3, 4, 5, 7, 11, 31].contains(&at);
        assert_eq!(*answer, if hangs { Value::Null } else { json!(1) }, "{at}");
    }
    assert_eq!(page.header("lictor-partial"), "each;reason=total_timeout;count=6");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_the_deadline_has_come_nobody_is_asked_any_more() {
    let instance = Instance::start(|asked| match asked.target.as_str() {
        "/list" => script(asked),
        _ if asked.target.starts_with("/each/") => vec![Step::Hang],
        _ => script(asked),
    })
    .await;
    let each = call("each", "/each/{item}", "\"null\"") + "each = \"list\"\n";
    let world = world(&instance, &(call("list", "/list", "\"fail\"") + &each)).await;
    // Connections that wait for a request: nothing else would keep a late one from being sent.
    let idle: Vec<_> = (0..32).map(|_| world.client.get("/api/s/idle")).collect();
    futures_util::future::join_all(idle).await;
    let before = instance.hits();
    let page = in_time(&world, "/page", DEADLINE).await;
    assert_eq!((page.status, page.header("lictor-partial")), (200, "each;reason=total_timeout;count=32"));
    let asked = instance.asked().split_off(before);
    let each = asked.iter().filter(|asked| asked.target.starts_with("/each/")).count();
    let pages = asked.iter().filter(|asked| asked.target == "/list").count();
    assert_eq!(each, 8 * pages, "eight are under way when the deadline comes, and the others are not sent any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_counts_from_the_request_however_many_calls_follow_each_other() {
    let instance = Instance::start(|asked| match asked.last() {
        "slow" => [vec![Step::Wait(Duration::from_millis(120))], json("1")].concat(),
        _ => script(asked),
    })
    .await;
    let calls = call("a", "/a/slow", "\"fail\"")
        + &call("b", "/b{a}/slow", "\"fail\"")
        + &call("c", "/c{b}/slow", "\"null\"")
        + &call("d", "/d/{c}", "\"null\"");
    let world = world(&instance, &calls).await;
    let page = in_time(&world, "/page", DEADLINE).await;
    assert_eq!(page.json(), json!({ "a": 1, "b": 1, "c": null, "d": null }), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeouts_and_the_further_attempts_of_a_call_are_within_the_deadline() {
    let (one, two) = (Instance::start(script).await, Instance::start(script).await);
    let service = format!("[[service]]\nname = \"s\"\ninstances = [\"{}\", \"{}\"]\n", one.address, two.address);
    let timeouts =
        |first_byte: &str| format!("timeouts = {{ first_byte = \"{first_byte}\" }}\nretry = {{ more = 5 }}\n");
    let calls = |first_byte| call("part", "/hang", "\"null\"") + &timeouts(first_byte);
    let calm = service.clone() + "[breaker]\nenabled = false\n";
    // Each attempt would end after 200 ms, and the second one does not.
    let world = world_with(&calm, &calls("200ms")).await;
    let page = in_time(&world, "/page", DEADLINE).await;
    assert!(
        page.header("lictor-partial").starts_with("part;reason=total_timeout"),
        "{}",
        page.header("lictor-partial")
    );
    let tries = one.hits() + two.hits();
    assert!(tries >= 2 && tries.is_multiple_of(2), "{tries} attempts");
    // With time left, the call ends for its own reason.
    let world = world_with(&calm, &("deadline = \"20s\"\n".to_owned() + &calls("50ms"))).await;
    let page = world.client.get("/page").await;
    assert_eq!((page.status, page.header("lictor-partial")), (200, "part;reason=first_byte_timeout"));
    assert_eq!(one.hits() + two.hits(), tries + 2, "each instance once more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_total_timeout_of_the_route_holds_for_the_whole() {
    let instance = Instance::start(script).await;
    let route = "[[route]]\npath = { prefix = \"/short\" }\ncompose = \"page\"\ntimeouts = { total = \"300ms\" }\n";
    let calls = "deadline = \"20s\"\n".to_owned() + &call("part", "/hang", "\"null\"") + route;
    let world = world(&instance, &calls).await;
    let page = in_time(&world, "/short", DEADLINE).await;
    assert_eq!((page.status, page.body.as_str()), (200, "{\"part\":null}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_fails_the_whole_ends_the_other_calls_at_once() {
    let fail = Arc::new(Notify::new());
    let until = fail.clone();
    let instance = Instance::start(move |asked| match asked.last() {
        "bad" => [vec![Step::Until(until.clone())], integration::instance::answer(500, &[], "")].concat(),
        _ => script(asked),
    })
    .await;
    let hangs = call("a", "/hang", "\"null\"") + &call("b", "/half", "\"null\"");
    let calls = "deadline = \"60s\"\n".to_owned() + &hangs + &call("bad", "/bad", "\"fail\"");
    let world = world(&instance, &calls).await;
    let client = world.client.clone();
    let asking = tokio::spawn(async move { client.get("/page").await });
    eventually("all three are under way", || async { instance.under_way() == 3 }).await;
    fail.notify_one();
    let page = asking.await.expect("no panic");
    assert_eq!((page.status, page.json()["call"].as_str()), (502, Some("bad")), "{}", page.body);
    eventually("the other two have ended", || async { instance.under_way() == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_calls() {
    let instance = Instance::start(script).await;
    let each = call("each", "/each/{item}/hang", "\"null\"") + "each = \"list\"\n";
    let calls =
        "deadline = \"60s\"\n".to_owned() + &call("list", "/list", "\"fail\"") + &call("a", "/half", "\"null\"");
    let world = world(&instance, &(calls + &each)).await;
    let client = world.client.clone();
    let asking = tokio::spawn(async move { client.get("/page").await });
    eventually("nine are under way", || async { instance.under_way() == 9 }).await;
    asking.abort();
    eventually("none is under way", || async { instance.under_way() == 0 }).await;
    assert_eq!(instance.hits(), 10, "nothing more was asked");
}
