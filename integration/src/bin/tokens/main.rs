//! `cargo tokens` measures what a token costs beside an API key, and what its callers notice while its issuer's keys change.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("cargo tokens runs on Linux only: it reads /proc");
    ExitCode::FAILURE
}
