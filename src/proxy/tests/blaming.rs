//! Whose doing it was: an instance is not blamed for what its client or the gateway did, and is for what it did itself.

use super::*;

/// How often an instance was blamed, and whether its breaker has closed.
fn blamed(rig: &Rig) -> (u64, State) {
    (rig.instance(0).totals().failures, rig.instance(0).breaker.view().state)
}

/// An upload of which a piece comes every `pace` ms, for ever; the client never leaves.
fn trickle(pace: u64) -> Body {
    let (piece, pieces) = tokio::sync::mpsc::channel(1);
    tokio::task::spawn_local(async move {
        while piece.send(Bytes::from_static(b"x")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(pace)).await; // paused time: the pace of a slow client
        }
    });
    Body::Followed(Box::pin(Pieces(pieces)))
}

/// The page's reason.
fn reason(page: Result<Bytes, String>) -> String {
    let page: serde_json::Value = serde_json::from_slice(&page.expect("a page")).expect("JSON");
    page["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn an_instance_that_gives_up_an_upload_for_which_it_had_to_wait_is_not_blamed() {
    paused(async {
        // It stands still after its first piece, or goes on in pieces that keep no second's silence.
        for pace in [3_600_000, 300] {
            let rig = Rig::new(&[Play::GiveUp("", 3)], "");
            for _ in 0..20 {
                let (status, page) = rig.ask("POST", trickle(pace)).await;
                assert_eq!((status, &*reason(page)), (502, "upload_stalled"), "a piece every {pace} ms");
            }
            assert_eq!(blamed(&rig), (0, State::Closed), "a piece every {pace} ms");
        }
    });
}

#[test]
fn an_instance_that_breaks_an_upload_off_is_blamed_where_nobody_kept_it_waiting() {
    paused(async {
        let rig = Rig::new(&[Play::Break("")], "");
        for _ in 0..5 {
            let (status, page) = rig.ask("POST", trickle(300)).await;
            assert_eq!((status, &*reason(page)), (502, "reset"));
        }
        assert_eq!(blamed(&rig), (5, State::Open));
    });
}

#[test]
fn an_instance_that_gives_up_an_upload_after_it_began_its_answer_is_not_blamed() {
    paused(async {
        let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        let rig = Rig::new(&[Play::GiveUp(begun, 3)], "");
        for _ in 0..20 {
            let (status, body) = rig.ask("POST", trickle(300)).await;
            assert!(status == 200 && body.is_err());
        }
        assert_eq!(blamed(&rig), (0, State::Closed));
    });
}

#[test]
fn an_instance_that_gives_up_a_client_who_does_not_read_is_not_blamed_and_is_where_the_client_reads() {
    paused(async {
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf of it";
        for (pause, failures) in [(2, 0), (0, 1)] {
            let rig = Rig::new(&[Play::Break(half)], "");
            let mut body = rig.begin("GET", Body::Empty).await.into_body();
            let mut came = 0;
            let why = loop {
                match body.frame().await.expect("it is not complete") {
                    Ok(frame) => came += frame.into_data().map_or(0, |data| data.len()),
                    Err(why) => break why,
                }
                tokio::time::sleep(seconds(pause)).await; // paused time: the client takes nothing meanwhile
            };
            assert_eq!(came, 10, "what came is delivered");
            assert!(matches!(why, Error::Broken(_)));
            turn().await;
            assert_eq!(blamed(&rig).0, failures, "a pause of {pause} s");
        }
    });
}

#[test]
fn an_answer_that_waits_for_its_requests_body_is_not_idle() {
    paused(async {
        let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        let rig = Rig::new(&[Play::GiveUp(begun, 70)], "[timeouts]\nidle = \"20s\"\n");
        let began = Instant::now();
        let (status, body) = rig.ask("POST", trickle(5_000)).await;
        // The instance had enough of it, not the gateway.
        assert!(status == 200 && body.is_err_and(|why| why.contains("broke off")));
        assert_eq!((began.elapsed().as_secs(), blamed(&rig)), (70, (0, State::Closed)));
    });
}

#[test]
fn an_instance_that_takes_no_more_of_an_upload_in_small_pieces_is_late_and_blamed() {
    paused(async {
        let rig = Rig::new(&[Play::Deaf("")], "[timeouts]\nfirst_byte = \"5s\"\n[retry]\nmore = 0\n");
        let (status, page) = rig.ask("POST", trickle(100)).await;
        assert_eq!((status, &*reason(page), blamed(&rig).0), (504, "first_byte_timeout", 1));
    });
}

#[test]
fn a_body_that_nobody_asked_for_meanwhile_is_not_idle() {
    paused(async {
        let rig =
            Rig::new(&[Play::Stop("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")], "[timeouts]\nidle = \"20s\"\n");
        let mut body = rig.begin("GET", Body::Empty).await.into_body();
        let mut came = 0;
        while came < 4 {
            let frame = body.frame().await.expect("a piece").expect("a piece");
            came += frame.into_data().map_or(0, |data| data.len());
        }
        tokio::time::sleep(seconds(60)).await; // paused time: the client takes nothing meanwhile
        let began = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(Error::Idle))));
        assert_eq!(began.elapsed().as_secs(), 20, "the wait begins with the client's asking");
    });
}

#[test]
fn an_answer_of_a_form_that_we_refuse_closes_no_breaker_and_what_is_not_http_does() {
    paused(async {
        let odd = Play::Answer("HTTP/1.1 302 Found\r\nLocation: /\x01\r\nContent-Length: 0\r\n\r\n");
        let rig = Rig::new(&[odd], "");
        for _ in 0..50 {
            let (status, page) = rig.ask("GET", Body::Empty).await;
            assert_eq!((status, &*reason(page)), (502, "bad_answer"));
        }
        assert_eq!(blamed(&rig), (50, State::Closed));
        let rig = Rig::new(&[Play::Answer("220 mail.example ESMTP\r\n")], "[retry]\nmore = 0\n");
        for _ in 0..5 {
            let (status, page) = rig.ask("GET", Body::Empty).await;
            assert_eq!((status, &*reason(page)), (502, "not_http"));
        }
        assert_eq!(blamed(&rig), (5, State::Open));
    });
}

#[test]
fn forms_that_we_refuse_trip_the_instance_that_stands_out_and_not_all_of_them() {
    paused(async {
        let odd = Play::Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n");
        for (plays, expected) in [([odd, odd, odd], 0), ([odd, OK, OK], 1)] {
            let rig = Rig::new(&plays, "");
            // The window's first part begins with the next second.
            advance(seconds(1)).await;
            for _ in 0..300 {
                assert_ne!(rig.get().await, 503);
            }
            let open = (0..3).filter(|&index| rig.instance(index).breaker.view().state == State::Open).count();
            assert_eq!(open, expected);
        }
    });
}

#[test]
fn what_the_gateway_lacks_is_503_and_nobody_is_blamed_nor_asked_in_its_place() {
    paused(async {
        let rig = Rig::new(&[Play::Shortage, Play::Shortage], "");
        for _ in 0..20 {
            let answer = rig.begin("GET", Body::Empty).await;
            assert!(answer.status() == 503 && answer.headers()["retry-after"] == "1");
        }
        assert_eq!(blamed(&rig), (0, State::Closed));
    });
}

#[test]
fn a_kept_connection_that_breaks_silently_says_nothing_of_its_instance() {
    paused(async {
        let rig = Rig::new(&[OK], NEVER_TRIPS);
        assert_eq!(rig.get().await, 200);
        rig.peers[0].plays(Play::Break(""));
        // A GET is sent again at once; a POST may have been acted on.
        let post = rig.ask("POST", Body::from(Bytes::from_static(b"once"))).await;
        assert_eq!((post.0, blamed(&rig).0), (502, 0));
    });
}

#[test]
fn a_stream_that_breaks_off_after_its_success_is_evidence_of_its_own() {
    paused(async {
        let rig = Rig::new(
            &[Play::Break("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 99\r\n\r\ndata: 1")],
            "",
        );
        for _ in 0..4 {
            assert!(rig.ask("GET", Body::Empty).await.1.is_err());
        }
        assert_eq!(blamed(&rig), (4, State::Closed));
    });
}

/// Clients that do to a gateway what clients do, each of its own kind, until the test ends.
async fn hostile(rig: &Rig, kind: usize, times: &std::cell::Cell<usize>) {
    loop {
        let outcome = match kind {
            // Uploads that stand still, trickle, or break off.
            0 => rig.ask("POST", trickle(3_600_000)).await.1,
            1 => rig.ask("POST", trickle(700)).await.1,
            2 => {
                drop(polled(rig.begin("POST", trickle(700)), 40).await);
                Ok(Bytes::new())
            }
            // What an instance reflects.
            3 => {
                let answer = rig.begin_with("GET", Some(("x-odd", "1")), Body::Empty).await;
                answer.into_body().collect().await.map(|whole| whole.to_bytes()).map_err(|why| why.to_string())
            }
            // Who reads a little, and then nothing.
            4 => {
                let mut body = rig.begin_with("GET", Some(("x-large", "1")), Body::Empty).await.into_body();
                let _ = body.frame().await;
                tokio::time::sleep(seconds(9)).await; // paused time: nothing is read meanwhile
                body.collect().await.map(|whole| whole.to_bytes()).map_err(|why| why.to_string())
            }
            // Who leaves after any number of turns.
            _ => {
                drop(polled(rig.begin("GET", Body::Empty), times.get() % 60).await);
                Ok(Bytes::new())
            }
        };
        drop(outcome);
        times.set(times.get() + 1);
        // Paused time: the pace of the clients, who do not keep step with each other.
        tokio::time::sleep(Duration::from_millis(190 + 37 * kind as u64 + times.get() as u64 % 23)).await;
    }
}

#[test]
fn ten_minutes_of_hostile_clients_open_no_breaker_and_others_are_served() {
    paused(async {
        let rig = Rig::new(&[Play::Healthy, Play::Healthy, Play::Healthy], "");
        let counts: [std::cell::Cell<usize>; 6] = Default::default();
        let mut served = 0;
        let ordinary = async {
            for second in 0..600 {
                // For a while the gateway has no descriptors.
                let short = (300..330).contains(&second);
                rig.peers.iter().for_each(|peer| peer.plays(if short { Play::Shortage } else { Play::Healthy }));
                let status = rig.get().await;
                assert!(status == 200 || short && status == 503, "{status} after {second} s");
                served += usize::from(status == 200);
                tokio::time::sleep(seconds(1)).await; // paused time: the pace of an ordinary client
            }
        };
        let [a, b, c, d, e, f] = std::array::from_fn(|kind| Box::pin(hostile(&rig, kind, &counts[kind])));
        tokio::select! {
            () = ordinary => {}
            () = async { tokio::join!(a, b, c, d, e, f); } => {}
        }
        assert!(served >= 570 && counts.iter().all(|times| times.get() > 50), "{served} {counts:?}");
        for index in 0..3 {
            assert_eq!(rig.instance(index).breaker.view().entered, [0, 0, 0], "instance {index}");
        }
    });
}
