//! Limits: exact, together or not at all, bounded, and kept over a reload.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::config::{Environment, Overrides, parse};

const PLANS: &str = "[[plan]]\nname = \"silver\"\nlimits = [\"10/s\", \"15/min\"]\n";

fn config(more: &str) -> Config {
    let key = |n: u8| format!("keys = [\"sha256:{}\"]", format!("{n:02x}").repeat(32));
    let text = format!(
        "{more}{PLANS}[[consumer]]\nname = \"a\"\n{}\nplan = \"silver\"\n[[consumer]]\nname = \"b\"\n{}\n",
        key(1),
        key(2)
    );
    parse(Some(&text), "test", Overrides::default(), &Environment::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn consumer(limits: &Limits, name: &str, plan: bool) -> Consumer {
    let plan = plan.then(|| limits.plans["silver"].clone());
    Consumer { name: name.into(), admin: false, number: limits.number(name), plan }
}

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn passed(limits: &Limits, consumer: Option<&Consumer>, client: IpAddr, times: usize) -> usize {
    let now = Instant::now();
    (0..times).filter(|_| take(limits, consumer, client, now).0.is_ok()).count()
}

fn take(limits: &Limits, consumer: Option<&Consumer>, client: IpAddr, now: Instant) -> (Result<(), Duration>, Said) {
    let mut said = [None, None];
    (limits.take(0, consumer, client, now, &mut said), said)
}

#[tokio::test(start_paused = true)]
async fn a_plan_lets_its_number_through_at_once_then_one_an_interval_and_says_when() {
    let limits = Limits::new(&config(""), None);
    let a = consumer(&limits, "a", true);
    assert_eq!(passed(&limits, Some(&a), address(1), 20), 10);
    assert_eq!(take(&limits, Some(&a), address(1), Instant::now()).0, Err(Duration::from_millis(100)));
    tokio::time::advance(Duration::from_secs(1)).await;
    // The second limit of the plan: 15 in a minute. What the first refused, it was not charged for.
    assert_eq!(passed(&limits, Some(&a), address(1), 20), 5);
    let b = consumer(&limits, "b", false);
    assert_eq!(passed(&limits, Some(&b), address(1), 20), 20);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_the_policy_and_what_is_left_of_it() {
    let limits = Limits::new(&config("limits = [\"3/min\"]\n"), None);
    let told = |client| {
        let [_, told] = take(&limits, None, address(client), Instant::now()).1;
        told.expect("it is told")
    };
    let texts = |told: Told| [told.0, told.1].map(|value| value.to_str().expect("ASCII").to_owned());
    assert_eq!(texts(told(1)), ["\"default\";q=3;w=60", "\"default\";r=2;t=20"]);
    assert_eq!(texts(told(1)), ["\"default\";q=3;w=60", "\"default\";r=1;t=40"]);
    assert_eq!(texts(told(1)), ["\"default\";q=3;w=60", "\"default\";r=0;t=60"]);
    assert_eq!(texts(told(1)), ["\"default\";q=3;w=60", "\"default\";r=0;t=60"]);
    assert_eq!(texts(told(2))[1], "\"default\";r=2;t=20");
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_limit_is_as_the_limit_says() {
    let by = |by: &str| format!("limits = [{{ rate = \"3/min\", by = \"{by}\" }}]\n");
    for (text, same_consumer, same_address, strangers) in
        [(by("consumer"), 3, 6, 6), (by("address"), 6, 3, 6), (by("everyone"), 3, 3, 3)]
    {
        let fresh = || Limits::new(&config(&text), None);
        let limits = fresh();
        let (a, b) = (consumer(&limits, "a", false), consumer(&limits, "b", false));
        let two = |limits: &Limits, first: (&Consumer, u32), second: (&Consumer, u32)| {
            passed(limits, Some(first.0), address(first.1), 5) + passed(limits, Some(second.0), address(second.1), 5)
        };
        assert_eq!(two(&limits, (&a, 1), (&a, 2)), same_consumer, "{text}");
        assert_eq!(two(&fresh(), (&a, 1), (&b, 1)), same_address, "{text}");
        let limits = fresh();
        assert_eq!(passed(&limits, None, address(1), 5) + passed(&limits, None, address(2), 5), strangers, "{text}");
    }
}

#[test]
fn from_many_threads_not_one_too_many_passes() {
    let limits = Limits::new(&config("limits = [\"1000/day\"]\n"), None);
    let count = AtomicUsize::new(0);
    let a = consumer(&limits, "a", false);
    let now = Instant::now();
    for who in [Some(&a), None] {
        count.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mine = (0..500).filter(|_| take(&limits, who, address(7), now).0.is_ok()).count();
                    count.fetch_add(mine, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 1000);
    }
}

#[test]
fn a_million_addresses_stay_within_the_configured_memory_and_a_busy_one_is_not_forgotten() {
    let text = "limits = [\"10/day\"]\n";
    let limits = Limits::new(&config(&format!("{text}[rate_limits]\nmemory = \"1MiB\"\n")), None);
    assert!(limits.bytes() <= 1 << 20, "{}", limits.bytes());
    let now = Instant::now();
    assert_eq!(passed(&limits, None, address(0), 20), 10);
    for n in 1..1_000_000 {
        assert!(take(&limits, None, address(n), now).0.is_ok(), "{n}");
    }
    assert_eq!(passed(&limits, None, address(0), 20), 0);
}

#[test]
fn a_new_beginning_for_who_is_not_there_costs_nobody_theirs() {
    let limits = Limits::new(&config("limits = [\"5/day\"]\n[rate_limits]\nmemory = \"64KiB\"\n"), None);
    for n in 0..20_000 {
        assert_eq!(passed(&limits, None, address(n), 1), 1);
    }
    let known = |limits: &Limits| {
        let mut count = 0;
        limits.ledger.addresses.each(limits.ledger.ns(Instant::now()), |_| count += 1);
        count
    };
    let before = known(&limits);
    for n in 30_000..31_000 {
        assert_eq!(limits.reset_address(address(n)), 0);
    }
    assert_eq!(known(&limits), before);
    assert_eq!(limits.reset_address(address(19_999)), 1);
    assert_eq!(known(&limits), before - 1);
}

#[test]
fn one_subscribers_ipv6_addresses_count_together() {
    let limits = Limits::new(&config("limits = [\"3/min\"]\n"), None);
    let host = |n: u128| IpAddr::from(std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
    let now = Instant::now();
    let passed = (0..10).filter(|n| take(&limits, None, host(*n), now).0.is_ok()).count();
    assert_eq!(passed, 3);
}

#[test]
fn what_was_used_of_a_limit_outlives_a_reload_that_leaves_it_and_not_one_that_changes_it() {
    let before = Limits::new(&config("limits = [\"5/day\"]\n"), None);
    let a = consumer(&before, "a", true);
    assert_eq!(passed(&before, Some(&a), address(1), 9), 5);
    assert_eq!(passed(&before, None, address(1), 9), 5);
    let same = Limits::new(&config("limits = [\"5/day\"]\nworkers = 3\n"), Some(&before));
    assert_eq!(passed(&same, Some(&consumer(&same, "a", true)), address(1), 9), 0);
    assert_eq!(passed(&same, None, address(1), 9), 0);
    let more = Limits::new(&config("limits = [\"6/day\"]\n"), Some(&same));
    assert_eq!(passed(&more, Some(&consumer(&more, "a", true)), address(1), 5), 5);
    assert_eq!(passed(&more, None, address(1), 9), 6);
}

#[test]
fn of_a_set_that_changes_the_limits_that_stay_stay_used_for_consumers_for_all_and_for_addresses() {
    let top = |limits: &str| config(&format!("limits = {limits}\n"));
    let everyone = "{ rate = \"3/h\", by = \"everyone\" }";
    let before = Limits::new(&top(&format!("[\"1000/s\", \"5/day\", {everyone}]")), None);
    assert_eq!(passed(&before, Some(&consumer(&before, "a", false)), address(1), 2), 2);
    assert_eq!(passed(&before, None, address(1), 1), 1);
    // Another place in the list, beside another limit; and one that is new although it looks the same.
    let after = Limits::new(&top(&format!("[\"5/day\", \"2000/s\", \"5/day\", {everyone}]")), Some(&before));
    assert_eq!(passed(&after, Some(&consumer(&after, "b", false)), address(2), 1), 0, "everyone's three are used");
    let last = Limits::new(&top("[\"5/day\", \"2000/s\"]"), Some(&after));
    assert_eq!(passed(&last, Some(&consumer(&last, "a", false)), address(1), 9), 3, "of five, two were used");
    assert_eq!(passed(&last, None, address(1), 9), 4, "of five, one was used");
}

#[test]
fn usage_shows_who_is_near_a_limit_and_a_reset_begins_anew() {
    let limits = Limits::new(&config("limits = [\"4/day\"]\n"), None);
    let a = consumer(&limits, "a", true);
    assert_eq!(passed(&limits, Some(&a), address(1), 6), 4);
    assert_eq!(passed(&limits, None, address(2), 1), 1);
    let now = Instant::now();
    let usage = limits.usage(now);
    let of_a = usage.iter().find(|u| u.who == Who::Consumer("a".into()) && &*u.set == "default").expect("a is shown");
    assert_eq!((of_a.count, of_a.left, of_a.refused), (4, 0, 2));
    let plan = usage.iter().find(|u| &*u.set == "silver" && u.count == 15).expect("the plan is shown");
    assert_eq!(plan.left, 11);
    let stranger = usage.iter().find(|u| u.who == Who::Address(address(2))).expect("the address is shown");
    assert_eq!(stranger.left, 3);
    assert_eq!(limits.reset_consumer("nobody"), None);
    assert_eq!(limits.reset_consumer("a"), Some(3));
    assert_eq!(limits.reset_address(address(2)), 1);
    assert_eq!(passed(&limits, Some(&a), address(1), 9), 4);
    assert_eq!(passed(&limits, None, address(2), 9), 4);
}
