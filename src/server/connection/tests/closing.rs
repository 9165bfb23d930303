//! How connections end whose clients may still be sending (RFC 9112 section 9.6).

use std::time::Duration;

use super::*;

/// How much is left when a client has sent as much as is taken within a second.
async fn send(client: &mut DuplexStream, bytes: usize) -> usize {
    let mut left = bytes;
    while left > 0 {
        let piece = vec![b'x'; left.min(64 << 10)];
        let sent = tokio::time::timeout(Duration::from_secs(1), client.write_all(&piece)).await; // a stalled pipe
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
        left -= piece.len();
    }
    left
}

/// A request with a body of this length, which is refused.
async fn refused(client: &mut DuplexStream, length: usize, more: &str) {
    write(client, &format!("POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n")).await;
}

#[test]
fn a_client_whose_upload_is_refused_can_send_all_of_it_and_then_reads_why() {
    paused(async {
        let rig = Rig::new();
        for length in [70_000, 8 << 20] {
            let mut client = rig.open();
            refused(&mut client, length, "").await;
            assert_eq!(send(&mut client, length).await, 0);
            let (answer, waited) = rest(&mut client).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
            assert_eq!(waited, 0, "the sending side is closed at once");
            assert!(rig.connections.is_empty(), "nobody waits for it");
            drop(client);
            until(|| rig.connections.count() == 0).await;
        }
    });
}

#[test]
fn a_short_rest_of_a_body_is_read_and_the_connection_goes_on() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        for length in [1, 5_000, 64 << 10] {
            refused(&mut client, length, "").await;
            let first = answer(&mut client).await;
            assert!(!first.to_ascii_lowercase().contains("connection"), "{first}");
            assert_eq!(send(&mut client, length).await, 0);
            ask(&mut client, "/now").await;
            assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        }
        // What does not come is not waited for: 5 s of silence end it.
        refused(&mut client, 100, "").await;
        answer(&mut client).await;
        assert_eq!(rest(&mut client).await, (String::new(), 5));
        assert_eq!(rig.connections.count(), 0);
    });
}

#[test]
fn a_client_that_was_not_told_to_send_its_body_is_left_at_once() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        refused(&mut client, 1 << 20, "Expect: 100-continue\r\n").await;
        let (answer, waited) = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.to_ascii_lowercase().contains("connection: close"));
        assert_eq!(waited, 0);
        until(|| rig.connections.count() == 0).await;
    });
}

#[test]
fn a_client_that_sends_on_for_ever_is_left_after_silence_a_time_or_a_size() {
    paused(async {
        let rig = Rig::new();
        // Silence.
        let mut silent = rig.open();
        refused(&mut silent, 1 << 30, "").await;
        let began = Instant::now();
        while rig.connections.count() > 0 {
            tokio::time::sleep(TICK).await; // the worker's own tick
        }
        assert_eq!(began.elapsed().as_secs(), 5);
        // A byte a second.
        let mut slow = rig.open();
        refused(&mut slow, 1 << 30, "").await;
        let began = Instant::now();
        while rig.connections.count() > 0 {
            let _ = slow.write_u8(b'x').await;
            tokio::time::sleep(Duration::from_secs(1)).await; // a slow client
        }
        assert!((30..=31).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        // 64 MiB.
        let mut fast = rig.open();
        refused(&mut fast, 1 << 30, "").await;
        let left = send(&mut fast, 80 << 20).await;
        assert!((15 << 20..=16 << 20).contains(&left), "{left}");
    });
}

#[test]
fn a_tenth_of_the_connections_close_in_stages_and_a_drain_does_not_wait_for_them() {
    paused(async {
        let rig = Rig::new();
        // The rig's limit is 9 connections: at least one may.
        let (mut one, mut two) = (rig.open(), rig.open());
        refused(&mut one, 1 << 20, "").await;
        rest(&mut one).await;
        refused(&mut two, 1 << 20, "").await;
        rest(&mut two).await;
        until(|| rig.connections.count() == 1).await;
        assert!(two.write_all(b"x").await.is_err(), "the second was closed at once");
        assert!(one.write_all(b"x").await.is_ok());
        rig.connections.drain();
        assert!(rig.connections.is_empty());
    });
}

#[test]
fn the_connection_that_was_idle_for_the_longest_makes_room_and_a_busy_one_never_does() {
    paused(async {
        let rig = Rig::new();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = rig.open();
            ask(&mut client, "/now").await;
            answer(&mut client).await;
            clients.push(client);
            tokio::time::sleep(Duration::from_secs(2)).await; // between their requests
        }
        let mut busy = rig.open();
        ask(&mut busy, "/later").await;
        // The first is used again: now the second is idle for the longest.
        ask(&mut clients[0], "/now").await;
        answer(&mut clients[0]).await;
        tokio::time::sleep(Duration::from_secs(1)).await; // a few ticks
        for expected in [1, 2, 0] {
            assert!(rig.connections.make_room(&rig.limits));
            assert_eq!(rest(&mut clients[expected]).await, (String::new(), 0));
        }
        assert!(!rig.connections.make_room(&rig.limits), "who waits for an answer keeps its place");
        assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"));
    });
}
