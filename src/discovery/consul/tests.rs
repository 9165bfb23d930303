//! What the Consul provider promises, against a fake agent that misbehaves on command.

mod agents;
pub(crate) mod fake;
mod order;
mod planning;
mod trusting;

use std::time::Duration;

use self::client::Failure;
use self::fake::{Fake, Fault, instance};
use super::address::{AgentPorts, Trust};
use super::*;
use crate::catalog::notice::{self, Notices};
use crate::catalog::{Catalog, Health, ProviderStatus, ServiceName};
use crate::discovery::{Discovery, spawn};
use crate::supervisor::Supervisor;

const HOUR: Duration = Duration::from_secs(3600);

/// Waits until nothing was asked for some rounds.
async fn until_quiet(fake: &Fake) {
    let mut before = usize::MAX;
    while before != fake.requests("/v1/").len() {
        before = fake.requests("/v1/").len();
        tokio::time::sleep(Duration::from_millis(200)).await; // that it stays quiet is what is waited for
    }
}

/// Lets the services that have a watch be asked for, so that no other gets one.
async fn take_all_watches(fake: &Fake, notices: &Notices) {
    for path in fake.waiting("/v1/health/service/") {
        let name = path.rsplit('/').next().and_then(ServiceName::new).unwrap();
        notices.tell(notice::Notice::Asked(name));
    }
    until_quiet(fake).await;
}

/// Rules as most tests want them.
pub(crate) fn rules() -> Rules {
    let trust = Trust {
        allow_loopback: false,
        agent_is_local: true,
        own_node: Ok("mine".into()),
        listeners: Vec::new(),
        agent: AgentPorts::default(),
        host: None,
    };
    Rules { expose: config::Expose::Tagged("gateway".into()), gateways: "lictor".into(), trust, wan: false }
}

pub(crate) fn config(address: String) -> config::Consul {
    config::Consul {
        addresses: vec![address],
        token: Some(config::Secret::Text("secret".into())),
        expose: config::Expose::Tagged("gateway".into()),
        connections: 64,
        allow_loopback: false,
        namespace: None,
        partition: None,
        ca_file: None,
        ca_path: None,
        client_cert: None,
        tls_server_name: None,
        verify: true,
        http_auth: None,
        datacenters: Vec::new(),
        hold: Duration::from_secs(600),
        canary: Some("consul".into()),
        gateways: "lictor".into(),
        saved: None,
    }
}

fn quick() -> Timings {
    let ms = Duration::from_millis;
    let backoff = (ms(20), ms(200));
    Timings {
        wait: ms(600),
        slack: ms(1_000),
        backoff,
        canary: ms(200),
        cut: ms(150),
        first: ms(300),
        ..Timings::default()
    }
}

fn discover(fake: &Fake, tweak: impl FnOnce(&mut config::Consul, &mut Timings)) -> Discovery {
    supervised(fake, &Supervisor::default(), tweak)
}

fn supervised(
    fake: &Fake,
    supervisor: &Supervisor,
    tweak: impl FnOnce(&mut config::Consul, &mut Timings),
) -> Discovery {
    spawn(vec![Box::new(consul(fake, notice::channel().1, tweak))], supervisor)
}

fn telling(fake: &Fake, heard: Heard, tweak: impl FnOnce(&mut config::Consul, &mut Timings)) -> Discovery {
    spawn(vec![Box::new(consul(fake, heard, tweak))], &Supervisor::default())
}

fn consul(fake: &Fake, heard: Heard, tweak: impl FnOnce(&mut config::Consul, &mut Timings)) -> Consul {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (mut config, mut timings) = (config(format!("http://{}", fake.address)), quick());
    tweak(&mut config, &mut timings);
    Consul::with_timings(&config, Vec::new(), heard, timings).unwrap()
}

async fn until(discovery: &Discovery, what: impl Fn(&Catalog) -> bool) -> Arc<Catalog> {
    let mut seen = discovery.catalog.clone();
    let found = tokio::time::timeout(Duration::from_secs(30), seen.wait_for(|catalog| what(catalog))).await;
    found.unwrap_or_else(|_| panic!("not in {:#?}", discovery.catalog.borrow())).unwrap().clone()
}

async fn until_status(discovery: &Discovery, what: impl Fn(&ProviderStatus) -> bool) -> ProviderStatus {
    let mut seen = discovery.status.clone();
    let found = tokio::time::timeout(Duration::from_secs(30), seen.wait_for(|status| what(&status.providers[0]))).await;
    found.unwrap_or_else(|_| panic!("not in {:#?}", discovery.status.borrow())).unwrap().providers[0].clone()
}

fn addresses(catalog: &Catalog, service: &str) -> Vec<String> {
    let service = catalog.services.get(service);
    service.map_or(Vec::new(), |s| s.endpoints.iter().map(|e| e.key.address.to_string()).collect())
}

/// The addresses of a service's endpoints that are suspects.
fn suspects(catalog: &Catalog, service: &str) -> Vec<String> {
    let endpoints = catalog.services.get(service).map_or(&[][..], |service| &service.endpoints);
    let suspects = endpoints.iter().filter(|endpoint| endpoint.suspect.is_some());
    suspects.map(|endpoint| endpoint.key.address.to_string()).collect()
}

fn web(addresses: &[&str]) -> Vec<serde_json::Value> {
    addresses.iter().map(|address| instance(address, address, "passing")).collect()
}

#[tokio::test]
async fn what_is_registered_appears_changes_and_disappears() {
    let fake = Fake::start().await;
    let discovery = discover(&fake, |_, _| {});
    assert!(!discovery.catalog.borrow().complete);
    until(&discovery, |c| c.complete && c.services.is_empty()).await;
    fake.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    until(&discovery, |c| addresses(c, "web") == ["10.0.0.1:80", "10.0.0.2:80"]).await;
    fake.put("web", vec![instance("a", "10.0.0.2", "critical")]);
    let catalog = until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"]).await;
    assert_eq!(catalog.services["web"].endpoints[0].health, Health::Critical);
    fake.put("web", Vec::new());
    until(&discovery, |c| c.services.is_empty()).await;
    assert!(discovery.catalog.borrow().hidden.iter().any(|h| h.name == "consul" && h.reason == "has no tag `gateway`"));
    assert!(
        fake.requests("/v1/health").iter().all(|r| r.contains("stale") && !r.contains("passing") && !r.contains("ns="))
    );
}

#[tokio::test]
async fn a_token_from_a_file_is_sent_as_it_is_now() {
    let fake = Fake::start().await;
    let path = std::env::temp_dir().join(format!("lictor-token-{}-{}", std::process::id(), fake.address.port()));
    std::fs::write(&path, "old\n").unwrap();
    let discovery = discover(&fake, |config, _| config.token = Some(config::Secret::File(path.clone())));
    until(&discovery, |c| c.complete).await;
    assert!(fake.requests("/v1/").iter().all(|request| request.ends_with(" token old")));
    std::fs::write(&path, "new\n").unwrap();
    fake.put("web", web(&["10.0.0.1"]));
    until(&discovery, |c| addresses(c, "web").len() == 1).await;
    assert!(fake.requests("/v1/health").iter().all(|request| request.ends_with(" token new")));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn an_equal_answer_wakes_nobody_and_unchanged_services_stay_the_same() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    fake.put("api", web(&["10.0.0.2"]));
    let discovery = discover(&fake, |_, _| {});
    let before = until(&discovery, |c| c.complete).await;
    let mut seen = discovery.catalog.clone();
    seen.mark_unchanged();
    let requests = fake.requests("/v1/health/service/web").len();
    fake.put("web", web(&["10.0.0.1"]));
    while fake.requests("/v1/health/service/web").len() < requests + 2 {
        tokio::task::yield_now().await;
    }
    assert!(!seen.has_changed().unwrap());
    fake.put("web", web(&["10.0.0.9"]));
    let after = until(&discovery, |c| addresses(c, "web") == ["10.0.0.9:80"]).await;
    assert!(Arc::ptr_eq(&before.services["api"], &after.services["api"]));
}

#[tokio::test]
async fn an_index_that_goes_backwards_starts_anew_and_changes_are_still_seen() {
    let fake = Fake::start().await;
    fake.set_index(1_000);
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, _| {});
    until(&discovery, |c| c.complete).await;
    fake.set_index(5);
    fake.put("web", web(&["10.0.0.2"]));
    until(&discovery, |c| suspects(c, "web") == ["10.0.0.1:80"] && addresses(c, "web").len() == 2).await;
    fake.put("web", web(&["10.0.0.3"]));
    // What vanishes with the agent's memory is not believed to be gone.
    until(&discovery, |c| suspects(c, "web") == ["10.0.0.1:80", "10.0.0.2:80"] && addresses(c, "web").len() == 3).await;
    until_status(&discovery, |s| s.index > 0 && s.index < 1_000).await;
    // What an index below one seen removes was confirmed by the leader.
    assert!(fake.requests("/v1/health/service/web").iter().any(|request| !request.contains("stale")));
}

#[tokio::test]
async fn an_index_of_zero_is_no_busy_loop() {
    let fake = Fake::start().await;
    let start = std::time::Instant::now();
    fake.show_index(0);
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, _| {});
    until(&discovery, |c| c.complete && addresses(c, "web").len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await; // that it stays quiet is what is measured
    let (requests, allowed) = (fake.requests("/v1/catalog").len(), 5 + start.elapsed().as_secs());
    assert!(requests as u64 <= allowed, "{requests} requests");
    assert!(fake.requests("index=0").is_empty() && !fake.requests("index=1").is_empty());
}

#[tokio::test]
async fn no_error_ever_removes_anything() {
    use Fault::*;
    for fault in [Status(500), Status(403), Status(404), Status(429), Eof, Silent, Cut, Nonsense] {
        let fake = Fake::start().await;
        fake.put("web", web(&["10.0.0.1"]));
        let discovery = discover(&fake, |_, timings| timings.slack = Duration::from_millis(100));
        until(&discovery, |c| c.complete).await;
        fake.fail("/v1/", fault);
        // Behind the error the agent has forgotten everything: nobody may come to know.
        fake.put("web", Vec::new());
        let failing = until_status(&discovery, |s| s.state == "failing" && s.errors > 3).await;
        assert!(failing.error.is_some(), "{fault:?}");
        assert_eq!(addresses(&discovery.catalog.borrow(), "web"), ["10.0.0.1:80"], "{fault:?}");
        fake.put("web", web(&["10.0.0.2"]));
        fake.heal();
        until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"]).await;
        until_status(&discovery, |s| s.state == "watching" && s.error.is_none()).await;
    }
}

#[tokio::test]
async fn a_service_whose_answer_its_watch_panics_on_stays_as_it_was_and_delays_no_other() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    fake.put("new", vec![instance("panic on command", "10.0.0.8", "passing")]);
    let discovery = discover(&fake, |_, _| {});
    let catalog = until(&discovery, |c| c.complete).await;
    assert_eq!((addresses(&catalog, "web").len(), addresses(&catalog, "new").len()), (1, 0));
    fake.put("new", web(&["10.0.0.9"]));
    until(&discovery, |c| addresses(c, "new") == ["10.0.0.9:80"]).await;
    fake.put("new", vec![instance("panic on command", "10.0.0.8", "passing")]);
    let failing = until_status(&discovery, |s| s.error.is_some()).await;
    assert!(failing.error.is_some_and(|error| error.starts_with("new: ") && error.contains("the log says why")));
    fake.put("web", web(&["10.0.0.2"]));
    let catalog = until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"]).await;
    assert_eq!(addresses(&catalog, "new"), ["10.0.0.9:80"]);
    fake.put("new", web(&["10.0.0.7"]));
    until(&discovery, |c| addresses(c, "new") == ["10.0.0.7:80"]).await;
    until_status(&discovery, |s| s.error.is_none()).await;
}

#[tokio::test]
async fn a_catalog_that_its_watch_panics_on_removes_nothing_and_the_next_one_holds() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let supervisor = Supervisor::default();
    let discovery = supervised(&fake, &supervisor, |_, _| {});
    until(&discovery, |c| addresses(c, "web").len() == 1).await;
    fake.put("panic on command", web(&["10.0.0.9"]));
    fake.put("web", web(&["10.0.0.2"]));
    while supervisor.tasks()[0].failures < 3 {
        tokio::task::yield_now().await;
    }
    let catalog = discovery.catalog.borrow().clone();
    assert!(catalog.complete && addresses(&catalog, "web").len() == 1, "{catalog:?}");
    assert_eq!(supervisor.faults(), ["consul: it failed and was begun again; the log says why"]);
    fake.put("panic on command", Vec::new());
    until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"]).await;
}

#[tokio::test]
async fn an_agent_that_fails_is_asked_less_and_less() {
    for path in ["/v1/agent/self", "/v1/catalog/services"] {
        let fake = Fake::start().await;
        fake.fail(path, Fault::Status(500));
        let (start, long) = (std::time::Instant::now(), Duration::from_secs(3_600));
        let discovery = discover(&fake, |_, timings| timings.canary = long);
        until_status(&discovery, |s| s.errors >= 6).await;
        // 20 + 40 + 80 + 160 + 320 ms, half of it by chance.
        assert!(start.elapsed() >= Duration::from_millis(310), "{path}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_killed_agent_is_watched_again_when_it_is_back() {
    let mut fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| timings.backoff.1 = Duration::from_secs(3_600));
    until(&discovery, |c| c.complete).await;
    fake.kill().await;
    until_status(&discovery, |s| s.state == "failing" && s.errors > 6).await;
    fake.put("web", web(&["10.0.0.2"]));
    fake.listen().await;
    until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"]).await;
}

#[tokio::test]
async fn an_agent_without_a_leader_adds_but_does_not_remove() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    let discovery = discover(&fake, |_, _| {});
    until(&discovery, |c| c.complete).await;
    fake.set_leader(false);
    fake.put("web", web(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    until(&discovery, |c| addresses(c, "web").len() == 3).await;
    fake.forget_everything(1);
    until_status(&discovery, |s| s.state == "failing").await;
    assert_eq!(addresses(&discovery.catalog.borrow(), "web").len(), 3);
    fake.set_leader(true);
    // The leader says the same, but it has lost its memory.
    until(&discovery, |c| suspects(c, "web").len() == 3).await;
}

#[tokio::test]
async fn a_service_that_cannot_be_read_delays_nobody_else() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    fake.put("closed", web(&["10.0.0.2"]));
    fake.fail("/v1/health/service/closed", Fault::Status(403));
    let discovery = discover(&fake, |_, _| {});
    let catalog = until(&discovery, |c| c.complete).await;
    assert_eq!(addresses(&catalog, "web"), ["10.0.0.1:80"]);
    assert!(catalog.services["closed"].endpoints.is_empty());
    let status = until_status(&discovery, |s| s.error.is_some()).await;
    assert!(status.error.unwrap().contains("closed") && status.state == "watching");
}

#[tokio::test]
async fn two_hundred_services_fit_into_sixteen_connections() {
    let fake = Fake::start().await;
    for n in 0..200 {
        fake.put(&format!("s{n:03}"), web(&["10.0.0.1"]));
    }
    let discovery = discover(&fake, |config, timings| {
        (config.connections, timings.wait) = (16, Duration::from_secs(30));
        // That most of them leave at once is meant.
        config.hold = Duration::ZERO;
    });
    until(&discovery, |c| c.complete && c.services.len() == 200).await;
    let status = until_status(&discovery, |s| s.state == "sweeping").await;
    assert_eq!(status.watched + status.swept, 200);
    // Whether watched or not, every service is followed.
    for n in 0..200 {
        fake.put(&format!("s{n:03}"), web(&["10.0.0.2"]));
    }
    until(&discovery, |c| (0..200).all(|n| addresses(c, &format!("s{n:03}")) == ["10.0.0.2:80"])).await;
    // Services leave, and those that remain get watches of their own.
    for n in 5..200 {
        fake.put(&format!("s{n:03}"), Vec::new());
    }
    until(&discovery, |c| c.services.len() == 5).await;
    until_status(&discovery, |s| s.state == "watching" && s.swept == 0).await;
    assert!(fake.most() <= 16, "{} connections", fake.most());
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| timings.wait = Duration::from_secs(60));
    until(&discovery, |c| c.complete).await;
    discovery.stop();
    while fake.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(addresses(&discovery.catalog.borrow(), "web"), ["10.0.0.1:80"]);
}

#[test]
fn an_address_or_a_file_that_cannot_work_is_refused_in_words() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let refused =
        |config: &config::Consul| Consul::new(config, Vec::new(), notice::channel().1).unwrap_err().to_string();
    assert!(refused(&config("ftp://consul".into())).contains("expected http://"));
    assert!(refused(&config("127.0.0.1:8500".into())).contains("consul.address"));
    let file = config::Consul { ca_file: Some("/nowhere/ca.pem".into()), ..config("https://consul:8501".into()) };
    assert!(refused(&file).contains("/nowhere/ca.pem"));
}
