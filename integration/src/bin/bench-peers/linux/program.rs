//! Programs that are measured: started on their CPUs, observed through /proc with all their children, and ended with
//! their handle.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::system::{Outcome, now, pause};

/// A program at work, in a process group of its own. Dropped, the whole group is killed.
pub(crate) struct Program {
    pub(crate) child: Child,
    name: String,
}

/// CPU time so far of a program and its children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    /// By thread, nanoseconds.
    threads: HashMap<u32, u64>,
    /// Ticks of /proc/PID/stat, which counts threads that have ended, too.
    user: u64,
    system: u64,
}

/// CPU time between two moments, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) total: f64,
    pub(crate) user: f64,
}

impl Program {
    /// Starts a program; what it says goes to `said`.
    pub(crate) fn start(name: &str, cpus: &[usize], command: &[String], out: Stdio, said: &Path) -> Outcome<Program> {
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let list = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut starter = Command::new(std::env::current_exe().map_err(failed)?);
        starter.args(["--on", &list, &std::process::id().to_string()]).args(command);
        // Go's scheduler would use as many threads as the machine has cores.
        starter.env("GOMAXPROCS", cpus.len().to_string()).env("RUST_LOG", "warn");
        starter.stdin(Stdio::null()).stdout(out).stderr(File::create(said).map_err(failed)?).process_group(0);
        let child = starter.spawn().map_err(failed)?;
        Ok(Program { child, name: name.to_owned() })
    }

    /// Waits until `ready`; ten seconds at most.
    pub(crate) fn until(&mut self, said: &Path, mut ready: impl FnMut() -> bool) -> Outcome<()> {
        let deadline = now() + 10_000_000_000;
        while !ready() {
            super::system::go_on()?;
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || now() > deadline {
                let words = fs::read_to_string(said).unwrap_or_default();
                let last = words.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
                return Err(format!("{} does not answer: {}", self.name, last.join("\n")));
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// CPU time so far.
    pub(crate) fn spent(&self) -> Spent {
        let mut spent = Spent::default();
        for process in tree(self.child.id()) {
            for thread in numbers(&format!("/proc/{process}/task")) {
                let file = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
                let time = file.ok().and_then(|text| text.split(' ').next()?.parse().ok());
                spent.threads.insert(thread, time.unwrap_or(0));
            }
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            // After the name, which may hold anything.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
            spent.user += ticks(11);
            spent.system += ticks(12);
        }
        spent
    }

    /// Resident memory in KiB, all processes together.
    pub(crate) fn memory(&self) -> f64 {
        let of = |process| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        tree(self.child.id()).into_iter().filter_map(of).sum()
    }
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
    /// What was spent since `before`: the scheduler's exact times of the threads, or, should a thread have ended in
    /// between and taken its time with it, the ticks if they are more.
    pub(crate) fn since(&self, before: &Spent) -> Cost {
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
        // Ticks tell how the exact time divides.
        let share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        Cost { total, user: total * share }
    }
}

/// A process and all that it started.
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

/// Time that a CPU was busy for anybody, in seconds since the machine began.
pub(crate) fn busy(cpu: usize) -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{cpu} ");
    let Some(line) = stat.lines().find_map(|line| line.strip_prefix(&name)) else { return 0.0 };
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    // user, nice, system; idle and waiting are 3 and 4; irq, softirq, steal.
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
