//! What the gateway owes to clients whatever they do - the last answer, a place, its notice when they leave -, and how little they can
//! make it hold.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::client::KEY;
use integration::eventually;
use integration::process::{Process, built};
use integration::world::{World, service};
use mock_services::{Kind, Mock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the gateway accepts")
}

/// All that comes until the end. A reset is an error.
async fn read_all(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("an end")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sends a request with a body of so many bytes, as clients do that read no answer before they have sent all of it.
async fn upload(address: SocketAddr, path: &str, length: usize) -> std::io::Result<String> {
    let mut stream = connect(address).await;
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b'x'; length]).await?;
    read_all(&mut stream).await
}

/// An instance for whose connections `serve` is called, each on a task.
async fn instance<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

fn at(name: &str, address: SocketAddr) -> String {
    format!("[[service]]\nname = \"{name}\"\ninstances = [\"{address}\"]\n")
}

/// Reads until a request's head is complete.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(read)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_a_large_body_that_is_refused_early_still_reads_the_refusal() {
    // It answers as soon as it has the head, and closes.
    let early = instance(|mut stream| async move {
        read_head(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await
    });
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let routes = "
[[route]]
path = { prefix = \"/early\" }
service = \"early\"
auth = false

[[route]]
path = { prefix = \"/small\" }
service = \"user_service\"
auth = false
request = { body = \"1 MiB\" }

[[route]]
path = { prefix = \"/once\" }
respond = { body = \"hi\" }
auth = false
limits = [\"1/h\"]

[[route]]
path = { prefix = \"/page\" }
respond = { body = \"hi\" }
auth = false
";
    let world = World::of(&(at("early", early.await) + &service("user_service", &[&mock]) + routes)).await;
    upload(world.address, "/once", 1).await.expect("an answer");
    for (path, status) in [
        ("/api/user_service/x", 401),
        ("/nowhere", 404),
        ("/health", 405),
        ("/small", 413),
        ("/once", 429),
        ("/page", 200),
        ("/early", 403),
    ] {
        for length in [1 << 20, 12 << 20] {
            if status == 413 && length == 1 << 20 {
                continue;
            }
            let answer = upload(world.address, path, length).await;
            let answer = answer.unwrap_or_else(|error| panic!("{path}, {length} bytes: {error}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}, {length} bytes: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_huge_head_reads_that_it_was_too_large() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    let mut stream = connect(world.address).await;
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(600_000));
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let answer = read_all(&mut stream).await.expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_has_a_length_and_connection_has_so_many_names() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    for (head, status) in [
        (format!("{} /health HTTP/1.1\r\nHost: a\r\n", "M".repeat(60_000)), "501"),
        (format!("GET /health HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n", "a,".repeat(15_000)), "431"),
        ("GET /health HTTP/1.1\r\nHost: a\r\nConnection: a, b, c\r\n".to_owned(), "200"),
    ] {
        let mut stream = connect(world.address).await;
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.expect("it is taken");
        let answer = read_all(&mut stream).await.expect("no reset");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_idle_connections_take_all_places_the_longest_idle_one_makes_room() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nmax_connections = 20\n";
    for workers in [1, 4] {
        let mock = Mock::start(Kind::User, 0).await.expect("a mock");
        let world = World::of(&format!("workers = {workers}\n{listener}{}", service("user_service", &[&mock]))).await;
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(world.address).await;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is taken");
            read_head(&mut stream).await.expect("an answer");
            idle.push(stream);
        }
        for _ in 0..40 {
            let mut new = connect(world.address).await;
            new.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is taken");
            let answer = tokio::time::timeout(Duration::from_secs(5), read_head(&mut new)).await;
            assert!(answer.is_ok_and(|answer| answer.is_ok()), "a newcomer is served");
            idle.push(new);
        }
        assert_eq!(read_all(&mut idle[0]).await.expect("an orderly end"), "", "the first has ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_sent_more_before_they_left_are_seen_to_leave() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    mock.behave(|behaviour| behaviour.hang = true);
    for more in [0, 1, 5_000, 40_000] {
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut stream = connect(world.address).await;
            let request = format!("GET /api/user_service/x HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("it is taken");
            clients.push(stream);
        }
        let in_flight = || async { world.service("user_service").await["instances"][0]["in_flight"].clone() };
        eventually("they are under way", || async { in_flight().await == 10 }).await;
        for stream in &mut clients {
            let _ = stream.try_write(&vec![b'x'; more]);
        }
        drop(clients);
        eventually("none is in flight", || async { in_flight().await == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_of_one_byte_costs_neither_side_a_packet_each() {
    const CHUNKS: usize = 200_000;
    // It reads to the body's end, and answers with as many chunks of one byte. A header says how many reads it took.
    let address = instance(|mut stream| async move {
        let (mut read, mut reads) = (read_head(&mut stream).await?, 0);
        while !read.ends_with(b"0\r\n\r\n") {
            stream.read_buf(&mut read).await?;
            reads += 1;
        }
        let head = format!("HTTP/1.1 200 OK\r\nReads: {reads}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let body = "1\r\nx\r\n".repeat(CHUNKS) + "0\r\n\r\n";
        stream.write_all((head + &body).as_bytes()).await
    });
    let world = World::of(&format!("{}[api]\nauth = false\n", at("tiny", address.await))).await;
    let mut stream = connect(world.address).await;
    let head = "POST /api/tiny/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "1\r\nx\r\n".repeat(CHUNKS) + "0\r\n\r\n";
    stream.write_all((head.to_owned() + &body).as_bytes()).await.expect("it is taken");
    let answer = read_all(&mut stream).await.expect("no reset");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let reads = head.lines().find_map(|line| line.strip_prefix("reads: ")?.parse::<usize>().ok());
    assert!(reads.is_some_and(|reads| reads < CHUNKS / 40), "{reads:?} reads");
    assert_eq!(body.matches('x').count(), CHUNKS);
    assert!(body.len() < CHUNKS * 5 / 4, "{} bytes for {CHUNKS}", body.len());
}

/// The gateway as a process of its own, whose memory can be measured.
struct Alone {
    process: Process,
    address: SocketAddr,
}

impl Alone {
    async fn start(more: &str) -> Alone {
        let program = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
        let port = integration::agent::free_port();
        let file = std::env::temp_dir().join(format!("lictor-clients-{}-{port}.toml", std::process::id()));
        let text = format!(
            "workers = 1\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[api]\nauth = false\n{more}"
        );
        std::fs::write(&file, text).expect("a temporary file");
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file).env_remove("CONSUL_HTTP_ADDR");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("lictor", &mut command).expect("it starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("it listens", || async { TcpStream::connect(address).await.is_ok() }).await;
        Alone { process, address }
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("a size")
    }

    /// Until `count` connections have grown it by so many KiB each, at most.
    async fn grows(&self, what: &str, before: usize, count: usize, most: usize) {
        let each = || self.memory().saturating_sub(before) / count;
        eventually(&format!("{what} is at most {most} KiB"), || async {
            eprintln!("{what}: {} KiB", each());
            each() <= most
        })
        .await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_small_whatever_it_did_and_so_is_one_whose_client_does_not_read() {
    const COUNT: usize = 200;
    let large = instance(|mut stream| async move {
        while let Ok(head) = read_head(&mut stream).await {
            // An upload is read to its end, then a long answer is sent.
            let length =
                String::from_utf8_lossy(&head).lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let mut left = length.unwrap_or(0usize);
            let mut room = vec![0; 64 << 10];
            while left > 0 {
                left = left.saturating_sub(stream.read(&mut room).await?);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n").await?;
            stream.write_all(&vec![b'x'; 8 << 20]).await?;
        }
        Ok(())
    });
    let gateway = Alone::start(&at("large", large.await)).await;
    // Many pipelined requests with large heads; the first connections also warm the process up.
    let mut idle = Vec::new();
    pipeline(gateway.address, 10, &mut idle).await;
    let before = gateway.memory();
    pipeline(gateway.address, COUNT, &mut idle).await;
    gateway.grows("an idle connection after large heads", before, COUNT, 32).await;
    // Clients that do not read a long answer.
    let before = gateway.memory();
    let mut stuck = Vec::new();
    for _ in 0..COUNT {
        let mut stream = connect(gateway.address).await;
        stream.write_all(b"GET /api/large/x HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is taken");
        read_some(&mut stream).await;
        stuck.push(stream);
    }
    gateway.grows("a client that does not read", before, COUNT, 96).await;
}

/// Opens connections, each of which sends 40 requests with large heads at once and reads the answers.
async fn pipeline(address: SocketAddr, count: usize, open: &mut Vec<TcpStream>) {
    let heads = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000)).repeat(40);
    for _ in 0..count {
        let mut stream = connect(address).await;
        let (mut read, mut write) = stream.split();
        let receive = async {
            let mut got = Vec::new();
            while got.windows(12).filter(|w| *w == b"HTTP/1.1 200").count() < 40 {
                assert!(read.read_buf(&mut got).await.expect("no reset") > 0, "it goes on");
            }
        };
        tokio::join!(async { write.write_all(heads.as_bytes()).await.expect("it is taken") }, receive);
        open.push(stream);
    }
}

/// Reads the beginning of an answer.
async fn read_some(stream: &mut TcpStream) {
    let mut room = [0; 1000];
    assert!(stream.read(&mut room).await.expect("no reset") > 0, "an answer");
}
