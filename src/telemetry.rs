//! What the process tells its operators: logs on stderr, access lines on stdout, metrics for Prometheus.

pub mod access;
pub mod exposition;
pub mod metrics;
pub mod process;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

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

/// Starts logging. `filter` says what is logged, in the syntax of `RUST_LOG`; where that is invalid, `info` holds. Only the first
/// call in a process has an effect.
pub fn init(format: Format, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_timer(SystemTime);
    let _ = match format {
        Format::Human => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    };
}
