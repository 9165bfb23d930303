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
    assert_eq!(cycles(&circle), [found]);
    assert!(calls_upwards(&circle).is_empty() && split_types(&circle).is_empty());
    let line = read(&[("a.rs", "use crate::b::B;"), ("b.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }")]);
    assert!(cycles(&line).is_empty());

    // What a file below may take from the one above it, and what not.
    let above = "pub struct T; pub const C: u8 = 1; pub trait R {} pub fn f() {} pub const fn g() {} mod low; mod side;\n\
        use side::h;";
    let fine = "use super::{T, C, R, h};\nimpl R for T {}\nfn f(t: T) { t.run(); self::g(); T::default(); T::Variant }\nfn g() {}";
    let allowed = read(&[("x.rs", above), ("x/low.rs", fine), ("x/side.rs", "pub fn h() {}")]);
    assert!(calls_upwards(&allowed).is_empty(), "{:?}", calls_upwards(&allowed));
    for (below, wrong) in [
        ("use super::f;", "takes f from x.rs"),
        ("use super::{T, g as other};", "takes g from x.rs"),
        ("use crate::x;\nfn a() { x::f() }", "takes f from x.rs"),
        ("use super::T;\nfn a() { T::new() }", "takes T::new from x.rs"),
        ("use super::*;", "takes * from x.rs"),
        ("use super::T;\nimpl<'a> T { fn a() {} }", "adds methods to T of x.rs"),
        ("impl super::T where u8: Copy { fn a() {} }", "adds methods to T of x.rs"),
    ] {
        let found = calls_upwards(&read(&[("x.rs", above), ("x/low.rs", below)]));
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
        let found = split_types(&read(&[("a.rs", own), ("b.rs", other)]));
        let expected: &[&str] = if split { &["a.rs: T has methods in a.rs, b.rs"] } else { &[] };
        assert_eq!(found, expected, "{other}");
    }
}
