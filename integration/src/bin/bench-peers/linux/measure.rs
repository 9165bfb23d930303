//! Measures a scenario: who takes part in it, and the figures of each round.

use integration::measure::figures::{Column, Figures, Row};
use integration::measure::load::{Load, Tally, Work};
use integration::measure::program::busy;
use integration::measure::system::{Outcome, pin, settle, stopped};

use super::mode::Mode;
use super::open::OpenLoop;
use super::peers::{Found, LICTOR, Running, StartOptions};
use super::scenario::{BOTH, GATEWAY, REST, Scenario};
use super::setup::{Backend, Options, Setup};
use super::{tables, template, transfers, wrk};

/// A row of a table before it is measured: a proxy, and how it is started.
pub(crate) struct Entry<'a> {
    name: String,
    /// None where the generator talks to the backend directly.
    found: Option<&'a Found>,
    mode: Mode,
    cpus: &'static [usize],
    services: usize,
    backend: &'a Backend,
}

/// A scenario that was measured.
pub(crate) struct Measured {
    pub(crate) scenario: Scenario,
    /// What was measured, for the report.
    pub(crate) words: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) columns: Vec<Column>,
}

/// The row that shows what the generator and the backend take by themselves.
const DIRECT: &str = "no proxy: generator and backend alone";

/// The same with another generator.
const WRK: &str = "no proxy: wrk and backend alone";

/// Idle connections that are opened after the first 64.
const IDLE: usize = 10_000;
const MANY_SERVICES: usize = 200;
/// Seconds of each round that are not counted.
const WARM_UP: f64 = 1.0;

/// Measures a scenario: all its rounds, each with every entry in turn.
pub(crate) fn measure(scenario: Scenario, setup: &Setup) -> Outcome<Measured> {
    let on_both = if scenario == Scenario::Workers { Some(Backend::start(&setup.folder, BOTH)?) } else { None };
    let entries = entries(scenario, setup, on_both.as_ref());
    let rounds = setup.options.rounds().unwrap_or(scenario.rounds());
    let mut rows: Vec<Row> = entries.iter().map(|entry| Row { name: entry.name.clone(), rounds: Vec::new() }).collect();
    for round in 1..=rounds {
        // Each round begins with another entry, so that none is always measured right after the same other one.
        for turn in 0..entries.len() {
            let at = (turn + round - 1) % entries.len();
            let (entry, row) = (&entries[at], &mut rows[at]);
            pin(if scenario == Scenario::Workers && entry.cpus.len() > 1 { BOTH } else { REST })?;
            let label = format!("{} {round}/{rounds} {}", scenario.name(), entry.name);
            match measure_round(scenario, setup, entry) {
                Ok(figures) => {
                    eprintln!("{label}: {}", brief(&figures));
                    row.rounds.push(figures);
                }
                Err(why) if stopped() => return Err(why),
                Err(why) => {
                    eprintln!("{label}: {why}");
                    setup.notes.borrow_mut().push(format!("{label}: {why}"));
                }
            }
        }
    }
    pin(REST)?;
    let words = tables::words(scenario, &setup.options, rounds);
    Ok(Measured { scenario, words, rows, columns: tables::columns(scenario) })
}

/// Who takes part in a scenario, in the order of its table.
fn entries<'a>(scenario: Scenario, setup: &'a Setup, on_both: Option<&'a Backend>) -> Vec<Entry<'a>> {
    let mode = scenario.mode();
    let able = setup.found.iter().filter(|found| found.can(mode));
    let plain = |found: &'a Found| Entry {
        name: found.peer.name.to_owned(),
        found: Some(found),
        mode,
        cpus: GATEWAY,
        services: 1,
        backend: &setup.backend,
    };
    match scenario {
        Scenario::Workers => {
            let ours = able.filter(|found| found.peer.name == LICTOR);
            let pair = |found| {
                let one = Entry { name: "one worker on CPU 0".into(), ..plain(found) };
                let backend = on_both.unwrap_or(&setup.backend);
                let name = "two workers on CPUs 0 and 1".into();
                [one, Entry { name, cpus: BOTH, backend, ..plain(found) }]
            };
            ours.flat_map(pair).collect()
        }
        Scenario::Services => {
            let pair = |found: &'a Found| {
                let name = |many: &str| format!("{}, {many}", found.peer.name);
                let one = Entry { name: name("one service"), ..plain(found) };
                [one, Entry { name: name("200 services"), services: MANY_SERVICES, ..plain(found) }]
            };
            able.flat_map(pair).collect()
        }
        _ => {
            let mut entries: Vec<_> = able.map(plain).collect();
            if scenario != Scenario::Idle {
                let (name, cpus, backend) = (DIRECT.to_owned(), GATEWAY, &setup.backend);
                entries.push(Entry { name, found: None, mode, cpus, services: 1, backend });
                if scenario == Scenario::Bare && wrk::here() {
                    let name = WRK.to_owned();
                    entries.push(Entry { name, found: None, mode, cpus, services: 1, backend });
                }
            }
            entries
        }
    }
}

/// One round of one entry, which is started for it and killed after it.
fn measure_round(scenario: Scenario, setup: &Setup, entry: &Entry<'_>) -> Outcome<Figures> {
    settle(0.2)?;
    let request = entry.request("users", scenario == Scenario::Close, 0);
    let options =
        StartOptions { mode: entry.mode, cpus: entry.cpus, backend: entry.backend.ports, services: entry.services };
    let running = entry.found.map(|found| found.start(&setup.folder, options, &request)).transpose()?;
    let address = running.as_ref().map_or(entry.backend.address(), |running| running.address);
    match scenario {
        Scenario::Idle => idle(running.as_ref(), &request),
        Scenario::Bodies => bodies(running.as_ref(), address, entry),
        _ => {
            let fresh = scenario == Scenario::Close;
            let requests = (0..entry.services).map(|number| entry.request("users", fresh, number)).collect();
            let work = Work { address, requests, fresh };
            if entry.name == WRK {
                return wrk::window(&work, setup.options.conns, setup.options.seconds.unwrap_or(scenario.seconds()));
            }
            small_requests(scenario, &setup.options, running.as_ref(), entry.backend, work)
        }
    }
}

impl Entry<'_> {
    /// A GET with the key, which is sent in every scenario, so that requests are equal.
    fn request(&self, path: &str, fresh: bool, number: usize) -> Vec<u8> {
        let close = if fresh { "Connection: close\r\n" } else { "" };
        let rest = format!("Host: 127.0.0.1\r\nX-API-Key: test-api-key\r\n{close}\r\n");
        format!("GET {}{path} HTTP/1.1\r\n{rest}", self.prefix(number)).into_bytes()
    }

    /// The path by which the service of this number is reached.
    fn prefix(&self, number: usize) -> String {
        match (self.found, self.mode) {
            (None, _) => "/".into(),
            (Some(_), Mode::Services) => format!("/api/{}/", template::service(number)),
            (Some(_), _) => "/api/user_service/".into(),
        }
    }
}

/// Measures a round of small requests, in a closed or an open loop.
fn small_requests(
    scenario: Scenario,
    options: &Options,
    running: Option<&Running>,
    backend: &Backend,
    work: Work,
) -> Outcome<Figures> {
    let spent = || (running.map(|running| running.program.spent()), backend.program.spent());
    let (tally, before, others);
    // CPU time counts from the end of the warm-up.
    if scenario == Scenario::Open {
        let seconds = options.seconds.unwrap_or(scenario.seconds());
        let mut load = OpenLoop::new(work, options.conns)?;
        load.window(options.rate, WARM_UP)?;
        (before, others) = (spent(), busy(0));
        tally = load.window(options.rate, seconds)?;
    } else {
        let mut load = Load::new(work, options.conns)?;
        load.begin()?;
        load.window(WARM_UP)?;
        (before, others) = (spent(), busy(0));
        tally = load.window(options.seconds.unwrap_or(scenario.seconds()))?;
    }
    if tally.answers == 0 {
        return Err(format!("nothing was answered in {:.1} s; {} errors", tally.seconds, tally.errors));
    }
    // The figures of the generator, and those of the processes for each answer.
    let mut figures = figures_of(&tally);
    let answers = tally.answers as f64;
    let after = spent();
    figures.insert("backend_us", after.1.since(&before.1).total / answers / 1e3);
    if let (Some(running), Some(before), Some(after)) = (running, before.0, after.0) {
        // A row without a proxy has none of these.
        let cost = after.since(&before);
        figures.insert("cpu_us", cost.total / answers / 1e3);
        figures.insert("user_us", cost.user / answers / 1e3);
        figures.insert("memory_mib", running.program.memory() / 1024.0);
        if scenario != Scenario::Workers {
            let others = (busy(0) - others - cost.total / 1e9) / tally.seconds;
            figures.insert("others_percent", others.max(0.0) * 100.0);
        }
    }
    Ok(figures)
}

/// The figures that the generator counted.
fn figures_of(tally: &Tally) -> Figures {
    let mut figures = Figures::new();
    for (name, share) in [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999), ("max_ms", 1.0)] {
        figures.insert(name, tally.latency.value_at_quantile(share) as f64 / 1e6);
    }
    if !tally.lateness.is_empty() {
        figures.insert("late_p50_us", tally.lateness.value_at_quantile(0.5) as f64 / 1e3);
        figures.insert("late_p99_us", tally.lateness.value_at_quantile(0.99) as f64 / 1e3);
        figures.insert("waited", tally.waited as f64);
    }
    figures.insert("requests_per_second", tally.answers as f64 / tally.seconds);
    figures.insert("requests", tally.answers as f64);
    figures.insert("errors", tally.errors as f64);
    figures.insert("generator_us", tally.generator as f64 / tally.answers as f64 / 1e3);
    figures
}

/// Measures the memory of idle connections.
fn idle(running: Option<&Running>, request: &[u8]) -> Outcome<Figures> {
    let Some(running) = running else { return Err("nobody to be idle with".into()) };
    let mut open = Vec::new();
    let mut memory = |many| {
        transfers::open_until(many, &mut open, running.address, request)?;
        settle(1.0)?;
        Ok::<f64, String>(running.program.memory())
    };
    let few = memory(64)?;
    let many = memory(64 + IDLE)?;
    Ok(Figures::from([
        ("few_mib", few / 1024.0),
        ("many_mib", many / 1024.0),
        ("kib_each", (many - few) / IDLE as f64),
    ]))
}

/// Measures large bodies: down, up, and many downloads at once.
fn bodies(running: Option<&Running>, address: std::net::SocketAddr, entry: &Entry<'_>) -> Outcome<Figures> {
    let spent = || running.map(|running| running.program.spent());
    let memory = || running.map_or(0.0, |running| running.program.memory() / 1024.0);
    let mut figures = Figures::new();
    let mut measure = |cpu, speed, seconds: &dyn Fn() -> Outcome<f64>| {
        let before = spent();
        figures.insert(speed, 1024.0 / seconds()?);
        if let (Some(before), Some(after)) = (before, spent()) {
            figures.insert(cpu, after.since(&before).total / 1e6);
        }
        Ok::<(), String>(())
    };
    let down = entry.request(&format!("bytes/{}", transfers::GIB), false, 0);
    measure("down_cpu_ms", "down_mib_s", &|| transfers::down(address, &down))?;
    let head = format!(
        "POST {}sink HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n",
        entry.prefix(0),
        transfers::GIB
    );
    measure("up_cpu_ms", "up_mib_s", &|| transfers::up(address, head.as_bytes()))?;
    // Many downloads at once that never end, while memory is watched.
    let endless = entry.request(&format!("bytes/{}", 1_u64 << 40), false, 0);
    let (before, mut most) = (memory(), 0.0);
    let came = transfers::crowd(address, &endless, 64, 10, || most = memory().max(most))?;
    figures.insert("crowd_mib_s", came as f64 / f64::from(1 << 20) / 10.0);
    if running.is_some() {
        figures.insert("before_mib", before);
        figures.insert("growth_mib", most - before);
    }
    Ok(figures)
}

/// The main figures of a round in one line, for those who watch the run.
fn brief(figures: &Figures) -> String {
    let names = ["requests_per_second", "cpu_us", "p99_ms", "kib_each", "down_cpu_ms", "up_cpu_ms", "errors"];
    let parts = names.iter().filter_map(|name| figures.get(name).map(|figure| format!("{name} {figure:.2}")));
    parts.collect::<Vec<_>>().join(", ")
}
