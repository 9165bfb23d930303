//! Behind a TCP balancer: clients are whom its PROXY header names, and nobody else's word on that counts.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use integration::eventually;
use integration::instance::{Asked, Instance, json};
use integration::process::{Process, built, not_run};
use integration::world::World;
use lictor::worker::WorkerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from 127.0.0.1 are a balancer's. It is also trusted as a proxy, which must not count.
const BALANCED: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n\
    trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\nproxy_protocol = { from = [\"127.0.0.1\"] }\n";
const OPEN: &str = "[api]\nauth = false\n";

/// An instance, and a gateway before it. Its client cannot ask whether it is ready, where the listener is for balancers.
async fn world(more: &str) -> (World, Instance) {
    let instance = Instance::start(|_| json("{}")).await;
    let world = World::start(integration::world::config(&format!("{more}{}", instance.service("s")))).await;
    eventually("it is ready", || async { world.admin.get("/ready").await.status == 200 }).await;
    (world, instance)
}

async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("all of 127.0.0.0/8 is ours");
    socket.connect(to).await.expect("the gateway listens")
}

/// A request, with these fields.
fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Sends bytes over a connection of its own, and returns all that comes back until it closes. A reset is an end, too.
async fn exchange(from: &str, to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(from, to).await;
    let _ = stream.write_all(bytes).await;
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8_lossy(&got).into_owned()
}

/// The status of an answer; 0 where there is none.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// Sends a request behind a line of version 1 for this client, and returns its status.
async fn ask_for(world: &World, client: &str, fields: &str) -> u16 {
    let line = format!("PROXY TCP4 {client} 10.0.0.1 50000 80\r\n");
    let bytes = line + &get("/api/s/x", &format!("Connection: close\r\n{fields}"));
    status(&exchange("127.0.0.1", world.address, bytes.as_bytes()).await)
}

/// Version 2 for an IPv4 client, with a TLV.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let tlv = [&[0x22, 0, 5][..], b"admin"].concat();
    let addresses = [&client[..], &[10, 0, 0, 1, 0xC3, 0x50, 0, 80]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14", &addresses[..], &tlv].concat()
}

/// What an instance was told of who asked last.
fn told(instance: &Instance) -> (String, String) {
    let asked = instance.asked().pop().unwrap_or_default();
    let all = |asked: &Asked, name: &str| asked.values(name).join(" | ");
    (all(&asked, "x-forwarded-for"), all(&asked, "x-real-ip"))
}

/// How many connections were refused for this reason.
async fn refused(world: &World, reason: &str) -> u64 {
    let page = world.admin.get("/admin/metrics").await.body;
    let name = format!("lictor_proxy_protocol_refused_total{{reason=\"{reason}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).expect("it is counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_proxy_header_names_is_who_is_limited_and_who_the_instance_is_told_of() {
    let limited = format!("{BALANCED}{OPEN}limits = [{{ rate = \"2/h\", by = \"address\" }}]\n");
    let (world, instance) = world(&limited).await;
    let one = async || ask_for(&world, "192.0.2.1", "").await;
    assert_eq!([one().await, one().await, one().await], [200, 200, 429]);
    assert_eq!(told(&instance), ("192.0.2.1".into(), String::new()));
    let bytes = [binary([192, 0, 2, 2]), get("/api/s/x", "Connection: close\r\n").into()].concat();
    assert_eq!(status(&exchange("127.0.0.1", world.address, &bytes).await), 200);
    assert_eq!(told(&instance), ("192.0.2.2".into(), String::new()));
    let usage = world.admin.get("/admin/rate-limits").await;
    assert!(usage.body.contains("192.0.2.1") && !usage.body.contains("127.0.0.1"), "{}", usage.body);
    assert_eq!(refused(&world, "stranger").await + refused(&world, "missing").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_x_forwarded_for_behind_a_tcp_balancer_changes_nothing() {
    let limited = format!("{BALANCED}{OPEN}limits = [{{ rate = \"2/h\", by = \"address\" }}]\n");
    let (world, instance) = world(&limited).await;
    let mut statuses = Vec::new();
    for forged in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        let fields = format!("X-Forwarded-For: {forged}\r\nX-Real-IP: {forged}\r\n");
        statuses.push(ask_for(&world, "192.0.2.1", &fields).await);
        assert_eq!(told(&instance), ("192.0.2.1".into(), String::new()));
    }
    assert_eq!(statuses, [200, 200, 429]);
    // Nor where the balancer names nobody, although its own network is a trusted proxy's.
    for nobody in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let request =
            get("/api/s/x", "Connection: close\r\nX-Forwarded-For: 198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\n");
        let answer = exchange("127.0.0.1", world.address, &[nobody, request.as_bytes()].concat()).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(told(&instance), ("127.0.0.1".into(), String::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_that_a_balancer_names_is_believed_on_its_clients() {
    let (world, instance) =
        world(&format!("{BALANCED}{OPEN}limits = [{{ rate = \"1/h\", by = \"address\" }}]\n")).await;
    let through = async |client: &str| ask_for(&world, "10.0.0.7", &format!("X-Forwarded-For: {client}\r\n")).await;
    assert_eq!([through("192.0.2.1").await, through("192.0.2.2").await, through("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(told(&instance).0, "192.0.2.2, 10.0.0.7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_from_a_network_that_is_not_listed_is_a_closed_connection() {
    let (world, instance) = world(&format!("{BALANCED}{OPEN}")).await;
    for header in [b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 80\r\n".to_vec(), binary([192, 0, 2, 1]), Vec::new()] {
        let bytes = [header, get("/api/s/x", "").into()].concat();
        assert_eq!(exchange("127.0.0.2", world.address, &bytes).await, "");
    }
    assert_eq!((instance.hits(), refused(&world, "stranger").await), (0, 3));
    // Who is listed, and says nothing of the kind, fares no better.
    assert_eq!(exchange("127.0.0.1", world.address, get("/api/s/x", "").as_bytes()).await, "");
    assert_eq!((instance.hits(), refused(&world, "missing").await), (0, 1));
    assert_eq!(exchange("127.0.0.1", world.address, b"PROXY TCP4 192.0.2.1\r\n").await, "");
    assert_eq!(exchange("127.0.0.1", world.address, b"PROXY TCP4 192.0.2.1").await, "", "it is closed in time");
    assert_eq!((refused(&world, "invalid").await, refused(&world, "incomplete").await), (1, 1));
    assert_eq!(ask_for(&world, "192.0.2.1", "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_on_a_listener_that_does_not_ask_for_it_is_no_request() {
    let (world, instance) = world(OPEN).await;
    for header in [b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 80\r\n".to_vec(), binary([192, 0, 2, 1])] {
        let bytes = [header, get("/api/s/x", "").into()].concat();
        assert_eq!(status(&exchange("127.0.0.1", world.address, &bytes).await), 400);
    }
    assert_eq!(instance.hits(), 0);
    assert_eq!(world.client.get("/api/s/x").await.status, 200);
    assert_eq!(told(&instance).0, "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_handed_to_other_workers_keep_their_header_and_what_came_with_it() {
    let (world, instance) = world(&format!("workers = 4\n{BALANCED}{OPEN}")).await;
    let mut streams = Vec::new();
    for number in 0..16 {
        let mut stream = connect("127.0.0.1", world.address).await;
        let line = format!("PROXY TCP4 192.0.2.{number} 10.0.0.1 50000 80\r\n");
        let (first, second) = line.split_at(number + 1);
        // The header in two parts, two requests right behind it.
        stream.write_all(first.as_bytes()).await.expect("it listens");
        let more = [second, &get(&format!("/api/s/a{number}"), ""), &get(&format!("/api/s/b{number}"), "")].concat();
        stream.write_all(more.as_bytes()).await.expect("it listens");
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut got = String::new();
        while got.matches("HTTP/1.1 200").count() < 2 {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.expect("it answers");
            assert!(count > 0, "it broke off: {got}");
            got += std::str::from_utf8(&piece[..count]).expect("text");
        }
    }
    let pulse = world.gateway.as_ref().expect("it runs").pulse.clone();
    let open: Vec<_> = (0..4).map(|worker| pulse.open(WorkerId(worker))).collect();
    assert!(open.iter().all(|open| *open >= 3), "{open:?}");
    let asked = instance.asked();
    assert_eq!(asked.len(), 32);
    for asked in &asked {
        assert_eq!(asked.values("x-forwarded-for"), [format!("192.0.2.{}", &asked.last()[1..])], "{}", asked.target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_a_balancer_calls_loopback_is_not_told_what_only_this_host_is_told() {
    let balanced = BALANCED.replace("trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n", "");
    let (balanced, _instance) = world(&balanced).await;
    let (plain, _instance) = world("").await;
    let request = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let here = exchange("127.0.0.1", plain.address, request.as_bytes()).await;
    assert!(status(&here) == 404 && here.contains("Admin: "), "{here}");
    for header in ["PROXY TCP4 127.0.0.1 127.0.0.1 50000 80\r\n", "PROXY UNKNOWN\r\n"] {
        let answer = exchange("127.0.0.1", balanced.address, [header, request].concat().as_bytes()).await;
        assert!(status(&answer) == 404 && !answer.contains("Admin: "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_line_names_whom_the_balancer_named() {
    let instance = Instance::start(|_| json("{}")).await;
    let address = SocketAddr::from(([127, 0, 0, 1], integration::agent::free_port()));
    let listener = BALANCED.replace("127.0.0.1:0", &address.to_string());
    let text =
        integration::world::text(&format!("{listener}[log]\nformat = \"json\"\n{OPEN}{}", instance.service("s")));
    let file = std::env::temp_dir().join(format!("lictor-balanced-{}-{}.toml", std::process::id(), address.port()));
    std::fs::write(&file, text).expect("a temporary file");
    let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
    let mut command = Command::new(lictor);
    command.args(["run", "--config"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut gateway = Process::start("lictor", &mut command).expect("it starts");
    let line = "PROXY TCP4 192.0.2.1 10.0.0.1 50000 80\r\n".to_owned();
    let request = line + &get("/api/s/x", "Connection: close\r\nX-Forwarded-For: 198.51.100.1\r\n");
    eventually("it is answered", || async {
        TcpStream::connect(address).await.is_ok()
            && status(&exchange("127.0.0.1", address, request.as_bytes()).await) == 200
    })
    .await;
    let (mut out, mut lines) = (gateway.stdout().expect("it is a pipe"), String::new());
    tokio::task::block_in_place(|| {
        gateway.end(Duration::from_secs(10));
        out.read_to_string(&mut lines).expect("it is text");
    });
    let _ = std::fs::remove_file(file);
    assert!(lines.contains("\"client\":\"192.0.2.1\"") && !lines.contains("198.51.100.1"), "{lines}");
}

/// HAProxy before a gateway, on a port of its own; `option` is that of its server. Ends when dropped.
fn haproxy(gateway: SocketAddr, option: &str) -> Option<(Process, SocketAddr)> {
    let found = Command::new("haproxy").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        not_run("there is no haproxy on PATH");
        return None;
    }
    let port = integration::agent::free_port();
    let text = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         listen l\n bind 127.0.0.1:{port}\n option httpchk GET /ready\n server s {gateway} {option} check inter 50ms\n"
    );
    let file = std::env::temp_dir().join(format!("lictor-haproxy-{}-{port}.cfg", std::process::id()));
    std::fs::write(&file, text).expect("a temporary file");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    Some((Process::start("haproxy", &mut command).expect("it starts"), ([127, 0, 0, 1], port).into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_where_it_is_installed_names_its_clients_in_both_versions_and_checks_without_being_refused() {
    for option in
        ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
    {
        let (world, instance) = world(&format!("{BALANCED}{OPEN}")).await;
        let Some((_haproxy, address)) = haproxy(world.address, option) else { return };
        eventually("haproxy listens", || async { TcpStream::connect(address).await.is_ok() }).await;
        let request = get("/api/s/x", "Connection: close\r\nX-Forwarded-For: 198.51.100.1\r\n");
        let answer = exchange("127.0.0.9", address, request.as_bytes()).await;
        assert_eq!(status(&answer), 200, "{option}: {answer}");
        assert_eq!(told(&instance).0, "127.0.0.9", "{option}");
        for reason in ["stranger", "missing", "invalid", "incomplete"] {
            assert_eq!(refused(&world, reason).await, 0, "{option}: {reason}");
        }
    }
}
