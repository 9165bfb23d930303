//! A connection of the fake agent: HTTP/1.1, queries that wait, and what faults make of the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::Fault;
use super::model::Query;
use super::state::{Request, State, Version};

/// How long a query waits that does not say how long, and the longest wait.
/// <https://developer.hashicorp.com/consul/api-docs/features/blocking>
const WAIT: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(600));

/// A request's head and body.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    token: String,
    pub(super) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: Vec<(String, String)>,
    body: Arc<str>,
}

/// Reads requests from a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        let _ = stream.set_nodelay(true);
        Connection { stream, buffer: Vec::new() }
    }

    /// The next request; `None` at the connection's end, or when it is not HTTP.
    pub(super) async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some((received, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Some(received);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Answers a command; whether the connection stays.
    pub(super) async fn say(&mut self, answer: Result<Value, String>) -> bool {
        let (status, body) = match answer {
            Ok(value) => (200, value.to_string()),
            Err(why) => (400, why),
        };
        let answer = Answer { status, head: Vec::new(), body: body.into() };
        write(&mut self.stream, &answer, &[]).await
    }

    /// Returns when the client has closed its end.
    async fn gone(&self) {
        // A client that sends more before it has its answer is not watched any longer.
        if let Ok(1) = self.stream.peek(&mut [0]).await {
            std::future::pending().await
        }
    }
}

/// A request at the beginning of these bytes and its length; `Some(None)` where it is not complete.
fn parse(bytes: &[u8]) -> Option<Option<(Received, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return Some(None) };
    let field = |name: &str| {
        let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| String::from_utf8_lossy(field.value).into_owned())
    };
    let body = field("content-length").map_or(Some(0), |length| length.parse::<usize>().ok())?;
    if bytes.len() < length + body {
        return Some(None);
    }
    let target = head.path?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let received = Received {
        method: head.method?.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        token: field("x-consul-token").unwrap_or_default(),
        body: bytes[length..length + body].to_vec(),
    };
    Some(Some((received, length + body)))
}

/// Answers a connection's requests until it ends.
pub(super) async fn serve(stream: TcpStream, state: &State) {
    let mut connection = Connection::new(stream);
    while let Some(received) = connection.receive().await {
        let (path, query, token) = (received.path.clone(), received.query.clone(), received.token.clone());
        state.note(Request { at: Instant::now(), path, query, token });
        let answered = tokio::select! {
            answered = answer(&received, state) => answered,
            () = connection.gone() => return,
        };
        let Some((answer, faults)) = answered else { return };
        if faults.contains(&Fault::Reset) {
            let _ = connection.stream.set_zero_linger();
            return;
        }
        let at = Instant::now();
        if faults.contains(&Fault::Close) || !write(&mut connection.stream, &answer, &faults).await {
            return;
        }
        state.lock().written.insert(received.path, at);
    }
}

/// What is answered, and the faults on the way; `None` where the connection closes.
async fn answer(received: &Received, state: &State) -> Option<(Answer, Vec<Fault>)> {
    let asked: HashMap<&str, &str> =
        received.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let index: u64 = asked.get("index").and_then(|index| index.parse().ok()).unwrap_or(0);
    if index > 0 {
        state.asked_for_a_change();
    }
    let stale = asked.contains_key("stale");
    let (mut faults, counted) = state.lock().befallen(&received.path, stale, index);
    let now = |fault: &Fault| matches!(fault, Fault::Status(_) | Fault::Reset | Fault::Close | Fault::Silent);
    let query = Query::of(&received.path);
    if let Some(query) = query.as_ref().filter(|query| query.blocks() && index > 0 && !faults.iter().any(now)) {
        let dc = asked.get("dc").copied().unwrap_or_default();
        wait(query, dc, index, asked.get("wait").copied(), &faults, state).await?;
        // Meanwhile there may be others.
        if !counted {
            (faults, _) = state.lock().befallen(&received.path, stale, index);
        }
    }
    for fault in &faults {
        match fault {
            Fault::Silent => std::future::pending().await,
            Fault::Late(time) => tokio::time::sleep(*time).await, // the fault itself
            _ => {}
        }
    }
    Some((made(query.as_ref(), &asked, index, &faults, state), faults))
}

/// Waits until a query has something new to say; `None` where it is cut.
async fn wait(query: &Query, dc: &str, index: u64, wait: Option<&str>, faults: &[Fault], state: &State) -> Option<()> {
    let wait = wait.and_then(|text| humantime::parse_duration(text).ok()).unwrap_or(WAIT.0).min(WAIT.1);
    let at_once = |fault: &Fault| matches!(fault, Fault::AtOnce | Fault::Index(_));
    if faults.iter().any(at_once) {
        return Some(());
    }
    let cut = faults.iter().find_map(|fault| if let Fault::CutWaiting(after) = fault { Some(*after) } else { None });
    let mut changes = state.changes();
    let news = async {
        let (mut before, mut waiting) = (None, None);
        loop {
            changes.borrow_and_update();
            let position = {
                let inner = state.lock();
                let catalog = inner.catalogs.get(if dc.is_empty() { inner.local.as_str() } else { dc });
                catalog.map(|catalog| catalog.position(query))
            };
            let Some((at, wakes)) = position else { return };
            // Who comes is told by the index alone whether there is news. Who waits is woken by what it watches. An index that is
            // lower than the client's answers nobody, as with a real agent.
            if at > index && before != Some(wakes) {
                return;
            }
            before = Some(wakes);
            waiting.get_or_insert_with(|| state.begin_waiting());
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = news => Some(()),
        () = tokio::time::sleep(wait) => Some(()), // the time that a query waits
        () = pause(cut) => None,
    }
}

async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await, // the fault itself
        None => std::future::pending().await,
    }
}

/// The answer as it is without faults, changed by those that change it.
fn made(query: Option<&Query>, asked: &HashMap<&str, &str>, index: u64, faults: &[Fault], state: &State) -> Answer {
    let mut inner = state.lock();
    let inner = &mut *inner;
    let plain = |status, text: &str| Answer { status, head: Vec::new(), body: text.into() };
    let dc = asked.get("dc").filter(|dc| !dc.is_empty()).map_or(inner.local.clone(), |dc| (*dc).to_owned());
    let mut answer = match (query, inner.catalogs.get_mut(&dc)) {
        _ if asked.contains_key("ns") || asked.contains_key("partition") => {
            let which = if asked.contains_key("ns") { "ns" } else { "partition" };
            plain(
                400,
                &format!("Bad request: Invalid query parameter: \"{which}\" - it is a Consul Enterprise feature"),
            )
        }
        (None, _) => plain(404, ""),
        (Some(_), None) => plain(500, "No path to datacenter"),
        (Some(query), Some(catalog)) => {
            let body = catalog.body(query, inner.version.text(), inner.http);
            let head = head(query, catalog.position(query).0, asked, index, inner.version);
            let status = if body.is_some() { 200 } else { 404 };
            Answer { status, head, body: body.unwrap_or_else(|| "".into()) }
        }
    };
    if answer.status == 200 {
        answer.head.push(("Content-Type".into(), "application/json".into()));
    }
    for fault in faults {
        apply(fault, &mut answer, query, inner.version);
    }
    answer
}

/// The header fields of an answer, by version.
fn head(query: &Query, at: u64, asked: &HashMap<&str, &str>, index: u64, version: Version) -> Vec<(String, String)> {
    let mut head = Vec::new();
    let mut say = |name: &str, value: &str| head.push((name.to_owned(), value.to_owned()));
    say("Vary", "Accept-Encoding");
    if query.blocks() {
        let streamed = version == Version::Streaming
            && matches!(query, Query::Health(_))
            && (index > 0 || asked.contains_key("cached"));
        say("X-Consul-Index", &at.to_string());
        if version != Version::Old {
            say("X-Consul-Default-Acl-Policy", "allow");
            say("X-Consul-Query-Backend", if streamed { "streaming" } else { "blocking-query" });
        }
        if !streamed {
            let consistency = if asked.contains_key("stale") { "stale" } else { "leader" };
            say("X-Consul-Effective-Consistency", consistency);
            say("X-Consul-Knownleader", "true");
            say("X-Consul-Lastcontact", "0");
        }
        if asked.contains_key("cached") {
            say("X-Cache", "HIT");
            say("Age", "0");
        }
    }
    head
}

/// What a fault makes of an answer.
fn apply(fault: &Fault, answer: &mut Answer, query: Option<&Query>, version: Version) {
    let index = "X-Consul-Index";
    match fault {
        Fault::Status(status) => {
            let text = match status {
                403 => "Permission denied",
                429 => "Your IP is issuing too many concurrent connections, please rate limit your calls",
                500 => "rpc error making call: No cluster leader",
                _ => "the fake agent was told to answer so",
            };
            *answer = Answer { status: *status, head: Vec::new(), body: text.into() };
        }
        Fault::Body(text) => answer.body = text.as_str().into(),
        Fault::Enormous(size) => answer.body = format!("{}{}", answer.body, " ".repeat(size << 20)).into(),
        Fault::Index(claimed) => set(answer, index, claimed.map(|claimed| claimed.to_string())),
        Fault::Header(name, value) => set(answer, name, value.clone()),
        Fault::Empty => answer.body = query.map_or("", Query::nothing).into(),
        Fault::Without(names) => {
            if let Some(less) = without(&answer.body, names) {
                answer.body = less.into();
                if version != Version::Old {
                    set(answer, "X-Consul-Results-Filtered-By-Acls", Some("true".into()));
                }
            }
        }
        _ => {}
    }
}

fn set(answer: &mut Answer, name: &str, value: Option<String>) {
    answer.head.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    answer.head.extend(value.map(|value| (name.to_owned(), value)));
}

/// A body without the services and instances of these names and ids; `None` where nothing is missing.
fn without(body: &str, names: &[String]) -> Option<String> {
    let mut value: Value = serde_json::from_str(body).ok()?;
    let is_one = |text: &Value| text.as_str().is_some_and(|text| names.iter().any(|name| name == text));
    let gone = |entry: &Value| {
        let of = [&entry["Service"]["ID"], &entry["Service"]["Service"], &entry["ServiceID"], &entry["ServiceName"]];
        of.into_iter().any(is_one)
    };
    match &mut value {
        Value::Object(node) if node.contains_key("Services") => {
            let services = node.get_mut("Services").and_then(Value::as_object_mut)?;
            services.retain(|id, service| !names.contains(id) && !is_one(&service["Service"]));
        }
        Value::Object(all) => all.retain(|name, _| !names.contains(name)),
        Value::Array(all) => all.retain(|entry| !gone(entry)),
        _ => {}
    }
    let less = value.to_string();
    (less.len() < body.len()).then_some(less)
}

/// Writes an answer; whether the connection stays.
async fn write(stream: &mut TcpStream, answer: &Answer, faults: &[Fault]) -> bool {
    let body = answer.body.as_bytes();
    let trickle = faults.contains(&Fault::Trickle);
    let length = if trickle { body.len() + (1 << 30) } else { body.len() };
    let mut head = format!("HTTP/1.1 {} Fake\r\nContent-Length: {length}\r\n", answer.status);
    for (name, value) in &answer.head {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    if trickle {
        return trickled(stream, head).await;
    }
    let truncated = faults.contains(&Fault::Truncated);
    let sent = if truncated { body.len() / 2 } else { body.len() };
    // One piece where it is small: two would be two packets.
    let whole = [head.as_bytes(), &body[..sent.min(1 << 16)]].concat();
    stream.write_all(&whole).await.is_ok()
        && stream.write_all(&body[sent.min(1 << 16)..sent]).await.is_ok()
        && !truncated
}

/// A body of white space that does not end, a byte at a time.
async fn trickled(stream: &mut TcpStream, head: String) -> bool {
    let mut piece = head + "[";
    while stream.write_all(piece.as_bytes()).await.is_ok() {
        " ".clone_into(&mut piece);
        tokio::time::sleep(Duration::from_millis(50)).await; // the fault itself
    }
    false
}

/// Answers a connection that is one too many, as the version does.
pub(super) async fn refuse(stream: TcpStream, version: Version) {
    let mut stream = stream;
    if version == Version::Old {
        let _ = stream.set_zero_linger();
        return;
    }
    let text = "Your IP is issuing too many concurrent connections, please rate limit your calls\n";
    let head =
        format!("HTTP/1.1 429 Too Many Requests\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
    let _ = stream.write_all(head.as_bytes()).await;
}
