//! A Consul in this process: blocking queries as documented, and every way to misbehave on command.

mod content;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;

/// How to misbehave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// This status.
    Status(u16),
    /// The connection is closed instead of an answer.
    Eof,
    /// Nothing is ever answered.
    Silent,
    /// The answer stops in the middle of its body.
    Cut,
    /// 200, but no JSON.
    Nonsense,
}

#[derive(Default)]
struct Inner {
    index: u64,
    shown_index: Option<u64>,
    leader: Option<bool>,
    services: BTreeMap<String, Vec<Value>>,
    faults: Vec<(String, Fault)>,
    /// What is answered at these paths instead of what follows from the rest.
    said: BTreeMap<String, Value>,
    blind: bool,
    /// Requests whose answer is made, and sent when it is released.
    held: Vec<String>,
    requests: Vec<String>,
    /// Paths of the queries that wait.
    waiting: Vec<String>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    holding: AtomicUsize,
    released: Notify,
    open: AtomicUsize,
    most: AtomicUsize,
}

impl State {
    /// Whether this answer is held: the first one to this request.
    fn holds(&self, target: &str) -> bool {
        let held = &mut self.inner.lock().held;
        let place = held.iter().position(|held| held == target.trim_end_matches('?'));
        place.map(|place| held.swap_remove(place)).is_some()
    }
}

/// Whom a change wakes.
#[derive(Clone, Debug)]
enum Wake {
    All,
    Path(String),
    /// Nobody: their connections end.
    Cut,
}

/// A query that waits.
struct Waiting<'a>(&'a State, String);

impl Waiting<'_> {
    fn new<'a>(state: &'a State, path: &str) -> Waiting<'a> {
        state.inner.lock().waiting.push(path.to_owned());
        Waiting(state, path.to_owned())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.0.inner.lock().waiting;
        let place = waiting.iter().position(|path| *path == self.1);
        place.map(|place| waiting.swap_remove(place));
    }
}

/// The fake; dropped, it is gone with all its connections.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    changed: broadcast::Sender<Wake>,
    server: JoinSet<()>,
}

/// One instance on a node, tagged for the gateway.
pub(crate) fn instance(id: &str, address: &str, status: &str) -> Value {
    json!({"Node": {"Node": "mine", "Address": "10.0.0.99", "Datacenter": "dc1"},
        "Service": {"ID": id, "Address": address, "Port": 80, "Tags": ["gateway"], "Meta": null},
        "Checks": [{"CheckID": id, "ServiceID": id, "Status": status}]})
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        let state = Arc::new(State::default());
        state.inner.lock().index = 10;
        let (changed, _) = broadcast::channel(4096);
        let any = "127.0.0.1:0".parse().unwrap();
        let mut fake = Fake { address: any, state, changed, server: JoinSet::new() };
        fake.listen().await;
        fake
    }

    /// Closes everything, as a killed agent does.
    pub(crate) async fn kill(&mut self) {
        self.server.shutdown().await;
        self.state.open.store(0, Ordering::SeqCst);
    }

    /// Listens (again).
    pub(crate) async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (state, changed) = (self.state.clone(), self.changed.clone());
        self.server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
                state.most.fetch_max(open, Ordering::SeqCst);
                let (state, changed) = (state.clone(), changed.clone());
                connections.spawn(async move {
                    serve(stream, &state, &changed).await;
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }

    /// A service as it is from now on; no instances: it is gone from the catalog, too.
    pub(crate) fn put(&self, name: &str, entries: Vec<Value>) {
        self.change(|inner| match entries.is_empty() {
            true => drop(inner.services.remove(name)),
            false => drop(inner.services.insert(name.into(), entries)),
        });
    }

    pub(crate) fn forget_everything(&self, index: u64) {
        self.change(|inner| (inner.services, inner.index) = (BTreeMap::new(), index));
    }

    /// Continues counting from here.
    pub(crate) fn set_index(&self, index: u64) {
        self.change(|inner| inner.index = index);
    }

    /// Says this index whatever it is.
    pub(crate) fn show_index(&self, index: u64) {
        self.change(|inner| inner.shown_index = Some(index));
    }

    pub(crate) fn set_leader(&self, known: bool) {
        self.state.inner.lock().leader = Some(known);
    }

    /// The token does not see the service `consul`.
    pub(crate) fn blind(&self) {
        self.change(|inner| inner.blind = true);
    }

    /// The next answer to exactly this request is made, but not sent before it is released.
    pub(crate) fn hold(&self, target: &str) {
        self.state.inner.lock().held.push(target.into());
    }

    /// How many answers are held, or were.
    pub(crate) fn holding(&self) -> usize {
        self.state.holding.load(Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.state.released.notify_waiters();
    }

    /// This is the answer at a path from now on.
    pub(crate) fn say(&self, path: &str, answer: Value) {
        self.state.inner.lock().said.insert(path.into(), answer);
    }

    /// From now on, requests with this beginning - or with a `$` behind it exactly these - fail this way (those that wait already return first).
    pub(crate) fn fail(&self, path: &str, fault: Fault) {
        self.change(|inner| inner.faults.push((path.into(), fault)));
    }

    /// The same, of which nobody is woken.
    pub(crate) fn fail_silently(&self, path: &str, fault: Fault) {
        self.state.inner.lock().faults.push((path.into(), fault));
    }

    pub(crate) fn heal_silently(&self) {
        self.state.inner.lock().faults.clear();
    }

    pub(crate) fn heal(&self) {
        self.change(|inner| inner.faults.clear());
    }

    /// Requests so far, with their queries and tokens.
    pub(crate) fn requests(&self, part: &str) -> Vec<String> {
        self.state.inner.lock().requests.iter().filter(|line| line.contains(part)).cloned().collect()
    }

    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    /// A service as it is from now on, of which nobody is woken.
    pub(crate) fn put_silently(&self, name: &str, entries: Vec<Value>) {
        let mut inner = self.state.inner.lock();
        inner.index += 1;
        inner.services.insert(name.into(), entries);
    }

    /// A service that is in no list any more, of which nobody is woken.
    pub(crate) fn remove_silently(&self, name: &str) {
        self.state.inner.lock().services.remove(name);
    }

    /// Wakes the queries that wait for paths with this beginning.
    pub(crate) fn wake(&self, path: &str) {
        let _ = self.changed.send(Wake::Path(path.into()));
    }

    /// Ends the connections of all queries that wait, without a word.
    pub(crate) fn cut(&self) {
        let _ = self.changed.send(Wake::Cut);
    }

    /// Paths of the queries that wait.
    pub(crate) fn waiting(&self, path: &str) -> Vec<String> {
        self.state.inner.lock().waiting.iter().filter(|waiting| waiting.starts_with(path)).cloned().collect()
    }

    fn change(&self, how: impl FnOnce(&mut Inner)) {
        let mut inner = self.state.inner.lock();
        inner.index += 1;
        how(&mut inner);
        let _ = self.changed.send(Wake::All);
    }
}

async fn serve(mut stream: TcpStream, state: &State, changed: &broadcast::Sender<Wake>) {
    let mut head = Vec::new();
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let target = text.split(' ').nth(1).unwrap().to_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if stream.read_exact(&mut vec![0; length.unwrap_or(0)]).await.is_err() {
            return;
        }
        let token = text.lines().find_map(|line| line.strip_prefix("x-consul-token: "));
        let logged = target.clone() + &token.map_or(String::new(), |token| format!(" token {token}"));
        state.inner.lock().requests.push(logged);
        // A client that gives up closes the connection while we wait.
        let answer = tokio::select! {
            answer = answer(&target, state, changed) => answer,
            _ = stream.read_u8() => return,
        };
        let Some(answer) = answer else { return };
        if state.holds(&target) {
            let released = state.released.notified();
            state.holding.fetch_add(1, Ordering::SeqCst);
            released.await;
        }
        if stream.write_all(&answer).await.is_err() || !answer.ends_with(b"\n") {
            return;
        }
    }
}

async fn answer(target: &str, state: &State, changed: &broadcast::Sender<Wake>) -> Option<Vec<u8>> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let get = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let index: u64 = get("index").map_or(0, |index| index.parse().unwrap());
    let wait = get("wait").map_or(0, |wait| wait.strip_suffix("ms").unwrap().parse().unwrap());
    let mut wakes = changed.subscribe();
    let current = state.inner.lock().index;
    if index >= current && state.inner.lock().shown_index.is_none() {
        let _waiting = Waiting::new(state, path);
        let woken = async {
            loop {
                match wakes.recv().await {
                    Ok(Wake::Cut) => return true,
                    Ok(Wake::Path(start)) if !path.starts_with(start.as_str()) => {}
                    _ => return false,
                }
            }
        };
        if tokio::time::timeout(Duration::from_millis(wait), woken).await == Ok(true) {
            return None;
        }
    }
    let fault = state
        .inner
        .lock()
        .faults
        .iter()
        .find(|(start, _)| match start.strip_suffix('$') {
            Some(whole) => target.trim_end_matches('?') == whole,
            None => target.starts_with(start),
        })
        .map(|(_, fault)| *fault);
    if fault == Some(Fault::Silent) {
        std::future::pending::<()>().await;
    }
    let mut inner = state.inner.lock();
    let body = content::body(path, &inner).to_string() + "\n";
    let leader = inner.leader.map(|known| format!("X-Consul-KnownLeader: {known}\r\n")).unwrap_or_default();
    if !query.contains("stale") && inner.leader == Some(false) {
        return Some(b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nNo leader\n".to_vec());
    }
    inner.index = inner.index.max(1);
    let index = inner.shown_index.unwrap_or(inner.index);
    drop(inner);
    let ok = |body: &str, cut: usize| {
        let head =
            format!("HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\n{leader}Content-Length: {}\r\n\r\n", body.len());
        Some([head.as_bytes(), &body.as_bytes()[..body.len() - cut]].concat())
    };
    match fault {
        None => ok(&body, 0),
        Some(Fault::Status(status)) => {
            Some(format!("HTTP/1.1 {status} No\r\nContent-Length: 3\r\n\r\nno\n").into_bytes())
        }
        Some(Fault::Eof | Fault::Silent) => None,
        Some(Fault::Cut) => ok(&body, 2),
        Some(Fault::Nonsense) => ok("<html>\n", 0),
    }
}
