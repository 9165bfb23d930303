//! How the gateway ends: in order, at its deadline, by a second signal, with a successor on its socket; and the README's examples.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use integration::client::{Client, KEY};
use integration::eventually;
use integration::examples::{self, Bases};
use integration::process::{Process, built, root};
use integration::world::{World, service};
use mock_services::{Kind, Mock};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_ends_well_when_the_gateway_stops() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let world = World::of(&service("user_service", &[&mock])).await;
    mock.behave(|behaviour| behaviour.delay_ms = 300);
    let client = world.client.clone();
    let slow = tokio::spawn(async move { client.get("/api/user_service/users").await });
    eventually("it is under way", || async { mock.hits() == 1 }).await;
    world.stop().await;
    let answer = slow.await.expect("no panic");
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_cut_at_the_deadline() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let ends = "[shutdown]\nannounce = \"0s\"\ndeadline = \"200ms\"\n";
    let world = World::of(&format!("{}{ends}", service("user_service", &[&mock]))).await;
    mock.behave(|behaviour| behaviour.hang = true);
    let client = world.client.clone();
    let hung = tokio::spawn(async move { client.get("/api/user_service/users").await });
    eventually("it is under way", || async { mock.hits() == 1 }).await;
    let began = std::time::Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(hung.await.expect("no panic").status, 0);
}

/// Starts the gateway's program with a configuration; `listener` is a socket that it inherits, as from a service manager.
fn program(text: &str, listener: Option<&TcpListener>) -> (Process, PathBuf) {
    let lictor = built(&["lictor"]).expect("it builds").remove(0);
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("lictor-test-{}-{number}.toml", std::process::id()));
    std::fs::write(&file, text).expect("a temporary file");
    let mut command = match listener {
        None => Command::new(lictor),
        Some(listener) => {
            let mut shell = Command::new("/bin/sh");
            // LISTEN_PID must be the gateway's process id, which `exec` keeps. The first inherited descriptor is 3.
            shell.args(["-c", "exec 3>&1 >/dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(lictor);
            shell.stdout(OwnedFd::from(listener.try_clone().expect("a descriptor")));
            shell
        }
    };
    command.args(["run", "--config"]).arg(&file).env_remove("CONSUL_HTTP_ADDR").stderr(Stdio::null());
    if listener.is_none() {
        command.stdout(Stdio::null());
    }
    (Process::start("lictor", &mut command).expect("it starts"), file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_on_an_inherited_socket_serves_what_came_while_nobody_was_there() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let text = format!(
        "[[listener]]\naddress = \"{address}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[api]\nauth = false\n\
         [shutdown]\nannounce = \"0s\"\n{}",
        service("user_service", &[&mock])
    );
    let start = || tokio::task::block_in_place(|| program(&text, Some(&socket)));
    let ask = || async move { Client::new(address).get("/api/user_service/users").await.status };
    let (mut first, first_file) = start();
    eventually("the first is ready", || async { ask().await == 200 }).await;
    first.signal(Signal::TERM);
    let ended = tokio::task::block_in_place(|| first.wait(Duration::from_secs(10)));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    // No process accepts now. The kernel keeps the connection until the successor accepts it.
    let between = tokio::spawn(ask());
    let (_second, second_file) = start();
    assert!(matches!(between.await.expect("no panic"), 200 | 503));
    eventually("the successor is ready", || async { ask().await == 200 }).await;
    let _ = (std::fs::remove_file(first_file), std::fs::remove_file(second_file));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_announces_on_ready_keeps_serving_drains_and_exits_0_and_sighup_reads_the_file_again() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let port = integration::agent::free_port();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[api]\nauth = false\n\
         [shutdown]\nannounce = \"1s\"\n{}",
        service("user_service", &[&mock])
    );
    let (mut gateway, file) = tokio::task::block_in_place(|| program(&text, None));
    let client = Client::new(([127, 0, 0, 1], port).into());
    eventually("it is ready", || async { client.get("/ready").await.status == 200 }).await;
    std::fs::write(&file, format!("{text}[request]\ntarget = 64\n")).expect("a temporary file");
    let long = format!("/api/user_service/users?{}", "x".repeat(64));
    eventually("SIGHUP reads the file again", || {
        gateway.signal(Signal::HUP);
        async { client.get(&long).await.status == 414 }
    })
    .await;
    assert_eq!(client.get("/api/user_service/users").await.status, 200);
    gateway.signal(Signal::TERM);
    eventually("/ready says 503", || async { client.get("/ready").await.status == 503 }).await;
    assert_eq!(client.get("/api/user_service/users").await.status, 200);
    let status = tokio::task::spawn_blocking(move || gateway.wait(Duration::from_secs(10))).await.expect("no panic");
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let _ = std::fs::remove_file(file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let port = integration::agent::free_port();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[api]\nauth = false\n\
         [[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n[shutdown]\nannounce = \"1h\"\n"
    );
    let (mut gateway, file) = tokio::task::spawn_blocking(move || program(&text, None)).await.expect("no panic");
    let client = Client::new(([127, 0, 0, 1], port).into());
    eventually("it is ready", || async { client.get("/ready").await.status == 200 }).await;
    // A second signal that comes with the first does not count: a sender that addresses the process and its group means one.
    gateway.signal(Signal::TERM);
    gateway.signal(Signal::TERM);
    eventually("/ready says 503", || async { client.get("/ready").await.status == 503 }).await;
    assert_eq!(client.get("/health").await.status, 200);
    eventually("a second signal, later, ends it", || {
        gateway.signal(Signal::TERM);
        let ended = gateway.ended().is_some();
        async move { ended }
    })
    .await;
    let _ = std::fs::remove_file(file);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_every_example_as_the_demo_prints_it() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    for example in examples::ALL {
        let bases = Bases { gateway: "http://localhost:5000", issuer: "http://localhost:5002" };
        let command = example.command(bases);
        assert!(readme.contains(&command), "the README lacks: {command}");
    }
    assert!(readme.contains(KEY));
}
