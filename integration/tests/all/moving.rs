//! Kept connections while the end is announced: they are asked to move, one after the other, and no request is lost on the way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::instance::{Instance, json};
use integration::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long the end is announced.
const ANNOUNCED: Duration = Duration::from_secs(4);

/// How long a client waits between its requests.
const PACE: Duration = Duration::from_millis(20);

/// Sends a request on a connection that stays open. Returns whether the answer asks it to move.
async fn ask(stream: &mut TcpStream) -> std::io::Result<bool> {
    stream.write_all(b"GET /api/s/x HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let (mut got, mut piece) = (String::new(), [0; 4096]);
    while !got.ends_with("\r\n\r\n{}") {
        match stream.read(&mut piece).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => got += &String::from_utf8_lossy(&piece[..count]),
        }
    }
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    Ok(got.to_ascii_lowercase().contains("connection: close"))
}

/// A client that asks until it is done, and connects to the other gateway when it is asked to move. Returns when that was.
async fn client(from: SocketAddr, to: SocketAddr, done: Arc<AtomicBool>) -> std::io::Result<Option<Instant>> {
    let (mut stream, mut moved) = (TcpStream::connect(from).await?, None);
    while !done.load(Ordering::SeqCst) {
        if ask(&mut stream).await? {
            assert!(moved.is_none(), "the other gateway asks nobody to move");
            moved = Some(Instant::now());
            stream = TcpStream::connect(to).await?;
        }
        tokio::time::sleep(PACE).await; // a client is not always asking
    }
    Ok(moved)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kept_connections_under_traffic_move_all_over_the_announcement_and_no_request_fails() {
    let instance = Instance::start(|_| json("{}")).await;
    let text = |announced: Duration| {
        let ends = format!("[shutdown]\nannounce = \"{}ms\"\ndeadline = \"5s\"\n", announced.as_millis());
        format!("workers = 2\n{}{ends}[api]\nauth = false\n", instance.service("s"))
    };
    let (old, new) = (World::of(&text(ANNOUNCED)).await, World::of(&text(Duration::ZERO)).await);
    let (done, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..50 {
        clients.spawn(client(old.address, new.address, done.clone()));
    }
    integration::eventually("all are at work", || async { instance.hits() > 500 }).await;
    let began = Instant::now();
    old.stop().await;
    let ended = began.elapsed();
    done.store(true, Ordering::SeqCst);
    let mut moved = Vec::new();
    while let Some(client) = clients.join_next().await {
        let at = client.expect("no panic").expect("no request fails");
        moved.push(at.expect("it was asked to move before the end").duration_since(began));
    }
    assert!(ended < ANNOUNCED * 2, "nobody was waited for: {ended:?}");
    // Of the four fifths in which all turns come, each should have a quarter of them; how precisely, paused time shows beside the code.
    let fifth = ANNOUNCED / 5;
    let within = |from: u32| moved.iter().filter(|at| (fifth * from..fifth * (from + 1)).contains(at)).count();
    let spread = [0, 1, 2, 3, 4].map(within);
    assert!(spread[..4].iter().all(|count| (1..=25).contains(count)), "{spread:?} {moved:?}");
}
