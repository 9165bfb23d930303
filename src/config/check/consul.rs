//! `[consul]`, and the variables that Consul's own tools honour: <https://developer.hashicorp.com/consul/commands#environment-variables>.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::env::Environment;
use crate::config::file::{Document, Section};
use crate::config::{Consul, Expose, Secret};

/// Variables of Consul's tools that are not supported: an error where they are set, because to ignore them in silence is
/// worse.
const UNSUPPORTED: [&str; 4] =
    ["CONSUL_CAPATH", "CONSUL_HTTP_AUTH", "CONSUL_TLS_SERVER_NAME", "CONSUL_HTTP_SSL_VERIFY"];

/// `[consul]`; `None` when the file lists services of its own and has no such section.
pub(super) fn consul(
    section: &Section<'_>,
    has_services: bool,
    env: &Environment,
    document: &Document,
    warnings: &mut Vec<String>,
) -> Option<Consul> {
    let wanted = section.exists() || !has_services;
    let mut env = Variables { env, wanted, warnings };
    if wanted {
        for name in UNSUPPORTED.into_iter().filter(|name| env.env.get(name).is_some()) {
            document.mistake(0, name, "is set, but not supported yet: unset it");
        }
    }
    let address = address(section, &mut env, document);
    let token = token(section, &mut env);
    let ca_file = env.or(section, "ca_file", "CONSUL_CACERT").map(PathBuf::from);
    let cert = env.or(section, "client_cert", "CONSUL_CLIENT_CERT");
    let key = env.or(section, "client_key", "CONSUL_CLIENT_KEY");
    let client_cert = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => {
            section.mistake(
                "client_cert",
                0,
                "and client_key go together: set both (or CONSUL_CLIENT_CERT and CONSUL_CLIENT_KEY)",
            );
            None
        }
    };
    let tag = section.text("tag").map_or_else(|| "gateway".to_owned(), |written| written.value);
    let expose = match section.word("expose", &[("tagged", false), ("all", true)]) {
        true => Expose::All,
        false => Expose::Tagged(tag),
    };
    let consul = Consul {
        addresses: vec![address],
        token,
        expose,
        connections: section.number("connections", 64, 3..=10_000) as usize,
        allow_loopback: section.flag("allow_loopback", false),
        namespace: env.or(section, "namespace", "CONSUL_NAMESPACE"),
        partition: env.or(section, "partition", "CONSUL_PARTITION"),
        ca_file,
        ca_path: None,
        client_cert,
        tls_server_name: None,
        verify: true,
        http_auth: None,
        datacenters: Vec::new(),
        hold: Duration::from_secs(600),
        canary: Some("consul".into()),
        saved: None,
    };
    section.finish();
    wanted.then_some(consul)
}

/// The environment beside the file. The file wins; where the two differ a warning says so.
struct Variables<'a> {
    env: &'a Environment,
    /// Consul is used at all: else nothing of it is worth a warning.
    wanted: bool,
    warnings: &'a mut Vec<String>,
}

impl Variables<'_> {
    /// A text of the section, or else the value of a variable.
    fn or(&mut self, section: &Section<'_>, key: &'static str, name: &'static str) -> Option<String> {
        let written = section.text(key).map(|written| written.value);
        let set = self.env.get(name).map(str::to_owned);
        if let (Some(written), Some(set)) = (&written, &set)
            && written != set
            && self.wanted
        {
            self.warnings.push(format!("[consul] {key} of the file holds; the environment's {name} is not used"));
        }
        written.or(set)
    }
}

/// The agent's address with its scheme. Without one it is `http`, or `https` where `CONSUL_HTTP_SSL` says so.
fn address(section: &Section<'_>, env: &mut Variables<'_>, document: &Document) -> String {
    let tls = env.env.get("CONSUL_HTTP_SSL").filter(|_| env.wanted).is_some_and(|value| tls(value, document));
    let given = env.or(section, "address", "CONSUL_HTTP_ADDR").unwrap_or_else(|| "127.0.0.1:8500".into());
    let full = match given.contains("://") {
        true => given.trim_end_matches('/').to_owned(),
        false => format!("{}://{given}", if tls { "https" } else { "http" }),
    };
    let known = ["http://", "https://", "unix:///"].iter().find(|scheme| full.starts_with(**scheme));
    let rest = known.map(|scheme| &full[scheme.len()..]).unwrap_or_default();
    let sound = known == Some(&"unix:///") && !rest.is_empty() || known.is_some() && is_authority(rest);
    if !sound {
        // What stands before an `@` is not shown: it may be a password.
        let shown = given.rsplit('@').next().unwrap_or_default();
        document.mistake(section.line(), "consul.address", format!("`{shown}` is not an agent's address: write e.g. \"http://127.0.0.1:8500\" or \"unix:///run/consul.sock\""));
    }
    full
}

/// What `CONSUL_HTTP_SSL` says, by the words that Consul's tools know (<https://pkg.go.dev/strconv#ParseBool>). Another word is a mistake: who
/// sets it wants something, and to guess that it is plain HTTP could show the token to others.
fn tls(value: &str, document: &Document) -> bool {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => {
            document.mistake(0, "CONSUL_HTTP_SSL", "is neither true nor false: write one of these");
            true
        }
    }
}

/// Whether a text is a host, with or without a port, and with or without a path that every request's path follows.
fn is_authority(text: &str) -> bool {
    let (text, path) = text.split_once('/').unwrap_or((text, ""));
    if path.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#')) {
        return false;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#');
    !host.is_empty() && !host.contains(odd) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// The token of the file, else `CONSUL_HTTP_TOKEN`, else `CONSUL_HTTP_TOKEN_FILE`.
fn token(section: &Section<'_>, env: &mut Variables<'_>) -> Option<Secret> {
    let written = section.secret("token", env.env);
    let from_env = env.env.secret("CONSUL_HTTP_TOKEN").map(|text| Secret::Text(text.to_owned()));
    let from_file = || env.env.get("CONSUL_HTTP_TOKEN_FILE").map(|path| Secret::File(path.into()));
    let set = from_env.or_else(from_file);
    match (written, set) {
        (Some(written), Some(set)) if env.wanted && written != set => {
            env.warnings.push("[consul] token of the file holds; the environment's token is not used".into());
            Some(written)
        }
        (Some(written), _) => Some(written),
        (None, set) => set,
    }
}
