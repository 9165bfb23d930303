//! Runs callgrind and reads the file that it writes: <https://valgrind.org/docs/manual/cl-format.html>.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What callgrind counted: the instructions in all, by the crate whose source they come from, inlined or not, and by function;
/// and the calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    pub(crate) total: f64,
    pub(crate) crates: BTreeMap<String, f64>,
    pub(crate) functions: BTreeMap<String, f64>,
    /// How often each function was called, by its file and its name.
    pub(crate) calls: BTreeMap<(String, String), f64>,
}

impl Costs {
    /// The instructions that come from a crate.
    pub(crate) fn of(&self, name: &str) -> f64 {
        self.crates.get(name).copied().unwrap_or_default()
    }

    /// The JSON that is recorded: whole instructions, without functions.
    pub(crate) fn json(&self) -> Value {
        let whole = |cost: f64| cost.round() as i64;
        let parts = self.crates.iter().map(|(name, &cost)| (name.clone(), json!(whole(cost))));
        let parts: serde_json::Map<_, _> = parts.filter(|(_, cost)| cost.as_i64() >= Some(10)).collect();
        json!({ "all": whole(self.total), "by crate": parts })
    }

    /// Reads the JSON that was recorded.
    pub(crate) fn from_json(recorded: &Value) -> Result<Costs, String> {
        let total = recorded["all"].as_f64().ok_or("the budget has no such scenario: cargo instructions --record")?;
        let parts = recorded["by crate"].as_object().into_iter().flatten();
        let crates = parts.map(|(name, cost)| (name.clone(), cost.as_f64().unwrap_or_default())).collect();
        Ok(Costs { total, crates, ..Costs::default() })
    }

    /// Why these are too many, and which crates grew; none when they are within the budget.
    pub(crate) fn over(&self, budget: &Costs, tolerance: f64) -> Option<String> {
        if self.total <= budget.total * tolerance {
            return None;
        }
        let mut grown: Vec<_> = self.crates.keys().map(|name| (name, self.of(name) - budget.of(name))).collect();
        grown.sort_by(|a, b| b.1.total_cmp(&a.1));
        let parts: Vec<_> =
            grown.iter().filter(|(_, by)| *by >= 10.0).map(|(name, by)| format!("{name} {by:+.0}")).collect();
        let (now, then) = (self.total, budget.total);
        let percent = (now / then - 1.0) * 100.0;
        Some(format!("{now:.0} instructions a request, {then:.0} recorded ({percent:+.1} %): {}", parts.join(", ")))
    }
}

/// What one request costs, by the difference of two runs.
pub(crate) fn difference(few: &Costs, many: &Costs, requests: f64) -> Costs {
    fn each<K: Ord + Clone>(few: &BTreeMap<K, f64>, many: &BTreeMap<K, f64>, requests: f64) -> BTreeMap<K, f64> {
        many.iter().map(|(name, cost)| (name.clone(), (cost - few.get(name).unwrap_or(&0.0)) / requests)).collect()
    }
    Costs {
        total: (many.total - few.total) / requests,
        crates: each(&few.crates, &many.crates, requests),
        functions: each(&few.functions, &many.functions, requests),
        calls: each(&few.calls, &many.calls, requests),
    }
}

/// What a program prints, without white space around it.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a scenario under callgrind. The program is this one, or another build of it.
pub(crate) fn count(program: &Path, scenario: &str, requests: usize) -> Result<Costs, String> {
    let out = std::env::temp_dir().join(format!("lictor-{scenario}-{requests}-{}.callgrind", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--error-exitcode=1"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program).args(["run", scenario, &requests.to_string()]);
    let output = command
        .output()
        .map_err(|error| format!("valgrind cannot be run ({error}): it is Debian's and Fedora's package `valgrind`"))?;
    if !output.status.success() {
        return Err(format!("{scenario}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = std::fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let _ = std::fs::remove_file(&out);
    Ok(read(&text))
}

/// Reads callgrind's file. A function's costs are its own; those of what it calls stand where they arise.
pub(crate) fn read(text: &str) -> Costs {
    let (mut files, mut names) = (HashMap::new(), HashMap::new());
    let (mut file, mut function, mut is_call) = (String::new(), String::new(), false);
    // Of the function that a call goes to: its file, where that is another one than the caller's, and its name.
    let (mut called_file, mut called_name) = (None, String::new());
    let mut costs = Costs::default();
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fl" | "fi" | "fe" => file = named(&mut files, value),
                "cfi" | "cfl" => called_file = Some(named(&mut files, value)),
                "fn" => function = named(&mut names, value),
                "cfn" => called_name = named(&mut names, value),
                "calls" => {
                    let times = value.split(' ').next().and_then(|times| times.parse::<f64>().ok());
                    let key = (called_file.take().unwrap_or_else(|| file.clone()), called_name.clone());
                    *costs.calls.entry(key).or_default() += times.unwrap_or_default();
                    // The next line is what the call cost in all.
                    is_call = true;
                }
                _ => {}
            }
            continue;
        }
        if !line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            continue;
        }
        let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<f64>().ok());
        if let Some(cost) = cost.filter(|_| !std::mem::take(&mut is_call)) {
            costs.total += cost;
            *costs.crates.entry(owner(&file).to_owned()).or_default() += cost;
            *costs.functions.entry(function.clone()).or_default() += cost;
        }
    }
    costs
}

/// `(12) name` gives a name its number; `(12)` alone refers to it from then on.
fn named(known: &mut HashMap<String, String>, value: &str) -> String {
    match value.split_once(' ') {
        Some((number, name)) => {
            known.insert(number.to_owned(), name.to_owned());
            name.to_owned()
        }
        None => known.get(value).cloned().unwrap_or_default(),
    }
}

/// The crate that a source file belongs to: `hyper` for `…/hyper-1.12.0/src/proto/h1/conn.rs`.
fn owner(file: &str) -> &str {
    if file.contains("/rustc/") || file.contains("/library/") {
        return "std";
    }
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        let package = rest.split('/').nth(1).unwrap_or_default();
        let versioned = |at: &(usize, &str)| package[at.0 + 1..].starts_with(|c: char| c.is_ascii_digit());
        return package.match_indices('-').find(versioned).map_or(package, |(at, _)| &package[..at]);
    }
    match file {
        file if file.contains("/bin/instructions/") => "the rig",
        file if file.contains("jemalloc") => "jemalloc",
        file if file.starts_with("src/") || file.contains("/src/") && !file.contains("/usr/src/") => "lictor",
        _ => "libc and others",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "version: 1\nevents: Ir\nob=(1) /x/instructions\nfl=(1) src/proxy.rs\nfn=(1) answer\n10 5\n+1 7\n\
        cfi=(2) /x/.cargo/registry/src/index-1/hyper-util-0.1.2/src/rt.rs\ncfn=(2) poll\ncalls=3 12\n* 900\n\
        fi=(2)\n20 4\n\nfl=(2)\nfn=(2)\n12 900\nfl=(3) /rustc/abc/library/alloc/src/vec.rs\nfn=(1)\n-2 1\ntotals: 917\n";

    #[test]
    fn costs_of_calls_are_counted_where_they_arise() {
        let costs = read(FILE);
        assert_eq!((costs.total, costs.functions["answer"], costs.functions["poll"]), (917.0, 17.0, 900.0));
    }

    #[test]
    fn a_call_is_counted_for_the_file_and_the_function_that_it_goes_to() {
        let costs = read(&FILE.replace("* 900\n", "* 900\ncfn=(1)\ncalls=2 1\n* 9\n"));
        let calls: Vec<_> = costs.calls.iter().map(|((file, name), calls)| (&file[..6], &name[..], *calls)).collect();
        assert_eq!(calls, [("/x/.ca", "poll", 3.0), ("src/pr", "answer", 2.0)]);
    }

    #[test]
    fn inlined_code_is_its_authors() {
        let costs = read(FILE);
        assert_eq!((costs.of("lictor"), costs.of("hyper-util"), costs.of("std")), (12.0, 904.0, 1.0));
    }

    #[test]
    fn what_grew_past_the_tolerance_is_named() {
        let then = Costs::from_json(&json!({ "all": 1000, "by crate": { "hyper": 600, "lictor": 400 } })).unwrap();
        let mut now = then.clone();
        assert_eq!(now.over(&then, TOLERANCE), None);
        (now.total, now.crates) = (1050.0, [("hyper".into(), 600.0), ("lictor".into(), 450.0)].into());
        let why = now.over(&then, TOLERANCE).unwrap();
        assert!(why.ends_with("1050 instructions a request, 1000 recorded (+5.0 %): lictor +50"), "{why}");
    }

    const TOLERANCE: f64 = 1.03;

    #[test]
    fn a_budget_without_the_scenario_says_how_to_record_it() {
        assert!(Costs::from_json(&Value::Null).unwrap_err().contains("--record"));
    }

    #[test]
    fn two_runs_leave_what_one_request_costs() {
        let cost = |total, hyper| Costs { total, crates: [("hyper".into(), hyper)].into(), ..Costs::default() };
        let each = difference(&cost(500.0, 100.0), &cost(2500.0, 1100.0), 10.0);
        assert_eq!((each.total, each.of("hyper")), (200.0, 100.0));
    }
}
