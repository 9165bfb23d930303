//! The summary in the repository's README: a small table between two marks, and a drawing.

use integration::measure::figures::{number, times};
use integration::measure::system::Outcome;

use super::drawing::{Bars, draw};
use super::measure::Measured;
use super::peers::{BASELINE, PEERS};
use super::report::{Conditions, figure};
use super::scenario::Scenario;

const BEGIN: &str = "<!-- bench-peers:begin -->";
const END: &str = "<!-- bench-peers:end -->";

/// The path of the drawing from the repository's root.
pub(crate) const DRAWING: &str = "integration/measure/peers.svg";

/// Replaces what stands between the marks.
pub(crate) fn replace(text: &str, inner: &str) -> Outcome<String> {
    let missing = || format!("README.md has no {BEGIN} followed by {END}: there the table would go");
    let begin = text.find(BEGIN).ok_or_else(missing)? + BEGIN.len();
    let end = begin + text[begin..].find(END).ok_or_else(missing)?;
    Ok(format!("{}\n{}\n{}", &text[..begin], inner.trim_end(), &text[end..]))
}

/// The table, with a sentence that explains it.
pub(crate) fn summary(conditions: &Conditions, measured: &[Measured], versions: &[(&str, &str)], rate: u64) -> String {
    let columns = [
        (Scenario::Bare, "cpu_us", 1, true),
        (Scenario::Full, "cpu_us", 1, true),
        (Scenario::Cached, "cpu_us", 1, true),
        (Scenario::Open, "p99_ms", 2, false),
        (Scenario::Bare, "memory_mib", 0, false),
        (Scenario::Idle, "kib_each", 1, false),
    ];
    let mut text = format!(
        "![CPU time of a request, by proxy]({DRAWING})\n\n\
         | {}, µs of CPU a request | bare | full | cached | p99 ms at {}/s | MiB | KiB an idle connection |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        conditions.date,
        number(rate as f64, 0)
    );
    for (name, version) in versions {
        let cells = columns.map(|(scenario, key, decimals, ratio)| {
            let own = figure(measured, scenario, name, key);
            let factor = times(own, figure(measured, scenario, BASELINE, key)).filter(|_| ratio && *name != BASELINE);
            let factor = factor.map(|factor| format!(" ({factor:.2} x)")).unwrap_or_default();
            own.map_or_else(|| "-".into(), |own| format!("{}{factor}", number(own, decimals)))
        });
        text += &format!("| {name} {version} | {} |\n", cells.join(" | "));
    }
    text + &format!(
        "\nBare is routing and round robin, full is a key, a limit and a breaker besides; in brackets: multiples of \
         {BASELINE}. One worker\neach, alone on its CPU, {}. `cargo bench-peers` repeats it;\n`integration/README.md` \
         says what is pinned where and what is switched on.\n",
        conditions.machine()
    )
}

/// A drawing of the CPU times of bare and full.
pub(crate) fn drawing(conditions: &Conditions, measured: &[Measured]) -> String {
    let groups: Vec<Bars> = PEERS
        .iter()
        .filter_map(|peer| {
            let of = |scenario| figure(measured, scenario, peer.name, "cpu_us");
            let bars = Bars { name: peer.name, bare: of(Scenario::Bare), full: of(Scenario::Full) };
            (bars.bare.is_some() || bars.full.is_some()).then_some(bars)
        })
        .collect();
    draw(&groups, BASELINE, &conditions.date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replace(&text, "new\n").expect("both marks are there");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&new, "new\n").as_deref(), Ok(new.as_str()), "again changes nothing");
    }

    #[test]
    fn without_marks_nothing_is_written_and_the_error_names_them() {
        for text in ["", BEGIN, END, &format!("{END}{BEGIN}")] {
            let why = replace(text, "new").expect_err("a mark is missing");
            assert!(why.contains(BEGIN) && why.contains(END), "{why}");
        }
    }

    #[test]
    fn the_repositorys_readme_has_the_marks() {
        let file = integration::process::root().join("README.md");
        let text = std::fs::read_to_string(file).expect("a README");
        assert!(replace(&text, "new").is_ok());
    }
}
