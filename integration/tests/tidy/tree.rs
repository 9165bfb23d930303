//! The lists of files in `src/README.md`, compared with the files that there are.

use std::collections::BTreeSet;

use super::map;

/// The heading of the map's tree, which names every file of `src/` but those of tests.
const TREE: &str = "## The tree";

/// What is wrong with the map's tree.
pub(crate) fn off_the_map(map: &str, files: &BTreeSet<String>) -> Vec<String> {
    let listed = match map::listed(map, TREE) {
        Ok(listed) => listed,
        Err(why) => return vec![why],
    };
    let mut wrong = no_files(&listed, files);
    wrong.extend(files.iter().filter(|file| !listed.contains(file)).map(|file| format!("{file} is not on it")));
    explained(wrong)
}

/// What of a list is no file, or is listed twice.
pub(crate) fn no_files(listed: &[String], files: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, path) in listed.iter().enumerate() {
        if !files.contains(path) {
            wrong.push(format!("{path} is on it, but there is no such file"));
        }
        if listed[..at].contains(path) {
            wrong.push(format!("{path} is on it twice"));
        }
    }
    wrong
}

/// With a list's format, when something is wrong.
pub(crate) fn explained(mut wrong: Vec<String>) -> Vec<String> {
    if !wrong.is_empty() {
        wrong.push(map::FORMAT.to_owned());
    }
    wrong
}

#[test]
fn the_checks_of_the_map_can_fail() {
    let files: BTreeSet<_> = ["a.rs", "b/c.rs"].map(String::from).into();
    let wrong = |tree: &str| {
        let mut wrong = off_the_map(&format!("## The tree\n```\n{tree}\n```\n"), &files);
        assert!(wrong.is_empty() || wrong.pop().is_some_and(|format| format.contains("Paths are from src/")));
        wrong
    };
    assert!(wrong("a.rs  words, d.rs\nb/{c}.rs").is_empty());
    // A name in the text is no place on the map.
    assert_eq!(wrong("a.rs  b/c.rs"), ["b/c.rs is not on it"]);
    assert_eq!(wrong("a.rs b/c.rs\nb/{d}.rs"), ["b/d.rs is on it, but there is no such file"]);
    assert_eq!(wrong("a.rs b/c.rs a.rs"), ["a.rs is on it twice"]);
    assert!(off_the_map("## Another\n```\na.rs\n```\n", &files)[0].starts_with("no block under `## The tree`"));
}
