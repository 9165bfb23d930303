//! The breaker on paused time, without sockets.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn policy(consecutive: u32, probes: u8) -> config::Breaker {
    let ms = Duration::from_millis;
    config::Breaker { enabled: true, consecutive, rate: None, open: ms(1000), open_max: ms(4000), probes }
}

fn breaker(consecutive: u32, probes: u8) -> Breaker {
    Breaker::seeded(&policy(consecutive, probes), 1)
}

fn fail(breaker: &Breaker) -> bool {
    let grant = breaker.acquire().expect("a permit");
    breaker.failed(grant, Failure::Reset, || false, || true)
}

fn succeed(breaker: &Breaker) {
    let grant = breaker.acquire().expect("a permit");
    breaker.succeeded(grant);
}

fn state(breaker: &Breaker) -> State {
    breaker.view().state
}

fn eligible(breaker: &Breaker) -> bool {
    breaker.eligible(&mut None)
}

async fn pass(ms: u64) {
    tokio::time::advance(Duration::from_millis(ms)).await;
}

/// Until it is due, whatever the jitter.
async fn until_due(breaker: &Breaker) -> u64 {
    let mut waited = 0;
    while !eligible(breaker) {
        pass(10).await;
        waited += 10;
        assert!(waited < 10_000, "it is never due");
    }
    waited
}

#[tokio::test(start_paused = true)]
async fn it_trips_after_n_failures_in_a_row_and_a_success_between_begins_anew() {
    let breaker = breaker(3, 1);
    assert!(!fail(&breaker) && !fail(&breaker));
    succeed(&breaker);
    assert!(!fail(&breaker) && !fail(&breaker));
    assert_eq!(state(&breaker), State::Closed);
    assert!(fail(&breaker));
    assert_eq!(state(&breaker), State::Open);
    assert!(!eligible(&breaker) && breaker.acquire().is_none());
}

#[tokio::test(start_paused = true)]
async fn it_stays_open_longer_each_time_up_to_the_cap_and_a_recovery_begins_anew() {
    let breaker = breaker(1, 1);
    for (low, high) in [(750, 1260), (1500, 2510), (3000, 5010), (3000, 5010)] {
        assert!(fail(&breaker));
        let waited = until_due(&breaker).await;
        assert!((low..=high).contains(&waited), "{waited}");
    }
    succeed(&breaker);
    assert_eq!(state(&breaker), State::Closed);
    assert!(fail(&breaker));
    assert!(until_due(&breaker).await <= 1260);
    assert_eq!(breaker.view().entered[State::Open.figure()], 5);
}

#[tokio::test(start_paused = true)]
async fn merely_looking_changes_nothing() {
    let breaker = breaker(1, 1);
    fail(&breaker);
    until_due(&breaker).await;
    for _ in 0..100 {
        assert!(eligible(&breaker));
    }
    assert_eq!(state(&breaker), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_frees_its_place_without_a_verdict() {
    let breaker = breaker(1, 1);
    fail(&breaker);
    until_due(&breaker).await;
    let probe = breaker.acquire().expect("a probe");
    assert!(!eligible(&breaker) && breaker.acquire().is_none());
    breaker.returned(probe);
    assert_eq!(state(&breaker), State::HalfOpen);
    assert!(breaker.acquire().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_five_seconds_makes_room_for_others_and_its_late_success_closes_the_breaker() {
    let breaker = breaker(1, 1);
    fail(&breaker);
    until_due(&breaker).await;
    let hung = breaker.acquire().expect("a probe");
    pass(4_900).await;
    assert!(!eligible(&breaker));
    pass(200).await;
    assert!(eligible(&breaker));
    let second = breaker.acquire().expect("another probe");
    breaker.returned(hung);
    assert!(breaker.acquire().is_none(), "the late one's place was not its own any more");
    breaker.succeeded(hung);
    assert_eq!(state(&breaker), State::Closed);
    assert!(!breaker.failed(second, Failure::Reset, || false, || true), "its generation is over");
    assert_eq!((state(&breaker), breaker.view().entered), (State::Closed, [1, 1, 1]));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_needs_longer_than_a_probes_place_lasts_recovers_under_traffic() {
    // Each of four clients asks again as soon as it may; every answer takes 5.5 s.
    let breaker = breaker(1, 1);
    fail(&breaker);
    until_due(&breaker).await;
    let mut under_way = std::collections::VecDeque::new();
    for tick in 0u64.. {
        assert!(tick < 60, "no probe closed it");
        under_way.extend(breaker.acquire().map(|grant| (tick, grant)));
        pass(100).await;
        if let Some((_, grant)) = under_way.pop_front_if(|(since, _)| tick - *since >= 54) {
            breaker.succeeded(grant);
            break;
        }
    }
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_of_a_probe_opens_the_breaker_again() {
    let breaker = breaker(1, 1);
    fail(&breaker);
    until_due(&breaker).await;
    let late = breaker.acquire().expect("a probe");
    pass(5_100).await;
    let _second = breaker.acquire().expect("another probe");
    assert!(breaker.failed(late, Failure::FirstByteTimeout, || false, || true));
    assert_eq!(state(&breaker), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_form_that_we_refuse_counts_in_the_rate_window_only() {
    let breaker = breaker(2, 1);
    let refused = |too_many: bool, others: bool| {
        let grant = breaker.acquire().expect("a permit");
        breaker.failed(grant, Failure::BadAnswer, || too_many, || others)
    };
    for _ in 0..100 {
        assert!(!refused(false, true) && !refused(true, false));
    }
    assert_eq!((state(&breaker), breaker.view().consecutive), (State::Closed, 0));
    assert!(refused(true, true), "too large a share, and another instance is there");
    assert_eq!(breaker.view().why, Some(Failure::BadAnswer));
    // Of a probe it says nothing: its place is free.
    until_due(&breaker).await;
    let probe = breaker.acquire().expect("a probe");
    assert!(!breaker.failed(probe, Failure::BadAnswer, || true, || true));
    assert_eq!(state(&breaker), State::HalfOpen);
    let next = breaker.acquire().expect("its place");
    breaker.succeeded(next);
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn verdicts_from_before_the_trip_change_nothing_after_it() {
    let breaker = breaker(1, 1);
    let (late_good, late_bad) = (breaker.acquire().expect("a permit"), breaker.acquire().expect("a permit"));
    fail(&breaker);
    breaker.succeeded(late_good);
    assert_eq!(state(&breaker), State::Open);
    until_due(&breaker).await;
    let probe = breaker.acquire().expect("a probe");
    assert!(!breaker.failed(late_bad, Failure::Reset, || false, || true));
    assert_eq!(state(&breaker), State::HalfOpen);
    breaker.succeeded(probe);
    assert_eq!(state(&breaker), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_vetoed_trip_waits_for_the_next_failure_and_costs_no_backoff() {
    let breaker = breaker(2, 1);
    let veto = |breaker: &Breaker| {
        let grant = breaker.acquire().expect("a permit");
        breaker.failed(grant, Failure::Status(502), || false, || false)
    };
    for _ in 0..10 {
        assert!(!veto(&breaker));
    }
    assert_eq!(state(&breaker), State::Closed);
    assert!(fail(&breaker));
    assert!(until_due(&breaker).await <= 1260);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_process_is_due_at_once_and_its_history_kept() {
    let breaker = breaker(1, 1);
    fail(&breaker);
    assert!(!eligible(&breaker));
    breaker.probe_now();
    assert!(eligible(&breaker));
    assert_eq!(breaker.view().why, Some(Failure::Reset));
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_never_trips() {
    let breaker = Breaker::new(&config::Breaker { enabled: false, ..policy(1, 1) });
    for _ in 0..10 {
        assert!(!fail(&breaker));
    }
}

/// failsafe's own table: closed, three failures, open, wait, half open, fail, open, twice.
#[tokio::test(start_paused = true)]
async fn failsafes_own_trace_comes_out_of_our_machine_too() {
    let breaker = breaker(3, 1);
    for _ in 0..3 {
        fail(&breaker);
    }
    for _ in 0..2 {
        assert_eq!(state(&breaker), State::Open);
        until_due(&breaker).await;
        let probe = breaker.acquire().expect("a probe");
        assert_eq!(state(&breaker), State::HalfOpen);
        assert!(breaker.failed(probe, Failure::Reset, || false, || true));
    }
    assert_eq!(state(&breaker), State::Open);
}

#[test]
fn a_thousand_threads_requests_at_half_open_get_exactly_n_probes() {
    for probes in [1, 3] {
        let breaker = Arc::new(Breaker::seeded(
            &config::Breaker {
                open: Duration::from_millis(1),
                open_max: Duration::from_millis(1),
                ..policy(1, probes)
            },
            1,
        ));
        fail(&breaker);
        while !eligible(&breaker) {
            std::hint::spin_loop();
        }
        let take = |breaker: Arc<Breaker>| move || (0..250).filter(|_| breaker.acquire().is_some()).count();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(take(breaker.clone()))).collect();
        let granted: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!(granted, usize::from(probes));
    }
}

/// The obvious breaker, as a judge.
#[derive(Default)]
struct Naive {
    row: u32,
    open: bool,
    probing: bool,
}

proptest! {
    #[test]
    fn it_agrees_with_the_obvious_breaker(steps in proptest::collection::vec(0u8..4, 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let (breaker, mut naive) = (breaker(3, 1), Naive::default());
            for step in steps {
                if step == 3 {
                    // Longer than any open time, and than a probe may hang.
                    pass(6_000).await;
                    continue;
                }
                let Some(grant) = breaker.acquire() else {
                    assert!(naive.open, "refused although closed");
                    continue;
                };
                naive.probing = naive.open;
                match step {
                    0 => {
                        breaker.succeeded(grant);
                        (naive.row, naive.open) = (0, false);
                    }
                    1 => {
                        breaker.failed(grant, Failure::Reset, || false, || true);
                        naive.row += 1;
                        naive.open = naive.probing || naive.row >= 3;
                    }
                    _ => breaker.returned(grant),
                }
                assert_eq!(state(&breaker) == State::Closed, !naive.open);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_was_held_up_does_not_make_an_open_breaker_stay_open_for_ever() {
    let breaker = breaker(1, 2);
    fail(&breaker);
    until_due(&breaker).await;
    let (first, second) = (breaker.acquire().expect("a probe"), breaker.acquire().expect("a second probe"));
    assert!(breaker.failed(second, Failure::Reset, || false, || true));
    // The first one's thread comes only now to say until when its generation waits for probes.
    let turn = Packed::new(State::HalfOpen, 1, first.round, first.generation).turn();
    breaker.set_due(turn, Instant::now() + PROBE);
    until_due(&breaker).await;
    assert!(breaker.acquire().is_some());
}
