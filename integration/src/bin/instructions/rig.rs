//! One worker's whole path in one thread: a client, the gateway and an instance with pipes between them, no socket and no
//! clock that matters, so that the same requests cost the same instructions every time.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use integration::process::root;
use lictor::catalog::{Catalog, Endpoint, Health, Key, Service, ServiceName, Services, notice};
use lictor::config::identity::Keys;
use lictor::config::{self, Config, Environment, Overrides};
use lictor::filter::cache::Cache;
use lictor::io::{Client, Door, Io};
use lictor::plane::{Handoff, Pulse};
use lictor::proxy::{Composing, Proxy, Resources, Waiting};
use lictor::server::{self, Limits};
use lictor::snapshot::{Current, Inputs, Snapshot};
use lictor::telemetry::metrics::Recorder;
use lictor::token::{KeySet, KeySets};
use lictor::upstream::wire::Connector;
use lictor::worker::WorkerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, watch};

/// What the measuring sticks' load generator sends, before the field that says who it is.
const REQUEST: &str = "GET /api/user_service/users HTTP/1.1\r\nHost: 127.0.0.1:8101\r\n";

/// What nginx says before a file of 512 bytes, but for the date: an old answer would not be stored.
const HEAD: &str = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
    Content-Type: application/json\r\nContent-Length: 512\r\nLast-Modified: Tue, 24 Nov 2026 11:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"69243c10-200\"\r\nAccept-Ranges: bytes\r\n";

/// Sends so many requests through a gateway of this configuration, one after the other on one connection, all with the field `who`.
pub(crate) fn run(toml: &str, who: &str, requests: usize) -> Result<(), String> {
    let config = Arc::new(config(toml)?);
    let request = format!("{REQUEST}{who}\r\n\r\n").into_bytes();
    let runtime = tokio::runtime::LocalRuntime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let handler = Rc::new(Proxy::new(WorkerId(0), parts(&config, keys(&config)?), None));
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let served = server::serve(Io::Memory(server), peer(), limits(&config), handler, Pulse::new(1));
        tokio::task::spawn_local(served);
        ask(&mut client, &request, requests).await.map_err(|error| error.to_string())
    })
}

pub(crate) fn config(toml: &str) -> Result<Config, String> {
    let config = config::parse(Some(toml), "instructions", Overrides::default(), &Environment::default());
    config.map_err(|errors| errors.to_string())
}

async fn ask(client: &mut DuplexStream, request: &[u8], requests: usize) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    for _ in 0..requests {
        client.write_all(request).await?;
        let mut filled = 0;
        // The body is 512 times an x, and nothing else ends in so many.
        while !buffer[..filled].ends_with(&[b'x'; 16]) {
            match client.read(&mut buffer[filled..]).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        if !buffer.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(&buffer[..filled]).into_owned();
            return Err(std::io::Error::other(text));
        }
    }
    Ok(())
}

/// An instance that answers every head with the same bytes.
async fn instance(mut stream: DuplexStream) {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let answer = [HEAD, &format!("Date: {date}\r\n\r\n"), &"x".repeat(512)].concat().into_bytes();
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    while let Ok(count @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += count;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// A connection to a new instance.
pub(crate) fn connect() -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::task::spawn_local(instance(theirs));
    ours
}

fn peer() -> Client {
    let local = SocketAddr::from(([127, 0, 0, 1], 8101));
    Client::new(SocketAddr::from(([127, 0, 0, 1], 40_000)), local, Door::Public, &[].into())
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections: 1,
        head: Duration::from_secs(60),
        keep_alive: Duration::from_secs(60),
        write: config.policy.timeouts.idle,
        door: Door::Public,
        balancers: None,
        trusted: [].into(),
    }
}

pub(crate) fn parts(config: &Arc<Config>, keys: Arc<KeySets>) -> Resources {
    let inputs = Inputs { config: config.clone(), catalog: catalog(config), keys, now: tokio::time::Instant::now() };
    let snapshot = Snapshot::next(&inputs, &Snapshot::empty(config.clone())).snapshot;
    Resources {
        current: Current::new(snapshot),
        old: mpsc::channel(8).0,
        pulse: Pulse::new(1),
        handoff: Handoff::new().0,
        discovery: watch::channel(Arc::default()).1,
        notices: notice::channel().0,
        connector: Connector::Memory(Arc::new(|_| Ok(Io::Memory(connect())))),
        cache: Cache::new(&config.store, 1),
        waiting: Waiting::default(),
        composing: Arc::new(Composing::new(&config.aggregates, 1)),
        unrouted: Arc::new(Recorder::new(1)),
    }
}

/// The keys of issuers that lie in files, as the control plane would report them.
fn keys(config: &Config) -> Result<Arc<KeySets>, String> {
    let mut keys = KeySets::default();
    for issuer in &config.issuers {
        let Keys::File(path) = &issuer.keys else { continue };
        let json = std::fs::read(root().join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
        keys = keys.with(&issuer.name, Some((issuer.clone(), Arc::new(KeySet::parse(&json, issuer)?))));
    }
    Ok(Arc::new(keys))
}

/// The configuration's own services, as its provider reports them.
fn catalog(config: &Config) -> Arc<Catalog> {
    let none: Arc<str> = "".into();
    let service = |name: &ServiceName, addresses: &[SocketAddr]| {
        let endpoint = |&address: &SocketAddr| Endpoint {
            key: Key {
                datacenter: none.clone(),
                partition: none.clone(),
                namespace: none.clone(),
                peer: none.clone(),
                service: name.clone(),
                address,
            },
            registrations: Vec::new(),
            health: Health::Passing,
            weight: 1,
            suspect: None,
        };
        let endpoints = addresses.iter().map(endpoint).collect();
        Arc::new(Service { name: name.clone(), provider: "file", endpoints, unroutable: Vec::new() })
    };
    let mut services = Services::new();
    for given in &config.services {
        let addresses: Vec<_> = given.instances.iter().map(|instance| instance.address).collect();
        services.insert(given.name.clone(), service(&given.name, &addresses));
    }
    Arc::new(Catalog { services, hidden: Vec::new(), config_version: 0, complete: true })
}
