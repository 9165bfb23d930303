//! The cache on a request's path: one asks for all, and whatever happens to them, the others are served.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;

use super::rig::{OK, Play, Rig, paused, turn};
use super::{NEVER_TRIPS, seconds};
use crate::io::body::Body;

const CACHED: &str = "[api]\ncache = { ttl = \"30s\" }\n";

#[test]
fn a_thousand_who_ask_for_one_cold_key_at_once_reach_the_instance_once() {
    paused(async {
        let rig = Rig::new(&[OK], CACHED);
        let mut waiting: Vec<_> = (0..1000).map(|_| Box::pin(rig.begin("GET", Body::Empty))).collect();
        for request in &mut waiting {
            assert!(futures_once(request.as_mut()).await.is_none());
        }
        for request in waiting {
            let (head, body) = request.await.into_parts();
            assert_eq!(head.status, 200);
            assert_eq!(body.collect().await.expect("whole").to_bytes(), "hi");
        }
        assert_eq!(rig.peers[0].requests(), 1);
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 1));
        tokio::time::advance(seconds(31)).await;
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 2));
    });
}

/// One look at a future.
async fn futures_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn a_fill_goes_on_when_its_first_client_leaves() {
    paused(async {
        let rig = Rig::new(&[OK], CACHED);
        let mut first = Box::pin(rig.begin("GET", Body::Empty));
        assert!(futures_once(first.as_mut()).await.is_none());
        turn().await;
        drop(first);
        turn().await;
        assert_eq!(rig.peers[0].requests(), 1);
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 1));
        assert_eq!(rig.idle(), 1);
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_stored_and_its_client_learns_of_it() {
    paused(async {
        let rig = Rig::new(&[Play::Break("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")], CACHED);
        assert!(rig.ask("GET", Body::Empty).await.1.is_err());
        rig.peers[0].plays(OK);
        assert_eq!(rig.ask("GET", Body::Empty).await, (200, Ok(Bytes::from_static(b"hi"))));
        assert_eq!(rig.peers[0].requests(), 2);
    });
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_others() {
    paused(async {
        let rig = Rig::new(&[OK], CACHED);
        let slow = rig.begin("GET", Body::Empty).await;
        turn().await;
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 1));
        assert_eq!(slow.into_body().collect().await.expect("whole").to_bytes(), "hi");
    });
}

#[test]
fn an_answer_larger_than_an_object_is_passed_on_whole_and_not_stored() {
    paused(async {
        let long: &'static str = Box::leak(
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                5000,
                "x".repeat(5000)
            )
            .into_boxed_str(),
        );
        let rig = Rig::new(&[Play::Answer(long)], &format!("{CACHED}[cache]\nobject = \"1KiB\"\n"));
        for asked in 1..=2 {
            let (status, body) = rig.ask("GET", Body::Empty).await;
            assert_eq!((status, body.expect("whole").len(), rig.peers[0].requests()), (200, 5000, asked));
        }
    });
}

#[test]
fn a_write_that_succeeds_makes_what_is_stored_void_and_one_that_fails_does_not() {
    paused(async {
        let rig = Rig::new(&[OK], &format!("{CACHED}{NEVER_TRIPS}"));
        assert_eq!((rig.get().await, rig.get().await, rig.peers[0].requests()), (200, 200, 1));
        rig.peers[0].plays(Play::Answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(rig.ask("POST", Body::Empty).await.0, 400);
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 2));
        rig.peers[0].plays(OK);
        assert_eq!(rig.ask("POST", Body::Empty).await.0, 200);
        assert_eq!((rig.get().await, rig.peers[0].requests()), (200, 4));
    });
}

#[test]
fn those_who_wait_for_a_fill_that_fails_get_the_same_page_and_ask_nobody() {
    paused(async {
        let rig = Rig::new(&[Play::Hang], &format!("{CACHED}{NEVER_TRIPS}"));
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(rig.begin("GET", Body::Empty))).collect();
        for request in &mut waiting {
            assert!(futures_once(request.as_mut()).await.is_none());
        }
        for request in waiting {
            assert_eq!(request.await.status(), 504);
        }
        assert_eq!(rig.peers[0].requests(), 1);
    });
}

#[test]
fn who_waits_for_an_answer_that_depends_on_a_header_gets_it_only_with_the_same_header() {
    paused(async {
        let vary = "HTTP/1.1 200 OK\r\nVary: X-Tenant\r\nContent-Length: 2\r\n\r\nhi";
        let rig = Rig::new(&[Play::Answer(vary)], CACHED);
        let tenants = ["a", "b", "a", "b", "c"];
        let begin = |tenant: &&'static str| Box::pin(rig.begin_with("GET", Some(("x-tenant", *tenant)), Body::Empty));
        let mut waiting: Vec<_> = tenants.iter().map(begin).collect();
        for request in &mut waiting {
            assert!(futures_once(request.as_mut()).await.is_none());
        }
        // All at once: nobody waits for somebody who does not read.
        let all: Vec<_> = waiting.into_iter().map(tokio::task::spawn_local).collect();
        for one in all {
            let answer = one.await.expect("no panic");
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("whole");
        }
        assert_eq!(rig.peers[0].requests(), 3, "one for each tenant");
        for tenant in tenants {
            let answer = rig.begin_with("GET", Some(("x-tenant", tenant)), Body::Empty).await;
            assert!(answer.headers()["cache-status"].to_str().is_ok_and(|status| status.starts_with("lictor; hit")));
        }
    });
}

#[test]
fn an_event_stream_is_nobodys_but_its_clients() {
    paused(async {
        let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n";
        let rig = Rig::new(&[Play::Stop(stream)], CACHED);
        let began = tokio::time::Instant::now();
        for asked in 1..=3 {
            let answer = rig.begin("GET", Body::Empty).await;
            assert_eq!((answer.status().as_u16(), rig.peers[0].requests()), (200, asked));
            let mut body = answer.into_body();
            let first = body.frame().await.expect("it comes").expect("it comes").into_data().expect("data");
            assert!(b"data: x\n\n".starts_with(&first) && !first.is_empty());
        }
        assert!(began.elapsed().is_zero(), "nobody waited for another's");
    });
}

#[test]
fn what_a_304_says_of_its_own_connection_is_not_stored() {
    paused(async {
        let first = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: max-age=10\r\nContent-Length: 2\r\n\r\nhi";
        let rig = Rig::new(&[Play::Answer(first)], CACHED);
        assert_eq!(rig.get().await, 200);
        tokio::time::advance(seconds(11)).await;
        rig.peers[0].plays(Play::Answer(
            "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=10\r\nConnection: close\r\n\
             Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n",
        ));
        for status in ["lictor; fwd=stale; fwd-status=304; ttl=10", "lictor; hit; ttl=10"] {
            let answer = rig.begin("GET", Body::Empty).await;
            let headers = answer.headers().clone();
            assert_eq!((answer.status().as_u16(), headers["cache-status"].as_bytes()), (200, status.as_bytes()));
            for gone in ["connection", "keep-alive", "transfer-encoding"] {
                assert!(!headers.contains_key(gone), "{gone}");
            }
            assert_eq!(answer.into_body().collect().await.expect("whole").to_bytes(), "hi");
        }
        assert_eq!(rig.peers[0].requests(), 2);
    });
}

/// All who ask at once, told when each is under way.
async fn crowd(rig: &Rig, count: usize) -> Vec<tokio::task::JoinHandle<http::Response<Body>>> {
    let mut waiting: Vec<_> = (0..count).map(|_| Box::pin(rig.begin("GET", Body::Empty))).collect();
    for request in &mut waiting {
        assert!(futures_once(request.as_mut()).await.is_none());
    }
    waiting.into_iter().map(tokio::task::spawn_local).collect()
}

#[test]
fn after_an_error_one_of_those_who_wait_asks_again_and_what_it_brings_is_for_all() {
    for status in ["503 Service Unavailable", "429 Too Many Requests"] {
        paused(async move {
            let error: &'static str = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").leak();
            let rig = Rig::new(&[Play::Answer(error)], &format!("{CACHED}{NEVER_TRIPS}[retry]\nmore = 0\n"));
            let all = crowd(&rig, 50).await;
            while rig.peers[0].requests() == 0 {
                tokio::task::yield_now().await;
            }
            rig.peers[0].plays(OK);
            // The first has the error already; it was read before the change.
            let mut statuses = std::collections::BTreeMap::new();
            for one in all {
                *statuses.entry(one.await.expect("no panic").status().as_u16()).or_insert(0) += 1;
            }
            assert!(rig.peers[0].requests() <= 2, "{status}: {} requests", rig.peers[0].requests());
            assert!(statuses[&200] >= 49, "{statuses:?}");
        });
    }
}

#[test]
fn an_answer_that_must_be_asked_about_each_time_is_nobody_elses() {
    paused(async {
        let answer = "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nCache-Control: no-cache\r\nContent-Length: 2\r\n\r\nhi";
        let rig = Rig::new(&[Play::Answer(answer)], CACHED);
        for one in crowd(&rig, 5).await {
            assert_eq!(one.await.expect("no panic").status(), 200);
        }
        assert_eq!(rig.peers[0].requests(), 5);
    });
}

#[test]
fn what_is_read_slowly_and_not_stored_leaves_the_room_to_others() {
    paused(async {
        let long: &'static str = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            9000,
            "x".repeat(9000)
        )
        .leak();
        let rig = Rig::new(&[Play::Answer(long)], &format!("{CACHED}[cache]\nsize = \"64KiB\"\nobject = \"4KiB\"\n"));
        let mut slow = Vec::new();
        for _ in 0..40 {
            slow.push(rig.begin_with("GET", Some(("cache-control", "no-cache")), Body::Empty).await);
            turn().await;
        }
        rig.peers[0].plays(OK);
        tokio::time::advance(seconds(11)).await;
        assert_eq!(rig.begin("GET", Body::Empty).await.headers()["cache-status"], "lictor; fwd=uri-miss; stored");
        turn().await;
        let hit = rig.begin("GET", Body::Empty).await;
        assert!(hit.headers()["cache-status"].to_str().is_ok_and(|status| status.starts_with("lictor; hit")));
        drop(slow);
    });
}

#[test]
fn an_answer_from_the_store_says_what_is_left_of_each_limit_once_whatever_its_route_changes() {
    paused(async {
        const FIELDS: [&str; 5] = ["ratelimit", "ratelimit-policy", "age", "cache-status", "x-request-id"];
        const PLAN: &str = "plan = \"silver\"\n[[plan]]\nname = \"silver\"\nlimits = [\"99/s\"]\n";
        for (plan, limits, rules, lines) in [
            ("", "limits = []", "", [0, 0, 1, 1, 1]),
            ("", "limits = [\"9/s\"]", "", [1, 1, 1, 1, 1]),
            (PLAN, "limits = [\"9/s\"]", "", [2, 2, 1, 1, 1]),
            (
                "",
                "limits = [\"9/s\"]",
                "response_headers = { set = { X-Own = \"1\" }, remove = [\"RateLimit\"] }",
                [1, 1, 1, 1, 1],
            ),
        ] {
            let route = "[[route]]\nname = \"orders\"\npath = { prefix = \"/api/orders\" }\nservice = \"orders\"";
            let rig = Rig::new(&[OK], &format!("{plan}{route}\ncache = {{ ttl = \"30s\" }}\n{limits}\n{rules}\n"));
            assert_eq!(rig.get().await, 200);
            for asked in 0..2 {
                let answer = rig.begin("GET", Body::Empty).await;
                let said = FIELDS.map(|name| answer.headers().get_all(name).iter().count());
                assert_eq!(said, lines, "{asked} {plan} {limits} {rules} {:?}", answer.headers());
            }
            assert_eq!(rig.peers[0].requests(), 1);
        }
    });
}
