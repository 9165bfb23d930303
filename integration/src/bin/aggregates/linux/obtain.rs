//! Other aggregators, installed and built in cargo's target folder from their sources in `integration/aggregators`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use integration::measure::system::Outcome;
use integration::process::{root, target};

/// The oldest Node that undici runs with.
const NODE: (u32, u32) = (20, 18);

/// What was installed or built.
pub(super) struct Obtained {
    /// The program, or the folder in which it is.
    pub(super) place: PathBuf,
    /// What runs or built it. Its packages are those that its sources name.
    pub(super) version: String,
}

/// Installs undici by npm, for the program that Node runs.
pub(super) fn node() -> Outcome<Obtained> {
    let version = said(Command::new("node").arg("--version")).map_err(|why| format!("there is no Node: {why}"))?;
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < NODE {
        return Err(format!("Node is {}, and has to be {}.{} at least", version.trim(), NODE.0, NODE.1));
    }
    let folder = sources("node", &["package.json", "package-lock.json", "aggregator.mjs"])?;
    once(&folder, "package-lock.json", || {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
        said(&mut npm).map(drop).map_err(|why| format!("npm ci cannot install undici: {why}"))
    })?;
    Ok(Obtained { place: folder.join("aggregator.mjs"), version: format!("Node {}", version.trim()) })
}

/// Installs Flask, requests and gunicorn by pip, in an environment of their own. The place is the folder.
pub(super) fn python() -> Outcome<Obtained> {
    let version = said(Command::new("python3").arg("--version")).map_err(|why| format!("there is no Python: {why}"))?;
    let folder = sources("python", &["requirements.txt", "aggregator.py"])?;
    once(&folder, "requirements.txt", || {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear", "venv"]).current_dir(&folder);
        said(&mut venv).map_err(|why| format!("python3 -m venv: {why}"))?;
        let mut pip = Command::new(folder.join("venv/bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]);
        said(pip.current_dir(&folder)).map(drop).map_err(|why| format!("pip cannot install Flask and requests: {why}"))
    })?;
    Ok(Obtained { place: folder, version: version.trim().to_owned() })
}

/// Builds the program with KrakenD's core from this clone.
pub(super) fn lura(clone: Option<&Path>) -> Outcome<Obtained> {
    // Go could obtain it by itself only where its proxy of modules has it, which is not so everywhere.
    let clone = clone.ok_or("its source is not here: clone luraproject/lura from GitHub, and say --lura FOLDER")?;
    let clone = clone.canonicalize().map_err(|error| format!("{}: {error}", clone.display()))?;
    let folder = sources("lura", &["go.mod", "go.sum", "main.go"])?;
    let version = said(Command::new("go").arg("version")).map_err(|why| format!("there is no Go: {why}"))?;
    let go = |arguments: &[&str]| {
        let mut go = Command::new("go");
        // The machine's version control and workspace have no part in it.
        go.args(arguments).current_dir(&folder).env("GOWORK", "off").env("GOFLAGS", "-buildvcs=false");
        said(&mut go).map_err(|why| format!("go {}: {why}", arguments[0]))
    };
    go(&["mod", "edit", &format!("-replace=github.com/luraproject/lura/v2={}", clone.display())])?;
    eprintln!("Building KrakenD's core (half a minute the first time)...");
    go(&["build", "-mod=mod", "-o", "aggregator", "."])?;
    let mut git = Command::new("git");
    let commit = said(git.args(["describe", "--tags", "--always"]).current_dir(&clone)).unwrap_or_default();
    Ok(Obtained { place: folder.join("aggregator"), version: format!("{} with {}", commit.trim(), version.trim()) })
}

/// Copies sources, so that nothing is installed or built in the repository.
fn sources(name: &str, files: &[&str]) -> Outcome<PathBuf> {
    let folder = target()?.join("aggregators").join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for file in files {
        let from = root().join("integration/aggregators").join(name).join(file);
        fs::copy(&from, folder.join(file)).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(folder)
}

/// Installs what this file names, unless that was done for the same text.
fn once(folder: &Path, names: &str, install: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let wanted = read(names);
    if wanted.is_some() && wanted == read("installed") {
        return Ok(());
    }
    eprintln!("Installing what {names} names...");
    install()?;
    fs::write(folder.join("installed"), wanted.unwrap_or_default()).map_err(|error| error.to_string())
}

/// What a program prints; the end of what it says of a failure.
fn said(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last: Vec<_> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    Err(last.into_iter().rev().collect::<Vec<_>>().join(" / "))
}
