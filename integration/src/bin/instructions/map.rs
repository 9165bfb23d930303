//! Lists of source files in `src/README.md`, the map: its tree, and the files that a GET walks through. `tests/tidy.rs` reads them, too.

/// How such a list is written, for the messages of those who find a mistake in it.
pub(crate) const FORMAT: &str = "\
    The list is the first block between ``` after its heading. Paths are from src/. A line begins with one path, or several\n\
    with one space between; a group stands for several: `config/{policy, check/{paths, routes}}.rs`. After two spaces or more,\n\
    the rest of the line is a description. Lines that begin with `--` or a space, and empty ones, name no file.";

/// The heading of the files with a function that a GET of the scenario `full` calls.
pub(crate) const WALK: &str = "## Files that a GET walks through";

/// The files of the list under a heading, as often as each is named.
pub(crate) fn listed(map: &str, heading: &str) -> Result<Vec<String>, String> {
    let mut lines = map.lines().skip_while(|line| *line != heading).skip(1);
    // A block further down belongs to another heading.
    let opened = lines.by_ref().take_while(|line| !line.starts_with("## ")).any(|line| line.starts_with("```"));
    if !opened {
        return Err(format!("no block under `{heading}`\n{FORMAT}"));
    }
    let inside = lines.take_while(|line| !line.starts_with("```"));
    let names_files = |line: &&str| !(line.is_empty() || line.starts_with("--") || line.starts_with(' '));
    let mut found = Vec::new();
    for line in inside.filter(names_files) {
        let paths = line.split_once("  ").map_or(line, |(paths, _)| paths);
        for path in split(paths, ' ').into_iter().flat_map(expand) {
            if !path.ends_with(".rs") || path.contains(['{', '}', ',']) {
                return Err(format!("`{path}` under `{heading}` is no path of a file: {line}\n{FORMAT}"));
            }
            found.push(path);
        }
    }
    Ok(found)
}

/// All paths that a path with groups stands for.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth == 0
    });
    let Some(end) = end else { return vec![path.to_owned()] };
    let (group, after) = (&rest[..end], &rest[end + 1..]);
    let parts = split(group, ',').into_iter().flat_map(|part| expand(part.trim()));
    parts.flat_map(|part| expand(&format!("{before}{part}{after}"))).collect()
}

/// Splits at a separator that stands in no group.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut depth = 0;
    let outside = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == separator && depth == 0
    };
    text.split(outside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "## The tree";

    #[test]
    fn a_list_names_paths_groups_and_nothing_of_its_descriptions() {
        let map = "# x\n\n## The tree\n\n```\n-- words --\nlib.rs main.rs  rooms, a.rs\na.rs\n   more of b.rs\n\n\
            c/{d, e/{f, g}}.rs  {h}.rs\n```\ni.rs\n";
        assert_eq!(listed(map, TREE).unwrap(), ["lib.rs", "main.rs", "a.rs", "c/d.rs", "c/e/f.rs", "c/e/g.rs"]);
    }

    #[test]
    fn a_list_that_is_missing_or_cannot_be_read_says_how_it_is_written() {
        let other = "## The tree\n\n## Other\n```\na.rs\n```\n";
        for (map, why) in [
            (other, "no block under `## The tree`"),
            ("## The tree\n```\na.rs b\n```\n", "`b` under `## The tree` is no path"),
            ("## The tree\n```\na/{b,\nc}.rs\n```\n", "`a/{b,` under"),
        ] {
            let error = listed(map, TREE).unwrap_err();
            assert!(error.contains(why) && error.contains("first block"), "{error}");
        }
    }
}
