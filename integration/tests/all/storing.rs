//! What the store takes and tells apart, from outside: memory as the process shows it, and keys whose parts look like other parts.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::Method;
use integration::client::KEY;
use integration::eventually;
use integration::program::Program;
use integration::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: f64 = 1048576.0;

/// An instance that answers each head with these bytes, over and over on one connection.
async fn instance(answer: fn(&str) -> Vec<u8>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut seen).await {
                    while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&seen[..end]).into_owned();
                        seen.drain(..end + 4);
                        if stream.write_all(&answer(&head)).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// A gateway with a cache of this size in front of an instance.
async fn program(instance: SocketAddr, size: &str) -> Measured {
    let service = format!("[[service]]\nname = \"s\"\ninstances = [\"{instance}\"]\n");
    let cache = format!("[cache]\nenabled = true\nsize = \"{size}\"\nobject = \"512KiB\"\n[api]\nauth = false\n");
    Measured(Program::start(&format!("workers = 1\n{service}{cache}")).await)
}

/// A gateway whose memory is looked at.
struct Measured(Program);

impl Measured {
    /// Bytes of memory that the process has, and that its cache says it takes.
    async fn memory(&self) -> (f64, f64) {
        let page = self.0.client.get("/admin/metrics").await.body;
        let sample = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
        };
        (sample("process_resident_memory_bytes"), sample("lictor_cache_bytes"))
    }

    /// Asks for so many paths, fifty at a time on one connection.
    async fn ask(&self, kind: &str, count: usize) {
        let mut stream = TcpStream::connect(self.0.address).await.expect("it accepts");
        for first in (0..count).step_by(50) {
            let mut requests = String::new();
            for number in first..first + 50 {
                write!(requests, "GET /api/s/{kind}/{number} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
                    .expect("a String");
            }
            stream.write_all(requests.as_bytes()).await.expect("it reads");
            let (mut answers, mut got) = (0, Vec::with_capacity(1 << 20));
            while answers < 50 {
                let looked = got.len().saturating_sub(11);
                assert!(stream.read_buf(&mut got).await.expect("it answers") > 0, "it closed");
                answers += got[looked..].windows(12).filter(|bytes| *bytes == b"HTTP/1.1 200").count();
            }
        }
    }
}

/// Two bytes, with what a kind of path has in its head.
fn little(head: &str) -> Vec<u8> {
    let kind = head.split('/').nth(1).unwrap_or_default();
    let names = || (0..60).map(|number| format!("X-{number}"));
    let fields = match kind {
        "pass" => "Cache-Control: no-store\r\n".to_owned(),
        "fields" => names().map(|name| name + ": a\r\n").collect::<String>() + "Cache-Control: max-age=600\r\n",
        "vary" => format!("Cache-Control: max-age=600\r\nVary: {}\r\n", names().collect::<Vec<_>>().join(", ")),
        _ => "Cache-Control: max-age=600\r\n".to_owned(),
    };
    format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_counts_is_what_the_process_grows_by_whatever_is_stored() {
    let instance = instance(little).await;
    for (kind, count) in [("small", 4600), ("fields", 700), ("vary", 1300), ("pass", 25_000)] {
        let program = program(instance, "8MiB").await;
        // What a connection takes, and what the allocator keeps, is not the cache's.
        program.ask("pass", 50).await;
        let (before, _) = program.memory().await;
        program.ask(kind, count).await;
        let (after, counted) = program.memory().await;
        let grown = after - before;
        assert!(counted > 4.0 * MIB && counted <= 8.0 * MIB, "{kind}: {:.1} MiB are counted", counted / MIB);
        let ratio = grown / counted;
        assert!((0.75..1.25).contains(&ratio), "{kind}: {:.1} of {:.1} MiB", grown / MIB, counted / MIB);
    }
}

/// Half a million pieces of one byte; the end does not come.
fn pieces(head: &str) -> Vec<u8> {
    let head = if head.contains("/pieces") { "" } else { "Cache-Control: no-store\r\n" };
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=600\r\n{head}\r\n");
    [head.as_bytes(), &b"1\r\nx\r\n".repeat(500_000)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_byte_by_byte_takes_its_size_and_not_a_hundred_times_as_much() {
    let instance = instance(pieces).await;
    let program = program(instance, "64MiB").await;
    let (before, _) = program.memory().await;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(program.0.address).await.expect("it accepts");
        let request = format!("GET /api/s/pieces/{number} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        clients.push(stream);
    }
    // What is on its way is counted before it is stored.
    eventually("8 times 500,000 bytes are there", || async { program.memory().await.1 > 8.0 * 500_000.0 }).await;
    let (after, counted) = program.memory().await;
    assert!(counted < 1.25 * 8.0 * 500_000.0, "{:.1} MiB are counted", counted / MIB);
    // Beside it, the buffers of eight connections to an instance that sends faster than others read.
    assert!(after - before < counted + 12.0 * MIB, "{:.1} of {:.1} MiB", (after - before) / MIB, counted / MIB);
    drop(clients);
}

/// Says where it believes to be.
fn mirror(head: &str) -> Vec<u8> {
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
    };
    let tenant: Vec<_> = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-tenant:")).collect();
    let body = format!("{}://{} {tenant:?}", field("x-forwarded-proto:"), field("x-forwarded-host:"));
    let fields = "Cache-Control: max-age=60\r\nVary: X-Tenant";
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_made_for_one_place_is_not_given_to_who_asks_for_another() {
    let instance = instance(mirror).await;
    let world = World::of(&format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n[[service]]\nname = \"s\"\n\
         instances = [\"{instance}\"]\n[cache]\nenabled = true\n"
    ))
    .await;
    let key = ("x-api-key", KEY);
    let proto = |text| ("x-forwarded-proto", text);
    let told = |text| ("x-forwarded-host", text);
    let tenant = |text| ("x-tenant", text);
    let asks: [&[(&str, &str)]; 9] = [
        &[proto("http"), told("https")],
        &[proto("https")],
        &[proto("https"), told("http")],
        &[proto("https"), told("https")],
        &[proto("http"), told("v0")],
        &[proto("http"), told("shttps")],
        &[tenant("a,b")],
        &[tenant("a"), tenant("b")],
        &[tenant("a, b")],
    ];
    for round in ["fwd=", "hit"] {
        let mut bodies = std::collections::BTreeSet::new();
        for ask in asks {
            let headers: Vec<_> = [key, ("host", "shop.example")].iter().chain(ask).copied().collect();
            let answer = world.client.ask(Method::GET, "/api/s/page", &headers, "").await;
            let status = answer.header("cache-status");
            assert!(status.starts_with(&format!("lictor; {round}")), "{round} {ask:?}: {status} {}", answer.body);
            assert!(bodies.insert(answer.body.clone()), "{ask:?} got {}", answer.body);
        }
    }
}
