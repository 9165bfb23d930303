//! `cargo demo`: an agent in dev mode, six mock services that register themselves, the gateway; until Ctrl-C.
//! `cargo demo --check` drives every example, then a load while instances die, and exits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use integration::agent::{free_port, obtain};
use integration::client::{Client, KEY};
use integration::examples;
use integration::process::{Process, built};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Requests in a second of the check's load, and for how long.
const RATE: u32 = 200;
const SECONDS: u32 = 20;

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(_) => {
            eprintln!("cargo demo runs it until Ctrl-C; cargo demo --check drives every example and exits");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(demo(check)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(check: bool) -> Result<(), String> {
    // Two TLS libraries are linked into this program: one must be chosen before the first client is made.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut term = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut stage = tokio::select! {
        stage = Stage::set(check) => stage?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
        _ = term.recv() => return Ok(()),
    };
    if check {
        return stage.check().await;
    }
    stage.print();
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = term.recv() => break,
            () = tokio::time::sleep(Duration::from_millis(500)) => stage.look(),
        }
    }
    println!("\nEnding what was started…");
    stage.end();
    Ok(())
}

/// Everything that runs. The gateway ends first, the agent last.
struct Stage {
    gateway: Process,
    mocks: Vec<Process>,
    agent: Process,
    address: SocketAddr,
    consul: String,
    folder: PathBuf,
}

impl Stage {
    async fn set(check: bool) -> Result<Stage, String> {
        println!("Building the gateway and the mock services…");
        let programs = tokio::task::spawn_blocking(|| built(&["lictor", "mock-services"]));
        let programs = programs.await.map_err(|error| error.to_string())??;
        let [http, public] = if check { [free_port(), free_port()] } else { [8500, 5000] };
        let folder = std::env::temp_dir().join(format!("lictor-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let consul = format!("http://127.0.0.1:{http}");
        let agent = agent(http, check).await?;
        answers(&format!("{consul}/v1/catalog/nodes"), "\"Node\"").await.map_err(|why| format!("the agent: {why}"))?;
        let mut mocks = Vec::new();
        for service in ["user_service", "product_service", "order_service"] {
            for number in 1..=2 {
                mocks.push(mock(&programs[1], service, number, &consul, &folder)?);
            }
        }
        let gateway = gateway(&programs[0], public, if check { free_port() } else { 5001 }, &consul, &folder)?;
        let address = SocketAddr::from(([127, 0, 0, 1], public));
        let mut stage = Stage { gateway, mocks, agent, address, consul, folder };
        stage.routed().await?;
        Ok(stage)
    }

    /// Until all six instances are routed.
    async fn routed(&mut self) -> Result<(), String> {
        let client = Client::new(self.address);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let page = client.get("/admin/services").await.json();
            let services = page["services"].as_array().cloned().unwrap_or_default();
            let routed: usize = services.iter().map(|s| s["instances"].as_array().map_or(0, Vec::len)).sum();
            if routed >= 6 {
                return Ok(());
            }
            if let Some(status) = self.gateway.ended() {
                return Err(format!("the gateway ended ({status}): see above"));
            }
            if Instant::now() > deadline {
                return Err(format!("only {routed} of 6 instances are routed after 30 s"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pace of looking
        }
    }

    fn print(&self) {
        let base = format!("http://localhost:{}", self.address.port());
        println!("\n  Lictor is up.\n");
        println!("  gateway   {base}/api/{{service}}/{{path}}   (X-API-Key: {KEY})");
        println!("  admin     {base}/admin/services");
        println!("  consul    {}   (its own page: {0}/ui)", self.consul);
        for mock in &self.mocks {
            println!("  mock      {}", mock.name);
        }
        println!("\n  Try:\n");
        for example in examples::ALL {
            println!("  # {}", example.shows);
            println!("  {}", example.command(&base));
        }
        let (first, second) = (&self.mocks[0], &self.mocks[1]);
        println!("\n  # take an instance away in an orderly way, or kill one, and ask again");
        println!("  kill {}     # {}", first.id(), first.name);
        println!("  kill -9 {}  # {}", second.id(), second.name);
        println!("\n  Ctrl-C ends everything.\n");
    }

    /// Says once which child has gone.
    fn look(&mut self) {
        if let Some(status) = self.gateway.ended() {
            println!("the gateway ended: {status}");
        }
        self.mocks.retain_mut(|mock| match mock.ended() {
            Some(status) => {
                println!("{} ended: {status}", mock.name);
                false
            }
            None => true,
        });
    }

    async fn check(&mut self) -> Result<(), String> {
        let client = Client::new(self.address);
        let mut wrong = 0;
        for example in examples::ALL {
            match example.check(&client).await {
                Ok(()) => println!("  {} {} -> {}  {}", example.method, example.path, example.status, example.shows),
                Err(why) => {
                    println!("  WRONG {why}");
                    wrong += 1;
                }
            }
        }
        let failed = self.load().await;
        self.end();
        match (wrong, failed) {
            (0, 0) => Ok(()),
            _ => Err(format!("{wrong} examples are wrong, {failed} requests failed")),
        }
    }

    /// A steady load, whoever dies meanwhile: one mock in an orderly way, one by force. How many requests failed.
    async fn load(&mut self) -> usize {
        println!("  {RATE} GET/s for {SECONDS} s, while one instance gets SIGTERM and another SIGKILL:");
        let client = Client::new(self.address);
        let start = tokio::time::Instant::now();
        let mut requests = Vec::new();
        for number in 0..RATE * SECONDS {
            tokio::time::sleep_until(start + Duration::from_secs(1) * number / RATE).await;
            match number {
                n if n == RATE * 5 => self.mocks[0].signal(Signal::TERM),
                n if n == RATE * 12 => self.mocks[2].signal(Signal::KILL),
                _ => {}
            }
            let path = ["/api/user_service/users", "/api/product_service/products"][number as usize % 2];
            let client = client.clone();
            requests.push(tokio::spawn(async move {
                let began = Instant::now();
                (client.get(path).await, began.elapsed())
            }));
        }
        let (mut failed, mut slowest) = (0, Duration::ZERO);
        for request in requests {
            match request.await {
                Ok((answer, took)) => {
                    slowest = slowest.max(took);
                    if answer.status != 200 {
                        failed += 1;
                        println!("  failed: {} {}", answer.status, answer.body.trim());
                    }
                }
                Err(_) => failed += 1,
            }
        }
        println!("  {} requests, {failed} failed, the slowest took {} ms", RATE * SECONDS, slowest.as_millis());
        failed
    }

    fn end(&mut self) {
        self.gateway.end(Duration::from_secs(5));
        self.mocks.iter().for_each(|mock| mock.signal(Signal::TERM));
        for mock in &mut self.mocks {
            mock.end(Duration::from_secs(4));
        }
        self.agent.end(Duration::from_secs(3));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn agent(port: u16, check: bool) -> Result<Process, String> {
    if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
        return Err(format!(
            "something listens on 127.0.0.1:{port} already (an agent of yours?): end it, or use cargo demo --check, which takes free ports"
        ));
    }
    let binary = tokio::task::spawn_blocking(obtain).await.map_err(|error| error.to_string())??;
    println!("Starting a Consul agent in dev mode…");
    let mut command = Command::new(binary);
    command
        .args(["agent", "-dev", "-log-level=err", "-bind=127.0.0.1", "-client=127.0.0.1"])
        .arg(format!("-http-port={port}"));
    if check {
        for option in ["-dns-port", "-serf-lan-port", "-serf-wan-port", "-server-port"] {
            command.arg(format!("{option}={}", free_port()));
        }
        command.arg("-grpc-port=-1");
    }
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    Process::start("consul", &mut command).map_err(|error| error.to_string())
}

fn mock(program: &Path, service: &str, number: u32, consul: &str, folder: &Path) -> Result<Process, String> {
    let log =
        std::fs::File::create(folder.join(format!("{service}-{number}.log"))).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["--service", service, "--consul", consul]).stdout(Stdio::null()).stderr(log);
    Process::start(&format!("{service} {number}"), &mut command).map_err(|error| error.to_string())
}

fn gateway(program: &Path, port: u16, admin: u16, consul: &str, folder: &Path) -> Result<Process, String> {
    let digest: String = lictor::config::digest(KEY).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "[[listener]]\naddress = \"127.0.0.1:{port}\"\n\n[admin]\naddress = \"127.0.0.1:{admin}\"\npublic = true\n\n\
         [consul]\naddress = \"{consul}\"\n\n[[consumer]]\nname = \"demo\"\nkeys = [\"sha256:{digest}\"]\n\
         roles = [\"admin\"]\n\n[log]\naccess = false\n\n[shutdown]\nannounce = \"0s\"\ndeadline = \"2s\"\n"
    );
    let file = folder.join("lictor.toml");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(&file).env("RUST_LOG", "warn").stdout(Stdio::null());
    Process::start("lictor", &mut command).map_err(|error| error.to_string())
}

/// Until a page holds a text.
async fn answers(url: &str, text: &str) -> Result<(), String> {
    let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok(answer) = client.get(url).send().await
            && answer.text().await.is_ok_and(|body| body.contains(text))
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{url} does not answer"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the pace of looking
    }
}
