//! Answers that overtake each other, and questions that many ask at once.

use super::*;
use crate::catalog::notice::Notice;

/// Waits until this is so, but not for ever.
async fn in_time(what: impl Fn() -> bool) {
    let holds = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), holds).await.expect("it is so within 30 s");
}

/// Waits until a query for a service waits.
async fn until_watched(fake: &Fake, name: &str) {
    in_time(|| fake.waiting("/v1/health/service/").iter().any(|path| path.ends_with(name))).await;
}

/// Waits until so many answers are held.
async fn until_held(fake: &Fake, count: usize) {
    in_time(|| fake.holding() >= count).await;
}

#[tokio::test]
async fn a_list_that_the_leader_made_before_a_service_came_back_does_not_take_it_away() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| (timings.wait, timings.slack) = (HOUR, HOUR));
    until(&discovery, |c| c.complete).await;
    until_watched(&fake, "web").await;
    fake.hold("/v1/catalog/services");
    // Nobody hears of the list but the leader, who is asked because the service has lost its last instance.
    fake.remove_silently("web");
    fake.wake("/v1/health/service/web");
    until_held(&fake, 1).await;
    fake.put("web", web(&["10.0.0.2"]));
    fake.put("api", web(&["10.0.0.3"]));
    until(&discovery, |c| !addresses(c, "api").is_empty()).await;
    fake.release();
    until_quiet(&fake).await;
    until(&discovery, |c| addresses(c, "web") == ["10.0.0.2:80"] && !addresses(c, "api").is_empty()).await;
}

#[tokio::test]
async fn of_two_reads_of_a_service_the_newer_answer_counts_whichever_comes_first() {
    let fake = Fake::start().await;
    for n in 0..40 {
        fake.put(&format!("s{n:02}"), web(&["10.0.0.1"]));
    }
    let (notices, heard) = notice::channel();
    let discovery = telling(&fake, heard, |config, timings| {
        (config.connections, timings.wait, timings.reread) = (16, HOUR, HOUR);
        timings.first = HOUR;
    });
    until(&discovery, |c| c.complete && c.services.len() == 40).await;
    until_quiet(&fake).await;
    let watched = fake.waiting("/v1/health/service/");
    take_all_watches(&fake, &notices).await;
    let quiet =
        (0..40).map(|n| format!("s{n:02}")).find(|name| !watched.iter().any(|path| path.ends_with(name))).unwrap();
    fake.hold(&format!("/v1/health/service/{quiet}?stale="));
    notices.tell(Notice::Asked(ServiceName::new(&quiet).unwrap()));
    until_held(&fake, 1).await;
    fake.put_silently(&quiet, vec![instance(&quiet, "10.0.0.1", "critical")]);
    fake.wake("/v1/health/state/critical");
    let critical = |c: &Catalog| c.services[quiet.as_str()].endpoints[0].health == Health::Critical;
    until(&discovery, critical).await;
    fake.release();
    until_quiet(&fake).await;
    assert!(critical(&discovery.catalog.borrow()));
}

#[tokio::test]
async fn where_many_services_lose_their_last_entry_at_once_the_leader_is_asked_once_for_all() {
    let fake = Fake::start().await;
    for n in 0..30 {
        fake.put(&format!("s{n:02}"), web(&["10.0.0.1"]));
    }
    let discovery = discover(&fake, |_, timings| (timings.wait, timings.slack) = (HOUR, HOUR));
    until(&discovery, |c| c.complete && c.services.len() == 30).await;
    until_quiet(&fake).await;
    fake.hold("/v1/catalog/services");
    // The token has lost the right to see nodes: the list is as before.
    for n in 0..30 {
        fake.put_silently(&format!("s{n:02}"), Vec::new());
    }
    fake.wake("/v1/health/service/");
    until_held(&fake, 1).await;
    until_quiet(&fake).await;
    fake.release();
    until(&discovery, |c| (0..30).all(|n| suspects(c, &format!("s{n:02}")).len() == 1)).await;
    let leader = fake.requests("/v1/catalog/services").into_iter().filter(|request| !request.contains("stale"));
    assert!(leader.count() <= 2);
}

#[tokio::test]
async fn a_question_that_is_refused_for_all_who_share_it_is_one_connection_too_many() {
    let fake = Fake::start().await;
    for n in 0..30 {
        fake.put(&format!("s{n:02}"), web(&["10.0.0.1"]));
    }
    let discovery = discover(&fake, |_, timings| {
        (timings.wait, timings.slack, timings.backoff) = (HOUR, HOUR, (HOUR, HOUR));
    });
    until(&discovery, |c| c.complete && c.services.len() == 30).await;
    until_quiet(&fake).await;
    fake.fail("/v1/catalog/services$", Fault::Status(429));
    until_quiet(&fake).await;
    for n in 0..30 {
        fake.put_silently(&format!("s{n:02}"), Vec::new());
    }
    fake.hold("/v1/catalog/services");
    fake.wake("/v1/health/service/");
    until_held(&fake, 1).await;
    until_quiet(&fake).await;
    fake.release();
    until_status(&discovery, |s| s.errors >= 30).await;
    let watched = discovery.status.borrow().providers[0].watched;
    // Two questions, of which each is one too many; signals take two of what is left.
    assert!(watched > 15, "{watched} of 30 have a watch of their own");
}

#[tokio::test]
async fn a_service_whose_reads_fail_is_not_said_to_be_current() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| timings.wait = HOUR);
    let lag = |s: &ProviderStatus| {
        let followed = s.following.as_ref().and_then(|following| following.service("web"));
        followed.filter(|followed| followed.by == "watch").and_then(|followed| followed.lag)
    };
    until_status(&discovery, |s| lag(s) == Some(Duration::ZERO)).await;
    fake.fail("/v1/health/service/web", Fault::Status(500));
    until_status(&discovery, |s| lag(s).is_some_and(|lag| !lag.is_zero())).await;
    fake.heal();
    until_status(&discovery, |s| lag(s) == Some(Duration::ZERO)).await;
}

#[tokio::test]
async fn after_the_agent_hung_what_waited_there_is_asked_anew() {
    let fake = Fake::start().await;
    fake.put("web", web(&["10.0.0.1"]));
    let discovery = discover(&fake, |_, timings| {
        (timings.wait, timings.liveness) = (HOUR, Duration::from_millis(100));
    });
    until(&discovery, |c| c.complete).await;
    until_watched(&fake, "web").await;
    fake.fail_silently("/v1/", Fault::Silent);
    until_status(&discovery, |s| s.state == "failing").await;
    // The service's query is never answered, whatever changes.
    fake.put("web", web(&["10.0.0.1", "10.0.0.2"]));
    in_time(|| fake.waiting("/v1/health/service/web").is_empty()).await;
    fake.heal_silently();
    until(&discovery, |c| addresses(c, "web").len() == 2).await;
}

#[tokio::test]
async fn after_the_agent_hung_the_lists_of_all_datacenters_are_asked_for_anew() {
    let fake = Fake::start().await;
    let discovery = discover(&fake, |config, timings| {
        config.datacenters = vec!["dc1".into(), "dc2".into()];
        (timings.wait, timings.liveness) = (HOUR, Duration::from_millis(100));
    });
    let asked = |index: bool| {
        let lists = fake.requests("/v1/catalog/services?dc=dc2").into_iter();
        lists.filter(|request| request.contains("index=") == index).count()
    };
    until(&discovery, |c| c.complete).await;
    in_time(|| asked(true) == 1).await;
    fake.fail_silently("/v1/", Fault::Silent);
    until_status(&discovery, |s| s.state == "failing").await;
    fake.heal_silently();
    in_time(|| asked(false) == 2).await;
}
