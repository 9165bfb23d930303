//! What can be read from the text of one file.

/// Whether a file has only tests, as `x/tests.rs` and `x/tests/y.rs` have.
pub(crate) fn of_tests(path: &str) -> bool {
    path.split(['/', '.']).any(|part| part == "tests")
}

pub(crate) fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

pub(crate) fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
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
    assert_eq!(sleeps("// why\nt::sleep(1);\n\n\nt::sleep(2);\nt::sleep(3); // why"), ["t::sleep(2);"]);
    assert!(of_tests("a/tests.rs") && of_tests("a/tests/b.rs") && !of_tests("a/attests.rs"));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
}
