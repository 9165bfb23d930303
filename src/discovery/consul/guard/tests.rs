//! What the guard promises, as a table of scenarios in words, and at random.

mod causes;
mod ends;
mod partitions;
mod random;
mod scenarios;

use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::catalog::{Check, Health, Registration};

/// A datacenter: what the agent has, and what the guard makes of it.
struct World {
    guard: Guard,
    now: Now,
    services: BTreeMap<ServiceName, Vec<Endpoint>>,
    /// Everything that ever was.
    ever: BTreeSet<Key>,
    /// What accompanies the answers.
    evidence: Evidence,
    blind: bool,
}

const HOLD: Duration = Duration::from_secs(600);

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a name")
}

/// The `n`th instance of a service, on this node.
fn on_node(service: &str, n: u32, node: &str) -> Endpoint {
    let none: Arc<str> = "".into();
    let [_, b, c, d] = n.to_be_bytes();
    let key = Key {
        datacenter: "dc1".into(),
        partition: none.clone(),
        namespace: none.clone(),
        peer: none,
        service: name(service),
        address: ([10, b, c, d], 80).into(),
    };
    let registration = Registration {
        node: node.into(),
        id: format!("{service}-{n}"),
        create_index: 1,
        modify_index: 1,
        checks: Vec::new(),
        health: Health::Passing,
        weight: 1,
        tags: [].into(),
        meta: [].into(),
    };
    Endpoint { key, registrations: vec![registration], health: Health::Passing, weight: 1, suspect: None }
}

/// The `n`th instance of a service, on a node of its own.
fn instance(service: &str, n: u32) -> Endpoint {
    on_node(service, n, &format!("{service}-{n}"))
}

/// An endpoint whose only check, of this id, is critical.
fn critical(mut endpoint: Endpoint, check: &str, node: bool) -> Endpoint {
    let check = Check { id: check.into(), status: "critical".into(), node };
    for registration in &mut endpoint.registrations {
        (registration.checks, registration.health) = (vec![check.clone()], Health::Critical);
    }
    endpoint.health = Health::Critical;
    endpoint
}

fn gossip(endpoint: Endpoint) -> Endpoint {
    critical(endpoint, "serfHealth", true)
}

impl World {
    fn new() -> World {
        World::holding(HOLD)
    }

    fn holding(hold: Duration) -> World {
        let now = Now { instant: Instant::now() + Duration::from_secs(86_400), clock: SystemTime::UNIX_EPOCH };
        let (services, ever, evidence) = Default::default();
        World { guard: Guard::new(hold), now, services, ever, evidence, blind: false }
    }

    /// These services have this many instances each, and have had them for long.
    fn with(mut self, services: std::ops::Range<u32>, instances: u32) -> World {
        for service in services {
            let service = format!("s{service:02}");
            let endpoints = (0..instances).map(|n| instance(&service, n)).collect();
            self.answer(vec![(&service, endpoints)], None);
        }
        self
    }

    /// One answer: these services have these endpoints. What is new has been there since `since`.
    fn answer(&mut self, services: Vec<(&str, Vec<Endpoint>)>, since: Option<Instant>) {
        self.guard.sight(self.blind, self.now);
        for (service, endpoints) in services {
            self.ever.extend(endpoints.iter().map(|endpoint| endpoint.key.clone()));
            let before = self.services.insert(name(service), endpoints).unwrap_or_default();
            self.guard.replace(&before, &self.services[service], since, |_| false, self.now);
        }
        self.guard.judge(self.evidence, self.now);
    }

    /// The agent says of which nodes `serfHealth` is critical.
    fn lost_nodes(&mut self, nodes: impl IntoIterator<Item = String>) {
        let services = self.services.iter().map(|(name, endpoints)| (name, &**endpoints));
        self.guard.gossip_lost(nodes.into_iter().collect(), services, self.now);
    }

    fn put(&mut self, service: &str, endpoints: Vec<Endpoint>) {
        self.answer(vec![(service, endpoints)], Some(self.now.instant));
    }

    /// A service keeps, or gets, its first so many instances.
    fn scale(&mut self, service: &str, instances: u32) {
        self.put(service, (0..instances).map(|n| instance(service, n)).collect());
    }

    /// One answer in which each of these services keeps its first so many instances.
    fn shrink(&mut self, services: std::ops::Range<u32>, instances: u32) {
        let names: Vec<String> = services.map(|service| format!("s{service:02}")).collect();
        let keep = |service: &str| (0..instances).map(|n| instance(service, n)).collect();
        self.answer(names.iter().map(|service| (service.as_str(), keep(service))).collect(), None);
    }

    /// So many seconds pass.
    fn pass(&mut self, seconds: u64) {
        self.now.instant += Duration::from_secs(seconds);
        self.now.clock += Duration::from_secs(seconds);
        self.guard.expire(self.now);
    }

    /// A service as it is published.
    fn shown(&self, service: &str) -> Vec<Endpoint> {
        let confirmed = self.services.get(service).cloned().unwrap_or_default();
        self.guard.compose(&name(service), &confirmed).unwrap_or(confirmed)
    }

    /// How many endpoints are suspects, and how many are gone: neither shown as confirmed nor as suspects.
    fn counts(&self) -> (usize, usize) {
        let names: BTreeSet<&str> = self.ever.iter().map(|key| key.service.as_str()).collect();
        let shown: Vec<Endpoint> = names.iter().flat_map(|service| self.shown(service)).collect();
        let suspects = shown.iter().filter(|endpoint| endpoint.suspect.is_some()).count();
        assert_eq!(suspects, self.guard.count());
        assert!(shown.is_sorted_by(|a, b| a.key < b.key || a.key.service != b.key.service), "{shown:?}");
        (suspects, self.ever.len() - shown.len())
    }

    /// The reason of a suspect.
    fn reason(&self, service: &str) -> String {
        let suspects = self.shown(service).into_iter().filter_map(|endpoint| endpoint.suspect);
        suspects.map(|suspect| suspect.reason.to_string()).next().unwrap_or_default()
    }
}

#[test]
fn a_suspect_says_why_since_when_and_until_when() {
    let mut world = World::new().with(0..4, 5);
    world.pass(100);
    world.shrink(0..4, 3);
    let shown = world.shown("s00");
    let suspect = shown[4].suspect.as_ref().expect("a suspect");
    assert_eq!(&*suspect.reason, "8 instances of 4 services vanished within 30 s");
    assert_eq!((suspect.since, suspect.until), (world.now.clock, world.now.clock + HOLD));
    assert_eq!(world.guard.due(), Some(world.now.instant + HOLD));
    assert!(shown[0].suspect.is_none());
    assert_eq!(world.guard.notes().len(), 1);
    assert!(world.guard.notes()[0].contains("8 instances of 4 services"), "{:?}", world.guard.notes());
}

#[test]
fn a_crowd_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let mut world = World::new().with(0..4, 5);
    world.shrink(0..3, 2);
    world.guard.changes();
    world.shrink(3..4, 2);
    world.guard.changes();
    let reason: Arc<str> = "9 instances of 3 services vanished within 30 s".into();
    assert_eq!(world.guard.news(), [News::Began { reason: reason.clone(), instances: 9, services: 3 }]);
    let key = instance("s00", 4).key;
    world.guard.refused(&key, world.now);
    world.scale("s01", 5);
    assert_eq!(world.guard.accept(Some(&name("s02")), world.now), 3);
    assert_eq!(world.guard.news(), []);
    world.pass(600);
    let lasted = Duration::from_secs(600);
    let over = News::Over { reason, lasted, confirmed: 3, refused: 1, accepted: 3, given_up: 5 };
    assert_eq!(world.guard.news(), [over]);
    assert!(world.guard.notes().is_empty() && world.guard.due().is_none());
}

#[test]
fn what_gossip_lost_in_a_crowd_is_suspect_critical_as_before_and_says_so() {
    let mut world = World::new().with(0..4, 5);
    let lost = |service: &str| (0..5).map(|n| gossip(instance(service, n))).collect();
    world.answer(vec![("s00", lost("s00")), ("s01", lost("s01"))], None);
    let shown = world.shown("s00");
    assert!(shown.iter().all(|endpoint| endpoint.suspect.is_some() && endpoint.health == Health::Critical));
    assert_eq!(world.reason("s00"), "its node's serfHealth is critical, as those of 9 others");
    // It is held on when the agent no longer has it, confirmed when gossip finds it again, and obeyed when its own check fails.
    world.scale("s00", 0);
    assert_eq!(world.shown("s00").len(), 5);
    world.put("s00", (0..3).map(|n| instance("s00", n)).collect());
    let own = (0..5).map(|n| critical(instance("s01", n), "own", false)).collect();
    world.put("s01", own);
    assert_eq!(world.counts(), (2, 0));
}

#[test]
fn one_more_loss_of_an_endpoint_that_gossip_lost_is_no_second_loss() {
    let mut world = World::new().with(0..4, 5);
    // Six of twenty are no crowd, whichever way they go.
    world.put("s00", (0..5).map(|n| if n < 3 { gossip(instance("s00", n)) } else { instance("s00", n) }).collect());
    world.put("s01", (0..5).map(|n| if n < 3 { gossip(instance("s01", n)) } else { instance("s01", n) }).collect());
    world.put("s00", vec![instance("s00", 3), instance("s00", 4)]);
    world.put("s01", vec![instance("s01", 3), instance("s01", 4)]);
    assert_eq!(world.counts(), (0, 6));
}

#[test]
fn a_node_is_doubted_until_it_is_known_whether_it_is_a_member() {
    let mut world = World::new().with(0..9, 9);
    world.put("a", vec![on_node("a", 0, "n1")]);
    world.put("b", vec![on_node("b", 0, "n1")]);
    world.pass(60);
    world.put("a", Vec::new());
    assert_eq!(world.guard.doubts().count(), 0);
    world.put("b", Vec::new());
    assert_eq!(world.guard.doubts().collect::<Vec<_>>(), ["n1"]);
    assert_eq!(world.counts(), (0, 2));
    // The answer may be late: until then, what is in doubt is remembered.
    world.pass(120);
    world.put("c", Vec::new());
    world.guard.member("n1", true, world.now);
    assert_eq!((world.counts(), world.guard.doubts().count()), ((2, 0), 0));
    assert_eq!(world.reason("b"), "node n1 lost everything while it stays a member");
}

#[test]
fn the_token_says_nothing_while_it_is_blind_and_has_time_when_it_sees_again() {
    let mut world = World::new().with(0..9, 9);
    world.blind = true;
    world.scale("s00", 8);
    world.pass(6_000);
    assert_eq!(world.counts(), (1, 0));
    assert!(world.guard.due().is_some_and(|due| due > world.now.instant));
    let until = world.shown("s00")[8].suspect.as_ref().map(|suspect| suspect.until);
    assert!(until.is_some_and(|until| until > world.now.clock), "{until:?}");
    assert!(world.guard.is_doubtful());
    world.blind = false;
    world.scale("s01", 9);
    world.pass(29);
    assert_eq!(world.counts(), (1, 0));
    world.pass(600);
    assert_eq!(world.counts(), (0, 1));
    assert!(!world.guard.is_doubtful());
}

#[test]
fn what_the_answer_says_is_no_longer_for_the_gateway_has_not_vanished() {
    let mut world = World::new().with(0..4, 5);
    world.evidence.forgetful = true;
    let before = world.services.remove("s00").expect("a service");
    world.guard.replace(&before, &[], None, |_| true, world.now);
    world.guard.judge(world.evidence, world.now);
    assert_eq!(world.counts(), (0, 5));
    world.scale("s01", 0);
    assert_eq!(world.counts(), (5, 5));
    world.guard.withdraw(&name("s01"), world.now);
    assert_eq!(world.counts(), (0, 10));
}
