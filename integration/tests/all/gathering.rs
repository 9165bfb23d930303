//! The fleet: gateways register in Consul, find each other there, and believe nobody who cannot prove to be one of them.

use std::sync::{Arc, Mutex};

use http::Method;
use integration::agent::{Agent, Setup, free_port};
use integration::client::KEY;
use integration::eventually;
use integration::process::root;
use integration::world::{World, config};
use lictor::config::Config;
use mock_services::{Kind, Mock};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "a secret of the whole fleet";

/// The configuration of a gateway of a fleet at an agent, with this at the end of `[fleet]`, or after it.
fn one_of(agent: &Agent, service: &str, more: &str) -> Config {
    config(&text(agent, service, more))
}

fn text(agent: &Agent, service: &str, more: &str) -> String {
    let consul = format!("[consul]\naddress = \"{}\"\n{}", agent.address, agent.settings());
    let fleet =
        format!("[fleet]\nservice = \"{service}\"\nsecret = \"{SECRET}\"\nadmin_networks = [\"127.0.0.0/8\"]\n");
    format!("{consul}{fleet}{more}")
}

async fn join(agent: &Agent, service: &str, more: &str) -> World {
    let world = World::start(one_of(agent, service, more)).await;
    world.ready().await;
    world
}

async fn page(world: &World) -> Value {
    world.admin.get("/admin/fleet").await.json()
}

/// The ids of what is registered and passes.
async fn passing(agent: &Agent, service: &str) -> Vec<String> {
    let entries = agent.get(&format!("/v1/health/service/{service}?passing")).await;
    let all = entries.as_array().into_iter().flatten();
    all.map(|entry| entry["Service"]["ID"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn registered(agent: &Agent, service: &str) -> usize {
    agent.get(&format!("/v1/catalog/service/{service}")).await.as_array().map_or(0, Vec::len)
}

/// A gateway that lives is known to this one, and says how it is.
fn answering(page: &Value) -> usize {
    page["gateways"].as_array().map_or(0, |all| all.iter().filter(|one| !one["state"].is_null()).count())
}

/// The page on which so many gateways say how they are.
async fn answered(world: &World, gateways: usize) -> Value {
    let last = std::cell::RefCell::new(Value::Null);
    let what = format!("{gateways} gateways answer");
    eventually(&what, || async {
        let page = page(world).await;
        let all = answering(&page) == gateways;
        last.replace(page);
        all
    })
    .await;
    last.into_inner()
}

async fn metric(world: &World, name: &str) -> String {
    let text = world.admin.get("/admin/metrics").await.body;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn three_gateways_register_find_each_other_and_leave_when_they_end() {
    let agent = Agent::shared().await;
    let mut worlds = Vec::new();
    for _ in 0..3 {
        worlds.push(join(agent, "lictor-three", "").await);
    }
    eventually("all three pass", || async { passing(agent, "lictor-three").await.len() == 3 }).await;
    for world in &worlds {
        let page = answered(world, 3).await;
        assert_eq!((&page["living"], &page["disagreements"]), (&json!(3), &json!([])), "{page:#}");
        assert_eq!((&page["registration"]["registered"], &page["gateways"][0]["own"]), (&json!(true), &json!(true)));
        let address = format!("127.0.0.1:{}", world.address.port());
        let own = &page["gateways"][0];
        assert_eq!((&own["address"], &own["health"]), (&json!(address), &json!("passing")));
        assert_eq!(
            (metric(world, "lictor_fleet_gateways").await, metric(world, "lictor_fleet_registered").await),
            ("3".into(), "1".into())
        );
        assert!(world.client.get("/ready").await.body.contains("\"ready\""));
    }
    // What is registered holds what other gateways need, and nothing that changes with each snapshot.
    let entry = agent.get("/v1/catalog/service/lictor-three").await[0].clone();
    let meta = entry["ServiceMeta"].as_object().expect("metadata");
    assert_eq!(meta.keys().collect::<Vec<_>>(), ["lictor-configuration", "lictor-peer", "lictor-version"]);
    // It is in the catalog, and yet no route leads to it.
    assert_eq!(worlds[0].client.get("/api/lictor-three/health").await.status, 404);
    // One ends: it is gone from the catalog before its listener closes, and the others count two.
    worlds.pop().expect("three").stop().await;
    assert_eq!(registered(agent, "lictor-three").await, 2);
    eventually("the others know", || async { page(&worlds[0]).await["gateways"].as_array().map_or(0, Vec::len) == 2 })
        .await;
    for world in worlds {
        world.stop().await;
    }
    assert_eq!(registered(agent, "lictor-three").await, 0);
}

#[tokio::test]
async fn gateways_say_who_disagrees_about_configuration_services_and_breakers() {
    let agent = Agent::shared().await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let dead = free_port();
    let service = format!("[[service]]\nname = \"odd\"\ninstances = [\"{}\", \"127.0.0.1:{dead}\"]\n", mock.address);
    let a = join(agent, "lictor-odd", &service).await;
    // This one is asked at its public listener.
    let b = join(agent, "lictor-odd", &format!("address = \"127.0.0.1\"\n{service}")).await;
    let c = join(
        agent,
        "lictor-odd",
        &format!("{service}[retry]\nmore = 1\n[[service]]\nname = \"more\"\ninstances = [\"127.0.0.1:1\"]\n"),
    )
    .await;
    answered(&a, 3).await;
    // An instance trips at one of them only.
    eventually("it trips", || async {
        a.client.get("/api/odd/x").await;
        a.service("odd").await["instances"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["breaker"]["state"] == "open"))
    })
    .await;
    let page = answered(&b, 3).await;
    let about = |about: &str, what: &str| {
        let all = page["disagreements"].as_array().expect("a list");
        let found = all.iter().find(|found| found["about"] == about && found["what"] == what);
        let sides =
            found.unwrap_or_else(|| panic!("{about} {what}: {page:#}"))["sides"].as_array().expect("sides").clone();
        let mut sizes: Vec<_> = sides.iter().map(|side| side["gateways"].as_array().map_or(0, Vec::len)).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(about("configuration", ""), [1, 2]);
    assert_eq!(about("snapshot", "more"), [1, 2]);
    assert_eq!(about("breaker", &format!("odd 127.0.0.1:{dead}")), [1, 2]);
    drop((a, b, c));
}

#[tokio::test]
async fn no_route_leads_to_the_service_of_the_fleet_whoever_registers_it_with_whatever_tags() {
    let agent = Agent::shared().await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = join(agent, "lictor-tagged", "").await;
    for (service, id) in [("lictor-tagged", "lictor-tagged-by-somebody"), ("beside-a-fleet", "beside-a-fleet-1")] {
        agent.register(service, id, mock.address.port(), json!({})).await;
    }
    // What was registered after it, with the same tag, is routed.
    world.until("/api/beside-a-fleet/users", 200).await;
    assert_eq!(world.client.get("/api/lictor-tagged/users").await.status, 404);
    let services = world.admin.get("/admin/services").await.json()["services"].to_string();
    assert!(services.contains("\"beside-a-fleet\"") && !services.contains("\"lictor-tagged\""), "{services}");
    world.stop().await;
    for id in ["lictor-tagged-by-somebody", "beside-a-fleet-1"] {
        agent.deregister(id).await;
    }
}

#[tokio::test]
async fn an_agent_that_forgot_a_gateway_is_told_again() {
    let agent = Agent::start(false).await;
    let world = join(&agent, "lictor", "").await;
    eventually("it is registered", || async { registered(&agent, "lictor").await == 1 }).await;
    let id = page(&world).await["registration"]["id"].as_str().expect("an id").to_owned();
    agent.deregister(&id).await;
    eventually("it is registered again", || async { registered(&agent, "lictor").await == 1 }).await;
    // Somebody else's registration under its id is corrected.
    agent.register("lictor", &id, 1, json!({})).await;
    eventually("it is as it was", || async {
        agent.get("/v1/catalog/service/lictor").await[0]["ServicePort"] == json!(world.address.port())
    })
    .await;
}

#[tokio::test]
async fn while_no_agent_answers_gateways_serve_say_so_and_keep_the_last_count() {
    let mut agent = Agent::start(true).await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let service = format!("[[service]]\nname = \"here\"\ninstances = [\"{}\"]\n", mock.address);
    let (a, b) = (join(&agent, "lictor", &service).await, join(&agent, "lictor", &service).await);
    eventually("both pass", || async { metric(&a, "lictor_fleet_gateways").await == "2" }).await;
    agent.kill();
    eventually("it is said", || async { metric(&a, "lictor_fleet_registered").await == "0" }).await;
    let ready = a.client.get("/ready").await;
    assert!(ready.status == 200 && ready.body.contains("degraded") && ready.body.contains("not registered"));
    assert_eq!(metric(&a, "lictor_fleet_gateways").await, "2");
    assert_eq!(a.client.get("/api/here/users").await.status, 200);
    // They still know and ask each other.
    let page = answered(&a, 2).await;
    assert!(page["error"].is_string() && page["registration"]["error"].is_string(), "{page:#}");
    agent.restart().await;
    eventually("it is registered again", || async { metric(&a, "lictor_fleet_registered").await == "1" }).await;
    eventually("it is ready", || async { a.client.get("/ready").await.body.contains("\"ready\"") }).await;
    drop(b);
}

#[tokio::test]
async fn a_token_that_may_not_register_is_no_reason_to_stop() {
    let management = "b1650000-0000-4000-8000-000000000015";
    let hcl = format!("acl {{ tokens {{ master = \"{management}\" agent = \"{management}\" }} }}");
    let flags = vec![format!("-config-file={}", root().join("consul/agent-acl.hcl").display())];
    let agent = Agent::of(Setup { hcl, token: management.to_owned(), flags, ..Setup::default() }).await;
    // What is documented, and the same without the right that only a fleet needs.
    let policy = std::fs::read_to_string(root().join("consul/policy.hcl")).expect("the policy");
    let rules = policy.split("# Only with [fleet]").next().expect("there is a beginning");
    let token = |rules: &str, name: &str| {
        let (policy, name) = (json!({ "Name": name, "Rules": rules }), name.to_owned());
        let agent = &agent;
        async move {
            agent.put("/v1/acl/policy", Some(policy)).await;
            let made = agent.put("/v1/acl/token", Some(json!({ "Policies": [{ "Name": name }] }))).await;
            made["SecretID"].as_str().expect("a token").to_owned()
        }
    };
    let reader = token(rules, "reader").await;
    let writer = token(&policy, "writer").await;
    let file = std::env::temp_dir().join(format!("lictor-fleet-token-{}", std::process::id()));
    std::fs::write(&file, reader).expect("a file");
    let text = text(&agent, "lictor", "").replace("[consul]\n", &format!("[consul]\ntoken = {{ file = {file:?} }}\n"));
    let world = World::start(config(&text)).await;
    world.ready().await;
    eventually("it is said", || async { world.client.get("/ready").await.body.contains("not registered") }).await;
    let page = page(&world).await;
    assert!(page["registration"]["error"].as_str().is_some_and(|why| why.contains("403")), "{page:#}");
    assert!(!world.client.get("/ready").await.body.contains("403"), "what the agent said is not for everybody");
    // The right is given, and it registers.
    std::fs::write(&file, writer).expect("a file");
    eventually("it is registered", || async { metric(&world, "lictor_fleet_registered").await == "1" }).await;
    let _ = std::fs::remove_file(file);
}

/// Takes connections, remembers what it is sent, and answers each request with this.
async fn stranger(answer: &'static str) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let heard = Arc::new(Mutex::new(String::new()));
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8192];
            let length = stream.read(&mut head).await.unwrap_or(0);
            all.lock().expect("no panic").push_str(&String::from_utf8_lossy(&head[..length]));
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{answer}",
                answer.split("\r\n\r\n").nth(1).map_or(0, str::len)
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (port, heard)
}

#[tokio::test]
async fn a_stranger_that_registers_as_a_gateway_learns_no_key_and_nothing_that_it_says_counts() {
    let agent = Agent::shared().await;
    let world = join(agent, "lictor-false", "").await;
    // It answers as a gateway would that runs another version, and cannot prove it.
    let (port, heard) =
        stranger("Content-Type: application/octet-stream\r\n\r\n{\"version\": \"6.6.6\", \"snapshot\": \"x\"}").await;
    let meta = json!({ "Meta": { "lictor-peer": format!("127.0.0.1:{port}"), "lictor-version": "6.6.6" } });
    agent.register("lictor-false", "lictor-false-1", port, meta).await;
    // Another one wants the gateway to call somebody outside of the fleet's networks.
    let outside = json!({ "Meta": { "lictor-peer": "192.0.2.1:80" } });
    agent.register("lictor-false", "lictor-false-2", 1, outside).await;
    eventually("all are seen", || async { page(&world).await["gateways"].as_array().map_or(0, Vec::len) == 3 }).await;
    let page = page(&world).await;
    let one = |id: &str| {
        page["gateways"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["id"] == id).cloned())
            .expect("it is shown")
    };
    assert!(one("lictor-false-1")["error"].as_str().is_some_and(|why| why.contains("does not prove")), "{page:#}");
    assert!(one("lictor-false-2")["error"].as_str().is_some_and(|why| why.contains("admin_networks")), "{page:#}");
    assert!(one("lictor-false-1")["state"].is_null() && page["disagreements"] == json!([]), "{page:#}");
    assert!(!page.to_string().contains("6.6.6"), "{page:#}");
    let heard = heard.lock().expect("no panic").clone();
    assert!(heard.contains("GET /_lictor/fleet/v1/state"), "{heard}");
    assert!(!heard.contains(KEY) && !heard.to_lowercase().contains("x-api-key") && !heard.contains(SECRET), "{heard}");
    // It has the tag by which services are exposed, and is none.
    eventually("it is hidden", || async {
        let services = world.admin.get("/admin/services").await.json();
        let hidden = services["not_exposed"].as_array().cloned().unwrap_or_default();
        hidden.iter().any(|one| one["name"] == "lictor-false" && one["reason"] == "these are the gateways themselves")
    })
    .await;
    assert_eq!(world.client.get("/api/lictor-false/x").await.status, 404);
    agent.deregister("lictor-false-1").await;
    agent.deregister("lictor-false-2").await;
}

#[tokio::test]
async fn only_who_proves_to_be_of_the_fleet_is_told_anything() {
    let agent = Agent::shared().await;
    let world = join(agent, "lictor-closed", "").await;
    let path = "/_lictor/fleet/v1/state";
    for client in [&world.client, &world.admin] {
        assert_eq!(client.get(path).await.status, 404);
        let now = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
        let id = page(&world).await["registration"]["id"].as_str().expect("an id").to_owned();
        let field = format!("hmac-sha256 {now} 00112233445566778899aabbccddeeff {} {id}", "0".repeat(64));
        let proof = [("lictor-fleet", &*field)];
        assert_eq!(client.ask(Method::GET, path, &proof, "").await.status, 404);
        assert_eq!(client.get("/_lictor/other").await.status, 404);
    }
    // A gateway of another secret is registered under the same name: each sees that the other is none of its fleet.
    let other = text(agent, "lictor-closed", "").replace(SECRET, "a secret of somebody else");
    let other = World::start(config(&other)).await;
    other.ready().await;
    eventually("it is seen", || async {
        let page = page(&world).await;
        let all = page["gateways"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["error"].as_str().is_some_and(|why| why.contains("404")))
    })
    .await;
    assert_eq!(answering(&page(&world).await), 1);
    // One of the same secret hears calls from other networks only.
    let far = text(agent, "lictor-closed", "").replace("127.0.0.0/8", "192.0.2.0/24");
    let far = World::start(config(&far)).await;
    far.ready().await;
    eventually("it refuses, and does not ask", || async {
        let errors = |page: Value, part: &str| {
            let all = page["gateways"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|one| one["error"].as_str().is_some_and(|why| why.contains(part))).count()
        };
        errors(page(&world).await, "404") == 2 && errors(page(&far).await, "admin_networks: it is not asked") == 2
    })
    .await;
    // Without `[fleet]` the page shows this gateway alone, and nobody is told anything.
    let alone = World::of("[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:1\"]\n").await;
    let page = page(&alone).await;
    assert_eq!((answering(&page), &page["living"], &page["registration"]), (1, &json!(1), &Value::Null));
    assert_eq!(alone.admin.get(path).await.status, 404);
    assert_eq!(metric(&alone, "lictor_fleet_gateways").await, "");
}

#[tokio::test]
async fn a_gateway_whose_agent_dies_registers_at_the_next_one_and_takes_itself_out_there() {
    let (mut first, second) = (Agent::start(false).await, Agent::start(false).await);
    let one = format!("address = \"{}\"", first.address);
    let both = format!("addresses = [\"{}\", \"{}\"]", first.address, second.address);
    let world = World::start(config(&text(&first, "lictor", "").replace(&one, &both))).await;
    world.ready().await;
    eventually("it is registered", || async { registered(&first, "lictor").await == 1 }).await;
    assert_eq!(registered(&second, "lictor").await, 0);
    first.kill();
    eventually("it is registered elsewhere", || async { registered(&second, "lictor").await == 1 }).await;
    eventually("it says so", || async { page(&world).await["registration"]["agent"] == json!(second.address) }).await;
    world.stop().await;
    assert_eq!(registered(&second, "lictor").await, 0);
}
