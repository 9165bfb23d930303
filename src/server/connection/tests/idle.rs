//! Connections between requests, whose buffers were given back.

use std::time::Duration;

use super::*;

#[test]
fn a_connection_that_gave_its_buffers_back_serves_the_next_request_and_keeps_its_deadlines() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open_with(1 << 20);
        for pause in [700, 5_000, 74_000] {
            ask(&mut client, "/now").await;
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
            tokio::time::sleep(Duration::from_millis(pause)).await; // long enough to give them back
        }
        // A long body leaves large buffers, which go at once.
        write(
            &mut client,
            &format!("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n{}", "x".repeat(500_000)),
        )
        .await;
        ask(&mut client, "/now").await;
        assert!(answer(&mut client).await.contains("500000"));
        assert_eq!(rest(&mut client).await, (String::new(), 75));
        assert!(rig.connections.is_empty());
    });
}

#[test]
fn a_head_in_parts_may_come_around_the_moment_when_buffers_are_given_back() {
    paused(async {
        let rig = Rig::new();
        for pause in [100, 450, 550, 2_000] {
            let mut client = rig.open();
            write(&mut client, "GET /now HTTP/1.1\r\nHost: x\r\n\r\nGET /now HT").await;
            answer(&mut client).await;
            tokio::time::sleep(Duration::from_millis(pause)).await; // between two parts of a head
            write(&mut client, "TP/1.1\r\nHo").await;
            tokio::time::sleep(Duration::from_millis(pause)).await; // between two parts of a head
            write(&mut client, "st: x\r\n\r\n").await;
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"), "{pause} ms");
        }
    });
}

#[test]
fn a_drain_ends_a_connection_that_gave_its_buffers_back_and_a_client_may_leave_it() {
    paused(async {
        let rig = Rig::new();
        let (mut stays, mut leaves) = (rig.open(), rig.open());
        for client in [&mut stays, &mut leaves] {
            ask(client, "/now").await;
            answer(client).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // long enough to give them back
        drop(leaves);
        until(|| rig.connections.count() == 1).await;
        rig.connections.drain();
        assert_eq!(rest(&mut stays).await, (String::new(), 0));
        assert_eq!(rig.pulse.unparsed.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_client_that_sent_more_before_it_left_is_seen_to_leave() {
    paused(async {
        for more in ["G", "GET /now HTTP/1.1\r\n", &"GET /now HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100)] {
            let rig = Rig::new();
            let mut client = rig.open_with(1 << 20);
            ask(&mut client, "/never").await;
            until(|| WAITING.get() == 1).await;
            write(&mut client, more).await;
            drop(client);
            until(|| GIVEN_UP.replace(0) == 1 && rig.connections.count() == 0).await;
        }
    });
}
