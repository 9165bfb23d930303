//! `[redis]` and `[redis.cache]`.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::Secret;
use crate::config::env::Environment;
use crate::config::file::{Section, Written};
use crate::config::redis::{Node, Reach, Redis, Server};

/// A request that waits longer for a counter is served worse than one that goes without.
const LONGEST: Duration = Duration::from_secs(1);

/// The longest prefix: it is stored with every key.
const PREFIX: usize = 64;

const PORT: u16 = 6379;
const SENTINELS_PORT: u16 = 26379;

/// `[redis]`; `None` when it is not written.
pub(super) fn redis(section: &Section<'_>, env: &Environment, warnings: &mut Vec<String>) -> Option<Redis> {
    let below = section.section("cache");
    let anywhere = ["address", "sentinels", "cluster"].iter().any(|key| section.is_written(key));
    if below.exists() && !anywhere {
        section.mistake(
            "address",
            0,
            "is needed beside [redis.cache]: write e.g. address = \"redis://127.0.0.1:6379\"",
        );
    }
    let main = server(section, None, env);
    let cache = server(&below, Some(&main), env);
    if below.exists() && is_same(&cache.reach, &main.reach) {
        if cache.database == main.database {
            let why = "is the same as [redis]: leave [redis.cache] out, or write the address of another server";
            below.mistake("address", 0, why);
        } else {
            let why = "[redis.cache] is another database of the server of [redis], which has one memory and one maxmemory-policy for \
                       both: where its memory is bounded, write the address of another server";
            warnings.push(why.to_owned());
        }
    }
    let redis = Redis { main, cache: below.exists().then_some(cache) };
    below.end();
    section.finish();
    if !section.exists() {
        return None;
    }
    for (name, server) in [("redis", Some(&redis.main)), ("redis.cache", redis.cache.as_ref())] {
        if let Some(node) = server.and_then(overheard) {
            warnings.push(format!("[{name}] the password goes to {node} in plain text: use rediss:// there"));
        }
    }
    Some(redis)
}

/// One server. What is not written of a deadline and a prefix is as in `[redis]`.
fn server(section: &Section<'_>, main: Option<&Server>, env: &Environment) -> Server {
    let (reach, scheme, database) = reach(section, main.is_some());
    let tls = scheme == Scheme::Tls;
    let (user, password) = credentials(section, ["user", "password"], env);
    let (sentinel_user, sentinel_password) = credentials(section, ["sentinel_user", "sentinel_password"], env);
    if section.is_written("sentinel_password") && !section.is_written("sentinels") {
        section.mistake_at("sentinel_password", "is for sentinels, and there are none: leave it out");
    }
    let file = |key| section.text(key).map(|written| written.value.into());
    let (ca_file, cert, key) = (file("ca_file"), file("client_cert"), file("client_key"));
    if cert.is_some() != key.is_some() {
        section.mistake("client_cert", 0, "and client_key go together: set both");
    }
    for key in ["ca_file", "client_cert", "client_key"] {
        if section.is_written(key) && !tls {
            section.mistake_at(key, "is for TLS, and the address is not rediss://: write rediss://, or leave it out");
        }
    }
    Server {
        reach,
        tls,
        database,
        user,
        password,
        sentinel_user,
        sentinel_password,
        ca_file,
        client_cert: cert.zip(key),
        deadline: deadline(section, main.map_or(Duration::from_millis(5), |main| main.deadline)),
        prefix: prefix(section, main.map_or("lictor:", |main| &main.prefix)),
    }
}

/// Whether two are one server, whatever their databases: lists name some nodes of it, in any order.
fn is_same(one: &Reach, other: &Reach) -> bool {
    let meet = |some: &[Node], others: &[Node]| some.iter().any(|node| others.contains(node));
    match (one, other) {
        (Reach::Sentinels(some, name), Reach::Sentinels(others, other)) => name == other && meet(some, others),
        (Reach::Cluster(some), Reach::Cluster(others)) => meet(some, others),
        _ => one == other,
    }
}

/// A user, who needs a password, and a password, which may be that of the user `default`.
fn credentials(
    section: &Section<'_>,
    [user, password]: [&'static str; 2],
    env: &Environment,
) -> (Option<String>, Option<Secret>) {
    let name = section.text(user).map(|written| written.value);
    let secret = section.secret(password, env);
    if name.is_some() && !section.is_written(password) {
        section.mistake_at(user, format!("has no password: write {password} = {{ file = \"…\" }} beside it"));
    }
    (name, secret)
}

fn deadline(section: &Section<'_>, default: Duration) -> Duration {
    let deadline = section.duration("deadline", default);
    if deadline > LONGEST && section.is_written("deadline") {
        section.mistake_at("deadline", "is more than a request may wait for Redis: write 1s at most");
    }
    deadline
}

/// A prefix in which braces stand would put all keys into one slot of a cluster:
/// <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>.
fn prefix(section: &Section<'_>, default: &str) -> String {
    let Some(written) = section.text("prefix") else { return default.to_owned() };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '}');
    if written.value.len() > PREFIX || written.value.contains(odd) {
        let rule = "is a text without blanks and braces, 64 bytes at most: write e.g. \"lictor:\"";
        section.mistake("prefix", written.line, rule);
    }
    written.value
}

/// How addresses begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
    Unix,
}

/// Where a server is: exactly one of `address`, `sentinels` and `cluster` says so.
fn reach(section: &Section<'_>, is_cache: bool) -> (Reach, Scheme, i64) {
    let address = section.text("address");
    let (sentinels, cluster) = (section.texts("sentinels"), section.texts("cluster"));
    let master = section.text("master");
    let mut written: Vec<_> =
        ["address", "sentinels", "cluster"].into_iter().filter(|k| section.is_written(k)).collect();
    if let (Some(first), Some(second)) = (written.first(), written.get(1)) {
        section.mistake_at(second, format!("and {first} both say where Redis is: keep one of them"));
    }
    for key in ["sentinels", "cluster"] {
        if section.is_written(key) && section.lacks(key) {
            section.mistake_at(key, "is empty: write e.g. [\"redis://10.0.0.1:26379\"], or leave it out");
        }
    }
    match (&master, section.is_written("sentinels")) {
        (Some(_), false) => {
            section.mistake_at("master", "is a name that sentinels know: write sentinels = […] beside it")
        }
        (None, true) if !section.is_written("master") => {
            section.mistake(
                "master",
                0,
                "is needed beside sentinels: write the name that they know, e.g. master = \"mymaster\"",
            );
        }
        _ => {}
    }
    if is_cache && section.exists() && written.is_empty() {
        section.mistake("address", 0, "is needed: write e.g. address = \"redis://127.0.0.1:6380\"");
    }
    let local = Node { host: "127.0.0.1".into(), port: PORT };
    match written.drain(..).next() {
        Some("sentinels") => {
            let (nodes, scheme) = nodes(section, "sentinels", &sentinels, SENTINELS_PORT);
            (Reach::Sentinels(nodes, master.map(|written| written.value).unwrap_or_default()), scheme, 0)
        }
        Some("cluster") => {
            let (nodes, scheme) = nodes(section, "cluster", &cluster, PORT);
            (Reach::Cluster(nodes), scheme, 0)
        }
        _ => {
            let found = address.and_then(|address| section.convert("address", &address, |text| parse(text, PORT)));
            match found.unwrap_or(Address { place: Place::Node(local), scheme: Scheme::Plain, database: None }) {
                Address { place: Place::Socket(path), scheme, .. } => (Reach::Unix(path.into()), scheme, 0),
                Address { place: Place::Node(node), scheme, database } => {
                    (Reach::Address(node), scheme, database.unwrap_or(0))
                }
            }
        }
    }
}

/// The nodes of a list, which all begin with the same scheme.
fn nodes(section: &Section<'_>, key: &'static str, given: &[Written<String>], port: u16) -> (Vec<Node>, Scheme) {
    let read = |text: &str| match parse(text, port)? {
        Address { place: Place::Socket(_), .. } => Err("is a socket: write a host and a port".to_owned()),
        Address { database: Some(_), .. } => {
            Err(format!("`{text}` names a database, which only address may: remove what follows the port"))
        }
        Address { place: Place::Node(node), scheme, .. } => Ok((node, scheme)),
    };
    let mut first = None;
    let mut nodes = Vec::new();
    for written in given {
        let Some((node, scheme)) = section.convert(key, written, read) else { continue };
        if *first.get_or_insert(scheme) != scheme {
            section.mistake(key, written.line, "has redis:// and rediss:// side by side: write the same for all");
        }
        if nodes.contains(&node) {
            section.mistake(key, written.line, format!("{node} is listed twice: remove one"));
        }
        nodes.push(node);
    }
    (nodes, first.unwrap_or(Scheme::Plain))
}

/// An address as it is written.
struct Address {
    place: Place,
    scheme: Scheme,
    database: Option<i64>,
}

enum Place {
    Node(Node),
    Socket(String),
}

/// `redis://host:port/database`, `rediss://…`, `unix:///path`, or `host:port` alone.
fn parse(text: &str, port: u16) -> Result<Address, String> {
    if text.contains('@') {
        // What stands before it is not shown: it may be a password.
        return Err("holds a user or a password: write user = … and password = { file = \"…\" } beside it".to_owned());
    }
    if text.contains('?') {
        // Nor is what stands behind that: others write passwords there.
        let rule = "holds a `?`, and nothing may follow the address: write user and password as keys of their own";
        return Err(rule.to_owned());
    }
    let example = "write e.g. \"redis://127.0.0.1:6379\", \"rediss://redis.example.com\" or \"unix:///run/redis.sock\"";
    let wrong = || format!("`{text}` is not an address of Redis: {example}");
    let (scheme, rest) = match text.split_once("://") {
        None => (Scheme::Plain, text),
        Some(("redis", rest)) => (Scheme::Plain, rest),
        Some(("rediss", rest)) => (Scheme::Tls, rest),
        Some(("unix", path)) if path.starts_with('/') && path.len() > 1 => {
            return Ok(Address { place: Place::Socket(path.to_owned()), scheme: Scheme::Unix, database: None });
        }
        Some(_) => return Err(wrong()),
    };
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
    let database = match path.filter(|path| !path.is_empty()) {
        None => None,
        Some(path) => match path.parse::<u16>() {
            Ok(number) => Some(i64::from(number)),
            Err(_) => return Err(format!("`{text}` ends in `{path}`, which is not the number of a database")),
        },
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
        }
        _ => (authority, port),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | '[' | ']' | ',');
    let is_ipv6 = bare.parse::<std::net::Ipv6Addr>().is_ok();
    if bare.is_empty() || bare.contains(odd) || bare.contains(':') && !is_ipv6 {
        return Err(wrong());
    }
    Ok(Address { place: Place::Node(Node { host: bare.to_owned(), port }), scheme, database })
}

/// The first node to which a password goes so that it can be read on its way.
fn overheard(server: &Server) -> Option<&Node> {
    let nodes = match &server.reach {
        Reach::Address(node) => std::slice::from_ref(node),
        Reach::Sentinels(nodes, _) | Reach::Cluster(nodes) => nodes,
        Reach::Unix(_) => &[],
    };
    let is_local =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let secret = server.password.is_some() || server.sentinel_password.is_some();
    nodes.iter().find(|node| secret && !server.tls && !is_local(&node.host))
}

#[cfg(test)]
mod tests;
