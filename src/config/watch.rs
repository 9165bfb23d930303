//! Reading the configuration again, when its file changes or the operator asks for it. All of it holds or nothing does: a
//! file with a mistake changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use super::check::{Errors, Overrides, exposure, parse};
use super::env::Environment;
use super::file::canonical::joined;
use super::fleet::Digest;
use super::{Admin, Config, Listener, RateLimits};
use crate::own_file::objection;
use crate::supervisor::caught;

/// How often the file is looked at. Its content is compared, not its time, so that a file that was swapped through a
/// symbolic link is noticed as well. It is read only when two looks in a row find the same content, because a file that
/// has just changed may still be being written.
const LOOK: Duration = Duration::from_millis(500);

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    /// The file; `None` for the defaults and the environment.
    path: Option<PathBuf>,
    overrides: Overrides,
    env: Environment,
    /// The content of the file when it was read last.
    text: Option<String>,
    /// The file can be read again. A pipe gives its content once.
    rereadable: bool,
    /// The file has held a valid configuration before.
    was_valid: bool,
    /// `[timeouts] idle` at the start. Listeners keep it as the deadline of clients that take no byte of an answer.
    idle_at_start: Option<Duration>,
    /// What the file said at the start: what waits for a restart is as it was then, however often the file was read since.
    digest_at_start: Option<Digest>,
}

/// How the configuration fares.
#[derive(Clone, Debug)]
pub struct Status {
    /// The file, or `environment`.
    pub source: String,
    /// When the configuration that holds was read.
    pub loaded: SystemTime,
    /// How often it was read again with success since the start.
    pub reloads: u64,
    /// How often that failed.
    pub failures: u64,
    /// Every mistake of the file as it is now, while these keep it from holding.
    pub errors: Vec<String>,
    /// Sections that were changed in the file and wait for a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Leaves out the environment, which holds secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// The file at `path`, else at `LICTOR_CONFIG`, else the defaults and the environment alone.
    pub fn new(path: Option<PathBuf>, overrides: Overrides, env: &Environment) -> Source {
        let path = path.or_else(|| env.get("LICTOR_CONFIG").map(PathBuf::from));
        Source {
            path,
            overrides,
            env: env.clone(),
            text: None,
            rereadable: false,
            was_valid: false,
            idle_at_start: None,
            digest_at_start: None,
        }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(&mut self) -> Result<Config, Errors> {
        let source = self.name();
        let Some(path) = &self.path else {
            return parse(None, &source, self.overrides, &self.env).map(with_objections);
        };
        let text = std::fs::read_to_string(path).map_err(|why| Errors::unreadable(&source, &why));
        self.rereadable = self.rereadable || std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        self.text = text.as_ref().ok().cloned();
        let text = text?;
        // A file that is suddenly empty was not written by the operator: a disk was full, or an editor has only begun.
        if self.was_valid && text.trim().is_empty() {
            return Err(Errors::unreadable(&source, &std::io::Error::other("it is empty")));
        }
        #[cfg(test)]
        crate::supervisor::panic_on_command(&text);
        let config = with_objections(parse(Some(&text), &source, self.overrides, &self.env)?);
        self.was_valid = true;
        self.idle_at_start.get_or_insert(config.policy.timeouts.idle);
        self.digest_at_start.get_or_insert(config.digest);
        Ok(config)
    }

    /// The file, or `environment`.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "environment".into(), |path| path.display().to_string())
    }

    /// The status of a configuration that was read just now.
    pub fn status(&self) -> Status {
        Status {
            source: self.name(),
            loaded: SystemTime::now(),
            reloads: 0,
            failures: 0,
            errors: Vec::new(),
            needs_restart: Vec::new(),
        }
    }

    /// The content of the file as it is now.
    fn look(&self) -> Option<String> {
        std::fs::read_to_string(self.path.as_ref()?).ok()
    }
}

/// Adds warnings of what the configuration names and this machine does not have as it should be.
fn with_objections(mut config: Config) -> Config {
    let saved = config.consul.as_ref().and_then(|consul| consul.saved.as_ref()).map(|saved| &saved.file);
    for (key, file) in [("[consul] snapshot", saved), ("[admin] revocations", config.admin.revocations.as_ref())] {
        let why = file.and_then(|file| objection(file));
        config.warnings.extend(why.map(|why| format!("{key}: {why}")));
    }
    // Redis is no reason not to start: its files are read whenever a connection is made.
    let files = config.redis.as_ref().map(|redis| redis.files()).unwrap_or_default();
    let unreadable = |(key, file): (String, &Path)| {
        let why = std::fs::File::open(file).err()?;
        Some(format!("{key}: {} cannot be read: {why}", file.display()))
    };
    let warnings: Vec<_> = files.into_iter().filter_map(unreadable).collect();
    config.warnings.extend(warnings);
    config
}

/// Follows the file for as long as the process lives, and reads it again at once when `reload` says so (SIGHUP). Without a
/// file there is nothing to follow.
pub async fn follow(
    source: &mut Source,
    reload: &Notify,
    config: &watch::Sender<Arc<Config>>,
    status: &watch::Sender<Status>,
) {
    let mut seen = source.text.clone();
    if source.path.is_some() && !source.rereadable {
        tracing::warn!("{} is no regular file: it is read at start only", source.name());
    }
    loop {
        let requested = tokio::select! {
            () = reload.notified() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        if !source.rereadable {
            if requested {
                tracing::info!("there is no configuration file: nothing to read again");
            }
            continue;
        }
        // The content is new, and no longer changes from one look to the next.
        let text = source.look();
        let complete = text == seen && text != source.text;
        seen = text;
        if requested || complete {
            load_again(source, config, status);
        }
    }
}

/// Reads the configuration and makes it hold, or says why not.
fn load_again(source: &mut Source, config: &watch::Sender<Arc<Config>>, status: &watch::Sender<Status>) {
    let old = config.borrow().clone();
    // A text that the reader panics on is a mistake like any other.
    let loaded = caught(|| load_beside(source, &old)).unwrap_or_else(|_| {
        let why = std::io::Error::other("the gateway has a fault that it meets here; the log says where");
        Err(Errors::unreadable(&source.name(), &why))
    });
    match loaded {
        Ok((mut new, needs_restart)) => {
            for warning in &new.warnings {
                tracing::warn!("{warning}");
            }
            if !needs_restart.is_empty() {
                let sections = needs_restart.join(", ");
                tracing::warn!("these changes wait for a restart: {sections}");
            }
            new.version = old.version + 1;
            config.send_replace(Arc::new(new));
            status.send_modify(|status| {
                (status.loaded, status.reloads) = (SystemTime::now(), status.reloads + 1);
                (status.errors, status.needs_restart) = (Vec::new(), needs_restart);
            });
            tracing::info!("configuration read again");
        }
        Err(errors) => {
            for line in errors.lines() {
                tracing::error!("{line}");
            }
            tracing::error!("the configuration stays as it is");
            status.send_modify(|status| {
                (status.errors, status.failures) = (errors.lines().collect(), status.failures + 1);
            });
        }
    }
}

/// Reads a configuration that is to follow `old`, and returns it with the names of what waits for a restart.
fn load_beside(source: &mut Source, old: &Config) -> Result<(Config, Vec<&'static str>), Errors> {
    let mut new = source.load()?;
    let of_hosts = differ_by_host(old, &new);
    let mut needs_restart = keep(old, &mut new);
    if source.idle_at_start.is_some_and(|idle| idle != new.policy.timeouts.idle) {
        needs_restart.push("[timeouts] idle, for clients that take no byte");
    }
    let start = source.digest_at_start.filter(|start| *start != new.digest);
    if let Some(start) = start.filter(|_| needs_restart.iter().any(|name| !of_hosts.contains(name))) {
        // What holds is neither what the file said at the start, nor all of what it says now.
        new.digest = joined(start, new.digest);
    }
    // Checked once more, with the listeners that are really open: those of the file wait for a restart.
    match exposure(&new) {
        exposed if exposed.is_empty() => Ok((new, needs_restart)),
        exposed => Err(Errors::of(&source.name(), exposed)),
    }
}

/// Puts what only a start can change back to what it was, and returns the names of what the file changes there.
///
/// Nothing is left out by `..`: a new section, or a new key outside of sections, does not compile until a line here says when it
/// holds. A new key in a section holds when its section does.
fn keep(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let Config {
        // Only a start can change these: threads, sockets, the stores and the providers exist since then.
        workers,
        listeners,
        consul,
        fleet,
        redis,
        pool,
        log,
        store,
        // A part of these holds at once: see below.
        admin,
        rate_limits,
        // These hold at once. `[timeouts] idle` also does, except for the listeners: see `load_beside`.
        services: _,
        consumers: _,
        issuers: _,
        public_url: _,
        plans: _,
        breaker: _,
        breakers: _,
        policy: _,
        routes: _,
        composes: _,
        aggregates: _,
        request: _,
        shutdown: _,
        // These are no keys of the file.
        version: _,
        warnings: _,
        generated_key: _,
        digest: _,
    } = old;
    // The address is bound, and what was revoked is read, at the start; whether public listeners have `/admin`, too, holds at once.
    let Admin { address, public: _, audience: _, revocations } = admin;
    // The memory is allocated at the start; whether answers carry the headers holds at once.
    let RateLimits { memory, headers: _ } = rate_limits;

    let mut changed = Vec::new();
    restore("workers", workers, &mut new.workers, &mut changed);
    restore("[[listener]]", listeners, &mut new.listeners, &mut changed);
    restore("[admin] address", address, &mut new.admin.address, &mut changed);
    restore("[admin] revocations", revocations, &mut new.admin.revocations, &mut changed);
    restore("[consul]", consul, &mut new.consul, &mut changed);
    restore("[fleet]", fleet, &mut new.fleet, &mut changed);
    restore("[redis]", redis, &mut new.redis, &mut changed);
    restore("[pool]", pool, &mut new.pool, &mut changed);
    restore("[log]", log, &mut new.log, &mut changed);
    restore("[cache] size and object", store, &mut new.store, &mut changed);
    restore("[rate_limits] memory", memory, &mut new.rate_limits.memory, &mut changed);
    changed
}

/// The names of what waits for a restart and differs at most in what concerns one host, which no digest holds.
fn differ_by_host(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut all = vec!["workers", "[admin] address", "[log]"];
    let beside = |config: &Config| config.fleet.clone().map(|fleet| super::fleet::Fleet { address: None, ..fleet });
    if beside(old) == beside(new) {
        all.push("[fleet]");
    }
    let same = |(old, new): (&Listener, &Listener)| Listener { address: new.address, ..old.clone() } == *new;
    if old.listeners.len() == new.listeners.len() && old.listeners.iter().zip(&new.listeners).all(same) {
        all.push("[[listener]]");
    }
    all
}

/// Puts a value back to the old one; its name joins the changed ones if that makes a difference.
fn restore<T: Clone + PartialEq>(name: &'static str, old: &T, new: &mut T, changed: &mut Vec<&'static str>) {
    if old != new {
        changed.push(name);
        new.clone_from(old);
    }
}

#[cfg(test)]
mod tests;
