//! What is read of a fleet, and what stays known of it. What happens between a gateway and an agent is tested with a real one.

use std::time::Duration;

use serde_json::json;

use super::super::tests::fake::{Fake, Fault};
use super::*;
use crate::config::{Environment, Overrides, Secret, parse};

fn members(entries: &serde_json::Value) -> Vec<Member> {
    read(entries.to_string().as_bytes()).expect("it is a list")
}

fn entry(node: &str, id: &str, address: &str, peer: &str, status: &str) -> serde_json::Value {
    json!({
        "Node": { "Node": node, "Address": "10.0.0.1" },
        "Service": { "ID": id, "Address": address, "Port": 5000, "Meta": { "lictor-peer": peer } },
        "Checks": [{ "CheckID": "serfHealth", "Status": "passing" }, { "CheckID": "c", "Status": status, "ServiceID": id }],
    })
}

#[test]
fn a_gateway_without_a_host_of_its_own_is_at_that_of_its_node() {
    let all = members(&json!([
        entry("n", "a", "", ":5001", "passing"),
        entry("n", "b", "fd00::7", ":5001", "warning"),
        entry("n", "c", "10.0.0.3", "10.1.0.3:5001", "critical"),
        { "Service": { "ID": "d", "Port": 70_000 } },
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
fn follower() -> (Follower, watch::Receiver<Arc<Members>>, Living) {
    let (members, told) = watch::channel(Arc::new(Members::default()));
    let living = Living::default();
    let config = crate::config::fleet::Fleet {
        service: crate::catalog::ServiceName::new("lictor").expect("a name"),
        secret: Secret::Text("a secret of the whole fleet".into()),
        admin_networks: [].into(),
        address: None,
    };
    let (fleet, _) = Fleet::new("a".into(), config, told.clone(), living.clone());
    let timings = Timings::default();
    (Follower { clients: Vec::new(), fleet, members, living: living.clone(), timings }, told, living)
}

#[test]
fn those_count_whose_checks_pass_and_at_least_this_one() {
    let (follower, told, living) = follower();
    assert_eq!(living.count(), 1);
    let of = |statuses: &[&str]| {
        let entries = statuses.iter().enumerate().map(|(n, status)| entry("n", &n.to_string(), "", ":1", status));
        members(&json!(entries.collect::<Vec<_>>()))
    };
    assert!(follower.take(of(&["passing", "passing", "warning", "critical", "passing"]), false));
    assert_eq!((living.count(), told.borrow().all.len()), (3, 5));
    // The same again is no news.
    assert!(!follower.take(of(&["passing", "passing", "warning", "critical", "passing"]), false));
    // A token that lost its rights sees less, and nobody is gone for that.
    assert!(!follower.take(Vec::new(), true));
    assert_eq!((living.count(), told.borrow().all.len()), (3, 5));
    assert!(told.borrow().error.as_deref().is_some_and(|why| why.contains("service:read")));
    assert!(follower.take(of(&["critical"]), false));
    assert_eq!((living.count(), told.borrow().all.len(), told.borrow().error.is_none()), (1, 1, true));
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
    assert_eq!(leaves(&first), 0);
    // Its end is told to the agent that has it, and nothing is registered after that.
    fleet.leave(Duration::from_secs(20)).await;
    assert_eq!((leaves(&first), leaves(&second)), (1, 1));
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
