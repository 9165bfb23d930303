//! What aggregates cost others: memory, failures that are one caller's own, parts that hang, requests that nobody waited for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use integration::client::KEY;
use integration::eventually;
use integration::instance::{Asked, Instance, Step, answer, json};
use integration::world::World;
use tokio::sync::Notify;

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A gateway with an aggregate at `/page`. Nothing but a deadline ends its calls.
async fn world(instance: &Instance, more: &str, calls: &str) -> World {
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let service = instance.service("s");
    let route = "[[route]]\nname = \"pages\"\npath = { prefix = \"/page\" }\ncompose = \"page\"\n";
    World::of(&format!("{service}{calm}[[compose]]\nname = \"page\"\n{calls}{route}{more}")).await
}

fn call(name: &str, path: &str, more: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\n{more}\n")
}

async fn metrics(world: &World) -> BTreeMap<String, f64> {
    let page = world.admin.get("/admin/metrics").await.body;
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// How many requests of the service had this status.
async fn counted(world: &World, status: u16) -> f64 {
    let name = format!("lictor_service_requests_total{{service=\"s\",code=\"{status}\"}}");
    metrics(world).await.get(&name).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_say_a_large_answer_for_each_element_are_counted_before_any_is_sent() {
    let instance = Instance::start(|asked| match asked.last() {
        "order" => {
            json(format!("{{\"items\":{:?},\"text\":\"{}\"}}", (0..32).collect::<Vec<_>>(), "x".repeat(200 << 10)))
        }
        _ => json("1"),
    })
    .await;
    let body = "method = \"POST\"\neach = \"order.items\"\nbody = { order = \"{order}\", item = \"{item}\" }";
    let calls = "size = \"1MiB\"\n".to_owned() + &call("order", "/order", "") + &call("one", "/one", body);
    let world = world(&instance, "[aggregates]\nmemory = \"4MiB\"\n", &calls).await;
    let page = world.client.get("/page").await;
    assert_eq!((page.status, page.reason().as_str()), (502, "part_failed"), "{}", page.body);
    assert!(page.body.contains("one: too_large"), "{}", page.body);
    assert_eq!((page.header("retry-after"), instance.hits()), ("", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_one_callers_field_provokes_is_not_given_to_others_who_wait() {
    let go = Arc::new(Notify::new());
    let until = go.clone();
    let instance = Instance::start(move |asked: &Asked| match asked.values("x-of").concat().as_str() {
        "bad" => [vec![Step::Until(until.clone())], answer(403, &[JSON], "{}")].concat(),
        _ => json("1"),
    })
    .await;
    let calls = call("a", "/a", "headers = { X-Of = \"{header.X-Tenant}\" }\non_error = \"pass\"");
    let kept = "cache = { ttl = \"60s\" }\n";
    let world = Arc::new(world(&instance, kept, &calls).await);
    let ask = |tenant: &'static str| {
        let world = world.clone();
        tokio::spawn(async move {
            world.client.ask(Method::GET, "/page", &[("x-api-key", KEY), ("x-tenant", tenant)], "").await
        })
    };
    let bad = ask("bad");
    eventually("one is under way", || async { instance.under_way() == 1 }).await;
    let others: Vec<_> = (0..4).map(|_| ask("good")).collect();
    // For them to come to where they wait; it holds as well for one that comes later.
    tokio::time::sleep(Duration::from_millis(100)).await;
    go.notify_one();
    assert_eq!(bad.await.expect("no panic").status, 403);
    for other in others {
        assert_eq!(other.await.expect("no panic").status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_aggregate_of_which_a_part_hangs_has_time_to_make_their_own() {
    let instance = Instance::start(|asked| match asked.last() {
        "ads" => vec![Step::Hang],
        _ => json("1"),
    })
    .await;
    let ads = call("ads", "/ads", "on_error = \"null\"");
    let calls = "deadline = \"2s\"\n".to_owned() + &call("order", "/order", "") + &ads;
    let world = Arc::new(world(&instance, "cache = { ttl = \"60s\" }\n", &calls).await);
    let mut asking = Vec::new();
    for _ in 0..6 {
        let world = world.clone();
        asking.push(tokio::spawn(async move { world.client.get("/page").await }));
        eventually("the first is under way", || async { instance.under_way() > 0 }).await;
    }
    for page in asking {
        let page = page.await.expect("no panic");
        assert_eq!((page.status, page.body.as_str()), (200, "{\"order\":1,\"ads\":null}"));
    }
}

fn hanging(asked: &Asked) -> Vec<Step> {
    match asked.last() {
        "list" => json(format!("{:?}", (0..32).collect::<Vec<u32>>())),
        _ => vec![Step::Hang],
    }
}

/// A list, and for each of its elements a request that hangs, eight of them at once.
fn each(deadline: &str) -> String {
    let each = call("each", "/each/{item}", "on_error = \"null\"\neach = \"list\"");
    format!("deadline = \"{deadline}\"\n{}{each}", call("list", "/list", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_any_more_is_no_late_answer_of_its_service() {
    let instance = Instance::start(hanging).await;
    let world = world(&instance, "", &each("1s")).await;
    let page = world.client.get("/page").await;
    assert_eq!((page.status, page.header("lictor-partial")), (200, "each;reason=total_timeout;count=32"));
    assert_eq!(counted(&world, 504).await, 8.0, "those that were under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_for_a_client_that_leaves_counts_at_its_service_and_as_a_failed_aggregate() {
    let instance = Instance::start(hanging).await;
    let world = Arc::new(world(&instance, "", &each("60s")).await);
    let client = world.client.clone();
    let asking = tokio::spawn(async move { client.get("/page").await });
    eventually("eight are under way", || async { instance.under_way() == 8 }).await;
    asking.abort();
    eventually("all are counted", || async { counted(&world, 499).await == 8.0 }).await;
    let metrics = metrics(&world).await;
    for (sample, wanted) in [
        ("lictor_compose_answers_total{compose=\"page\",outcome=\"failed\"}", 1.0),
        ("lictor_compose_parts_total{compose=\"page\",call=\"each\",outcome=\"failed\"}", 8.0),
    ] {
        assert_eq!(metrics.get(sample), Some(&wanted), "{sample}");
    }
}
