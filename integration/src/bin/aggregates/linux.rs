//! The steps of `cargo aggregates`. The program also starts itself, with `--on` to pin what is measured to its CPU.

mod cost;
mod gateway;
mod memory;
mod obtain;
mod peers;
mod services;
mod side;
mod slow;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use integration::measure::system::{self, Outcome};
use integration::process::shipped;

use peers::Peer;
use services::Services;

/// What is measured is alone on this CPU.
const MEASURED: &[usize] = &[0];
/// Load and services.
const REST: &[usize] = &[1];

/// Measures an aggregate of three services: what it costs beside requests for its parts and beside other aggregators, how long it takes
/// beside its slowest part, and how much memory a thousand at once take.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo aggregates")]
struct Options {
    /// The program to measure; else the one of this workspace, built as it is shipped.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Only these steps.
    #[arg(long, value_delimiter = ',', default_value = "cost,slow,memory")]
    steps: Vec<Step>,
    /// Beside whom; those that cannot be had here are named, with the reason.
    #[arg(long, value_delimiter = ',', default_value = "lura,node,python")]
    peers: Vec<Peer>,
    /// A clone of KrakenD's core (luraproject/lura), which is built in cargo's target folder.
    #[arg(long)]
    lura: Option<PathBuf>,
    /// How often each is measured, in turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Seconds that are counted in a round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Connections that ask in the step `cost`.
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// Milliseconds after which the slow part answers in the step `slow`.
    #[arg(long, default_value_t = 20)]
    delay: u32,
    /// How many ask at once in the step `memory`.
    #[arg(long, default_value_t = 1000)]
    crowd: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Step {
    /// CPU time of an aggregate of three parts of 2 KiB.
    Cost,
    /// How long an aggregate takes beside its slowest part.
    Slow,
    /// Memory of many aggregates at once, of three parts of 100 KiB.
    Memory,
}

/// What all steps need.
struct Setup {
    options: Options,
    gateway: PathBuf,
    services: Services,
    /// For requests whose answers are read.
    runtime: tokio::runtime::Runtime,
}

pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("--on") => Err(system::become_program(arguments)),
        _ => run(Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Outcome<()> {
    system::heed_signals()?;
    system::raise_open_files()?;
    if !MEASURED.iter().chain(REST).all(|cpu| system::may_use(*cpu)) {
        return Err("CPUs 0 and 1 are needed: one for what is measured, one for the rest".into());
    }
    let gateway = match &options.gateway {
        Some(program) => program.clone(),
        None => shipped()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    // What is installed and built for peers may have all CPUs; the services' thread and the load may not.
    let peers = if options.steps.contains(&Step::Cost) { peers::obtain(&options) } else { Vec::new() };
    system::pin(REST)?;
    let setup = Setup { services: Services::start()?, options, gateway, runtime };
    for step in &setup.options.steps {
        match step {
            Step::Cost => cost::measure(&setup, &peers)?,
            Step::Slow => slow::measure(&setup)?,
            Step::Memory => memory::measure(&setup)?,
        }
    }
    Ok(())
}
