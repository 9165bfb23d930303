//! What a run of the benchmark needs: its options, a folder, the backend, and the proxies that this machine has.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Parser;
use integration::measure::program::Program;
use integration::measure::system::Outcome;
use integration::process::shipped;

use super::peers::{Found, LICTOR, PEERS};
use super::scenario::{REST, Scenario};

/// Lictor beside other reverse proxies: the same work for each, in turn, on one machine. Prints a report in Markdown.
#[derive(Parser)]
#[command(bin_name = "cargo bench-peers")]
pub(crate) struct Options {
    /// What to measure: all, unless it is said; several with commas or by saying it again
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) scenario: Vec<Scenario>,
    /// Rounds of each scenario [default: 5; open 7; idle and bodies 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Seconds that are counted in a round [default: 6; open 20]
    #[arg(long, value_parser = positive)]
    pub(crate) seconds: Option<f64>,
    /// Who takes part [default: whoever this machine has]
    #[arg(long, value_delimiter = ',', value_parser = known)]
    peers: Vec<String>,
    /// Connections of the generator
    #[arg(long, default_value_t = 64, value_parser = connections)]
    pub(crate) conns: usize,
    /// Requests a second of the open loop
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: u64,
    /// A file for the figures of every round
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Puts a summary into README.md and draws integration/measure/peers.svg
    #[arg(long)]
    pub(crate) write: bool,
}

fn known(text: &str) -> Result<String, String> {
    let names = PEERS.map(|peer| peer.name.to_lowercase());
    let name = text.to_lowercase();
    if names.contains(&name) { Ok(name) } else { Err(format!("one of {}", names.join(", "))) }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds)).ok_or_else(|| "from 0.1 to 600".into())
}

fn connections(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|many| (1..=4000).contains(many)).ok_or_else(|| "from 1 to 4000".into())
}

impl Options {
    /// The rounds that the command line asks for.
    pub(crate) fn rounds(&self) -> Option<usize> {
        self.rounds.map(usize::from)
    }
}

/// Two instances that listen, on CPUs of their own.
pub(crate) struct Backend {
    /// Held until the run is over.
    pub(crate) program: Program,
    pub(crate) ports: [u16; 2],
}

impl Backend {
    /// Starts a backend on these CPUs.
    pub(crate) fn start(folder: &Path, cpus: &[usize]) -> Outcome<Backend> {
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        let command = [exe.display().to_string(), "--backend".into()];
        let mut program = Program::start("the backend", cpus, &command, Stdio::piped(), &folder.join("backend"))?;
        let mut ports = [0; 2];
        let mut lines = BufReader::new(program.child.stdout.take().ok_or("the backend says nothing")?).lines();
        for port in &mut ports {
            let line = lines.next().and_then(Result::ok).and_then(|line| line.parse().ok());
            *port = line.ok_or("the backend does not say where it listens")?;
        }
        Ok(Backend { program, ports })
    }

    /// The address of the first instance.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }
}

/// What is set up for a run. Dropping it ends every program that it started, and removes its files.
pub(crate) struct Setup {
    pub(crate) options: Options,
    pub(crate) backend: Backend,
    pub(crate) found: Vec<Found>,
    /// Proxies that should take part and are not on this machine.
    pub(crate) missing: Vec<&'static str>,
    /// What went wrong during the run, for the report.
    pub(crate) notes: RefCell<Vec<String>>,
    pub(crate) folder: PathBuf,
}

impl Setup {
    /// Builds the gateway, looks for the other proxies, and starts the backend.
    pub(crate) fn prepare(options: Options) -> Outcome<Setup> {
        eprintln!("Building {LICTOR} (minutes the first time: everything is optimised together)...");
        let lictor = shipped()?;
        let folder = std::env::temp_dir().join(format!("bench-peers-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let wanted = |name: &str| {
            options.peers.is_empty() || options.peers.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for peer in PEERS.iter().filter(|peer| wanted(peer.name)) {
            match peer.find(&lictor) {
                Some(peer) => found.push(peer),
                None => missing.push(peer.name),
            }
        }
        if found.is_empty() {
            return Err("none of the proxies to measure is on this machine's PATH".into());
        }
        let backend = Backend::start(&folder, REST)?;
        Ok(Setup { options, backend, found, missing, notes: RefCell::default(), folder })
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
