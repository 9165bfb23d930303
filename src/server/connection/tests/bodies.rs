//! Bodies of requests: long ones, and those that come after their answer.

use std::time::Duration;

use super::*;

#[test]
fn a_long_body_is_no_head() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        write(&mut client, "POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n").await;
        write(&mut client, &"x".repeat(1 << 20)).await;
        ask(&mut client, "/now").await;
        let both = answer(&mut client).await;
        assert!(both.contains("1048576") && both.ends_with("hi"), "{both}");
    });
}

#[test]
fn a_body_that_comes_after_its_answer_is_no_head_and_the_next_head_is_held_again() {
    paused(async {
        let rig = Rig::new();
        let mut client = rig.open();
        write(&mut client, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n").await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        write(&mut client, &"x".repeat(1 << 20)).await;
        ask(&mut client, "/now").await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        assert_eq!(ARRIVED.get(), 1 << 20);
        let (sent, told) = endless_head(client).await;
        // hyper reads in larger pieces once a body was long; and what comes after the 431 is thrown away, for a while.
        assert!(told.starts_with("HTTP/1.1 431 ") && sent < (512 << 10) + (1 << 20), "{sent} {told}");
    });
}

#[test]
fn a_body_that_is_read_after_its_answer_may_take_its_time_and_the_keep_alive_counts_from_its_end() {
    paused(async {
        let mut client = Rig::new().open();
        write(&mut client, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(1)).await; // longer in all than a head may take, and than an idle connection may lie
            write(&mut client, "x").await;
        }
        assert_eq!(rest(&mut client).await, (String::new(), 75));
        assert_eq!(ARRIVED.get(), 100);
    });
}

#[test]
fn where_who_reads_a_body_after_its_answer_stops_the_connection_has_a_deadline_again() {
    paused(async {
        let mut client = Rig::new().open_with(1 << 20);
        write(&mut client, "POST /early-first HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n").await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        write(&mut client, &"x".repeat(400_000)).await;
        until(|| FIRST.get() >= 250_000).await;
        write(&mut client, &"x".repeat(100_000)).await;
        let end = tokio::time::timeout(Duration::from_secs(200), rest(&mut client)).await; // far beyond it
        // The head's: what is left of the body may as well be one that does not come.
        assert_eq!(end, Ok((String::new(), 10)));
    });
}

#[test]
fn what_is_left_of_a_body_that_nobody_reads_is_no_head() {
    paused(async {
        let rig = Rig::new();
        // A pipe as wide as a socket's buffers: hyper reads all that is left at once.
        let mut client = rig.open_with(1 << 20);
        write(&mut client, "POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n").await;
        write(&mut client, &"x".repeat(260_000)).await;
        until(|| FIRST.get() >= 250_000).await;
        write(&mut client, &"x".repeat(40_000)).await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        ask(&mut client, "/now").await;
        let next = answer(&mut client).await;
        assert!(next.starts_with("HTTP/1.1 200"), "{next}");
    });
}
