//! A real Consul agent, for one test or for all.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::process::{Process, root};

/// An agent at work, in dev mode or with a data directory that outlives it.
#[derive(Debug)]
pub struct Agent {
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    process: Option<Process>,
    ports: [u16; 5],
    data: Option<PathBuf>,
    setup: Setup,
    http: reqwest::Client,
}

/// How an agent is run.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// What it knows survives `kill` and `restart`.
    pub durable: bool,
    /// It is no server, but joins this one (<https://developer.hashicorp.com/consul/docs/agent/config/cli-flags#_server>).
    pub client_of: Option<u16>,
    /// Flags besides those that all agents have; of a flag that is given twice, the last holds.
    pub flags: Vec<String>,
    /// More of its configuration, in HCL.
    pub hcl: String,
    /// The token with which it is asked.
    pub token: String,
}

static SHARED: OnceCell<Agent> = OnceCell::const_new();

/// The path of an agent, obtained when there is none.
///
/// # Errors
/// What `consul/obtain` said.
pub fn obtain() -> Result<String, String> {
    let run = Command::new(root().join("consul/obtain")).stderr(Stdio::inherit()).output();
    let output = run.map_err(|error| format!("consul/obtain cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("no Consul agent (see above)".into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Agent {
    /// The agent that most tests share: each uses services of its own name.
    pub async fn shared() -> &'static Agent {
        SHARED.get_or_init(|| Agent::start(false)).await
    }

    /// What a gateway's `[consul]` needs to watch it beside other tests. What they deregister at the same time would be a crowd.
    pub fn settings(&self) -> &'static str {
        if SHARED.get().is_some_and(|shared| std::ptr::eq(shared, self)) { "hold = \"1ms\"\n" } else { "" }
    }

    /// An agent of one's own; with `durable`, what it knows survives `kill` and `restart`.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn start(durable: bool) -> Agent {
        Agent::of(Setup { durable, ..Setup::default() }).await
    }

    /// An agent of one's own, run in this way.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn of(setup: Setup) -> Agent {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ports = free_ports();
        let lasts = setup.durable || setup.client_of.is_some();
        let data =
            lasts.then(|| std::env::temp_dir().join(format!("lictor-consul-{}-{}", std::process::id(), ports[0])));
        // No connection is kept: the shared agent is asked from many tests, each with a runtime of its own, and a connection
        // kept by one is driven by a runtime that ends with it.
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        let http = builder.timeout(Duration::from_secs(10)).build().expect("a plain client");
        let address = format!("http://127.0.0.1:{}", ports[0]);
        let mut agent = Agent { address, process: None, ports, data, setup, http };
        while !agent.comes_up().await {
            // Somebody else took one of its ports before it did.
            agent.ports = free_ports();
            agent.address = format!("http://127.0.0.1:{}", agent.ports[0]);
        }
        agent
    }

    /// The port on which agents of its datacenter join it.
    pub fn lan(&self) -> u16 {
        self.ports[2]
    }

    /// The port on which servers of other datacenters join it.
    pub fn wan(&self) -> u16 {
        self.ports[3]
    }

    /// Starts it again, where it was.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn restart(&mut self) {
        assert!(self.comes_up().await, "the agent ended");
    }

    /// Starts it, and waits until it can be used; false when it ends before.
    async fn comes_up(&mut self) -> bool {
        let binary = obtain().expect("a Consul agent");
        let mut command = command(&binary, self.ports);
        match (&self.data, self.setup.client_of) {
            (None, _) => command.arg("-dev"),
            (Some(_), Some(port)) => command.arg(format!("-retry-join=127.0.0.1:{port}")).arg("-retry-interval=1s"),
            (Some(_), None) => command.args(["-server", "-bootstrap-expect=1"]),
        };
        if let Some(data) = &self.data {
            command.arg(format!("-data-dir={}", data.display()));
        }
        if !self.setup.hcl.is_empty() {
            command.arg("-hcl").arg(&self.setup.hcl);
        }
        command.args(&self.setup.flags).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start("consul", &mut command).expect("the agent starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.leads().await {
            if process.ended().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "the agent has no leader");
            tokio::time::sleep(Duration::from_millis(50)).await; // the pace of looking
        }
        self.process = Some(process);
        true
    }

    /// It knows a leader, and its own node is in the catalog: only then do registrations stick.
    async fn leads(&self) -> bool {
        let leader = self.get("/v1/status/leader").await;
        let itself = self.get("/v1/agent/self").await;
        let nodes = self.get("/v1/catalog/nodes").await;
        let name = &itself["Config"]["NodeName"];
        leader.as_str().is_some_and(|leader| !leader.is_empty())
            && nodes.as_array().is_some_and(|nodes| nodes.iter().any(|node| node["Node"] == *name))
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(rustix::process::Signal::KILL);
            process.wait(Duration::from_secs(5));
        }
    }

    /// `PUT /v1/agent/service/register`, with what `more` adds.
    ///
    /// # Panics
    /// When the agent refuses.
    pub async fn register(&self, name: &str, id: &str, port: u16, more: Value) {
        let mut body = json!({ "Name": name, "ID": id, "Address": "127.0.0.1", "Port": port, "Tags": ["gateway"] });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        self.put("/v1/agent/service/register", Some(body)).await;
    }

    /// Takes a service id out.
    pub async fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), None).await;
    }

    /// Maintenance on or off, for a service id.
    pub async fn maintenance(&self, id: &str, on: bool) {
        self.put(&format!("/v1/agent/service/maintenance/{id}?enable={on}&reason=test"), None).await;
    }

    /// Sets a TTL check: `pass`, `warn` or `fail`.
    pub async fn check(&self, check: &str, state: &str) {
        self.put(&format!("/v1/agent/check/{state}/{check}"), None).await;
    }

    /// Any PUT. Returns the answer as JSON, null where it is none.
    ///
    /// # Panics
    /// When it is not answered with 200.
    pub async fn put(&self, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.put(format!("{}{path}", self.address)).header("X-Consul-Token", &self.setup.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the agent answers");
        assert!(answer.status().is_success(), "PUT {path}: {}", answer.status());
        answer.json().await.unwrap_or_default()
    }

    /// Any DELETE.
    ///
    /// # Panics
    /// When it is not answered with 200.
    pub async fn delete(&self, path: &str) {
        let request = self.http.delete(format!("{}{path}", self.address)).header("X-Consul-Token", &self.setup.token);
        let answer = request.send().await.expect("the agent answers");
        assert!(answer.status().is_success(), "DELETE {path}: {}", answer.status());
    }

    /// Any GET. Returns the answer as JSON, null where there is none.
    pub async fn get(&self, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.address)).header("X-Consul-Token", &self.setup.token);
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if let Some(data) = &self.data {
            let _ = std::fs::remove_dir_all(data);
        }
    }
}

/// The command line of an agent on 127.0.0.1, whatever the environment says; its HTTP port is the first. To be added: `-dev`,
/// or a data directory.
pub fn command(binary: &str, [http, dns, serf, wan, server]: [u16; 5]) -> Command {
    let mut command = Command::new(binary);
    command.args(["agent", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=err", "-node=world", "-grpc-port=-1"]);
    command.arg(format!("-http-port={http}")).arg(format!("-dns-port={dns}")).arg(format!("-server-port={server}"));
    command.arg(format!("-serf-lan-port={serf}")).arg(format!("-serf-wan-port={wan}"));
    command
}

/// Ports that are free now; held together, so that they differ.
///
/// # Panics
/// When there are none.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.each_ref().map(|socket| socket.local_addr().expect("a bound socket has an address").port())
}

/// One free port.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    free_ports::<1>()[0]
}
