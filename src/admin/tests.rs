//! Each figure of a page is the one that its key names: the figures differ from each other.

use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::*;
use crate::catalog::notice::{self, Heard, Notice};
use crate::catalog::{self, Catalog, DiscoveryStatus, Endpoint, Health, Key, ProviderStatus, ServiceName, Suspect};
use crate::config::watch::Status;
use crate::config::{Config, Environment, Overrides, parse};
use crate::filter::cache::{Cache, Event};
use crate::plane::room::Gauge;
use crate::plane::{Handoff, Pulse};
use crate::request::{Consumer, LimitsKey, Roles, Source};
use crate::snapshot::{Current, Inputs, Snapshot};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Recorder;
use crate::worker::WorkerId;

mod compose;
mod issuers;

const CONFIG: &str = r#"
workers = 2
[[service]]
name = "orders"
instances = ["127.0.0.1:1"]
[[plan]]
name = "silver"
limits = ["7/h"]
[[consumer]]
name = "shop"
plan = "silver"
keys = ["sha256:4c806362b613f7496abf284146efd31da90e4b16169fe001841ca17290f427c4"]
[[route]]
name = "search"
path = { prefix = "/search" }
host = ["shop.example"]
methods = ["GET", "HEAD"]
headers = { x-version = "2" }
query = { q = true, lang = "de" }
service = "orders"
limits = [{ rate = "2/min", by = "everyone" }, { rate = "9/s", by = "address" }]
cache = true
auth = false
"#;

fn sources(config: Config) -> (Sources, Heard) {
    let status = Status {
        source: "lictor.toml".into(),
        loaded: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
        reloads: 3,
        failures: 2,
        errors: vec!["an error".into()],
        needs_restart: vec!["listener"],
    };
    let (notices, heard) = notice::channel();
    let pulse = Pulse::new(config.workers);
    let config = std::sync::Arc::new(config);
    let room = std::sync::Arc::new(Gauge::default());
    room.follow(1024, [Semaphore::new(6).into(), Semaphore::new(2).into()]);
    let sources = Sources {
        shared: Default::default(),
        cache: Cache::new(&config.store, config.workers),
        unrouted: std::sync::Arc::new(Recorder::new(config.workers)),
        current: Current::new(Snapshot::empty(config.clone())),
        discovery: watch::channel(Default::default()).1,
        notices,
        issuers: crate::issuers::start(&watch::channel(config).1, Default::default(), &Supervisor::default()),
        fleet: None,
        pulse,
        config: watch::channel(status).1,
        room,
        access: None,
    };
    (sources, heard)
}

fn for_tests() -> Sources {
    let config = parse(Some(CONFIG), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
    sources(config).0
}

#[tokio::test]
async fn the_page_of_the_cache_shows_each_count_under_its_name() {
    let sources = for_tests();
    let events = [
        (Event::Hit, 1),
        (Event::Miss, 2),
        (Event::Stale, 3),
        (Event::Revalidated, 4),
        (Event::Stored, 5),
        (Event::Coalesced, 6),
        (Event::Bypassed, 7),
    ];
    for (event, times) in events {
        for n in 0..times {
            sources.cache.count(WorkerId(n % 2), event);
        }
    }
    let page = cache::page(&sources);
    let counts = [page.hits, page.misses, page.stale, page.revalidated, page.stored, page.coalesced, page.bypassed];
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((page.entries, page.bytes, page.cleared), (0, 0, 0));
    assert!(page.size > 0);
}

#[tokio::test]
async fn the_page_of_limits_shows_each_limit_and_who_used_it() {
    let sources = for_tests();
    let snapshot = sources.current.load();
    let consumer = Consumer {
        name: "shop".into(),
        tenant: None,
        plan: Some("silver".into()),
        roles: Roles::default(),
        limits_key: LimitsKey::of(Source::Configuration, "shop"),
        source: Source::Configuration,
    };
    let search = snapshot.routes.all().iter().find(|entry| *entry.route.name == *"search").expect("it is there");
    let route = &search.route.policy.limits;
    let client = "10.0.0.9".parse().expect("an address");
    for _ in 0..3 {
        let now = Instant::now();
        let _ = snapshot.filters.limits.take(route.as_deref(), (Some(&consumer), None), client, now, &mut [None, None]);
    }
    let page = limits::page(&sources, None);
    let limits: Vec<_> =
        page.limits.iter().map(|l| (&*l.name, &*l.of, l.count, l.period_ms, &*l.by, l.refused)).collect();
    let expected = [
        ("search", "route", 2, 60_000, "everyone", 1),
        ("search", "route", 9, 1_000, "address", 1),
        ("silver", "plan", 7, 3_600_000, "consumer", 0),
    ];
    assert_eq!(limits, expected);
    let used = |limit: &str, count: u32| {
        let usage = page.usage.iter().find(|usage| usage.limit == limit && usage.count == count);
        let usage = usage.expect("it is used");
        (usage.consumer.as_deref(), usage.address.as_deref(), usage.everyone, usage.remaining, usage.period_ms)
    };
    assert_eq!(used("silver", 7), (Some("shop"), None, None, 5, 3_600_000));
    assert_eq!(used("search", 2), (None, None, Some(true), 0, 60_000));
    assert_eq!(used("search", 9), (None, Some("10.0.0.9"), None, 7, 1_000));
    assert!(limits::page(&sources, Some("shop")).usage.iter().all(|usage| usage.consumer.as_deref() == Some("shop")));
    assert!(limits::page(&sources, Some("nobody")).usage.is_empty());
}

#[tokio::test]
async fn the_page_of_the_configuration_shows_each_count_under_its_name() {
    let page = config::page(&for_tests());
    assert_eq!((page.reloads, page.failed_reloads), (3, 2));
    assert_eq!((&*page.source, &*page.loaded), ("lictor.toml", "2026-01-02T03:04:05.678Z"));
    assert_eq!((page.errors, page.needs_restart), (vec!["an error".to_owned()], vec!["listener".to_owned()]));
    let route = page.routes.iter().find(|route| route.name == "search").expect("it is there");
    assert_eq!((&*route.name, &*route.path, route.conditions), ("search", "/search/*", 3));
    assert_eq!(
        (&route.hosts, &route.methods),
        (&vec!["shop.example".to_owned()], &vec!["GET".to_owned(), "HEAD".into()])
    );
    assert_eq!((&route.auth, route.cached, route.limits.as_deref()), (&None, true, Some("search")));
    let api = page.routes.iter().find(|route| route.name == "api").and_then(|api| api.auth.clone()).expect("a key");
    assert_eq!((api.any, api.all.len(), api.optional, api.pass), (vec!["key".to_owned()], 0, false, false));
}

#[tokio::test]
async fn the_page_of_the_configuration_shows_all_that_a_route_demands_in_the_words_of_the_file() {
    let issuer = "[[issuer]]\nname = \"corp\"\nissuer = \"https://a.example\"\naudience = [\"a\", \"b\"]\n";
    let demands = [
        "all = [\"key\", \"corp\"], scopes = [\"orders:read\"], audience = [\"b\"], pass = true, \
         claims = { org = \"acme\", level = [1, 2], roles = { has = \"boss\" } }",
        "any = [\"basic\", \"corp\"], optional = true, cookie = \"session\", origins = [\"https://shop.example\"]",
    ];
    let shown = demands.map(|demand| {
        let auth = "auth = false\n";
        let text = CONFIG.replace(auth, &format!("auth = {{ {demand} }}\n{issuer}"));
        let password = crate::config::hash_password("open sesame").expect("a hash");
        let text = text.replace("plan = \"silver\"\n", &format!("plan = \"silver\"\npassword = \"{password}\"\n"));
        let config = parse(Some(&text), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
        let page = config::page(&sources(config).0);
        let route = page.routes.into_iter().find(|route| route.name == "search").expect("it is there");
        serde_json::to_value(route.auth).expect("JSON")
    });
    let expected = [
        serde_json::json!({
            "all": ["key", "corp"], "optional": false, "scopes": ["orders:read"], "audience": ["b"],
            "claims": [
                { "claim": ["level"], "is": [1, 2] },
                { "claim": ["org"], "is": ["acme"] },
                { "claim": ["roles"], "has": "boss" },
            ],
            "cookie": null, "origins": [], "pass": true,
        }),
        serde_json::json!({
            "any": ["basic", "corp"], "optional": true, "scopes": [], "audience": [], "claims": [],
            "cookie": "session", "origins": ["https://shop.example"], "pass": false,
        }),
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn the_page_of_the_configuration_says_how_consul_is_asked_and_shows_no_secret() {
    let text = "[consul]\naddresses = [\"https://a:1\", \"unix:///c\"]\ntoken = \"hush\"\nhttp_auth = \"me:hush\"\ndatacenters = [\"dc1\"]\n\
                hold = \"1m\"\nca_path = \"/ca\"\nclient_cert = \"/c.pem\"\nclient_key = \"/hush.key\"\nsnapshot = { file = \"/c.json\" }\n";
    let env = Environment::of(&[("LICTOR_API_KEY", "k")]);
    let config = parse(Some(text), "test", Overrides::default(), &env).expect("it is valid");
    let (sources, _heard) = sources(config);
    let page = config::page(&sources);
    assert!(!format!("{page:?}").contains("hush"));
    let consul = page.consul.expect("it is asked");
    assert_eq!((consul.token, consul.http_auth, consul.verify, consul.hold_ms), (true, true, true, 60_000));
    assert_eq!(
        (consul.addresses, consul.datacenters),
        (vec!["https://a:1".into(), "unix:///c".into()], vec!["dc1".to_owned()])
    );
    assert_eq!((consul.ca_path.as_deref(), consul.client_cert.as_deref()), (Some("/ca"), Some("/c.pem")));
    let snapshot = consul.snapshot.map(|snapshot| (snapshot.file, snapshot.max_age_ms));
    assert_eq!(snapshot, Some(("/c.json".into(), 3_600_000)));
}

#[tokio::test]
async fn a_page_that_panics_is_500_and_counted_and_the_next_one_is_answered() {
    let sources = for_tests();
    let (handoff, mut errands) = Handoff::new();
    let ask = async |page: &str| {
        let request = Request::get(page).body(Bytes::new()).expect("a request");
        handoff.ask(request, "shop".into()).await.expect("an answer").status()
    };
    let asked = async { [ask("/admin/services?service=panic%20on%20command").await, ask("/admin/services").await] };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        statuses = asked => assert_eq!(statuses, [500, 200]),
    }
    let failed: Vec<_> =
        sources.pulse.control.tasks().iter().map(|task| (task.name, task.failures, task.well)).collect();
    assert_eq!(failed, [("admin", 1, true)]);
}

/// What a server of errands answers while somebody else does his part: the status, and the page as text.
async fn ask(handoff: &Handoff, method: &str, page: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(page).body(Bytes::new()).expect("a request");
    let answer = handoff.ask(request, "shop".into()).await.expect("an answer");
    let text = String::from_utf8_lossy(answer.body()).split_whitespace().collect();
    (answer.status().as_u16(), text)
}

const ACCEPT: &str = "/admin/discovery/accept";

#[tokio::test(start_paused = true)]
async fn an_operator_accepts_suspects_by_discovery_and_keeps_no_other_page_waiting() {
    let text = format!("{CONFIG}[consul]\n");
    let config = parse(Some(&text), "test", Overrides::default(), &Environment::of(&[])).expect("it is valid");
    let (sources, mut heard) = sources(config);
    let (handoff, mut errands) = Handoff::new();
    let asked = async {
        let one = format!("{ACCEPT}?service=orders");
        let (page, others) = tokio::join!(ask(&handoff, "POST", &one), async {
            let Some(Notice::Accept(name, reply)) = heard.notices.recv().await else { panic!("it is told") };
            assert_eq!(name.as_ref().map(ServiceName::as_str), Some("orders"));
            let others = [ask(&handoff, "GET", "/admin/services").await.0, ask(&handoff, "GET", &one).await.0];
            reply.send(3).expect("somebody waits");
            others
        });
        assert_eq!((page, others), ((200, "{\"accepted\":3}".to_owned()), [200, 405]));
        // Who does not answer within two seconds, or never will.
        let began = Instant::now();
        let ((status, why), notice) = tokio::join!(ask(&handoff, "POST", ACCEPT), heard.notices.recv());
        assert!(matches!(notice, Some(Notice::Accept(None, _))));
        assert_eq!((status, began.elapsed()), (503, Duration::from_secs(2)), "{why}");
        drop(notice);
        drop(heard);
        assert_eq!((ask(&handoff, "POST", ACCEPT).await.0, began.elapsed()), (503, Duration::from_secs(2)));
        for mistake in ["?service=", "?node=x", "?service=a/b", "?service"] {
            assert_eq!(ask(&handoff, "POST", &format!("{ACCEPT}{mistake}")).await.0, 400, "{mistake}");
        }
    };
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        () = asked => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_workers_is_no_failure_of_whoever_answers_their_errands() {
    let (sources, (handoff, mut errands)) = (for_tests(), Handoff::new());
    drop(handoff);
    assert!(tokio::time::timeout(Duration::from_secs(3600), serve(&sources, &mut errands)).await.is_err());
}

#[tokio::test]
async fn without_consul_there_is_nothing_to_accept() {
    let (sources, (handoff, mut errands)) = (for_tests(), Handoff::new());
    tokio::select! {
        () = serve(&sources, &mut errands) => panic!("it ended"),
        answer = ask(&handoff, "POST", ACCEPT) => assert_eq!(answer, (200, "{\"accepted\":0}".to_owned())),
    }
}

#[tokio::test]
async fn suspects_are_counted_and_each_says_why_it_is_held() {
    let (name, none) = (ServiceName::new("orders").expect("a name"), std::sync::Arc::<str>::from(""));
    let why = Suspect {
        reason: "a crowd".into(),
        since: SystemTime::UNIX_EPOCH,
        until: SystemTime::UNIX_EPOCH + Duration::from_secs(600),
    };
    let endpoint = |port: u16| Endpoint {
        key: Key {
            datacenter: none.clone(),
            partition: none.clone(),
            namespace: none.clone(),
            peer: none.clone(),
            service: name.clone(),
            address: ([10, 0, 0, 1], port).into(),
        },
        registrations: Vec::new(),
        health: Health::Passing,
        weight: 1,
        suspect: (port > 1).then(|| why.clone().into()),
    };
    let (endpoints, unroutable) = ((1..=3).map(endpoint).collect(), Vec::new());
    let orders = catalog::Service { name: name.clone(), provider: "consul", endpoints, unroutable };
    let services = catalog::Services::unit(name, orders.into());
    let catalog = std::sync::Arc::new(Catalog { services, complete: true, ..Catalog::default() });
    let config = std::sync::Arc::new(crate::config::for_tests());
    let inputs = Inputs { config: config.clone(), catalog, keys: Default::default(), now: Instant::now() };
    let consul = ProviderStatus { name: "consul", ..provider() };
    let sources = Sources {
        current: Current::new(Snapshot::next(&inputs, &Snapshot::empty(config)).snapshot),
        discovery: watch::channel(DiscoveryStatus { providers: vec![consul] }.into()).1,
        ..for_tests()
    };
    for only in [None, Some("orders")] {
        let page = services::page(&sources, only);
        let held: Vec<_> = page.services[0].instances.iter().map(|i| i.suspect.clone().map(|s| s.until)).collect();
        let until = Some("1970-01-01T00:10:00.000Z".to_owned());
        assert_eq!((page.discovery[0].suspects, held), (2, vec![None, until.clone(), until]));
    }
    assert!(services::page(&sources, Some("users")).services.is_empty());
    let metrics = String::from_utf8_lossy(metrics::page(&sources).body()).into_owned();
    assert!(metrics.contains("\nlictor_discovery_suspects{provider=\"consul\"} 2\n"), "{metrics}");
}

#[tokio::test]
async fn a_saved_catalog_that_is_served_is_counted_as_stale_and_the_page_says_since_when() {
    for (restored_at, since, stale) in
        [(None, None, 0), (Some(SystemTime::UNIX_EPOCH), Some("1970-01-01T00:00:00.000Z"), 1)]
    {
        let consul = ProviderStatus { name: "consul", restored_at, ..provider() };
        let discovery = watch::channel(DiscoveryStatus { providers: vec![consul] }.into()).1;
        let sources = Sources { discovery, ..for_tests() };
        assert_eq!(services::page(&sources, None).discovery[0].stale_since.as_deref(), since);
        let metrics = String::from_utf8_lossy(metrics::page(&sources).body()).into_owned();
        assert!(metrics.contains(&format!("\nlictor_discovery_stale{{provider=\"consul\"}} {stale}\n")), "{metrics}");
    }
}

fn provider() -> ProviderStatus {
    ProviderStatus { state: "watching", ..ProviderStatus::starting("file", String::new()) }
}
