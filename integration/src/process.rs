//! Programs that tests and the demo start: ended with their handle, by id, and nothing else.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A program at work. Dropped, it gets SIGTERM, and SIGKILL when it does not end within two seconds.
#[derive(Debug)]
pub struct Process {
    child: Child,
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
        use std::os::unix::process::CommandExt;
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its exit code, if it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends it: SIGTERM, then SIGKILL after `patience`.
    pub fn end(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        self.signal(Signal::TERM);
        self.wait(patience).or_else(|| {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(5))
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => pause(),
                _ => return None,
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the pace of looking for a child's end, outside of any runtime")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
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

/// The workspace's own programs, built as they are now in the profile of this one.
///
/// # Errors
/// What cargo said.
pub fn built(names: &[&str]) -> Result<Vec<PathBuf>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args([
        "build",
        "--quiet",
        "--package",
        "lictor",
        "--package",
        "mock-services",
        "--bins",
    ]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err("cargo could not build lictor and mock-services".into());
    }
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/PROFILE/demo, or target/PROFILE/deps/all-1234.
    let profile = exe.ancestors().find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    let profile = profile.ok_or("this program does not lie in cargo's target folder")?;
    Ok(names.iter().map(|name| profile.join(name)).collect())
}
