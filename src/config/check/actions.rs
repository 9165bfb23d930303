//! What becomes of a request: where it goes or what answers it, and which headers change on the way.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::paths;
use super::routes::understood;
use crate::catalog::ServiceName;
use crate::config::file::{Section, Written};
use crate::config::routes::{Action, Cors, HeaderRules, PathChange, Pattern, Piece, Target, Template};
use crate::fields::{self, Traits};

/// `service`, `redirect` or `respond`.
pub(super) fn action(section: &Section<'_>, path: Option<&Pattern>) -> Option<Action> {
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
        return understood(section, "rewrite", &rewrite, |text| paths::rewritten(text, path)).map(PathChange::Rewrite);
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
        let ends = |next: Option<&Piece>| match next {
            None | Some(Piece::Path) => true,
            Some(Piece::Text(text)) => text.starts_with('/') || text.starts_with(':') && text.contains('/'),
            Some(_) => false,
        };
        let whole = authority.contains('/') || !authority.is_empty() && ends(template.0.get(1));
        let host = authority.is_empty() && template.0.get(1) == Some(&Piece::Host) && ends(template.0.get(2));
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

pub(super) fn methods(section: &Section<'_>, key: &'static str) -> Vec<Method> {
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

pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| format!("`{text}` is not a header's name: write e.g. \"X-Version\""))
}

/// Headers that belong to one connection, or that only the gateway may say.
fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if fields::of(name.as_str()).any(Traits::FIXED) {
        return Err(format!("`{text}` is the gateway's to manage: rules cannot change it"));
    }
    Ok(name)
}

pub(super) fn header_rules(section: Section<'_>) -> HeaderRules {
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

pub(super) fn cors(section: Section<'_>) -> Option<Cors> {
    let written = section.texts("origins");
    let any = written.iter().any(|text| text.value == "*");
    let origin = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let fine = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', ' ', '?', '#', '@']));
        // Browsers send it in lower case.
        let value = HeaderValue::from_str(&text.to_ascii_lowercase()).ok().filter(|_| fine || text == "*");
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
