//! How the report presents each scenario: a description, and the columns of its table.

use integration::measure::figures::{Column, Show};

use super::peers::BASELINE;
use super::scenario::Scenario;
use super::setup::Options;

/// Describes what was measured.
pub(crate) fn words(scenario: Scenario, options: &Options, rounds: usize) -> String {
    let connections = options.conns;
    let seconds = options.seconds.unwrap_or(scenario.seconds());
    let closed = format!(
        "Closed loop, {connections} connections, {rounds} rounds of {seconds} s after 1 s of warm-up; medians."
    );
    match scenario {
        Scenario::Bare => format!("Routing, round robin over two instances, forwarding headers. {closed}"),
        Scenario::Full => format!(
            "And an API key, a limit for each key that is never reached, and what the proxy has for a breaker \
             (Lictor counts metrics in every scenario; Caddy as shipped has no limits). {closed}"
        ),
        Scenario::Logged => format!(
            "Bare, and a line in a file for each request, buffered where the proxy buffers (HAProxy has no \
             buffered log). {closed}"
        ),
        Scenario::Cached => format!(
            "A key, a limit and a cache: every answer from the cache, so that the backend does nothing. {closed}"
        ),
        Scenario::Close => format!(
            "Bare, a new connection of the client for each request. Connecting costs the generator more than \
             serving costs most proxies: its CPU is the limit here, so that requests/s and latency say little of \
             the proxy. {closed}"
        ),
        Scenario::Open => format!(
            "Bare, open loop: {} requests a second for {seconds} s over at most {connections} connections, \
             {rounds} rounds; medians of the rounds. Latency counts from when a request was due, wherever it \
             waited. *Sent late* is how long after that the generator sent it.",
            options.rate
        ),
        Scenario::Idle => {
            format!("Resident memory, one request served on each connection; {rounds} rounds, medians.")
        }
        Scenario::Bodies => format!(
            "1 GiB down, then 1 GiB up, over one connection; then 64 downloads at once for 10 s, every second one \
             reading 1 MiB/s: how much resident memory grew. {rounds} rounds, medians."
        ),
        Scenario::Workers => format!(
            "Lictor alone. With one worker the generator and the backend have CPU 1 for themselves; with two they \
             share both CPUs with the gateway. {closed}"
        ),
        Scenario::Services => format!("Bare, 200 services with two instances each, asked in turn. {closed}"),
    }
}

/// The columns of a scenario's table.
pub(crate) fn columns(scenario: Scenario) -> Vec<Column> {
    use Show::{Median, Most, Range, Sum, Times, TimesOwn};
    let whose = match scenario {
        Scenario::Workers => "one worker on CPU 0",
        _ => BASELINE,
    };
    let title = match scenario {
        Scenario::Workers => "x one",
        Scenario::Services => "x its own with one",
        _ => "x nginx",
    };
    let factor = if scenario == Scenario::Services { TimesOwn(", one service") } else { Times(whose) };
    let cpu = [
        column("CPU µs a request", "cpu_us", Median(1)),
        column("from..to", "cpu_us", Range(1)),
        column(title, "cpu_us", factor),
        column("of it user", "user_us", Median(1)),
    ];
    let generator = [
        column("generator's CPU µs", "generator_us", Median(1)),
        column("backend's CPU µs", "backend_us", Median(1)),
        column("others on CPU 0, %", "others_percent", Most(1)),
        column("errors", "errors", Sum),
    ];
    let own = match scenario {
        Scenario::Idle => {
            return vec![
                column("MiB with 64", "few_mib", Median(1)),
                column("MiB with 10,064", "many_mib", Median(1)),
                column("KiB a connection", "kib_each", Median(1)),
                column("from..to", "kib_each", Range(1)),
                column(title, "kib_each", Times(whose)),
            ];
        }
        Scenario::Bodies => {
            return vec![
                column("down: CPU ms a GiB", "down_cpu_ms", Median(0)),
                column("x nginx", "down_cpu_ms", Times(whose)),
                column("MiB/s", "down_mib_s", Median(0)),
                column("up: CPU ms a GiB", "up_cpu_ms", Median(0)),
                column("x nginx", "up_cpu_ms", Times(whose)),
                column("MiB/s", "up_mib_s", Median(0)),
                column("64 at once: MiB/s", "crowd_mib_s", Median(0)),
                column("MiB before", "before_mib", Median(1)),
                column("MiB more", "growth_mib", Median(1)),
                column("MiB more, at most", "growth_mib", Most(1)),
            ];
        }
        Scenario::Open => vec![
            column("p50 ms", "p50_ms", Median(3)),
            column("p99 ms", "p99_ms", Median(3)),
            column("from..to", "p99_ms", Range(2)),
            column("x nginx", "p99_ms", Times(whose)),
            column("p99.9 ms", "p999_ms", Median(2)),
            column("slowest of all, ms", "max_ms", Most(1)),
            column("sent late: p50 µs", "late_p50_us", Median(0)),
            column("p99 µs", "late_p99_us", Median(0)),
            column("waited for a connection", "waited", Sum),
        ],
        _ => vec![
            column("requests/s", "requests_per_second", Median(0)),
            column("p50 ms", "p50_ms", Median(2)),
            column("p99 ms", "p99_ms", Median(2)),
            column("MiB", "memory_mib", Median(1)),
        ],
    };
    if scenario == Scenario::Open {
        return own.into_iter().chain(cpu).chain(generator).collect();
    }
    cpu.into_iter().chain(own).chain(generator).collect()
}

const fn column(title: &'static str, key: &'static str, show: Show) -> Column {
    Column { title, key, show }
}
