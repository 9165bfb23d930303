//! The fake agent beside a real one: the same shapes, header fields and indexes. What other tests see of it can be believed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use integration::agent::Agent;
use integration::eventually;
use integration::fake_agent::{Catalog, FakeAgent, Fault, Instance, Rule, Version};
use serde_json::{Value, json};

/// What an agent answers.
struct Answer {
    status: u16,
    index: Option<u64>,
    fields: BTreeSet<String>,
    body: Value,
}

async fn ask(agent: &str, path: &str) -> Answer {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let answer = http.get(format!("{agent}{path}")).send().await.expect("an answer");
    let fields = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
    let index = answer.headers().get("x-consul-index").and_then(|value| value.to_str().ok()?.parse().ok());
    let status = answer.status().as_u16();
    let body = answer.bytes().await.expect("a body");
    Answer { status, index, fields, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

fn somewhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// Every key with the way to it. What stands under a name of a service, an instance or a node counts once.
fn keys(value: &Value, way: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                let named = way == "/Services" || way.ends_with("/Meta") || way.ends_with("ServiceMeta");
                let way = format!("{way}/{}", if named { "*" } else { key });
                into.insert(way.clone());
                keys(value, &way, into);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| keys(value, &format!("{way}[]"), into)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_answers_have_the_keys_and_the_header_fields_of_a_real_agents() {
    let (real, fake) = (Agent::start(false).await, FakeAgent::start().await);
    let check =
        json!({ "Check": { "CheckID": "service:web-1", "TTL": "10m", "Status": "passing" }, "Meta": { "v": "1" } });
    real.register("web", "web-1", 9, check).await;
    let own =
        if ask(&real.address, "/v1/agent/self").await.body["Config"]["NodeName"] == "world" { "world" } else { "?" };
    let mut instance = Instance::new("web", "web-1", somewhere());
    instance.meta.insert("v".into(), "1".into());
    fake.register(instance);
    for (path, of_real) in [
        ("/v1/status/leader", "/v1/status/leader".to_owned()),
        ("/v1/catalog/services", "/v1/catalog/services".to_owned()),
        ("/v1/catalog/nodes", "/v1/catalog/nodes".to_owned()),
        ("/v1/catalog/node/fake", format!("/v1/catalog/node/{own}")),
        ("/v1/catalog/node/none", "/v1/catalog/node/none".to_owned()),
        ("/v1/catalog/service/web", "/v1/catalog/service/web".to_owned()),
        ("/v1/catalog/service/none", "/v1/catalog/service/none".to_owned()),
        ("/v1/health/service/web", "/v1/health/service/web".to_owned()),
        ("/v1/health/service/web?stale", "/v1/health/service/web?stale".to_owned()),
        ("/v1/health/service/none", "/v1/health/service/none".to_owned()),
        ("/v1/health/state/any", "/v1/health/state/any".to_owned()),
        ("/v1/health/state/critical", "/v1/health/state/critical".to_owned()),
        ("/v1/kv/none", "/v1/kv/none".to_owned()),
        ("/v1/none", "/v1/none".to_owned()),
        ("/v1/health/service/web?ns=x", "/v1/health/service/web?ns=x".to_owned()),
        ("/v1/health/service/web?dc=none", "/v1/health/service/web?dc=none".to_owned()),
    ] {
        let (theirs, ours) = (ask(&real.address, &of_real).await, ask(&fake.url(), path).await);
        assert_eq!(ours.status, theirs.status, "{path}");
        let [mut of_theirs, mut of_ours] = [BTreeSet::new(), BTreeSet::new()];
        keys(&theirs.body, "", &mut of_theirs);
        keys(&ours.body, "", &mut of_ours);
        assert_eq!(of_ours, of_theirs, "{path}");
        if ours.status == 200 {
            // How the body is framed, and when it was sent, is HTTP's.
            let of_consul = |answer: &Answer| -> BTreeSet<String> {
                let transport = ["date", "content-length", "transfer-encoding"];
                answer.fields.iter().filter(|name| !transport.contains(&name.as_str())).cloned().collect()
            };
            assert_eq!(of_consul(&ours), of_consul(&theirs), "{path}");
        }
    }
    let (theirs, ours) = (ask(&real.address, "/v1/agent/self").await, ask(&fake.url(), "/v1/agent/self").await);
    let [mut of_theirs, mut of_ours] = [BTreeSet::new(), BTreeSet::new()];
    keys(&theirs.body, "", &mut of_theirs);
    keys(&ours.body, "", &mut of_ours);
    let unknown: Vec<_> = of_ours.difference(&of_theirs).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Which of these paths an event moves the index of.
async fn moved(agent: &FakeAgent, event: impl FnOnce(&mut Catalog)) -> Vec<&'static str> {
    const PATHS: [&str; 5] = [
        "/v1/catalog/services",
        "/v1/catalog/nodes",
        "/v1/health/service/web",
        "/v1/health/service/api",
        "/v1/health/state/any",
    ];
    let mut before = Vec::new();
    for path in PATHS {
        before.push(ask(&agent.url(), path).await.index);
    }
    agent.change(event);
    let mut moved = Vec::new();
    for (path, before) in PATHS.into_iter().zip(before) {
        if ask(&agent.url(), path).await.index != before {
            moved.push(path);
        }
    }
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_moves_the_indexes_that_it_moves_in_consul() {
    let agent = FakeAgent::start().await;
    agent.register(Instance::new("web", "web-1", somewhere()));
    agent.register(Instance::new("api", "api-1", somewhere()));
    let web = "/v1/health/service/web";
    let api = "/v1/health/service/api";
    let (services, any) = ("/v1/catalog/services", "/v1/health/state/any");
    let again = Instance::new("web", "web-1", somewhere());
    let mut other = again.clone();
    other.address.1 = 10;
    assert!(moved(&agent, |catalog| catalog.register(again)).await.is_empty());
    assert_eq!(moved(&agent, |catalog| catalog.set_check("web-1", "critical")).await, [web, any]);
    other.check = Some("critical".into());
    assert_eq!(moved(&agent, |catalog| catalog.register(other)).await, [services, web, any]);
    let own = integration::fake_agent::OWN_NODE;
    assert_eq!(moved(&agent, |catalog| catalog.set_serf(own, "critical")).await, [web, api, any]);
    assert_eq!(moved(&agent, |catalog| assert!(catalog.deregister(own, "api-1"))).await, [services, api, any]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_its_own_changes_and_that_of_critical_checks_for_critical_ones() {
    let agent = FakeAgent::start().await;
    agent.register(Instance::new("web", "web-1", somewhere()));
    let critical = "/v1/health/state/critical";
    let index = ask(&agent.url(), critical).await.index.expect("an index");
    let (url, waits) = (agent.url(), format!("{critical}?index={index}&wait=60s"));
    let waiting = tokio::spawn(async move { ask(&url, &waits).await });
    eventually("it waits", || async { agent.waiting() == 1 }).await;
    // The index of all checks moves, but no critical one is concerned.
    agent.change(|catalog| catalog.set_check("web-1", "warning"));
    let web = "/v1/health/service/web?index=1&wait=60s";
    assert_eq!(ask(&agent.url(), web).await.body[0]["Checks"][1]["Status"], "warning");
    assert!(!waiting.is_finished());
    agent.change(|catalog| catalog.set_check("web-1", "critical"));
    let answer = waiting.await.expect("no panic");
    assert_eq!(answer.body.as_array().map(Vec::len), Some(1));
    assert!(answer.index > Some(index + 1));
    let begun = Instant::now();
    let later = ask(&agent.url(), &format!("{critical}?index=9999&wait=300ms")).await;
    assert_eq!(later.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_differ_by_version_as_they_do_in_consul() {
    let agent = FakeAgent::start().await;
    agent.register(Instance::new("web", "web-1", somewhere()));
    let (first, again) = ("/v1/health/service/web", "/v1/health/service/web?index=1");
    let says = |answer: &Answer, field: &str| answer.fields.contains(field);
    agent.set_version(Version::Streaming);
    let streamed = ask(&agent.url(), again).await;
    assert!(says(&streamed, "x-consul-query-backend") && !says(&streamed, "x-consul-knownleader"));
    assert!(says(&ask(&agent.url(), first).await, "x-consul-knownleader"));
    agent.set_version(Version::Filtering);
    assert!(!says(&ask(&agent.url(), first).await, "x-consul-results-filtered-by-acls"));
    agent.fail(Rule::new("/v1/health", Fault::Without(vec!["web-1".into()])));
    let filtered = ask(&agent.url(), first).await;
    assert!(says(&filtered, "x-consul-results-filtered-by-acls") && filtered.body == json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_services_of_ten_instances_fit_into_it() {
    let agent = FakeAgent::start().await;
    agent.change(|catalog| {
        for service in 0..5_000 {
            for number in 0..10 {
                let address = SocketAddr::from(([10, (service >> 8) as u8, service as u8, number], 80));
                catalog.register(Instance::new(&format!("s{service}"), &format!("s{service}-{number}"), address));
            }
        }
    });
    assert_eq!(ask(&agent.url(), "/v1/catalog/services").await.body.as_object().map(serde_json::Map::len), Some(5_001));
    let answer = ask(&agent.url(), "/v1/health/service/s4999").await;
    assert_eq!(answer.body.as_array().map(Vec::len), Some(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_http_do_what_its_methods_do() {
    let agent = std::sync::Arc::new(FakeAgent::start().await);
    let commands = FakeAgent::serve_commands(agent.clone(), SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let put = async |command: &str, body: Value| {
        let answer = http.put(format!("http://{commands}/_fake/{command}")).body(body.to_string()).send().await;
        answer.expect("an answer").status().as_u16()
    };
    let web = json!({ "Name": "web", "ID": "web-1", "Port": 9, "Tags": ["gateway"], "Node": "node-1" });
    assert_eq!(put("register", json!([web])).await, 200);
    let path = "/v1/health/service/web";
    assert_eq!(ask(&agent.url(), path).await.body[0]["Node"]["Node"], "node-1");
    assert_eq!(put("fail", json!({ "path": path, "fault": "status", "value": 500, "times": 1 })).await, 200);
    assert_eq!((ask(&agent.url(), path).await.status, ask(&agent.url(), path).await.status), (500, 200));
    assert_eq!(put("fail", json!({ "fault": "status", "value": 403 })).await, 200);
    assert_eq!(ask(&agent.url(), path).await.status, 403);
    assert_eq!((put("heal", json!(null)).await, put("leave", json!("node-1")).await), (200, 200));
    assert_eq!(ask(&agent.url(), path).await.body, json!([]));
    assert_eq!((put("fail", json!({ "fault": "odd" })).await, put("odd", json!(null)).await), (400, 400));
}
