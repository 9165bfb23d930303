//! Metrics: what happened is counted, Prometheus's own checker accepts the page, and no client can make the page grow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use http::Method;
use integration::client::KEY;
use integration::world::{World, service};
use mock_services::{Kind, Mock};

async fn world() -> (World, Mock) {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let more = "[[route]]\nname = \"sh\\\"op\"\npath = { prefix = \"/shop\" }\nstrip = \"/shop\"\nservice = \"user_service\"\n\
                limits = [\"2/h\"]\ncache = { ttl = \"1m\" }\n[retry]\nmore = 0\n";
    (World::of(&format!("workers = 2\n{}{more}", service("user_service", &[&mock]))).await, mock)
}

/// The samples of a page by name and labels. Fails when the page is not well-formed.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut described = BTreeSet::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a sentence");
            assert!(described.insert(name.to_owned()) && help.ends_with('.'), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(described.contains(name) && kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
        } else {
            let (id, value) = line.rsplit_once(' ').expect("a sample");
            let name = id.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let kind = kinds.get(name).or_else(|| kinds.get(family.unwrap_or_default()));
            assert!(kind.is_some(), "{line} has no TYPE before it");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(id.to_owned(), value).is_none(), "twice: {id}");
        }
    }
    samples
}

async fn metrics(world: &World) -> (BTreeMap<String, f64>, String) {
    let answer = world.admin.get("/admin/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    (samples(&answer.body), answer.body)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_limits_cache_and_breakers_are_counted_by_route_service_and_instance() {
    let (world, mock) = world().await;
    for status in [200, 200, 429] {
        assert_eq!(world.client.get("/shop/users").await.status, status);
    }
    assert_eq!(world.client.get("/api/user_service/users/99").await.status, 404);
    assert_eq!(world.client.get("/nowhere").await.status, 404);
    mock.behave(|behaviour| behaviour.reset = true);
    for _ in 0..5 {
        assert_eq!(world.client.get("/api/user_service/users").await.status, 502);
    }
    assert_eq!(world.client.get("/api/user_service/users").await.status, 503);
    let (samples, page) = metrics(&world).await;
    let instance = format!("service=\"user_service\",instance=\"{}\"", mock.address);
    for (id, wanted) in [
        ("lictor_route_requests_total{route=\"sh\\\"op\",code=\"200\"}".to_owned(), 2.0),
        ("lictor_route_requests_total{route=\"sh\\\"op\",code=\"429\"}".to_owned(), 1.0),
        ("lictor_route_requests_total{route=\"api\",code=\"404\"}".to_owned(), 1.0),
        ("lictor_route_requests_total{route=\"api\",code=\"502\"}".to_owned(), 5.0),
        ("lictor_route_request_duration_seconds_count{route=\"api\"}".to_owned(), 7.0),
        ("lictor_service_requests_total{service=\"user_service\",code=\"502\"}".to_owned(), 5.0),
        ("lictor_service_instances{service=\"user_service\",health=\"passing\"}".to_owned(), 1.0),
        ("lictor_service_retries_total{service=\"user_service\"}".to_owned(), 0.0),
        (format!("lictor_instance_attempts_total{{{instance}}}"), 7.0),
        (format!("lictor_instance_failures_total{{{instance}}}"), 5.0),
        (format!("lictor_instance_first_byte_seconds_count{{{instance}}}"), 2.0),
        (format!("lictor_instance_in_flight{{{instance}}}"), 0.0),
        (format!("lictor_instance_eligible{{{instance}}}"), 0.0),
        (format!("lictor_breaker_state{{{instance}}}"), 2.0),
        (format!("lictor_breaker_transitions_total{{{instance},to=\"open\"}}"), 1.0),
        ("lictor_limit_refused_total{limit=\"sh\\\"op\",of=\"route\"}".to_owned(), 1.0),
        ("lictor_cache_requests_total{result=\"hit\"}".to_owned(), 1.0),
        ("lictor_cache_requests_total{result=\"miss\"}".to_owned(), 1.0),
        ("lictor_cache_entries".to_owned(), 1.0),
        ("lictor_discovery_up{provider=\"file\"}".to_owned(), 1.0),
        ("lictor_config_current".to_owned(), 1.0),
    ] {
        assert_eq!(samples.get(&id), Some(&wanted), "{id} in\n{page}");
    }
    assert!(samples["lictor_unrouted_requests_total{code=\"404\"}"] >= 1.0);
    assert!(samples["process_resident_memory_bytes"] > 1e6 && samples["process_cpu_seconds_total"] > 0.0);
    let buckets =
        |le: &str| samples[&format!("lictor_route_request_duration_seconds_bucket{{route=\"api\",le=\"{le}\"}}")];
    assert!(buckets("60") <= buckets("+Inf") && buckets("+Inf") == 7.0 && buckets("0.001") <= buckets("0.5"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_makes_the_page_grow() {
    let (world, _mock) = world().await;
    let storm = async |from: usize| {
        for number in from..from + 50 {
            let (path, host) = (format!("/api/s{number}/x{number}?q={number}"), format!("h{number}.example"));
            let headers = [("x-api-key", KEY), ("host", host.as_str())];
            world.client.ask(Method::GET, &path, &headers, "").await;
            world.client.ask(Method::GET, &format!("/x{number}"), &[("x-api-key", "guess")], "").await;
        }
    };
    storm(0).await;
    let (before, _) = metrics(&world).await;
    storm(50).await;
    let (after, _) = metrics(&world).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheuss_own_check_has_nothing_to_say() {
    let (world, _mock) = world().await;
    world.client.get("/shop/users").await;
    let (_, page) = metrics(&world).await;
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut check = match check {
        Ok(check) => check,
        // `samples` checks the most important rules, too, and CI has the program.
        Err(error) => return println!("promtool is not there ({error}): not asked"),
    };
    check.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let output =
        tokio::task::spawn_blocking(move || check.wait_with_output()).await.expect("no panic").expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.trim().is_empty(), "{text}");
}
