//! A real Redis that hangs, is slow, refuses, restarts or changes its role: what callers notice, and that they pay the deadline once.

mod asking;
mod elsewhere;
mod shown;

use std::time::{Duration, Instant};

use integration::eventually;
use integration::redis::{Redis, Stand};
use lictor::shared::{Away, Call, Outcome, Script, Shared, Standing, Value};
use lictor::worker::WorkerId;
use rustix::process::Signal;

use asking::{address, fails_at_once, get, of, pauses_after, servers, set, text, up};

#[tokio::test]
async fn calls_are_answered_over_one_connection_of_each_worker() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    assert_eq!(shared.standing(), Standing::Unused);
    up(shared).await;
    assert_eq!(shared.call(&set("v")).await, Ok(Value::Okay));
    assert_eq!(shared.call(&get()).await, text("v"));
    assert_eq!(shared.call(&Call::new("GET").arg("none")).await, Ok(Value::Nil));
    let calls = (0..100).map(|_| async { get_ok(shared).await });
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|answered| answered));
    // This worker's, that of the control plane, and the one that asks: the other worker has not asked.
    let clients = redis.ask(&["CLIENT", "LIST"]).await.lines().filter(|line| line.contains("addr=")).count();
    assert_eq!(clients, 3);
    assert_eq!(shared.figures().count(Outcome::Late), 0);
}

async fn get_ok(shared: &Shared) -> bool {
    shared.call(&get()).await.is_ok()
}

#[tokio::test]
async fn workers_ask_on_runtimes_of_their_own() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let worker = |number| {
        let server = servers.limits().expect("[redis] is written").clone();
        // As a worker's thread is: see `server/worker`.
        let thread = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            runtime.expect("a runtime").block_on(async {
                let shared = server.of(WorkerId(number));
                up(shared).await;
                for _ in 0..100 {
                    assert!(shared.call(&Call::new("INCR").arg("lictor:n")).await.is_ok());
                }
            });
        };
        tokio::task::spawn_blocking(move || std::thread::spawn(thread).join().is_ok())
    };
    let (first, second) = tokio::join!(worker(0), worker(1));
    assert!(first.is_ok_and(|well| well) && second.is_ok_and(|well| well));
    assert!(redis.ask(&["GET", "lictor:n"]).await.ends_with("200"));
}

#[tokio::test]
async fn a_script_is_sent_again_when_redis_has_forgotten_it() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for expected in [3, 6, 9] {
        assert_eq!(shared.call(&script.call(&["lictor:n"]).arg(3)).await, Ok(Value::Int(expected)));
        if expected == 6 {
            redis.ask(&["SCRIPT", "FLUSH"]).await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_the_deadline_once_and_is_used_again_over_the_same_connection() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&format!("{}\ndeadline = \"500ms\"", address(redis.port)));
    let shared = of(&servers);
    up(shared).await;
    let id = Call::new("CLIENT").arg("ID");
    let connection = shared.call(&id).await;
    redis.signal(Signal::STOP);
    let begun = Instant::now();
    pauses_after(shared, &get()).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "it waits for the deadline");
    fails_at_once(shared).await;
    let Standing::Paused { until, why: Away::Late } = shared.standing() else { panic!("{shared:?}") };
    assert!(until <= tokio::time::Instant::now() + Duration::from_secs(1));
    redis.signal(Signal::CONT);
    up(shared).await;
    assert_eq!(shared.call(&id).await, connection);
}

#[tokio::test]
async fn while_redis_hangs_pauses_get_longer_and_calls_in_the_meantime_wait_for_nothing() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    redis.signal(Signal::STOP);
    pauses_after(shared, &get()).await;
    let late = shared.figures().count(Outcome::Late);
    let until = || match shared.standing() {
        Standing::Paused { until, .. } => until,
        other => panic!("{other:?}"),
    };
    let first = until();
    eventually("the second pause", || async { until() > first }).await;
    // From the end of the first pause on: the probe, and a pause of two seconds less a quarter at most.
    assert!(until() - first >= Duration::from_millis(1_500), "{:?}", until() - first);
    fails_at_once(shared).await;
    assert_eq!(shared.figures().count(Outcome::Late), late, "probes are not calls");
}

#[tokio::test]
async fn a_redis_that_is_too_slow_is_not_used_until_it_is_fast_again() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let slow = Stand::slow(redis.port, Duration::from_millis(20)).await;
    let servers = servers(&format!("{}\ndeadline = \"5ms\"", address(slow.port)));
    let shared = of(&servers);
    // The connection takes longer than the first one who asks waits.
    assert_eq!(shared.call(&get()).await, Err(Away::Late));
    let begun = Instant::now();
    assert_eq!(shared.call(&get()).await, Err(Away::Paused));
    assert!(begun.elapsed() < Duration::from_millis(5));
    eventually("it pauses", || async { matches!(shared.standing(), Standing::Paused { why: Away::Late, .. }) }).await;
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("the control plane says so", || async {
        let error = status.borrow().error.clone().unwrap_or_default();
        error == "1 of 2 workers go without it: no answer came within the deadline (5ms)"
    })
    .await;
    assert!(status.borrow().round_trip >= Some(Duration::from_millis(20)), "it answers the control plane");
}

#[tokio::test]
async fn redis_is_not_blamed_where_the_gateway_itself_was_late() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&format!("{}\ndeadline = \"5ms\"", address(redis.port)));
    let shared = of(&servers);
    // Where this machine is so busy that Redis is late, too, it is tried again.
    for _ in 0..4 {
        up(shared).await;
        let busy = async {
            // The command goes out, and its answer comes while this thread does something else for longer than the deadline.
            tokio::task::yield_now().await;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        };
        let call = get();
        let (answer, ()) = tokio::join!(shared.call(&call), busy);
        if answer == Ok(Value::Nil) {
            return;
        }
    }
    panic!("it was blamed each time");
}

#[tokio::test]
async fn a_call_that_the_gateway_itself_was_late_for_pauses_nothing_and_the_next_one_does() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    redis.signal(Signal::STOP);
    let busy = async {
        tokio::task::yield_now().await;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(150) {
            std::hint::spin_loop();
        }
    };
    let call = get();
    let (answer, ()) = tokio::join!(shared.call(&call), busy);
    assert_eq!((answer, shared.standing()), (Err(Away::Late), Standing::Up));
    // One of the next ones, where this machine is busy.
    eventually("it pauses", || async {
        let _ = shared.call(&get()).await;
        shared.is_paused()
    })
    .await;
}

#[tokio::test]
async fn nothing_waits_for_a_redis_that_is_not_there_and_it_is_used_when_it_comes() {
    let Some(mut redis) = Redis::start(&[]).await else { return };
    redis.kill();
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    assert!(shared.call(&get()).await.is_err());
    eventually("it pauses", || async { shared.is_paused() }).await;
    let Standing::Paused { why: Away::Lost(why), .. } = shared.standing() else { panic!("{shared:?}") };
    assert!(why.contains("refused"), "{why}");
    fails_at_once(shared).await;
    redis.restart().await;
    up(shared).await;
}

#[tokio::test]
async fn a_redis_that_restarts_empty_is_asked_again_over_a_new_connection() {
    let Some(mut redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    assert_eq!(shared.call(&script.call(&["lictor:n"])).await, Ok(Value::Int(1)));
    redis.kill();
    eventually("the connection broke", || async { shared.call(&get()).await.is_err() }).await;
    redis.restart().await;
    up(shared).await;
    assert_eq!(shared.call(&script.call(&["lictor:n"])).await, Ok(Value::Int(1)));
}

#[tokio::test]
async fn a_refusal_of_one_command_leaves_the_connection_as_it_is() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    redis.ask(&["RPUSH", "list", "x"]).await;
    let code = async |call: Call<'_>| {
        let away = shared.call(&call).await.expect_err("a refusal");
        away.code().unwrap_or_else(|| panic!("{away}")).to_owned()
    };
    assert_eq!(code(Call::new("GET").arg("list")).await, "WRONGTYPE");
    assert_eq!(code(Call::new("NOSUCHCOMMAND")).await, "ERR");
    let failing = Script::new("return redis.call('INCR', KEYS[1])");
    assert!(["ERR", "WRONGTYPE"].contains(&&*code(failing.call(&["list"])).await));
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(code(set("v")).await, "OOM");
    assert_eq!(shared.call(&Call::new("LLEN").arg("list")).await, Ok(Value::Int(1)), "reads work");
    redis.ask(&["ACL", "SETUSER", "default", "-set"]).await;
    assert_eq!(code(set("v")).await, "NOPERM");
    assert_eq!(shared.standing(), Standing::Up);
    assert_eq!(shared.figures().count(Outcome::Refused), 5);
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_left_alone_meanwhile_and_used_again_after_that() {
    let Some(redis) = Redis::start(&["--rdbcompression no", "--loading-process-events-interval-bytes 1024"]).await
    else {
        return;
    };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    // A thousand keys of a kilobyte, each of which takes two milliseconds to load.
    redis.ask(&["DEBUG", "POPULATE", "1000", "key", "1024"]).await;
    redis.ask(&["CONFIG", "SET", "key-load-delay", "2000"]).await;
    let refused = async {
        eventually("it loads", || async {
            matches!(shared.call(&get()).await, Err(Away::Refused(words)) if words.starts_with("LOADING"))
        })
        .await;
        fails_at_once(shared).await;
        let Standing::Paused { why, .. } = shared.standing() else { panic!("{shared:?}") };
        assert_eq!(why.code(), Some("LOADING"));
    };
    tokio::join!(redis.ask(&["DEBUG", "RELOAD"]), refused);
    up(shared).await;
}

#[tokio::test]
async fn a_redis_that_loads_its_data_as_the_gateway_starts_is_waited_for_by_nobody() {
    let loading = Stand::saying("-LOADING Redis is loading the dataset in memory").await;
    let servers = servers(&address(loading.port));
    let shared = of(&servers);
    assert!(shared.call(&get()).await.is_err());
    eventually("it pauses", || async { shared.is_paused() }).await;
    let Standing::Paused { why, .. } = shared.standing() else { panic!("{shared:?}") };
    assert!(why.to_string().contains("LOADING") || why.to_string().contains("loading"), "{why}");
    fails_at_once(shared).await;
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_connected_to_anew() {
    let Some(redis) = Redis::start(&[]).await else { return };
    let servers = servers(&address(redis.port));
    let shared = of(&servers);
    up(shared).await;
    let id = Call::new("CLIENT").arg("ID");
    let connection = shared.call(&id).await;
    redis.ask(&["REPLICAOF", "127.0.0.1", "9"]).await;
    let status = servers.limits().expect("[redis]").status.clone();
    eventually("the control plane says so", || async {
        status.borrow().warning.as_deref().is_some_and(|warning| warning.contains("it is a replica"))
    })
    .await;
    assert_eq!(shared.call(&set("v")).await.expect_err("a refusal").code(), Some("READONLY"));
    fails_at_once(shared).await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it is written to", || async { shared.call(&set("v")).await.is_ok() }).await;
    assert_ne!(shared.call(&id).await, connection);
    eventually("the control plane takes it back", || async { status.borrow().warning.is_none() }).await;
}
