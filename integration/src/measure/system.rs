//! What the benchmark needs of Linux: clocks, CPUs, open files, pauses, and the signals that end it.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::process::pause;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// A result whose error is the reason in words.
pub type Outcome<T> = Result<T, String>;

/// The open files that a run needs: both ends of every connection, and some more.
const OPEN_FILES: u64 = 40_000;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Whether a signal has asked for the end.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// An error as soon as a signal has asked for the end.
pub fn go_on() -> Outcome<()> {
    if stopped() { Err("stopped before all was measured".into()) } else { Ok(()) }
}

/// From now on Ctrl-C and SIGTERM set a flag that every loop checks, so that programs which were started are ended in order. A
/// second signal ends this process at once, and the system ends its children.
pub fn heed_signals() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let listen = async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            return;
        };
        loop {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if STOPPED.swap(true, Ordering::Relaxed) {
                std::process::exit(1);
            }
            eprintln!("ending what was started...");
        }
    };
    std::thread::spawn(move || runtime.block_on(listen));
    Ok(())
}

/// The monotonic clock, in nanoseconds.
pub fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// The CPU time of this thread, in nanoseconds.
pub fn thread_cpu() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Pins this thread, and the programs that it starts, to some CPUs.
pub fn pin(cpus: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).map_err(|error| format!("cannot stay on CPUs {cpus:?}: {error}"))
}

/// Whether this process may run on a CPU.
pub fn may_use(cpu: usize) -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.is_set(cpu))
}

/// Raises the limit of open files for this process and the programs that it starts.
pub fn raise_open_files() -> Outcome<()> {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES.max(most)) };
    // Only root may raise the hard limit. Below it there is enough for all scenarios but `idle`.
    setrlimit(Resource::Nofile, wanted)
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }))
        .map_err(|error| format!("the number of open files cannot be raised: {error}"))
}

/// Runs `bench-peers --on CPUS PARENT PROGRAM …`: pins this process to the CPUs, lets the system send it SIGTERM when its
/// parent ends, and replaces it by the program. Returns why that failed. It takes a process of its own because code between
/// fork and exec would be unsafe.
pub fn become_program(mut arguments: impl Iterator<Item = String>) -> String {
    let cpus: Vec<usize> = arguments.next().iter().flat_map(|list| list.split(',')).flat_map(str::parse).collect();
    let parent = arguments.next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let Some(program) = arguments.next() else { return "--on CPUS PARENT PROGRAM ARGUMENTS".into() };
    if let Err(why) = pin(&cpus) {
        return why;
    }
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.to_string();
    }
    // The parent may have ended before the signal was set.
    if getppid() != parent {
        return "the parent has gone".into();
    }
    let error = Command::new(&program).args(arguments).exec();
    format!("{program}: {error}")
}

/// Pauses for some seconds, or until a signal asks for the end.
pub fn settle(seconds: f64) -> Outcome<()> {
    let end = now() + (seconds * 1e9) as u64;
    while now() < end {
        go_on()?;
        pause(Duration::from_millis(10));
    }
    Ok(())
}
