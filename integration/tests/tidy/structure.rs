//! What makes a crate's files hang together: circles of siblings, calls upwards, methods of one type in several files.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Modules, Reference};

/// The names by which one sibling uses another one, by the two.
type Uses<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>;

/// Siblings of one folder that import each other, directly or through others: a line for each such group, with the names. A
/// file and the folder of the same name are one sibling.
pub(crate) fn cycles(modules: &Modules) -> Vec<String> {
    let references = modules.references();
    let mut folders: BTreeMap<&[String], Uses<'_>> = BTreeMap::new();
    for Reference { from, to, name, .. } in &references {
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
            folders.entry(&from[..common]).or_default().entry((a, b)).or_default().insert(name);
        }
    }
    let groups = folders.iter().flat_map(|(folder, uses)| {
        circles(uses).into_iter().map(|group| {
            let inside = uses.iter().filter(|((a, b), _)| group.contains(a) && group.contains(b));
            let inside = inside.map(|((a, b), names)| {
                let names: Vec<_> = names.iter().map(|name| if name.is_empty() { "itself" } else { name }).collect();
                format!("\n    {a} -> {b}: {}", names.join(", "))
            });
            let members: Vec<_> = group.iter().copied().collect();
            let folder: String = folder.iter().map(|name| format!("{name}/")).collect();
            format!("{folder}{{{}}}{}", members.join(", "), inside.collect::<String>())
        })
    });
    groups.collect()
}

/// The groups of siblings in which each one leads to each other one.
fn circles<'a>(uses: &Uses<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached = |start: &'a str| {
        let mut reached = BTreeSet::new();
        let mut next = vec![start];
        while let Some(at) = next.pop() {
            next.extend(uses.keys().filter(|(a, b)| *a == at && reached.insert(*b)).map(|(_, b)| *b));
        }
        reached
    };
    let names: BTreeSet<_> = uses.keys().map(|(a, _)| *a).collect();
    let reached: BTreeMap<_, _> = names.iter().map(|name| (*name, reached(name))).collect();
    let mut groups: Vec<BTreeSet<&str>> = Vec::new();
    for (name, others) in reached.iter().filter(|(name, others)| others.contains(*name)) {
        if groups.iter().all(|group| !group.contains(name)) {
            let mutual = |other: &&str| reached.get(other).is_some_and(|back| back.contains(name));
            groups.push(others.iter().copied().filter(mutual).collect());
        }
    }
    groups
}

/// Files that call a function of a file above them, import all its names, or add methods to its types.
pub(crate) fn calls_upwards(modules: &Modules) -> Vec<String> {
    let mut found = Vec::new();
    for Reference { from, to, name, function } in modules.references() {
        if is_above(&to, &from) && (function || name == "*") {
            found.push(format!("{}: takes {name} from {}", file(&from), file(&to)));
        }
    }
    for ((home, name), places) in modules.methods() {
        let below = places.iter().filter(|place| is_above(&home, place));
        found.extend(below.map(|place| format!("{}: adds methods to {name} of {}", file(place), file(&home))));
    }
    found
}

fn is_above(above: &[String], below: &[String]) -> bool {
    below.len() > above.len() && below.starts_with(above)
}

/// Types whose inherent methods stand in more than one file.
pub(crate) fn split_types(modules: &Modules) -> Vec<String> {
    let split = modules.methods().into_iter().filter(|(_, places)| places.len() > 1);
    let name = |((home, name), places): ((Vec<String>, String), BTreeSet<Vec<String>>)| {
        let places: Vec<_> = places.iter().map(|place| file(place)).collect();
        format!("{}: {name} has methods in {}", file(&home), places.join(", "))
    };
    split.map(name).collect()
}

fn file(module: &[String]) -> String {
    if module.is_empty() { "the root".to_owned() } else { format!("{}.rs", module.join("/")) }
}
