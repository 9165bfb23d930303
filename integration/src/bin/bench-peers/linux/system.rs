//! What is asked of Linux: clocks, CPUs, open files, a pause, and word of Ctrl-C.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// What ends a run: the reason, in words.
pub(crate) type Outcome<T> = Result<T, String>;

/// The open files that a run needs: both ends of every connection, with room.
const OPEN_FILES: u64 = 40_000;

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Whether somebody wants this to end.
pub(crate) fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// An error as soon as somebody wants this to end.
pub(crate) fn go_on() -> Outcome<()> {
    if stopped() { Err("stopped before all was measured".into()) } else { Ok(()) }
}

/// From now on Ctrl-C and SIGTERM only set a mark that every loop looks at, so that what was started is ended; a
/// second one ends this process at once, and the system ends its children.
pub(crate) fn heed_signals() -> Outcome<()> {
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

/// Nanoseconds of the clock that only goes forward.
pub(crate) fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds that this thread has spent on a CPU.
pub(crate) fn thread_cpu() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Keeps this thread, and what it starts, on some CPUs.
pub(crate) fn pin(cpus: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    sched_setaffinity(None, &set).map_err(|error| format!("cannot stay on CPUs {cpus:?}: {error}"))
}

/// Whether this process may run on a CPU.
pub(crate) fn may_use(cpu: usize) -> bool {
    sched_getaffinity(None).is_ok_and(|set| set.is_set(cpu))
}

/// As many open files as the idle connections need, for this process and what it starts.
pub(crate) fn raise_open_files() -> Outcome<()> {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES.max(most)) };
    // Only root may go beyond the hard limit; what is allowed is enough for all but the idle connections.
    setrlimit(Resource::Nofile, wanted)
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }))
        .map_err(|error| format!("the number of open files cannot be raised: {error}"))
}

/// `bench-peers --on CPUS PARENT PROGRAM …`: becomes the program, on these CPUs, and gets SIGTERM when its parent has
/// gone. A program of its own because what runs between fork and exec would be unsafe code.
pub(crate) fn become_program(mut arguments: impl Iterator<Item = String>) -> String {
    let cpus: Vec<usize> = arguments.next().iter().flat_map(|list| list.split(',')).flat_map(str::parse).collect();
    let parent = arguments.next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    let Some(program) = arguments.next() else { return "--on CPUS PARENT PROGRAM ARGUMENTS".into() };
    if let Err(why) = pin(&cpus) {
        return why;
    }
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.to_string();
    }
    // It may have gone before the signal was asked for.
    if getppid() != parent {
        return "the parent has gone".into();
    }
    let error = Command::new(&program).args(arguments).exec();
    format!("{program}: {error}")
}

/// The pace of looking for something that another program does.
#[expect(clippy::disallowed_methods, reason = "the one pause of a program that has no runtime while it measures")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Pauses as long as this, or until somebody wants an end.
pub(crate) fn settle(seconds: f64) -> Outcome<()> {
    let end = now() + (seconds * 1e9) as u64;
    while now() < end {
        go_on()?;
        pause(Duration::from_millis(10));
    }
    Ok(())
}
