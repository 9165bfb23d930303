//! `[[route]]` and `[api]`: which requests go where. Of two routes with the same host and path the one with more further
//! conditions is looked at first; two that could both claim a request with the same right are a mistake that names both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::actions::{action, cors, header_name, header_rules, methods};
use super::{paths, policy};
use crate::config::file::{Section, Written};
use crate::config::routes::{Action, Condition, Host, PathChange, Pattern, Route, Segment, Target};
use crate::config::{Policy, StaticService};

/// A route, and where it stands.
struct Placed {
    route: Route,
    line: usize,
}

/// All routes, the one of `[api]` among them.
pub(super) fn routes(root: &Section<'_>, base: &Policy) -> Vec<Arc<Route>> {
    let mut placed: Vec<Placed> = api(root.section("api"), base).into_iter().collect();
    for (index, section) in root.sections("route").into_iter().enumerate() {
        placed.extend(route(section, index, base));
    }
    names(root, &placed);
    ties(root, &placed);
    placed.into_iter().map(|placed| Arc::new(placed.route)).collect()
}

/// `/api/{service}/{path}`.
fn api(section: Section<'_>, base: &Policy) -> Option<Placed> {
    let written = section.text("prefix");
    let text = written.as_ref().map_or("/api", |written| written.value.as_str());
    let mut pattern = match paths::prefix(text) {
        Ok(pattern) => pattern,
        Err(_) if text == "none" => Pattern { segments: Vec::new(), below: true, rest: None },
        Err(why) => {
            section.wrong_at("prefix", format!("{why} (or \"none\")"));
            Pattern { segments: Vec::new(), below: true, rest: None }
        }
    };
    if text == "/" {
        section.wrong_at("prefix", "would claim every path: write e.g. \"/api\", or \"none\"");
    }
    own_paths(&section, "prefix", &pattern);
    let strip = pattern.segments.len() + 1;
    pattern.segments.push(Segment::Parameter("service".into()));
    pattern.rest = Some("path".into());
    let policy = policy::over(&section, base, "api");
    let open = section.flag("open_to_everyone", false);
    let path = PathChange::Prefix { strip, add: String::new() };
    let route = Route {
        name: "api".into(),
        hosts: Vec::new(),
        path: pattern,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        action: Action::Forward { service: Target::Parameter(0), path },
        policy,
        open,
        request_headers: header_rules(section.section("request_headers")),
        response_headers: header_rules(section.section("response_headers")),
        cors: cors(section.section("cors")),
    };
    let line = section.line();
    section.end();
    (text != "none").then_some(Placed { route, line })
}

fn route(section: Section<'_>, index: usize, base: &Policy) -> Option<Placed> {
    let hosts = section.texts("host").into_iter().filter_map(|text| understood(&section, "host", &text, paths::host));
    let hosts: Vec<Host> = hosts.collect();
    let path = path(&section);
    let name = section.text("name").map(|written| written.value);
    let default_name = || {
        let host = hosts.first().map(ToString::to_string).unwrap_or_default();
        format!("{host}{}", path.as_ref().map(ToString::to_string).unwrap_or_else(|| index.to_string()))
    };
    let name: Arc<str> = name.filter(|name| !name.is_empty()).unwrap_or_else(default_name).into();
    let methods = methods(&section, "methods");
    let headers = section.pairs("headers", true).into_iter().filter_map(|(name, value)| {
        let name = understood(&section, "headers", &name, header_name)?;
        Some(Condition { name, value })
    });
    let headers = headers.collect();
    let query = section.pairs("query", true).into_iter();
    let query = query.map(|(name, value)| Condition { name: name.value, value }).collect();
    let policy = policy::over(&section, base, &name);
    let open = section.flag("open_to_everyone", false);
    let (request_headers, response_headers) =
        (header_rules(section.section("request_headers")), header_rules(section.section("response_headers")));
    let cors = cors(section.section("cors"));
    let action = action(&section, path.as_ref());
    let line = section.line();
    section.end();
    let route = Route {
        name,
        hosts,
        path: path?,
        methods,
        headers,
        query,
        action: action?,
        policy,
        open,
        request_headers,
        response_headers,
        cors,
    };
    Some(Placed { route, line })
}

/// What `parse` makes of a text, or a mistake.
pub(super) fn understood<T>(
    section: &Section<'_>,
    key: &str,
    text: &Written<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    match parse(&text.value) {
        Ok(value) => Some(value),
        Err(why) => {
            section.wrong(key, text.line, why);
            None
        }
    }
}

/// `path = { prefix | exact | pattern = "…" }`; every path when it is not written.
fn path(section: &Section<'_>) -> Option<Pattern> {
    if section.is_written("path") && section.is_text("path") {
        section.text("path");
        section.wrong_at(
            "path",
            "is a table: write { prefix = \"/orders\" }, { exact = \"…\" } or { pattern = \"/orders/{id}\" }",
        );
        return None;
    }
    let table = section.section("path");
    let (prefix, exact, pattern) = (table.text("prefix"), table.text("exact"), table.text("pattern"));
    let found = match (prefix, exact, pattern) {
        (Some(text), None, None) => understood(&table, "prefix", &text, paths::prefix),
        (None, Some(text), None) => understood(&table, "exact", &text, paths::exact),
        (None, None, Some(text)) => understood(&table, "pattern", &text, paths::pattern),
        (None, None, None) if !table.exists() => Some(Pattern { segments: Vec::new(), below: true, rest: None }),
        (None, None, None) => {
            table.wrong("", 0, "needs prefix, exact or pattern");
            None
        }
        _ => {
            table.wrong("", 0, "has more than one of prefix, exact and pattern: write two routes");
            None
        }
    };
    if let Some(found) = &found {
        own_paths(&table, "", found);
    }
    table.end();
    found
}

/// The gateway's own pages stay its own on every listener.
fn own_paths(section: &Section<'_>, key: &str, pattern: &Pattern) {
    if let Some(Segment::Literal(first)) = pattern.segments.first()
        && matches!(&**first, "health" | "ready" | "admin")
        && (pattern.segments.len() == 1 || &**first == "admin")
    {
        section.wrong(key, 0, format!("/{first} is the gateway's own: choose another path"));
    }
}

/// No two routes of one name: logs and metrics tell them apart by it.
fn names(root: &Section<'_>, placed: &[Placed]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for p in placed {
        if &*p.route.name == "default" {
            root.wrong(
                "route",
                p.line,
                "`default` is what the limits at the top are called: give the route another name",
            );
        }
        if let Some(first) = seen.insert(&p.route.name, p.line) {
            let why = format!(
                "`{}` is the name of two routes, here and in line {first}: give each a name of its own",
                p.route.name
            );
            root.wrong("route", p.line, why);
        }
    }
}

/// Two routes with the same right to a request.
fn ties(root: &Section<'_>, placed: &[Placed]) {
    let any = [None];
    let mut groups: HashMap<(Option<&Host>, String), Vec<&Placed>> = HashMap::new();
    for p in placed {
        let hosts: HashSet<Option<&Host>> =
            if p.route.hosts.is_empty() { any.into() } else { p.route.hosts.iter().map(Some).collect() };
        for host in hosts {
            groups.entry((host, shape(&p.route.path))).or_default().push(p);
        }
    }
    let mut said = HashSet::new();
    for group in groups.values() {
        for (index, a) in group.iter().enumerate() {
            for b in &group[index + 1..] {
                if a.route.conditions() == b.route.conditions()
                    && !disjoint(&a.route, &b.route)
                    && said.insert((a.line, b.line))
                {
                    let why = format!(
                        "`{}` and `{}` (line {}) have the same host and path and could both claim a request: tell them apart by method, header or query, or remove one",
                        b.route.name, a.route.name, a.line
                    );
                    root.wrong("route", b.line, why);
                }
            }
        }
    }
}

/// Routes to services that nobody can provide, where only the file provides any.
pub(super) fn nowhere(routes: &[Arc<Route>], services: &[StaticService]) -> Vec<String> {
    let missing = |route: &Arc<Route>| match &route.action {
        Action::Forward { service: Target::Named(name), .. } if services.iter().all(|known| known.name != *name) => {
            let route = &route.name;
            Some(format!("route `{route}` leads to `{name}`, which no [[service]] is, and there is no [consul]"))
        }
        _ => None,
    };
    routes.iter().filter_map(missing).collect()
}

/// A path condition without the names of its parameters.
fn shape(path: &Pattern) -> String {
    let mut shape = String::new();
    for segment in &path.segments {
        shape.push('/');
        match segment {
            Segment::Literal(text) => shape.push_str(text),
            Segment::Parameter(_) => shape.push_str("{}"),
        }
    }
    if path.below { shape + "/{*}" } else { shape }
}

/// Whether no request can fulfil the conditions of both.
fn disjoint(a: &Route, b: &Route) -> bool {
    let methods = !a.methods.is_empty() && !b.methods.is_empty() && !a.methods.iter().any(|m| b.methods.contains(m));
    methods || differ(&a.headers, &b.headers) || differ(&a.query, &b.query)
}

fn differ<N: PartialEq>(a: &[Condition<N>], b: &[Condition<N>]) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.name == y.name && x.value.is_some() && y.value.is_some() && x.value != y.value))
}
