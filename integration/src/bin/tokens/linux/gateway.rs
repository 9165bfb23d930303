//! The gateway as a process, alone on CPU 0.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use integration::agent::free_ports;
use integration::process::Process;
use tokio::time::{Instant, sleep};

use super::Outcome;
use super::connection::Connection;

/// It, with its configuration in a file that goes with it.
pub(super) struct Gateway {
    process: Process,
    /// Its public listener.
    pub(super) address: SocketAddr,
    file: PathBuf,
}

impl Gateway {
    /// Starts it with a configuration in which `LISTENER` stands for its address, and waits until it answers a request with this field.
    pub(super) async fn start(program: &Path, text: &str, field: &str) -> Outcome<Gateway> {
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let file = std::env::temp_dir().join(format!("tokens-{}-{port}.toml", std::process::id()));
        let log = file.with_extension("log");
        let written = fs::write(&file, text.replace("LISTENER", &address.to_string()));
        let output = written.and_then(|()| fs::File::create(&log)).map_err(|error| error.to_string())?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program).args(["run", "--config"]).arg(&file);
        command.env("RUST_LOG", "warn").stderr(output);
        let process = Process::start("lictor", &mut command).map_err(|error| error.to_string())?;
        let mut gateway = Gateway { process, address, file };
        match gateway.answers(field).await {
            Some(200) => Ok(gateway),
            last => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                Err(format!("the gateway does not answer with 200 but {last:?} to {field}\n{said}"))
            }
        }
    }

    /// The last status that it answers with, after ten seconds or a 200.
    async fn answers(&mut self, field: &str) -> Option<u16> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut last = None;
        while Instant::now() < deadline && self.process.ended().is_none() {
            if let Ok(mut connection) = Connection::open(self.address, Ipv4Addr::LOCALHOST.into()).await {
                last = connection.ask(field).await.ok();
            }
            if last == Some(200) {
                break;
            }
            sleep(Duration::from_millis(50)).await; // the pace of looking
        }
        last
    }

    /// The CPU time of its threads so far (`proc_pid_schedstat`: nanoseconds).
    pub(super) fn cpu(&self) -> Outcome<Duration> {
        let folder = format!("/proc/{}/task", self.process.id());
        let mut sum = 0;
        for thread in fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?.flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).map_err(|error| error.to_string())?;
            sum += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.end(Duration::from_secs(5));
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(self.file.with_extension("log"));
    }
}
