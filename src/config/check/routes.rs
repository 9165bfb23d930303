//! `[[route]]` and `[api]`: which requests go where. Of two routes with the same host and path the one with more further
//! conditions is tried first. Two with equally many that could both match a request are a mistake that names both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;

use super::actions::{action, cors, header_name, header_rules, methods};
use super::compose::{Callers, Composed, aggregate};
use super::issuers::claimed;
use super::{demands, paths, policy};
use crate::config::StaticService;
use crate::config::file::Section;
use crate::config::fleet::SEGMENT;
use crate::config::identity::Issuer;
use crate::config::policy::{LimitSet, Policy};
use crate::config::routes::{Action, Condition, Host, PathChange, Pattern, Route, Segment, Target};

/// A route, and the line in which it is written.
struct Placed {
    route: Route,
    line: usize,
}

/// The path condition of a route that has none.
const EVERY_PATH: Pattern = Pattern { segments: Vec::new(), below: true, rest: None };

/// All routes, with that of `[api]` first. `base` is what holds for requests where a route says nothing else.
pub(super) fn routes(
    root: &Section<'_>,
    base: &Policy,
    issuers: &[Arc<Issuer>],
    plans: &[Arc<LimitSet>],
    composed: &[Composed],
    warnings: &mut Vec<String>,
) -> Vec<Arc<Route>> {
    let mut placed: Vec<Placed> = api(root.section("api"), base, issuers).into_iter().collect();
    for (index, section) in root.sections("route").into_iter().enumerate() {
        placed.extend(route(section, index, base, issuers, plans, composed, warnings));
    }
    duplicate_names(root, &placed);
    ambiguities(root, &placed);
    placed.into_iter().map(|placed| Arc::new(placed.route)).collect()
}

/// The route of `[api]`, `/api/{service}/{path}`; `None` where its prefix is `"none"`.
fn api(section: Section<'_>, base: &Policy, issuers: &[Arc<Issuer>]) -> Option<Placed> {
    // The path, which names the service in the segment after the prefix.
    let written = section.text("prefix");
    let prefix = written.as_ref().map_or("/api", |written| written.value.as_str());
    let mut pattern = paths::prefix(prefix).unwrap_or_else(|why| {
        if prefix != "none" {
            section.mistake_at("prefix", format!("{why} (or \"none\")"));
        }
        EVERY_PATH
    });
    if prefix == "/" {
        section.mistake_at("prefix", "would claim every path: write e.g. \"/api\", or \"none\"");
    }
    reserved(&section, "prefix", &pattern);
    let strip = pattern.segments.len() + 1;
    pattern.segments.push(Segment::Parameter("service".into()));
    pattern.rest = Some("path".into());
    // What holds for its requests, and what becomes of them: they go on without the prefix and the service's name.
    let policy = policy::over(&section, base, "api", issuers);
    let open_to_everyone = section.flag("open_to_everyone", false);
    let path = PathChange::Prefix { strip, add: String::new() };
    let route = Route {
        name: "api".into(),
        hosts: Vec::new(),
        path: pattern,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        action: Action::Forward { service: Target::Parameter(0), path },
        strips: demands::strips(&policy.auth, issuers),
        policy,
        open_to_everyone,
        request_headers: header_rules(section.section("request_headers")),
        response_headers: header_rules(section.section("response_headers")),
        cors: cors(section.section("cors")),
        claimed: claimed(issuers),
    };
    let line = section.line();
    section.end();
    (prefix != "none").then_some(Placed { route, line })
}

/// A `[[route]]`, the `index`th of the file; `None` where it has a mistake without which nothing can be said of it.
fn route(
    section: Section<'_>,
    index: usize,
    base: &Policy,
    issuers: &[Arc<Issuer>],
    plans: &[Arc<LimitSet>],
    composed: &[Composed],
    warnings: &mut Vec<String>,
) -> Option<Placed> {
    // Which requests it is for, and what it is called: by its host and path, unless it has a name.
    let hosts = section.texts("host").into_iter().filter_map(|text| section.convert("host", &text, paths::host));
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
        let name = section.convert("headers", &name, header_name)?;
        Some(Condition { name, value })
    });
    let headers = headers.collect();
    let query = section.pairs("query", true).into_iter();
    let query = query.map(|(name, value)| Condition { name: name.value, value }).collect();
    // What holds for its requests, and what becomes of them.
    let policy = policy::over(&section, base, &name, issuers);
    let open_to_everyone = section.flag("open_to_everyone", false);
    let (request_headers, response_headers) =
        (header_rules(section.section("request_headers")), header_rules(section.section("response_headers")));
    let cors = cors(section.section("cors"));
    let callers = Callers { auth: &policy.auth, plans };
    let aggregate = aggregate(&section, path.as_ref(), &callers, composed);
    let action = action(&section, path.as_ref(), aggregate);
    // An aggregate sends nothing of what a client sends: what changes something has no business there, unless the operator says so.
    let reads = matches!(action, Some(Action::Compose { .. })) && methods.is_empty();
    let methods = if reads { vec![Method::GET, Method::HEAD] } else { methods };
    warnings.extend(action.as_ref().filter(|_| reads).and_then(|action| unasked(&name, action)));
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
        strips: demands::strips(&policy.auth, issuers),
        policy,
        open_to_everyone,
        request_headers,
        response_headers,
        cors,
        claimed: claimed(issuers),
    };
    Some(Placed { route, line })
}

/// A warning of an aggregate that changes something, where its route does not say for which methods: it would with each GET.
fn unasked(route: &str, action: &Action) -> Option<String> {
    let Action::Compose { compose, .. } = action else { return None };
    let call = compose.calls.iter().find(|call| !call.is_safe())?;
    let (compose, call, method) = (&compose.name, &call.name, &call.method);
    let why = format!("the call `{call}` of [[compose]] `{compose}` is a {method}, which its GET and HEAD make, too");
    Some(format!(
        "route `{route}` has no methods, and {why}: write methods = [\"POST\"], or [\"GET\"] if that is meant"
    ))
}

/// `path = { prefix | exact | pattern = "…" }`; every path when it is not written.
fn path(section: &Section<'_>) -> Option<Pattern> {
    if section.is_written("path") && section.is_text("path") {
        section.text("path");
        section.mistake_at(
            "path",
            "is a table: write { prefix = \"/orders\" }, { exact = \"…\" } or { pattern = \"/orders/{id}\" }",
        );
        return None;
    }
    let table = section.section("path");
    let (prefix, exact, pattern) = (table.text("prefix"), table.text("exact"), table.text("pattern"));
    let found = match (prefix, exact, pattern) {
        (Some(text), None, None) => table.convert("prefix", &text, paths::prefix),
        (None, Some(text), None) => table.convert("exact", &text, paths::exact),
        (None, None, Some(text)) => table.convert("pattern", &text, paths::pattern),
        (None, None, None) if !table.exists() => Some(EVERY_PATH),
        (None, None, None) => {
            table.mistake("", 0, "needs prefix, exact or pattern");
            None
        }
        _ => {
            table.mistake("", 0, "has more than one of prefix, exact and pattern: write two routes");
            None
        }
    };
    if let Some(found) = &found {
        reserved(&table, "", found);
    }
    table.end();
    found
}

/// The paths of the gateway's own pages are reserved on every listener: no route can have them.
fn reserved(section: &Section<'_>, key: &str, pattern: &Pattern) {
    if let Some(Segment::Literal(first)) = pattern.segments.first()
        && matches!(&**first, "health" | "ready" | "admin" | SEGMENT)
        && (pattern.segments.len() == 1 || matches!(&**first, "admin" | SEGMENT))
    {
        section.mistake(key, 0, format!("/{first} is the gateway's own: choose another path"));
    }
}

/// Two routes of one name are a mistake: logs and metrics tell routes apart by name.
fn duplicate_names(root: &Section<'_>, placed: &[Placed]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for Placed { route, line } in placed {
        let name = &*route.name;
        if name == "default" {
            let why = "`default` is what the limits at the top are called: give the route another name";
            root.mistake("route", *line, why);
        }
        if let Some(first) = seen.insert(name, *line) {
            let why =
                format!("`{name}` is the name of two routes, here and in line {first}: give each a name of its own");
            root.mistake("route", *line, why);
        }
    }
}

/// Two routes that could both match a request, where nothing says which of them is tried first.
fn ambiguities(root: &Section<'_>, placed: &[Placed]) {
    // Only routes with the same host and the same shape of path can be in each other's way.
    let mut groups: HashMap<(Option<&Host>, String), Vec<&Placed>> = HashMap::new();
    for p in placed {
        let hosts: HashSet<Option<&Host>> =
            if p.route.hosts.is_empty() { [None].into() } else { p.route.hosts.iter().map(Some).collect() };
        for host in hosts {
            groups.entry((host, shape(&p.route.path))).or_default().push(p);
        }
    }
    // Two routes that share several hosts are reported once.
    let mut reported = HashSet::new();
    for group in groups.values() {
        for (index, a) in group.iter().enumerate() {
            for b in &group[index + 1..] {
                if a.route.conditions() == b.route.conditions()
                    && !disjoint(&a.route, &b.route)
                    && reported.insert((a.line, b.line))
                {
                    let why = format!(
                        "`{}` and `{}` (line {}) have the same host and path and could both claim a request: tell them apart by method, header or query, or remove one",
                        b.route.name, a.route.name, a.line
                    );
                    root.mistake("route", b.line, why);
                }
            }
        }
    }
}

/// Warnings of routes to services that nobody provides, for a configuration without Consul: only its own services exist.
pub(super) fn unprovided(routes: &[Arc<Route>], services: &[StaticService]) -> Vec<String> {
    let missing = |route: &Arc<Route>| match &route.action {
        Action::Forward { service: Target::Named(name), .. } if services.iter().all(|known| known.name != *name) => {
            let route = &route.name;
            Some(format!("route `{route}` leads to `{name}`, which no [[service]] is, and there is no [consul]"))
        }
        _ => None,
    };
    routes.iter().filter_map(missing).collect()
}

/// A path condition without the names of its parameters: two of the same shape match the same paths.
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

/// Whether both ask for a different value under the same name.
fn differ<N: PartialEq>(a: &[Condition<N>], b: &[Condition<N>]) -> bool {
    a.iter().any(|x| b.iter().any(|y| x.name == y.name && x.value.is_some() && y.value.is_some() && x.value != y.value))
}
