//! What single steps of a request cost, and what the next snapshot costs: room by room, in one thread, without sockets.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use lictor::catalog::{Catalog, Check, Endpoint, Health, Key, Registration, Service, ServiceName};
use lictor::config::{self, Config, Environment, Overrides};
use lictor::fields::X_API_KEY;
use lictor::filter::cache::growing::Growing;
use lictor::filter::cache::{Cache, Found, Place};
use lictor::io::Learnt;
use lictor::route::{self, Lookup};
use lictor::snapshot::{Inputs, Next, Snapshot};
use lictor::upstream::Upstreams;
use lictor::upstream::breaker::Failure;
use lictor::upstream::instance::Settings;
use lictor::upstream::wire::Connector;
use lictor::worker::WorkerId;
use tokio::time::Instant;

const WORKER: WorkerId = WorkerId(0);

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn main() {
    let long = Duration::from_secs(2);
    let mut criterion = Criterion::default().warm_up_time(long / 4).measurement_time(long).configure_from_args();
    routes(&mut criterion);
    picks(&mut criterion);
    keys_and_limits(&mut criterion);
    cache(&mut criterion);
    snapshots(&mut criterion);
    criterion.final_summary();
}

fn routes(criterion: &mut Criterion) {
    for count in [10, 10_000] {
        let mut text = String::new();
        for n in 0..count {
            let host = n % 10;
            let path = format!("path = {{ prefix = \"/a/{n}\" }}");
            let _ = writeln!(text, "[[route]]\nhost = \"h{host}.example.com\"\n{path}\nservice = \"s\"");
        }
        let snapshot = Snapshot::empty(config(&text));
        let headers = request();
        for (which, n, is_there) in [("first", 0, true), ("last", count - 1, true), ("missing", count, false)] {
            let (host, path) = (format!("h{}.example.com", n % 10), format!("/a/{n}/x"));
            let lookup =
                Lookup { host: Some(&host), path: &path, query: None, method: &Method::GET, headers: &headers };
            assert_eq!(route::find(&snapshot.routes, &lookup).is_ok(), is_there);
            criterion.bench_function(&format!("route/lookup/{count} routes/{which}"), |b| {
                b.iter(|| route::find(&snapshot.routes, &lookup));
            });
        }
    }
}

fn picks(criterion: &mut Criterion) {
    for (count, tripped) in [(3, 0), (1000, 0), (1000, 100)] {
        // The breakers that are tripped stay open for as long as this runs.
        let config = config("[breaker]\nopen = \"1h\"\nopen_max = \"1h\"\n");
        let snapshot = next(&config, &catalog(1, count), &Snapshot::empty(config.clone())).snapshot;
        let upstreams = upstreams(&snapshot);
        let local = upstreams.named("service-0").expect("its only service");
        for member in local.shared.members.iter().step_by(10).take(tripped) {
            while let Some(permit) = member.instance.acquire(WORKER) {
                permit.failed(Failure::ConnectRefused, &local.shared.state, || true);
            }
        }
        let left = local.shared.members.iter().filter(|member| member.instance.eligible(&mut None)).count();
        assert_eq!(left, count - tripped);
        let name = format!("pick/{count} instances, {tripped} tripped");
        criterion.bench_function(&format!("{name}/permit dropped"), |b| {
            b.iter(|| local.pick(&[]).map(|pick| pick.member));
        });
        criterion.bench_function(&format!("{name}/succeeded"), |b| {
            b.iter(|| local.pick(&[]).map(|pick| pick.permit.succeeded(Instant::now())));
        });
    }
}

/// A thousand consumers with a plan, and a route that limits addresses; no limit is ever reached.
fn keys_and_limits(criterion: &mut Criterion) {
    let limit = "1000000000/s";
    let mut text = format!(
        "[[plan]]\nname = \"plan\"\nlimits = [\"{limit}\"]\n\
         [[route]]\nname = \"open\"\npath = {{ prefix = \"/open\" }}\nservice = \"s\"\n\
         limits = [{{ rate = \"{limit}\", by = \"address\" }}]\n"
    );
    for n in 0..1000 {
        let digest: String = config::digest(&format!("key-{n}")).iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "[[consumer]]\nname = \"c{n}\"\nkeys = [\"sha256:{digest}\"]\nplan = \"plan\"");
    }
    let snapshot = Snapshot::empty(config(&text));
    let now = Instant::now();
    let headers = request();
    criterion.bench_function("auth/known key of 1000", |b| {
        // The first request of each connection: its key is digested.
        b.iter(|| snapshot.filters.auth.check(&headers, &Learnt::default(), CLIENT, now));
    });
    let consumer = snapshot.filters.auth.check(&headers, &Learnt::default(), CLIENT, now).expect("it is known");
    let limits = |path| {
        let lookup = Lookup { host: None, path, query: None, method: &Method::GET, headers: &headers };
        route::find(&snapshot.routes, &lookup).expect("a route").entry.route.policy.limits.clone()
    };
    for (whose, route, consumer) in
        [("a consumer's", limits("/api/s"), Some(&**consumer)), ("an address's", limits("/open"), None)]
    {
        let route = route.as_deref();
        criterion.bench_function(&format!("limit/take one of {whose}, with what is left as a header"), |b| {
            b.iter(|| {
                let mut remaining = [None, None];
                snapshot.filters.limits.take(route, (consumer, None), CLIENT, now, &mut remaining).map(|()| remaining)
            });
        });
        let mut remaining = [None, None];
        snapshot.filters.limits.take(route, (consumer, None), CLIENT, now, &mut remaining).expect("it is not used up");
        assert_eq!(remaining.iter().flatten().count(), 1);
    }
}

fn cache(criterion: &mut Criterion) {
    let config = config("[api]\ncache = { ttl = \"1h\" }\n");
    let cache = Cache::new(&config.store, config.workers);
    let (headers, path, host) = (request(), "/api/orders/1", "shop.example.com");
    let place =
        Place { scheme: "http", host, told: None, path, query: Some("page=2"), form: "1", claims: "", has_body: false };
    let now = Instant::now();
    let find = || cache.find(&Method::GET, &headers, &place, now);
    let Found::Fetch(fetch) = find() else { panic!("nothing is stored yet") };
    let answer = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let policy = &config.routes[0].policy.cache;
    let head = cache.judge(policy, &headers, StatusCode::OK, &answer, now).expect("it may be stored");
    let mut body = Growing::new(cache.hold(&fetch.key, &headers).expect("there is room"), None);
    assert!(body.push(&[b'x'; 512]));
    cache.store(&fetch.key, head, body.finish(), "orders".into(), WORKER);
    drop(body);
    assert!(matches!(find(), Found::Fresh(_)));
    criterion.bench_function("cache/key and lookup/hit", |b| b.iter(find));
}

/// The time that it takes to free a snapshot is not counted.
fn snapshots(criterion: &mut Criterion) {
    let mut criterion = criterion.benchmark_group("snapshot");
    criterion.sample_size(20);
    for (services, each) in [(5000, 10), (1, 1000)] {
        let config = config("");
        let (empty, whole) = (Snapshot::empty(config.clone()), catalog(services, each));
        let one_gone = without_one(&whole);
        let before = next(&config, &whole, &empty).snapshot;
        let after = next(&config, &one_gone, &before);
        assert_eq!((after.changes.len(), after.effects.len()), (1, 1));
        let of = format!("{services} x {each} instances");
        for (what, catalog, previous) in [
            ("nothing changed", &whole, &before),
            ("one instance gone", &one_gone, &before),
            ("from scratch", &whole, &empty),
        ] {
            criterion.bench_function(format!("next/{of}/{what}"), |b| {
                b.iter_batched(|| (), |()| next(&config, catalog, previous), BatchSize::PerIteration);
            });
        }
        // One instance disappears and returns in turn, while requests have asked this worker for every service, or for one.
        for asked in BTreeSet::from([services, 1]) {
            let upstreams = upstreams(&before);
            (0..asked).for_each(|n| assert!(upstreams.named(&format!("service-{n}")).is_some()));
            let mut turns = [&after.snapshot, &before].into_iter().cycle();
            criterion.bench_function(
                format!("follow by a worker/{of}, {asked} asked for/one instance gone or back"),
                |b| {
                    b.iter(|| turns.next().map(|snapshot| upstreams.follow(&snapshot.services)));
                },
            );
        }
        // The time that it takes to free the snapshot before.
        criterion.bench_function(format!("free/{of}/one instance gone"), |b| {
            b.iter_batched(|| next(&config, &one_gone, &before).snapshot, drop, BatchSize::PerIteration);
        });
    }
}

fn config(text: &str) -> Arc<Config> {
    let (text, env) = (format!("workers = 2\n{text}"), Environment::of(&[("LICTOR_API_KEY", "key-500")]));
    Arc::new(config::parse(Some(&text), "bench", Overrides::default(), &env).unwrap_or_else(|e| panic!("{e}")))
}

/// A request's headers, as a program sends them.
fn request() -> HeaderMap {
    HeaderMap::from_iter([
        (header::HOST, HeaderValue::from_static("shop.example.com")),
        (header::USER_AGENT, HeaderValue::from_static("bench/1.0")),
        (header::ACCEPT, HeaderValue::from_static("*/*")),
        (header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        (X_API_KEY, HeaderValue::from_static("key-500")),
    ])
}

fn next(config: &Arc<Config>, catalog: &Arc<Catalog>, previous: &Snapshot) -> Next {
    let inputs = Inputs { config: config.clone(), catalog: catalog.clone(), keys: Arc::default(), now: Instant::now() };
    Snapshot::next(&inputs, previous)
}

fn upstreams(snapshot: &Snapshot) -> Upstreams {
    let settings = Settings { connector: Connector::Tcp, idle: 1, idle_age: Duration::from_secs(60) };
    let upstreams = Upstreams::new(WORKER, settings);
    upstreams.follow(&snapshot.services);
    upstreams
}

/// The catalog that Consul would provide for so many services, each with so many instances.
fn catalog(services: usize, each: usize) -> Arc<Catalog> {
    let service = |number: usize| {
        let name = ServiceName::new(&format!("service-{number}")).expect("a name");
        let endpoints = (0..each).map(|index| endpoint(&name, number * each + index)).collect();
        let service = Service { name: name.clone(), provider: "consul", endpoints, unroutable: Vec::new() };
        (name, Arc::new(service))
    };
    Arc::new(Catalog { services: (0..services).map(service).collect(), complete: true, ..Catalog::default() })
}

/// A copy of a catalog in which one service has one instance less.
fn without_one(catalog: &Catalog) -> Arc<Catalog> {
    let mut catalog = catalog.clone();
    let (name, service) = catalog.services.get_max().expect("there is one");
    let (name, mut service) = (name.clone(), service.clone());
    Arc::make_mut(&mut service).endpoints.pop();
    catalog.services.insert(name, service);
    Arc::new(catalog)
}

fn endpoint(service: &ServiceName, number: usize) -> Endpoint {
    let [.., high, low] = number.to_be_bytes();
    let check = |id: &str, node| Check { id: id.into(), status: "passing".into(), node };
    let registration = Registration {
        node: format!("node-{high}").into(),
        id: format!("{service}-{number}"),
        create_index: 1,
        modify_index: 1,
        checks: vec![check("serfHealth", true), check("http", false)],
        health: Health::Passing,
        weight: 1,
        tags: ["gateway".into()].into(),
        meta: Arc::default(),
    };
    let key = Key {
        datacenter: "dc1".into(),
        partition: "".into(),
        namespace: "".into(),
        peer: "".into(),
        service: service.clone(),
        address: ([10, 0, high, low], 8080).into(),
    };
    Endpoint { key, registrations: vec![registration], health: Health::Passing, weight: 1, suspect: None }
}
