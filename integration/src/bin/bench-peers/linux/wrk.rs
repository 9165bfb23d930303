//! Runs wrk instead of the generator of this program, straight to the backend: a well-known generator, to judge this one by.

use std::fs;
use std::process::Command;

use integration::measure::figures::Figures;
use integration::measure::load::Work;
use integration::measure::system::Outcome;

use super::peers::on_path;

/// Whether this machine has wrk.
pub(crate) fn here() -> bool {
    on_path("wrk").is_some()
}

/// Measures a closed loop of some seconds, on this thread's CPUs.
pub(crate) fn window(work: &Work, connections: usize, seconds: f64) -> Outcome<Figures> {
    // wrk takes whole seconds only.
    let seconds = seconds.ceil().max(1.0);
    let before = children();
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds:.0}s"), "--latency"]);
    command.args(["-H", "X-API-Key: test-api-key", &format!("http://{}/users", work.address)]);
    let output = command.output().map_err(|error| format!("wrk: {error}"))?;
    let spent = children() - before;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut figures = read(&text).ok_or_else(|| format!("wrk says {text}"))?;
    let requests = figures.get("requests").copied().unwrap_or(0.0);
    figures.insert("generator_us", spent * 1e6 / requests);
    Ok(figures)
}

/// CPU time in seconds of the children of this process that have ended.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    let ticks: f64 = fields.filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Reads what wrk prints.
fn read(text: &str) -> Option<Figures> {
    let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in"))?.0.parse().ok()?;
    let bad = after("Non-2xx or 3xx responses:").and_then(|text| text.parse().ok());
    Some(Figures::from([
        ("requests", requests),
        ("requests_per_second", after("Requests/sec:")?.parse().ok()?),
        ("p50_ms", milliseconds(after("50%")?)?),
        ("p99_ms", milliseconds(after("99%")?)?),
        ("errors", bad.unwrap_or(0.0)),
    ]))
}

fn milliseconds(text: &str) -> Option<f64> {
    let (unit, factor) = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)].into_iter().find(|(unit, _)| text.ends_with(unit))?;
    Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read_with_its_units() {
        let text = "Running 1s test @ http://127.0.0.1:1/users\n  1 threads and 64 connections\n  Latency \
                    Distribution\n     50%  841.00us\n     75%    0.91ms\n     99%    1.05ms\n  \
                    77349 requests in 1.00s, 46.18MB read\n\
                    Requests/sec:  77214.57\nTransfer/sec:     46.10MB\n";
        let figures = read(text).expect("as wrk speaks");
        assert_eq!(figures["p50_ms"], 0.841);
        assert_eq!(figures["p99_ms"], 1.05);
        assert_eq!(figures["requests"], 77_349.0);
        assert_eq!(figures["requests_per_second"], 77_214.57);
        assert_eq!(read("unable to connect"), None);
    }
}
