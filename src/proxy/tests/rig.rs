//! A worker's proxy with instances inside this process: no socket, and time stands still until somebody waits for it.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};

use crate::catalog::notice::{self, Heard, Notice};
use crate::catalog::{Catalog, Endpoint, Health, Key, Service, ServiceName, Services};
use crate::config::{self, Config};
use crate::filter::cache::Cache;
use crate::io::body::Body;
use crate::io::{Client, Door, Io};
use crate::plane::{Handler, Handoff, MaybeFuture, Pulse, Wake};
use crate::proxy::{Proxy, Resources, Sent, Waiting};
use crate::snapshot::{Current, Inputs, Snapshot, Writer};
use crate::supervisor::Supervisor;
use crate::telemetry::access::AccessWriter;
use crate::telemetry::metrics::Recorder;
use crate::upstream::instance::Instance;
use crate::upstream::wire::Connector;
use crate::worker::WorkerId;

/// How an instance behaves on its connections.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) enum Play {
    /// Each request is answered with these bytes, one after the other with a turn between them.
    Answer(&'static str),
    /// Requests are read and never answered.
    Hang,
    /// These bytes come, then nothing any more.
    Stop(&'static str),
    /// These bytes come, and nothing is read any more.
    Deaf(&'static str),
    /// The connection closes after these bytes.
    Break(&'static str),
    /// These bytes come, and the connection closes after so many seconds more, in which all that comes is read.
    GiveUp(&'static str, u64),
    /// The gateway has no descriptor for a connection.
    Shortage,
    /// As healthy servers are: a request is answered, an upload for which it must wait longer than 5 s is given up, and so is a client
    /// who takes nothing of a large answer (`x-large`) for so long. What a client says (`x-odd`) is reflected into a header.
    Healthy,
    /// After these bytes, one more every minute, for ever.
    Tick(&'static str),
    /// Nobody listens.
    Refuse,
    /// Nobody answers the connect.
    Silent,
}

pub(super) const OK: Play = Play::Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");

/// One instance: how it behaves, and what it saw.
#[derive(Debug)]
pub(super) struct Peer {
    play: Mutex<Play>,
    /// Connections now open.
    pub(super) open: AtomicUsize,
    /// Connections ever made.
    pub(super) made: AtomicUsize,
    /// Requests read to the end of their head.
    pub(super) requests: AtomicUsize,
}

impl Peer {
    pub(super) fn plays(&self, play: Play) {
        *self.play.lock() = play;
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    async fn serve(self: Arc<Peer>, mut stream: DuplexStream) {
        self.open.fetch_add(1, Ordering::Relaxed);
        // The error only ends it.
        let _ = self.talk(&mut stream).await;
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn talk(&self, stream: &mut DuplexStream) -> io::Result<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            if let Some((_, rest)) = head.split_once("content-length: ") {
                let length = rest.lines().next().and_then(|text| text.parse().ok()).expect("a length");
                tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await?;
            }
            // An upload is answered before it is read: the worst of what servers do.
            let upload = head.contains("transfer-encoding: chunked");
            let play = *self.play.lock();
            if let Play::Healthy = play {
                let patience = std::time::Duration::from_secs(5);
                let served = tokio::time::timeout(patience, healthy(stream, &head, upload)).await;
                match served {
                    Ok(Ok(())) => continue,
                    _ => return Ok(()),
                }
            }
            let (Play::Answer(bytes)
            | Play::Stop(bytes)
            | Play::Deaf(bytes)
            | Play::Break(bytes)
            | Play::GiveUp(bytes, _)
            | Play::Tick(bytes)) = play
            else {
                // Until the other end closes.
                tokio::io::copy(stream, &mut tokio::io::sink()).await?;
                return Ok(());
            };
            for byte in bytes.bytes() {
                stream.write_u8(byte).await?;
                tokio::task::yield_now().await;
            }
            match play {
                Play::Stop(_) => drop(tokio::io::copy(stream, &mut tokio::io::sink()).await?),
                Play::Deaf(_) => std::future::pending().await,
                Play::Break(_) => return Ok(()),
                Play::GiveUp(_, seconds) => {
                    let patience = std::time::Duration::from_secs(seconds);
                    let _ = tokio::time::timeout(patience, tokio::io::copy(stream, &mut tokio::io::sink())).await;
                    return Ok(());
                }
                Play::Tick(_) => loop {
                    // Paused time.
                    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
                    stream.write_u8(b'x').await?;
                },
                _ => {}
            }
            let mut last = Vec::new();
            while upload && !last.ends_with(b"0\r\n\r\n") {
                last.push(stream.read_u8().await?);
            }
        }
    }
}

/// Answers a request as a healthy server does.
async fn healthy(stream: &mut DuplexStream, head: &str, upload: bool) -> io::Result<()> {
    let mut last = Vec::new();
    while upload && !last.ends_with(b"0\r\n\r\n") {
        last.push(stream.read_u8().await?);
    }
    if head.contains("x-odd") {
        return stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /\x01\r\nContent-Length: 0\r\n\r\n").await;
    }
    let length = if head.contains("x-large") { 100_000 } else { 2 };
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
    stream.write_all(&vec![b'x'; length]).await
}

/// The proxy and all that stands around it.
pub(in crate::proxy) struct Rig {
    pub(in crate::proxy) proxy: Proxy,
    pub(super) peers: Vec<Arc<Peer>>,
    current: Current,
    client: Rc<Client>,
    heard: RefCell<Heard>,
}

impl Rig {
    /// `orders` with instances that play these roles, under a configuration.
    pub(in crate::proxy) fn new(plays: &[Play], more: &str) -> Rig {
        Rig::logging(plays, more, None)
    }

    /// The same, with a log of its requests.
    pub(super) fn logging(plays: &[Play], more: &str, access: Option<AccessWriter>) -> Rig {
        let config = Arc::new(read(more));
        let peer = |&play: &Play| {
            let (open, made, requests) = Default::default();
            Arc::new(Peer { play: Mutex::new(play), open, made, requests })
        };
        let peers: Vec<_> = plays.iter().map(peer).collect();
        let current = Current::new(snapshot(&config, peers.len()));
        let (_, discovery) = watch::channel(Arc::default());
        let (notices, heard) = notice::channel();
        let parts = Resources {
            current: current.clone(),
            old: mpsc::channel(8).0,
            pulse: Pulse::new(1),
            handoff: Handoff::new().0,
            discovery,
            notices,
            connector: connector(peers.clone()),
            cache: Cache::new(&config.store, 1),
            waiting: Waiting::default(),
            composing: Arc::new(crate::proxy::Composing::new(&config.aggregates, 1)),
            unrouted: Arc::new(Recorder::new(1)),
        };
        let address = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let client = Rc::new(Client::new(address, SocketAddr::from(([192, 0, 2, 9], 80)), Door::Public, &[].into()));
        Rig { proxy: Proxy::new(WorkerId(0), parts, access), peers, current, client, heard: RefCell::new(heard) }
    }

    /// A request under way.
    pub(super) fn begin(&self, method: &str, body: Body) -> impl Future<Output = Response<Body>> + 'static {
        self.begin_with(method, None, body)
    }

    /// A request with headers of its own under way.
    pub(super) fn begin_with(
        &self,
        method: &str,
        header: Option<(&'static str, &'static str)>,
        body: Body,
    ) -> impl Future<Output = Response<Body>> + 'static {
        let answer = self.call(method, header, body);
        async { answer.end().await.into() }
    }

    /// A request, as the worker's proxy takes it.
    pub(super) fn call(
        &self,
        method: &str,
        header: Option<(&'static str, &'static str)>,
        body: Body,
    ) -> MaybeFuture<Sent> {
        self.call_at("/api/orders/1", method, header, body)
    }

    /// The same, of another path.
    fn call_at(
        &self,
        path: &str,
        method: &str,
        header: Option<(&'static str, &'static str)>,
        body: Body,
    ) -> MaybeFuture<Sent> {
        let mut request = Request::builder().method(method).uri(path).header("host", "shop.example");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.header("x-api-key", "test").body(body).expect("a request");
        let (head, body) = request.into_parts();
        self.proxy.call(head, body, &self.client)
    }

    /// A request with its whole answer: status, body or why it broke.
    pub(super) async fn ask(&self, method: &str, body: Body) -> (u16, Result<Bytes, String>) {
        let (head, body) = self.begin(method, body).await.into_parts();
        let body = body.collect().await.map(|whole| whole.to_bytes()).map_err(|error| error.to_string());
        turn().await;
        (head.status.as_u16(), body)
    }

    pub(super) async fn get(&self) -> u16 {
        self.ask("GET", Body::Empty).await.0
    }

    /// Status and body of another path.
    pub(super) async fn page_at(&self, path: &str) -> (u16, String) {
        let response: Response<Body> = self.call_at(path, "GET", None, Body::Empty).end().await.into();
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a page").to_bytes();
        (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    pub(super) fn instance(&self, index: usize) -> Arc<Instance> {
        self.current.load().service("orders").expect("it is known").members[index].instance.clone()
    }

    /// Has the writer publish what follows from another catalog, in which the endpoints of `orders` are changed.
    pub(super) async fn rewrite(&self, change: impl FnOnce(&mut Vec<Endpoint>)) {
        let now = self.current.load();
        let mut catalog = (*now.catalog).clone();
        let mut service = (**catalog.services.get("orders").expect("it is known")).clone();
        change(&mut service.endpoints);
        catalog.services.insert(service.name.clone(), Arc::new(service));
        self.publish(now.config.clone(), catalog).await;
    }

    /// Has the writer publish what follows from another configuration.
    pub(super) async fn reload(&self, more: &str) {
        let now = self.current.load();
        let config = Config { version: now.config.version + 1, ..read(more) };
        let catalog = Catalog { config_version: config.version, ..(*now.catalog).clone() };
        self.publish(Arc::new(config), catalog).await;
    }

    async fn publish(&self, config: Arc<Config>, catalog: Catalog) {
        let (_config, configs) = watch::channel(config);
        let (_catalog, catalogs) = watch::channel(Arc::new(catalog));
        let (_retire, retired) = mpsc::channel(1);
        let (current, wake) = (self.current.clone(), Wake::new(1));
        let mut writer = Writer::new(
            current,
            (configs, catalogs, watch::channel(Arc::default()).1),
            wake,
            retired,
            Supervisor::default(),
        );
        tokio::select! {
            () = writer.run() => {}
            () = turn() => {}
        }
    }

    /// What discovery was told since it was asked last.
    pub(super) fn heard(&self) -> Vec<Notice> {
        std::iter::from_fn(|| self.heard.borrow_mut().notices.try_recv().ok()).collect()
    }

    /// Begins a period of discovery: the first request for each service is told again.
    pub(super) fn begin_period(&self) {
        self.heard.borrow().begin();
    }

    /// What lies idle in the pools.
    pub(super) fn idle(&self) -> usize {
        (0..self.peers.len()).map(|member| self.proxy.0.upstreams.idle("orders", member)).sum()
    }
}

/// Lets every task do what it can now.
pub(super) async fn turn() {
    for _ in 0..256 {
        tokio::task::yield_now().await;
    }
}

/// Runs a test in one thread, with time that stands still.
pub(in crate::proxy) fn paused(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime").block_on(test);
}

fn connector(peers: Vec<Arc<Peer>>) -> Connector {
    Connector::Memory(Arc::new(move |address| {
        let peer = &peers[usize::from(address.port()) - 1];
        match *peer.play.lock() {
            Play::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
            Play::Silent => return Err(io::ErrorKind::WouldBlock.into()),
            Play::Shortage => return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())),
            _ => {}
        }
        peer.made.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64);
        tokio::task::spawn_local(peer.clone().serve(theirs));
        Ok(Io::Memory(ours))
    }))
}

/// A configuration with a consumer whose key requests have.
pub(in crate::proxy) fn read(more: &str) -> Config {
    let digest: String = config::digest("test").iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("workers = 1\n[[consumer]]\nname = \"tests\"\nkeys = [\"sha256:{digest}\"]\n{more}");
    let config = config::parse(Some(&text), "test", config::Overrides::default(), &config::Environment::default());
    config.unwrap_or_else(|error| panic!("{error}"))
}

fn snapshot(config: &Arc<Config>, instances: usize) -> Snapshot {
    let name = ServiceName::new("orders").expect("a name");
    let none: Arc<str> = "".into();
    let endpoint = |port: usize| Endpoint {
        key: Key {
            datacenter: none.clone(),
            partition: none.clone(),
            namespace: none.clone(),
            peer: none.clone(),
            service: name.clone(),
            address: ([10, 0, 0, 1], port as u16).into(),
        },
        registrations: Vec::new(),
        health: Health::Passing,
        weight: 1,
        suspect: None,
    };
    let endpoints = (1..=instances).map(endpoint).collect();
    let service = Service { name: name.clone(), provider: "file", endpoints, unroutable: Vec::new() };
    let services = Services::unit(name, Arc::new(service));
    let catalog = Arc::new(Catalog { services, hidden: Vec::new(), config_version: 0, complete: true });
    let inputs = Inputs { config: config.clone(), catalog, keys: Arc::default(), now: tokio::time::Instant::now() };
    Snapshot::next(&inputs, &Snapshot::empty(config.clone())).snapshot
}
