//! The breakers of instances, as clients and operators see them.

use integration::eventually;
use integration::world::{World, service};
use mock_services::{Kind, Mock};

const QUICK: &str = "[breaker]\nconsecutive = 3\nopen = \"300ms\"\nopen_max = \"300ms\"\n[retry]\nmore = 0\n";

async fn state(world: &World, mock: &Mock) -> String {
    let service = world.service("user_service").await;
    let instances = service["instances"].as_array().cloned().unwrap_or_default();
    let mine = instances.iter().find(|instance| instance["address"] == mock.address.to_string());
    mine.and_then(|instance| instance["breaker"]["state"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_instance_trips_alone_gets_one_probe_at_a_time_and_recovers() {
    let (good, bad) =
        (Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = World::of(&format!("{}{QUICK}", service("user_service", &[&good, &bad]))).await;
    bad.behave(|behaviour| (behaviour.error_percent, behaviour.error_status) = (100, 502));
    let mut failed = 0;
    for _ in 0..6 {
        failed += u32::from(world.client.get("/api/user_service/users").await.status == 502);
    }
    assert_eq!(failed, 3);
    assert_eq!(state(&world, &bad).await, "open");
    assert_eq!(state(&world, &good).await, "closed");
    // While its breaker is open, the instance gets no request.
    let before = bad.hits();
    for _ in 0..10 {
        assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
    }
    assert_eq!(bad.hits(), before);
    // The instance behaves well again, so its next probe succeeds.
    bad.behave(|behaviour| *behaviour = mock_services::Behaviour::default());
    eventually("the breaker is closed again", || async {
        assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
        state(&world, &bad).await == "closed"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_half_open_send_exactly_one_probe_over_four_workers() {
    let bad = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&format!("workers = 4\n{}{QUICK}", service("user_service", &[&bad]))).await;
    bad.behave(|behaviour| behaviour.reset = true);
    for _ in 0..3 {
        assert_eq!(world.client.get("/api/user_service/users").await.status, 502);
    }
    let tripped = world.client.get("/api/user_service/users").await;
    assert_eq!((tripped.status, tripped.reason().as_str()), (503, "all_tripped"));
    assert_eq!(tripped.header("retry-after"), "1");
    // The probe hangs, so that all thousand requests find a half-open breaker.
    bad.behave(|behaviour| (behaviour.reset, behaviour.hang) = (false, true));
    let before = bad.hits();
    let probe = {
        let client = world.client.clone();
        eventually("the breaker is due", || async {
            let service = world.service("user_service").await;
            service["instances"][0]["picked"] == true
        })
        .await;
        tokio::spawn(async move { client.get("/api/user_service/users").await })
    };
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let client = world.client.clone();
        asks.spawn(async move { client.get("/api/user_service/users").await.status });
    }
    let mut refused = 0;
    // One of the thousand may become the probe instead of the request that was sent first; then it is the one that hangs.
    while refused < 999 {
        match tokio::time::timeout(std::time::Duration::from_secs(4), asks.join_next()).await {
            Ok(Some(status)) => {
                assert_eq!(status.expect("no panic"), 503);
                refused += 1;
            }
            _ => break,
        }
    }
    assert!(refused >= 999, "{refused} were refused");
    assert_eq!(bad.hits() - before, 1);
    probe.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_instance_that_is_left_is_not_tripped_by_statuses_and_is_by_resets() {
    let (one, two) =
        (Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let slow = "[breaker]\nconsecutive = 3\nopen = \"60s\"\n[retry]\nmore = 0\n";
    let world = World::of(&format!("{}{slow}", service("user_service", &[&one, &two]))).await;
    for mock in [&one, &two] {
        mock.behave(|behaviour| (behaviour.error_percent, behaviour.error_status) = (100, 504));
    }
    for _ in 0..20 {
        let answer = world.client.get("/api/user_service/users").await;
        assert!(answer.body.contains("told to fail"), "still the instance's own answer: {}", answer.body);
    }
    for mock in [&one, &two] {
        mock.behave(|behaviour| behaviour.reset = true);
    }
    eventually("both are tripped", || async {
        let answer = world.client.get("/api/user_service/users").await;
        answer.reason() == "all_tripped"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_with_retry_after_pauses_half_of_the_instances_at_most_and_trips_none() {
    let (one, two) =
        (Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = World::of(&service("user_service", &[&one, &two])).await;
    one.behave(|b| (b.error_percent, b.error_status, b.retry_after_s) = (100, 503, 60));
    for _ in 0..20 {
        assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
    }
    assert_eq!(one.hits(), 1);
    assert_eq!(state(&world, &one).await, "closed");
    two.behave(|b| (b.error_percent, b.error_status, b.retry_after_s) = (100, 503, 60));
    let answer = world.client.get("/api/user_service/users").await;
    assert!(answer.body.contains("told to fail"), "the second is still asked: {}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_breaker_off_nothing_trips() {
    let bad = Mock::start(Kind::User, 0).await.expect("a mock");
    let off = "[breaker]\nenabled = false\n[retry]\nmore = 0\n";
    let world = World::of(&format!("{}{off}", service("user_service", &[&bad]))).await;
    bad.behave(|behaviour| behaviour.reset = true);
    for _ in 0..20 {
        assert_eq!(world.client.get("/api/user_service/users").await.reason(), "reset");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_no_verdict() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&format!("{}{QUICK}", service("user_service", &[&mock]))).await;
    mock.behave(|behaviour| behaviour.hang = true);
    for count in 1..=6 {
        let client = world.client.clone();
        let ask = tokio::spawn(async move { client.get("/api/user_service/users").await });
        eventually("the instance has it", || async { mock.hits() == count }).await;
        ask.abort();
    }
    eventually("nothing is in flight", || async {
        world.service("user_service").await["instances"][0]["in_flight"] == 0
    })
    .await;
    assert_eq!(state(&world, &mock).await, "closed");
}
