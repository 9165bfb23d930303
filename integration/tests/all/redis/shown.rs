//! What admin, metrics, `/ready` and the log's facts say of a Redis.

use integration::eventually;
use integration::redis::Redis;
use integration::world::{World, service};
use mock_services::{Kind, Mock};

use super::asking::{address, of, servers, up};

/// A gateway before a Redis.
async fn gateway(section: &str) -> (World, Mock) {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&format!("workers = 2\n[redis]\n{section}\n{}", service("s", &[&mock]))).await;
    (world, mock)
}

async fn ready(world: &World) -> (u16, String) {
    let answer = world.client.get("/ready").await;
    (answer.status, answer.json()["status"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_gateway_is_degraded_and_serves_while_redis_is_away_and_says_where_it_is_without_credentials() {
    let Some(mut redis) = Redis::start(&["--requirepass hush"]).await else { return };
    let section = format!("{}\npassword = \"hush\"", address(redis.port));
    let (world, _mock) = gateway(&section).await;
    let page = async || world.admin.get("/admin/fleet").await.json()["redis"][0].clone();
    eventually("it is up", || async { page().await["state"] == "up" }).await;
    assert_eq!(ready(&world).await, (200, "ready".into()));
    let shown = page().await;
    assert_eq!((shown["name"].as_str(), shown["role"].as_str()), (Some("redis"), Some("master")));
    assert_eq!(shown["address"], format!("redis://127.0.0.1:{}/0", redis.port));
    assert!(shown["round_trip_us"].as_u64().is_some_and(|took| took > 0) && shown["since"].is_string(), "{shown}");
    assert_eq!(shown["workers"][1], serde_json::json!({ "worker": 1, "state": "unused" }));

    redis.kill();
    eventually("it is away", || async { page().await["state"] == "away" }).await;
    let answer = world.client.get("/ready").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["why"][0], "redis: Redis does not answer in time: this gateway goes on without it");
    assert_eq!(world.client.get("/api/s/users").await.status, 200);
    let shown = page().await;
    assert!(shown["error"].as_str().is_some_and(|error| error.contains("no connection")), "{shown}");
    assert!(!shown.to_string().contains("hush"));
    let metrics = world.admin.get("/admin/metrics").await.body;
    assert!(metrics.contains("\nlictor_redis_up{server=\"redis\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\nlictor_redis_calls_total{server=\"redis\",result=\"answered\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\nlictor_redis_call_seconds_count{server=\"redis\"} 0\n"), "{metrics}");

    redis.restart().await;
    eventually("it is back", || async { ready(&world).await == (200, "ready".into()) }).await;
}

#[tokio::test]
async fn without_redis_nothing_is_said_of_it() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("s", &[&mock])).await;
    assert_eq!(world.admin.get("/admin/fleet").await.json()["redis"], serde_json::json!([]));
    assert!(!world.admin.get("/admin/metrics").await.body.contains("lictor_redis"));
}

#[tokio::test]
async fn answers_may_have_a_server_of_their_own_and_one_that_is_away_says_nothing_of_the_other() {
    let (Some(limits), Some(mut answers)) = (Redis::start(&[]).await, Redis::start(&[]).await) else { return };
    let (world, _mock) = gateway(&format!("{}\n[redis.cache]\n{}", address(limits.port), address(answers.port))).await;
    let states = async || {
        let page = world.admin.get("/admin/fleet").await.json();
        [0, 1].map(|place| {
            format!(
                "{} {} {}",
                page["redis"][place]["name"], page["redis"][place]["serves"], page["redis"][place]["state"]
            )
        })
    };
    let expected = |state: &str| {
        ["\"redis\" [\"limits\"] \"up\"".to_owned(), format!("\"redis.cache\" [\"answers\"] \"{state}\"")]
    };
    eventually("both are up", || async { states().await == expected("up") }).await;
    answers.kill();
    eventually("one is away", || async { states().await == expected("away") }).await;
    let metrics = world.admin.get("/admin/metrics").await.body;
    assert!(metrics.contains("\nlictor_redis_up{server=\"redis\"} 1\nlictor_redis_up{server=\"redis.cache\"} 0\n"));
}

#[tokio::test]
async fn a_policy_that_would_evict_limits_is_said_as_soon_as_memory_is_bounded() {
    let Some(redis) = Redis::start(&["--maxmemory-policy allkeys-lru"]).await else { return };
    let servers = servers(&address(redis.port));
    let mut status = servers.limits().expect("[redis]").status.clone();
    let first = status.wait_for(|status| status.up.is_some()).await.expect("it is looked at").clone();
    assert_eq!((first.up, &first.warning), (Some(true), &None));
    redis.ask(&["CONFIG", "SET", "maxmemory", "100mb"]).await;
    let warned = status.wait_for(|status| status.warning.is_some()).await.expect("it is looked at").clone();
    assert!(warned.warning.as_deref().expect("a warning").contains("maxmemory-policy allkeys-lru evicts limits"));
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    status.wait_for(|status| status.warning.is_none()).await.expect("it is looked at");
}

#[tokio::test]
async fn who_may_not_ask_how_redis_is_set_up_is_not_told_and_works() {
    let Some(redis) = Redis::start(&["--maxmemory 100mb", "--maxmemory-policy allkeys-lru"]).await else { return };
    redis.ask(&["ACL", "SETUSER", "lictor", "on", ">p", "~lictor:*", "+ping", "+get", "+set"]).await;
    let servers = servers(&format!("{}\nuser = \"lictor\"\npassword = \"p\"", address(redis.port)));
    let mut status = servers.limits().expect("[redis]").status.clone();
    let found = status.wait_for(|status| status.up.is_some()).await.expect("it is looked at").clone();
    assert_eq!((found.up, &found.warning, &found.role), (Some(true), &None, &None));
    up(of(&servers)).await;
    let call = lictor::shared::Call::new("GET").arg("other:k");
    assert_eq!(of(&servers).call(&call).await.expect_err("another's key").code(), Some("NOPERM"));
    eventually("it is said that all is refused", || async {
        let _ = of(&servers).call(&call).await;
        status
            .borrow()
            .warning
            .as_deref()
            .is_some_and(|warning| warning.contains("refuses all that requests ask (NOPERM)"))
    })
    .await;
    eventually("it is taken back", || async {
        up(of(&servers)).await;
        status.borrow().warning.is_none()
    })
    .await;
}
