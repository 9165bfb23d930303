//! The report: the machine, the proxies and a table for each scenario in Markdown, and the figures of every round as JSON.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use integration::measure::figures::table;
use integration::process::root;
use serde_json::{Map, Value, json};

use super::measure::Measured;
use super::scenario::Scenario;
use super::setup::Setup;

/// When, where and with which sources a run took place.
pub(crate) struct Conditions {
    pub(crate) date: String,
    cpu: String,
    kernel: String,
    virtual_machine: bool,
    load: String,
    command: String,
    /// The repository's commit.
    commit: String,
    compiler: String,
}

impl Conditions {
    /// The conditions of this moment.
    pub(crate) fn now() -> Conditions {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let many = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        let dirty = if output_of("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty() {
            ""
        } else {
            " and changes"
        };
        Conditions {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect(),
            cpu: format!("{many} x {}", model.trim_start_matches([':', ' ', '\t'])),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            virtual_machine: cpus.contains(" hypervisor"),
            load,
            command: format!("cargo bench-peers {}", arguments.join(" ")).trim_end().to_owned(),
            commit: format!("{}{dirty}", output_of("git", &["rev-parse", "--short", "HEAD"])),
            compiler: output_of("rustc", &["--version"]),
        }
    }

    /// A short description of the machine.
    pub(crate) fn machine(&self) -> String {
        let kind = if self.virtual_machine { " (virtual machine)" } else { "" };
        format!("{}{kind}, Linux {}", self.cpu, self.kernel)
    }
}

/// What a program prints.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The report in Markdown.
pub(crate) fn report(setup: &Setup, conditions: &Conditions, measured: &[Measured]) -> String {
    let versions: Vec<_> = setup.found.iter().map(|found| format!("{} {}", found.peer.name, found.version)).collect();
    let mut text = format!(
        "{}, {}; load average before: {}. {}; Lictor at commit {}, release profile, {}. The proxy alone is pinned to \
         CPU 0; the generator and the backend (both this program, one thread each) share CPU 1, and each proxy has \
         one worker, unless a table says otherwise. The backend listens on two addresses and answers 512 bytes of \
         JSON over keep-alive connections; everything is on 127.0.0.1. The proxies are measured in turn within each \
         round. CPU is the time of the proxy's whole process tree, user and system, from the scheduler's counters \
         (`/proc/PID/task/*/schedstat`), over the counted window only, divided by the answers in it. *Others on CPU \
         0* is the share of that CPU which somebody else had, the kernel's interrupts included, in the worst round. \
         The row without a proxy is what generator and backend take by themselves. Configurations: \
         `integration/measure/peers/` and `integration/measure/*.toml`. To repeat: `{}`.\n",
        conditions.date,
        conditions.machine(),
        conditions.load,
        versions.join(", "),
        conditions.commit,
        conditions.compiler,
        conditions.command,
    );
    if !setup.missing.is_empty() {
        text += &format!("\nNot on this machine, or older than its sources: {}.\n", setup.missing.join(", "));
    }
    for measured in measured {
        let table = table(&measured.rows, &measured.columns);
        text += &format!("\n### {}\n\n{}\n\n{table}", measured.scenario.name(), measured.words);
    }
    let notes = setup.notes.borrow();
    if !notes.is_empty() {
        text += &format!("\nWhat went wrong:\n\n- {}\n", notes.join("\n- "));
    }
    text
}

/// The figures of every round, as JSON.
pub(crate) fn figures(setup: &Setup, conditions: &Conditions, measured: &[Measured]) -> Value {
    let versions: Map<String, Value> =
        setup.found.iter().map(|found| (found.peer.name.to_owned(), json!(found.version))).collect();
    let scenarios: Map<String, Value> = measured
        .iter()
        .map(|measured| {
            let rows = measured.rows.iter().map(|row| (row.name.clone(), json!(row.rounds))).collect::<Map<_, _>>();
            (measured.scenario.name(), Value::Object(rows))
        })
        .collect();
    json!({
        "date": conditions.date,
        "machine": conditions.machine(),
        "commit": conditions.commit,
        "command": conditions.command,
        "versions": versions,
        "not_on_this_machine": setup.missing,
        "went_wrong": *setup.notes.borrow(),
        "scenarios": scenarios,
    })
}

/// The median of a figure of a row, if that was measured.
pub(crate) fn figure(measured: &[Measured], scenario: Scenario, row: &str, key: &str) -> Option<f64> {
    let measured = measured.iter().find(|measured| measured.scenario == scenario)?;
    measured.rows.iter().find(|found| found.name == row)?.median(key)
}
