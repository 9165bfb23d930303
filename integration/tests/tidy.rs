//! The house rules, as a test that reads the code: who may import whom, how files hang together, one file for each seam, sizes,
//! captions, the map.

#[path = "../src/bin/instructions/map.rs"]
mod map;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/structure.rs"]
mod structure;
#[path = "tidy/text.rs"]
mod text;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/tree.rs"]
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use modules::{Modules, paths};
use text::{of_tests, room, sleeps, without_tests};
use tree::{explained, no_files, off_the_map};

/// For each room the rooms that it may import. All may import telemetry.
const IMPORTS: &[(&str, &[&str])] = &[
    ("worker", &[]),
    ("supervisor", &[]),
    ("fields", &[]),
    ("telemetry", &["worker"]),
    ("catalog", &[]),
    ("own_file", &[]),
    ("io", &[]),
    ("plane", &["worker", "supervisor", "io"]),
    ("config", &["catalog", "fields", "shape", "supervisor", "own_file"]),
    ("request", &[]),
    ("shape", &[]),
    ("token", &["config", "worker"]),
    ("issuers", &["config", "token", "supervisor", "own_file"]),
    ("shared", &["config", "worker", "supervisor"]),
    ("route", &["config", "request", "worker"]),
    ("fleet", &["config", "catalog"]),
    ("discovery", &["config", "catalog", "pages", "fleet", "supervisor", "own_file"]),
    ("server", &["plane", "worker", "io", "supervisor"]),
    ("filter", &["fields", "request", "config", "token", "worker", "io"]),
    ("upstream", &["fields", "config", "catalog", "worker", "io"]),
    ("snapshot", &["config", "catalog", "token", "plane", "route", "filter", "upstream", "supervisor"]),
    ("pages", &[]),
    ("terminal", &["pages"]),
    (
        "proxy",
        &[
            "snapshot", "route", "filter", "upstream", "shape", "fields", "request", "config", "catalog", "plane",
            "worker", "io",
        ],
    ),
    (
        "admin",
        &[
            "snapshot",
            "route",
            "filter",
            "upstream",
            "request",
            "config",
            "catalog",
            "plane",
            "worker",
            "pages",
            "supervisor",
            "token",
            "issuers",
            "fleet",
            "shared",
        ],
    ),
];

/// Seams: a path that only some files may name, and these files.
const SEAMS: &[(&str, &[&str])] = &[
    ("failsafe", &["upstream/breaker/history.rs", "issuers/introspection/breaker.rs"]),
    ("arc_swap", &["snapshot.rs"]),
    (
        "reqwest",
        &[
            "discovery/consul/client.rs",
            "discovery/consul/client/answer.rs",
            "discovery/consul/client/connect.rs",
            "terminal/client.rs",
            "issuers/http.rs",
            "fleet/peers.rs",
        ],
    ),
    // The crate; `redis` alone is also a module of the configuration.
    ("redis::aio", &["shared/link.rs"]),
    ("redis::cluster", &["shared/link.rs"]),
    ("redis::sentinel", &["shared/link.rs"]),
    ("redis::Client", &["shared/link.rs"]),
    ("redis::Cmd", &["shared/call.rs", "shared/link.rs"]),
    ("redis::RedisError", &["shared/away.rs", "shared/link.rs"]),
    ("jsonwebtoken", &["token/key.rs"]),
    ("proxy_header", &["server/preamble.rs"]),
    ("hifijson", &["shape/read.rs", "shape/check.rs"]),
    ("jmespath", &["shape/syntax.rs"]),
    ("num_bigint", &["shape/number.rs"]),
    ("curve25519_dalek", &["token/jwk.rs"]),
    ("hyper::server", &["server/connection.rs"]),
    ("hyper::body::Incoming", &["server/connection.rs"]),
    (
        "toml",
        &[
            "config/file/canonical.rs",
            "config/file/document.rs",
            "config/file/section.rs",
            "config/file/section/claims.rs",
            "config/file/section/json.rs",
            "config/file/values.rs",
        ],
    ),
    ("humantime", &["config/file/values.rs", "telemetry/access.rs"]),
    ("std::env", &["config/env.rs"]),
];

const FILE: usize = 400;

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

/// Fails with a list of what is wrong, if there is anything.
fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn rooms_import_what_the_map_allows_and_no_pair_is_mutual() {
    let allowed: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        let room = room(&source.path);
        let Some(may) = allowed.get(room) else {
            if !["app", "lib", "main"].contains(&room) {
                wrong.push(format!("{}: the room {room} is not in the table", source.path));
            }
            continue;
        };
        for path in paths(&source.path, &source.code) {
            let [first, other, ..] = path.as_slice() else { continue };
            let known = allowed.contains_key(other.as_str()) || other == "app";
            if first != "crate" || !known || other == room || other == "telemetry" {
                continue;
            }
            if !may.contains(&other.as_str()) {
                wrong.push(format!("{} imports {other}", source.path));
            }
            used.insert((room.to_owned(), other.to_owned()));
        }
    }
    none("forbidden imports", &wrong);
    let mut idle = Vec::new();
    for (room, may) in IMPORTS {
        for other in *may {
            assert!(!allowed[other].contains(room), "{room} and {other} may import each other");
            if !used.contains(&((*room).to_owned(), (*other).to_owned())) {
                idle.push(format!("{room} -> {other}"));
            }
        }
    }
    none("imports that are allowed, and that no file has", &idle);
}

/// Whether a path leads to a seam or below it.
fn crosses(path: &[String], seam: &str) -> bool {
    let seam: Vec<_> = seam.split("::").collect();
    path.len() >= seam.len() && path.iter().zip(seam).all(|(part, of_seam)| part == of_seam)
}

#[test]
fn each_seam_is_in_its_own_file() {
    let (mut wrong, mut crossed) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        for path in paths(&source.path, &source.code) {
            for (seam, homes) in SEAMS.iter().filter(|(seam, _)| crosses(&path, seam)) {
                if !homes.contains(&source.path.as_str()) {
                    wrong.push(format!("{} names {seam}", source.path));
                }
                crossed.insert((*seam, source.path.clone()));
            }
        }
    }
    for (seam, homes) in SEAMS {
        let idle = homes.iter().filter(|home| !crossed.contains(&(*seam, (**home).to_owned())));
        wrong.extend(idle.map(|home| format!("{home} does not name {seam}")));
    }
    none("seams", &wrong);
}

#[test]
fn files_stay_small_and_begin_with_a_caption() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        let lines = text.lines().count();
        if lines > FILE {
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
        if path.starts_with("integration/tests/tidy") {
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

#[test]
fn nothing_is_left_unfinished_and_no_path_of_a_machine_is_in_the_tree() {
    let mut wrong = Vec::new();
    for (path, text) in everything() {
        if path.starts_with("integration/tests/tidy") {
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
    const ROOTS: [&str; 9] = [
        "src/",
        "integration/src/",
        "integration/src/bin/aggregates/",
        "integration/src/bin/bench-peers/",
        "integration/src/bin/big-catalog/",
        "integration/src/bin/instructions/",
        "integration/src/bin/tokens/",
        "integration/tests/all/",
        "mock-services/src/",
    ];
    let all = everything();
    let of = |root: &str| {
        let below = all.iter().filter_map(|(path, text)| Some((path.strip_prefix(root)?, text.as_str())));
        // `main.rs` beside a `lib.rs` is a crate of its own, and so is each program in `bin/`.
        let inside: Vec<_> = below.filter(|(path, _)| !path.starts_with("bin/") && !of_tests(path)).collect();
        let library = inside.iter().any(|(path, _)| *path == "lib.rs");
        assert!(!inside.is_empty(), "there is no crate in {root}");
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

fn map() -> String {
    fs::read_to_string(root().join("src/README.md")).expect("the map")
}

fn files_of_src() -> BTreeSet<String> {
    sources().into_iter().map(|source| source.path).collect()
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
