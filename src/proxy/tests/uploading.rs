//! Uploads that go on after their answer has begun, or is complete.

use super::*;

#[test]
fn an_upload_goes_on_when_its_answer_has_begun_though_nobody_reads_the_answer() {
    paused(async {
        let rig = Rig::new(&[Play::Stop("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")], "");
        let (piece, pieces) = tokio::sync::mpsc::channel(1);
        let answer = rig.begin("POST", Body::Followed(Box::pin(Pieces(pieces)))).await;
        assert_eq!(answer.status(), 200);
        for _ in 0..20 {
            // Paused time: it passes only when nothing else can go on.
            let sent = tokio::time::timeout(seconds(1), piece.send(Bytes::from(vec![b'x'; 1024]))).await;
            assert!(matches!(sent, Ok(Ok(()))), "the upload stands still");
        }
        drop(answer);
    });
}

#[test]
fn an_upload_goes_on_after_its_whole_answer_within_the_routes_deadlines_and_only_then_its_connection_is_kept() {
    paused(async {
        const PLAIN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        const SHORT: &str = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nhi";
        for (answer, timeouts, departs, pause, pieces_taken, kept) in [
            (PLAIN, "", false, 55, 20, 1),
            (PLAIN, "idle = \"5s\"", false, 4, 20, 1),
            (PLAIN, "idle = \"5s\"", false, 11, 1, 0),
            (PLAIN, "total = \"30s\"", false, 4, 8, 0),
            // These connections are not kept, and yet are not cut.
            (SHORT, "", false, 4, 20, 0),
            (PLAIN, "", true, 4, 20, 0),
        ] {
            let rig = Rig::new(&[Play::Stop(answer)], &format!("[timeouts]\n{timeouts}\n"));
            let instance = rig.instance(0);
            let (piece, pieces) = tokio::sync::mpsc::channel(1);
            let body = rig.begin("POST", Body::Followed(Box::pin(Pieces(pieces)))).await.into_body();
            instance.set_departed(departs);
            assert_eq!(body.collect().await.expect("an answer").to_bytes(), "hi");
            let mut taken = 0;
            while taken < 20 && piece.send(Bytes::from_static(b"x")).await.is_ok() {
                assert_eq!(instance.totals().in_flight, 1);
                tokio::time::sleep(seconds(pause)).await; // paused time: within what it may stand still, and not
                taken += 1;
            }
            drop(piece);
            turn().await;
            let case = format!("a piece every {pause} s, {timeouts:?}, {answer:?}");
            assert_eq!((taken, rig.idle(), instance.totals().in_flight), (pieces_taken, kept, 0), "{case}");
        }
    });
}

#[test]
fn an_upload_whose_instance_answers_and_takes_no_more_of_it_is_cut_when_it_stood_still_for_the_idle_deadline() {
    paused(async {
        let deaf = Play::Deaf("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        let rig = Rig::new(&[deaf], "[timeouts]\nidle = \"20s\"\n");
        let (piece, pieces) = tokio::sync::mpsc::channel(1);
        assert_eq!(rig.ask("POST", Body::Followed(Box::pin(Pieces(pieces)))).await.0, 200);
        let began = Instant::now();
        piece.send(Bytes::from(vec![b'x'; 1 << 20])).await.expect("it is taken");
        tokio::time::timeout(seconds(100), piece.closed()).await.expect("it is cut");
        assert!((20..=40).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        turn().await;
        assert_eq!((rig.idle(), rig.instance(0).totals().in_flight), (0, 0));
    });
}
