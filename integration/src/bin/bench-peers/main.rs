//! `cargo bench-peers` measures the gateway beside other reverse proxies: the same work for each, in turn, on one machine.

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("cargo bench-peers runs on Linux only: it pins programs to CPUs, reads /proc and waits with epoll");
    ExitCode::FAILURE
}
