//! `[[compose.call]]`: one request of an aggregate.

use http::{HeaderName, HeaderValue, Method, header};
use percent_encoding::utf8_percent_encode;

use super::super::{actions, policy};
use super::expressions::expression;
use super::failure::on_error;
use super::values::{self, Scope};
use crate::catalog::ServiceName;
use crate::config::compose::{Body, Call, Each, Expects, Fallback, OnError, Piece, Place, RESERVED, Template, When};
use crate::config::file::{ReadJson, Section, Written};
use crate::config::policy::Policy;
use crate::fields::{self, Traits};

/// The methods of calls.
const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

/// What holds for the calls of a compose that say nothing else.
pub(super) struct Bounds {
    /// The most elements of `each`.
    pub(super) most: usize,
    /// How many requests of an `each` are under way at once.
    pub(super) at_once: usize,
    /// The most bytes of a call's answer.
    pub(super) object: usize,
}

/// Reads everything but the name, which `scope` knows already. The calls that it needs are places among those as written.
pub(super) fn call(section: &Section<'_>, name: &str, scope: &Scope<'_>, base: &Policy, most: &Bounds) -> Option<Call> {
    // All are read, whichever has a mistake: so that each reports its own.
    let method = section.word("method", &METHODS);
    let method = Method::from_bytes(method.as_bytes()).ok();
    let service = service(section);
    let path = section.text("path");
    if path.is_none() && !section.is_written("path") {
        section.mistake("path", 0, "is needed: write e.g. path = \"/orders/{id}\"");
    }
    let path = path.and_then(|text| section.convert("path", &text, |path| values::path(path, text.line, scope)));
    let query = query(section, scope);
    let headers = headers(section, scope);
    let body = body(section, scope, method.as_ref());
    let each = each(section, scope, most);
    let when = when(section, scope);
    let policy = policy::of_call(section, base);
    let on_error = failure(section, &policy, method.as_ref());
    let expects = section.word("expects", &[("json", Expects::Json), ("text", Expects::Text)]);
    let object = section.size("object", most.object, 1 << 10..=1 << 30);
    Some(Call {
        name: name.into(),
        service: service?,
        method: method?,
        path: path?,
        query,
        headers,
        body,
        each,
        when,
        on_error,
        expects,
        object,
        policy,
        needs: Vec::new(),
    })
}

/// The service, by its name: no value chooses it.
fn service(section: &Section<'_>) -> Option<ServiceName> {
    let Some(written) = section.text("service") else {
        if !section.is_written("service") {
            section.mistake("service", 0, "is needed: say where the call goes");
        }
        return None;
    };
    section.convert("service", &written, |text| match ServiceName::new(text) {
        Some(_) if text.contains(['{', '}']) => {
            Err(format!("`{text}`: no value chooses where a call goes: write the service's name"))
        }
        Some(name) => Ok(name),
        None => Err(format!("`{text}` is not a service's name: write it as it is registered")),
    })
}

/// `query = { page = "{query.page}" }`. What is written is text, not yet percent-encoded: nothing in it ends the value.
fn query(section: &Section<'_>, scope: &Scope<'_>) -> Vec<(Box<str>, Template)> {
    let read = |(name, text): (Written<String>, Option<String>)| {
        let value = Written { value: text.unwrap_or_default(), line: name.line };
        let template = |text: &str| values::template(text, name.line, Place::Query, scope).map(encoded);
        Some((name.value.as_str().into(), section.convert("query", &value, template)?))
    };
    section.pairs("query", false).into_iter().filter_map(read).collect()
}

/// A template of a query, with its literal text as values are put there.
fn encoded(template: Template) -> Template {
    let piece = |piece| match piece {
        Piece::Literal(text) => Piece::Literal(utf8_percent_encode(&text, RESERVED).to_string().into()),
        value => value,
    };
    Template(template.0.into_iter().map(piece).collect())
}

/// `headers = { Accept-Language = "{header.Accept-Language}" }`.
fn headers(section: &Section<'_>, scope: &Scope<'_>) -> Vec<(HeaderName, Template)> {
    let read = |(name, text): (Written<String>, Option<String>)| {
        let field = section.convert("headers", &name, actions::changeable)?;
        let value = Written { value: text.unwrap_or_default(), line: name.line };
        let template = section.convert("headers", &value, |text| field_value(&field, text, name.line, scope))?;
        Some((field, template))
    };
    section.pairs("headers", false).into_iter().filter_map(read).collect()
}

/// A field's value. What instances believe of hosts, clients and keys is the gateway's to say, and would not be sent.
fn field_value(name: &HeaderName, text: &str, line: usize, scope: &Scope<'_>) -> Result<Template, String> {
    let template = values::template(text, line, Place::Header, scope)?;
    let gateways =
        *name == header::HOST || *name == fields::TRACESTATE || fields::of(name.as_str()).any(Traits::ENDS_HERE);
    if gateways || fields::is_other_spelling(name.as_str()) {
        return Err(format!("`{name}` says who asks, or whom, which only the gateway says: remove it"));
    }
    let is_key =
        |text: &str| text.split([' ', '\t']).next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("ApiKey"));
    if *name == header::AUTHORIZATION && matches!(template.0.first(), Some(Piece::Literal(text)) if is_key(text)) {
        return Err(format!("`{name}` has a key for a gateway, which goes to no service: write another scheme"));
    }
    if fields::is_spelt(name, scope.claimed) {
        return Err(format!("`{name}` is where an issuer's `forward` says a claim, which goes along by itself"));
    }
    let wrong = |piece: &Piece| matches!(piece, Piece::Literal(text) if HeaderValue::from_str(text).is_err());
    match template.0.iter().any(wrong) {
        true => Err(format!("`{name}` has a value that no header can have")),
        false => Ok(template),
    }
}

/// `body = { order = "{id}" }`, for methods that have one.
fn body(section: &Section<'_>, scope: &Scope<'_>, method: Option<&Method>) -> Option<Body> {
    let written = section.json("body")?;
    if method.is_some_and(|method| *method == Method::GET || *method == Method::DELETE) {
        section.mistake("body", written.line, "goes with POST, PUT or PATCH: write e.g. method = \"POST\"");
    }
    let body = values::body(&written.value, written.line, scope);
    body.map_err(|why| section.mistake("body", written.line, why)).ok()
}

/// `each = "order.items"`, with its bounds.
fn each(section: &Section<'_>, scope: &Scope<'_>, bounds: &Bounds) -> Option<Each> {
    let text = section.text("each");
    let most = section.number("most", bounds.most as u64, 1..=1024) as usize;
    let at_once = section.number("at_once", bounds.at_once as u64, 1..=128) as usize;
    let Some(text) = text else {
        for key in ["most", "at_once"].into_iter().filter(|key| section.is_written(key) && !section.is_written("each"))
        {
            section.mistake_at(key, "bounds the elements of `each`, which is not written: remove it");
        }
        return None;
    };
    let (call, members) = section.convert("each", &text, |text| values::list(text, scope))?;
    Some(Each { call, members, most, at_once })
}

/// `when = "order.status == 'paid'"`.
fn when(section: &Section<'_>, scope: &Scope<'_>) -> Option<When> {
    let text = section.text("when")?;
    let expression = expression(&text).map_err(|why| section.mistake("when", text.line, why)).ok()?;
    let Some(named) = expression.shape.needs() else {
        let why =
            "reads all that there is (@ or *), so that nobody could tell which calls it needs: name what it reads";
        section.mistake("when", text.line, why);
        return None;
    };
    let Some(fields) = expression.shape.members("header") else {
        let why = "reads all fields of the client's: name those that it needs, header.\"x-client\"";
        section.mistake("when", text.line, why);
        return None;
    };
    for name in fields {
        let lower = name.to_ascii_lowercase();
        if lower != name {
            let why = format!("`{name}` is a field, and its name is in lower case here: write header.\"{lower}\"");
            section.mistake("when", text.line, why);
        }
        let _ = values::field(&lower).map_err(|why| section.mistake("when", text.line, why));
    }
    let (mut calls, mut parameters) = (Vec::new(), Vec::new());
    for name in named {
        match (name, scope.calls.iter().position(|call| call.text == name)) {
            (_, Some(call)) => calls.push(call),
            ("query" | "header", None) => {}
            ("claim", None) => scope.claims.set(Some(text.line)),
            ("item", None) if scope.item => {}
            ("item", None) => {
                let why = "`item` is an element of a list, and the call has none: write each = \"call.list\"";
                section.mistake("when", text.line, why);
            }
            (_, None) => parameters.push(values::parameter(name, text.line, scope)),
        }
    }
    Some(When { expression, calls, parameters })
}

/// A warning of a call that says who asks, and whose answers are to be stored: as any request that does, it goes past the store.
pub(super) fn unstored(section: &Section<'_>, call: &Call, compose: &str) -> Option<String> {
    let says_who = |(name, _): &&(HeaderName, Template)| [header::AUTHORIZATION, header::COOKIE].contains(name);
    let (field, _) = call.headers.iter().find(says_who)?;
    let stale = call.on_error.can_be(&Fallback::Stale);
    let wants = if stale { "on_error has \"stale\"" } else { "it has `cache`" };
    let name = &call.name;
    (stale || section.is_written("cache") && call.policy.cache.enabled).then(|| {
        format!("the call `{name}` of [[compose]] `{compose}` sends `{field}`, and {wants}: no answer to a request with this field is stored")
    })
}

/// `on_error`; `stale` is for calls whose answers are stored.
fn failure(section: &Section<'_>, policy: &Policy, method: Option<&Method>) -> OnError {
    let fail = OnError { by_status: Vec::new(), other: Fallback::Fail };
    let Some(written) = section.json("on_error") else { return fail };
    let read = on_error(&written.value).map_err(|why| section.mistake("on_error", written.line, why));
    let found = read.unwrap_or(fail);
    let uses_store = found.can_be(&Fallback::Stale);
    let is_get = method.is_none_or(|method| *method == Method::GET);
    if uses_store && !is_get {
        let why = "\"stale\" is for a GET: no other answer is stored, so that nothing old could stand in";
        section.mistake("on_error", written.line, why);
    } else if uses_store && !policy.cache.enabled {
        let why = "\"stale\" is for a GET whose answers are stored: write cache = { ttl = \"30s\" } beside it";
        section.mistake("on_error", written.line, why);
    }
    found
}
