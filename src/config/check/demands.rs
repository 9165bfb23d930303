//! `auth`: what `[api]` and each `[[route]]` demand of callers.

use std::collections::HashSet;
use std::sync::Arc;

use crate::config::file::{ReadClaims, Section, Switch};
use crate::config::identity::{Cookie, Demand, Issuer, Method, Methods};

/// What `auth = true` stands for: an API key.
pub(super) fn key() -> Arc<Demand> {
    Arc::new(Demand {
        methods: Methods::Any(vec![Method::Key]),
        optional: false,
        scopes: Vec::new(),
        audience: Vec::new(),
        claims: Vec::new(),
        cookie: None,
        pass: false,
    })
}

/// `auth = true | false | { any = ["key", "corp"], … }`; `base` where it is not written.
pub(super) fn auth(section: &Section<'_>, base: &Option<Arc<Demand>>, issuers: &[Arc<Issuer>]) -> Option<Arc<Demand>> {
    match section.switch("auth") {
        Switch::Absent => base.clone(),
        Switch::Flag(true) => Some(key()),
        Switch::Flag(false) => None,
        Switch::Section(table) => {
            let demand = demand(&table, issuers);
            table.end();
            demand.map(Arc::new).or_else(|| Some(key()))
        }
    }
}

/// Whether anybody can only, or also, come in by this.
pub(super) fn needs(auth: &Option<Arc<Demand>>, method: &Method) -> bool {
    auth.as_ref().is_some_and(|demand| match &demand.methods {
        Methods::Any(methods) => methods == std::slice::from_ref(method) && !demand.optional,
        Methods::All(methods) => methods.contains(method),
    })
}

/// Whether tokens of any issuer count.
pub(super) fn takes_tokens(auth: &Option<Arc<Demand>>) -> bool {
    auth.as_ref().is_some_and(|demand| {
        let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
        methods.iter().any(|method| matches!(method, Method::Issuer(_)))
    })
}

/// Whether some of what clients send must be taken off.
pub(super) fn strips(auth: &Option<Arc<Demand>>, issuers: &[Arc<Issuer>]) -> bool {
    let more = auth.as_ref().is_some_and(|demand| {
        let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
        methods.iter().any(|method| *method != Method::Key)
    });
    more || issuers.iter().any(|issuer| !issuer.forward.is_empty())
}

/// What is written, or `None` where it has a mistake without which nothing can be said of it.
fn demand(table: &Section<'_>, issuers: &[Arc<Issuer>]) -> Option<Demand> {
    let (any, all) = (listed(table, "any", issuers), listed(table, "all", issuers));
    let methods = match (table.is_written("any"), table.is_written("all")) {
        (true, false) => Some(Methods::Any(any)),
        (false, true) => Some(Methods::All(all)),
        (false, false) => {
            if table.exists() {
                let why = "says not which credentials count: write any = [\"key\", …] or all = [\"key\", …]";
                table.mistake("", 0, why);
            }
            None
        }
        (true, true) => {
            table.mistake("", 0, "has any and all: keep one of them");
            None
        }
    };
    let scopes = table.texts("scopes");
    let bad = |scope: &str| scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b));
    for scope in scopes.iter().filter(|scope| bad(&scope.value)) {
        table.mistake("scopes", scope.line, format!("`{}` is no scope (RFC 6749 section 3.3)", scope.value));
    }
    let audience = table.texts("audience").into_iter().map(|text| text.value.into()).collect();
    let demand = Demand {
        methods: methods.unwrap_or(Methods::Any(Vec::new())),
        optional: table.flag("optional", false),
        scopes: scopes.into_iter().map(|scope| scope.value).collect(),
        audience,
        claims: table.demands("claims"),
        cookie: cookie(table),
        pass: table.flag("pass", false),
    };
    let complete = table.is_written("any") != table.is_written("all");
    if complete {
        contradictions(table, &demand, issuers);
    }
    complete.then_some(demand)
}

/// The credentials of a list: `key`, `basic`, and the names of issuers.
fn listed(table: &Section<'_>, key: &'static str, issuers: &[Arc<Issuer>]) -> Vec<Method> {
    let mut seen = HashSet::new();
    let written = table.texts(key);
    if table.is_written(key) && table.lacks(key) {
        table.mistake_at(key, "is empty: write \"key\", \"basic\" or the name of an [[issuer]]");
    }
    let mut method = |name: &str| {
        if !seen.insert(name.to_owned()) {
            return Err(format!("`{name}` is there twice"));
        }
        match name {
            "key" => Ok(Method::Key),
            "basic" => Ok(Method::Basic),
            _ => match issuers.iter().find(|issuer| *issuer.name == *name) {
                Some(issuer) => Ok(Method::Issuer(issuer.name.clone())),
                None => {
                    let names = issuers.iter().map(|issuer| &*issuer.name);
                    let all: Vec<_> =
                        ["key", "basic"].into_iter().chain(names).map(|name| format!("\"{name}\"")).collect();
                    Err(format!("`{name}` is no credential; there are {} (issuers are [[issuer]])", all.join(", ")))
                }
            },
        }
    };
    let mut methods = Vec::new();
    for text in written {
        match method(&text.value) {
            Ok(method) => methods.push(method),
            Err(why) => table.mistake(key, text.line, why),
        }
    }
    methods
}

/// `cookie = "session"` with `origins = ["https://shop.example.com"]`.
fn cookie(table: &Section<'_>) -> Option<Cookie> {
    let name = table.text("cookie");
    let written = table.texts("origins");
    let origins: Vec<String> =
        written.iter().filter_map(|text| table.convert("origins", text, super::urls::origin)).collect();
    let Some(name) = name else {
        if !written.is_empty() {
            table.mistake_at("origins", "is for a token in a cookie: write cookie = \"session\", or remove it");
        }
        return None;
    };
    if name.value.is_empty()
        || !name.value.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b))
    {
        table.mistake("cookie", name.line, format!("`{}` is no cookie's name", name.value));
    }
    if written.is_empty() {
        let why = "could be sent by any page: name those that may, origins = [\"https://shop.example.com\"]";
        table.mistake("cookie", name.line, why);
    }
    Some(Cookie { name: name.value, origins })
}

/// What cannot be had together.
fn contradictions(table: &Section<'_>, demand: &Demand, issuers: &[Arc<Issuer>]) {
    let (Methods::Any(methods) | Methods::All(methods)) = &demand.methods;
    let named = |method: &Method| match method {
        Method::Issuer(name) => issuers.iter().find(|issuer| issuer.name == *name),
        Method::Key | Method::Basic => None,
    };
    let tokens: Vec<_> = methods.iter().filter_map(named).collect();
    if tokens.is_empty() && !methods.is_empty() {
        let of_tokens = ["scopes", "audience", "claims", "cookie"];
        for key in of_tokens.into_iter().filter(|key| table.is_written(key)) {
            table.mistake_at(key, "is a demand on tokens, and no issuer is listed: add its name to any or all");
        }
    }
    let opaque = tokens.iter().filter(|issuer| issuer.opaque.is_some()).count();
    if matches!(demand.methods, Methods::Any(_)) && opaque > 1 {
        let why = "more than one of these issuers has opaque tokens, and nobody could tell whom to ask: keep one";
        table.mistake("", 0, why);
    }
    let in_authorization = tokens.len() + usize::from(methods.contains(&Method::Basic));
    if matches!(demand.methods, Methods::All(_)) && in_authorization > 1 {
        let why = "all of these would have to stand in one Authorization: a key goes with one other credential";
        table.mistake_at("all", why);
    }
}
