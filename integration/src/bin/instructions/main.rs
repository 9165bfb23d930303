//! Counts the instructions of a request by callgrind: a figure without noise, which is held to a recorded budget.
//!
//! The count of a run with 1,000 requests is subtracted from that of a run with 11,000, so that start and end cost nothing. It
//! has the instructions of this process, not those of the kernel.

mod callgrind;
mod files;
mod map;
mod rig;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use callgrind::{Costs, difference};

/// The allocator of the program that is shipped.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The field by which the load generators say who they are, in all scenarios but one.
const KEY: &str = "X-API-Key: test-api-key";

/// The scenarios that are counted, each with the configuration that it is measured with elsewhere, too, and what its requests say of who
/// sends them.
const SCENARIOS: [(&str, &str, &str); 4] = [
    ("bare", include_str!("../../../measure/bare.toml"), KEY),
    ("full", include_str!("../../../measure/full.toml"), KEY),
    ("cached", include_str!("../../../measure/cached.toml"), KEY),
    (
        "jwt",
        include_str!("../../../measure/jwt.toml"),
        concat!("Authorization: Bearer ", include_str!("../../../measure/jwt.token")),
    ),
];

const FEW: usize = 1_000;
const MANY: usize = 11_000;

/// By how much a scenario may exceed its budget: as much as inlining may change by itself, and less than a feature costs.
const TOLERANCE: f64 = 1.03;

const USAGE: &str =
    "usage: instructions [--check | --record | --functions SCENARIO | --files SCENARIO | --files full --check]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["run", scenario, requests] => run(scenario, requests),
        [] => measure().map(|found| print!("{}", table(&found))).map_err(Refusal::Failed),
        ["--check"] => check(),
        ["--record"] => record(),
        ["--functions", scenario] => functions(scenario),
        ["--files", "full", "--check"] => walked("full").and_then(|files| Ok(files::check(&files)?)),
        ["--files", scenario] => walked(scenario).map(drop),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal::Failed(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        Err(Refusal::Elsewhere(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Why the program ends with an error.
enum Refusal {
    Failed(String),
    /// The figures cannot be compared: the budget was recorded with another toolchain.
    Elsewhere(String),
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(why: T) -> Refusal {
        Refusal::Failed(why.into())
    }
}

/// Runs one scenario: what callgrind executes.
fn run(scenario: &str, requests: &str) -> Result<(), Refusal> {
    let (_, toml, who) = SCENARIOS.iter().find(|(name, ..)| *name == scenario).ok_or(USAGE)?;
    Ok(rig::run(toml, who.trim_end(), requests.parse().map_err(|_| USAGE)?)?)
}

/// Counts what a request of each scenario costs.
fn measure() -> Result<Vec<(&'static str, Costs)>, String> {
    SCENARIOS.iter().map(|&(name, ..)| Ok((name, cost(name)?))).collect()
}

/// Counts what a request of one scenario costs.
fn cost(scenario: &str) -> Result<Costs, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let count = |requests| callgrind::count(&this, scenario, requests);
    Ok(difference(&count(FEW)?, &count(MANY)?, (MANY - FEW) as f64))
}

/// The instructions by the crate that they come from, a row for each.
fn table(found: &[(&str, Costs)]) -> String {
    let mut crates: Vec<&String> = found.iter().flat_map(|(_, costs)| costs.crates.keys()).collect();
    crates.sort();
    crates.dedup();
    let most = |name: &&String| found.iter().map(|(_, costs)| costs.of(name) as i64).sum::<i64>();
    crates.sort_by_key(|name| -most(name));
    let row = |name: &str, of: &dyn Fn(&Costs) -> f64| {
        let cells: String = found.iter().map(|(_, costs)| format!(" {:.0} |", of(costs))).collect();
        format!("| {name} |{cells}\n")
    };
    let names: String = found.iter().map(|(name, _)| format!(" {name} |")).collect();
    let mut text = format!("| instructions a request |{names}\n| --- |{}\n", " ---: |".repeat(found.len()));
    text += &row("all", &|costs| costs.total);
    for name in crates.into_iter().filter(|name| most(name) >= 30) {
        text += &row(name, &|costs| costs.of(name));
    }
    text
}

/// The path of the budget.
fn budget() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("measure/instructions.json")
}

/// The compiler and the libc. Figures of another toolchain cannot be compared.
fn toolchain() -> Result<String, String> {
    Ok(format!(
        "{}; {}",
        callgrind::output_of("rustc", &["--version"])?,
        callgrind::output_of("getconf", &["GNU_LIBC_VERSION"])?
    ))
}

/// Writes the budget.
fn record() -> Result<(), Refusal> {
    let found = measure()?;
    print!("{}", table(&found));
    let scenarios: serde_json::Map<_, _> = found.iter().map(|(name, costs)| (name.to_string(), costs.json())).collect();
    let text = serde_json::json!({ "toolchain": toolchain()?, "instructions a request": scenarios });
    let text = serde_json::to_string_pretty(&text).map_err(|error| error.to_string())?;
    Ok(std::fs::write(budget(), text + "\n").map_err(|error| format!("{}: {error}", budget().display()))?)
}

/// Compares with the budget.
fn check() -> Result<(), Refusal> {
    let text = std::fs::read_to_string(budget()).map_err(|error| format!("{}: {error}", budget().display()))?;
    let recorded: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let (here, there) = (toolchain()?, recorded["toolchain"].as_str().unwrap_or_default());
    if here != there {
        return Err(Refusal::Elsewhere(format!(
            "the budget was recorded with\n  {there}\nand this is\n  {here}\nRecord it anew: cargo instructions --record"
        )));
    }
    let found = measure()?;
    print!("{}", table(&found));
    let mut grown = String::new();
    for (name, costs) in &found {
        let budget = Costs::from_json(&recorded["instructions a request"][name])?;
        grown += &costs.over(&budget, TOLERANCE).map(|why| format!("{name}: {why}\n")).unwrap_or_default();
    }
    if grown.is_empty() { Ok(()) } else { Err(grown.into()) }
}

/// Prints the files of `src/` that a request of a scenario walks through, and how many they are.
fn walked(scenario: &str) -> Result<BTreeSet<String>, Refusal> {
    let files = files::walked(scenario)?;
    files.iter().for_each(|file| println!("{file}"));
    println!("{} files", files.len());
    Ok(files)
}

/// Prints a scenario's instructions by function, those with most first.
fn functions(scenario: &str) -> Result<(), Refusal> {
    let costs = cost(scenario)?;
    let mut rows: Vec<_> = costs.functions.iter().filter(|(_, cost)| **cost >= 20.0).collect();
    rows.sort_by(|a, b| b.1.total_cmp(a.1));
    for (name, cost) in rows {
        println!("{cost:8.0}  {name}");
    }
    Ok(())
}
