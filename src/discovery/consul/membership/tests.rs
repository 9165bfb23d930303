//! What is read of a fleet, and what stays known of it. What happens between a gateway and an agent is tested with a real one.

use serde_json::json;

use super::*;
use crate::config::Secret;

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
