//! Calls of aggregates are requests like any other: stored, tried again, tripped and counted as those of their services. What is
//! made of them may be kept for as long as all of them may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use integration::client::{KEY, Response};
use integration::eventually;
use integration::instance::{Asked, Instance, Step, answer, json};
use integration::world::World;
use mock_services::Issuer;
use mock_services::issuer::Wanted;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A gateway with an aggregate at `/page`.
async fn world(services: &str, calls: &str) -> World {
    let route = "[[route]]\nname = \"pages\"\npath = { prefix = \"/page\" }\ncompose = \"page\"\n";
    World::of(&format!("{services}[[compose]]\nname = \"page\"\ndeadline = \"10s\"\n{calls}{route}")).await
}

fn call(name: &str, path: &str, more: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\n{more}\n")
}

const STORED: &str = "cache = { ttl = \"60s\" }";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_cache_is_asked_once_whichever_aggregates_want_it() {
    let go = Arc::new(Notify::new());
    let until = go.clone();
    let instance = Instance::start(move |asked| match asked.last() {
        "stored" => [vec![Step::Until(until.clone())], json("\"stored\"")].concat(),
        last => json(format!("\"{last}\"")),
    })
    .await;
    let calls = call("a", "/stored", STORED) + &call("b", "/{query.b}", "");
    let world = Arc::new(world(&instance.service("s"), &calls).await);
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { world.client.get(&format!("/page?b=b{number}")).await })
        })
        .collect();
    eventually("all others have been asked", || async { instance.hits() == 21 }).await;
    go.notify_one();
    for (number, page) in asking.into_iter().enumerate() {
        let page = page.await.expect("no panic");
        assert_eq!(page.json(), json!({ "a": "stored", "b": format!("b{number}") }), "{}", page.body);
    }
    assert_eq!(instance.hits_at("/stored"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_part_is_not_for_those_for_whom_other_values_went_to_its_service() {
    let (instance, issuer) = (
        Instance::start(|asked| json(format!("\"{}\"", asked.values("x-org").concat()))).await,
        Issuer::start(0).await.expect("an issuer"),
    );
    let of = |name: &str, value: &str| {
        let headers = format!("headers = {{ X-Org = \"{value}\" }}\n{STORED}");
        format!("[[compose]]\nname = \"{name}\"\n{}", call("org", "/org", &headers))
    };
    let composes = of("claim", "{claim.org}") + &of("query", "{query.org}") + &of("header", "{header.X-Of}");
    let routes = ["claim", "query", "header"].map(|name| {
        format!("[[route]]\npath = {{ prefix = \"/{name}\" }}\ncompose = \"{name}\"\nauth = {{ any = [\"corp\"] }}\n")
    });
    let issuers = format!("[[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = [\"api\"]\n", issuer.url());
    let top = "public_url = \"https://api.example.com\"\n";
    let world = World::of(&(top.to_owned() + &instance.service("s") + &composes + &routes.concat() + &issuers)).await;
    let mut wrong = Vec::new();
    for org in ["one", "two", "one"] {
        let bearer = issuer.token(&Wanted::with(json!({ "aud": "api", "org": org })));
        for path in ["/claim".to_owned(), format!("/query?org={org}"), "/header".to_owned()] {
            let sent = [("authorization", format!("Bearer {bearer}")), ("x-of", org.to_owned())];
            let sent: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let page = world.client.ask(Method::GET, &path, &sent, "").await;
            if page.json()["org"] != org {
                wrong.push(format!("{path} for {org}: {}", page.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_one_instance_resets_is_answered_by_another() {
    let (bad, good) = (Instance::start(|_| vec![Step::Close]).await, Instance::start(|_| json("1")).await);
    let service = format!(
        "[[service]]\nname = \"s\"\ninstances = [\"{}\", \"{}\"]\n[breaker]\nenabled = false\n",
        bad.address, good.address
    );
    let world = world(&service, &call("a", "/a", "")).await;
    for _ in 0..4 {
        let page = world.client.get("/page").await;
        assert_eq!((page.status, page.body.as_str()), (200, "{\"a\":1}"));
    }
    assert!(bad.hits() > 0 && good.hits() == 4, "{} {}", bad.hits(), good.hits());
    let metrics = metrics(&world).await;
    assert_eq!(metrics["lictor_service_retries_total{service=\"s\"}"] as usize, bad.hits());
}

async fn metrics(world: &World) -> BTreeMap<String, f64> {
    let page = world.admin.get("/admin/metrics").await.body;
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_parts_trips_and_is_not_asked_while_it_is_tripped() {
    let instance = Instance::start(|_| answer(502, &[JSON], "{}")).await;
    let breaker = "[breaker]\nconsecutive = 3\nopen = \"60s\"\nopen_max = \"60s\"\n[retry]\nmore = 0\n";
    let world = world(&(instance.service("s") + breaker), &call("a", "/a", "on_error = \"null\"")).await;
    for wanted in ["a;reason=status;status=502", "a;reason=status;status=502", "a;reason=status;status=502"] {
        assert_eq!(world.client.get("/page").await.header("lictor-partial"), wanted);
    }
    for _ in 0..3 {
        let page = world.client.get("/page").await;
        assert_eq!((page.status, page.header("lictor-partial")), (200, "a;reason=all_tripped"));
    }
    assert_eq!(instance.hits(), 3);
    let (metrics, name) = (metrics(&world).await, format!("service=\"s\",instance=\"{}\"", instance.address));
    assert_eq!(metrics[&format!("lictor_instance_failures_total{{{name}}}")], 3.0);
    // Plain requests for the service are counted in the same way.
    assert_eq!(world.client.get("/api/s/x").await.reason(), "all_tripped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_counts_as_a_request_of_its_service_and_the_whole_as_one_of_its_route() {
    let instance = Instance::start(|asked| match asked.last() {
        "hang" => vec![Step::Hang],
        "404" => answer(404, &[JSON], "{}"),
        _ => json("[1, 2, 3]"),
    })
    .await;
    let calls = call("list", "/list", "")
        + &call("each", "/each/{item}", "each = \"list\"")
        + &call("none", "/404", "on_error = \"null\"")
        + &call("hang", "/hang", "on_error = \"null\"\ntimeouts = { first_byte = \"50ms\" }");
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let world = world(&(instance.service("s") + calm), &calls).await;
    assert_eq!(world.client.get("/page").await.status, 200);
    let metrics = metrics(&world).await;
    for (name, wanted) in [
        ("lictor_service_requests_total{service=\"s\",code=\"200\"}", 4.0),
        ("lictor_service_requests_total{service=\"s\",code=\"404\"}", 1.0),
        // As a plain request that waits in vain is.
        ("lictor_service_requests_total{service=\"s\",code=\"504\"}", 1.0),
        ("lictor_route_requests_total{route=\"pages\",code=\"200\"}", 1.0),
    ] {
        let of_service: Vec<_> = metrics.iter().filter(|(name, _)| name.contains("requests_total")).collect();
        assert_eq!(metrics.get(name), Some(&wanted), "{name} of {of_service:?}");
    }
}

/// Names and values.
type Fields = &'static [(&'static str, &'static str)];

/// The shortest and the least shareable of two parts: what they say, and what the whole says.
const LIVES: [([Fields; 2], &str, &str); 9] = [
    ([&[("Cache-Control", "max-age=60")], &[("Cache-Control", "max-age=10")]], "max-age=10", ""),
    ([&[("Cache-Control", "max-age=60"), ("Age", "55")], &[("Cache-Control", "max-age=10")]], "max-age=60", "55"),
    ([&[("Cache-Control", "max-age=60")], &[("Cache-Control", "private, max-age=10")]], "private, max-age=10", ""),
    ([&[("Cache-Control", "private, max-age=5")], &[("Cache-Control", "max-age=10")]], "private, max-age=5", ""),
    ([&[("Cache-Control", "max-age=60")], &[("Cache-Control", "no-store")]], "no-store", ""),
    ([&[("Cache-Control", "max-age=60")], &[("Cache-Control", "no-cache")]], "no-cache", ""),
    (
        [&[("Cache-Control", "max-age=60, s-maxage=600")], &[("Cache-Control", "s-maxage=600, max-age=90")]],
        "max-age=60",
        "",
    ),
    ([&[("Cache-Control", "max-age=60")], &[]], "no-cache", ""),
    (
        [&[("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")], &[("Cache-Control", "max-age=9")]],
        "private, max-age=9",
        "",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_may_be_kept_for_as_long_and_by_as_many_as_each_of_its_parts() {
    let instance = Instance::start(|asked| {
        let (row, part) = asked.last().split_once('-').unwrap_or_default();
        let row: usize = row.parse().unwrap_or_default();
        answer(200, &[&[JSON][..], LIVES[row].0[usize::from(part == "b")]].concat(), "1")
    })
    .await;
    // Stored or not, parts say the same.
    for more in ["", STORED] {
        let calls = call("a", "/{query.row}-a", more) + &call("b", "/{query.row}-b", more);
        let world = world(&instance.service("s"), &calls).await;
        for (row, (parts, control, age)) in LIVES.iter().enumerate() {
            if more == STORED && parts.iter().any(|part| part.is_empty()) {
                continue;
            }
            for time in ["first", "second"] {
                let page = world.client.get(&format!("/page?row={row}")).await;
                let said = (page.header("cache-control"), page.header("age"), page.header("set-cookie"));
                // A second may have passed since a stored part came.
                let near = said.0 == *control || (more == STORED && time == "second");
                assert!(near && said.2.is_empty(), "{time}, {more:?}: {parts:?} make {said:?}");
                assert!(said.1 == *age || near && more == STORED, "{time}, {more:?}: {parts:?} make {said:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_a_field_of_the_client_says_so_in_vary() {
    let instance = Instance::start(|_| answer(200, &[JSON, ("Cache-Control", "max-age=60")], "1")).await;
    let headers = "headers = { Accept-Language = \"{header.Accept-Language}\" }\n";
    let world = world(&instance.service("s"), &(call("a", "/a", headers) + &call("b", "/b/{header.X-Of}", ""))).await;
    let page = world.client.ask(Method::GET, "/page", &[("x-api-key", KEY), ("x-of", "1")], "").await;
    let mut vary: Vec<_> = page.header("vary").split(", ").map(str::to_ascii_lowercase).collect();
    vary.sort_unstable();
    assert_eq!((page.status, vary), (200, vec!["accept-language".into(), "x-of".into()]), "{}", page.body);
}

/// A gateway whose aggregate is itself stored, of a part that can fail.
async fn stored(instance: &Instance) -> World {
    let route = "[[route]]\npath = { prefix = \"/kept\" }\ncompose = \"page\"\ncache = { ttl = \"60s\" }\n";
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let calls = call("a", "/a", "") + &call("b", "/b", "on_error = \"null\"") + route;
    world(&(instance.service("s") + calm), &calls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_stored_for_all_who_ask_and_cleared_with_each_of_its_services() {
    let both = Arc::new(Barrier::new(2));
    let instance = Instance::start(move |_| {
        let fields = [JSON, ("Cache-Control", "max-age=60")];
        [vec![Step::Meet(both.clone())], answer(200, &fields, "1")].concat()
    })
    .await;
    let world = Arc::new(stored(&instance).await);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.client.get("/kept").await })
        })
        .collect();
    let mut pages: Vec<Response> = Vec::new();
    for page in asking {
        pages.push(page.await.expect("no panic"));
    }
    assert!(pages.iter().all(|page| page.body == "{\"a\":1,\"b\":1}"), "{pages:?}");
    assert_eq!(instance.hits(), 2, "each part once for all fifty");
    let again = world.client.get("/kept").await;
    assert!(again.header("cache-status").starts_with("lictor; hit"), "{}", again.header("cache-status"));
    let tag = [("x-api-key", KEY), ("if-none-match", again.header("etag"))];
    assert_eq!(world.client.ask(Method::GET, "/kept", &tag, "").await.status, 304);
    assert_eq!(instance.hits(), 2);
    let cleared = world.admin.post("/admin/cache/clear?service=s", "").await;
    assert_eq!(cleared.json()["cleared"].as_u64(), Some(1), "{}", cleared.body);
    assert_eq!(world.client.get("/kept").await.status, 200);
    assert_eq!(instance.hits(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_answer_is_never_stored_and_the_next_whole_one_is() {
    let fails = Arc::new(AtomicBool::new(true));
    let now = fails.clone();
    let instance = Instance::start(move |asked| match asked.last() {
        "b" if now.load(Ordering::SeqCst) => answer(500, &[JSON], "{}"),
        _ => answer(200, &[JSON, ("Cache-Control", "max-age=60")], "1"),
    })
    .await;
    let world = stored(&instance).await;
    for hits in [2, 4] {
        let page = world.client.get("/kept").await;
        assert_eq!((page.status, page.body.as_str()), (200, "{\"a\":1,\"b\":null}"));
        assert_eq!(page.header("lictor-partial"), "b;reason=status;status=500");
        assert_eq!(instance.hits(), hits, "nothing of it was stored");
    }
    fails.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        let page = world.client.get("/kept").await;
        assert_eq!((page.body.as_str(), page.header("lictor-partial")), ("{\"a\":1,\"b\":1}", ""));
    }
    assert_eq!(instance.hits(), 6, "the first whole answer is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_part_stands_in_where_the_call_says_so_and_fails_the_whole_where_there_is_none() {
    let (fails, versions) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let now = fails.clone();
    let instance = Instance::start(move |_: &Asked| match now.load(Ordering::SeqCst) {
        true => answer(500, &[JSON], "{}"),
        // It can be stored, and must be asked about each time.
        false => {
            let version = versions.fetch_add(1, Ordering::SeqCst).to_string();
            let tag = format!("\"{version}\"");
            answer(200, &[JSON, ("Cache-Control", "max-age=0"), ("ETag", &tag)], version)
        }
    })
    .await;
    let calm = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let calls = call("a", "/a/{query.id}", &format!("{STORED}\non_error = \"stale\""));
    let world = world(&(instance.service("s") + calm), &calls).await;
    for version in ["{\"a\":0}", "{\"a\":1}"] {
        let page = world.client.get("/page?id=1").await;
        assert_eq!((page.body.as_str(), page.header("lictor-partial")), (version, ""));
    }
    fails.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let page = world.client.get("/page?id=1").await;
        assert_eq!((page.status, page.body.as_str()), (200, "{\"a\":1}"), "{page:?}");
        assert_eq!(page.header("lictor-partial"), "a;reason=status;status=500");
        assert_eq!(page.header("cache-control"), "no-store");
    }
    let none = world.client.get("/page?id=2").await;
    assert_eq!((none.status, none.json()["call"].as_str()), (502, Some("a")), "{}", none.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_asks_nobody_makes_no_promise_for_ever() {
    let instance = Instance::start(|_| json("1")).await;
    let calls = "answer = \"a\"\n".to_owned() + &call("a", "/a", "when = \"query.a == 'yes'\"");
    let world = world(&instance.service("s"), &calls).await;
    let page = world.client.get("/page").await;
    assert_eq!((page.status, page.json(), instance.hits()), (200, Value::Null, 0));
    let control = page.header("cache-control");
    let age = control.split_once("max-age=").and_then(|(_, age)| age.parse::<u64>().ok()).unwrap_or_default();
    assert!(age <= 10 * 365 * 86_400, "{control}");
}
