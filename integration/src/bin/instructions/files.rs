//! The files of `src/` that one request walks through: those with a function that it calls.
//!
//! Counted in a build without optimisation, so that no function is inlined into a caller in another file, as the calls by
//! which a run with many requests differs from one with few: what only the start or a timer calls falls out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use integration::process::{cargo, root};

use crate::callgrind::{self, Costs, difference};
use crate::map;

const FEW: usize = 100;
const MANY: usize = 1_100;

/// A function belongs to a request if it is called at least this often for each. Timers, whose turns depend on the clock, stay
/// far below.
const CALLS: f64 = 0.5;

/// How many files a GET of the scenario `full` may walk through: 60 % of the 42 at commit ae9caad (integration/README.md).
const MOST: usize = 25;

/// The files that a request of a scenario walks through, from `src/`.
pub(crate) fn walked(scenario: &str) -> Result<BTreeSet<String>, String> {
    let program = build()?;
    let count = |requests| callgrind::count(&program, scenario, requests);
    let each = difference(&count(FEW)?, &count(MANY)?, (MANY - FEW) as f64);
    let files = called(&each, &root().join("src"));
    if files.is_empty() {
        return Err("callgrind names no file of src/: was the program built with debug = \"line-tables-only\"?".into());
    }
    Ok(files)
}

/// The files below a folder with a function that each request calls.
fn called(each: &Costs, folder: &Path) -> BTreeSet<String> {
    let often = each.calls.iter().filter(|(_, calls)| **calls >= CALLS);
    let below = often.filter_map(|((file, _), _)| Path::new(file).strip_prefix(folder).ok());
    below.map(|file| file.display().to_string()).collect()
}

/// Compares the files that a GET of the scenario `full` walks through with the list in `src/README.md`.
pub(crate) fn check(walked: &BTreeSet<String>) -> Result<(), String> {
    let readme = root().join("src/README.md");
    let text = std::fs::read_to_string(&readme).map_err(|error| format!("{}: {error}", readme.display()))?;
    compare(walked, &map::listed(&text, map::WALK)?)
}

fn compare(walked: &BTreeSet<String>, listed: &[String]) -> Result<(), String> {
    let mut wrong = String::new();
    for file in walked.iter().filter(|file| !listed.contains(file)) {
        wrong += &format!("  a GET walks through {file}, which is not listed\n");
    }
    for file in listed.iter().filter(|file| !walked.contains(*file)) {
        wrong += &format!("  {file} is listed, and a GET calls nothing in it\n");
    }
    if walked.len() > MOST {
        wrong += &format!("  a GET walks through {} files, {MOST} are allowed\n", walked.len());
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("src/README.md, `{}`:\n{wrong}{}", map::WALK, map::FORMAT)) }
}

/// Builds this program without optimisation, whatever the development profile says; its path.
fn build() -> Result<PathBuf, String> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "integration", "--bin", "instructions"]);
    // Where the profile already says so, these change nothing, and nothing is built twice.
    command.args(["--config", "profile.dev.opt-level=0", "--config", "profile.dev.debug=\"line-tables-only\""]);
    command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
    let output = command.output().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err("cargo could not build this program without optimisation".into());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    executable(&text).ok_or_else(|| "cargo does not say where it put what it built".into())
}

/// The program that cargo's messages name: <https://doc.rust-lang.org/cargo/reference/external-tools.html#artifact-messages>.
fn executable(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_walked_through_when_each_request_calls_a_function_of_it() {
        let mut each = Costs::default();
        for (file, calls) in [("/x/src/a.rs", 1.0), ("/x/src/b/c.rs", 0.5), ("/x/src/d.rs", 0.01), ("/y/e.rs", 9.0)] {
            each.calls.insert((file.into(), "f".into()), calls);
        }
        assert_eq!(called(&each, Path::new("/x/src")), ["a.rs", "b/c.rs"].map(String::from).into());
    }

    #[test]
    fn what_the_list_lacks_or_has_too_much_is_named() {
        let walked: BTreeSet<_> = ["a.rs", "b.rs"].map(String::from).into();
        assert_eq!(compare(&walked, &["b.rs".into(), "a.rs".into()]), Ok(()));
        let why = compare(&walked, &["b.rs".into(), "c.rs".into()]).unwrap_err();
        assert!(
            why.contains("through a.rs, which") && why.contains("c.rs is listed") && !why.contains("b.rs"),
            "{why}"
        );
        let many = (0..=MOST).map(|number| format!("{number}.rs")).collect();
        assert!(compare(&many, &[]).unwrap_err().contains("26 files, 25 are allowed"));
    }

    #[test]
    fn the_program_is_found_in_what_cargo_says() {
        let messages =
            "{\"reason\":\"a\",\"executable\":null}\n{\"executable\":\"/t/p\"}\n{\"reason\":\"build-finished\"}\n";
        assert_eq!(executable(messages), Some("/t/p".into()));
    }
}
