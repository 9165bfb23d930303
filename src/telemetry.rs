//! What the process tells its operators: logs on stderr, access lines on stdout, metrics for Prometheus.

pub mod access;
pub mod exposition;
pub mod metrics;
pub mod output;
pub mod process;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use output::{Descriptor, Output};

/// How many bytes of log lines may wait to be written.
const ROOM: usize = 1024 * 1024;

/// How long the end of the process waits for a reader to take what it has not read yet.
pub const LAST_LINES: Duration = Duration::from_secs(1);

/// Where log lines go, once logging was started. There is one stderr, so there is one log.
static LOG: OnceLock<Output> = OnceLock::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, in colours on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// `Human` on a terminal, else `Json`.
    pub fn by_terminal(stream: &impl IsTerminal) -> Format {
        if stream.is_terminal() { Format::Human } else { Format::Json }
    }
}

/// Starts logging, of panics as well. `filter` says what is logged, in the syntax of `RUST_LOG`; where that is invalid, `info` holds.
/// Only the first call in a process has an effect.
///
/// # Errors
/// When the thread that writes cannot be started.
pub fn init(format: Format, filter: &str) -> io::Result<()> {
    let started = Output::start("stderr", ROOM, Descriptor(io::stderr()))?;
    let log = LOG.get_or_init(|| started);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || log).with_timer(SystemTime);
    let first = match format {
        Format::Human => builder.with_target(false).with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if first.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// A panic as a line of the log. The standard library's own hook writes to stderr itself, and waits for whoever reads it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // Only where RUST_BACKTRACE asks for one.
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, location, %backtrace, "panic: {message}"),
        _ => tracing::error!(thread, location, "panic: {message}"),
    }
}

/// Tells the operator something on stderr that is no matter of filters: why the process ends, the key of this run. It goes the way of
/// the log, once there is one.
pub fn tell(what: &dyn Display) {
    let line = format!("{what}\n");
    match LOG.get() {
        Some(log) => log.send(line.into_bytes(), 1),
        // A reader that has left is no reason to panic, as `eprintln!` would.
        None => drop(io::stderr().lock().write_all(line.as_bytes())),
    }
}

/// How many lines of the log were lost: stderr could not be written, or not fast enough.
pub fn lost() -> u64 {
    LOG.get().map_or(0, Output::lost)
}

/// Waits until the log is written, [`LAST_LINES`] at most.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_LINES);
    }
}
