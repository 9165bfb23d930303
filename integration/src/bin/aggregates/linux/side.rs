//! A program that is measured: how it is started, that it answers with what it should, and what it takes of CPU and time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use integration::agent::free_ports;
use integration::client::Client;
use integration::measure::load::{Load, Tally, Work};
use integration::measure::program::{Cost, Program, busy};
use integration::measure::system::Outcome;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::MEASURED;

/// Seconds before anything is counted.
const WARM: f64 = 0.5;

/// The program, alone on its CPU with others that do nothing meanwhile.
pub(super) struct Side {
    pub(super) program: Program,
    address: SocketAddr,
    /// The paths that are asked for, in turn.
    paths: Vec<String>,
    /// Its files, which go with it.
    files: Vec<PathBuf>,
}

/// What was counted in a window.
pub(super) struct Window {
    pub(super) tally: Tally,
    pub(super) cost: Cost,
    /// The share of the CPU that other programs had.
    pub(super) others: f64,
}

impl Side {
    /// Starts a program on a free port, by the command for that port, and waits until it answers each path with what is expected there.
    /// `files` are removed when it ends.
    pub(super) fn start(
        name: &str,
        runtime: &Runtime,
        command: impl FnOnce(u16) -> Outcome<(Vec<String>, Vec<PathBuf>)>,
        expected: &[(String, Value)],
    ) -> Outcome<Side> {
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let (command, mut files) = command(port)?;
        let stderr = std::env::temp_dir().join(format!("aggregates-{}-{port}.log", std::process::id()));
        files.push(stderr.clone());
        let program = Program::start(name, MEASURED, &command, Stdio::null(), &stderr)?;
        let paths = expected.iter().map(|(path, _)| path.clone()).collect();
        let mut side = Side { program, address, paths, files };
        let client = Client::new(address);
        let mut last = String::new();
        let ready = || {
            last = runtime.block_on(differing(&client, expected)).unwrap_or_default();
            last.is_empty()
        };
        side.program.until(&stderr, ready).map_err(|why| format!("{why}\nthe last answer: {last}"))?;
        Ok(side)
    }

    /// Asks over so many connections, each for the next path when it has its answer.
    pub(super) fn window(&self, connections: usize, seconds: f64) -> Outcome<Window> {
        let mut load = Load::new(self.work(), connections)?;
        load.begin()?;
        load.window(WARM)?;
        let (before, began) = (self.program.spent(), busy(MEASURED[0]));
        let tally = load.window(seconds)?;
        let cost = self.program.spent().since(&before);
        if tally.answers == 0 {
            return Err(format!("nothing was answered in {seconds} s; {} errors", tally.errors));
        }
        let others = (busy(MEASURED[0]) - began - cost.total / 1e9).max(0.0) / tally.seconds;
        Ok(Window { tally, cost, others })
    }

    /// Its address and the requests that it is sent.
    pub(super) fn work(&self) -> Work {
        let request = |path: &String| format!("GET {path} HTTP/1.1\r\nHost: aggregates\r\n\r\n").into_bytes();
        Work { address: self.address, requests: self.paths.iter().map(request).collect(), fresh: false }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The first answer that is not what is expected, in words.
async fn differing(client: &Client, expected: &[(String, Value)]) -> Option<String> {
    for (path, expected) in expected {
        let answer = client.get(path).await;
        if answer.status != 200 || answer.json() != *expected {
            let begin: String = answer.body.chars().take(300).collect();
            return Some(format!("{path}: {} {begin}", answer.status));
        }
    }
    None
}
