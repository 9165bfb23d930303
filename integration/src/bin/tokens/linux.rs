//! The steps, and what they print.

mod backend;
mod connection;
mod cost;
mod gateway;
mod pace;
mod rotation;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use integration::process;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Measures what tokens cost beside an API key, and what callers notice while an issuer's keys change.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure; else the one of this workspace, built as this program was.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Only these steps.
    #[arg(long, value_delimiter = ',', default_value = "cost,rotation")]
    steps: Vec<Step>,
    /// How many tokens are sent in turn.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// Over how many connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How many pairs of windows, each in both orders.
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// How many requests a window has.
    #[arg(long, default_value_t = 40_000)]
    requests: usize,
    /// Requests with good tokens a second, while keys are rotated.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// How often keys are rotated.
    #[arg(long, default_value_t = 10)]
    rotations: u32,
    /// Seconds between two rotations. Where keys sign at once, a gateway can follow one each 30 s.
    #[arg(long, default_value_t = 35)]
    every: u32,
    /// Keys are shown for so many seconds before they sign, as careful issuers do it; 0: they sign at once.
    #[arg(long, default_value_t = 0)]
    ahead: u32,
    /// How many tokens with a `kid` that no key has a stranger sends meanwhile.
    #[arg(long, default_value_t = 10_000)]
    strange: u32,
    /// For how many seconds the issuer hangs afterwards.
    #[arg(long, default_value_t = 30)]
    hung: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Step {
    /// What a request costs: with a key, one token, many in turn, and tokens that were never seen before.
    Cost,
    /// What callers notice of rotations, of a stranger, and of an issuer that hangs.
    Rotation,
}

type Outcome<T> = Result<T, String>;

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let options = Options::parse();
    let program = match &options.gateway {
        Some(program) => program.clone(),
        None => process::built(&["lictor"])?.remove(0),
    };
    // The gateway is alone on CPU 0.
    let mut others = CpuSet::new();
    others.set(1);
    sched_setaffinity(None, &others).map_err(|error| format!("this machine has no CPU 1: {error}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    for step in &options.steps {
        match step {
            Step::Cost => runtime.block_on(cost::measure(&options, &program))?,
            Step::Rotation => runtime.block_on(rotation::measure(&options, &program))?,
        }
    }
    Ok(())
}
