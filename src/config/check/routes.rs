//! `[[route]]` and `[api]`: which requests go where. Of two routes with the same host and path the one with more further
//! conditions is looked at first; two that could both claim a request with the same right are a mistake that names both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::{paths, policy};
use crate::catalog::ServiceName;
use crate::config::Policy;
use crate::config::file::{Section, Written};
use crate::config::routes::{
    Action, Condition, Cors, HeaderRules, Host, PathChange, Pattern, Piece, Route, Segment, Target, Template,
};

/// A route, and where it stands.
struct Placed {
    route: Route,
    line: usize,
    open: bool,
}

/// All routes, the one of `[api]` among them; and the routes to a service that ask for no key and do not say that this
/// is meant.
pub(super) fn routes(root: &Section<'_>, base: &Policy) -> (Vec<Arc<Route>>, Vec<String>) {
    let mut placed: Vec<Placed> = api(root.section("api"), base).into_iter().collect();
    for (index, section) in root.sections("route").into_iter().enumerate() {
        placed.extend(route(section, index, base));
    }
    names(root, &placed);
    ties(root, &placed);
    let forwards = |route: &Route| matches!(route.action, Action::Forward { .. });
    let unlocked = placed.iter().filter(|p| !p.open && !p.route.policy.auth && forwards(&p.route));
    let unlocked = unlocked.map(|placed| placed.route.name.to_string()).collect();
    (placed.into_iter().map(|placed| Arc::new(placed.route)).collect(), unlocked)
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
        request_headers: header_rules(section.section("request_headers")),
        response_headers: header_rules(section.section("response_headers")),
        cors: cors(section.section("cors")),
    };
    let line = section.line();
    section.end();
    (text != "none").then_some(Placed { route, line, open })
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
        request_headers,
        response_headers,
        cors,
    };
    Some(Placed { route, line, open })
}

/// What `parse` makes of a text, or a mistake.
fn understood<T>(
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

/// `service`, `redirect` or `respond`.
fn action(section: &Section<'_>, path: Option<&Pattern>) -> Option<Action> {
    let service = section.text("service");
    let change = change(section, path);
    let redirect = section.section("redirect");
    let respond = section.section("respond");
    let (redirects, responds) = (redirect.exists(), respond.exists());
    let redirect = redirection(redirect, path);
    let respond = response(respond);
    if (redirects || responds) && ["strip", "add", "rewrite"].into_iter().any(|key| section.is_written(key)) {
        section.wrong("", 0, "strip, add and rewrite are for requests that go to a service");
    }
    match (service, redirects, responds) {
        (Some(name), false, false) => {
            let service = target(section, &name, path)?;
            Some(Action::Forward { service, path: change? })
        }
        (None, true, false) => redirect,
        (None, false, true) => respond,
        (None, false, false) => {
            section.wrong("service", 0, "is needed: say where requests go (or redirect, or respond)");
            None
        }
        _ => {
            section.wrong("", 0, "has more than one of service, redirect and respond: keep one");
            None
        }
    }
}

fn target(section: &Section<'_>, text: &Written<String>, path: Option<&Pattern>) -> Option<Target> {
    if let Some(name) = text.value.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let place = path.and_then(|path| paths::parameters(path).position(|known| known == name));
        if place.is_none() && path.is_some() {
            section.wrong("service", text.line, format!("`{{{name}}}` is no parameter of the route's path"));
        }
        return place.map(Target::Parameter);
    }
    let service = ServiceName::new(&text.value);
    if service.is_none() {
        let why = format!("`{}` is not a service's name: write it as it is registered", text.value);
        section.wrong("service", text.line, why);
    }
    service.map(Target::Named)
}

/// `strip`, `add`, `rewrite`.
fn change(section: &Section<'_>, path: Option<&Pattern>) -> Option<PathChange> {
    let (strip, add, rewrite) = (section.text("strip"), section.text("add"), section.text("rewrite"));
    if let Some(rewrite) = rewrite {
        if strip.is_some() || add.is_some() {
            section.wrong("rewrite", rewrite.line, "says the whole path: remove strip and add");
        }
        if !rewrite.value.starts_with('/') {
            section.wrong("rewrite", rewrite.line, format!("does not begin with /: write \"/{}\"", rewrite.value));
        }
        let path = path?;
        return understood(section, "rewrite", &rewrite, |text| paths::template(text, path)).map(PathChange::Rewrite);
    }
    let strip = match &strip {
        None => 0,
        Some(text) => stripped(section, text, path?)?,
    };
    let add = match add {
        None => String::new(),
        Some(text) => {
            let pattern = understood(section, "add", &text, paths::prefix)?;
            if pattern.segments.is_empty() { String::new() } else { text.value }
        }
    };
    Some(PathChange::Prefix { strip, add })
}

/// How many segments go: what is stripped must be what every path of the route begins with.
fn stripped(section: &Section<'_>, text: &Written<String>, path: &Pattern) -> Option<usize> {
    let pattern = understood(section, "strip", text, |text| {
        if text.contains('{') { paths::pattern(text) } else { paths::prefix(text) }
    })?;
    if !path.segments.starts_with(&pattern.segments) {
        let why = format!("`{}` is not what every path of the route begins with ({path})", text.value);
        section.wrong("strip", text.line, why);
        return None;
    }
    Some(pattern.segments.len())
}

fn redirection(section: Section<'_>, path: Option<&Pattern>) -> Option<Action> {
    let to = section.text("to");
    let statuses = [("308", 308), ("307", 307), ("301", 301), ("302", 302), ("303", 303)];
    let status = section.number("status", 308, 301..=308) as u16;
    if !statuses.iter().any(|(_, known)| *known == status) {
        section.wrong_at("status", "of a redirect is 301, 302, 303, 307 or 308");
    }
    let template = match &to {
        None => {
            if section.exists() {
                section.wrong("to", 0, "is needed: write e.g. to = \"https://www.example.com{path}\"");
            }
            None
        }
        Some(to) => understood(&section, "to", to, |text| location(text, path)),
    };
    section.end();
    Some(Action::Redirect { status: StatusCode::from_u16(status).ok()?, to: template? })
}

/// A place that no parameter of a path can move to another host.
fn location(text: &str, path: Option<&Pattern>) -> Result<Template, String> {
    let Some(path) = path else { return Err("cannot be judged while the path is not understood".into()) };
    let template = paths::template(text, path)?;
    let scheme = text.starts_with("https://") || text.starts_with("http://");
    if !scheme && !text.starts_with('/') && !text.starts_with("{path}") {
        return Err(format!("`{text}` is no place: begin with https://, http:// or /"));
    }
    if scheme {
        let Some(Piece::Text(first)) = template.0.first() else { return Err("begins with a parameter".into()) };
        let authority = first.split_once("://").map_or("", |(_, rest)| rest);
        let whole = authority.contains('/') || template.0.get(1).is_none_or(|next| *next == Piece::Path);
        let host = authority.is_empty() && template.0.get(1) == Some(&Piece::Host);
        if !whole && !host {
            return Err(format!("`{text}`: a parameter would choose the host: write a / before it, or {{host}}"));
        }
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{text}` holds a character that must be percent-encoded"));
    }
    Ok(template)
}

fn response(section: Section<'_>) -> Option<Action> {
    let status = section.number("status", 200, 200..=599) as u16;
    let body = section.text("body").map(|written| written.value).unwrap_or_default();
    let content_type = section.parsed("content_type", "text/plain", |text| HeaderValue::from_str(text).ok());
    if matches!(status, 204 | 304) && !body.is_empty() {
        section.wrong_at("body", format!("cannot go with status {status}, which has none"));
    }
    section.end();
    let default = HeaderValue::from_static("text/plain; charset=utf-8");
    let content_type = content_type.map_or(default, |written| written.value);
    Some(Action::Respond { status: StatusCode::from_u16(status).ok()?, content_type, body })
}

fn methods(section: &Section<'_>, key: &'static str) -> Vec<Method> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    let parse = |text: &str| match text {
        "CONNECT" => Err("CONNECT is for forward proxies and refused before any route".to_owned()),
        _ if text.to_ascii_uppercase() != text && known.contains(&text.to_ascii_uppercase().as_str()) => {
            Err(format!("`{text}`: methods are in upper case: write \"{}\"", text.to_ascii_uppercase()))
        }
        _ => Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not a method: write e.g. \"GET\"")),
    };
    section.texts(key).into_iter().filter_map(|text| understood(section, key, &text, parse)).collect()
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is not a header's name: write e.g. \"X-Version\""))
}

/// Headers that belong to one connection, or that only the gateway may say.
fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    let own = [
        "connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "trailer",
        "via",
        "x-request-id",
        "traceparent",
    ];
    if own.contains(&name.as_str()) {
        return Err(format!("`{text}` is the gateway's to manage: rules cannot change it"));
    }
    Ok(name)
}

fn header_rules(section: Section<'_>) -> HeaderRules {
    let pairs = |key| {
        let read = |(name, value): (Written<String>, Option<String>)| {
            let found = understood(&section, key, &name, changeable)?;
            match HeaderValue::from_str(&value.unwrap_or_default()) {
                Ok(value) => Some((found, value)),
                Err(_) => {
                    section.wrong(key, name.line, format!("`{}` has a value that no header can have", name.value));
                    None
                }
            }
        };
        section.pairs(key, false).into_iter().filter_map(read).collect()
    };
    let (set, add) = (pairs("set"), pairs("add"));
    let remove = section.texts("remove").into_iter();
    let remove = remove.filter_map(|text| understood(&section, "remove", &text, changeable)).collect();
    section.end();
    HeaderRules { remove, set, add }
}

fn cors(section: Section<'_>) -> Option<Cors> {
    let written = section.texts("origins");
    let any = written.iter().any(|text| text.value == "*");
    let origin = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let fine = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', ' ', '?', '#', '@']));
        let value = HeaderValue::from_str(text).ok().filter(|_| fine || text == "*");
        value.ok_or_else(|| {
            format!("`{text}` is not an origin: write e.g. \"https://shop.example.com\" (no path), or \"*\"")
        })
    };
    let origins: Vec<_> = written.iter().filter_map(|text| understood(&section, "origins", text, origin)).collect();
    let names = |key| {
        let read = |text: Written<String>| understood(&section, key, &text, header_name);
        section.texts(key).into_iter().filter_map(read).collect::<Vec<_>>()
    };
    let cors = Cors {
        origins: if any { Vec::new() } else { origins },
        methods: methods(&section, "methods"),
        headers: names("headers"),
        expose: names("expose"),
        credentials: section.flag("credentials", false),
        max_age: section.duration("max_age", Duration::from_secs(600)),
    };
    if section.exists() && written.is_empty() {
        section.wrong("origins", 0, "is needed: write e.g. origins = [\"https://shop.example.com\"]");
    }
    if any && (cors.credentials || written.len() > 1) {
        section.wrong_at("origins", "\"*\" stands alone, and never with credentials: name the origins");
    }
    let exists = section.exists();
    section.end();
    exists.then_some(cors)
}

/// No two routes of one name: logs and metrics tell them apart by it.
fn names(root: &Section<'_>, placed: &[Placed]) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for p in placed {
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
