//! The one idea, as a function.

mod suspecting;

use super::*;
use crate::catalog::{self, Endpoint, Health, Key, Registration, ServiceName};
use crate::config::{self, Environment, Overrides};
use crate::fields::X_API_KEY;
use crate::io::Learnt;
use crate::upstream::instance::Instance;

fn endpoint(port: u16, health: Health, created: u64) -> Endpoint {
    let registration = Registration {
        node: "n".into(),
        id: format!("x-{port}"),
        create_index: created,
        modify_index: created,
        checks: Vec::new(),
        health,
        weight: 1,
        tags: Arc::default(),
        meta: Arc::default(),
    };
    let key = Key {
        datacenter: "dc1".into(),
        partition: "".into(),
        namespace: "".into(),
        peer: "".into(),
        service: ServiceName::new("orders").expect("a name"),
        address: ([10, 0, 0, 1], port).into(),
    };
    Endpoint { key, registrations: vec![registration], health, weight: 1, suspect: None }
}

fn catalog(endpoints: Option<Vec<Endpoint>>) -> Arc<Catalog> {
    let mut catalog = Catalog { complete: true, ..Catalog::default() };
    if let Some(endpoints) = endpoints {
        let name = ServiceName::new("orders").expect("a name");
        let service = catalog::Service { name: name.clone(), provider: "consul", endpoints, unroutable: Vec::new() };
        catalog.services.insert(name, Arc::new(service));
    }
    Arc::new(catalog)
}

struct Story {
    config: Arc<Config>,
    snapshot: Snapshot,
}

impl Story {
    fn begin() -> Story {
        let config = Arc::new(crate::config::for_tests());
        Story { snapshot: Snapshot::empty(config.clone()), config }
    }

    fn then(&mut self, catalog: &Arc<Catalog>) -> (Vec<Effect>, Vec<String>, Option<Instant>) {
        let inputs =
            Inputs { config: self.config.clone(), catalog: catalog.clone(), keys: Arc::default(), now: Instant::now() };
        let Next { snapshot, effects, changes, due, .. } = Snapshot::next(&inputs, &self.snapshot);
        self.snapshot = snapshot;
        (effects, changes, due)
    }

    fn instance(&self, index: usize) -> Arc<Instance> {
        self.snapshot.service("orders").expect("it is known").members[index].instance.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn twice_on_equal_input_changes_nothing() {
    let mut story = Story::begin();
    let catalog = catalog(Some(vec![endpoint(1, Health::Passing, 1), endpoint(2, Health::Critical, 1)]));
    let (_, changes, _) = story.then(&catalog);
    assert_eq!(changes, ["orders: +10.0.0.1:1"]);
    let before = story.snapshot.service("orders").cloned().expect("it is known");
    let (effects, changes, due) = story.then(&catalog);
    assert!(effects.is_empty() && changes.is_empty() && due.is_none());
    assert!(Arc::ptr_eq(&before, story.snapshot.service("orders").expect("it is known")));
}

#[tokio::test(start_paused = true)]
async fn who_stays_is_the_same_instance_and_who_goes_departs() {
    let mut story = Story::begin();
    story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1), endpoint(2, Health::Passing, 1)])));
    let (first, second) = (story.instance(0), story.instance(1));
    let (effects, changes, _) =
        story.then(&catalog(Some(vec![endpoint(2, Health::Warning, 1), endpoint(3, Health::Passing, 1)])));
    assert!(Arc::ptr_eq(&second, &story.instance(0)));
    assert_eq!(changes, ["orders: +10.0.0.1:3 -10.0.0.1:1"]);
    let departed = effects.iter().any(|e| matches!(e, Effect::Departed(instance) if Arc::ptr_eq(instance, &first)));
    assert!(departed, "{effects:?}");
}

#[tokio::test(start_paused = true)]
async fn a_critical_instance_keeps_its_history_and_is_probed_when_it_is_back() {
    let mut story = Story::begin();
    story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1)])));
    let instance = story.instance(0);
    let (effects, ..) = story.then(&catalog(Some(vec![endpoint(1, Health::Critical, 1)])));
    assert!(matches!(effects[..], [Effect::Departed(_)]));
    let (effects, ..) = story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1)])));
    assert!(
        effects.iter().any(|e| matches!(e, Effect::Arrived(_)))
            && effects.iter().any(|e| matches!(e, Effect::ProbeNow(_)))
    );
    assert!(Arc::ptr_eq(&instance, &story.instance(0)));
    let (effects, changes, _) = story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 9)])));
    assert!(matches!(effects[..], [Effect::ProbeNow(_)]) && changes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_extinct_service_is_remembered_for_ten_minutes_and_then_forgotten() {
    let mut story = Story::begin();
    story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1)])));
    let nothing = catalog(None);
    let (effects, _, due) = story.then(&nothing);
    assert!(matches!(effects[..], [Effect::Departed(_)]));
    assert!(story.snapshot.service("orders").is_some_and(|s| s.gone.is_some() && s.members.is_empty()));
    assert_eq!(due, Some(Instant::now() + TOMBSTONE));
    tokio::time::advance(TOMBSTONE - Duration::from_secs(1)).await;
    story.then(&nothing);
    assert!(story.snapshot.service("orders").is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    let (_, _, due) = story.then(&nothing);
    assert!(story.snapshot.service("orders").is_none() && due.is_none());
    story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1)])));
    assert!(story.snapshot.service("orders").is_some_and(|service| service.gone.is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_one_service_among_many_visits_that_one_and_leaves_the_others_untouched() {
    let name = |number: usize| ServiceName::new(&format!("s{number}")).expect("a name");
    let service = |number: usize, ports: &[u16]| {
        let of = |&port: &u16| {
            let mut endpoint = endpoint(port, Health::Passing, 1);
            endpoint.key.service = name(number);
            endpoint
        };
        let endpoints = ports.iter().map(of).collect();
        Arc::new(catalog::Service { name: name(number), provider: "consul", endpoints, unroutable: Vec::new() })
    };
    let services = (0..500).map(|number| (name(number), service(number, &[1]))).collect();
    let mut catalog = Catalog { services, complete: true, ..Catalog::default() };
    let (config, mut steps) = (Arc::new(crate::config::for_tests()), Vec::new());
    let mut previous = Snapshot::empty(config.clone());
    let mut step = |catalog: &Catalog| {
        let inputs = Inputs {
            config: config.clone(),
            catalog: Arc::new(catalog.clone()),
            keys: Arc::default(),
            now: Instant::now(),
        };
        let next = Snapshot::next(&inputs, &previous);
        let is_same = |(name, service): &(&ServiceName, &Arc<_>)| {
            previous.service(name.as_str()).is_some_and(|before| Arc::ptr_eq(before, service))
        };
        steps.push((next.visited, next.snapshot.services.iter().filter(is_same).count(), next.changes.len()));
        previous = next.snapshot;
    };
    step(&catalog);
    catalog.services.insert(name(77), service(77, &[1, 2]));
    step(&catalog);
    step(&catalog);
    // An equal one in another place of memory is no change.
    catalog.services.insert(name(78), service(78, &[1]));
    step(&catalog);
    catalog.services.remove(&name(77));
    step(&catalog);
    catalog.services.insert(name(77), service(77, &[3]));
    step(&catalog);
    assert_eq!(steps, [(500, 0, 500), (1, 499, 1), (0, 500, 0), (0, 500, 0), (1, 499, 1), (1, 499, 1)]);
    assert!(previous.extinct.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_comes_back_within_five_minutes_is_the_same_one_and_after_that_another() {
    for (away, same) in [(RETURN - Duration::from_secs(1), true), (RETURN, false)] {
        for others in [Some(vec![endpoint(2, Health::Passing, 1)]), None] {
            let mut story = Story::begin();
            let both = catalog(Some(vec![endpoint(1, Health::Passing, 1), endpoint(2, Health::Passing, 1)]));
            story.then(&both);
            let first = story.instance(0);
            story.then(&catalog(others));
            tokio::time::advance(away).await;
            let (effects, ..) = story.then(&both);
            assert_eq!(Arc::ptr_eq(&first, &story.instance(0)), same);
            let arrived = effects.iter().any(|e| matches!(e, Effect::Arrived(i) if Arc::ptr_eq(i, &story.instance(0))));
            assert!(arrived, "{effects:?}");
            let probed = effects.iter().any(|e| matches!(e, Effect::ProbeNow(_)));
            let tuned = effects.iter().any(|e| matches!(e, Effect::Tuned(..)));
            assert_eq!((probed, tuned), (same, same), "{effects:?}");
        }
    }
}

/// A configuration with limits for all routes, and consumers whose keys are their names.
fn configured(limits: &str, consumers: &[&str]) -> Arc<Config> {
    let mut text = format!("limits = {limits}\n");
    for name in consumers {
        let digest: String = config::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        text += &format!("[[consumer]]\nname = \"{name}\"\nkeys = [\"sha256:{digest}\"]\n");
    }
    let parsed = config::parse(Some(&text), "test", Overrides::default(), &Environment::default());
    Arc::new(parsed.unwrap_or_else(|e| panic!("{e}")))
}

/// Takes one request of a consumer, and one of an address; whether each passes.
fn takes(snapshot: &Snapshot, key: &str) -> [bool; 2] {
    let headers = http::HeaderMap::from_iter([(X_API_KEY, key.parse().expect("a header value"))]);
    let (client, now) = ([10, 0, 0, 1].into(), Instant::now());
    let learnt = Learnt::default();
    let consumer = snapshot.filters.auth.check(&headers, &learnt, client, now).expect("the key is known");
    let route = snapshot.config.routes[0].policy.limits.as_deref();
    [Some(&**consumer), None]
        .map(|who| snapshot.filters.limits.take(route, (who, None), client, now, &mut [None, None]).is_ok())
}

#[tokio::test(start_paused = true)]
async fn made_twice_the_next_snapshot_is_the_same_and_the_one_before_goes_on_as_if_there_were_none() {
    let config = configured("[\"3/h\"]", &["shop"]);
    let mut story = Story { snapshot: Snapshot::empty(config.clone()), config };
    story.then(&catalog(Some(vec![endpoint(1, Health::Passing, 1), endpoint(2, Health::Passing, 1)])));
    let previous = story.snapshot;
    assert_eq!(takes(&previous, "shop"), [true, true]);
    // A limit more, consumers more, an instance less.
    let inputs = Inputs {
        config: configured("[\"3/h\", \"100/day\"]", &["app", "shop"]),
        catalog: catalog(Some(vec![endpoint(2, Health::Passing, 2)])),
        keys: Arc::default(),
        now: Instant::now(),
    };
    let used = previous.filters.limits.usage(inputs.now);
    let twice = [(), ()].map(|()| Snapshot::next(&inputs, &previous));
    let result = |next: &Next| (next.changes.clone(), next.due, format!("{:?}", next.effects));
    assert_eq!(result(&twice[0]), result(&twice[1]));
    assert_eq!(previous.filters.limits.usage(inputs.now), used);
    for Next { snapshot, .. } in &twice {
        assert_eq!(snapshot.filters.limits.usage(inputs.now), used);
    }
    // A worker that has not looked yet takes the second of three; the third is left for whoever has.
    assert_eq!(takes(&previous, "shop"), [true, true]);
    assert_eq!(takes(&twice[0].snapshot, "shop"), [true, true]);
    assert_eq!(takes(&twice[1].snapshot, "shop"), [false, false]);
    assert_eq!(takes(&previous, "shop"), [false, false]);
    assert_eq!(takes(&twice[1].snapshot, "app"), [true, false]);
}

/// Something in an input that makes the next snapshot panic.
fn panicking(inputs: &Inputs, previous: &Snapshot) -> Next {
    crate::supervisor::panic_on_command(&inputs.config.warnings.concat());
    inputs.catalog.hidden.iter().for_each(|hidden| crate::supervisor::panic_on_command(&hidden.reason));
    Snapshot::next(inputs, previous)
}

/// A writer at work, on paused time.
struct Written {
    current: Current,
    config: watch::Sender<Arc<Config>>,
    catalog: watch::Sender<Arc<Catalog>>,
    supervisor: Supervisor,
    _retire: mpsc::Sender<Arc<Snapshot>>,
}

impl Written {
    async fn begin() -> Written {
        let now = Arc::new(crate::config::for_tests());
        let current = Current::new(Snapshot::empty(now.clone()));
        let (config, configs) = watch::channel(now);
        let (catalog, catalogs) = watch::channel(catalog(Some(vec![endpoint(1, Health::Passing, 1)])));
        let (_, keys) = watch::channel(Arc::default());
        let (retire, retired) = mpsc::channel(1);
        let supervisor = Supervisor::default();
        let wake = Wake::new(1);
        let mut writer = Writer::new(current.clone(), (configs, catalogs, keys), wake, retired, supervisor.clone());
        writer.next = panicking;
        supervisor.spawn(WRITER, writer, |writer| Box::pin(writer.run()));
        let written = Written { current, config, catalog, supervisor, _retire: retire };
        written.settle().await;
        assert_eq!(written.ports(), [1]);
        written
    }

    /// Until the writer has taken what there is.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await; // paused time
    }

    async fn put(&self, ports: &[u16], reason: &str) {
        let endpoints = ports.iter().map(|&port| endpoint(port, Health::Passing, 1)).collect();
        let mut catalog = Catalog::clone(&catalog(Some(endpoints)));
        catalog.hidden.push(catalog::Hidden { name: "x".into(), reason: reason.into() });
        self.catalog.send_replace(Arc::new(catalog));
        self.settle().await;
    }

    async fn reload(&self, warning: &str) {
        let warnings = vec![warning.to_owned()];
        self.config.send_replace(Arc::new(Config { warnings, ..crate::config::for_tests() }));
        self.settle().await;
    }

    /// The ports of the instances that requests may go to.
    fn ports(&self) -> Vec<u16> {
        let snapshot = self.current.load();
        let members = snapshot.service("orders").map_or(&[][..], |service| &service.members[..]);
        members.iter().map(|member| member.instance.key.address.port()).collect()
    }

    fn warning(&self) -> String {
        self.current.load().config.warnings.concat()
    }
}

#[tokio::test(start_paused = true)]
async fn an_input_that_the_writer_panics_on_is_skipped_and_the_next_one_is_taken() {
    let written = Written::begin().await;
    written.put(&[2], "panic on command").await;
    assert_eq!((written.ports(), written.supervisor.tasks()[0].failures), (vec![1], 1));
    let faults = written.supervisor.faults();
    assert!(faults[0].starts_with("snapshot: the newest configuration or catalog is not in force"), "{faults:?}");
    // It stays skipped, and known as such, for as long as it is the newest.
    tokio::time::sleep(Duration::from_secs(3600)).await; // paused time
    assert_eq!((written.supervisor.tasks()[0].failures, written.supervisor.tasks()[0].well), (1, false));
    written.put(&[3], "").await;
    assert_eq!(written.ports(), [3]);
    assert!(written.supervisor.faults().is_empty() && written.supervisor.tasks()[0].well);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_the_writer_panics_on_does_not_keep_a_new_catalog_out() {
    let written = Written::begin().await;
    written.reload("panic on command").await;
    written.put(&[2], "").await;
    assert_eq!((written.ports(), written.warning()), (vec![2], String::new()));
    assert_eq!(written.supervisor.faults().len(), 1);
    written.reload("better").await;
    assert_eq!((written.ports(), written.warning()), (vec![2], "better".into()));
    assert!(written.supervisor.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_extinct_is_forgotten_in_time_although_the_newest_input_is_skipped() {
    let written = Written::begin().await;
    written.catalog.send_replace(catalog(None));
    written.settle().await;
    written.put(&[2], "panic on command").await;
    assert!(written.current.load().service("orders").is_some_and(|service| service.gone.is_some()));
    tokio::time::sleep(TOMBSTONE).await; // paused time
    assert!(written.current.load().service("orders").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_configuration_waits_for_the_services_that_it_lists_and_keeps_no_other_change_waiting() {
    let written = Written::begin().await;
    let warnings = vec!["second".to_owned()];
    written.config.send_replace(Arc::new(Config { warnings, version: 1, ..crate::config::for_tests() }));
    written.settle().await;
    written.put(&[2], "").await;
    assert_eq!((written.ports(), written.warning()), (vec![2], String::new()));
    let listed = Catalog { config_version: 1, ..Catalog::clone(&written.catalog.borrow()) };
    written.catalog.send_replace(Arc::new(listed));
    written.settle().await;
    assert_eq!((written.ports(), written.warning()), (vec![2], "second".into()));
}
