//! The whole of it: `cargo bench-peers`, and the two things that this program is for its own use, `--backend` and
//! `--on`.

mod answer;
mod backend;
mod drawing;
mod figures;
mod load;
mod measure;
mod mode;
mod open;
mod peers;
mod poll;
mod program;
mod report;
mod scenario;
mod stage;
mod summary;
mod system;
mod tables;
mod template;
mod transfers;
mod wrk;

use std::fs;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use integration::process::root;

use measure::{Measured, measure};
use report::Setting;
use scenario::{GATEWAY, REST, Scenario};
use stage::{Options, Stage};
use system::Outcome;

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
        // An hour of measuring for nothing would be a pity.
        summary::replace(&read(&readme)?, "")?;
    }
    system::heed_signals()?;
    system::raise_open_files()?;
    if !GATEWAY.iter().chain(REST).all(|cpu| system::may_use(*cpu)) {
        return Err("CPUs 0 and 1 are needed: one for what is measured, one for the rest".into());
    }
    let setting = Setting::look();
    // Before this thread stays on one CPU: building takes all that there are.
    let stage = Stage::set(options)?;
    system::pin(REST)?;
    let measured = stage.options.scenario.iter().map(|scenario| measure(*scenario, &stage));
    let measured = measured.collect::<Outcome<Vec<Measured>>>()?;
    println!("{}", report::report(&stage, &setting, &measured));
    if let Some(file) = &stage.options.json {
        let figures = serde_json::to_string_pretty(&report::figures(&stage, &setting, &measured));
        write(file, &figures.map_err(|error| error.to_string())?)?;
    }
    if stage.options.write {
        let versions: Vec<(&str, &str)> =
            stage.found.iter().map(|found| (found.peer.name, found.version.as_str())).collect();
        let table = summary::summary(&setting, &measured, &versions, stage.options.rate);
        write(&readme, &summary::replace(&read(&readme)?, &table)?)?;
        write(&root().join(summary::DRAWING), &summary::drawing(&setting, &measured))?;
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Outcome<String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &std::path::Path, text: &str) -> Outcome<()> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
