//! Puts the rooms together and runs them: the only file that sees every room.

mod descriptors;
mod end;
mod listeners;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::admin;
use crate::catalog::notice;
use crate::config::watch::Source;
use crate::config::{self, Config, Environment, LogFormat, Overrides};
use crate::discovery::{self, Discovery};
use crate::filter;
use crate::filter::cache::Cache;
use crate::fleet::Fleet;
use crate::issuers;
use crate::pages;
use crate::plane::{Handoff, Pulse, Wake};
use crate::proxy::{Composing, Proxy, Resources, Waiting};
use crate::server::{self, Server};
use crate::shared;
use crate::snapshot::{self, Current, Snapshot};
use crate::supervisor::Supervisor;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Recorder;
use crate::telemetry::output::Descriptor;
use crate::telemetry::{Format, LAST_LINES};
use crate::token::revoked::Revocations;
use crate::upstream::wire::Connector;

/// How many connections the admin listener may have open at once.
const ADMIN_CONNECTIONS: usize = 1000;

/// How many old snapshots may wait for the control plane to drop them.
const RETIRED: usize = 256;

/// Why the gateway does not start.
#[derive(Debug)]
pub enum Error {
    /// An address to listen on cannot be taken.
    Bind(server::Error),
    /// The way to a provider of services is configured wrongly.
    Discovery(discovery::Error),
    /// What was revoked cannot be read, as a sentence for the operator.
    Revocations(String),
    /// The system refuses a thread, a runtime or a signal handler.
    System(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind(error) => error.fmt(f),
            Error::Discovery(error) => error.fmt(f),
            Error::Revocations(why) => f.write_str(why),
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

/// A running gateway, on threads of its own.
#[derive(Debug)]
pub struct Running {
    /// Where the public listeners really listen: never on port 0.
    pub addresses: Vec<SocketAddr>,
    /// Where the admin listener really listens.
    pub admin: SocketAddr,
    /// The workers' signs of life.
    pub pulse: Arc<Pulse>,
    /// When notified, the configuration is read again.
    pub reload: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    control: Option<JoinHandle<()>>,
}

impl Running {
    /// Announces the end, drains, and returns when every thread has ended.
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

/// Starts a gateway whose configuration does not come from a file that may change: see [`start_from`].
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub fn start(config: Config) -> Result<Running, Error> {
    start_from(config, Source::new(None, Overrides::default(), &Environment::default()))
}

/// Starts a gateway. `config` was read from `source`, and is read from there again when that changes.
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub fn start_from(config: Config, source: Source) -> Result<Running, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Nobody is let in before it is known which tokens hold no longer.
    let revoked = issuers::revocations::load(&config, SystemTime::now()).map_err(Error::Revocations)?;
    // The addresses come early, so that one that is taken already is reported at once.
    let bound = server::bind(listeners::addresses(&config)).map_err(Error::Bind)?;
    let addresses: Vec<_> = bound.iter().map(|bound| bound.address).collect();
    let (&admin, public) = addresses.split_last().expect("the admin listener is always bound");
    let public = public.to_vec();
    for address in &public {
        tracing::info!("listening on http://{address}");
    }
    tracing::info!("admin on http://{admin}/admin/services");
    descriptors::raise_limit(&config);

    // The control plane has a thread of its own. It says when everything runs, or why it cannot.
    let pulse = Pulse::new(config.workers);
    let (stop, stopped) = oneshot::channel();
    let (ready, started) = oneshot::channel();
    let reload = Arc::new(Notify::new());
    let access = access(&config.log)?;
    let inputs =
        Inputs { bound, own: addresses, pulse: pulse.clone(), source, reload: reload.clone(), access, revoked };
    let control = std::thread::Builder::new().name("lictor-control".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(Error::System(error)))),
        };
        runtime.block_on(control(config, inputs, ready, stopped));
    })?;
    started.blocking_recv().unwrap_or_else(|_| Err(Error::System(std::io::Error::other("the control plane died"))))?;
    Ok(Running { addresses: public, admin, pulse, reload, stop: Some(stop), control: Some(control) })
}

/// What the control plane starts from, besides the configuration.
struct Inputs {
    bound: Vec<server::Bound>,
    /// Where this gateway itself listens: a service with such an address would be a loop.
    own: Vec<SocketAddr>,
    pulse: Arc<Pulse>,
    source: Source,
    reload: Arc<Notify>,
    /// Where access lines go, if any are wanted.
    access: Option<AccessLog>,
    /// The tokens that were revoked before this start.
    revoked: Revocations,
}

/// The control plane, from start to end.
async fn control(
    config: Config,
    inputs: Inputs,
    ready: oneshot::Sender<Result<(), Error>>,
    stopped: oneshot::Receiver<()>,
) {
    let Inputs { bound, own, pulse, source, reload, access, revoked } = inputs;
    let config = Arc::new(config);
    let (publish, configs) = watch::channel(config.clone());
    let ((report, config_status), (notices, heard)) = (watch::channel(source.status()), notice::channel());
    let (discovery, fleet) = match discover(&configs, &own, heard, &pulse.control) {
        Ok(found) => found,
        Err(error) => return drop(ready.send(Err(Error::Discovery(error)))),
    };

    let issuers = issuers::start(&configs, revoked, &pulse.control);
    let redis = shared::start(config.redis.as_ref(), config.workers, &pulse.control);

    // What the two planes share.
    let wake = Wake::new(config.workers);
    let shared = Arc::new(filter::Shared::new(Some(issuers.asker.clone()), issuers.counts.clone()));
    let current = Current::new(Snapshot::asking(config.clone(), issuers.keys.borrow().clone(), &shared));
    let (cache, unrouted) = (Cache::new(&config.store, config.workers), Arc::new(Recorder::new(config.workers)));
    let composing = Arc::new(Composing::new(&config.aggregates, config.workers));
    let ((handoff, errands), (retire, retired)) = (Handoff::new(), mpsc::channel(RETIRED));

    // The control plane's tasks: admin pages, reading the configuration again, writing snapshots.
    let sources = admin::Sources {
        current: current.clone(),
        cache: cache.clone(),
        discovery: discovery.status.clone(),
        notices: notices.clone(),
        issuers: issuers.clone(),
        fleet: fleet.clone(),
        shared: redis.clone(),
        pulse: pulse.clone(),
        config: config_status,
        unrouted: unrouted.clone(),
        room: composing.gauge(),
        access: access.clone(),
    };
    let keep = &pulse.control;
    let admin =
        keep.spawn(admin::TASK, (sources, errands), |(sources, errands)| Box::pin(admin::serve(sources, errands)));
    let reader = keep.spawn("config", (source, reload, publish, report), |(source, reload, publish, report)| {
        Box::pin(config::watch::follow(source, reload, publish, report))
    });
    let inputs = (configs, discovery.catalog.clone(), issuers.keys.clone());
    let writer = snapshot::Writer::new(current.clone(), inputs, wake.clone(), retired, keep.clone());
    let writer = keep.spawn(snapshot::WRITER, writer, |writer| Box::pin(writer.run()));

    // The workers, each with a proxy of its own.
    let parts = Resources {
        current: current.clone(),
        old: retire,
        pulse: pulse.clone(),
        handoff,
        discovery: discovery.status.clone(),
        notices,
        connector: Connector::Tcp,
        cache: cache.clone(),
        waiting: Waiting::default(),
        composing,
        unrouted,
    };
    let lines = access.clone();
    let make = move |id| Proxy::new(id, parts.clone(), lines.as_ref().map(AccessLog::writer));
    let server = match Server::start(bound, &pulse, &wake, make) {
        Ok(server) => server,
        Err(error) => return drop(ready.send(Err(Error::System(error)))),
    };
    let _ = ready.send(Ok(()));
    let _ = stopped.await;

    // The end: announce it, then let requests in flight end.
    pulse.draining.store(true, Ordering::Relaxed);
    // Connections to the Consul agent close first: it limits them by address, and a successor here needs its own.
    discovery.stop();
    issuers.stop();
    redis.stop();
    reader.abort();
    end::drain(server, fleet, current.load().config.shutdown.clone()).await;
    [writer, admin].iter().for_each(AbortHandle::abort);
    // The workers have handed over their last lines.
    access.iter().for_each(|access| access.flush(LAST_LINES));
}

/// Discovery, and the fleet where this gateway is one of it.
fn discover(
    configs: &watch::Receiver<Arc<Config>>,
    own: &[SocketAddr],
    heard: notice::Heard,
    supervisor: &Supervisor,
) -> Result<(Discovery, Option<Fleet>), discovery::Error> {
    Ok((discovery::start(configs, own, heard, supervisor)?, discovery::join_the_fleet(configs, own, supervisor)?))
}

/// Where access lines go; `None` where the configuration wants none.
fn access(log: &config::Log) -> std::io::Result<Option<AccessLog>> {
    if !log.access {
        return Ok(None);
    }
    AccessLog::start(format(log.format, &std::io::stdout()), Descriptor(std::io::stdout())).map(Some)
}

/// Finds out whether what a configuration says of Consul works, and what would be served. `source` is what the configuration is called.
///
/// # Errors
/// The system refuses a runtime.
pub fn examine(config: &Config, source: &str) -> Result<pages::doctor::Page, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(discovery::consul::doctor::examine(config, source)))
}

/// What a gateway of a configuration says of a token, and why.
///
/// # Errors
/// The system refuses a runtime.
pub fn explain(config: &Config, token: &[u8]) -> Result<issuers::explain::Explanation, Error> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_keep, configs) = watch::channel(Arc::new(config.clone()));
    Ok(runtime.block_on(async {
        let followed = issuers::start(&configs, Revocations::default(), &Default::default());
        issuers::explain::explain(config, &followed, token).await
    }))
}

/// How log lines look on a stream.
pub fn format(wanted: LogFormat, stream: &impl std::io::IsTerminal) -> Format {
    match wanted {
        LogFormat::Auto => Format::by_terminal(stream),
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    }
}

/// Signals that follow each other within this time count as one: `timeout`, and some supervisors, signal a process and then its
/// group, which the process is part of.
const ECHO: Duration = Duration::from_millis(250);

/// Runs a gateway until SIGTERM or Ctrl-C; a second one ends at once. SIGHUP reads the configuration again, SIGUSR1 and
/// SIGUSR2 do nothing.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config, source: Source) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Signals are caught before anything else is done, so that one that comes during the start is not lost.
    let (mut term, mut int, mut hup) = {
        let _entered = runtime.enter();
        // Many programs give these a meaning; of one that has none for them, the system would end the process.
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            drop(signal(ignored)?);
        }
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
    // After a second signal the drain is still under way, and is not waited for.
    runtime.shutdown_background();
    ended
}
