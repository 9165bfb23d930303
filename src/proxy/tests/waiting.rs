//! Requests that a filter lets wait.

use super::*;

#[test]
fn a_filter_that_waits_lets_the_request_go_on_where_it_stopped() {
    paused(async {
        let rig = Rig::new(&[OK], "[api]\nlimits = [\"5/min\"]\n");
        let began = Instant::now();
        let answer = rig.begin_with("GET", Some(("x-pause", "1")), Body::Empty).await;
        assert_eq!((answer.status().as_u16(), began.elapsed().as_secs()), (200, 2));
        let left = answer.headers()["ratelimit"].to_str().expect("text");
        assert!(left.contains("r=4"), "the filter between the two waits was entered once: {left}");
    });
}

#[test]
fn a_wait_ends_with_the_requests_own_deadline_and_its_answer_still_leaves_by_the_one_exit() {
    paused(async {
        let rig = Rig::new(&[OK], "[timeouts]\ntotal = \"500ms\"\n");
        let began = Instant::now();
        let answer = rig.begin_with("GET", Some(("x-pause", "1")), Body::Empty).await;
        assert_eq!((answer.status().as_u16(), began.elapsed().as_millis()), (504, 500));
        assert!(answer.headers().contains_key("x-request-id"));
        let page = answer.into_body().collect().await.expect("a page").to_bytes();
        assert!(page.windows(14).any(|word| word == b"filter_timeout"), "no instance is blamed: {page:?}");
        assert_eq!(rig.peers[0].requests(), 0);
    });
}

#[test]
fn who_waits_over_a_reload_is_held_to_the_route_that_holds_then_and_passes_each_filter_by_its_words() {
    paused(async {
        let rig = Rig::new(&[OK], "");
        let answer = rig.begin_with("GET", Some(("x-pause", "1")), Body::Empty);
        rig.reload("[api]\nlimits = [\"5/min\"]\n").await;
        let answer = answer.await;
        assert_eq!(answer.status().as_u16(), 200);
        assert!(answer.headers()["ratelimit"].to_str().expect("text").contains("r=4"), "the limit is the new one's");
        let answer = rig.begin_with("GET", Some(("x-pause", "1")), Body::Empty);
        rig.reload("[[route]]\npath = { prefix = \"/api/orders\" }\nrespond = { status = 410 }\nauth = false\n").await;
        assert_eq!((answer.await.status().as_u16(), rig.peers[0].requests()), (410, 1));
    });
}

#[test]
fn the_age_of_an_answer_from_the_store_counts_to_the_look_and_not_to_the_begin_of_its_request() {
    paused(async {
        let rig = Rig::new(&[OK], "[api]\ncache = { ttl = \"30s\" }\n");
        assert_eq!(rig.get().await, 200);
        turn().await;
        let hit = rig.begin_with("GET", Some(("x-pause", "1")), Body::Empty).await;
        assert_eq!((&hit.headers()["age"], rig.peers[0].requests()), (&"2".parse().expect("a value"), 1));
    });
}
