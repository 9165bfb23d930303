//! `cargo big-catalog` measures the gateway beside an agent with 5,000 services: how soon it is ready, what it takes while nothing happens,
//! how fast a change reaches all workers, and what requests notice while 100 changes a second arrive.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("cargo big-catalog runs on Linux only: it reads /proc");
    ExitCode::FAILURE
}
