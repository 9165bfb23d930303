//! The house rules, as a test that reads the code: who may import whom, how files hang together, one file for each seam, sizes,
//! captions, the map.

#[path = "../src/bin/instructions/map.rs"]
mod map;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/structure.rs"]
mod structure;
#[path = "tidy/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use modules::Modules;

/// For each room the rooms that it may import. All may import telemetry.
const IMPORTS: &[(&str, &[&str])] = &[
    ("worker", &[]),
    ("fields", &[]),
    ("telemetry", &["worker"]),
    ("catalog", &[]),
    ("io", &[]),
    ("plane", &["worker", "io"]),
    ("config", &["catalog", "fields"]),
    ("request", &["catalog", "io", "worker"]),
    ("route", &["config", "catalog"]),
    ("discovery", &["config", "catalog", "plane"]),
    ("server", &["config", "plane", "worker", "io"]),
    ("filter", &["fields", "request", "config", "catalog", "plane", "worker", "io"]),
    ("upstream", &["fields", "config", "catalog", "plane", "worker", "io"]),
    ("snapshot", &["config", "catalog", "plane", "route", "filter", "upstream"]),
    ("pages", &[]),
    ("terminal", &["pages"]),
    (
        "proxy",
        &["snapshot", "route", "filter", "upstream", "fields", "request", "config", "catalog", "plane", "worker", "io"],
    ),
    (
        "admin",
        &["snapshot", "route", "filter", "upstream", "request", "config", "catalog", "plane", "worker", "io", "pages"],
    ),
];

/// Seams: a text that only some files may contain, and these files.
const SEAMS: &[(&str, &[&str])] = &[
    ("failsafe::", &["upstream/breaker/history.rs"]),
    ("arc_swap::", &["snapshot.rs"]),
    ("reqwest::", &["discovery/consul/client.rs", "terminal/client.rs"]),
    ("hyper::client", &["upstream/wire.rs"]),
    ("hyper::server", &["server/connection.rs"]),
    ("Incoming", &["server/connection.rs"]),
    ("toml::", &["config/file/document.rs", "config/file/section.rs", "config/file/values.rs"]),
    ("humantime::", &["config/file/values.rs", "telemetry/access.rs"]),
    ("std::env", &["config/env.rs"]),
];

const FILE: usize = 400;
const FUNCTION: usize = 70;

struct Source {
    /// Its path from `src/`.
    path: String,
    /// Its text without its test module.
    code: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("integration lies in the repository").to_owned()
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let read = |path: PathBuf| {
        let whole = fs::read_to_string(&path).expect("readable source");
        let name = path.strip_prefix(&src).expect("below src").display().to_string();
        Source { path: name, code: without_tests(&whole).to_owned() }
    };
    paths.into_iter().map(read).filter(|source| !of_tests(&source.path)).collect()
}

/// All Rust files of the workspace, by their path from the repository's root, with their text.
fn everything() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in ["src", "integration", "mock-services"] {
        files(&root().join(folder), &mut paths);
    }
    let name = |path: &Path| path.strip_prefix(root()).expect("below the repository").display().to_string();
    paths.into_iter().map(|path| (name(&path), fs::read_to_string(&path).expect("readable source"))).collect()
}

/// Whether a file has only tests, as `x/tests.rs` and `x/tests/y.rs` have.
fn of_tests(path: &str) -> bool {
    path.split(['/', '.']).any(|part| part == "tests")
}

fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |at| &text[..at])
}

/// The lines that are no comments.
fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn room(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

/// The rooms that a file names as `crate::room`, inside `crate::{…}`, or after as many `super::` as lead to the crate's root.
fn imported(path: &str, code: &str) -> Vec<String> {
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
fn long_functions(code: &str, limit: usize) -> Vec<String> {
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

/// Fails with a list of what is wrong, if there is anything.
fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn rooms_import_only_what_the_map_allows_and_no_pair_is_mutual() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let room = room(&source.path);
        let Some(may) = allowed.get(room) else {
            if !["app", "lib", "main"].contains(&room) {
                wrong.push(format!("{}: the room {room} is not in the table", source.path));
            }
            continue;
        };
        for other in imported(&source.path, &source.code) {
            let fine = other == room || other == "telemetry" || may.contains(&other.as_str());
            if !fine && (allowed.contains_key(other.as_str()) || other == "app") {
                wrong.push(format!("{} imports {other}", source.path));
            }
        }
    }
    none("forbidden imports", &wrong);
    for (room, may) in IMPORTS {
        for other in *may {
            assert!(!allowed[other].contains(room), "{room} and {other} may import each other");
        }
    }
}

#[test]
fn each_seam_is_in_its_own_file() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (seam, homes) in SEAMS {
            if !homes.contains(&source.path.as_str()) && statements(&source.code).any(|line| speaks(line, seam)) {
                wrong.push(format!("{} speaks of {seam}", source.path));
            }
        }
    }
    none("seams", &wrong);
}

/// Whether a line contains a seam's text, which must begin where a word begins.
fn speaks(line: &str, seam: &str) -> bool {
    line.match_indices(seam).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            && (seam.ends_with("::") || line[at + seam.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric()))
    }) && !line.contains("\"")
}

#[test]
fn files_and_functions_stay_small_and_begin_with_a_caption() {
    let mut wrong = Vec::new();
    for source in sources() {
        wrong.extend(long_functions(&source.code, FUNCTION).into_iter().map(|f| format!("{}: {f}", source.path)));
    }
    for (path, text) in everything() {
        let lines = without_tests(&text).lines().count();
        if lines > FILE && !of_tests(&path) {
            wrong.push(format!("{path} has {lines} lines"));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{path} begins without a caption"));
        }
    }
    none("sizes and captions", &wrong);
}

#[test]
fn tests_wait_for_conditions_and_say_why_where_they_sleep() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        let tests = if path.starts_with("integration/") || of_tests(&path) {
            &text[..]
        } else {
            &text[without_tests(&text).len()..]
        };
        wrong.extend(sleeps(tests).into_iter().map(|line| format!("{path}: {line}")));
    }
    none("sleeps without a reason", &wrong);
}

/// The lines that sleep and have no comment, neither on them nor in the two lines before.
fn sleeps(code: &str) -> Vec<&str> {
    let lines: Vec<_> = code.lines().collect();
    let why = |line: &&str| line.contains("//") || line.contains("reason = ");
    let bare = |at: &usize| lines[*at].contains("::sleep(") && !lines[at.saturating_sub(2)..=*at].iter().any(why);
    (0..lines.len()).filter(bare).map(|at| lines[at].trim()).collect()
}

#[test]
fn nothing_is_left_unfinished_and_no_path_of_a_machine_is_in_the_tree() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let unfinished = ["todo!(", "unimplemented!(", "#[ignore", "FIXME"].iter().any(|word| line.contains(word));
            let machine = ["/root/", "/home/", "/work/"].iter().any(|path| line.contains(path));
            if unfinished || machine {
                wrong.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("unfinished, or of one machine", &wrong);
}

/// The crates of the workspace, by their folder, with the modules of each.
fn crates() -> Vec<(&'static str, Modules)> {
    const ROOTS: [&str; 6] = [
        "src/",
        "integration/src/",
        "integration/src/bin/bench-peers/",
        "integration/src/bin/instructions/",
        "integration/tests/all/",
        "mock-services/src/",
    ];
    let all = everything();
    let of = |root: &str| {
        let below = all.iter().filter_map(|(path, text)| Some((path.strip_prefix(root)?, text.as_str())));
        // `main.rs` beside a `lib.rs` is a crate of its own, and so is each program in `bin/`.
        let inside: Vec<_> = below.filter(|(path, _)| !path.starts_with("bin/") && !of_tests(path)).collect();
        let library = inside.iter().any(|(path, _)| *path == "lib.rs");
        Modules::read(inside.into_iter().filter(|(path, _)| !(library && *path == "main.rs")))
    };
    ROOTS.into_iter().map(|root| (root, of(root))).collect()
}

/// What a check finds in all crates.
fn in_crates(check: fn(&Modules) -> Vec<String>) -> Vec<String> {
    let found = |(root, modules): (&str, Modules)| {
        check(&modules).into_iter().map(move |wrong| format!("{root}{wrong}")).collect::<Vec<_>>()
    };
    crates().into_iter().flat_map(found).collect()
}

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    none("circles", &in_crates(structure::cycles));
}

#[test]
fn a_file_calls_no_function_of_the_files_above_it_and_adds_no_methods_to_their_types() {
    none("calls upwards", &in_crates(structure::calls_upwards));
}

#[test]
fn the_methods_of_a_type_stand_in_one_file() {
    none("types in several files", &in_crates(structure::split_types));
}

#[test]
fn the_map_names_every_file_once_and_no_other() {
    none("src/README.md, the tree", &off_the_map(&map(), &files_of_src()));
}

/// The heading of the map's tree, which names every file of `src/` but those of tests.
const TREE: &str = "## The tree";

fn map() -> String {
    fs::read_to_string(root().join("src/README.md")).expect("the map")
}

fn files_of_src() -> BTreeSet<String> {
    sources().into_iter().map(|source| source.path).collect()
}

/// What is wrong with the map's tree.
fn off_the_map(map: &str, files: &BTreeSet<String>) -> Vec<String> {
    let listed = match map::listed(map, TREE) {
        Ok(listed) => listed,
        Err(why) => return vec![why],
    };
    let mut wrong = no_files(&listed, files);
    wrong.extend(files.iter().filter(|file| !listed.contains(file)).map(|file| format!("{file} is not on it")));
    explained(wrong)
}

/// What of a list is no file, or is listed twice.
fn no_files(listed: &[String], files: &BTreeSet<String>) -> Vec<String> {
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
fn explained(mut wrong: Vec<String>) -> Vec<String> {
    if !wrong.is_empty() {
        wrong.push(map::FORMAT.to_owned());
    }
    wrong
}

#[test]
fn the_files_that_a_get_walks_through_are_listed_and_exist() {
    // Which files these are is counted by `cargo instructions --files full --check`, for it takes valgrind.
    let wrong = match map::listed(&map(), map::WALK) {
        Ok(listed) if listed.is_empty() => vec!["no file is listed".to_owned()],
        Ok(listed) => explained(no_files(&listed, &files_of_src())),
        Err(why) => vec![why],
    };
    none("src/README.md, the files that a GET walks through", &wrong);
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

#[test]
fn the_checks_of_how_files_hang_together_can_fail() {
    let read = |files: &[(&'static str, &'static str)]| {
        Modules::read([("lib.rs", "mod a; mod b; mod x;")].into_iter().chain(files.iter().copied()))
    };
    // A circle of three, through an import of an import, a path in code and a file below; `x.rs` and `x/` are one.
    let circle = read(&[
        ("a.rs", "use crate::x::{self, inner::Deep as D};"),
        ("b.rs", "pub use super::a::*;\n// crate::x::X\nfn f() { crate::a::g() }"),
        ("x.rs", "mod inner; pub use inner::Deep; pub struct X;"),
        ("x/inner.rs", "use super::super::b::f;\npub struct Deep;\n#[cfg(test)]\nuse super::X;"),
    ]);
    let found = "{a, b, x}\n    a -> x: itself, Deep\n    b -> a: *, g\n    x -> b: f";
    assert_eq!(structure::cycles(&circle), [found]);
    assert!(structure::calls_upwards(&circle).is_empty() && structure::split_types(&circle).is_empty());
    let line = read(&[("a.rs", "use crate::b::B;"), ("b.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }")]);
    assert!(structure::cycles(&line).is_empty());

    // What a file below may take from the one above it, and what not.
    let above = "pub struct T; pub const C: u8 = 1; pub trait R {} pub fn f() {} pub const fn g() {} mod low; mod side;\n\
        use side::h;";
    let fine = "use super::{T, C, R, h};\nimpl R for T {}\nfn f(t: T) { t.run(); self::g(); T::default(); T::Variant }\nfn g() {}";
    let allowed = read(&[("x.rs", above), ("x/low.rs", fine), ("x/side.rs", "pub fn h() {}")]);
    assert!(structure::calls_upwards(&allowed).is_empty(), "{:?}", structure::calls_upwards(&allowed));
    for (below, wrong) in [
        ("use super::f;", "takes f from x.rs"),
        ("use super::{T, g as other};", "takes g from x.rs"),
        ("use crate::x;\nfn a() { x::f() }", "takes f from x.rs"),
        ("use super::T;\nfn a() { T::new() }", "takes T::new from x.rs"),
        ("use super::*;", "takes * from x.rs"),
        ("use super::T;\nimpl<'a> T { fn a() {} }", "adds methods to T of x.rs"),
        ("impl super::T where u8: Copy { fn a() {} }", "adds methods to T of x.rs"),
    ] {
        let found = structure::calls_upwards(&read(&[("x.rs", above), ("x/low.rs", below)]));
        assert_eq!(found, [format!("x/low.rs: {wrong}")], "{below}");
    }

    // Methods of one type in two files; two types of one name; a trait's methods, which may stand anywhere.
    let own = "pub struct T; impl T { fn a() {} }";
    for (other, split) in [
        ("use super::a::T; impl T { fn b() {} }", true),
        ("use super::a; impl<'x> a::T { fn b() {} }", true),
        ("struct T; impl T { fn b() {} }", false),
        ("use super::a::T; impl<X: Fn() -> u8> From<X> for T { fn b() -> impl Sized {} }", false),
    ] {
        let found = structure::split_types(&read(&[("a.rs", own), ("b.rs", other)]));
        let expected: &[&str] = if split { &["a.rs: T has methods in a.rs, b.rs"] } else { &[] };
        assert_eq!(found, expected, "{other}");
    }
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
