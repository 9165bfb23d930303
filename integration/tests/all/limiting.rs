//! Limits: exact over all workers, counted for the right consumer or address, announced in every response, shown to the operator
//! and reset by them.

use http::Method;
use integration::client::{Client, Response};
use integration::world::{World, service};
use lictor::config::digest;
use mock_services::{Kind, Mock};
use serde_json::Value;

fn consumer(name: &str, plan: &str) -> String {
    let digest: String = digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[consumer]]\nname = \"{name}\"\nkeys = [\"sha256:{digest}\"]\nplan = \"{plan}\"\n")
}

async fn world(more: &str) -> (World, Mock) {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let (top, sections) = more.split_at(more.find('[').unwrap_or(more.len()));
    (World::of(&format!("{top}{}{sections}", service("user_service", &[&mock]))).await, mock)
}

async fn ask(client: &Client, headers: &[(&str, &str)]) -> Response {
    client.ask(Method::GET, "/api/user_service/users", headers, "").await
}

async fn usage(world: &World, query: &str) -> Vec<Value> {
    let page = world.admin.get(&format!("/admin/rate-limits{query}")).await.json();
    page["usage"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eleven_requests_over_eleven_connections_and_four_workers_at_ten_a_minute_the_eleventh_is_429() {
    for _ in 0..3 {
        let plan = "[[plan]]\nname = \"ten\"\nlimits = [\"10/min\"]\n";
        let (world, mock) = world(&format!("workers = 4\n{plan}{}", consumer("visitor", "ten"))).await;
        let mut statuses = Vec::new();
        for _ in 0..11 {
            // Each client has its own connection.
            statuses.push(ask(&Client::new(world.address), &[("x-api-key", "visitor")]).await.status);
        }
        assert_eq!(statuses, [vec![200; 10], vec![429]].concat());
        assert_eq!(mock.hits(), 10, "a refused request costs no instance anything");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_at_once_over_four_workers_exactly_as_many_pass_as_may() {
    let plan = "[[plan]]\nname = \"some\"\nlimits = [\"50/h\"]\n";
    let (world, mock) = world(&format!("workers = 4\n{plan}{}", consumer("crowd", "some"))).await;
    let asking: Vec<_> = (0..200)
        .map(|number| {
            let client = if number % 10 == 0 { Client::new(world.address) } else { world.client.clone() };
            tokio::spawn(async move { ask(&client, &[("x-api-key", "crowd")]).await.status })
        })
        .collect();
    let mut passed = 0;
    for one in asking {
        let status = one.await.expect("no panic");
        assert!(matches!(status, 200 | 429), "{status}");
        passed += u64::from(status == 200);
    }
    assert_eq!((passed, mock.hits()), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_what_is_left_and_a_refusal_when_to_come_again() {
    let plan = "[[plan]]\nname = \"silver\"\nlimits = [\"2/min\", \"100/day\"]\n";
    let (world, _mock) = world(&format!("{plan}{}", consumer("app", "silver"))).await;
    let key = [("x-api-key", "app")];
    let first = ask(&world.client, &key).await;
    assert_eq!(
        (first.header("ratelimit-policy"), first.header("ratelimit")),
        (
            "\"silver-2-per-60s\";q=2;w=60, \"silver-100-per-86400s\";q=100;w=86400",
            "\"silver-2-per-60s\";r=1;t=30, \"silver-100-per-86400s\";r=99;t=864"
        )
    );
    ask(&world.client, &key).await;
    let refused = ask(&world.client, &key).await;
    assert_eq!((refused.status, refused.reason().as_str()), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((29..=30).contains(&wait), "{wait}");
    // Of the limit that refused it says the same as `Retry-After`, and of the other one what is true.
    let left = format!("\"silver-2-per-60s\";r=0;t={wait}, \"silver-100-per-86400s\";r=98;t=1728");
    assert_eq!(refused.header("ratelimit"), left);
    // A request that the short limit refused does not count for the long one.
    let day = usage(&world, "?consumer=app").await;
    let day = day.iter().find(|usage| usage["count"] == 100).expect("the daily limit");
    assert_eq!(day["remaining"], 98);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit_and_nobody_can_claim_anothers() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    let api = "[api]\nauth = false\nlimits = [{ rate = \"2/h\", by = \"address\" }]\n";
    let (world, _mock) = world(&format!("{listener}{api}")).await;
    let from = async |chain: &str| ask(&world.client, &[("x-forwarded-for", chain)]).await.status;
    assert_eq!([from("192.0.2.1").await, from("192.0.2.1, 10.0.0.9").await, from("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(from("192.0.2.2").await, 200);
    // Addresses that the client wrote itself stand to the left of the one that the proxy adds. They do not count.
    assert_eq!(from("192.0.2.77, 192.0.2.1").await, 429);
    // An IPv6 subscriber as a rule has a whole /64, which counts as one address.
    assert_eq!([from("2001:db8::1").await, from("2001:db8::2").await, from("2001:db8::3").await], [200, 200, 429]);
    assert_eq!(from("2001:db8:0:1::1").await, 200);
    let seen = usage(&world, "").await;
    let one = seen.iter().find(|usage| usage["address"] == "192.0.2.1").expect("it is listed");
    assert_eq!((one["remaining"].as_u64(), one["refused"].as_u64()), (Some(0), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routes_limit_and_a_plans_both_hold_and_the_operator_can_reset_one_consumer() {
    let plan = "[[plan]]\nname = \"wide\"\nlimits = [\"100/h\"]\n";
    let api = "[api]\nlimits = [\"2/h\"]\n";
    let (world, mock) = world(&format!("{plan}{}{}{api}", consumer("a", "wide"), consumer("b", "wide"))).await;
    let statuses = async |key: &str| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(ask(&world.client, &[("x-api-key", key)]).await.status);
        }
        statuses
    };
    assert_eq!(statuses("a").await, [200, 200, 429]);
    assert_eq!(statuses("b").await, [200, 200, 429]);
    let mine = usage(&world, "?consumer=a").await;
    assert_eq!(mine.len(), 2, "its plan's and the route's: {mine:?}");
    assert!(mine.iter().all(|usage| usage["consumer"] == "a"));
    let nearest = (&mine[0]["limit"], &mine[0]["remaining"], &mine[0]["refused"]);
    assert_eq!(nearest, (&Value::from("api"), &Value::from(0), &Value::from(1)));
    assert_eq!(mine[1]["remaining"], 98, "what the route refused cost the plan nothing");
    let reset = world.admin.post("/admin/rate-limits/reset?consumer=a", "").await;
    assert_eq!((reset.status, &reset.json()["reset"]), (200, &Value::from(2)));
    assert_eq!(world.admin.post("/admin/rate-limits/reset?consumer=nobody", "").await.status, 400);
    assert_eq!(world.admin.post("/admin/rate-limits/reset", "").await.status, 400);
    assert_eq!(statuses("a").await, [200, 200, 429]);
    assert_eq!(ask(&world.client, &[("x-api-key", "b")]).await.status, 429);
    assert_eq!(mock.hits(), 6);
}
