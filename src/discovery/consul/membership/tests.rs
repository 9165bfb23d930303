//! What is read of a fleet, and what stays known of it. What happens between a gateway and an agent is tested with a real one.

use std::time::Duration;

use serde_json::json;

use super::super::tests::fake::{Fake, Fault};
use super::follow::{read, settle};
use super::*;
use crate::config::{Environment, Overrides, Secret, parse};
use crate::fleet::Member;

fn members(entries: &serde_json::Value) -> Vec<Member> {
    read("lictor", entries.to_string().as_bytes()).expect("it is a list")
}

fn entry(node: &str, id: &str, address: &str, peer: &str, status: &str) -> serde_json::Value {
    json!({
        "Node": { "Node": node, "Address": "10.0.0.1" },
        "Service": { "ID": id, "Service": "lictor", "Address": address, "Port": 5000, "Meta": { "lictor-peer": peer } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing" }, { "CheckID": "c", "Status": status, "ServiceID": id }],
    })
}

#[test]
fn a_gateway_without_a_host_of_its_own_is_at_that_of_its_node() {
    let all = members(&json!([
        entry("n", "a", "", ":5001", "passing"),
        entry("n", "b", "fd00::7", ":5001", "warning"),
        entry("n", "c", "10.0.0.3", "10.1.0.3:5001", "critical"),
        { "Service": { "ID": "d", "Service": "lictor", "Port": 70_000 } },
        // Another service, whose name Consul takes for the same.
        { "Service": { "ID": "e", "Service": "Lictor", "Port": 1 } },
    ]));
    let shown: Vec<_> = all.iter().map(|m| (&*m.address, m.peer.as_deref().unwrap_or("none"), m.health)).collect();
    let expected = [
        ("10.0.0.1:5000", "10.0.0.1:5001", Health::Passing),
        ("[fd00::7]:5000", "[fd00::7]:5001", Health::Warning),
        ("10.0.0.3:5000", "10.1.0.3:5001", Health::Critical),
        (":0", "none", Health::Passing),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_gateway_that_an_agent_it_left_still_has_counts_once_as_the_one_that_lives() {
    for statuses in [["critical", "passing"], ["passing", "critical"]] {
        let [left, here] = statuses;
        let all = members(&json!([entry("n1", "a", "", ":1", left), entry("n2", "a", "", ":1", here)]));
        assert_eq!((all.len(), all[0].health), (1, Health::Passing));
    }
}

/// A follower, and what it tells.
fn follower() -> (Follower, watch::Receiver<Arc<Members>>) {
    let (members, told) = watch::channel(Arc::new(Members::default()));
    let living = Living::default();
    let config = crate::config::fleet::Fleet {
        service: crate::catalog::ServiceName::new("lictor").expect("a name"),
        secret: Secret::Text("a secret of the whole fleet".into()),
        admin_networks: [].into(),
        address: None,
    };
    let (fleet, _) = Fleet::new("own".into(), config, told.clone(), living.clone());
    let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
    let config = parse(None, "test", Overrides::default(), &env).unwrap_or_else(|why| panic!("{why}"));
    let (_, configs) = watch::channel(Arc::new(config));
    let here = ([10, 0, 0, 1], 5000).into();
    let own = Own { fleet, configs, public: here, admin: here };
    let (count, supervisor) = (watch::Sender::new(1), Supervisor::default());
    (Follower { clients: Vec::new(), own, members, count, living, supervisor, timings: Timings::default() }, told)
}

fn here() -> Place {
    Place { host: Some("10.0.0.1".into()), port: 5000, peer: "10.0.0.1:5000".into(), check: String::new() }
}

#[test]
fn this_one_counts_and_others_whose_own_checks_pass() {
    let (follower, told) = follower();
    let count = || *follower.count.borrow();
    assert_eq!(count(), 1);
    let of = |statuses: &[&str]| {
        let entries = statuses.iter().enumerate().map(|(n, status)| entry("n", &n.to_string(), "", ":1", status));
        members(&json!(entries.collect::<Vec<_>>()))
    };
    let some = ["passing", "passing", "warning", "critical", "passing"];
    assert!(follower.take(of(&some), false, &here()));
    assert_eq!((count(), told.borrow().all.len()), (4, 5));
    // The same again is no news.
    assert!(!follower.take(of(&some), false, &here()));
    // A token that lost its rights sees less, and nobody is gone for that.
    assert!(!follower.take(Vec::new(), true, &here()));
    assert_eq!((count(), told.borrow().all.len()), (4, 5));
    assert!(told.borrow().error.as_deref().is_some_and(|why| why.contains("service:read")));
    assert!(follower.take(of(&["critical"]), false, &here()));
    assert_eq!((count(), told.borrow().all.len(), told.borrow().error.is_none()), (1, 1, true));
    // Who has no check of its own, or is there twice, or is this one.
    let unchecked = json!({ "Service": { "ID": "a", "Service": "lictor", "Port": 1 } });
    let of_its_node =
        json!({ "Service": { "ID": "b", "Service": "lictor", "Port": 1 }, "Checks": [{ "Status": "passing" }] });
    let twice = ["10.0.0.8", "10.0.0.9"].map(|ip| entry("n", "c", ip, ":1", "passing"));
    let own = entry("n", "own", "", ":1", "passing");
    follower.take(members(&json!([unchecked, of_its_node, twice[0], twice[1], own])), false, &here());
    assert_eq!(count(), 2);
}

#[test]
fn an_id_that_leads_to_different_places_is_disputed_and_one_of_ones_own_is_a_fault() {
    let (follower, told) = follower();
    let two = |id: &str, ip: &str, peer: &str, status: &str| {
        members(&json!([entry("n1", id, "10.0.0.1", "10.0.0.1:5000", "passing"), entry("n2", id, ip, peer, status)]))
    };
    follower.members.send_modify(|members| Arc::make_mut(members).registration.registered = true);
    for (ip, peer, status, disputed) in [
        ("10.0.0.1", "10.0.0.1:5000", "passing", false),
        ("10.0.0.1", "10.0.0.9:5000", "passing", true),
        ("10.0.0.9", "10.0.0.9:5000", "warning", true),
        ("10.0.0.9", "10.0.0.9:5000", "critical", false),
    ] {
        follower.take(two("other", ip, peer, status), false, &here());
        assert_eq!(told.borrow().disputed("other"), disputed, "{ip} {peer} {status}");
        assert!(told.borrow().double.is_none() && !told.borrow().disputed("own"));
    }
    assert!(follower.supervisor.faults().is_empty());
    follower.take(two("own", "10.0.0.9", "10.0.0.9:5000", "passing"), false, &here());
    assert!(told.borrow().double.as_deref().is_some_and(|why| why.contains("10.0.0.9:5000 on node n2")));
    assert_eq!(follower.supervisor.faults().len(), 1);
    follower.take(two("own", "10.0.0.9", "10.0.0.9:5000", "critical"), false, &here());
    assert!(told.borrow().double.is_none() && follower.supervisor.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn more_gateways_count_at_once_and_fewer_only_after_half_a_minute() {
    let (count, living) = (watch::Sender::new(3), Living::default());
    let told = living.clone();
    let after = |seconds: u64| {
        let living = &living;
        async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await; // paused time
            living.count()
        }
    };
    let followed = count.subscribe();
    let _settles = tokio::spawn(async move { settle(followed, &told).await });
    assert_eq!(after(1).await, 3);
    // An agent begins anew.
    count.send_replace(1);
    assert_eq!(after(20).await, 3);
    count.send_replace(3);
    assert_eq!(after(1).await, 3);
    count.send_replace(1);
    assert_eq!(after(20).await, 3);
    // The most of the time in which it is lower.
    count.send_replace(2);
    assert_eq!(after(1).await, 3);
    count.send_replace(1);
    assert_eq!(after(10).await, 2);
    assert_eq!(after(31).await, 1);
    count.send_replace(4);
    assert_eq!(after(1).await, 4);
}

/// Until this is so.
async fn until(what: impl Fn() -> bool) {
    let found = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await; // the pace of looking
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it comes");
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn quick() -> Timings {
    Timings { liveness: ms(50), failover: ms(50), ..Timings::default() }
}

/// A gateway of a fleet at these agents; its configuration must be kept.
fn joined(agents: [&Fake; 2], timings: Timings) -> (Fleet, Supervisor, watch::Sender<Arc<Config>>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let [first, second] = agents.map(|fake| format!("http://{}", fake.address));
    let fleet = "[fleet]\nsecret = \"a secret of the whole fleet\"\n";
    let text = format!("[consul]\naddresses = [\"{first}\", \"{second}\"]\n{fleet}");
    let env = Environment::of(&[("LICTOR_API_KEY", "test")]);
    let config = parse(Some(&text), "test", Overrides::default(), &env).unwrap_or_else(|why| panic!("{why}"));
    let (keep, configs) = watch::channel(Arc::new(config));
    let bound = [([127, 0, 0, 1], 5000).into(), ([127, 0, 0, 1], 5001).into()];
    let supervisor = Supervisor::default();
    let fleet = start_with(&configs, &bound, &supervisor, timings).expect("it starts").expect("there is a fleet");
    (fleet, supervisor, keep)
}

#[tokio::test]
async fn a_gateway_goes_back_to_the_agent_that_it_prefers_and_takes_itself_out_at_the_other_one() {
    let (mut first, second) = (Fake::start().await, Fake::start().await);
    let registers = |fake: &Fake| fake.requests("/v1/agent/service/register").len();
    let leaves = |fake: &Fake| fake.requests("/v1/agent/service/deregister/lictor-").len();
    for fake in [&first, &second] {
        fake.fail("/v1/agent/service/lictor-", Fault::Status(404));
    }
    let timings = Timings { first: ms(500), failback: ms(200), ..quick() };
    let (fleet, _supervisor, _configs) = joined([&first, &second], timings);
    let agent = || fleet.members.borrow().registration.agent.clone();
    until(|| registers(&first) > 0).await;
    assert_eq!(registers(&second), 0);
    first.kill().await;
    until(|| registers(&second) > 0 && agent().contains(&second.address.to_string())).await;
    let before = registers(&first);
    first.listen().await;
    until(|| registers(&first) > before && leaves(&second) == 1).await;
    until(|| agent().contains(&first.address.to_string())).await;
    // What it had left there was taken out as soon as it was back, and before it was registered anew.
    assert_eq!(leaves(&first), 1);
    // Its end is told to the agent that has it, and nothing is registered after that.
    fleet.leave(Duration::from_secs(20)).await;
    assert_eq!((leaves(&first), leaves(&second)), (2, 1));
    let last = first.requests("/v1/agent/service").pop();
    assert!(last.is_some_and(|last| last.contains("deregister")), "something came after it");
}

#[tokio::test]
async fn an_agent_that_refuses_is_no_reason_to_ask_another_one_and_what_it_says_is_not_for_everybody() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.fail("/v1/agent/service/", Fault::Status(403));
    let (fleet, supervisor, _configs) = joined([&first, &second], quick());
    until(|| first.requests("/v1/agent/service/lictor-").len() > 20).await;
    assert!(second.requests("/v1/agent").is_empty());
    assert_eq!(supervisor.faults(), [format!("fleet: {NOT_REGISTERED}")]);
    assert!(fleet.members.borrow().registration.error.as_deref().is_some_and(|why| why.contains("403")));
    first.heal();
    first.fail("/v1/agent/service/lictor-", Fault::Status(404));
    until(|| supervisor.faults().is_empty() && fleet.members.borrow().registration.registered).await;
}
