//! `cargo demo`: an agent in dev mode, six mock services that register themselves, an issuer of tokens, the gateway; until Ctrl-C.
//! `cargo demo --check` drives every example, then a load while instances die, and exits.

mod load;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use integration::agent::{self, free_ports, obtain};
use integration::client::{Client, KEY};
use integration::examples::{self, Bases};
use integration::process::{Process, built};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// What the demo serves, two instances each.
const SERVICES: [&str; 3] = ["user_service", "product_service", "order_service"];

/// Where things listen when people look at them.
const WELL_KNOWN: [(u16, &str); 4] =
    [(8500, "Consul agent"), (5000, "gateway"), (5001, "gateway's admin pages"), (5002, "issuer of tokens")];

/// The operator's terminal.
const COMMANDS: [&[&str]; 6] = [
    &["services"],
    &["limits"],
    &["issuers"],
    &["compose", "show", "order_page"],
    &["compose", "show", "--try", "/api/shop/orders/2"],
    &["cache", "clear", "--service", "product_service"],
];

/// How long something may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let check = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => false,
        (Some("--check"), None) => true,
        _ => {
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
    // reqwest brings no cryptography of its own: a provider must be installed before the first client is made.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut term = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut int = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    // Dropped with all that it started, wherever this ends.
    let mut stage = Stage::empty(check)?;
    tokio::select! {
        result = perform(&mut stage, check) => result,
        _ = async { tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} } } => {
            println!("\nEnding what was started…");
            if check { Err("stopped before the check was through".into()) } else { Ok(()) }
        }
    }
}

async fn perform(stage: &mut Stage, check: bool) -> Result<(), String> {
    stage.set().await?;
    if check {
        return stage.check().await;
    }
    stage.print();
    loop {
        stage.look()?;
        tokio::time::sleep(Duration::from_millis(500)).await; // the pace of looking
    }
}

/// Where things listen.
struct Ports {
    agent: [u16; 5],
    public: u16,
    admin: u16,
    issuer: u16,
    mocks: [u16; 2 * SERVICES.len()],
}

impl Ports {
    /// The well-known ones for people, any free ones for a check, which so runs beside everything.
    fn choose(check: bool) -> Result<Ports, String> {
        let [mut http, dns, serf, wan, server, mut public, mut admin, mut issuer] = free_ports();
        if !check {
            [http, public, admin, issuer] = WELL_KNOWN.map(|(port, _)| port);
            for (port, whose) in WELL_KNOWN {
                TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
                    format!(
                        "the demo's {whose} needs 127.0.0.1:{port}: {error}. End what listens there \
                         (ss -ltnp 'sport = :{port}' or lsof -i :{port} tells who), or run cargo demo --check, \
                         which takes free ports"
                    )
                })?;
            }
        }
        Ok(Ports { agent: [http, dns, serf, wan, server], public, admin, issuer, mocks: free_ports() })
    }
}

/// Everything that runs.
struct Stage {
    check: bool,
    ports: Ports,
    gateway: Option<Process>,
    mocks: Vec<Process>,
    issuer: Option<Process>,
    agent: Option<Process>,
    folder: PathBuf,
    /// The gateway's own program.
    program: PathBuf,
}

impl Stage {
    fn empty(check: bool) -> Result<Stage, String> {
        let ports = Ports::choose(check)?;
        let folder = std::env::temp_dir().join(format!("lictor-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (gateway, issuer, agent) = (None, None, None);
        Ok(Stage { check, ports, gateway, mocks: Vec::new(), issuer, agent, folder, program: PathBuf::new() })
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.public))
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.ports.admin)
    }

    fn consul(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.agent[0])
    }

    async fn set(&mut self) -> Result<(), String> {
        println!("Building the gateway and the mock services (seconds: what they depend on is built)…");
        let programs = tokio::task::spawn_blocking(|| built(&["lictor", "mock-services"]));
        let binary = tokio::task::spawn_blocking(obtain);
        let (binary, programs) = tokio::try_join!(binary, programs).map_err(|error| error.to_string())?;
        let (binary, programs) = (binary?, programs?);
        println!(
            "Starting a Consul agent in dev mode, two instances each of {}, an issuer of tokens, and the gateway…",
            SERVICES.join(", ")
        );
        self.start_agent(&binary).await?;
        for (number, port) in self.ports.mocks.into_iter().enumerate() {
            let mock = self.mock(&programs[1], SERVICES[number / 2], port)?;
            self.mocks.push(mock);
        }
        self.issuer = Some(self.mock(&programs[1], "issuer", self.ports.issuer)?);
        self.program.clone_from(&programs[0]);
        self.gateway = Some(self.gateway()?);
        self.routed().await
    }

    async fn start_agent(&mut self, binary: &str) -> Result<(), String> {
        let mut command = agent::command(binary, self.ports.agent);
        command.arg("-dev").stdout(Stdio::null());
        self.agent = Some(start("consul", &mut command)?);
        let page = format!("{}/v1/catalog/nodes", self.consul());
        let client = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Its own node in the catalog: only then do registrations stick.
            if let Ok(answer) = client.get(&page).send().await
                && answer.text().await.is_ok_and(|body| body.contains("\"Node\""))
            {
                return Ok(());
            }
            if let Some(status) = self.agent.as_mut().and_then(Process::ended) {
                return Err(format!("the agent ended ({status}): see above"));
            }
            if Instant::now() > deadline {
                return Err(format!("the agent does not answer at {page}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pace of looking
        }
    }

    fn mock(&self, program: &Path, service: &str, port: u16) -> Result<Process, String> {
        let log = std::fs::File::create(self.log(port)).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["--service", service, "--port", &port.to_string(), "--consul", &self.consul()]);
        command.stdout(Stdio::null()).stderr(log);
        start(&format!("{service} on 127.0.0.1:{port}"), &mut command)
    }

    fn log(&self, port: u16) -> PathBuf {
        self.folder.join(format!("mock-{port}.log"))
    }

    fn gateway(&self) -> Result<Process, String> {
        let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, self.ports.public));
        let mut text = include_str!("../../demo.toml")
            .replace("127.0.0.1:5000", &self.address().to_string())
            .replace("127.0.0.1:5001", &self.admin())
            .replace("127.0.0.1:5002", &format!("127.0.0.1:{}", self.ports.issuer))
            .replace("http://127.0.0.1:8500", &self.consul());
        // A browser tries [::1] first, where there is one.
        if !self.check && TcpListener::bind(six).is_ok() {
            text += &format!("\n[[listener]]\naddress = \"{six}\"\nmax_connections = 1000\n");
        }
        let file = self.folder.join("lictor.toml");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        command.args(["run", "--config"]).arg(&file).env("RUST_LOG", "warn").stdout(Stdio::null());
        start("lictor", &mut command)
    }

    /// Until all instances are routed.
    async fn routed(&mut self) -> Result<(), String> {
        let client = Client::new(self.address());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = client.get("/admin/services").await.json();
            let services = page["services"].as_array().cloned().unwrap_or_default();
            let routed: usize = services.iter().map(|s| s["instances"].as_array().map_or(0, Vec::len)).sum();
            if routed >= self.mocks.len() {
                return Ok(());
            }
            if let Some(status) = self.gateway.as_mut().and_then(Process::ended) {
                return Err(format!("the gateway ended ({status}): see above"));
            }
            for (number, port) in self.ports.mocks.into_iter().enumerate() {
                if let Some(status) = self.mocks[number].ended() {
                    let said = std::fs::read_to_string(self.log(port)).unwrap_or_default();
                    return Err(format!("{} ended ({status}): {said}", self.mocks[number].name));
                }
            }
            if Instant::now() > deadline {
                return Err(format!("only {routed} of {} instances are routed after {PATIENCE:?}", self.mocks.len()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the pace of looking
        }
    }

    fn print(&self) {
        let base = format!("http://localhost:{}", self.ports.public);
        let issuer = format!("http://localhost:{}", self.ports.issuer);
        println!("\n  Lictor is up.\n");
        println!("  gateway   {base}/api/{{service}}/{{path}}   (X-API-Key: {KEY})");
        println!("  admin     {base}/admin/services");
        println!("  consul    {}/ui", self.consul());
        println!("  issuer    {issuer}/.well-known/openid-configuration");
        for mock in &self.mocks {
            println!("  mock      {:<36} process {}", mock.name, mock.id());
        }
        println!("\n  Try:");
        for example in examples::ALL {
            if !example.shows.is_empty() {
                println!("\n  # {}", example.shows);
            }
            println!("  {}", example.command(Bases { gateway: &base, issuer: &issuer }).replace('\n', "\n  "));
        }
        println!("\n  # the same as tables, the calls of an aggregate, and what became of each");
        for command in COMMANDS {
            println!("  LICTOR_API_KEY={KEY} {} {}", self.program.display(), command.join(" "));
        }
        let (first, second, third) = (&self.mocks[0], &self.mocks[4], self.ports.mocks[5]);
        println!("\n  # take an instance away in an orderly way, kill another, break a third, and ask again");
        println!("  kill {:<8} # {}", first.id(), first.name);
        println!("  kill -9 {:<5} # {}", second.id(), second.name);
        println!(
            "  curl -d '{{\"error_percent\": 100, \"error_status\": 503}}' http://127.0.0.1:{third}/_mock/behaviour"
        );
        println!("\n  Ctrl-C ends everything.\n");
    }

    /// Says once which child has gone; without the gateway there is nothing left to try.
    fn look(&mut self) -> Result<(), String> {
        self.mocks.retain_mut(|mock| match mock.ended() {
            Some(status) => {
                println!("{} ended: {status}", mock.name);
                false
            }
            None => true,
        });
        if let Some(status) = self.agent.as_mut().and_then(Process::ended) {
            println!("the Consul agent ended: {status}. The gateway goes on with what it knows");
            self.agent = None;
        }
        match self.gateway.as_mut().and_then(Process::ended) {
            Some(status) => Err(format!("the gateway ended: {status}")),
            None => Ok(()),
        }
    }

    async fn check(&mut self) -> Result<(), String> {
        let [client, issuer] =
            [self.ports.public, self.ports.issuer].map(|port| Client::new(([127, 0, 0, 1], port).into()));
        let mut wrong = 0;
        for example in examples::ALL {
            match example.check(self.address(), &client, &issuer).await {
                Ok(()) => println!("  {} {} -> {}  {}", example.method, example.path, example.status, example.shows),
                Err(why) => {
                    println!("  WRONG {why}");
                    wrong += 1;
                }
            }
        }
        for command in COMMANDS {
            let said = self.ask(command)?;
            println!("  lictor {}\n{said}", command.join(" "));
        }
        let failed = self.load().await;
        let orderly = self.mocks[0].ended().is_some_and(|status| status.success());
        match (wrong, failed, orderly) {
            (0, 0, true) => Ok(()),
            (0, 0, false) => Err("the instance that got SIGTERM did not end with exit code 0".into()),
            _ => Err(format!("{wrong} examples are wrong, {failed} requests failed")),
        }
    }

    /// What the operator's terminal says.
    fn ask(&self, command: &[&str]) -> Result<String, String> {
        let mut lictor = Command::new(&self.program);
        lictor.args(command).args(["--admin", &self.admin()]).env("LICTOR_API_KEY", KEY).env_remove("LICTOR_ADMIN");
        let output = lictor.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).lines().map(|line| format!("    {line}\n")).collect();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("lictor {}: {}", command.join(" "), String::from_utf8_lossy(&output.stderr))),
        }
    }
}

impl Drop for Stage {
    /// The gateway ends first, the agent last; the mocks, which serve for two seconds more, together.
    fn drop(&mut self) {
        self.gateway.take().map(|mut gateway| gateway.end(Duration::from_secs(5)));
        self.mocks.iter().for_each(|mock| mock.signal(Signal::TERM));
        for mock in &mut self.mocks {
            mock.end(Duration::from_secs(4));
        }
        self.issuer.take().map(|mut issuer| issuer.end(Duration::from_secs(2)));
        self.agent.take().map(|mut agent| agent.end(Duration::from_secs(3)));
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts a program without what the environment says of other agents and gateways.
fn start(name: &str, command: &mut Command) -> Result<Process, String> {
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|v| v.starts_with("CONSUL_") || v.starts_with("LICTOR_")) {
            command.env_remove(variable);
        }
    }
    Process::start(name, command).map_err(|error| format!("{name} cannot be started: {error}"))
}
