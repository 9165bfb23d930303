//! The wiring: the only file that sees every room.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::admin;
use crate::config::watch::Source;
use crate::config::{self, Config, Environment, LogFormat, Overrides};
use crate::discovery;
use crate::filter::cache::Cache;
use crate::io::Door;
use crate::plane::{Handoff, Pulse, Wake};
use crate::proxy::{Parts, Proxy, Waiting};
use crate::server::{self, Limits, Server};
use crate::snapshot::{self, Current, Snapshot};
use crate::telemetry::Format;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Recorder;
use crate::upstream::wire::Connector;

/// Why the gateway does not start.
#[derive(Debug)]
pub enum Error {
    /// An address cannot be had.
    Bind(server::Error),
    /// What no waiting mends on the way to a provider.
    Discovery(discovery::Error),
    /// A thread, a runtime or a signal cannot be had.
    System(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind(error) => error.fmt(f),
            Error::Discovery(error) => error.fmt(f),
            Error::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::System(error)
    }
}

/// A gateway at work, on threads of its own.
#[derive(Debug)]
pub struct Running {
    /// The public addresses, port 0 resolved.
    pub addresses: Vec<SocketAddr>,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// Asks for the configuration to be read again.
    pub reload: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    control: Option<JoinHandle<()>>,
}

impl Running {
    /// Announces the end, drains, ends; returns when everything is over.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a gateway whose configuration nobody will change: see [`start_from`].
///
/// # Errors
/// What stands in the way, in words for the operator.
pub fn start(config: Config) -> Result<Running, Error> {
    start_from(config, Source::new(None, Overrides::default(), &Environment::default()))
}

/// Starts a gateway: binds first, so that a clash is known at once. The configuration came from `source`, and is read
/// there again when that changes.
///
/// # Errors
/// What stands in the way, in words for the operator.
pub fn start_from(config: Config, source: Source) -> Result<Running, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let bound = server::bind(wanted(&config)).map_err(Error::Bind)?;
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address).collect();
    let (&admin, public) = addresses.split_last().expect("the admin listener is always bound");
    let public = public.to_vec();
    for address in &public {
        tracing::info!("listening on http://{address}");
    }
    tracing::info!("admin on http://{admin}/admin/services");
    descriptors(&config);
    let pulse = Pulse::new(config.workers);
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = oneshot::channel();
    let reload = Arc::new(Notify::new());
    let started_with = Started { bound, own: addresses.clone(), pulse: pulse.clone(), source, reload: reload.clone() };
    let control = std::thread::Builder::new().name("lictor-control".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(Error::System(error)))),
        };
        runtime.block_on(control(config, started_with, ready, stopped));
    })?;
    started.blocking_recv().unwrap_or_else(|_| Err(Error::System(std::io::Error::other("the control plane died"))))?;
    Ok(Running { addresses: public, admin, pulse, reload, stop: Some(stop), control: Some(control) })
}

/// The listeners, the admin one last.
fn wanted(config: &Config) -> Vec<(SocketAddr, bool, &'static str, Limits)> {
    let write = config.policy.timeouts.idle;
    let mut wanted: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| {
            let limits = Limits {
                connections: listener.max_connections,
                head: listener.head,
                keep_alive: listener.keep_alive,
                write,
                door: Door::Public,
                trusted: listener.trusted_proxies.clone(),
            };
            (listener.address, listener.optional, "[[listener]] address", limits)
        })
        .collect();
    let first = wanted[0].3.clone();
    let limits = Limits { door: Door::Admin, connections: 1000, trusted: [].into(), ..first };
    wanted.push((config.admin.address, false, "[admin] address", limits));
    wanted
}

/// Raises the limit of open descriptors to what the system allows, and says when the connection limits are beyond it.
fn descriptors(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // The optional listener is the default one's other loopback address: the same clients come through either.
    let listeners = config.listeners.iter().filter(|listener| !listener.optional);
    let connections: usize = listeners.map(|listener| listener.max_connections).sum();
    // Each client connection may need one upstream.
    let needed = 2 * connections as u64;
    if allowed < needed {
        tracing::warn!(
            "{allowed} open files are allowed, but [[listener]] max_connections may need {needed}: raise ulimit -n, or lower it"
        );
    }
}

/// What the control plane begins with.
struct Started {
    bound: Vec<server::Bound>,
    own: Vec<SocketAddr>,
    pulse: Arc<Pulse>,
    source: Source,
    reload: Arc<Notify>,
}

/// The control plane, from start to end.
async fn control(
    config: Config,
    started: Started,
    ready: oneshot::Sender<Result<(), Error>>,
    stopped: oneshot::Receiver<()>,
) {
    let Started { bound, own, pulse, source, reload } = started;
    let config = Arc::new(config);
    let (tell, told) = watch::channel(config.clone());
    let (fares, status) = watch::channel(source.status());
    let discovery = match discovery::start(&told, &own) {
        Ok(discovery) => discovery,
        Err(error) => return drop(ready.send(Err(Error::Discovery(error)))),
    };
    let wake = Wake::new(config.workers);
    let current = Current::new(Snapshot::empty(config.clone()));
    let (handoff, errands) = Handoff::new();
    let cache = Cache::new(&config.store, config.workers);
    let unrouted = Arc::new(Recorder::new(config.workers));
    let access = match access(&config.log) {
        Ok(access) => access,
        Err(error) => return drop(ready.send(Err(Error::System(error)))),
    };
    let (old, graves) = mpsc::channel(256);
    let sources = admin::Sources {
        current: current.clone(),
        cache: cache.clone(),
        discovery: discovery.status.clone(),
        pulse: pulse.clone(),
        config: status,
        unrouted: unrouted.clone(),
        access: access.clone(),
    };
    let admin = tokio::spawn(admin::serve(sources, errands));
    let reader = tokio::spawn(config::watch::follow(source, reload, tell, fares));
    let writer = tokio::spawn(snapshot::write(current.clone(), told, discovery.catalog.clone(), wake.clone(), graves));
    let parts = Parts {
        current: current.clone(),
        old,
        pulse: pulse.clone(),
        handoff,
        discovery: discovery.status.clone(),
        connector: Connector::Tcp,
        cache: cache.clone(),
        waiting: Waiting::default(),
        unrouted,
    };
    let make = move |id| Proxy::new(id, parts.clone(), access.as_ref().map(AccessLog::writer));
    let server = match Server::start(bound, &pulse, &wake, make) {
        Ok(server) => server,
        Err(error) => return drop(ready.send(Err(Error::System(error)))),
    };
    let _ = ready.send(Ok(()));
    let _ = stopped.await;
    pulse.draining.store(true, Ordering::Relaxed);
    // The watches close first: their connections count against the successor's at the agent.
    discovery.stop();
    reader.abort();
    let config::Shutdown { announce, deadline } = current.load().config.shutdown.clone();
    tracing::info!("stopping: serving {announce:?} more while /ready says so, then draining");
    tokio::time::sleep(announce).await;
    if !server.drain(deadline).await {
        tracing::warn!("requests were still in flight at the end of [shutdown] deadline: cut");
    }
    writer.abort();
    admin.abort();
}

/// Where access lines go, if any are wanted.
fn access(log: &config::Log) -> std::io::Result<Option<AccessLog>> {
    if !log.access {
        return Ok(None);
    }
    AccessLog::start(format(log.format, &std::io::stdout()), std::io::stdout()).map(Some)
}

/// How lines look on a stream.
pub fn format(wanted: LogFormat, stream: &impl std::io::IsTerminal) -> Format {
    match wanted {
        LogFormat::Auto => Format::by_terminal(stream),
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    }
}

/// Who sends a signal to a process and then to its group, as `timeout` does and some supervisors, means one.
const ECHO: Duration = Duration::from_millis(250);

/// Runs a gateway until SIGTERM or Ctrl-C; a second one ends at once. SIGHUP reads the configuration again.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config, source: Source) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything else: a signal at the start has its meaning, too.
    let (mut term, mut int, mut hup) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let running = start_from(config, source)?;
    let ended: Result<(), Error> = runtime.block_on(async {
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = hup.recv() => running.reload.notify_one(),
            }
        }
        let first = tokio::time::Instant::now();
        let mut ended = tokio::task::spawn_blocking(move || running.stop());
        loop {
            tokio::select! {
                _ = &mut ended => break,
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if first.elapsed() > ECHO {
                tracing::warn!("a second signal: ending at once");
                break;
            }
        }
        Ok(())
    });
    // After a second signal the drain is still under way: nobody waits for it.
    runtime.shutdown_background();
    ended
}
