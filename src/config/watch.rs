//! Reading the configuration again: when its file changes or the operator says so. All of it or nothing: a file with a
//! mistake changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use super::check::exposure;
use super::{Config, Environment, Errors, Overrides, parse};

/// How often the file is looked at. Its content is compared, so that files swapped by a symbolic link are seen as well;
/// and only what two looks in a row agree on is read, so that a file being written is not.
const LOOK: Duration = Duration::from_millis(500);

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    /// The file; `None` for the defaults and the environment.
    path: Option<PathBuf>,
    overrides: Overrides,
    env: Environment,
    /// What stood in the file when it was read last.
    read: Option<String>,
    /// It can be read again: a pipe gives its content once.
    again: bool,
    /// It was understood before.
    understood: bool,
    /// The deadline of clients that read nothing, as the listeners have it since the start.
    idle: Option<Duration>,
}

/// How the configuration fares.
#[derive(Clone, Debug)]
pub struct Status {
    /// The file, or `environment`.
    pub source: String,
    /// When what holds was read.
    pub loaded: SystemTime,
    /// How often it was read again since the start, with success.
    pub reloads: u64,
    /// How often that failed.
    pub failures: u64,
    /// Why what the file says now does not hold: every mistake.
    pub errors: Vec<String>,
    /// Sections that differ in the file and wait for a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Without the environment: it holds secrets.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// `path`, else `LICTOR_CONFIG`, else the defaults and the environment alone.
    pub fn new(path: Option<PathBuf>, overrides: Overrides, env: &Environment) -> Source {
        let path = path.or_else(|| env.get("LICTOR_CONFIG").map(PathBuf::from));
        Source { path, overrides, env: env.clone(), read: None, again: false, understood: false, idle: None }
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(&mut self) -> Result<Config, Errors> {
        let source = self.name();
        let Some(path) = &self.path else { return parse(None, &source, self.overrides, &self.env) };
        let text = std::fs::read_to_string(path).map_err(|why| Errors::unreadable(&source, &why));
        self.again = self.again || std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        self.read = text.as_ref().ok().cloned();
        let text = text?;
        // A disk that is full, an editor that truncates: nobody who runs a gateway means nothing at all.
        if self.understood && text.trim().is_empty() {
            return Err(Errors::unreadable(&source, &std::io::Error::other("it is empty")));
        }
        let config = parse(Some(&text), &source, self.overrides, &self.env)?;
        self.understood = true;
        self.idle.get_or_insert(config.policy.timeouts.idle);
        Ok(config)
    }

    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "environment".into(), |path| path.display().to_string())
    }

    /// How it fares, freshly read.
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

    fn text(&self) -> Option<String> {
        std::fs::read_to_string(self.path.as_ref()?).ok()
    }
}

/// Follows the file for as long as the process lives; `asked` is the operator's word (SIGHUP). Without a file there is
/// nothing to follow.
pub async fn follow(
    mut source: Source,
    asked: Arc<Notify>,
    config: watch::Sender<Arc<Config>>,
    status: watch::Sender<Status>,
) {
    let mut seen = source.read.clone();
    if source.path.is_some() && !source.again {
        tracing::warn!("{} is no regular file: it is read at start only", source.name());
    }
    loop {
        let word = tokio::select! {
            () = asked.notified() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        if !source.again {
            if word {
                tracing::info!("there is no configuration file: nothing to read again");
            }
            continue;
        }
        let text = source.text();
        let settled = text == seen;
        let ripe = settled && text != source.read;
        seen = text;
        if !word && !ripe {
            continue;
        }
        reload(&mut source, &config, &status);
    }
}

fn reload(source: &mut Source, config: &watch::Sender<Arc<Config>>, status: &watch::Sender<Status>) {
    let read = source.load().and_then(|mut new| {
        let mut needs_restart = keep(&config.borrow(), &mut new);
        if source.idle.is_some_and(|idle| idle != new.policy.timeouts.idle) {
            needs_restart.push("[timeouts] idle, for clients that take no byte");
        }
        // What the file says of its listeners does not hold yet: doors are judged as they are.
        match exposure(&new) {
            exposed if exposed.is_empty() => Ok((new, needs_restart)),
            exposed => Err(Errors::of(&source.name(), exposed)),
        }
    });
    match read {
        Ok((mut new, needs_restart)) => {
            for warning in &new.warnings {
                tracing::warn!("{warning}");
            }
            if !needs_restart.is_empty() {
                let sections = needs_restart.join(", ");
                tracing::warn!("these changes wait for a restart: {sections}");
            }
            new.version = config.borrow().version + 1;
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

/// What only a start can change stays as it is; the names of what differs.
fn keep(old: &Config, new: &mut Config) -> Vec<&'static str> {
    fn one<T: Clone + PartialEq>(name: &'static str, old: &T, new: &mut T, differs: &mut Vec<&'static str>) {
        if old != new {
            differs.push(name);
            new.clone_from(old);
        }
    }
    let mut differs = Vec::new();
    one("workers", &old.workers, &mut new.workers, &mut differs);
    one("[[listener]]", &old.listeners, &mut new.listeners, &mut differs);
    one("[admin] address", &old.admin.address, &mut new.admin.address, &mut differs);
    one("[consul]", &old.consul, &mut new.consul, &mut differs);
    one("[pool]", &old.pool, &mut new.pool, &mut differs);
    one("[log]", &old.log, &mut new.log, &mut differs);
    one("[cache] size and object", &old.store, &mut new.store, &mut differs);
    one("[rate_limits] memory", &old.rate_limits.memory, &mut new.rate_limits.memory, &mut differs);
    differs
}

#[cfg(test)]
mod tests;
