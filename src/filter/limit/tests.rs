//! Limits: exact, together or not at all, bounded, and kept over a reload.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::{Environment, Overrides, parse};
use crate::request::Roles;

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

/// A consumer as the configuration names them.
fn consumer(name: &str, plan: bool) -> Consumer {
    Consumer {
        name: name.into(),
        tenant: None,
        plan: plan.then(|| "silver".into()),
        roles: Roles::default(),
        limits_key: LimitsKey::of(Source::Configuration, name),
        source: Source::Configuration,
    }
}

/// A consumer that no configuration lists.
fn unlisted(n: u32, plan: bool) -> Consumer {
    Consumer { limits_key: LimitsKey(u128::from(n) << 100 | u128::from(n)), ..consumer("unlisted", plan) }
}

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn passed(limits: &Limits, consumer: Option<&Consumer>, client: IpAddr, times: usize) -> usize {
    let now = Instant::now();
    (0..times).filter(|_| take(limits, consumer, client, now).0.is_ok()).count()
}

/// Takes one request through the route `/api`, which has the limits at the top.
fn take(
    limits: &Limits,
    consumer: Option<&Consumer>,
    client: IpAddr,
    now: Instant,
) -> (Result<(), Duration>, [Option<Remaining>; 2]) {
    let mut remaining = [None, None];
    let route = limits.routes.get("default").map(|meter| &*meter.set);
    (limits.take(route, (consumer, None), client, now, &mut remaining), remaining)
}

#[tokio::test(start_paused = true)]
async fn a_plan_lets_its_number_through_at_once_then_one_an_interval_and_says_when() {
    let limits = Limits::new(&config(""), None);
    let a = consumer("a", true);
    assert_eq!(passed(&limits, Some(&a), address(1), 20), 10);
    assert_eq!(take(&limits, Some(&a), address(1), Instant::now()).0, Err(Duration::from_millis(100)));
    tokio::time::advance(Duration::from_secs(1)).await;
    // The second limit of the plan: 15 in a minute. What the first refused, it was not charged for.
    assert_eq!(passed(&limits, Some(&a), address(1), 20), 5);
    let b = consumer("b", false);
    assert_eq!(passed(&limits, Some(&b), address(1), 20), 20);
}

#[tokio::test(start_paused = true)]
async fn an_answer_says_the_policy_and_what_is_left_of_it() {
    let limits = Limits::new(&config("limits = [\"3/min\"]\n"), None);
    let remaining = |client| {
        let [_, of_route] = take(&limits, None, address(client), Instant::now()).1;
        of_route.expect("the answer says it")
    };
    let texts = |remaining: Remaining| {
        [remaining.policy, remaining.left].map(|value| value.to_str().expect("ASCII").to_owned())
    };
    assert_eq!(texts(remaining(1)), ["\"default\";q=3;w=60", "\"default\";r=2;t=20"]);
    assert_eq!(texts(remaining(1)), ["\"default\";q=3;w=60", "\"default\";r=1;t=40"]);
    assert_eq!(texts(remaining(1)), ["\"default\";q=3;w=60", "\"default\";r=0;t=60"]);
    // Refused: it says when one more is let through, as `Retry-After` does.
    assert_eq!(texts(remaining(1)), ["\"default\";q=3;w=60", "\"default\";r=0;t=20"]);
    assert_eq!(texts(remaining(2))[1], "\"default\";r=2;t=20");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_refused_request_says_what_every_limit_has_left_whether_it_was_asked_or_not() {
    let left = |remaining: Option<Remaining>| remaining.expect("it is said").left.to_str().expect("ASCII").to_owned();
    // The plan has 10/s and 15/min; the route is asked after it.
    let limits = Limits::new(&config("limits = [\"100/min\", \"12/h\"]\n"), None);
    for who in [consumer("a", true), unlisted(1, true)] {
        assert_eq!(passed(&limits, Some(&who), address(1), 10), 10);
        let (taken, [of_plan, of_route]) = take(&limits, Some(&who), address(1), Instant::now());
        assert_eq!(taken, Err(Duration::from_millis(100)));
        assert_eq!(left(of_plan), "\"silver-10-per-1s\";r=0;t=1, \"silver-15-per-60s\";r=5;t=40");
        assert_eq!(left(of_route), "\"default-100-per-60s\";r=90;t=6, \"default-12-per-3600s\";r=2;t=3000");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    // Now the last limit of the route refuses: all others have what they had before.
    let who = consumer("a", true);
    assert_eq!(passed(&limits, Some(&who), address(1), 2), 2);
    let (taken, [of_plan, of_route]) = take(&limits, Some(&who), address(1), Instant::now());
    assert_eq!(taken, Err(Duration::from_secs(299)));
    assert_eq!(left(of_plan), "\"silver-10-per-1s\";r=8;t=1, \"silver-15-per-60s\";r=3;t=47");
    assert_eq!(left(of_route), "\"default-100-per-60s\";r=89;t=7, \"default-12-per-3600s\";r=0;t=299");
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_limit_is_as_the_limit_says() {
    let by = |by: &str| format!("limits = [{{ rate = \"3/min\", by = \"{by}\" }}]\n");
    for (text, same_consumer, same_address, no_consumer) in
        [(by("consumer"), 3, 6, 6), (by("address"), 6, 3, 6), (by("everyone"), 3, 3, 3)]
    {
        let fresh = || Limits::new(&config(&text), None);
        let limits = fresh();
        let (a, b) = (consumer("a", false), consumer("b", false));
        let two = |limits: &Limits, first: (&Consumer, u32), second: (&Consumer, u32)| {
            passed(limits, Some(first.0), address(first.1), 5) + passed(limits, Some(second.0), address(second.1), 5)
        };
        assert_eq!(two(&limits, (&a, 1), (&a, 2)), same_consumer, "{text}");
        assert_eq!(two(&fresh(), (&a, 1), (&b, 1)), same_address, "{text}");
        let limits = fresh();
        assert_eq!(passed(&limits, None, address(1), 5) + passed(&limits, None, address(2), 5), no_consumer, "{text}");
    }
}

#[test]
fn from_many_threads_not_one_too_many_passes() {
    let limits = Limits::new(&config("limits = [\"1000/day\"]\n"), None);
    let count = AtomicUsize::new(0);
    let a = consumer("a", false);
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
        limits.shared.table.each_address(limits.shared.ns(Instant::now()), |_| count += 1);
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
    let a = consumer("a", true);
    assert_eq!(passed(&before, Some(&a), address(1), 9), 5);
    assert_eq!(passed(&before, None, address(1), 9), 5);
    let same = Limits::new(&config("limits = [\"5/day\"]\nworkers = 3\n"), Some(&before));
    assert_eq!(passed(&same, Some(&consumer("a", true)), address(1), 9), 0);
    assert_eq!(passed(&same, None, address(1), 9), 0);
    let more = Limits::new(&config("limits = [\"6/day\"]\n"), Some(&same));
    assert_eq!(passed(&more, Some(&consumer("a", true)), address(1), 5), 5);
    assert_eq!(passed(&more, None, address(1), 9), 6);
}

#[test]
fn of_a_set_that_changes_the_limits_that_stay_stay_used_for_consumers_for_all_and_for_addresses() {
    let top = |limits: &str| config(&format!("limits = {limits}\n"));
    let everyone = "{ rate = \"3/h\", by = \"everyone\" }";
    let before = Limits::new(&top(&format!("[\"1000/s\", \"5/day\", {everyone}]")), None);
    assert_eq!(passed(&before, Some(&consumer("a", false)), address(1), 2), 2);
    assert_eq!(passed(&before, None, address(1), 1), 1);
    // Another place in the list, beside another limit; and one that is new although it looks the same.
    let after = Limits::new(&top(&format!("[\"5/day\", \"2000/s\", \"5/day\", {everyone}]")), Some(&before));
    assert_eq!(passed(&after, Some(&consumer("b", false)), address(2), 1), 0, "everyone's three are used");
    let last = Limits::new(&top("[\"5/day\", \"2000/s\"]"), Some(&after));
    assert_eq!(passed(&last, Some(&consumer("a", false)), address(1), 9), 3, "of five, two were used");
    assert_eq!(passed(&last, None, address(1), 9), 4, "of five, one was used");
}

#[test]
fn usage_shows_who_is_near_a_limit_and_a_reset_begins_anew() {
    let limits = Limits::new(&config("limits = [\"4/day\"]\n"), None);
    let a = consumer("a", true);
    assert_eq!(passed(&limits, Some(&a), address(1), 6), 4);
    assert_eq!(passed(&limits, None, address(2), 1), 1);
    let now = Instant::now();
    let usage = limits.usage(now);
    let of_a = usage.iter().find(|u| u.who == Who::Consumer("a".into()) && &*u.set == "default").expect("a is shown");
    assert_eq!((of_a.count, of_a.left, of_a.refused), (4, 0, 2));
    let plan = usage.iter().find(|u| &*u.set == "silver" && u.count == 15).expect("the plan is shown");
    assert_eq!(plan.left, 11);
    let of_address = usage.iter().find(|u| u.who == Who::Address(address(2))).expect("the address is shown");
    assert_eq!(of_address.left, 3);
    assert_eq!(limits.reset_consumer("nobody"), None);
    assert_eq!(limits.reset_consumer("a"), Some(3));
    assert_eq!(limits.reset_address(address(2)), 1);
    assert_eq!(passed(&limits, Some(&a), address(1), 9), 4);
    assert_eq!(passed(&limits, None, address(2), 9), 4);
}

/// So many more consumers, who come after `a` and `b`.
fn crowd(count: usize) -> String {
    let one = |n: usize| format!("[[consumer]]\nname = \"c{n}\"\nkeys = [\"sha256:{:064x}\"]\n", n + 1);
    (0..count).map(one).collect()
}

#[test]
fn what_is_taken_through_the_limits_before_after_the_next_are_made_counts_in_both() {
    let limit = |by: &str| format!("{{ rate = \"5/day\", by = \"{by}\" }}");
    let another = ", \"1000/h\", { rate = \"1000/h\", by = \"address\" }, { rate = \"1000/h\", by = \"everyone\" }";
    let (a, token) = (consumer("a", false), unlisted(1, false));
    for (by, who) in [
        ("consumer", Some(&a)),
        ("consumer", Some(&token)),
        ("consumer", None),
        ("address", Some(&a)),
        ("address", None),
        ("everyone", Some(&a)),
        ("everyone", None),
    ] {
        for (added, consumers) in [("", 0), (another, 0), ("", 200), (another, 200)] {
            let case = format!("{by}, {who:?}, {added}, {consumers}");
            let before = Limits::new(&config(&format!("limits = [{}]\n", limit(by))), None);
            let next = config(&format!("limits = [{}{added}]\n{}", limit(by), crowd(consumers)));
            let next = Limits::new(&next, Some(&before));
            assert_eq!(passed(&before, who, address(1), 2), 2, "{case}");
            assert_eq!(passed(&next, who, address(1), 2), 2, "{case}");
            assert_eq!(passed(&before, who, address(1), 9), 1, "{case}");
            assert_eq!(passed(&next, who, address(1), 9), 0, "{case}");
            let of_who = |limits: &Limits| {
                limits.usage(Instant::now()).into_iter().find(|usage| usage.count == 5).map(|usage| usage.left)
            };
            let shown = who.is_none_or(|who| who != &token).then_some(0);
            assert_eq!((of_who(&before), of_who(&next)), (shown, shown), "{case}");
            let refused =
                |limits: &Limits| limits.sets().into_iter().find(|set| &*set.0.name == "default").map(|set| set.2);
            assert_eq!((refused(&before), refused(&next)), (Some(17), Some(17)), "{case}");
        }
    }
}

#[test]
fn counters_of_consumers_that_nobody_has_used_yet_are_shared_too() {
    let before = Limits::new(&config(&format!("limits = [\"5/day\"]\n{}", crowd(60))), None);
    let next = Limits::new(&config(&format!("limits = [\"5/day\"]\n{}", crowd(150))), Some(&before));
    for name in ["a", "c59"] {
        let who = consumer(name, false);
        assert_eq!(passed(&before, Some(&who), address(1), 3), 3);
        assert_eq!(passed(&next, Some(&who), address(1), 9), 2);
    }
    let new = consumer("c149", false);
    assert_eq!(passed(&next, Some(&new), address(1), 9), 5);
}

/// What [`Limits::new`] decides.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    next_number: u32,
    /// The consumers' slots, by name.
    slots: Vec<(Arc<str>, u32)>,
    /// The numbers of each set's limits, by the set's name.
    numbers: Vec<(Arc<str>, Vec<u32>)>,
}

fn decided(limits: &Limits) -> Decided {
    let mut slots: Vec<_> = limits.consumers.values().map(|listed| (listed.name.clone(), listed.slot)).collect();
    slots.sort();
    let of_set = |(meter, _): (&Meter, _)| (meter.set.name.clone(), meter.rates().map(|rate| rate.number).collect());
    Decided { next_number: limits.next_number, slots, numbers: limits.meters().into_iter().map(of_set).collect() }
}

#[test]
fn limits_made_twice_from_the_same_are_equal_and_change_nothing_before() {
    let before = Limits::new(&config("limits = [\"5/day\"]\n"), None);
    let a = consumer("a", true);
    assert_eq!(passed(&before, Some(&a), address(1), 9), 5);
    assert_eq!(passed(&before, None, address(1), 2), 2);
    let now = Instant::now();
    let (was, used) = (decided(&before), before.usage(now));
    let next = config(&format!("limits = [\"5/day\", \"7/h\"]\n{}", crowd(200)));
    let twice = [(), ()].map(|()| Limits::new(&next, Some(&before)));
    assert_eq!(decided(&twice[0]), decided(&twice[1]));
    assert_ne!(decided(&twice[0]), was);
    assert_eq!((decided(&before), before.usage(now)), (was, used.clone()));
    for limits in &twice {
        let mut usage = limits.usage(now);
        usage.retain(|usage| usage.refused > 0);
        let mut used = used.clone();
        used.retain(|usage| usage.refused > 0);
        assert_eq!(usage, used);
    }
}

#[test]
fn a_consumer_who_comes_back_finds_what_was_used_and_nobody_else_inherits_it() {
    let text = "limits = [\"5/day\"]\n";
    let with = |names: &[&str]| {
        let one = |(n, name): (usize, &&str)| {
            format!("[[consumer]]\nname = \"{name}\"\nkeys = [\"sha256:{:064x}\"]\n", n + 1)
        };
        config(&format!("{text}{}", names.iter().enumerate().map(one).collect::<String>()))
    };
    let first = Limits::new(&with(&["gone"]), None);
    let gone = consumer("gone", false);
    assert_eq!(passed(&first, Some(&gone), address(1), 4), 4);
    let second = Limits::new(&with(&["new"]), Some(&first));
    assert_eq!(passed(&second, Some(&consumer("new", false)), address(1), 9), 5);
    let third = Limits::new(&with(&["new", "gone"]), Some(&second));
    assert_eq!(passed(&third, Some(&gone), address(1), 9), 1);
}

#[test]
fn a_consumer_that_no_configuration_lists_has_limits_of_their_own_and_those_of_their_plan() {
    let limits = Limits::new(&config("limits = [\"5/day\"]\n"), None);
    let (one, two) = (unlisted(1, false), unlisted(2, false));
    assert_eq!(passed(&limits, Some(&one), address(1), 3), 3);
    assert_eq!(passed(&limits, Some(&one), address(2), 9), 2, "whatever the address");
    assert_eq!(passed(&limits, Some(&two), address(1), 9), 5, "another consumer at the same address");
    assert_eq!(passed(&limits, None, address(1), 9), 5, "the address itself");
    assert_eq!(passed(&limits, Some(&consumer("a", false)), address(1), 9), 5, "a consumer of the configuration");
    let limits = Limits::new(&config(""), None);
    assert_eq!(passed(&limits, Some(&unlisted(3, true)), address(1), 20), 10, "the plan's ten a second");
    assert_eq!(passed(&limits, Some(&unlisted(3, false)), address(1), 20), 20);
    let of_no_plan = Consumer { plan: Some("gold".into()), ..unlisted(4, false) };
    assert_eq!(passed(&limits, Some(&of_no_plan), address(1), 20), 20);
}

#[test]
fn what_the_route_refuses_costs_the_plan_of_an_unlisted_consumer_nothing() {
    let limits = Limits::new(&config("limits = [\"2/day\"]\n"), None);
    let who = unlisted(1, true);
    let now = Instant::now();
    for _ in 0..30 {
        let (taken, [of_plan, of_route]) = take(&limits, Some(&who), address(1), now);
        assert!(taken.is_ok() || of_plan.is_some());
        assert!(of_route.is_some());
    }
    let mut remaining = [None, None];
    assert!(limits.take(None, (Some(&who), None), address(1), now, &mut remaining).is_ok());
    let [of_plan, _] = remaining;
    let left = of_plan.expect("the plan holds without a route").left;
    assert!(left.to_str().expect("ASCII").starts_with("\"silver-10-per-1s\";r=7;"), "{left:?}");
}

#[test]
fn of_a_million_consumers_of_tokens_the_most_active_have_each_their_own_limit_within_the_configured_memory() {
    let limits = Limits::new(&config("limits = [\"10/day\"]\n[rate_limits]\nmemory = \"1MiB\"\n"), None);
    let (now, bytes, active) = (Instant::now(), limits.bytes(), || (0..500).map(|n| unlisted(n, false)));
    active().for_each(|busy| assert_eq!(passed(&limits, Some(&busy), address(0), 5), 5));
    for n in 500..1_000_000 {
        assert!(take(&limits, Some(&unlisted(n, false)), address(0), now).0.is_ok(), "{n}");
    }
    active().for_each(|busy| assert_eq!(passed(&limits, Some(&busy), address(0), 20), 5, "{busy:?}"));
    assert!(limits.bytes() == bytes && bytes <= 1 << 20);
}
