//! A request's life on the seams: no socket, one thread, and time that passes only when everybody waits for it.

mod blaming;
mod caching;
mod explaining;
pub(in crate::proxy) mod rig;
mod suspecting;
mod uploading;
mod waiting;

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};

use self::rig::{OK, Play, Rig, paused, turn};
use crate::io::body::{Body, Error};
use crate::plane::{Handler, MaybeFuture};
use crate::telemetry::Format;
use crate::telemetry::access::AccessLog;
use crate::upstream::ServiceState;
use crate::upstream::breaker::{Failure, State};

const NEVER_TRIPS: &str = "[breaker]\nenabled = false\n";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_get_whose_instance_hangs_is_answered_by_another_after_exactly_the_first_byte_deadline() {
    paused(async {
        let rig = Rig::new(&[Play::Hang, OK], "[timeouts]\nfirst_byte = \"3s\"\n");
        let began = Instant::now();
        let mut statuses = Vec::new();
        while rig.peers[0].requests() == 0 {
            statuses.push(rig.get().await);
        }
        assert!(statuses.iter().all(|&status| status == 200), "{statuses:?}");
        assert_eq!(began.elapsed().as_secs(), 3);
    });
}

#[test]
fn a_connect_that_nobody_answers_is_given_up_after_its_deadline_and_even_a_post_goes_elsewhere() {
    paused(async {
        let rig = Rig::new(&[Play::Silent, OK], NEVER_TRIPS);
        let began = Instant::now();
        for _ in 0..2 {
            assert_eq!(rig.ask("POST", Body::from(Bytes::from_static(b"once"))).await.0, 200);
        }
        assert_eq!((began.elapsed().as_secs(), rig.peers[1].requests()), (1, 2));
    });
}

#[test]
fn a_post_that_hangs_is_504_after_the_first_byte_deadline_and_nobody_else_sees_it() {
    paused(async {
        let rig = Rig::new(&[Play::Hang, Play::Hang], NEVER_TRIPS);
        let began = Instant::now();
        assert_eq!(rig.ask("POST", Body::from(Bytes::from_static(b"once"))).await.0, 504);
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(rig.peers[0].requests() + rig.peers[1].requests(), 1);
    });
}

#[test]
fn a_get_is_tried_three_times_and_the_total_deadline_ends_the_trying() {
    paused(async {
        let hang = [Play::Hang; 4];
        let rig = Rig::new(&hang, NEVER_TRIPS);
        let began = Instant::now();
        assert_eq!((rig.get().await, began.elapsed().as_secs()), (504, 90));
        assert_eq!(rig.peers.iter().map(|peer| peer.requests()).sum::<usize>(), 3);
        let rig = Rig::new(&hang, &format!("{NEVER_TRIPS}[timeouts]\ntotal = \"40s\"\n"));
        let began = Instant::now();
        assert_eq!((rig.get().await, began.elapsed().as_secs()), (504, 40));
        assert_eq!(rig.peers.iter().map(|peer| peer.requests()).sum::<usize>(), 2);
    });
}

#[test]
fn an_answer_that_stops_is_cut_after_the_idle_deadline_and_counts_against_the_instance() {
    paused(async {
        let rig = Rig::new(&[Play::Stop("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")], "");
        let began = Instant::now();
        let (status, body) = rig.ask("GET", Body::Empty).await;
        assert_eq!((status, began.elapsed().as_secs()), (200, 60));
        assert!(body.is_err_and(|why| why.contains("idle deadline")));
        assert_eq!((rig.instance(0).totals().failures, rig.peers[0].open(), rig.idle()), (1, 0, 0));
    });
}

/// A body that comes from a test, piece by piece.
struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[test]
fn a_client_that_uploads_slowly_is_no_fault_of_the_instance_and_one_that_stops_is_408() {
    paused(async {
        let rig = Rig::new(&[Play::Hang], "[timeouts]\nfirst_byte = \"5s\"\nidle = \"8s\"\n");
        let (piece, pieces) = tokio::sync::mpsc::channel(1);
        let slow = rig.begin("POST", Body::Followed(Box::pin(Pieces(pieces))));
        let feed = async {
            for _ in 0..5 {
                tokio::time::sleep(seconds(6)).await; // paused time: longer than the first byte's deadline
                piece.send(Bytes::from_static(b"x")).await.expect("it is read");
            }
            std::future::pending::<()>().await
        };
        let began = Instant::now();
        let status = tokio::select! {
            answer = slow => answer.status().as_u16(),
            () = feed => 0,
        };
        // 5 pieces, 6 s apart, then 8 s of silence.
        assert_eq!((status, began.elapsed().as_secs()), (408, 38));
        assert_eq!(rig.instance(0).totals().failures, 0);
    });
}

#[test]
fn a_tripped_instance_says_when_it_is_worth_trying_again_and_one_probe_closes_it() {
    paused(async {
        let rig = Rig::new(&[Play::Break("")], "[retry]\nmore = 0\n");
        for _ in 0..5 {
            assert_eq!(rig.get().await, 502);
        }
        assert_eq!(rig.instance(0).breaker.view().state, State::Open);
        let answer = rig.begin("GET", Body::Empty).await;
        let after: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
        assert_eq!((answer.status().as_u16(), rig.peers[0].requests()), (503, 5));
        rig.peers[0].plays(OK);
        advance(seconds(after)).await;
        assert_eq!(rig.get().await, 200);
        assert_eq!(rig.instance(0).breaker.view().state, State::Closed);
    });
}

#[test]
fn a_connection_is_used_again_until_it_is_too_old_and_the_tick_closes_it() {
    paused(async {
        let rig = Rig::new(&[OK], "");
        for _ in 0..3 {
            assert_eq!(rig.get().await, 200);
            advance(seconds(14)).await;
        }
        assert_eq!((rig.peers[0].made(), rig.idle()), (1, 1));
        advance(seconds(2)).await;
        rig.proxy.tick();
        turn().await;
        assert_eq!((rig.idle(), rig.peers[0].open()), (0, 0));
    });
}

#[test]
fn a_connection_is_left_a_second_before_its_instance_said_it_would_close_it() {
    paused(async {
        let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n";
        let rig = Rig::new(&[Play::Answer(answer)], "");
        assert_eq!(rig.get().await, 200);
        advance(Duration::from_millis(3900)).await;
        assert_eq!((rig.get().await, rig.peers[0].made()), (200, 1));
        advance(Duration::from_millis(4100)).await;
        assert_eq!((rig.get().await, rig.peers[0].made()), (200, 2));
    });
}

#[test]
fn what_may_not_be_sent_twice_never_goes_over_a_connection_that_lay_idle_for_long() {
    paused(async {
        let rig = Rig::new(&[OK], "");
        assert_eq!(rig.get().await, 200);
        advance(Duration::from_millis(4100)).await;
        assert_eq!(rig.ask("POST", Body::Empty).await.0, 200);
        assert_eq!(rig.peers[0].made(), 2);
        assert_eq!(rig.get().await, 200);
        assert_eq!(rig.peers[0].made(), 2);
    });
}

#[test]
fn no_more_connections_lie_idle_than_the_pool_holds() {
    paused(async {
        let rig = Rig::new(&[OK], "[pool]\nidle = 2\n");
        let all: Vec<_> = (0..5).map(|_| tokio::task::spawn_local(rig.begin("GET", Body::Empty))).collect();
        for one in all {
            let answer = one.await.expect("no panic");
            assert_eq!(answer.status(), 200);
            answer.into_body().collect().await.expect("a whole body");
        }
        turn().await;
        assert_eq!((rig.peers[0].made(), rig.peers[0].open(), rig.idle()), (5, 2, 2));
    });
}

#[test]
fn answers_that_have_no_body_whatever_they_say_return_their_connection_at_once() {
    paused(async {
        let table = [
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "100"),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", "100"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
            ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ];
        for (method, answer, length) in table {
            let rig = Rig::new(&[Play::Answer(answer)], "");
            for _ in 0..2 {
                let (head, body) = rig.begin(method, Body::Empty).await.into_parts();
                let said = head.headers.get("content-length").map_or("", |value| value.to_str().expect("text"));
                assert_eq!(said, length, "{answer}");
                assert!(body.collect().await.expect("no body").to_bytes().is_empty());
                turn().await;
            }
            assert_eq!((rig.peers[0].made(), rig.idle()), (1, 1), "{answer}");
            assert_eq!(rig.instance(0).totals().in_flight, 0);
        }
    });
}

/// A future that is dropped after so many polls.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn exchange(rig: &Rig, method: &str, body: Body) {
    let answer = rig.begin(method, body).await;
    // Broken on purpose in some of the plays.
    let _ = answer.into_body().collect().await;
}

/// Drops a request after each number of polls that it can take, then asks what it left behind.
async fn dropped_everywhere(plays: &[Play], method: &str, body: fn() -> Body) {
    let mut polls = 0;
    loop {
        // Half open: what a request holds is the only probe.
        let rig = Rig::new(plays, "[breaker]\nconsecutive = 1\nopen = \"1s\"\n[retry]\nmore = 2\n");
        for member in 0..plays.len() {
            let permit = rig.instance(member).acquire(crate::worker::WorkerId(0)).expect("closed");
            assert!(permit.failed(Failure::Reset, &ServiceState::new(1), || true));
        }
        advance(seconds(2)).await;
        let done = polled(exchange(&rig, method, body()), polls).await.is_some();
        turn().await;
        for (member, peer) in rig.peers.iter().enumerate() {
            let instance = rig.instance(member);
            assert_eq!(instance.totals().in_flight, 0, "{plays:?} after {polls} polls");
            assert_eq!(peer.open(), rig.proxy.0.upstreams.idle("orders", member), "{plays:?} after {polls} polls");
            if instance.breaker.view().state == State::HalfOpen {
                assert!(
                    instance.acquire(crate::worker::WorkerId(0)).is_some(),
                    "{plays:?}: the probe's place is free after {polls} polls"
                );
            }
        }
        if done {
            return assert!(polls > 1, "{plays:?}: it was dropped at {polls} places only");
        }
        polls += 1;
    }
}

#[test]
fn a_request_that_began_before_the_last_instance_departed_is_still_answered() {
    paused(async {
        let rig = Rig::new(&[OK, OK], "");
        rig.instance(0).set_departed(true);
        for _ in 0..4 {
            assert_eq!(rig.get().await, 200);
        }
        assert_eq!((rig.peers[0].requests(), rig.peers[1].requests()), (0, 4), "while another is there, it is asked");
        rig.instance(1).set_departed(true);
        assert_eq!(rig.get().await, 200);
    });
}

#[test]
fn a_stream_outlives_its_instances_departure_for_five_minutes_and_not_for_ever() {
    paused(async {
        let rig = Rig::new(&[Play::Tick("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")], "");
        let mut body = rig.begin("GET", Body::Empty).await.into_body();
        for _ in 0..60 {
            assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
        }
        rig.instance(0).set_departed(true);
        let (began, mut ticks) = (Instant::now(), 0);
        let why = loop {
            match body.frame().await.expect("it does not just end") {
                Ok(_) => ticks += 1,
                Err(why) => break why,
            }
        };
        assert_eq!((ticks, began.elapsed().as_secs()), (6, 360));
        assert!(matches!(why, Error::Departed), "{why}");
        turn().await;
        assert_eq!((rig.instance(0).totals().in_flight, rig.instance(0).totals().failures, rig.idle()), (0, 0, 0));
    });
}

/// Hands what is written to a test.
struct Lines(std::sync::mpsc::Sender<Vec<u8>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map(|()| bytes.len()).map_err(std::io::Error::other)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_names_every_attempt_with_its_instance_and_why_there_was_another() {
    let (lines, written) = std::sync::mpsc::channel();
    let log = AccessLog::start(Format::Json, Lines(lines)).expect("a thread");
    paused(async {
        let rig = Rig::logging(&[Play::Break(""), Play::Break("")], NEVER_TRIPS, Some(log.writer()));
        assert_eq!(rig.get().await, 502);
        rig.proxy.tick();
    });
    let line = written.recv().expect("a line");
    let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
    assert_eq!((&line["attempts"], &line["reason"], &line["blame"]), (&2.into(), &"reset".into(), &"upstream".into()));
    assert_eq!((&line["route"], &line["service"]), (&"api".into(), &"orders".into()));
    let tried = line["tried"].as_array().expect("one earlier attempt");
    assert_eq!((tried.len(), &tried[0]["why"]), (1, &"reset".into()));
    assert_ne!(tried[0]["instance"], line["instance"]);
}

#[test]
fn a_request_under_way_takes_no_more_memory_than_recorded() {
    paused(async {
        let rig = Rig::new(&[OK], "");
        let MaybeFuture::Pending(request) = rig.call("GET", None, Body::Empty) else {
            panic!("somebody must be asked")
        };
        let size = size_of_val(&*request);
        println!("{size} bytes");
        assert!(size <= 1536, "{size} bytes: every request allocates them");
    });
}

#[test]
fn a_request_dropped_at_any_await_leaks_no_permit_no_count_and_no_connection() {
    paused(async {
        let upload = || {
            let (piece, pieces) = tokio::sync::mpsc::channel(1);
            tokio::task::spawn_local(async move {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                    let _ = piece.send(Bytes::from_static(b"piece")).await;
                }
            });
            Body::Followed(Box::pin(Pieces(pieces)))
        };
        let chunked =
            Play::Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n2\r\nho\r\n0\r\n\r\n");
        for play in [OK, chunked, Play::Break("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")] {
            dropped_everywhere(&[play], "GET", || Body::Empty).await;
        }
        dropped_everywhere(&[Play::Break(""), Play::Break(""), OK], "GET", || Body::Empty).await;
        dropped_everywhere(&[Play::Silent, Play::Refuse, Play::Hang], "GET", || Body::Empty).await;
        dropped_everywhere(&[Play::Answer("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")], "POST", upload).await;
    });
}
