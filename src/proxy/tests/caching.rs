//! The cache on a request's path: one asks for all, and whatever happens to them, the others are served.

use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt;

use super::rig::{OK, Play, Rig, paused, turn};
use super::{NEVER_TRIPS, seconds};
use crate::body::Body;

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
