//! Answers that are no answers: errors, silence, garbage, bodies that stop or never do.

use std::time::Duration;

use integration::eventually;
use integration::fake_agent::{Asked, FakeAgent, Fault, Rule};

use super::stand::Stand;

/// While all requests go wrong in one of these ways all is served and `/ready` is degraded; afterwards changes are followed.
async fn are_endured(faults: impl IntoIterator<Item = Vec<Rule>>) {
    let stand = Stand::of(3).await;
    for (number, rules) in faults.into_iter().enumerate() {
        let seen = stand
            .during(async {
                stand.fail(rules);
                stand.degraded().await;
                stand.asked("/v1/", 3).await;
            })
            .await;
        seen.was_good();
        stand.heal();
        let name = format!("later{number}");
        stand.follows(&name).await;
        stand.ready().await;
        stand.obeys(&name).await;
    }
    stand.suspects(0).await;
}

async fn is_endured(fault: Fault) {
    are_endured([vec![Rule::new("/v1/", fault)]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_answers_429_is_waited_for() {
    is_endured(Fault::Status(429)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_answers_500_or_503_is_waited_for() {
    are_endured([500, 503].map(|status| vec![Rule::new("/v1/", Fault::Status(status))])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_deleted_takes_nothing_with_it() {
    is_endured(Fault::Status(403)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_knows_no_path_takes_nothing_with_it() {
    is_endured(Fault::Status(404)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_redirects_is_not_followed_elsewhere() {
    let elsewhere = || Fault::Header("Location".into(), Some("http://127.0.0.1:9/v1/catalog/services".into()));
    are_endured(
        [301, 307].map(|status| vec![Rule::new("/v1/", Fault::Status(status)), Rule::new("/v1/", elsewhere())]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_resets_or_closes_instead_of_answering_is_waited_for() {
    are_endured([Fault::Reset, Fault::Close].map(|fault| vec![Rule::new("/v1/", fault)])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_no_catalog() {
    let garbage = ["<html><h1>It works!</h1></html>", "", "{\"web\": [", "\u{0}\u{1}"];
    are_endured(garbage.map(|text| vec![Rule::new("/v1/", Fault::Body(text.into()))])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_of_another_type_is_no_empty_catalog() {
    let swapped = |names: &str, entries: &str| {
        let body = |text: &str| Fault::Body(text.to_owned());
        vec![Rule::new("/v1/catalog/", body(names)), Rule::new("/v1/health/", body(entries))]
    };
    are_endured([swapped("[]", "{}"), swapped("null", "null"), swapped("7", "\"passing\"")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_before_its_end_is_no_answer() {
    is_endured(Fault::Truncated).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enormous_answer_is_given_up() {
    let rule = Rule::new("/v1/catalog/", Fault::Enormous(80));
    let others = Rule::new("/v1/health/", Fault::Status(500));
    are_endured([vec![rule, others]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_a_second_late_are_answers() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", Fault::Late(Duration::from_secs(1)))]);
            stand.follows("later").await;
            assert_eq!(stand.status().await, "ready");
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_has_a_deadline() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.agent.fail(Rule::new("/v1/", Fault::Trickle).asked(Asked::First));
            stand.agent.disconnect().await;
            stand.asked("/v1/", 2).await;
        })
        .await;
    seen.was_good();
    // The connections on which a body trickles stay as they are.
    stand.heal();
    stand.during(stand.follows("later")).await.was_good();
    // Those that have waited, and are answered at last.
    let waiting = stand.agent.waiting();
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", Fault::Trickle).asked(Asked::Again)]);
            eventually("they are answered", || async { stand.agent.waiting() < waiting }).await;
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.during(stand.follows("latest")).await.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_falls_silent_is_waited_for() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", Fault::Silent)]);
            eventually("no query waits any longer", || async { stand.agent.waiting() == 0 }).await;
            stand.agent.heal();
            // What cut the line comes back, and knows none of its connections.
            stand.agent.disconnect().await;
            stand.follows("later").await;
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_hangs_at_the_start_delays_by_seconds_only() {
    let agent = FakeAgent::start().await;
    agent.fail(Rule::new("/v1/", Fault::Silent));
    let stand = Stand::before(agent, 3, "").await;
    eventually("it is asked", || async { stand.agent.count("/v1/") > 0 }).await;
    let early = stand.get("s0").await;
    assert_eq!((early.status, early.reason().as_str()), (503, "no_catalog"));
    // The fault itself: it hangs for 2 s. Connections on which it hung never answer.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stand.agent.heal();
    stand.ready().await;
}
