//! What can be read from the text of one file.

/// Whether a file has only tests, as `x/tests.rs` and `x/tests/y.rs` have.
pub(crate) fn of_tests(path: &str) -> bool {
    path.split(['/', '.']).any(|part| part == "tests")
}

pub(crate) fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

/// The lines that are no comments.
pub(crate) fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

pub(crate) fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

/// The rooms that a file names as `crate::room`, inside `crate::{…}`, or after as many `super::` as lead to the crate's root.
pub(crate) fn imported(path: &str, code: &str) -> Vec<String> {
    let text: String = statements(code).collect::<Vec<_>>().join(" ");
    let text = text.replace(&"super::".repeat(path.split('/').count()), "crate::");
    let mut found = Vec::new();
    for part in text.split("crate::").skip(1) {
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match part.strip_prefix('{') {
            None => found.push(word(part)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            found.push(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

/// Functions that are longer than the limit, found by their braces.
pub(crate) fn long_functions(code: &str, limit: usize) -> Vec<String> {
    let mut long = Vec::new();
    let mut open: Option<(String, usize, i64)> = None;
    for (number, line) in code.lines().enumerate() {
        let trimmed = line.trim_start();
        let braces = line.matches('{').count() as i64 - line.matches('}').count() as i64;
        match &mut open {
            None if trimmed.contains("fn ") && !trimmed.starts_with("//") && line.ends_with('{') => {
                open = Some((trimmed.to_owned(), number, braces));
            }
            None => {}
            Some((name, start, depth)) => {
                *depth += braces;
                if *depth <= 0 {
                    if number - *start + 1 > limit {
                        long.push(format!("{name} ({} lines)", number - *start + 1));
                    }
                    open = None;
                }
            }
        }
    }
    long
}

/// Whether a line contains a seam's text, which must begin where a word begins.
pub(crate) fn speaks(line: &str, seam: &str) -> bool {
    line.match_indices(seam).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            && (seam.ends_with("::") || line[at + seam.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric()))
    }) && !line.contains("\"")
}

/// The lines that sleep and have no comment, neither on them nor in the two lines before.
pub(crate) fn sleeps(code: &str) -> Vec<&str> {
    let lines: Vec<_> = code.lines().collect();
    let why = |line: &&str| line.contains("//") || line.contains("reason = ");
    let bare = |at: &usize| lines[*at].contains("::sleep(") && !lines[at.saturating_sub(2)..=*at].iter().any(why);
    (0..lines.len()).filter(bare).map(|at| lines[at].trim()).collect()
}

#[test]
fn the_checks_themselves_can_fail() {
    assert_eq!(
        imported("a.rs", "use crate::{body::{self, Body}, io};\nuse crate::plane::Wake;\n// crate::app\n"),
        ["body", "io", "plane"]
    );
    assert_eq!(imported("a/b.rs", "use super::super::app::x;\nuse super::c;"), ["app"]);
    assert_eq!(imported("a.rs", "use super::app;"), ["app"]);
    assert_eq!(sleeps("// why\nt::sleep(1);\n\n\nt::sleep(2);\nt::sleep(3); // why"), ["t::sleep(2);"]);
    assert!(of_tests("a/tests.rs") && of_tests("a/tests/b.rs") && !of_tests("a/attests.rs"));
    assert_eq!(long_functions("fn a() {\n1\n2\n}\nfn b() {\n}\n", 3), ["fn a() { (4 lines)"]);
    assert!(speaks("use toml::Spanned;", "toml::") && !speaks("let x = mytoml::y;", "toml::"));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
}
