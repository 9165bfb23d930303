//! The gateway as a process: what /proc and its own pages say of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::client::Client;
use integration::process::Process;
use integration::process::pause;
use integration::world;
use serde_json::Value;

use super::Outcome;

/// It, with its configuration in a file that goes with it.
pub(super) struct Gateway {
    process: Process,
    /// Its public listener.
    pub(super) address: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
}

/// An answer: its status and its body.
pub(super) type Answer = (u16, String);

impl Gateway {
    /// Starts it.
    pub(super) fn start(program: &Path, agent: &str, workers: usize) -> Outcome<Gateway> {
        let (address, admin) = (free()?, free()?);
        let text = world::text(&format!(
            "workers = {workers}\n[[listener]]\naddress = \"{address}\"\n[admin]\naddress = \"{admin}\"\n\
             [consul]\naddress = \"{agent}\"\n[api]\nauth = false\n"
        ));
        let file = std::env::temp_dir().join(format!("big-catalog-{}-{}.toml", std::process::id(), address.port()));
        fs::write(&file, text).map_err(|error| error.to_string())?;
        let log = fs::File::create(file.with_extension("log")).map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(&file).env("RUST_LOG", "warn").stderr(log);
        let process = Process::start("lictor", &mut command).map_err(|error| error.to_string())?;
        Ok(Gateway { process, address, admin, file })
    }

    /// Waits until it serves.
    pub(super) fn until_ready(&self, patience: Duration) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let ready = connect(self.address).and_then(|mut stream| get(&mut stream, "/ready"));
            if matches!(ready, Ok((200, _))) {
                return Ok(());
            }
            pause(Duration::from_millis(5));
        }
        Err(format!("the gateway is not ready after {patience:?}"))
    }

    /// What it has of memory, in KiB.
    pub(super) fn memory(&self) -> Outcome<u64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().map_err(|_| "no VmRSS".into())
    }

    /// Its CPU time so far, with that of threads which have ended (`proc_pid_stat(5)`: ticks of 10 ms).
    pub(super) fn cpu(&self) -> Outcome<Duration> {
        let stat = self.read("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// How often each worker's thread has gone to sleep, by the thread's id.
    pub(super) fn sleeps(&self) -> Outcome<Vec<(u32, u64)>> {
        let mut sleeps = Vec::new();
        for thread in self.threads()? {
            if !self.read(&format!("task/{thread}/comm"))?.starts_with("lictor-worker") {
                continue;
            }
            let status = self.read(&format!("task/{thread}/status"))?;
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sleeps.push((thread, count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)));
        }
        Ok(sleeps)
    }

    /// How discovery fares, as admin shows it.
    pub(super) async fn discovery(&self) -> Value {
        let page = Client::new(self.admin).get("/admin/services?service=service-0").await.json();
        page["discovery"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["provider"] == "consul")
            .cloned()
            .unwrap_or_default()
    }

    fn threads(&self) -> Outcome<Vec<u32>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).map_err(|error| error.to_string())?;
        Ok(tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect())
    }

    fn read(&self, name: &str) -> Outcome<String> {
        let path = format!("/proc/{}/{name}", self.process.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.end(Duration::from_secs(5));
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(self.file.with_extension("log"));
    }
}

/// An address that is free now.
fn free() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|error| error.to_string())
}

/// A connection for requests that are sent at once.
pub(super) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Asks once; answers have a length.
pub(super) fn get(stream: &mut TcpStream, path: &str) -> std::io::Result<Answer> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: big\r\n\r\n").as_bytes())?;
    let broken = || std::io::Error::other("an answer that is none");
    let (mut buffer, mut filled) = ([0; 8192], 0);
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err(broken());
        }
        filled += read;
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(&buffer[..filled]).map_err(std::io::Error::other)?;
        let httparse::Status::Complete(length) = parsed else { continue };
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let body =
            field.and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok()).ok_or_else(broken)?;
        if filled >= length + body {
            let text = String::from_utf8_lossy(&buffer[length..length + body]).into_owned();
            return Ok((head.code.unwrap_or(0), text));
        }
    }
}
