//! Further attempts: who gets one, who does not, and what the client sees.

use integration::world::{World, service};
use mock_services::{Kind, Mock};

async fn two() -> (Mock, Mock) {
    (Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::User, 0).await.expect("a mock"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_is_reset_hung_or_refused_by_one_instance_is_answered_by_another() {
    let (good, bad) = two().await;
    let quick = "[timeouts]\nfirst_byte = \"200ms\"\n[breaker]\nenabled = false\n";
    let world = World::of(&format!("{}{quick}", service("user_service", &[&good, &bad]))).await;
    let faults: [fn(&mut mock_services::Behaviour); 3] =
        [|b| b.reset = true, |b| b.hang = true, |b| (b.error_percent, b.error_status) = (100, 503)];
    for fault in faults {
        bad.behave(|behaviour| {
            *behaviour = mock_services::Behaviour::default();
            fault(behaviour);
        });
        for _ in 0..4 {
            let answer = world.client.get("/api/user_service/users").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
    assert!(bad.hits() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_an_instance_may_have_acted_on_is_not_sent_again() {
    let (one, two) = two().await;
    let world = World::of(&format!("{}[breaker]\nenabled = false\n", service("user_service", &[&one, &two]))).await;
    for mock in [&one, &two] {
        mock.behave(|behaviour| behaviour.reset = true);
    }
    let answer = world.client.post("/api/user_service/users", "{}").await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "reset"));
    assert_eq!(one.hits() + two.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_never_left_is_sent_to_another_instance() {
    let good = Mock::start(Kind::User, 0).await.expect("a mock");
    let instances =
        format!("[[service]]\nname = \"user_service\"\ninstances = [\"127.0.0.1:1\", \"{}\"]\n", good.address);
    let world = World::of(&instances).await;
    for _ in 0..4 {
        let answer = world.client.post("/api/user_service/users", "{\"name\":\"x\",\"email\":\"y\"}").await;
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_end_with_the_budget_and_the_last_answer_is_passed_on() {
    let (one, two) = two().await;
    let policy = "[breaker]\nenabled = false\n[retry.budget]\npercent = 0\nplus = 3\n";
    let world = World::of(&format!("{}{policy}", service("user_service", &[&one, &two]))).await;
    for mock in [&one, &two] {
        mock.behave(|behaviour| (behaviour.error_percent, behaviour.error_status) = (100, 503));
    }
    for _ in 0..10 {
        let answer = world.client.get("/api/user_service/users").await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("told to fail"), "the instance's own words: {}", answer.body);
    }
    assert_eq!(one.hits() + two.hits(), 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_never_begun_again() {
    let (one, two) = two().await;
    let world = World::of(&service("user_service", &[&one, &two])).await;
    for mock in [&one, &two] {
        mock.behave(|behaviour| behaviour.cut_body = true);
    }
    let answer = world.client.get("/api/user_service/users").await;
    assert_eq!(answer.status, 0, "the client must see that the body is not whole: {}", answer.body);
    assert_eq!(one.hits() + two.hits(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_502_not_http() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    mock.behave(|behaviour| behaviour.garbage = true);
    let answer = world.client.get("/api/user_service/users").await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "not_http"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_hangs_alone_is_504() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&format!("{}[timeouts]\nfirst_byte = \"100ms\"\n", service("user_service", &[&mock]))).await;
    mock.behave(|behaviour| behaviour.hang = true);
    let answer = world.client.get("/api/user_service/users").await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "first_byte_timeout"));
}
