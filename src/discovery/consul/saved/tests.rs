//! What is saved is what is loaded, by the rules that hold then; and nothing else is ever loaded.

mod keeping;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::{Service, ServiceName};
use crate::config::{Expose, SavedCatalog};
use crate::discovery::consul::address::{AgentPorts, Host};
use crate::discovery::consul::assemble::{self, Assembled};
use crate::discovery::consul::model;
use crate::discovery::consul::tests::{config, rules};
use crate::own_file::tests::Place;

trait OfPlace {
    fn catalog(&self) -> SavedCatalog;
}

impl OfPlace for Place {
    fn catalog(&self) -> SavedCatalog {
        SavedCatalog { file: self.0.join("catalog.json"), max_age: Duration::from_secs(3_600) }
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

fn scope() -> Scope {
    Scope::of(&config(String::new()))
}

fn scoped(change: impl FnOnce(&mut config::Consul)) -> Scope {
    let mut config = config(String::new());
    change(&mut config);
    Scope::of(&config)
}

fn entry(id: &str, address: &str) -> Value {
    json!({"Node": {"Node": "mine", "Address": "10.0.0.99", "Datacenter": "dc1"},
        "Service": {"ID": id, "Address": address, "Port": 80, "Tags": ["gateway", "v1"], "Meta": {"secret": "hush"},
            "Weights": {"Passing": 3, "Warning": 2}, "CreateIndex": 7, "ModifyIndex": 9},
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": id, "ServiceID": id, "Status": "warning"}]})
}

fn assembled(name: &str, entries: Vec<Value>, rules: &Rules) -> Option<(ServiceName, Arc<Service>)> {
    let name = ServiceName::new(name).unwrap();
    let entries = model::entries(Value::from(entries).to_string().as_bytes()).unwrap();
    match assemble::service(&name, &entries, rules) {
        Assembled::Exposed(service, _) => Some((name, Arc::new(service))),
        Assembled::Hidden(_) => None,
    }
}

fn confirmed(services: impl IntoIterator<Item = (&'static str, Vec<Value>)>) -> Confirmed {
    let services = services.into_iter().filter_map(|(name, entries)| assembled(name, entries, &rules())).collect();
    Confirmed { services, datacenter: "dc1".into(), trust: rules().trust }
}

fn web() -> Confirmed {
    confirmed([("web", vec![entry("a", "10.0.0.1"), entry("b", "127.0.0.1")])])
}

/// A service as it is after it was saved: its instances, without their metadata, and nothing that was refused.
fn stripped(services: &Services) -> Services {
    let strip = |service: &Arc<Service>| {
        let mut service = (**service).clone();
        service.unroutable.clear();
        service.endpoints.iter_mut().flat_map(|e| &mut e.registrations).for_each(|one| one.meta = Arc::default());
        Arc::new(service)
    };
    services.iter().map(|(name, service)| (name.clone(), strip(service))).collect()
}

fn written(confirmed: &Confirmed) -> Vec<u8> {
    let mut body = Vec::new();
    document::render(&mut body, confirmed, &scope(), now()).unwrap();
    body
}

fn read(body: &[u8], scope: &Scope, rules: &Rules, later: Duration) -> Result<Loaded, String> {
    document::parse(body, scope, rules, now() + later, Duration::from_secs(3_600))
}

fn addresses(loaded: &Loaded, service: &str) -> Vec<String> {
    let service = loaded.services.get(service);
    service.map_or(Vec::new(), |s| s.endpoints.iter().map(|e| e.key.address.to_string()).collect())
}

/// What a start knows of an agent that does not answer.
fn rules_at_start() -> Rules {
    let mut rules = rules();
    rules.trust.own_node = Err("it was not asked yet".into());
    rules.trust.agent = AgentPorts::default();
    rules
}

#[test]
fn what_is_saved_is_loaded_without_metadata_and_only_its_owner_can_read_the_file() {
    let place = Place::new();
    let (catalog, confirmed) = (place.catalog(), web());
    assert_eq!(load(&catalog, &scope(), &rules_at_start(), now()), Ok(None));
    save(&catalog, &scope(), &confirmed, now()).unwrap();
    let loaded = load(&catalog, &scope(), &rules_at_start(), now()).unwrap().unwrap();
    assert_eq!((loaded.services, loaded.saved_at), (stripped(&confirmed.services), now()));
    assert_eq!(fs::metadata(&catalog.file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(place.files(), ["catalog.json"]);
    assert!(!fs::read_to_string(&catalog.file).unwrap().contains("hush"));
}

#[test]
fn a_file_that_somebody_else_may_have_written_is_refused_in_words() {
    let place = Place::new();
    let catalog = place.catalog();
    save(&catalog, &scope(), &web(), now()).unwrap();
    let refused = || load(&catalog, &scope(), &rules_at_start(), now()).unwrap_err();
    fs::set_permissions(&catalog.file, PermissionsExt::from_mode(0o620)).unwrap();
    assert!(refused().contains("others than its owner can write it") && refused().contains("catalog.json"));
    fs::set_permissions(&catalog.file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(load(&catalog, &scope(), &rules_at_start(), now()).unwrap().is_some(), "to read it is no harm");
}

#[test]
fn an_old_file_and_one_from_the_future_are_refused_and_say_their_age() {
    let body = written(&web());
    let at = |later: u64| read(&body, &scope(), &rules(), Duration::from_secs(later)).map(|_| ());
    assert_eq!((at(0), at(3_600)), (Ok(()), Ok(())));
    assert_eq!(at(3_601), Err("it was saved 60 min ago, and consul.snapshot.max_age is 60 min".into()));
    let before = |earlier: u64| {
        let now = now() - Duration::from_secs(earlier);
        document::parse(&body, &scope(), &rules(), now, Duration::from_secs(3_600)).map(|_| ())
    };
    assert_eq!(before(60), Ok(()));
    assert!(before(61).unwrap_err().contains("is the clock right?"));
}

#[test]
fn a_catalog_of_another_datacenter_partition_or_namespace_is_refused() {
    let body = written(&web());
    let read = |scope: &Scope| read(&body, scope, &rules(), Duration::ZERO).map(|loaded| loaded.services.len());
    let datacenters = |names: &[&str]| scoped(|c| c.datacenters = names.iter().map(ToString::to_string).collect());
    assert_eq!(
        (read(&scope()), read(&datacenters(&["dc1"])), read(&datacenters(&["dc2", "dc1"]))),
        (Ok(1), Ok(1), Ok(1))
    );
    assert_eq!(read(&datacenters(&["dc2"])), Err("it is of the datacenter dc1, and dc2 is wanted".into()));
    for name in ["default", "shop"] {
        let expected = name == "default";
        assert_eq!(read(&scoped(|c| c.partition = Some(name.into()))).is_ok(), expected, "{name}");
        assert_eq!(read(&scoped(|c| c.namespace = Some(name.into()))).is_ok(), expected, "{name}");
    }
}

#[test]
fn instances_of_a_datacenter_that_is_wanted_no_more_are_left_out() {
    let mut remote = entry("b", "10.2.0.1");
    remote["Node"]["Datacenter"] = "dc2".into();
    let mut imported = entry("c", "10.3.0.1");
    (imported["Node"]["Datacenter"], imported["Service"]["PeerName"]) = ("dc9".into(), "partner".into());
    let confirmed = confirmed([("web", vec![entry("a", "10.0.0.1"), remote, imported])]);
    let both = scoped(|c| c.datacenters = vec!["dc1".into(), "dc2".into()]);
    let mut body = Vec::new();
    document::render(&mut body, &confirmed, &both, now()).unwrap();
    let left = |scope: &Scope| addresses(&read(&body, scope, &rules(), Duration::ZERO).unwrap(), "web");
    assert_eq!(left(&both), ["10.0.0.1:80", "10.2.0.1:80", "10.3.0.1:80"]);
    assert_eq!(left(&scoped(|c| c.datacenters = vec!["dc2".into()])), ["10.2.0.1:80", "10.3.0.1:80"]);
    assert_eq!(left(&scope()), ["10.0.0.1:80", "10.3.0.1:80"], "the agent's own");
}

#[test]
fn the_rules_that_hold_now_decide_what_is_served() {
    let body = written(&web());
    let loaded = |rules: &Rules| read(&body, &scope(), rules, Duration::ZERO).unwrap();
    assert_eq!(addresses(&loaded(&rules_at_start()), "web"), ["10.0.0.1:80", "127.0.0.1:80"]);
    let other = Rules { expose: Expose::Tagged("v2".into()), ..rules_at_start() };
    assert!(loaded(&other).services.is_empty(), "the tag is another one now");
    let mut rules = rules_at_start();
    rules.trust.listeners.push("10.0.0.1:80".parse().unwrap());
    assert_eq!(addresses(&loaded(&rules), "web"), ["127.0.0.1:80"], "the gateway listens there now");
    let mut rules = rules_at_start();
    rules.trust.agent_is_local = false;
    assert_eq!(addresses(&loaded(&rules), "web"), ["10.0.0.1:80"], "loopback is another host's now");
    let named = confirmed([("vault", vec![entry("a", "10.0.0.1")])]);
    let all = Rules { expose: Expose::All, ..rules_at_start() };
    assert!(read(&written(&named), &scope(), &all, Duration::ZERO).unwrap().services.is_empty());
}

#[test]
fn loopback_that_an_agent_on_another_host_told_is_refused_whichever_agent_is_asked_now() {
    let mut told = web();
    told.trust.agent_is_local = false;
    let loaded = read(&written(&told), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
    assert_eq!(addresses(&loaded, "web"), ["10.0.0.1:80"]);
    let mut told = web();
    told.trust.own_node = Err("403".into());
    let loaded = read(&written(&told), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
    assert!(loaded.services["web"].unroutable[0].reason.contains("not known when the catalog was saved"));
}

#[test]
fn loopback_of_this_hosts_node_is_served_although_an_agent_elsewhere_confirmed_it_last() {
    let mut told = web();
    (told.trust.agent_is_local, told.trust.own_node) = (false, Ok("elsewhere".into()));
    let agent = AgentPorts { ports: vec![18500], ..AgentPorts::default() };
    told.trust.host = Some(Host { node: "mine".into(), near: true, agent });
    let loaded = read(&written(&told), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
    assert_eq!(addresses(&loaded, "web"), ["10.0.0.1:80", "127.0.0.1:80"]);
    told.trust.host.as_mut().unwrap().agent.ports = vec![80];
    let loaded = read(&written(&told), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
    assert!(addresses(&loaded, "web").is_empty(), "the agent of this host's node listens at this port");
}

#[test]
fn loopback_of_another_datacenter_is_refused_although_its_node_has_the_name_of_the_agents() {
    let mut remote = entry("b", "127.0.0.2");
    remote["Node"]["Datacenter"] = "dc2".into();
    let confirmed = confirmed([("web", vec![entry("a", "127.0.0.1"), remote])]);
    let both = scoped(|c| c.datacenters = vec!["dc2".into(), "dc1".into()]);
    let mut body = Vec::new();
    document::render(&mut body, &confirmed, &both, now()).unwrap();
    let loaded = read(&body, &both, &rules_at_start(), Duration::ZERO).unwrap();
    assert_eq!(addresses(&loaded, "web"), ["127.0.0.1:80"]);
    assert_eq!(loaded.services["web"].unroutable[0].id, "mine/b");
}

#[test]
fn the_ports_that_the_agent_told_are_refused_while_it_does_not_answer() {
    let mut told = web();
    told.trust.agent.ports = vec![80];
    told.trust.agent.addresses = vec!["10.0.0.1".parse().unwrap()];
    let loaded = read(&written(&told), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
    assert!(loaded.services["web"].unroutable.iter().any(|refused| refused.reason.contains("agent itself")));
}

#[test]
fn an_agent_that_does_not_tell_its_datacenter_is_in_that_of_its_instances() {
    let told = Confirmed { datacenter: String::new(), ..web() };
    let loaded = read(&written(&told), &scope(), &rules(), Duration::ZERO).unwrap();
    assert_eq!((loaded.datacenter.as_str(), addresses(&loaded, "web").len()), ("dc1", 2));
}

#[test]
fn what_is_broken_or_of_another_format_is_refused_in_words() {
    let mut later: Value = serde_json::from_slice(&written(&web())).unwrap();
    later["format"] = 2.into();
    later["agent"] = 7.into();
    let refused = |body: &[u8]| read(body, &scope(), &rules(), Duration::ZERO).unwrap_err();
    assert_eq!(refused(later.to_string().as_bytes()), "its format is 2, and this version reads 1");
    let body = written(&web());
    for cut in 0..body.len() {
        assert!(refused(&body[..cut]).starts_with("it is broken"), "{cut}");
    }
    let mut endless: Value = serde_json::from_slice(&body).unwrap();
    endless["saved_at_ms"] = u64::MAX.into();
    assert!(read(endless.to_string().as_bytes(), &scope(), &rules(), Duration::ZERO).is_err());
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_in_words_and_leaves_nothing_behind() {
    let place = Place::new();
    let nowhere = SavedCatalog { file: place.0.join("nowhere/catalog.json"), ..place.catalog() };
    let why = save(&nowhere, &scope(), &web(), now()).unwrap_err();
    assert!(why.contains("cannot be saved to") && why.contains("No such file"), "{why}");
    let directory = place.catalog();
    fs::create_dir(&directory.file).unwrap();
    assert!(save(&directory, &scope(), &web(), now()).is_err());
    assert_eq!(place.files(), ["catalog.json"]);
    assert!(try_place(&nowhere).unwrap_err().contains("No such file"));
    assert!(try_place(&directory).unwrap_err().contains("is a directory"));
    fs::remove_dir(&directory.file).unwrap();
    assert_eq!((try_place(&directory), place.files()), (Ok(()), Vec::new()));
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß\u{1F600}\"\\\\\u{0}-\u{1f}]{0,12}"
}

prop_compose! {
    fn any_entry()(
        id in text(), node in prop_oneof![Just("mine".to_owned()), text()], tags in prop::collection::vec(text(), 0..3),
        octets in any::<[u8; 3]>(), six in any::<bool>(), port in 1..=65_535, weights in any::<[i32; 2]>(), indexes in any::<[u32; 2]>(),
        checks in prop::collection::vec((text(), prop_oneof!["passing", "warning", "critical", ".{0,5}"], any::<bool>()), 0..4),
    ) -> Value {
        let [a, b, c] = octets;
        let address = if six { format!("2001:db8::{a:x}:{b:x}") } else { format!("10.{a}.{b}.{c}") };
        let tags: Vec<_> = tags.into_iter().chain(["gateway".to_owned()]).collect();
        let check = |(check, status, of_node): (String, String, bool)| {
            json!({"CheckID": check, "Status": status, "ServiceID": if of_node { "" } else { "x" }})
        };
        let checks: Vec<Value> = checks.into_iter().map(check).collect();
        json!({"Node": {"Node": node, "Datacenter": "dc1"}, "Checks": checks,
            "Service": {"ID": id, "Address": address, "Port": port, "Tags": tags, "Meta": {"a": "b"},
                "Weights": {"Passing": weights[0], "Warning": weights[1]}, "CreateIndex": indexes[0], "ModifyIndex": indexes[1]}})
    }
}

proptest! {
    #[test]
    fn every_catalog_is_loaded_as_it_was_saved(entries in prop::collection::vec(any_entry(), 0..6)) {
        let confirmed = confirmed([("web", entries), ("empty", Vec::new())]);
        let loaded = read(&written(&confirmed), &scope(), &rules_at_start(), Duration::ZERO).unwrap();
        prop_assert_eq!(loaded.services, stripped(&confirmed.services));
    }

    #[test]
    fn no_file_makes_the_reader_panic(junk in prop::collection::vec(any::<u8>(), 0..64), at in 0usize..2_000, with in "[\\[\\]{}:,\"0-9a-z]{0,4}") {
        let mut body = written(&web());
        let at = at.min(body.len());
        body.splice(at..at, with.into_bytes());
        for body in [junk, body] {
            let _ = read(&body, &scope(), &rules(), Duration::ZERO);
        }
    }
}
