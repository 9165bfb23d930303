//! A fake agent that does what it is told: nothing but bytes on a socket.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Answer {
        status: u16,
        index: u64,
        body: String,
    },
    /// Closes the connection instead.
    Hangup,
    /// Holds the query, as a watch without news.
    Hold,
}

impl Reply {
    pub(super) fn ok(index: u64, body: &str) -> Reply {
        Reply::Answer { status: 200, index, body: body.to_owned() }
    }

    pub(super) fn status(status: u16, body: &str) -> Reply {
        Reply::Answer { status, index: 0, body: body.to_owned() }
    }
}

type Script = dyn Fn(&str, usize) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    asked: Mutex<Vec<String>>,
    trouble: Mutex<Option<Reply>>,
    sick: Mutex<HashSet<String>>,
    open: AtomicUsize,
    most: AtomicUsize,
    /// Moves when trouble begins or ends: held queries are answered then.
    turn: tokio::sync::watch::Sender<u64>,
}

pub(super) struct Fake {
    pub(super) address: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// Answers by a script of path and number of the request.
    pub(super) async fn start(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            script: Box::new(script),
            asked: Mutex::default(),
            trouble: Mutex::default(),
            sick: Mutex::default(),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            turn: tokio::sync::watch::channel(0).0,
        });
        let (theirs, accepted) = (shared.clone(), listener);
        let task = tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = accepted.accept().await {
                    tokio::spawn(serve(stream, theirs.clone()));
                }
            }
        });
        Fake { address, shared, task }
    }

    /// A catalog of services with one instance each; queries with an index are held.
    pub(super) async fn shop(names: &[&str]) -> Fake {
        let all: Vec<_> = names.iter().map(|name| format!("\"{name}\":[\"gateway\"]")).collect();
        let all = format!("{{{}}}", all.join(","));
        Fake::start(move |path, _| {
            if path.contains("index=") {
                return Reply::Hold;
            }
            match path.split('?').next().and_then(|path| path.strip_prefix("/v1/health/service/")) {
                Some(name) => Reply::ok(5, &entry(name)),
                None if path.starts_with("/v1/agent/self") => Reply::ok(0, "{\"Config\":{\"NodeName\":\"n\"}}"),
                None => Reply::ok(5, &all),
            }
        })
        .await
    }

    /// From now on every request ends like this.
    pub(super) fn trouble(&self, reply: Option<Reply>) {
        *self.shared.trouble.lock() = reply;
        self.shared.turn.send_modify(|turn| *turn += 1);
    }

    /// Queries about this service fail.
    pub(super) fn sicken(&self, name: &str) {
        self.shared.sick.lock().insert(name.to_owned());
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().clone()
    }

    pub(super) fn most_connections(&self) -> usize {
        self.shared.most.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn entry(name: &str) -> String {
    format!(
        "[{{\"Node\":{{\"Node\":\"n\",\"Address\":\"10.0.0.1\",\"Datacenter\":\"dc1\"}},\
          \"Service\":{{\"ID\":\"{name}-1\",\"Service\":\"{name}\",\"Tags\":[\"gateway\"],\"Port\":80}},\"Checks\":null}}]"
    )
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most.fetch_max(open, Ordering::Relaxed);
    while let Some(path) = request(&mut stream).await {
        let number = {
            let mut asked = shared.asked.lock();
            asked.push(path.clone());
            asked.len() - 1
        };
        match reply(&shared, &path, number, &mut stream).await {
            Some(Reply::Answer { status, index, body }) => {
                let head =
                    format!("HTTP/1.1 {status} X\r\nX-Consul-Index: {index}\r\nContent-Length: {}\r\n\r\n", body.len());
                if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

async fn reply(shared: &Shared, path: &str, number: usize, stream: &mut TcpStream) -> Option<Reply> {
    let trouble = || shared.trouble.lock().clone();
    if let Some(reply) = trouble() {
        return Some(reply);
    }
    let sick = shared.sick.lock().iter().any(|name| path.starts_with(&format!("/v1/health/service/{name}?")));
    if sick {
        return Some(Reply::status(500, "rpc error"));
    }
    match (shared.script)(path, number) {
        Reply::Hold => {
            let mut turn = shared.turn.subscribe();
            let mut byte = [0];
            tokio::select! {
                _ = turn.changed() => trouble().or(Some(Reply::Hangup)),
                // The client gave up.
                _ = stream.peek(&mut byte) => None,
                () = tokio::time::sleep(Duration::from_secs(60)) => None,
            }
        }
        reply => Some(reply),
    }
}

/// The path of the next request; they have no bodies.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()?.split(' ').nth(1).map(str::to_owned)
}
