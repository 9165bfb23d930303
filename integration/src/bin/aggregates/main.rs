//! `cargo aggregates` measures what an aggregate of three services costs, beside requests for its parts and beside other aggregators.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("cargo aggregates runs on Linux only: it reads /proc");
    ExitCode::FAILURE
}
