//! What vanishes in a crowd is held, and what an operator takes out on purpose goes at once.

use integration::eventually;
use integration::fake_agent::Instance;
use mock_services::{Kind, Mock};

use super::stand::Stand;

/// Half of ten services.
const HALF: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_services_missing_from_one_answer_are_held() {
    let stand = Stand::of(10).await;
    let seen = stand
        .during(async {
            stand.vanish(&HALF);
            stand.suspects(10).await;
            stand.degraded().await;
            stand.follows("later").await;
        })
        .await;
    seen.was_good();
    assert!(stand.instances("s0").await.iter().all(|reason| reason.as_ref().is_some_and(|text| !text.is_empty())));
    // They reappear, and are believed.
    stand.heal();
    stand.suspects(0).await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_instances_of_all_services_are_held() {
    let stand = Stand::of(10).await;
    let seen = stand
        .during(async {
            stand.agent.change(|catalog| catalog.deregister_where(|instance| instance.id.ends_with("-2")));
            stand.suspects(10).await;
            // Suspects are picked last: the confirmed instances do the work.
            for _ in 0..20 {
                assert_eq!(stand.get("s0").await.instance(), stand.mocks[0].name());
            }
        })
        .await;
    seen.was_good();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_all_that_it_carried_while_it_stays_is_doubted() {
    let stand = Stand::of(20).await;
    for name in ["a", "b", "c"] {
        let instance = Instance::new(name, &format!("{name}-1"), stand.mocks[0].address);
        stand.agent.register(instance.on("node-2"));
        stand.world.until(&format!("/api/{name}/users"), 200).await;
    }
    stand.agent.change(|catalog| catalog.deregister_where(|instance| instance.node == "node-2"));
    stand.suspects(3).await;
    for name in ["a", "b", "c"] {
        assert_eq!(stand.get(name).await.status, 200, "{name}");
    }
    stand.degraded().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_with_all_that_it_carried_is_believed() {
    let stand = Stand::of(20).await;
    for name in ["a", "b", "c"] {
        let instance = Instance::new(name, &format!("{name}-1"), stand.mocks[0].address);
        stand.agent.register(instance.on("node-2"));
        stand.world.until(&format!("/api/{name}/users"), 200).await;
    }
    let seen = stand
        .during(async {
            stand.agent.change(|catalog| catalog.leave("node-2"));
            for name in ["a", "b", "c"] {
                stand.world.until(&format!("/api/{name}/users"), 503).await;
            }
        })
        .await;
    seen.was_good();
    stand.suspects(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_gossip_calls_dead_is_doubted_where_it_carried_many() {
    let stand = Stand::of(10).await;
    let seen = stand
        .during(async {
            stand.agent.change(|catalog| ["node-0", "node-1"].map(|node| catalog.set_serf(node, "critical")));
            stand.suspects(20).await;
            stand.degraded().await;
        })
        .await;
    seen.was_good();
    stand.agent.change(|catalog| ["node-0", "node-1"].map(|node| catalog.set_serf(node, "passing")));
    stand.suspects(0).await;
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_checks_of_services_are_obeyed_however_many_they_are() {
    let stand = Stand::of(10).await;
    let ids: Vec<_> = (0..10).flat_map(|number| [format!("s{number}-1"), format!("s{number}-2")]).collect();
    stand.agent.change(|catalog| ids.iter().for_each(|id| catalog.set_check(id, "critical")));
    for number in 0..10 {
        stand.world.until(&format!("/api/s{number}/users"), 503).await;
        assert_eq!(stand.get(&format!("s{number}")).await.reason(), "no_instances");
    }
    stand.suspects(0).await;
    stand.agent.change(|catalog| ids.iter().for_each(|id| catalog.set_check(id, "passing")));
    stand.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_that_deregisters_goes_at_once() {
    let stand = Stand::of(3).await;
    let seen = stand
        .during(async {
            stand.agent.deregister("s0-1");
            eventually("it is gone", || async { stand.instances("s0").await == [None] }).await;
        })
        .await;
    seen.was_good();
    stand.suspects(0).await;
    assert_eq!(stand.status().await, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_instance_of_a_service_goes_at_once() {
    let stand = Stand::of(3).await;
    stand.follows("later").await;
    stand.during(stand.obeys("later")).await.was_good();
    stand.suspects(0).await;
    assert_eq!(stand.status().await, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_is_scaled_from_twenty_to_one_at_once() {
    let stand = Stand::of(3).await;
    let mut fleet = Vec::new();
    for number in 0..20 {
        let mock = Mock::start(Kind::User, 0).await.expect("a mock");
        stand.agent.register(Instance::new("big", &format!("big-{number}"), mock.address).on("node-0"));
        fleet.push(mock);
    }
    eventually("all are known", || async { stand.instances("big").await.len() == 20 }).await;
    stand.agent.change(|catalog| catalog.deregister_where(|instance| instance.name == "big" && instance.id != "big-7"));
    eventually("one is left", || async { stand.instances("big").await == [None] }).await;
    assert_eq!(stand.get("big").await.instance(), fleet[7].name());
    stand.suspects(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_refuses_a_connection_is_gone() {
    let mut stand = Stand::of(10).await;
    stand.vanish(&HALF);
    stand.suspects(10).await;
    // Of each service one instance dies: whoever asks is answered by the other one.
    drop(stand.mocks.remove(0));
    let seen = stand
        .during(async {
            eventually("the refused are gone", || async { stand.instances("s0").await.len() == 1 }).await;
        })
        .await;
    seen.was_good();
    // The other one dies, too.
    drop(stand.mocks.remove(0));
    let last = stand.get("s0").await;
    assert!([502, 503].contains(&last.status), "{}", last.body);
    eventually("nothing is left", || async { stand.get("s0").await.reason() == "no_instances" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspects_that_an_operator_gives_up_are_gone() {
    let stand = Stand::of(10).await;
    stand.vanish(&HALF);
    stand.suspects(10).await;
    assert_eq!(stand.accept("?service=s0").await, 2);
    stand.world.until("/api/s0/users", 503).await;
    assert_eq!(stand.get("s1").await.status, 200);
    assert_eq!(stand.accept("").await, 8);
    stand.world.until("/api/s1/users", 503).await;
    stand.suspects(0).await;
    assert_eq!(stand.get("s9").await.status, 200);
}
