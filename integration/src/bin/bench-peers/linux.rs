//! The run of `cargo bench-peers` from its arguments to its report. The program also starts itself, with `--backend` as what
//! stands behind the proxies, and with `--on` to pin a proxy to its CPUs.

mod backend;
mod drawing;
mod measure;
mod mode;
mod open;
mod peers;
mod report;
mod scenario;
mod setup;
mod summary;
mod tables;
mod template;
mod transfers;
mod wrk;

use std::fs;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use integration::measure::system::{self, Outcome};
use integration::process::root;

use measure::{Measured, measure};
use report::Conditions;
use scenario::{GATEWAY, REST, Scenario};
use setup::{Options, Setup};

/// Runs what the arguments say.
pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("--backend") => backend::serve(),
        Some("--on") => Err(system::become_program(arguments)),
        _ => bench(Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn bench(mut options: Options) -> Outcome<()> {
    if options.scenario.is_empty() {
        options.scenario = Scenario::value_variants().to_vec();
    }
    let readme = root().join("README.md");
    if options.write {
        // README.md must have room for the summary: better an error now than after an hour of measuring.
        summary::replace(&read(&readme)?, "")?;
    }
    system::heed_signals()?;
    system::raise_open_files()?;
    if !GATEWAY.iter().chain(REST).all(|cpu| system::may_use(*cpu)) {
        return Err("CPUs 0 and 1 are needed: one for what is measured, one for the rest".into());
    }
    let conditions = Conditions::now();
    // Setting up builds the gateway, on all CPUs. So this thread is pinned to one only after it.
    let setup = Setup::prepare(options)?;
    system::pin(REST)?;
    let measured = setup.options.scenario.iter().map(|scenario| measure(*scenario, &setup));
    let measured = measured.collect::<Outcome<Vec<Measured>>>()?;
    println!("{}", report::report(&setup, &conditions, &measured));
    if let Some(file) = &setup.options.json {
        let figures = serde_json::to_string_pretty(&report::figures(&setup, &conditions, &measured));
        write(file, &figures.map_err(|error| error.to_string())?)?;
    }
    if setup.options.write {
        let versions: Vec<(&str, &str)> =
            setup.found.iter().map(|found| (found.peer.name, found.version.as_str())).collect();
        let table = summary::summary(&conditions, &measured, &versions, setup.options.rate);
        write(&readme, &summary::replace(&read(&readme)?, &table)?)?;
        write(&root().join(summary::DRAWING), &summary::drawing(&conditions, &measured))?;
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Outcome<String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &std::path::Path, text: &str) -> Outcome<()> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
