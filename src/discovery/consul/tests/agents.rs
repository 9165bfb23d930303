//! Agents that die, hang and come back, and others that stand in for them.

use super::*;

#[tokio::test]
async fn an_agent_that_hangs_at_the_start_delays_nothing_once_it_answers() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    fake.fail("/v1/", Fault::Silent);
    let discovery = discover(&fake, |_, timings| timings.wait = Duration::from_secs(3600));
    while fake.requests("/v1/").is_empty() {
        tokio::task::yield_now().await;
    }
    fake.heal();
    // What was asked while it hung is never answered: only another question is.
    until(&discovery, |c| addresses(c, "web") == ["10.0.0.1:80"]).await;
}

#[tokio::test]
async fn a_query_that_is_cut_while_it_waits_is_no_error_and_nothing_is_missed() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| {
        (timings.wait, timings.cut) = (Duration::from_secs(3600), Duration::from_millis(50));
    });
    until(&discovery, |c| c.complete).await;
    for round in 0..3 {
        while fake.waiting("/v1/").len() < 2 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await; // the agent's own deadline
        fake.put_silently("web", web(&[&format!("10.0.1.{round}")]));
        fake.cut();
        until(&discovery, |c| addresses(c, "web") == [format!("10.0.1.{round}:80")]).await;
    }
    assert_eq!(discovery.status.borrow().providers[0].errors, 0);
}

#[tokio::test]
async fn an_agent_that_hangs_while_queries_wait_is_noticed_long_before_they_end() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.put("web", web(&["10.0.0.1"]));
    second.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    let discovery = discover(&first, |config, timings| {
        config.addresses.push(format!("http://{}", second.address));
        (timings.wait, timings.liveness) = (Duration::from_secs(3600), Duration::from_millis(100));
        timings.failover = Duration::from_millis(200);
    });
    until(&discovery, |c| c.complete).await;
    first.fail_silently("/v1/", Fault::Silent);
    until(&discovery, |c| addresses(c, "web").len() == 2).await;
}

#[tokio::test]
async fn where_the_first_agent_dies_the_next_one_is_followed_and_nothing_is_lost_meanwhile() {
    let (mut first, second) = (Fake::start().await, Fake::start().await);
    first.put("web", web(&["10.0.0.1"]));
    second.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&first, |config, timings| {
        config.addresses.push(format!("http://{}", second.address));
        (timings.failover, timings.failback) = (Duration::from_millis(200), Duration::from_millis(400));
    });
    until(&discovery, |c| c.complete).await;
    assert!(second.requests("/v1/").is_empty(), "one agent at a time");
    first.kill().await;
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("does not answer"))).await;
    assert_eq!(addresses(&discovery.catalog.borrow(), "web"), ["10.0.0.1:80"]);
    second.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    until(&discovery, |c| addresses(c, "web").len() == 2).await;
    first.put("web", web(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    first.listen().await;
    until(&discovery, |c| addresses(c, "web").len() == 3).await;
    until_status(&discovery, |s| s.notes.iter().all(|note| !note.contains("does not answer"))).await;
}

#[tokio::test]
async fn where_only_another_datacenter_can_be_read_the_next_agent_is_followed() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.put("web", web(&["10.0.0.1"]));
    second.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    let discovery = discover(&first, |config, timings| {
        config.addresses.push(format!("http://{}", second.address));
        config.datacenters = vec!["dc1".into(), "dc2".into()];
        // The other datacenter answers at the end of each wait.
        (timings.wait, timings.failover) = (Duration::from_millis(200), Duration::from_secs(1));
    });
    until(&discovery, |c| c.complete).await;
    first.fail("/v1/catalog/services?dc=dc1", Fault::Status(500));
    until(&discovery, |c| addresses(c, "web").len() == 2).await;
}

#[tokio::test]
async fn a_token_that_sees_less_at_the_next_agent_is_blind_there() {
    let (mut first, second) = (Fake::start().await, Fake::start().await);
    first.put("web", web(&["10.0.0.1"]));
    second.put("web", web(&["10.0.0.1"]));
    second.blind();
    let discovery = discover(&first, |config, timings| {
        config.addresses.push(format!("http://{}", second.address));
        timings.failover = Duration::from_millis(200);
    });
    until(&discovery, |c| c.complete).await;
    first.kill().await;
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("no longer sees the service `consul`"))).await;
    // The first answers of another agent are doubted anyway: what is taken away later is held, too.
    second.put("api", web(&["10.0.0.2"]));
    until(&discovery, |c| !addresses(c, "api").is_empty()).await;
    second.put("api", Vec::new());
    until(&discovery, |c| suspects(c, "api").len() == 1).await;
}

#[tokio::test]
async fn whether_a_bare_node_is_a_member_is_asked_until_it_is_answered() {
    let on = |id: &str, node: &str| {
        let mut entry = instance(id, "10.0.0.1", "passing");
        entry["Node"]["Node"] = node.into();
        vec![entry]
    };
    let fake = Fake::start().await;
    for number in 0..20 {
        fake.put(&format!("s{number}"), on("other", "mine"));
    }
    fake.put("a", on("a", "bare"));
    fake.put("b", on("b", "bare"));
    let discovery = discover(&fake, |_, _| {});
    until(&discovery, |c| c.complete).await;
    fake.fail("/v1/catalog/node/bare", Fault::Status(500));
    fake.put("a", Vec::new());
    fake.put("b", Vec::new());
    while fake.requests("/v1/catalog/node/bare").is_empty() {
        tokio::task::yield_now().await;
    }
    fake.heal();
    // Both are held, because the node is still there: two of 22 instances alone are no crowd.
    until(&discovery, |c| suspects(c, "a").len() == 1 && suspects(c, "b").len() == 1).await;
}

/// An instance that is called at another address from other datacenters.
fn with_wan(id: &str, address: &str) -> serde_json::Value {
    let mut entry = instance(id, address, "passing");
    entry["Service"]["TaggedAddresses"] = serde_json::json!({"wan": {"Address": "192.0.2.1", "Port": 80}});
    entry
}

#[tokio::test]
async fn an_agent_that_does_not_say_its_datacenter_has_its_instances_called_from_inside() {
    let fake = Fake::start().await;
    fake.fail("/v1/agent/self", Fault::Status(403));
    fake.put("web", vec![with_wan("a", "10.0.0.1")]);
    let discovery = discover(&fake, |config, _| config.datacenters = vec!["dc1".into(), "dc2".into()]);
    let catalog = until(&discovery, |c| c.complete).await;
    assert_eq!(addresses(&catalog, "web"), ["10.0.0.1:80"]);
    // Where nothing says it, that is told.
    fake.fail("/v1/catalog/datacenters", Fault::Status(500));
    let discovery = discover(&fake, |config, _| config.datacenters = vec!["dc1".into(), "dc2".into()]);
    let catalog = until(&discovery, |c| c.complete).await;
    assert_eq!(addresses(&catalog, "web"), ["10.0.0.1:80"]);
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("dc1 is assumed"))).await;
}

#[tokio::test]
async fn no_address_changes_and_no_loopback_is_lost_because_an_agent_elsewhere_is_followed() {
    let (mut first, second) = (Fake::start().await, Fake::start().await);
    let web = || vec![with_wan("a", "10.0.0.1"), instance("b", "127.0.0.1", "passing")];
    first.put("web", web());
    // It is late with what it says of itself, and is known by an address that is no loopback one.
    second.fail("/v1/agent/self", Fault::Silent);
    second.put("web", web());
    let discovery = discover(&first, |config, timings| {
        config.addresses.push(format!("http://0.0.0.0:{}", second.address.port()));
        config.datacenters = vec!["dc1".into(), "dc2".into()];
        timings.failover = Duration::from_millis(200);
    });
    until(&discovery, |c| c.complete).await;
    assert_eq!(addresses(&discovery.catalog.borrow(), "web"), ["10.0.0.1:80", "127.0.0.1:80"]);
    first.kill().await;
    until_status(&discovery, |s| s.notes.iter().any(|note| note.contains("does not answer"))).await;
    second.put("web", [web(), vec![instance("c", "10.0.0.3", "passing")]].concat());
    let catalog = until(&discovery, |c| addresses(c, "web").contains(&"10.0.0.3:80".to_owned())).await;
    assert_eq!(addresses(&catalog, "web"), ["10.0.0.1:80", "10.0.0.3:80", "127.0.0.1:80"]);
    assert!(suspects(&catalog, "web").is_empty(), "{catalog:?}");
}
