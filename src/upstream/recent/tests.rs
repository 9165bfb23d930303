//! Windows of seconds, on paused time.

use tokio::time::advance;

use super::*;

fn window() -> Evidence {
    Evidence::new(Some(&FailureRate { failed: 50, of: 20, within: Duration::from_secs(10) }), 2)
}

async fn fresh() -> Evidence {
    let window = window();
    advance(Duration::from_secs(2)).await;
    window
}

#[tokio::test(start_paused = true)]
async fn half_of_twenty_over_all_workers_are_too_many_and_fewer_verdicts_say_nothing() {
    let window = fresh().await;
    for number in 0..19 {
        window.count(WorkerId(number % 2), (number % 2 == 0).then_some(Weight::Failure), Instant::now());
        assert!(!window.too_many(false), "{number}");
    }
    window.count(WorkerId(0), None, Instant::now());
    assert!(window.too_many(false));
    window.count(WorkerId(1), None, Instant::now());
    assert!(!window.too_many(false), "10 of 21");
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_or_than_the_last_trip_does_not_count() {
    let window = fresh().await;
    (0..30).for_each(|_| window.count(WorkerId(0), Some(Weight::Failure), Instant::now()));
    assert!(window.too_many(false));
    advance(Duration::from_secs(11)).await;
    assert!(!window.too_many(false));
    (0..30).for_each(|_| window.count(WorkerId(0), Some(Weight::Failure), Instant::now()));
    window.restart();
    assert!(!window.too_many(false));
    window.tune(None);
    (0..30).for_each(|_| window.count(WorkerId(0), Some(Weight::Failure), Instant::now()));
    assert!(!window.too_many(false));
}

fn budget() -> Budget {
    Budget::new(&config::Budget { percent: 20, plus: 3, within: Duration::from_secs(10) }, 2)
}

fn spend(budget: &Budget) -> u64 {
    (0..1000).take_while(|_| budget.try_spend()).count() as u64
}

#[tokio::test(start_paused = true)]
async fn a_window_allows_its_share_of_all_workers_requests_and_a_few_more() {
    let budget = budget();
    for number in 0..100 {
        budget.request(WorkerId(number % 2), Instant::now());
    }
    assert_eq!(spend(&budget), 23);
}

#[tokio::test(start_paused = true)]
async fn requests_count_for_ten_seconds_although_nobody_spends() {
    let budget = budget();
    for _ in 0..9 {
        (0..10).for_each(|_| budget.request(WorkerId(0), Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(spend(&budget), 21);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(spend(&budget), 3);
}

#[tokio::test(start_paused = true)]
async fn what_clients_may_have_provoked_tips_no_other_failures_share() {
    let window = fresh().await;
    (0..30).for_each(|_| window.count(WorkerId(0), Some(Weight::Rate), Instant::now()));
    window.count(WorkerId(1), Some(Weight::Failure), Instant::now());
    assert!(window.too_many(true) && !window.too_many(false), "one of one is not twenty");
    assert_eq!(window.share(), Some(1.0));
    assert_eq!(fresh().await.share(), None, "without verdicts there is nothing to compare");
}
