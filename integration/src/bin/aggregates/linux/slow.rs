//! How long an aggregate takes beside its slowest part, which is asked for through the same gateway.

use integration::measure::figures::{Column, Figures, Row, Show, table, times};
use integration::measure::system::Outcome;

use super::Setup;
use super::cost::verdict;
use super::gateway;
use super::services::{NAMES, Part};

/// So few connections that the slow part, and not the gateway, says how long an answer takes.
const CONNECTIONS: usize = 16;

/// What the bar says: the 99th percentile of the whole, as a multiple of that of its slowest part, at most.
const MOST: f64 = 1.5;

const OURS: &str = "the aggregate";
const PART: &str = "its slowest part alone";

/// Prints a table, and what it says of the bar.
pub(super) fn measure(setup: &Setup) -> Outcome<()> {
    let quick = Part { bytes: 2048, delay: 0 };
    let slow = Part { delay: setup.options.delay, ..quick };
    let whole = match gateway::aggregator(setup, [quick, quick, slow]) {
        Ok(side) => side,
        Err(why) => {
            println!("NOT MEASURED: an aggregate with a slow part: {why}");
            return Ok(());
        }
    };
    let sides = [whole, gateway::proxy(setup, &[(NAMES[2], slow)])?];
    let mut rows = [OURS, PART].map(|name| Row { name: name.to_owned(), rounds: Vec::new() });
    for round in 0..usize::from(setup.options.rounds) {
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let tally = sides[which].window(CONNECTIONS, setup.options.seconds)?.tally;
            let quantile = |share| tally.latency.value_at_quantile(share) as f64 / 1e6;
            rows[which].rounds.push(Figures::from([
                ("p50_ms", quantile(0.5)),
                ("p99_ms", quantile(0.99)),
                ("max_ms", quantile(1.0)),
                ("errors", tally.errors as f64),
            ]));
        }
    }
    println!("\nOne part answers after {} ms, {CONNECTIONS} connections:\n", slow.delay);
    println!("{}", table(&rows, &columns()));
    if let Some(ratio) = times(rows[0].median("p99_ms"), rows[1].median("p99_ms")) {
        println!("{}: 99 % are {ratio:.2} times those of the slowest part, at most {MOST}", verdict(ratio <= MOST));
    }
    Ok(())
}

fn columns() -> Vec<Column> {
    let column = |title, key, show| Column { title, key, show };
    vec![
        column("50 % ms", "p50_ms", Show::Median(2)),
        column("99 % ms", "p99_ms", Show::Median(2)),
        column("from..to", "p99_ms", Show::Range(2)),
        column("longest ms", "max_ms", Show::Most(2)),
        column("errors", "errors", Show::Sum),
    ]
}
