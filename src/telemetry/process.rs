//! Metrics of this process as the operating system knows it, under the names that all Prometheus clients use for them.

use std::fs;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::exposition::{Exposition, Kind};

/// Adds them to a page. What the system does not know is left out.
pub fn describe(page: &mut Exposition) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    page.single("process_cpu_seconds_total", Kind::Counter, "User and system CPU time spent.", seconds);
    if let Some(resident) = resident() {
        page.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", resident);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.single("process_open_fds", Kind::Gauge, "Open file descriptors.", open.count());
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.single("process_max_fds", Kind::Gauge, "Open file descriptors at most.", most);
    }
}

/// Resident memory in bytes: the second field of `/proc/self/statm`, which counts pages (proc(5)).
fn resident() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_size())
}
