//! How many files this process may have open.

use crate::config::Config;

/// Raises this process's limit of open files to what the system allows, and warns when the connection limits may need more.
pub(super) fn raise_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // The optional listener is the default one's other loopback address: clients use one of the two, so they count once.
    let listeners = config.listeners.iter().filter(|listener| !listener.optional);
    let connections: usize = listeners.map(|listener| listener.max_connections).sum();
    // Each client connection may need one connection to an instance.
    let needed = 2 * connections as u64;
    if allowed < needed {
        tracing::warn!(
            "{allowed} open files are allowed, but [[listener]] max_connections may need {needed}: raise ulimit -n, or lower it"
        );
    }
}
