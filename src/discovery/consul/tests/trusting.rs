//! Which instances are called, and what is said of an agent to whom.

use super::*;

#[tokio::test]
async fn loopback_of_the_agents_own_node_is_taken_and_of_others_refused() {
    let fake = Fake::start().await;
    let mut other = instance("b", "127.0.0.3", "passing");
    other["Node"]["Node"] = "other".into();
    fake.put("web", vec![instance("a", "127.0.0.2", "passing"), other]);
    let discovery = discover(&fake, |_, _| {});
    let catalog = until(&discovery, |c| c.complete).await;
    assert_eq!(addresses(&catalog, "web"), ["127.0.0.2:80"]);
    assert_eq!(catalog.services["web"].unroutable[0].id, "other/b");
}

#[tokio::test]
async fn the_agent_itself_is_no_instance_on_any_address_that_leads_to_it() {
    let fake = Fake::start().await;
    let at = |id: &str, address: &str, port: u16| {
        let mut entry = instance(id, address, "passing");
        entry["Service"]["Port"] = port.into();
        entry
    };
    let port = fake.address.port();
    let agents = [
        ("a", "127.0.0.1", port),
        ("b", "127.0.0.9", port),
        ("c", "::1", port),
        ("d", "10.0.0.99", port),
        ("e", "", 8500),
    ];
    let mut entries: Vec<_> = agents.map(|(id, address, port)| at(id, address, port)).into();
    entries.push(at("z", "127.0.0.1", 80));
    fake.put("web", entries);
    for allow in [false, true] {
        let discovery = discover(&fake, |config, _| config.allow_loopback = allow);
        let catalog = until(&discovery, |c| c.complete).await;
        assert_eq!(addresses(&catalog, "web"), ["127.0.0.1:80"]);
        let why = catalog.services["web"].unroutable.iter().filter(|refused| refused.reason.contains("agent itself"));
        assert_eq!(why.count(), agents.len());
    }
}

#[tokio::test]
async fn what_kind_of_failure_it_is_is_said_without_a_word_of_the_agents() {
    for (fault, kind) in [
        (Fault::Status(403), Failure::REFUSED),
        (Fault::Status(500), Failure::FAILING),
        (Fault::Eof, Failure::UNREACHABLE),
        (Fault::Nonsense, Failure::NOT_UNDERSTOOD),
        (Fault::Silent, Failure::LATE),
    ] {
        let fake = Fake::start().await;
        fake.fail("/v1/catalog", fault);
        let discovery = discover(&fake, |_, timings| timings.slack = Duration::from_millis(300));
        let failing = until_status(&discovery, |s| s.state == "failing").await;
        assert_eq!(failing.failure, Some(kind), "{fault:?}");
        fake.heal();
        until_status(&discovery, |s| s.failure.is_none()).await;
    }
}

#[tokio::test]
async fn loopback_is_refused_with_the_reason_while_the_own_node_is_unreadable() {
    let fake = Fake::start().await;
    fake.fail("/v1/agent/self", Fault::Status(403));
    fake.put("web", vec![instance("a", "127.0.0.2", "passing")]);
    let discovery = discover(&fake, |_, _| {});
    let catalog = until(&discovery, |c| c.complete).await;
    assert!(catalog.services["web"].unroutable[0].reason.contains("403"));
    assert!(until_status(&discovery, |s| !s.notes.is_empty()).await.notes[0].contains("loopback"));
}

#[tokio::test]
async fn without_a_token_the_status_says_so_and_scopes_are_sent_when_set() {
    let fake = Fake::start().await;
    let discovery = discover(&fake, |config, _| {
        (config.token, config.namespace, config.expose) = (None, Some("a b".into()), config::Expose::All);
    });
    fake.put("web", web(&["10.0.0.1"]));
    let catalog = until(&discovery, |c| addresses(c, "web").len() == 1).await;
    assert_eq!(catalog.services.len(), 1);
    assert!(discovery.status.borrow().providers[0].notes[0].starts_with("no token"));
    assert!(fake.requests("token").is_empty());
    assert!(
        fake.requests("/v1/catalog").iter().all(|request| request.contains("ns=a+b") && !request.contains("partition"))
    );
}
