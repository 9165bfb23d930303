//! A line of the log, or of the access log, costs no more than the line: whatever becomes of stderr and stdout, requests are answered,
//! Consul and the configuration are followed, and the end is orderly.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Write, pipe};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use integration::agent::{Agent, free_ports};
use integration::client::{Client, KEY};
use integration::eventually;
use integration::process::{Process, built};
use integration::world::{World, config, text};
use mock_services::{Kind, Mock};
use rustix::io::ioctl_fionbio;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

/// What becomes of a stream.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Its reader stands still, and the pipe is full.
    Full,
    /// The same, of a pipe that somebody has set not to block.
    FullWithoutBlocking,
    /// Its reader has left.
    Left,
    /// Its disk is full.
    DiskFull,
    /// It is not open.
    Closed,
}

const FATES: [Fate; 5] = [Fate::Full, Fate::FullWithoutBlocking, Fate::Left, Fate::DiskFull, Fate::Closed];

/// A pipe that holds no byte more.
fn full(blocks: bool) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("it is set");
    let full = loop {
        if let Err(error) = writer.write_all(b"what nobody reads\n") {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    ioctl_fionbio(&writer, !blocks).expect("it is set");
    (reader, writer)
}

/// A stream with this fate, and the reader that must live as long.
fn stream(fate: Fate) -> (Stdio, Option<PipeReader>) {
    match fate {
        Fate::Full | Fate::FullWithoutBlocking => {
            let (reader, writer) = full(matches!(fate, Fate::Full));
            (writer.into(), Some(reader))
        }
        Fate::Left => (pipe().expect("a pipe").1.into(), None),
        Fate::DiskFull => (OpenOptions::new().write(true).open("/dev/full").expect("Linux has it").into(), None),
        Fate::Closed => (Stdio::null(), None),
    }
}

/// A service that nobody asks.
const SERVICE: &str = "[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n";

/// A gateway that runs as a program, and what a client of it needs.
struct Gateway {
    process: Process,
    file: PathBuf,
    text: String,
    client: Client,
    admin: Client,
}

impl Gateway {
    /// Starts it with these streams; the shell runs `before` in front of it.
    async fn start(more: &str, before: &str, out: Stdio, err: Stdio) -> Gateway {
        let [port, admin] = free_ports();
        let text = text(&format!(
            "workers = 2\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n\
             [log]\naccess = true\n[shutdown]\nannounce = \"100ms\"\n{more}"
        ));
        let file = std::env::temp_dir().join(format!("lictor-logging-{}-{port}.toml", std::process::id()));
        std::fs::write(&file, &text).expect("a temporary file");
        let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("exec \"$@\" {before}"), "sh"]).arg(lictor).args(["run", "--config"]).arg(&file);
        command.env_remove("RUST_LOG").env_remove("CONSUL_HTTP_ADDR").stdout(out).stderr(err);
        let process = Process::start("lictor", &mut command).expect("it starts");
        let client = |port| Client::new(([127, 0, 0, 1], port).into());
        let gateway = Gateway { process, file, text, client: client(port), admin: client(admin) };
        let ready = || async { gateway.client.get("/ready").await.json()["status"] == "ready" };
        eventually("it is ready", ready).await;
        gateway
    }

    /// Replaces the configuration by one with so many mistakes that the log's lines of them find no room.
    fn flood(&self) {
        let mistakes: String = (0..6_000).map(|number| format!("mistake-{number} = 1\n")).collect();
        std::fs::write(&self.file, format!("{mistakes}{}", self.text)).expect("a temporary file");
    }

    /// The sum of a metric's samples.
    async fn metric(&self, name: &str) -> f64 {
        let page = self.admin.get("/admin/metrics").await;
        let samples = page.body.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A gateway with this fate of one of its streams does all that it is there for, and counts the lines that it loses.
async fn goes_on(name: &str, fate: Fate, stderr: bool) {
    let what = format!("{fate:?}, {name}");
    let agent = Agent::shared().await;
    let mocks = [Mock::start(Kind::User, 0).await.expect("a mock"), Mock::start(Kind::User, 0).await.expect("a mock")];
    for (number, mock) in mocks.iter().enumerate() {
        agent.register(name, &format!("{name}-{number}"), mock.address.port(), json!({})).await;
    }
    let (bad, _reader) = stream(fate);
    let (out, err) = if stderr { (Stdio::null(), bad) } else { (bad, Stdio::null()) };
    let closed = if stderr { "2>&-" } else { ">&-" };
    let before = if matches!(fate, Fate::Closed) { closed } else { "" };
    // The agent takes 200 connections of one address, and many tests ask this one.
    let consul = format!("[consul]\naddress = \"{}\"\nconnections = 8\n{}", agent.address, agent.settings());
    let mut gateway = Gateway::start(&consul, before, out, err).await;

    // Requests are answered while lines are lost. Of a closed stream the system makes one that takes everything.
    let lost = if stderr { "lictor_log_lines_dropped_total" } else { "lictor_access_lines_dropped_total" };
    let path = format!("/api/{name}/users");
    let long = format!("/api/{name}/echo/{}", "x".repeat(2000));
    eventually(&format!("both instances answer: {what}"), || async {
        gateway.client.get(&path).await.status == 200 && mocks.iter().all(|mock| mock.hits() > 0)
    })
    .await;
    let loses = !matches!(fate, Fate::Closed);
    if stderr {
        gateway.flood();
    }
    eventually(&format!("lines are lost: {what}"), || async {
        for _ in 0..100 {
            let answer = gateway.client.get(&long).await;
            assert_eq!(answer.status, 200, "{what}: {}", answer.body);
        }
        !loses || gateway.metric(lost).await > 0.0
    })
    .await;
    assert_eq!(gateway.client.get("/health").await.status, 200, "{what}");

    // A deregistered instance goes, a reload is applied, and nothing is wrong with any task.
    agent.deregister(&format!("{name}-0")).await;
    eventually(&format!("the deregistered instance goes: {what}"), || async {
        let before = mocks[0].hits();
        for _ in 0..4 {
            assert_eq!(gateway.client.get(&path).await.status, 200, "{what}");
        }
        mocks[0].hits() == before
    })
    .await;
    std::fs::write(&gateway.file, format!("{}[request]\ntarget = 64\n", gateway.text)).expect("a temporary file");
    eventually(&format!("a reload is applied: {what}"), || async { gateway.client.get(&long).await.status == 414 })
        .await;
    assert_eq!(gateway.client.get("/ready").await.json()["status"], "ready", "{what}");
    assert_eq!(gateway.metric("lictor_task_failures_total").await, 0.0, "{what}");

    // SIGTERM cuts nothing.
    mocks[1].behave(|behaviour| behaviour.delay_ms = 500);
    let (client, hits) = (gateway.client.clone(), mocks[1].hits());
    let slow = tokio::spawn(async move { client.get(&path).await });
    eventually("it is under way", || async { mocks[1].hits() > hits }).await;
    gateway.process.signal(Signal::TERM);
    let answer = slow.await.expect("no panic");
    assert_eq!(answer.status, 200, "{what}: {}", answer.body);
    let ended = tokio::task::block_in_place(|| gateway.process.wait(Duration::from_secs(10)));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{what}");
    agent.deregister(&format!("{name}-1")).await;
}

/// The same with every fate, at once: most of the time is waiting.
async fn all_go_on(stderr: bool) {
    let mut gateways = JoinSet::new();
    for fate in FATES {
        let stream = if stderr { "stderr" } else { "stdout" };
        gateways.spawn(async move { goes_on(&format!("{stream}-{fate:?}").to_lowercase(), fate, stderr).await });
    }
    gateways.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_stderr_requests_consul_reloads_and_sigterm_are_served() {
    all_go_on(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_stdout_requests_consul_reloads_and_sigterm_are_served() {
    all_go_on(false).await;
}

/// Reads what comes, on a thread of its own, until the other end is closed.
struct Reading {
    text: Arc<Mutex<String>>,
    thread: std::thread::JoinHandle<()>,
}

impl Reading {
    fn begin(reader: PipeReader) -> Reading {
        let text = Arc::new(Mutex::new(String::new()));
        let read = text.clone();
        let thread = std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let mut text = read.lock().expect("no panic");
                text.push_str(&line);
                text.push('\n');
            }
        });
        Reading { text, thread }
    }

    fn has(&self, part: &str) -> bool {
        self.text.lock().expect("no panic").contains(part)
    }

    /// All that came, now that nothing more can come.
    fn end(self) -> String {
        tokio::task::block_in_place(|| self.thread.join()).expect("no panic");
        self.text.lock().expect("no panic").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_back_is_told_how_many_lines_it_missed_and_the_last_line_is_not_lost_at_the_end() {
    let (reader, writer) = full(true);
    let mut gateway = Gateway::start(SERVICE, "", Stdio::null(), writer.into()).await;
    gateway.flood();
    eventually("lines are lost", || async { gateway.metric("lictor_log_lines_dropped_total").await > 0.0 }).await;
    let reading = Reading::begin(reader);
    eventually("it is said", || async { reading.has("were lost") }).await;
    gateway.process.signal(Signal::TERM);
    let ended = tokio::task::block_in_place(|| gateway.process.wait(Duration::from_secs(10)));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    let text = reading.end();
    let lines = text.lines().skip_while(|line| *line == "what nobody reads");
    let lines: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let told = |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.contains("were lost"));
    let missed: Vec<_> = lines.iter().filter(|line| told(line)).filter_map(|line| line["lines"].as_u64()).collect();
    assert!(!missed.is_empty() && missed.iter().all(|&count| count > 0), "{missed:?}");
    let last = |line: &serde_json::Value| line["message"].as_str().is_some_and(|text| text.starts_with("stopping"));
    assert!(lines.iter().any(last), "the line that says why it ends is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_and_sigusr2_do_not_end_the_gateway() {
    let mut gateway = Gateway::start(SERVICE, "", Stdio::null(), Stdio::null()).await;
    for signal in [Signal::USR1, Signal::USR2, Signal::USR1] {
        gateway.process.signal(signal);
        assert_eq!(gateway.client.get("/health").await.status, 200);
    }
    assert!(gateway.process.ended().is_none());
    gateway.process.signal(Signal::TERM);
    let ended = tokio::task::block_in_place(|| gateway.process.wait(Duration::from_secs(10)));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_it_does_not_start_is_said_on_stderr_after_the_log_began_too_and_costs_no_panic() {
    let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&lictor);
        command.args(arguments).env_remove("LICTOR_CONFIG").env("LICTOR_API_KEY", KEY).stdout(Stdio::null());
        command
    };
    let late = ["run", "--port", &port, "--admin-port", "0"];
    for (arguments, why) in [(&late[..], port.as_str()), (&["run", "--config", "/nowhere"], "cannot read")] {
        let output = tokio::task::block_in_place(|| command(arguments).output()).expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.lines().last().is_some_and(|_| text.contains(why)), "{text}");
        assert_eq!(output.status.code(), Some(1), "{text}");
        for fate in [Fate::Left, Fate::DiskFull] {
            let status = tokio::task::block_in_place(|| command(arguments).stderr(stream(fate).0).status());
            assert_eq!(status.expect("it runs").code(), Some(1), "{fate:?}");
        }
    }
    // With nobody who reads, what it says after the log began is waited for a while, and no longer.
    let (_reader, writer) = full(true);
    let mut gateway = Process::start("lictor", command(&late).stderr(writer)).expect("it starts");
    let ended = tokio::task::block_in_place(|| gateway.wait(Duration::from_secs(10)));
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
}

/// Set in the environment of a process that is to panic.
const PANICS: &str = "LICTOR_TEST_PANICS";

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_line_of_the_log_and_waits_for_no_reader() {
    let name = "logging::a_panic_is_a_line_of_the_log_and_waits_for_no_reader";
    if std::env::var_os(PANICS).is_some() {
        lictor::telemetry::init(lictor::telemetry::Format::Json, "info").expect("a thread");
        let panicked = std::thread::Builder::new().name("somebody".into()).spawn(|| panic!("on command"));
        assert!(panicked.expect("a thread").join().is_err());
        lictor::telemetry::flush();
        return;
    }
    let child = |stderr: Stdio| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([name, "--exact", "--nocapture"]).env(PANICS, "1").stdout(Stdio::null()).stderr(stderr);
        Process::start("child", &mut command).expect("it starts")
    };
    for fate in [Fate::Full, Fate::Left, Fate::DiskFull] {
        let (bad, _reader) = stream(fate);
        let ended = tokio::task::block_in_place(|| child(bad).wait(Duration::from_secs(20)));
        assert!(ended.is_some_and(|status| status.success()), "{fate:?}");
    }
    let (reader, writer) = pipe().expect("a pipe");
    let ended = tokio::task::block_in_place(|| child(writer.into()).wait(Duration::from_secs(20)));
    assert!(ended.is_some_and(|status| status.success()));
    let text = Reading::begin(reader).end();
    let lines: Vec<serde_json::Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["message"] == "panic: on command").unwrap_or_else(|| panic!("{text}"));
    assert_eq!((&line["level"], &line["thread"]), (&json!("ERROR"), &json!("somebody")));
    assert!(line["location"].as_str().is_some_and(|place| place.contains("logging.rs:")), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_control_plane_that_fails_is_seen_by_clients_and_monitoring_and_is_no_503() {
    let world = World::start(config(SERVICE)).await;
    world.ready().await;
    let control = world.gateway.as_ref().expect("it runs").pulse.control.clone();
    let failing = control.spawn("test", (), |()| Box::pin(async { panic!("a secret") }));
    let ready = || async { world.client.ask(Method::GET, "/ready", &[], "").await };
    eventually("it is degraded", || async { ready().await.json()["status"] == "degraded" }).await;
    let answer = ready().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["why"], json!(["test: it failed and was begun again; the log says why"]));
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    let page = world.admin.get("/admin/metrics").await.body;
    for line in
        ["lictor_task_up{task=\"test\"} 0", "lictor_task_up{task=\"snapshot\"} 1", "lictor_log_lines_dropped_total "]
    {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    failing.abort();
}
