//! Good answers that are not to be believed: of one service, of a server that lags behind, of a token that does not see all.

use integration::eventually;
use integration::fake_agent::{Asked, Fault, Instance, Rule, Version};

use super::stand::Stand;

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn without(path: &str, names: &[&str]) -> Rule {
    Rule::new(path, Fault::Without(texts(names)))
}

/// The read of one service goes wrong: it keeps what it has, and all others are followed.
async fn concerns_one_service(fault: Fault) {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/health/service/s0", fault)]);
            stand.asked("/v1/health/service/s0", 2).await;
            stand.follows("later").await;
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
    assert_eq!(stand.instances("s0").await, [None, None]);
    stand.heal();
    stand.agent.deregister("s0-1");
    eventually("it is followed again", || async { stand.instances("s0").await == [None] }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_concerns_its_service_only() {
    concerns_one_service(Fault::Status(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_the_token_may_not_read_keeps_its_instances() {
    concerns_one_service(Fault::Status(403)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_understood_concerns_its_service_only() {
    concerns_one_service(Fault::Body("{\"Node\": null}".into())).await;
}

/// Answers with `stale` lack instances and say of themselves that they lag behind; the leader knows better.
async fn is_read_again(field: &str, value: &str) {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([
                without("/v1/", &["s0", "s0-1", "s0-2"]).asked(Asked::Stale),
                Rule::new("/v1/", Fault::Header(field.into(), Some(value.into()))).asked(Asked::Stale),
            ]);
            let by_leader = || {
                let asked = stand.agent.requests("/v1/");
                asked
                    .iter()
                    .filter(|request| !request.query.contains("stale") && request.path != "/v1/agent/self")
                    .count()
            };
            eventually("the leader is asked", || async { by_leader() > 0 }).await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    stand.suspects(0).await;
    assert_eq!(stand.instances("s0").await, [None, None]);
    stand.heal();
    stand.obeys("later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_without_a_known_leader_is_asked_of_the_leader() {
    is_read_again("X-Consul-Knownleader", "false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_from_an_old_answer_is_asked_of_the_leader() {
    is_read_again("X-Consul-Lastcontact", "6000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_while_nobody_leads_stays() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([
                Rule::new("/v1/", Fault::Empty).asked(Asked::Stale),
                Rule::new("/v1/", Fault::Header("X-Consul-Knownleader".into(), Some("false".into()))),
                Rule::new("/v1/", Fault::Status(500)).asked(Asked::Leader),
            ]);
            stand.degraded().await;
            stand.asked("/v1/", 3).await;
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.follows("later").await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_without_anything_is_read_again() {
    let stand = Stand::of(3).await;
    stand.agent.set_version(Version::Streaming);
    stand.heal();
    stand.ready().await;
    let first = || stand.agent.requests("/v1/health/").iter().filter(|r| !r.query.contains("index=")).count();
    let before = first();
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/health/service/s", Fault::Empty).asked(Asked::Again)]);
            eventually("they are read without an index", || async { first() >= before + 3 }).await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    stand.suspects(0).await;
    assert_eq!(stand.instances("s0").await, [None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_is_said_not_to_see_is_held() {
    let stand = Stand::of(3).await;
    stand.agent.set_version(Version::Filtering);
    let seen = stand
        .during(async {
            stand.fail([without("/v1/", &["s0-1", "s0-2"])]);
            stand.suspects(2).await;
            stand.degraded().await;
            stand.follows("later").await;
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.suspects(0).await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_names_that_is_always_filtered_says_nothing_of_what_vanishes() {
    let agent = integration::fake_agent::FakeAgent::start().await;
    agent.set_version(Version::Filtering);
    agent.register(Instance::new("foreign", "foreign-1", std::net::SocketAddr::from(([127, 0, 0, 1], 9))));
    agent.fail(without("/v1/", &["foreign"]));
    let stand = Stand::before(agent, 3, "").await;
    stand.ready().await;
    stand.follows("later").await;
    stand.obeys("later").await;
    stand.suspects(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_sees_nothing_any_longer_takes_nothing_with_it() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", Fault::Empty)]);
            stand.degraded().await;
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.follows("later").await;
    stand.suspects(0).await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_no_longer_sees_consul_takes_nothing_with_it() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            // Less than a crowd: only the canary tells.
            stand.fail([without("/v1/", &["consul", "s0", "s0-1", "s0-2"])]);
            stand.suspects(2).await;
            stand.degraded().await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.suspects(0).await;
    stand.ready().await;
}
