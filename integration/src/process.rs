//! Programs that tests and the demo start: ended with their handle, by id, and nothing else.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A program at work. Dropped, it gets SIGTERM, and SIGKILL when it does not end within two seconds. Where nothing is dropped,
/// because this process was killed or the handle lies in a `static`, a guard kills it when this process has gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Until the child was reaped: from then on its id may be someone else's.
    guard: Option<Guard>,
    /// What it is called in messages.
    pub name: String,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> std::io::Result<Process> {
        // A process group of its own: Ctrl-C on the terminal is the parent's to pass on, in its order.
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let mut process = Process { child, guard: None, name: name.to_owned() };
        process.guard = Some(Guard::over(process.id())?);
        Ok(process)
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it prints, if its stdout is a pipe and nobody has taken it yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its exit code, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        self.guard = None;
        Some(status)
    }

    /// Ends it: SIGTERM, then SIGKILL after `patience`.
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(patience).or_else(|| {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(5))
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ended() {
                None if Instant::now() < deadline => pause(Duration::from_millis(10)),
                status => return status,
            }
        }
    }
}

/// A shell that waits on a pipe from this process. A line says that all is well; the pipe's end says that this process has gone.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn over(process: u32) -> std::io::Result<Guard> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read -r all_is_well || kill -KILL \"$1\"", "guard"]).arg(process.to_string());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().map(Guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"\n");
        }
        let _ = self.0.wait();
    }
}

/// Waits for so long, outside of any runtime: the pace of looking at what another program does, or the window of a measurement.
#[expect(clippy::disallowed_methods, reason = "the one pause of programs that have no runtime while they wait")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.end(Duration::from_secs(2));
        }
    }
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("integration lies in the repository").to_owned()
}

/// The cargo that runs this program, in the repository. `cargo run` has described its package in variables that build scripts of
/// others watch: with them, these scripts would all run again.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// The gateway, built from its sources as it is shipped: in the release profile, with its default features.
///
/// # Errors
/// What cargo said.
pub fn shipped() -> Result<PathBuf, String> {
    // The package alone: together with the tests, cargo would build dependencies with features that are not shipped.
    let arguments = ["build", "--quiet", "--release", "--package", "lictor", "--bin", "lictor"];
    let status = cargo().args(arguments).status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err("cargo could not build lictor".into());
    }
    Ok(target()?.join("release/lictor"))
}

/// Cargo's target folder, in which this program lies: as target/PROFILE/demo, or target/PROFILE/deps/all-1234.
///
/// # Errors
/// When it lies elsewhere.
pub fn target() -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = exe.ancestors().find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let target = profile.and_then(Path::parent).map(Path::to_owned);
    target.ok_or_else(|| "this program does not lie in cargo's target folder".to_owned())
}

/// The workspace's own programs, built as they are now. The profile, the packages and their features are those that this program
/// was built with, so that cargo finds all dependencies built and only links.
///
/// # Errors
/// What cargo said.
pub fn built(names: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut command = cargo();
    command.args(["build", "--quiet"]);
    // Features are unified over the packages that are named, not over those that are built.
    for package in ["lictor", "mock-services", "integration"] {
        command.args(["--package", package]);
    }
    if !cfg!(feature = "tests") {
        command.arg("--no-default-features");
    }
    for name in names {
        command.args(["--bin", name]);
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err(format!("cargo could not build {}", names.join(" and ")));
    }
    let profile = target()?.join(if cfg!(debug_assertions) { "debug" } else { "release" });
    Ok(names.iter().map(|name| profile.join(name)).collect())
}

/// What a program prints.
///
/// # Errors
/// That it cannot be started, or what it says on stderr when it fails.
pub fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Says on stderr that the test of this thread was not run, and why.
pub fn not_run(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not by a macro, whose text the test harness would keep to itself.
    let _ = writeln!(std::io::stderr(), "NOT RUN: {test}: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        Process::start("sleep", Command::new("sleep").arg("60")).expect("every machine has sleep")
    }

    #[test]
    fn a_program_ends_when_the_process_that_started_it_has_gone() {
        let mut process = sleeper();
        // What the system does when this process ends without dropping anything.
        drop(process.guard.as_mut().and_then(|guard| guard.0.stdin.take()));
        let status = process.wait(Duration::from_secs(5)).expect("the guard killed it");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_program_is_asked_to_end_before_it_is_killed() {
        let status = sleeper().end(Duration::from_secs(5)).expect("it ended");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }
}
