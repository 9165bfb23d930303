//! The files of a crate as modules: what each declares, what it imports, and which file a path leads to.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::tokens;

/// What a module declares under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Function,
    /// A type, trait, constant, static or macro.
    Other,
}

/// One file of a crate.
#[derive(Debug, Default)]
struct Module {
    declared: BTreeMap<String, Kind>,
    /// By the name that an import has here: its path as written.
    imported: BTreeMap<String, Vec<String>>,
    /// Modules all of whose names are imported by `*`.
    globs: Vec<Vec<String>>,
    /// Paths of two names and more in its code.
    paths: BTreeSet<Vec<String>>,
    /// Types that get inherent methods here, as written.
    methods: BTreeSet<Vec<String>>,
}

/// The modules of a crate, by their path: `proxy/attempt.rs` is `["proxy", "attempt"]`.
#[derive(Debug, Default)]
pub(crate) struct Modules(BTreeMap<Vec<String>, Module>);

/// A name that one file uses and another one declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
    /// The name, with what follows it in the path: `Snapshot::next`. `*` stands for all names, nothing for the module itself.
    pub(crate) name: String,
    /// It names a function, free or associated, as far as its text tells.
    pub(crate) function: bool,
}

/// Where a path leads: a module of the crate, a name that it declares, and what follows in the path.
struct Target {
    module: Vec<String>,
    name: Option<String>,
    rest: Vec<String>,
}

/// How many imports of imports are followed; a crate that builds has no endless ones.
const FOLLOWED: usize = 8;

impl Modules {
    /// Reads the files of a crate, given by their paths from its root.
    pub(crate) fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Modules {
        Modules(files.into_iter().map(|(path, text)| (module_path(path), Module::read(text))).collect())
    }

    /// Every use that a file makes of another one.
    pub(crate) fn references(&self) -> BTreeSet<Reference> {
        let mut found = BTreeSet::new();
        for (from, module) in &self.0 {
            let paths = module.imported.values().chain(&module.paths);
            let globs = module.globs.iter().filter_map(|path| {
                let target = self.resolve(from, path, FOLLOWED)?;
                Some((target.module, "*".to_owned(), false))
            });
            let named = paths.filter_map(|path| {
                let target = self.resolve(from, path, FOLLOWED)?;
                let function = self.is_function(&target);
                let name = target.name.into_iter().chain(target.rest).collect::<Vec<_>>().join("::");
                Some((target.module, name, function))
            });
            let others = globs.chain(named).filter(|(to, ..)| to != from);
            found.extend(others.map(|(to, name, function)| Reference { from: from.clone(), to, name, function }));
        }
        found
    }

    /// The types that get inherent methods, by the module and the name of their declaration, each with the modules that
    /// write these methods.
    pub(crate) fn methods(&self) -> BTreeMap<(Vec<String>, String), BTreeSet<Vec<String>>> {
        let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (from, module) in &self.0 {
            for path in &module.methods {
                if let Some(Target { module, name: Some(name), .. }) = self.resolve(from, path, FOLLOWED) {
                    found.entry((module, name)).or_default().insert(from.clone());
                }
            }
        }
        found
    }

    /// Follows a path that stands in a module; none where it leads out of the crate.
    fn resolve(&self, from: &[String], path: &[String], follow: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, follow),
            "self" => self.walk(from.to_vec(), rest, follow),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let above = from.len().checked_sub(ups)?;
                self.walk(from[..above].to_vec(), &path[ups..], follow)
            }
            _ => {
                let module = self.0.get(from)?;
                let known = module.declared.contains_key(first) || module.imported.contains_key(first);
                (known || self.child(from, first).is_some()).then(|| self.walk(from.to_vec(), path, follow))?
            }
        }
    }

    /// Follows a path down from a module of the crate.
    fn walk(&self, mut at: Vec<String>, path: &[String], follow: usize) -> Option<Target> {
        let mut rest = path;
        while let Some((name, after)) = rest.split_first() {
            let module = self.0.get(&at)?;
            if name == "self" && after.is_empty() {
                break;
            }
            // A module and a function may share their name: a path that goes on means the module.
            let last = after.is_empty() && module.declared.contains_key(name);
            if let Some(child) = self.child(&at, name).filter(|_| !last) {
                (at, rest) = (child, after);
                continue;
            }
            if !module.declared.contains_key(name) && follow > 0 {
                if let Some(import) = module.imported.get(name) {
                    let whole: Vec<_> = import.iter().chain(after).cloned().collect();
                    return self.resolve(&at, &whole, follow - 1);
                }
                let through = module.globs.iter().find_map(|glob| {
                    let target = self.resolve(&at, glob, follow - 1)?;
                    let there = self.0.get(&target.module)?;
                    let known = there.declared.contains_key(name) || there.imported.contains_key(name);
                    known.then(|| self.walk(target.module, rest, follow - 1))?
                });
                if through.is_some() {
                    return through;
                }
            }
            return Some(Target { module: at, name: Some(name.clone()), rest: after.to_vec() });
        }
        Some(Target { module: at, name: None, rest: Vec::new() })
    }

    fn child(&self, of: &[String], name: &str) -> Option<Vec<String>> {
        let path = [of, &[name.to_owned()]].concat();
        self.0.contains_key(&path).then_some(path)
    }

    /// Whether a path ends in a function: one that its module declares, or, by its lower case, one of a type.
    fn is_function(&self, target: &Target) -> bool {
        let Some(name) = &target.name else { return false };
        // `Type::default()` is as a rule derived: data, not behaviour.
        let lower = |name: &String| name.starts_with(|c: char| c.is_lowercase() || c == '_') && name != "default";
        match self.0.get(&target.module).and_then(|module| module.declared.get(name)) {
            Some(Kind::Function) => true,
            Some(Kind::Other) => target.rest.last().is_some_and(lower),
            None => lower(target.rest.last().unwrap_or(name)),
        }
    }
}

/// The module of a file: the root's is empty.
fn module_path(file: &str) -> Vec<String> {
    match file.trim_end_matches(".rs") {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

impl Module {
    fn read(text: &str) -> Module {
        let all = tokens(text);
        let mut module = Module::default();
        let (mut at, mut depth) = (0, 0);
        while at < all.len() {
            match all[at] {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                "use" => {
                    at = module.import(&all, at + 1, &[]);
                    continue;
                }
                "impl" if depth == 0 && begins_item(&all, at) => module.methods.extend(methods_of(&all[at + 1..])),
                "fn" if depth == 0 => module.declare(&all, at, Kind::Function),
                "struct" | "enum" | "union" | "trait" | "type" | "static" | "const" if depth == 0 => {
                    module.declare(&all, at, Kind::Other);
                }
                "macro_rules" => module.declare(&all, at + 1, Kind::Other),
                _ => at = module.path(&all, at),
            }
            at += 1;
        }
        module
    }

    fn declare(&mut self, all: &[&str], at: usize, kind: Kind) {
        let name = all[at + 1..].iter().find(|token| !["mut", "fn", "async", "unsafe"].contains(token));
        // `const fn` is met again at its `fn`, which decides.
        if let Some(name) = name.filter(|name| is_name(name)) {
            self.declared.insert((*name).to_owned(), kind);
        }
    }

    /// Reads one tree of a `use`; the position after it, and after its `;`.
    fn import(&mut self, all: &[&str], mut at: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let mut name: Option<String> = None;
        loop {
            match all.get(at).copied().unwrap_or(";") {
                "::" => {}
                "{" => {
                    while !matches!(all.get(at), None | Some(&"}")) {
                        at = self.import(all, at + 1, &path);
                    }
                    path.clear();
                }
                "*" => {
                    self.globs.push(std::mem::take(&mut path));
                }
                "as" => {
                    at += 1;
                    name = all.get(at).map(|name| (*name).to_owned());
                }
                end @ ("," | "}" | ";") => {
                    // `{self}` imports the module before the braces.
                    let itself = path.last().is_some_and(|last| last == "self") && path.len() > 1;
                    path.truncate(path.len() - usize::from(itself));
                    let something = itself || path.len() > before.len();
                    if let Some(name) = name.or_else(|| path.last().cloned()).filter(|_| something) {
                        self.imported.insert(name, path);
                    }
                    return if end == ";" { at + 1 } else { at };
                }
                word => path.push(word.to_owned()),
            }
            at += 1;
        }
    }

    /// Notes the path that begins here, if it has two names or more; the position of its last token.
    fn path(&mut self, all: &[&str], mut at: usize) -> usize {
        let begins = is_name(all[at]) && (at == 0 || !["::", "."].contains(&all[at - 1]));
        if !begins {
            return at;
        }
        let mut path = vec![all[at].to_owned()];
        while all.get(at + 1) == Some(&"::") && all.get(at + 2).is_some_and(|name| is_name(name)) {
            at += 2;
            path.push(all[at].to_owned());
        }
        if path.len() > 1 {
            self.paths.insert(path);
        }
        at
    }
}

/// Every path that a file imports or names, with what `super` and `self` lead to: `crate::io::Body`, `hyper::server`.
pub(crate) fn paths(file: &str, text: &str) -> BTreeSet<Vec<String>> {
    let (module, here) = (Module::read(text), module_path(file));
    let written = module.imported.into_values().chain(module.globs).chain(module.paths);
    let whole = |path: Vec<String>| {
        let ups = path.iter().take_while(|part| *part == "super").count();
        let own = path.first().is_some_and(|first| first == "self");
        if ups == 0 && !own {
            return path;
        }
        let above = &here[..here.len().saturating_sub(ups)];
        [&["crate".to_owned()], above, &path[ups.max(1)..]].concat()
    };
    written.map(whole).collect()
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// An `impl` that is a block of its own, and not a type.
fn begins_item(all: &[&str], at: usize) -> bool {
    at == 0 || [";", "}", "]", "unsafe"].contains(&all[at - 1])
}

/// The type that a block of inherent methods is for, from the tokens after `impl`; none for a trait's.
fn methods_of(all: &[&str]) -> Option<Vec<String>> {
    let mut depth = 0;
    let mut path: Vec<String> = Vec::new();
    for token in all {
        match *token {
            "<" => depth += 1,
            ">" => depth -= 1,
            "for" if depth == 0 => return None,
            "{" | "where" if depth == 0 => break,
            name if depth == 0 && is_name(name) => path.push(name.to_owned()),
            _ => {}
        }
    }
    Some(path)
}

#[test]
fn paths_are_read_from_imports_and_from_code() {
    let text = "use super::super::app::x;\nuse crate::{body::{self, Body}, io::*};\nfn f() { self::g(); toml::from_str(\"a::b\") }";
    let found: Vec<_> = paths("a/b.rs", text).into_iter().map(|path| path.join("::")).collect();
    let expected =
        ["crate::a::b::g", "crate::app::x", "crate::body", "crate::body::Body", "crate::io", "toml::from_str"];
    assert_eq!(found, expected);
}
