//! What an aggregate of three parts costs: beside requests for these parts through the same gateway, and by other aggregators.

use integration::measure::figures::{Column, Figures, Row, Show, table, times};
use integration::measure::system::Outcome;

use super::Setup;
use super::gateway;
use super::peers::Available;
use super::services::{NAMES, Part};
use super::side::Side;

/// What each part is.
const PART: Part = Part { bytes: 2048, delay: 0 };

const OURS: &str = "Lictor";
const PLAIN: &str = "Lictor, three plain requests";

/// Seconds of load before the first round.
const COMPILED: f64 = 3.0;

/// What bars say: others cost so much more at the least, and three plain requests so much less at the most.
const OTHERS: f64 = 2.0;
const PARTS: f64 = 1.35;

/// A row, and what it measures.
struct Entry {
    row: Row,
    side: Side,
    /// How many requests make one aggregate.
    requests: f64,
}

/// Prints a table, and what it says of the bars.
pub(super) fn measure(setup: &Setup, peers: &[Available]) -> Outcome<()> {
    let mut entries = Vec::new();
    let mut add = |name: &str, requests, side: Outcome<Side>| match side {
        Ok(side) => entries.push(Entry { row: Row { name: name.to_owned(), rounds: Vec::new() }, side, requests }),
        Err(why) => println!("NOT MEASURED: {name}: {why}"),
    };
    add(OURS, 1.0, gateway::aggregator(setup, [PART; 3]));
    add(PLAIN, 3.0, gateway::proxy(setup, &NAMES.map(|name| (name, PART))));
    for peer in peers {
        add(peer.name(), 1.0, peer.start(setup, PART));
    }
    for entry in &entries {
        // What compiles itself while it runs, as Node does, does it now.
        entry.side.window(setup.options.conns, COMPILED)?;
    }
    let rounds = usize::from(setup.options.rounds);
    for round in 0..rounds {
        // Each round begins with another one.
        for turn in 0..entries.len() {
            let at = (turn + round) % entries.len();
            let figures = figures(setup, &entries[at])?;
            let entry = &mut entries[at];
            eprintln!("cost {}/{rounds} {}: {:.1} us", round + 1, entry.row.name, figures["cpu_us"]);
            entry.row.rounds.push(figures);
        }
    }
    let rows: Vec<Row> = entries.into_iter().map(|entry| entry.row).collect();
    let (conns, seconds) = (setup.options.conns, setup.options.seconds);
    println!("\nAn aggregate of three parts of 2 KiB, {conns} connections, {rounds} rounds of {seconds} s:\n");
    println!("{}", table(&rows, &columns()));
    println!("Of the plain requests CPU is that of three, and times are those of one.\n");
    judge(&rows);
    Ok(())
}

fn figures(setup: &Setup, entry: &Entry) -> Outcome<Figures> {
    let window = entry.side.window(setup.options.conns, setup.options.seconds);
    let window = window.map_err(|why| format!("{}: {why}", entry.row.name))?;
    let (tally, aggregates) = (&window.tally, window.tally.answers as f64 / entry.requests);
    Ok(Figures::from([
        ("cpu_us", window.cost.total / aggregates / 1e3),
        ("user_us", window.cost.user / aggregates / 1e3),
        ("others_percent", window.others * 100.0),
        ("per_second", aggregates / tally.seconds),
        ("p50_ms", tally.latency.value_at_quantile(0.5) as f64 / 1e6),
        ("p99_ms", tally.latency.value_at_quantile(0.99) as f64 / 1e6),
        ("memory_mib", entry.side.program.memory() / 1024.0),
        ("errors", tally.errors as f64),
    ]))
}

fn columns() -> Vec<Column> {
    let column = |title, key, show| Column { title, key, show };
    vec![
        column("CPU µs an aggregate", "cpu_us", Show::Median(1)),
        column("from..to", "cpu_us", Show::Range(1)),
        column("x Lictor", "cpu_us", Show::Times(OURS)),
        column("of it user", "user_us", Show::Median(1)),
        column("a second", "per_second", Show::Median(0)),
        column("50 % ms", "p50_ms", Show::Median(2)),
        column("99 % ms", "p99_ms", Show::Median(2)),
        column("MiB", "memory_mib", Show::Most(0)),
        column("others on CPU 0, %", "others_percent", Show::Median(0)),
        column("errors", "errors", Show::Sum),
    ]
}

/// Compares medians with the bars.
fn judge(rows: &[Row]) {
    let cost = |name: &str| rows.iter().find(|row| row.name == name).and_then(|row| row.median("cpu_us"));
    let ours = cost(OURS);
    match times(ours, cost(PLAIN)) {
        Some(ratio) => println!("{}: {ratio:.2} times three plain requests, at most {PARTS}", verdict(ratio <= PARTS)),
        None => println!("not known: beside three plain requests"),
    }
    for row in rows.iter().filter(|row| ![OURS, PLAIN].contains(&row.name.as_str())) {
        if let Some(ratio) = times(row.median("cpu_us"), ours) {
            let verdict = verdict(ratio >= OTHERS);
            println!("{verdict}: {} takes {ratio:.2} times as much as Lictor, at least {OTHERS}", row.name);
        }
    }
}

/// Whether a bar is reached, in a word.
pub(super) fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}
