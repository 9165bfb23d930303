//! What becomes of a request: where it goes or what answers it, and which headers change on the way.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::paths;
use crate::catalog::ServiceName;
use crate::config::file::{Section, Written};
use crate::config::routes::{Action, Cors, HeaderRules, PathChange, Pattern, Piece, Target, Template};
use crate::fields::{self, Traits};

/// `service`, `compose`, `redirect` or `respond`: a route has exactly one of them. `aggregate` is what `compose` says, where that
/// is right.
pub(super) fn action(section: &Section<'_>, path: Option<&Pattern>, aggregate: Option<Action>) -> Option<Action> {
    let service = section.text("service");
    let change = change(section, path);
    let redirect = section.section("redirect");
    let respond = section.section("respond");
    let (redirects, responds) = (redirect.exists(), respond.exists());
    // All are read, whichever counts: so that each reports its mistakes.
    let redirect = redirection(redirect, path);
    let respond = response(respond);
    let composes = section.is_written("compose");
    if (redirects || responds || composes) && ["strip", "add", "rewrite"].into_iter().any(|key| section.is_written(key))
    {
        section.mistake("", 0, "strip, add and rewrite are for requests that go to a service");
    }
    if composes {
        of_calls(section);
    }
    match (service, composes, redirects, responds) {
        (Some(name), false, false, false) => {
            let service = target(section, &name, path)?;
            Some(Action::Forward { service, path: change? })
        }
        (None, true, false, false) => aggregate,
        (None, false, true, false) => redirect,
        (None, false, false, true) => respond,
        (None, false, false, false) => {
            section.mistake("service", 0, "is needed: say where requests go (or compose, redirect, or respond)");
            None
        }
        _ => {
            section.mistake("", 0, "has more than one of service, compose, redirect and respond: keep one");
            None
        }
    }
}

/// Keys that are about requests to a service, of which an aggregate has none: its calls have them.
fn of_calls(section: &Section<'_>) {
    let why = "is about requests to a service, and those of an aggregate are its calls";
    for key in ["retry", "breaker"].into_iter().filter(|key| section.is_written(key)) {
        section.mistake_at(key, format!("{why}: write it in the [[compose.call]]"));
    }
    if section.is_written("request_headers") {
        section.mistake_at("request_headers", format!("{why}: write headers in the [[compose.call]]"));
    }
    if section.is_written("timeouts") {
        let timeouts = section.section("timeouts");
        for key in ["connect", "first_byte", "idle", "stream_idle"].into_iter().filter(|key| timeouts.is_written(key)) {
            timeouts.mistake_at(key, format!("{why}: write it in the [[compose.call]]; total holds for the whole"));
        }
    }
}

/// The service's name, or `{name}`: the parameter of the path that names it.
fn target(section: &Section<'_>, text: &Written<String>, path: Option<&Pattern>) -> Option<Target> {
    if let Some(name) = text.value.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let index = path.and_then(|path| paths::parameters(path).position(|known| known == name));
        if index.is_none() && path.is_some() {
            section.mistake("service", text.line, format!("`{{{name}}}` is no parameter of the route's path"));
        }
        return index.map(Target::Parameter);
    }
    let service = ServiceName::new(&text.value);
    if service.is_none() {
        let why = format!("`{}` is not a service's name: write it as it is registered", text.value);
        section.mistake("service", text.line, why);
    }
    service.map(Target::Named)
}

/// `strip` and `add`, or `rewrite`: what the instance sees of the path.
fn change(section: &Section<'_>, path: Option<&Pattern>) -> Option<PathChange> {
    let (strip, add, rewrite) = (section.text("strip"), section.text("add"), section.text("rewrite"));
    if let Some(rewrite) = rewrite {
        if strip.is_some() || add.is_some() {
            section.mistake("rewrite", rewrite.line, "says the whole path: remove strip and add");
        }
        if !rewrite.value.starts_with('/') {
            section.mistake("rewrite", rewrite.line, format!("does not begin with /: write \"/{}\"", rewrite.value));
        }
        let path = path?;
        return section.convert("rewrite", &rewrite, |text| paths::rewritten(text, path)).map(PathChange::Rewrite);
    }
    let strip = match &strip {
        None => 0,
        Some(text) => stripped(section, text, path?)?,
    };
    let add = match add {
        None => String::new(),
        Some(text) => {
            let pattern = section.convert("add", &text, paths::prefix)?;
            if pattern.segments.is_empty() { String::new() } else { text.value }
        }
    };
    Some(PathChange::Prefix { strip, add })
}

/// How many segments `strip` removes. Every path of the route must begin with them.
fn stripped(section: &Section<'_>, text: &Written<String>, path: &Pattern) -> Option<usize> {
    let pattern = section
        .convert("strip", text, |text| if text.contains('{') { paths::pattern(text) } else { paths::prefix(text) })?;
    if !path.segments.starts_with(&pattern.segments) {
        let why = format!("`{}` is not what every path of the route begins with ({path})", text.value);
        section.mistake("strip", text.line, why);
        return None;
    }
    Some(pattern.segments.len())
}

/// `redirect = { to = "…", status = 308 }`.
fn redirection(section: Section<'_>, path: Option<&Pattern>) -> Option<Action> {
    let to = section.text("to");
    let status = section.number("status", 308, 301..=308) as u16;
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        section.mistake_at("status", "of a redirect is 301, 302, 303, 307 or 308");
    }
    let template = match &to {
        None => {
            if section.exists() {
                section.mistake("to", 0, "is needed: write e.g. to = \"https://www.example.com{path}\"");
            }
            None
        }
        Some(to) => section.convert("to", to, |text| location(text, path)),
    };
    section.end();
    Some(Action::Redirect { status: StatusCode::from_u16(status).ok()?, to: template? })
}

/// The template of a `Location`, in which no parameter of the path can choose another host.
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
        // Either the host stands in the text, or it is the one that the client asked for.
        let written = authority.contains('/') || !authority.is_empty() && ends_host(template.0.get(1));
        let clients = authority.is_empty() && template.0.get(1) == Some(&Piece::Host) && ends_host(template.0.get(2));
        if !written && !clients {
            return Err(format!("`{text}`: a parameter would choose the host: write a / before it, or {{host}}"));
        }
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("`{text}` holds a character that must be percent-encoded"));
    }
    Ok(template)
}

/// Whether a host is complete before this piece of a template: a path follows, perhaps after a port, or nothing does.
fn ends_host(next: Option<&Piece>) -> bool {
    match next {
        None | Some(Piece::Path) => true,
        Some(Piece::Text(text)) => text.starts_with('/') || text.starts_with(':') && text.contains('/'),
        Some(_) => false,
    }
}

/// `respond = { status = 200, content_type = "…", body = "…" }`.
fn response(section: Section<'_>) -> Option<Action> {
    let status = section.number("status", 200, 200..=599) as u16;
    let body = section.text("body").map(|written| written.value).unwrap_or_default();
    let content_type = section.parsed("content_type", "text/plain", |text| HeaderValue::from_str(text).ok());
    if matches!(status, 204 | 304) && !body.is_empty() {
        section.mistake_at("body", format!("cannot go with status {status}, which has none"));
    }
    section.end();
    let default = HeaderValue::from_static("text/plain; charset=utf-8");
    let content_type = content_type.map_or(default, |written| written.value);
    Some(Action::Respond { status: StatusCode::from_u16(status).ok()?, content_type, body })
}

/// A list of methods.
pub(super) fn methods(section: &Section<'_>, key: &'static str) -> Vec<Method> {
    section.texts(key).into_iter().filter_map(|text| section.convert(key, &text, method)).collect()
}

fn method(text: &str) -> Result<Method, String> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
    let upper = text.to_ascii_uppercase();
    match text {
        "CONNECT" => Err("CONNECT is for forward proxies and refused before any route".to_owned()),
        _ if upper != text && known.contains(&upper.as_str()) => {
            Err(format!("`{text}`: methods are in upper case: write \"{upper}\""))
        }
        _ => Method::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is not a method: write e.g. \"GET\"")),
    }
}

/// A header's name.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is not a header's name: write e.g. \"X-Version\""))
}

/// A header's name that rules may change: not one that belongs to a single connection, or that only the gateway sets.
pub(super) fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if fields::of(name.as_str()).any(Traits::FIXED) {
        return Err(format!("`{text}` is the gateway's to manage: rules cannot change it"));
    }
    Ok(name)
}

/// `request_headers` or `response_headers`.
pub(super) fn header_rules(section: Section<'_>) -> HeaderRules {
    let (set, add) = (headers(&section, "set"), headers(&section, "add"));
    let remove = section.texts("remove").into_iter();
    let remove = remove.filter_map(|text| section.convert("remove", &text, changeable)).collect();
    section.end();
    HeaderRules { remove, set, add }
}

/// Headers and their values: `{ "X-Team" = "shop" }`.
fn headers(section: &Section<'_>, key: &'static str) -> Vec<(HeaderName, HeaderValue)> {
    let read = |(name, value): (Written<String>, Option<String>)| {
        let found = section.convert(key, &name, changeable)?;
        match HeaderValue::from_str(&value.unwrap_or_default()) {
            Ok(value) => Some((found, value)),
            Err(_) => {
                section.mistake(key, name.line, format!("`{}` has a value that no header can have", name.value));
                None
            }
        }
    };
    section.pairs(key, false).into_iter().filter_map(read).collect()
}

/// `cors = { origins = […], … }`; `None` where it is not written.
pub(super) fn cors(section: Section<'_>) -> Option<Cors> {
    let written = section.texts("origins");
    let any = written.iter().any(|text| text.value == "*");
    let origins: Vec<_> = written.iter().filter_map(|text| section.convert("origins", text, origin)).collect();
    let cors = Cors {
        origins: if any { Vec::new() } else { origins },
        methods: methods(&section, "methods"),
        headers: header_names(&section, "headers"),
        expose: header_names(&section, "expose"),
        credentials: section.flag("credentials", false),
        max_age: section.duration("max_age", Duration::from_secs(600)),
    };
    if section.exists() && written.is_empty() {
        section.mistake("origins", 0, "is needed: write e.g. origins = [\"https://shop.example.com\"]");
    }
    if any && (cors.credentials || written.len() > 1) {
        section.mistake_at("origins", "\"*\" stands alone, and never with credentials: name the origins");
    }
    let exists = section.exists();
    section.end();
    exists.then_some(cors)
}

/// An origin: scheme, host and perhaps a port, in lower case as browsers send it; or `"*"`.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let valid = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']));
    HeaderValue::from_str(&text.to_ascii_lowercase()).ok().filter(|_| valid || text == "*").ok_or_else(|| {
        format!("`{text}` is not an origin: write e.g. \"https://shop.example.com\" (no path), or \"*\"")
    })
}

fn header_names(section: &Section<'_>, key: &'static str) -> Vec<HeaderName> {
    section.texts(key).into_iter().filter_map(|text| section.convert(key, &text, header_name)).collect()
}
