//! Programs that are measured: started on their CPUs, observed through /proc with all their children, and killed when their
//! handle is dropped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::pause;
use rustix::process::{Pid, Signal, kill_process_group};

use super::system::{Outcome, now};

/// A running program in a process group of its own. Dropping it kills the whole group.
pub struct Program {
    /// Its first process.
    pub child: Child,
    name: String,
}

/// The CPU time that a program and its children have used so far.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// By thread, in nanoseconds.
    threads: HashMap<u32, u64>,
    /// Ticks of /proc/PID/stat, which includes threads that have ended.
    user: u64,
    system: u64,
}

/// The CPU time between two moments, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// In user mode and in the kernel.
    pub total: f64,
    /// In user mode.
    pub user: f64,
}

impl Program {
    /// Starts a program on these CPUs, with its standard error in a file.
    pub fn start(name: &str, cpus: &[usize], command: &[String], out: Stdio, stderr: &Path) -> Outcome<Program> {
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let list = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut starter = Command::new(std::env::current_exe().map_err(failed)?);
        starter.args(["--on", &list, &std::process::id().to_string()]).args(command);
        // Without this, Go's scheduler would use as many threads as the machine has cores.
        starter.env("GOMAXPROCS", cpus.len().to_string()).env("RUST_LOG", "warn");
        starter.stdin(Stdio::null()).stdout(out).stderr(File::create(stderr).map_err(failed)?).process_group(0);
        let child = starter.spawn().map_err(failed)?;
        Ok(Program { child, name: name.to_owned() })
    }

    /// Waits until the program is ready, ten seconds at most. An error quotes the end of its standard error.
    pub fn until(&mut self, stderr: &Path, mut ready: impl FnMut() -> bool) -> Outcome<()> {
        let deadline = now() + 10_000_000_000;
        while !ready() {
            super::system::go_on()?;
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || now() > deadline {
                let words = fs::read_to_string(stderr).unwrap_or_default();
                let last = words.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                return Err(format!("{} does not answer: {}", self.name, last.join("\n")));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The CPU time that it has used so far.
    pub fn spent(&self) -> Spent {
        let mut spent = Spent::default();
        for process in tree(self.child.id()) {
            for thread in numbers(&format!("/proc/{process}/task")) {
                let file = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
                let time = file.ok().and_then(|text| text.split(' ').next()?.parse().ok());
                spent.threads.insert(thread, time.unwrap_or(0));
            }
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // The fields are counted after the program's name, which may contain anything.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
            spent.user += ticks(11);
            spent.system += ticks(12);
        }
        spent
    }

    /// Resident memory in KiB, of all processes together.
    pub fn memory(&self) -> f64 {
        tree(self.child.id()).into_iter().map(|process| of_status(process, "VmRSS:")).sum()
    }

    /// The most resident memory of its first process in KiB, since it started or [`Program::forget_peak`].
    pub fn peak(&self) -> f64 {
        of_status(self.child.id(), "VmHWM:")
    }

    /// From now on the peak is what is resident now, or more (`proc_pid_clear_refs(5)`).
    pub fn forget_peak(&self) -> Outcome<()> {
        let file = format!("/proc/{}/clear_refs", self.child.id());
        fs::write(&file, "5").map_err(|error| format!("{file}: {error}"))
    }
}

/// A figure of a process in KiB; 0 where it has ended.
fn of_status(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Spent {
    /// The CPU time since `before`: the exact times of the threads, by the scheduler. When a thread has ended in between, its
    /// exact time is lost, and the ticks count if they are more.
    pub fn since(&self, before: &Spent) -> Cost {
        let exact: u64 = self
            .threads
            .iter()
            .map(|(thread, time)| time.saturating_sub(before.threads.get(thread).copied().unwrap_or(0)))
            .sum();
        let tick = 1e9 / rustix::param::clock_ticks_per_second() as f64;
        let user = self.user.saturating_sub(before.user) as f64 * tick;
        let system = self.system.saturating_sub(before.system) as f64 * tick;
        let ended = before.threads.keys().any(|thread| !self.threads.contains_key(thread));
        let total = if ended { (exact as f64).max(user + system) } else { exact as f64 };
        // The exact time is divided into user and system as the ticks are.
        let share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        Cost { total, user: total * share }
    }
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(process) = found.get(at).copied() {
        at += 1;
        for thread in numbers(&format!("/proc/{process}/task")) {
            let children = fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
    }
    found
}

fn numbers(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The time that a CPU was busy, in seconds since the machine started.
pub fn busy(cpu: usize) -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{cpu} ");
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix(&name)) else { return 0.0 };
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    // user, nice, system, irq, softirq and steal; 3 and 4 are idle and iowait.
    let sum: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    sum / rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(threads: &[(u32, u64)], user: u64, system: u64) -> Spent {
        Spent { threads: threads.iter().copied().collect(), user, system }
    }

    #[test]
    fn cpu_time_is_the_schedulers_and_a_new_thread_counts_from_nothing() {
        let cost = spent(&[(1, 150), (2, 30)], 30, 10).since(&spent(&[(1, 100)], 0, 0));
        assert_eq!((cost.total, cost.user), (80.0, 60.0));
    }

    #[test]
    fn a_thread_that_ended_takes_no_time_with_it() {
        let cost = spent(&[(1, 100)], 4, 0).since(&spent(&[(1, 100), (2, 5)], 2, 0));
        assert!(cost.total >= 1e6, "{cost:?}");
    }
}
