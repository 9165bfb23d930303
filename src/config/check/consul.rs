//! `[consul]`, and the variables that Consul's own tools honour: <https://developer.hashicorp.com/consul/commands#environment-variables>.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use super::own_files::own_file;
use crate::catalog::ServiceName;
use crate::config::env::Environment;
use crate::config::file::{Document, Section, Written};
use crate::config::fleet::SERVICE;
use crate::config::{Consul, Expose, SavedCatalog, Secret};

/// `[consul]`; `None` when the file lists services of its own and has no such section.
pub(super) fn consul(
    section: &Section<'_>,
    has_services: bool,
    env: &Environment,
    document: &Document,
    warnings: &mut Vec<String>,
) -> Option<Consul> {
    let wanted = section.exists() || !has_services;
    let mut env = Variables { env, document, wanted, warnings };
    let addresses = addresses(section, &mut env);
    let token = token(section, &mut env);
    let (ca_file, ca_path) = authorities(section, &mut env);
    let cert = env.or(section, "client_cert", "CONSUL_CLIENT_CERT");
    let key = env.or(section, "client_key", "CONSUL_CLIENT_KEY");
    if cert.is_some() != key.is_some() {
        let both = "and client_key go together: set both (or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY)";
        section.mistake("client_cert", 0, both);
    }
    let tag = section.text("tag").map_or_else(|| "gateway".to_owned(), |written| written.value);
    let expose = match section.word("expose", &[("tagged", false), ("all", true)]) {
        true => Expose::All,
        false => Expose::Tagged(tag),
    };
    let namespace = env.or(section, "namespace", "CONSUL_NAMESPACE");
    let partition = env.or(section, "partition", "CONSUL_PARTITION");
    // Consul's own service lies in the default namespace of the default partition: elsewhere no token sees it.
    let has_consul = [&namespace, &partition].into_iter().flatten().all(|name| name == "default");
    let consul = Consul {
        addresses,
        token,
        expose,
        connections: section.number("connections", 64, 3..=10_000) as usize,
        allow_loopback: section.flag("allow_loopback", false),
        namespace,
        partition,
        ca_file: ca_file.map(Into::into),
        ca_path: ca_path.map(Into::into),
        client_cert: cert.zip(key).map(|(cert, key)| (cert.into(), key.into())),
        tls_server_name: env.or(section, "tls_server_name", "CONSUL_TLS_SERVER_NAME"),
        verify: env.flag(section, "verify", "CONSUL_HTTP_SSL_VERIFY"),
        http_auth: http_auth(section, &mut env),
        datacenters: datacenters(section, &mut env),
        hold: section.duration("hold", Duration::from_secs(600)),
        canary: canary(section, has_consul),
        gateways: SERVICE.to_owned(),
        saved: saved(section),
    };
    section.finish();
    warn(&consul, &mut env);
    wanted.then_some(consul)
}

/// Warns of what weakens the way to the agents.
fn warn(consul: &Consul, env: &mut Variables<'_>) {
    if !consul.verify {
        env.warn("[consul] verify is false: whoever can answer at the agent's address is taken for the agent".into());
    }
    let secret = consul.token.is_some() || consul.http_auth.is_some();
    for address in consul.addresses.iter().filter(|address| secret && is_overheard(address)) {
        env.warn(format!("[consul] the token goes to {address} in plain text: use https:// there, or a local agent"));
    }
}

/// Whether a request to an agent can be read on its way: it is neither encrypted, nor does it stay on this host.
fn is_overheard(address: &str) -> bool {
    let Some(rest) = address.strip_prefix("http://") else { return false };
    let (host, _) = split(rest.split('/').next().unwrap_or_default());
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host != "localhost" && !ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The environment beside the file. The file wins; where the two differ a warning says so.
struct Variables<'a> {
    env: &'a Environment,
    document: &'a Document,
    /// Consul is used at all: else nothing of it is worth a warning.
    wanted: bool,
    warnings: &'a mut Vec<String>,
}

impl Variables<'_> {
    /// A text of the section, or else the value of a variable.
    fn or(&mut self, section: &Section<'_>, key: &'static str, name: &'static str) -> Option<String> {
        let written = section.text(key).map(|written| written.value);
        let set = self.env.get(name).map(str::to_owned);
        if let (Some(written), Some(set)) = (&written, &set) {
            self.differ(key, name, written != set);
        }
        written.or(set)
    }

    /// A flag of the section, or else what a variable says, or else true.
    fn flag(&mut self, section: &Section<'_>, key: &'static str, name: &'static str) -> bool {
        let (written, set) = (section.flag(key, true), self.truth(name));
        match set {
            Some(set) if section.is_written(key) => {
                self.differ(key, name, set != written);
                written
            }
            set => set.unwrap_or(written),
        }
    }

    /// What a variable says, by the words that Consul's tools know (<https://pkg.go.dev/strconv#ParseBool>). Another word is a mistake: who
    /// sets it wants something, and a guess could show the token to others. It counts as true, which is the safe side of all of them.
    fn truth(&self, name: &'static str) -> Option<bool> {
        match self.env.get(name).filter(|_| self.wanted)? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                self.document.mistake(0, name, "is neither true nor false: write one of these");
                Some(true)
            }
        }
    }

    /// Warns where the file and a variable do not say the same.
    fn differ(&mut self, key: &str, name: &str, differ: bool) {
        if differ {
            self.warn(format!("[consul] {key} of the file holds; the environment's {name} is not used"));
        }
    }

    fn warn(&mut self, warning: String) {
        if self.wanted {
            self.warnings.push(warning);
        }
    }
}

/// The agents' addresses, each with its scheme. Without one it is `http`, or `https` where `CONSUL_HTTP_SSL` says so.
fn addresses(section: &Section<'_>, env: &mut Variables<'_>) -> Vec<String> {
    const VARIABLE: &str = "CONSUL_HTTP_ADDR";
    let tls = env.truth("CONSUL_HTTP_SSL").unwrap_or(false);
    let several = section.texts("addresses");
    if section.is_written("addresses") && section.lacks("addresses") {
        section.mistake_at("addresses", "is empty: write e.g. [\"http://127.0.0.1:8500\"], or leave it out");
    }
    let one = section.text("address");
    if one.is_some() && section.is_written("addresses") {
        section.mistake_at("address", "and addresses say the same thing: keep one of them");
    }
    let (key, written) = match one {
        Some(one) => ("address", vec![one]),
        None if several.is_empty() => ("address", Vec::new()),
        None => ("addresses", several),
    };
    let set = env.env.get(VARIABLE).map(str::to_owned);
    if let (Some(set), false) = (&set, written.is_empty()) {
        env.differ(key, VARIABLE, written.len() > 1 || written[0].value != *set);
    }
    let fallback = || Written { value: set.unwrap_or_else(|| "127.0.0.1:8500".into()), line: 0 };
    let given = if written.is_empty() { vec![fallback()] } else { written };
    let mut seen = HashSet::new();
    for address in &given {
        match complete(&address.value, tls) {
            Err(why) => section.mistake(key, address.line, why),
            Ok(full) if !seen.insert(full.clone()) => {
                section.mistake(key, address.line, format!("{full} is listed twice: remove one"))
            }
            Ok(_) => {}
        }
    }
    given.iter().map(|address| complete(&address.value, tls).unwrap_or_default()).collect()
}

/// An agent's address with its scheme, or why it is none.
fn complete(given: &str, tls: bool) -> Result<String, String> {
    let full = match given.contains("://") {
        true => given.trim_end_matches('/').to_owned(),
        false => format!("{}://{given}", if tls { "https" } else { "http" }),
    };
    let known = ["http://", "https://", "unix:///"].iter().find(|scheme| full.starts_with(**scheme));
    let rest = known.map(|scheme| &full[scheme.len()..]).unwrap_or_default();
    if known == Some(&"unix:///") && !rest.is_empty() || known.is_some() && is_authority(rest) {
        return Ok(full);
    }
    // What stands before an `@` is not shown: it may be a password.
    let shown = given.rsplit('@').next().unwrap_or_default();
    let examples = "\"http://127.0.0.1:8500\" or \"unix:///run/consul.sock\"";
    Err(format!("`{shown}` is not an agent's address: write e.g. {examples}"))
}

/// Whether a text is a host, with or without a port, and with or without a path that every request's path follows.
fn is_authority(text: &str) -> bool {
    let (text, path) = text.split_once('/').unwrap_or((text, ""));
    if path.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#')) {
        return false;
    }
    let (host, port) = split(text);
    let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#');
    !host.is_empty() && !host.contains(odd) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Host and port; an IPv6 address stands in brackets.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The file or the directory of the authorities that sign the agents' certificates. As for Consul's tools, the file holds where both are
/// set in the environment.
fn authorities(section: &Section<'_>, env: &mut Variables<'_>) -> (Option<String>, Option<String>) {
    let written = ["ca_file", "ca_path"].map(|key| section.is_written(key));
    let (file, path) = (env.or(section, "ca_file", "CONSUL_CACERT"), env.or(section, "ca_path", "CONSUL_CAPATH"));
    match written {
        [true, true] => {
            section.mistake_at("ca_path", "and ca_file say the same thing: keep one of them");
            (file, None)
        }
        [false, true] => {
            env.differ("ca_path", "CONSUL_CACERT", file.is_some());
            (None, path)
        }
        _ => {
            let path = path.filter(|_| file.is_none());
            (file, path)
        }
    }
}

/// The token of the file, else `CONSUL_HTTP_TOKEN`, else `CONSUL_HTTP_TOKEN_FILE`.
fn token(section: &Section<'_>, env: &mut Variables<'_>) -> Option<Secret> {
    let written = section.secret("token", env.env);
    let from_env = env.env.secret("CONSUL_HTTP_TOKEN").map(|text| Secret::Text(text.to_owned()));
    let from_file = || env.env.get("CONSUL_HTTP_TOKEN_FILE").map(|path| Secret::File(path.into()));
    let set = from_env.or_else(from_file);
    if let (Some(written), Some(set)) = (&written, &set)
        && written != set
    {
        env.warn("[consul] token of the file holds; the environment's token is not used".into());
    }
    written.or(set)
}

/// Name and password for a proxy before the agent.
fn http_auth(section: &Section<'_>, env: &mut Variables<'_>) -> Option<Secret> {
    const VARIABLE: &str = "CONSUL_HTTP_AUTH";
    let written = section.secret("http_auth", env.env);
    let set = env.env.secret(VARIABLE).map(|text| Secret::Text(text.to_owned()));
    if let (Some(written), Some(set)) = (&written, &set) {
        env.differ("http_auth", VARIABLE, written != set);
    }
    written.or(set)
}

/// The datacenters in order of preference. Consul's own rule for their names is
/// <https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general#datacenter>.
fn datacenters(section: &Section<'_>, env: &mut Variables<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for Written { value: name, line } in section.texts("datacenters") {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name.is_empty() || !name.chars().all(fits) {
            let rule = "lower-case letters, digits, `-` and `_`";
            section.mistake("datacenters", line, format!("`{name}` is not the name of a datacenter: it has {rule}"));
        } else if names.contains(&name) {
            env.warn(format!("[consul] datacenters names {name} twice: its first place holds"));
        } else {
            names.push(name);
        }
    }
    names
}

/// The service that the token must see; `"none"` for none.
fn canary(section: &Section<'_>, has_consul: bool) -> Option<String> {
    let parse = |text: &str| ServiceName::new(text).map(|_| text.to_owned());
    match section.parsed("canary", "consul", parse) {
        Some(written) => Some(written.value).filter(|name| name != "none"),
        None => has_consul.then(|| "consul".into()),
    }
}

/// Where what is known is kept; off unless it is written.
fn saved(section: &Section<'_>) -> Option<SavedCatalog> {
    let snapshot = section.section("snapshot");
    let file = own_file(&snapshot, "/var/lib/lictor/catalog.json");
    let max_age = snapshot.duration("max_age", Duration::from_secs(3_600));
    snapshot.end();
    file.map(|file| SavedCatalog { file, max_age })
}

#[cfg(test)]
mod tests;
