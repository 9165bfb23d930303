//! `[[consumer]]` and `[[plan]]`: who may call, and how often.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest as hash};

use super::policy;
use crate::config::env::Environment;
use crate::config::file::{Section, Written};
use crate::config::policy::LimitSet;
use crate::config::{Consumer, PasswordHash};

/// The SHA-256 of a key.
pub fn digest(key: &str) -> [u8; 32] {
    hash(&SHA256, key.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The memory that a password's hash may cost, in KiB.
const MEMORY: std::ops::RangeInclusive<u32> = 7168..=65_536;

/// What a key may be, as messages say it.
const KEYS: &str = "a key is 1 to 256 visible ASCII characters without spaces";

/// Whether a text can be sent as a key.
pub fn is_key(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `[[consumer]]`. Without any there is one consumer, `local`, whose key is `LICTOR_API_KEY`, or in a run without a file a
/// key that is made for this run and returned beside it. `key_needed` says whether any route asks for a key.
pub(super) fn consumers(
    root: &Section<'_>,
    from_file: bool,
    key_needed: bool,
    plans: &[Arc<LimitSet>],
    env: &Environment,
    warnings: &mut Vec<String>,
) -> (Vec<Consumer>, Option<String>) {
    let written: Vec<(usize, Consumer)> =
        root.sections("consumer").into_iter().map(|section| (section.line(), consumer(section, plans))).collect();
    duplicates(root, &written);
    let from_env = env.secret("LICTOR_API_KEY");
    if let Some(key) = from_env.filter(|key| !is_key(key)) {
        root.mistake("LICTOR_API_KEY", 0, format!("has {} characters or odd ones: {KEYS}", key.len()));
    }
    let consumers: Vec<Consumer> = written.into_iter().map(|(_, consumer)| consumer).collect();
    if !consumers.is_empty() {
        // The file beats the environment. Where both have the same key there is nothing to warn of.
        let unused = |key: &str| !consumers.iter().any(|consumer| consumer.keys.contains(&digest(key)));
        if from_env.is_some_and(unused) {
            warnings.push("[[consumer]] of the file holds; the environment's LICTOR_API_KEY opens nothing".into());
        }
        return (consumers, None);
    }
    match from_env {
        Some(key) => (vec![local(key)], None),
        None if !from_file => {
            let key = random_key();
            (vec![local(&key)], Some(key))
        }
        None => {
            if key_needed {
                root.mistake("consumer", 0, "an API key is asked for, but nobody has one: add a [[consumer]] with keys (lictor hash-key makes them), set LICTOR_API_KEY, or write [api] auth = false");
            }
            (Vec::new(), None)
        }
    }
}

/// Names and keys that stand twice are mistakes: logs and limits tell consumers apart by name, requests by key.
fn duplicates(root: &Section<'_>, consumers: &[(usize, Consumer)]) {
    let (mut seen_names, mut seen_keys) = (HashSet::new(), HashSet::new());
    for (line, Consumer { name, keys, .. }) in consumers {
        if !seen_names.insert(name) {
            root.mistake("consumer", *line, format!("`{name}` is listed twice: give each consumer one name"));
        }
        for key in keys {
            if !seen_keys.insert(key) {
                let why = format!("`{name}` has a key that stands elsewhere too: a key belongs to one consumer");
                root.mistake("consumer", *line, why);
            }
        }
    }
}

/// The consumer of a configuration that lists none.
fn local(key: &str) -> Consumer {
    Consumer { name: "local".into(), keys: vec![digest(key)], password: None, admin: true, operator: true, plan: None }
}

/// 128 random bits, as text.
fn random_key() -> String {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn consumer(section: Section<'_>, plans: &[Arc<LimitSet>]) -> Consumer {
    let name = section.text("name").map(|written| written.value).unwrap_or_default();
    if name.is_empty() {
        section.mistake("name", 0, "is needed: write name = \"shop-app\"");
    }
    let mut keys = Vec::new();
    for Written { value, line } in section.texts("keys") {
        match key(&value) {
            Some(digest) => keys.push(digest),
            None => section.mistake(
                "keys",
                line,
                "a key is written as \"sha256:\" and 64 hexadecimal digits: lictor hash-key makes it",
            ),
        }
    }
    let written = section.text("password");
    let password = written.and_then(|text| section.convert("password", &text, password));
    if keys.is_empty() && !section.is_written("password") {
        section.mistake("keys", 0, "at least one is needed: lictor hash-key makes them");
    }
    let (mut admin, mut operator) = (false, false);
    for Written { value, line } in section.texts("roles") {
        match value.as_str() {
            "admin" => admin = true,
            "operator" => operator = true,
            _ => section.mistake("roles", line, format!("`{value}` is no role: there are \"admin\" and \"operator\"")),
        }
    }
    let plan = section.text("plan").and_then(|name| section.convert("plan", &name, |name| plan(name, plans)));
    if password.is_some() && (name.contains(':') || name.chars().any(char::is_control)) {
        section.mistake_at("name", "cannot stand before a password: a name has no : there (RFC 7617 section 2)");
    }
    section.end();
    Consumer { name, keys, password, admin, operator, plan }
}

/// A password as the file holds it: an argon2id hash, at the costs that OWASP recommends (19 MiB, 2 rounds).
///
/// # Errors
/// When the password cannot be hashed.
pub fn hash_password(password: &str) -> Result<String, String> {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "the system has no randomness".to_owned())?;
    let salt = SaltString::encode_b64(&random).map_err(|why| why.to_string())?;
    let hash = argon2::Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|why| why.to_string())
}

/// A password's hash: argon2id, dear enough for who guesses and cheap enough for who checks.
fn password(text: &str) -> Result<PasswordHash, String> {
    let wrong = |why: &str| format!("{why}: lictor hash-password makes one");
    let parsed = argon2::PasswordHash::new(text).map_err(|_| wrong("is no hash of a password"))?;
    if parsed.algorithm != argon2::ARGON2ID_IDENT || parsed.version != Some(0x13) {
        return Err(wrong("is not argon2id of version 19"));
    }
    let params = argon2::Params::try_from(&parsed).map_err(|_| wrong("has costs that argon2 does not know"))?;
    let (memory, rounds, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    if !MEMORY.contains(&memory) || !(1..=10).contains(&rounds) || !(1..=4).contains(&lanes) {
        let bounds = format!("m of {} to {} KiB, t of 1 to 10, p of 1 to 4", MEMORY.start(), MEMORY.end());
        return Err(wrong(&format!("costs m={memory},t={rounds},p={lanes}, and not {bounds}")));
    }
    let long_enough = parsed.hash.is_some_and(|hash| hash.len() >= 16) && parsed.salt.is_some();
    if long_enough { Ok(PasswordHash(text.to_owned())) } else { Err(wrong("has no salt, or less than 16 bytes")) }
}

/// The plan of a name.
pub(super) fn plan(name: &str, plans: &[Arc<LimitSet>]) -> Result<Arc<LimitSet>, String> {
    let found = plans.iter().find(|plan| *plan.name == *name).cloned();
    found.ok_or_else(|| {
        let all: Vec<_> = plans.iter().map(|plan| format!("`{}`", plan.name)).collect();
        let known =
            if all.is_empty() { "there is no [[plan]]".into() } else { format!("there are: {}", all.join(", ")) };
        format!("`{name}` is no plan; {known}")
    })
}

/// `[[plan]]`: limits for groups of consumers.
pub(super) fn plans(root: &Section<'_>) -> Vec<Arc<LimitSet>> {
    let mut names = HashSet::new();
    let mut plans = Vec::new();
    for section in root.sections("plan") {
        let name = section.text("name").map(|written| written.value).unwrap_or_default();
        if name.is_empty() {
            section.mistake("name", 0, "is needed: write name = \"silver\"");
        } else if !names.insert(name.clone()) {
            section.mistake_at("name", format!("`{name}` is the name of two plans: give each its own"));
        }
        let plan = policy::limits(&section, &name);
        if section.lacks("limits") {
            section.mistake_at("limits", "at least one is needed: write limits = [\"100/min\"]");
        }
        // A plan without limits stays in the list: consumers that name it do not make a second mistake.
        plans.push(plan.unwrap_or_else(|| Arc::new(LimitSet { name: name.into(), limits: Vec::new() })));
        section.end();
    }
    plans
}

/// The digest of a key as the file writes it: `sha256:` and 64 hexadecimal digits.
fn key(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}
