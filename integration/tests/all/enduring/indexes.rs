//! Indexes that are wrong, and queries that do not wait as they should.

use std::time::Duration;

use integration::fake_agent::{Fault, Rule};

use super::stand::Stand;

/// While answers are odd in this way all is served, what changes is followed, and the agent is not asked in a loop.
async fn is_endured(fault: Fault) {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", fault)]);
            stand.follows("later").await;
            let before = stand.agent.count("/v1/");
            // The time in which is counted.
            tokio::time::sleep(Duration::from_secs(3)).await;
            let asked = stand.agent.count("/v1/") - before;
            assert!(asked < 100, "{asked} requests in 3 s");
        })
        .await;
    seen.was_good();
    stand.heal();
    stand.moves("later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_goes_back_is_forgotten() {
    is_endured(Fault::Index(Some(3))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_zero_is_never_asked_with_in_a_loop() {
    is_endured(Fault::Index(Some(0))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_missing_is_done_without() {
    is_endured(Fault::Index(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_return_at_once_without_news_are_no_busy_loop() {
    is_endured(Fault::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cut_while_it_waits_is_no_error() {
    let stand = Stand::of(3).await;
    let errors = stand.provider().await["errors"].clone();
    let seen = stand
        .during(async {
            stand.fail([Rule::new("/v1/", Fault::CutWaiting(Duration::from_millis(300)))]);
            stand.asked("/v1/", 12).await;
            assert_eq!(stand.status().await, "ready");
            stand.follows("later").await;
            stand.obeys("later").await;
        })
        .await;
    seen.was_good();
    let provider = stand.provider().await;
    assert_eq!((&provider["errors"], &provider["error"]), (&errors, &serde_json::Value::Null), "{provider}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_its_memory_but_low_indexes_is_heard_at_once() {
    let stand = Stand::of(3).await;
    stand.agent.change(|catalog| catalog.rewind(10_000));
    stand.follows("first").await;
    let seen = stand
        .during(async {
            stand.agent.kill().await;
            stand.degraded().await;
            stand.agent.change(|catalog| catalog.rewind(5));
            stand.agent.revive().await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    stand.suspects(0).await;
    stand.moves("later").await;
}
