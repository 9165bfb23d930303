//! `[[issuer]]`: who signs tokens, and what becomes of what they say.

mod keys;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::urls::safe;

use crate::config::env::Environment;
use crate::config::file::{ReadClaims, Section, TextOrSection, Written};
use crate::config::identity::{
    Audience, ClaimPath, Condition, Demanded, Dpop, Introspection, Iss, Issuer, Keys, PlanOf,
};
use crate::config::policy::LimitSet;
use crate::fields::{self, Traits};

/// Clocks that differ more than this are broken.
const LEEWAY: Duration = Duration::from_secs(300);

/// All issuers. `admin` is what tokens must be for that open `/admin`; `public_url` says where proofs of possession would be checked against.
pub(super) fn issuers(
    root: &Section<'_>,
    plans: &[Arc<LimitSet>],
    admin: &[Arc<str>],
    public_url: Option<&str>,
    env: &Environment,
) -> Vec<Arc<Issuer>> {
    let mut found = Vec::new();
    for section in root.sections("issuer") {
        let line = section.line();
        let mut issuer = issuer(section, plans, public_url, env);
        if issuer.opens_admin() {
            issuer.admin_audience = admin.to_vec();
        }
        found.push((line, Arc::new(issuer)));
    }
    clashes(root, &found);
    let mut asked = found.iter().filter(|(_, issuer)| issuer.opaque.is_some() && issuer.opens_admin());
    if let Some((line, _)) = asked.nth(1).filter(|_| !admin.is_empty()) {
        let why =
            "opens /admin by opaque tokens, as an issuer before it does, and nobody could tell whom to ask: keep one";
        root.mistake("issuer", *line, why);
    }
    found.into_iter().map(|(_, issuer)| issuer).collect()
}

fn issuer(section: Section<'_>, plans: &[Arc<LimitSet>], public_url: Option<&str>, env: &Environment) -> Issuer {
    let name = name(&section);
    let (keys, keys_origin) = keys::keys(&section, env);
    let iss = iss(&section, &keys);
    let require = section.demands("require");
    let issuer = Issuer {
        name,
        iss,
        keys_origin,
        audience: audience(&section, &require),
        admin_audience: Vec::new(),
        require,
        typ: section.texts("typ").into_iter().map(|typ| media_type(&typ.value)).collect(),
        algorithms: keys::algorithms(&section, &keys),
        keys,
        leeway: leeway(&section),
        consumer: consumer(&section),
        tenant: section.claim("tenant"),
        scopes_from: section.claims("scopes_from").unwrap_or_else(|| paths(&["scope", "scp"])),
        plan: plan(&section, plans),
        admin: role(section.section("admin")),
        operator: role(section.section("operator")),
        forward: forward(&section),
        opaque: opaque(section.section("opaque"), env),
        dpop: section.word("dpop", &[("off", Dpop::Off), ("accept", Dpop::Accept), ("require", Dpop::Require)]),
    };
    if issuer.dpop != Dpop::Off && public_url.is_none() {
        section.mistake_at("dpop", "needs public_url = \"https://api.example.com\" at the top: proofs name it");
    }
    section.end();
    issuer
}

/// Says of each issuer that names admins whose tokens open no `/admin`.
pub(super) fn without_admins(issuers: &[Arc<Issuer>], admin: &[Arc<str>]) -> impl Iterator<Item = String> {
    let named = issuers.iter().filter(|issuer| issuer.opens_admin() && admin.is_empty());
    let warning = |issuer: &Arc<Issuer>| {
        let name = &issuer.name;
        format!("issuer `{name}` says who may see /admin, but only keys open it: [admin] audience says which tokens do")
    };
    named.map(warning)
}

/// Its name, which routes use beside `key` and `basic`.
fn name(section: &Section<'_>) -> Arc<str> {
    let name = section.text("name").map(|written| written.value).unwrap_or_default();
    if name.is_empty() {
        section.mistake("name", 0, "is needed: write name = \"corp\"");
    } else if matches!(name.as_str(), "key" | "basic") {
        section.mistake_at("name", format!("`{name}` is what routes call another credential: choose another name"));
    }
    name.into()
}

/// `issuer = "https://…"`, or with `{tid}` in it, for which one of the values of `tid` stands.
fn iss(section: &Section<'_>, keys: &Keys) -> Iss {
    let written = section.text("issuer");
    let values = section.texts("tid");
    let Some(written) = written.filter(|written| !written.value.is_empty()) else {
        if !section.is_text("issuer") || section.is_written("issuer") {
            section.mistake_at(
                "issuer",
                "is needed: write what its tokens say in iss, e.g. \"https://login.example.com\"",
            );
        }
        return Iss::Exact("".into());
    };
    if matches!(keys, Keys::Discovery) {
        section.convert("issuer", &written, |text| safe(&text.replace("{tid}", "t")));
    }
    match written.value.split_once("{tid}") {
        None => {
            if !values.is_empty() {
                section.mistake_at("tid", "stands for {tid} in `issuer`, which has none");
            }
            Iss::Exact(written.value.into())
        }
        Some((before, after)) => {
            if after.contains("{tid}") {
                section.mistake("issuer", written.line, "has {tid} more than once: one place names the tenant");
            }
            if values.is_empty() {
                section.mistake("issuer", written.line, "has {tid}: list which ones, tid = [\"…\"]");
            }
            let simple = |text: &str| match text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
                true if !text.is_empty() => Ok(Arc::from(text)),
                _ => Err(format!("`{text}` cannot stand for {{tid}}: letters, digits, -, . and _ can")),
            };
            let values = values.iter().filter_map(|text| section.convert("tid", text, simple)).collect();
            Iss::Pattern { before: before.into(), after: after.into(), values }
        }
    }
}

/// `audience = ["https://api.example.com"]`, or `"unchecked"` where `require` says of which clients tokens must be.
fn audience(section: &Section<'_>, require: &[Demanded]) -> Audience {
    let written = section.texts("audience");
    if let [one] = &written[..]
        && one.value == "unchecked"
    {
        let clients = require.iter().any(|demanded| {
            matches!(&demanded.claim.0[..], [claim] if &**claim == "client_id")
                && matches!(demanded.condition, Condition::OneOf(_))
        });
        if !clients {
            let why = "\"unchecked\" takes tokens for anybody: only beside require = { client_id = [\"…\"] }";
            section.mistake("audience", one.line, why);
        }
        return Audience::Unchecked;
    }
    if section.exists() && (written.is_empty() && section.lacks("audience")) {
        let why = "is needed, or tokens for anybody would open this gateway: write what stands in aud, e.g. [\"https://api.example.com\"]";
        section.mistake_at("audience", why);
    }
    let named = |text: Written<String>| {
        if text.value == "unchecked" || text.value.is_empty() {
            section.mistake("audience", text.line, format!("`{}` cannot stand in a list", text.value));
        }
        text.value.into()
    };
    Audience::OneOf(written.into_iter().map(named).collect())
}

fn leeway(section: &Section<'_>) -> Duration {
    let leeway = section.pause("leeway", Duration::from_secs(30));
    if leeway > LEEWAY {
        section.mistake_at("leeway", "is more than 5m: a token would hold long after its end");
    }
    leeway
}

fn consumer(section: &Section<'_>) -> Vec<ClaimPath> {
    let claims = section.claims("consumer").unwrap_or_else(|| paths(&["sub", "client_id"]));
    if claims.is_empty() && section.lacks("consumer") {
        section.mistake_at("consumer", "is empty: say which claim names the caller, e.g. [\"sub\", \"client_id\"]");
    }
    claims
}

/// `plan = "app"`, or `{ claim = ["tier"], map = { gold = "partner" }, else = "app" }`.
fn plan(section: &Section<'_>, plans: &[Arc<LimitSet>]) -> Option<PlanOf> {
    let known = |name: &str| super::consumers::plan(name, plans).map(|plan| plan.name.clone());
    match section.text_or_section("plan") {
        TextOrSection::Absent => None,
        TextOrSection::Text(name) => section.convert("plan", &name, known).map(PlanOf::Always),
        TextOrSection::Section(table) => {
            let claim = table.claim("claim");
            let pairs = table.pairs("map", false);
            let read = |(value, plan): (Written<String>, Option<String>)| {
                let plan = Written { value: plan.unwrap_or_default(), line: value.line };
                Some((value.value.into(), table.convert("map", &plan, known)?))
            };
            let map = pairs.into_iter().filter_map(read).collect();
            let other = table.text("else").and_then(|name| table.convert("else", &name, known));
            if claim.is_none() && table.exists() && !table.is_written("claim") {
                table.mistake("claim", 0, "is needed: write plan = { claim = \"tier\", map = { gold = \"partner\" } }");
            }
            table.end();
            Some(PlanOf::Claim { claim: claim?, map, other })
        }
    }
}

/// `admin = { claim = ["realm_access", "roles"], has = "gateway-admin" }`, or with `is`.
fn role(section: Section<'_>) -> Option<Demanded> {
    let claim = section.claim("claim");
    let has = section.text("has").map(|text| text.value);
    let is: Vec<_> = section.texts("is").into_iter().map(|text| text.value.into()).collect();
    let condition = match (has, is.is_empty()) {
        (Some(has), true) => Some(Condition::Has(has.into())),
        (None, false) => Some(Condition::OneOf(is)),
        _ => None,
    };
    if section.exists() && (claim.is_none() || condition.is_none()) {
        section.mistake(
            "",
            0,
            "needs claim, and either has (a list with this member) or is (this text, or one of these)",
        );
    }
    section.end();
    Some(Demanded { claim: claim?, condition: condition? })
}

/// `forward = { sub = "X-User-Id" }`: only fields that nobody else has a word on.
fn forward(section: &Section<'_>) -> Vec<(ClaimPath, HeaderName)> {
    let name = |text: &str| {
        let name = super::actions::header_name(text)?;
        let lower = name.as_str();
        if fields::of(lower) != Traits::default() || fields::is_other_spelling(lower) {
            return Err(format!(
                "`{text}` means something to the gateway or to others: choose another field, e.g. \"X-User-Id\""
            ));
        }
        if lower.contains(['_', '.']) {
            return Err(format!("`{text}`: servers take _ and . for -: write it with -"));
        }
        Ok(name)
    };
    let forward = section.claims_as_fields("forward", name);
    let mut seen: HashMap<&HeaderName, ()> = HashMap::new();
    for (_, name) in &forward {
        if seen.insert(name, ()).is_some() {
            section.mistake_at("forward", format!("`{name}` is there for two claims: give each its own field"));
        }
    }
    forward
}

/// The fields in which any issuer's claims are forwarded.
pub(super) fn claimed(issuers: &[Arc<Issuer>]) -> Arc<[HeaderName]> {
    issuers.iter().flat_map(|issuer| &issuer.forward).map(|(_, name)| name.clone()).collect()
}

/// `opaque = { url = "…", client = "lictor", secret = { file = "…" }, remember = "30s" }`.
fn opaque(section: Section<'_>, env: &Environment) -> Option<Introspection> {
    let url = section.text("url");
    let url = url.and_then(|text| section.convert("url", &text, |url| safe(url).map(|()| url.to_owned())));
    let client = section.text("client").map(|text| text.value).filter(|client| !client.is_empty());
    let secret = section.secret("secret", env);
    let remember = section.duration("remember", Duration::from_secs(30));
    if remember > LEEWAY {
        section.mistake_at("remember", "is more than 5m: a token that was revoked would hold for so long");
    }
    for (key, example) in [("url", "https://login.example.com/introspect"), ("client", "lictor"), ("secret", "…")] {
        if section.exists() && !section.is_written(key) {
            section.mistake(key, 0, format!("is needed: write {key} = \"{example}\""));
        }
    }
    section.end();
    Some(Introspection { url: url?, client: client?, secret: secret?, remember })
}

/// Names that stand twice, and issuers whose tokens or keys could not be told apart.
fn clashes(root: &Section<'_>, issuers: &[(usize, Arc<Issuer>)]) {
    let (mut names, mut isses) = (HashMap::new(), HashMap::new());
    for (line, issuer) in issuers {
        if let Some(first) = names.insert(&issuer.name, line).filter(|_| !issuer.name.is_empty()) {
            let why = format!("`{}` is the name of two issuers, here and in line {first}", issuer.name);
            root.mistake("issuer", *line, why + ": give each its own");
        }
        let all: Vec<String> = match &issuer.iss {
            Iss::Exact(iss) => vec![iss.to_string()],
            Iss::Pattern { before, after, values } => {
                values.iter().map(|value| format!("{before}{value}{after}")).collect()
            }
        };
        for iss in all.into_iter().filter(|iss| !iss.is_empty()) {
            let why = format!("tokens that say `{iss}` could be of this issuer and of that in line");
            if let Some(first) = isses.insert(iss, line) {
                root.mistake("issuer", *line, format!("{why} {first}: keep one of them"));
            }
        }
    }
    // The keys of tenants that manage theirs by themselves are kept under what their tokens say in iss, all others under their issuer's name.
    for (line, issuer) in issuers.iter().filter(|(_, issuer)| isses.contains_key(&*issuer.name)) {
        let why = format!("`{}` is what tokens say in iss: choose a name that is none", issuer.name);
        root.mistake("issuer", *line, why);
    }
}

fn paths(names: &[&str]) -> Vec<ClaimPath> {
    names.iter().map(|name| ClaimPath(vec![(*name).into()])).collect()
}

/// A media type as it is compared: in lower case, and without `application/` (RFC 7515 section 4.1.9).
fn media_type(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}
