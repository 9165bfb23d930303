//! Several workers: how connections are shared out, how instances are picked, and how pools follow Consul.

use std::process::{Command, Stdio};
use std::sync::Arc;

use http::Method;
use integration::agent::Agent;
use integration::client::Client;
use integration::eventually;
use integration::process::{Process, built};
use integration::world::{World, service};
use lictor::worker::WorkerId;
use mock_services::issuer::{Algorithm, Prover, Wanted};
use mock_services::{Issuer, Kind, Mock};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Sends a request on a connection that stays open. Returns the response as it came.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: test-api-key\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut buffer = vec![0; 65536];
    let count = stream.read(&mut buffer).await.expect("it answers");
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

/// Sends a request on a connection that stays open. Returns the whole response, whose body has a length.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let (mut got, mut piece) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece).await.expect("it answers");
        assert!(count > 0, "it broke off: {got}");
        got += std::str::from_utf8(&piece[..count]).expect("text");
        let Some((head, body)) = got.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then_some(value)
        });
        let length: usize = length.and_then(|value| value.parse().ok()).expect("a length");
        if body.len() >= length {
            return got;
        }
    }
}

async fn connections(world: &World, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(TcpStream::connect(world.address).await.expect("it accepts"));
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixteen_connections_no_worker_of_four_has_more_than_two_more_than_another() {
    let world = World::start(integration::world::config(
        "workers = 4\n[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n",
    ))
    .await;
    // No other connection is open: the world's own client has not sent a request.
    let mut streams = connections(&world, 16).await;
    for stream in &mut streams {
        assert!(ask(stream, "/health").await.starts_with("HTTP/1.1 200"));
    }
    let pulse = world.gateway.as_ref().expect("it runs").pulse.clone();
    let open: Vec<_> = (0..4).map(|worker| pulse.open(WorkerId(worker))).collect();
    assert_eq!(open.iter().sum::<usize>(), 16, "{open:?}");
    assert!(open.iter().max() <= open.iter().min().map(|fewest| fewest + 2).as_ref(), "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_picks_over_four_instances_and_four_workers_stay_within_four_of_a_hundred_each() {
    let mut mocks = Vec::new();
    for _ in 0..4 {
        mocks.push(Mock::start(Kind::User, 0).await.expect("a mock"));
    }
    let all: Vec<_> = mocks.iter().collect();
    let world = World::of(&format!("workers = 4\n{}", service("user_service", &all))).await;
    let mut streams = connections(&world, 16).await;
    for number in 0..400 {
        let answer = ask(&mut streams[number % 16], "/api/user_service/users").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for mock in &mocks {
        assert!((96..=104).contains(&mock.hits()), "{:?}", mocks.iter().map(Mock::hits).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn soon_after_a_deregistration_no_worker_holds_an_idle_connection_to_it() {
    let agent = Agent::shared().await;
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    agent.register("leaver", "leaver-1", mock.address.port(), json!({})).await;
    let world = World::watching(agent, "workers = 4\n").await;
    world.until("/api/leaver/users", 200).await;
    let mut streams = connections(&world, 16).await;
    for stream in &mut streams {
        assert!(ask(stream, "/api/leaver/users").await.starts_with("HTTP/1.1 200"));
    }
    assert!(mock.connections() >= 4, "each worker has its own: {}", mock.connections());
    agent.deregister("leaver-1").await;
    world.until("/api/leaver/users", 503).await;
    let gone = std::time::Instant::now();
    eventually("all are closed", || async { mock.connections() == 0 }).await;
    assert!(gone.elapsed() < std::time::Duration::from_millis(100), "{:?}", gone.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_comes_over_sixteen_connections_to_four_workers_at_once_counts_once() {
    let (issuer, mock) =
        (Issuer::start(0).await.expect("an issuer"), Mock::start(Kind::User, 0).await.expect("a mock"));
    let world = World::of(&format!(
        "workers = 4\npublic_url = \"https://api.example.com\"\n{}[api]\nauth = {{ any = [\"corp\"] }}\n\
         [[issuer]]\nname = \"corp\"\nissuer = \"{}\"\naudience = \"https://api.example.com\"\ndpop = \"require\"\n",
        service("user_service", &[&mock]),
        issuer.url(),
    ))
    .await;
    let prover = Prover::new(Algorithm::ES256);
    let token = issuer.token(&Wanted::with(json!({ "sub": "alice", "cnf": { "jkt": prover.thumbprint() } })));
    let path = "/api/user_service/users";
    let proof = || prover.proof("GET", &format!("https://api.example.com{path}"), Some(&token));
    let request = || {
        let lines = format!("Authorization: DPoP {token}\r\nDPoP: {}\r\n", proof());
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    };
    let dpop = format!("DPoP {token}");
    eventually("the keys are there", async || {
        let lines = [("authorization", &*dpop), ("dpop", &*proof())];
        world.client.ask(Method::GET, path, &lines, "").await.status == 200
    })
    .await;
    let mut streams = connections(&world, 16).await;
    for stream in &mut streams {
        assert!(exchange(stream, &request()).await.starts_with("HTTP/1.1 200 "));
    }
    let pulse = world.gateway.as_ref().expect("it runs").pulse.clone();
    let open: Vec<_> = (0..4).map(|worker| pulse.open(WorkerId(worker))).collect();
    assert!(open.iter().all(|connections| *connections >= 2), "each worker has some: {open:?}");
    for round in 1..=20 {
        let (request, all, hits) = (request(), Arc::new(Barrier::new(16)), mock.hits());
        let mut answers = JoinSet::new();
        for mut stream in streams.drain(..) {
            let (request, all) = (request.clone(), all.clone());
            answers.spawn(async move {
                all.wait().await;
                let answer = exchange(&mut stream, &request).await;
                (stream, answer)
            });
        }
        let (back, answers): (Vec<_>, Vec<_>) = answers.join_all().await.into_iter().unzip();
        streams = back;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.starts_with("HTTP/1.1 200 "));
        assert_eq!((taken.len(), refused.len()), (1, 15), "round {round}");
        for answer in refused {
            assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\"dpop_replayed\""), "{answer}");
        }
        assert_eq!(mock.hits(), hits + 1, "the instance sees it once");
    }
}

/// The CPU time that all threads of a program have used.
#[cfg(target_os = "linux")]
fn spent(process: u32) -> std::time::Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    let of_thread = |text: String| text.split(' ').next().and_then(|time| time.parse::<u64>().ok());
    std::time::Duration::from_nanos(times.filter_map(of_thread).sum())
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_four_workers_close_who_comes_at_once_blame_no_instance_spin_on_nothing_and_serve_again() {
    let ports = [integration::agent::free_port(), integration::agent::free_port()];
    let file = std::env::temp_dir().join(format!("lictor-descriptors-{}.toml", std::process::id()));
    let listeners = ports.map(|port| format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n")).concat();
    let rest = "[admin]\naddress = \"127.0.0.1:0\"\n[api]\nauth = false\n[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n";
    std::fs::write(&file, format!("workers = 4\n{listeners}{rest}")).expect("a file");
    let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
    let mut command = Command::new("/bin/sh");
    // Four epolls, their wakers and the listeners take about fifty descriptors. A few are left for clients.
    command.args(["-c", "ulimit -n 70; exec \"$@\"", "sh"]).arg(lictor).args(["run", "--config"]).arg(&file);
    command.env_remove("CONSUL_HTTP_ADDR").env_remove("LICTOR_CONFIG").env_remove("LICTOR_ADMIN");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let gateway = Process::start("lictor", &mut command).expect("it starts");
    let addresses = ports.map(|port| ([127, 0, 0, 1], port).into());
    let client = Client::new(addresses[0]);
    eventually("it is ready", || async { client.get("/health").await.status == 200 }).await;

    // So many connections that the workers compete for the reserve descriptors that they release to accept and close.
    let (mut served, mut refused) = (Vec::new(), 0);
    let all = async {
        for number in 0..2000 {
            let mut stream = TcpStream::connect(addresses[number % 2]).await.expect("the system accepts");
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
            match stream.read(&mut [0; 1024]).await {
                Ok(count) if count > 0 => served.push(stream),
                _ => refused += 1,
            }
        }
    };
    // If each refusal began with a pause of 50 ms, all would take longer than this.
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, all).await.expect("each is answered or closed, at once");
    assert!(served.len() >= 4 && refused >= 1900, "{} served, {refused} refused", served.len());
    // What the gateway lacks is no instance's fault: asked five times and more, it is not tripped.
    for stream in &mut served {
        stream.write_all(b"GET /api/x/y HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is open");
        let mut page = [0; 2048];
        let length = stream.read(&mut page).await.expect("an answer");
        let page = String::from_utf8_lossy(&page[..length]);
        assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("\"overloaded\""), "{page}");
    }
    let before = spent(gateway.id());
    tokio::time::sleep(std::time::Duration::from_millis(500)).await; // a worker that spins would do so in this time
    let busy = spent(gateway.id()) - before;
    assert!(busy < std::time::Duration::from_millis(100), "{busy:?} of half a second");
    drop(served);
    let again = Client::new(addresses[1]);
    eventually("it serves again", || async { again.get("/health").await.status == 200 }).await;
    assert_eq!(again.get("/api/x/y").await.reason(), "connect_refused");
    let _ = std::fs::remove_file(file);
}
