//! The saved catalog: what a start serves from while no agent answers. It is written while one does, and read once.

mod document;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::assemble::Rules;
use crate::catalog::Services;
use crate::{config, own_file};

pub(crate) use document::{Confirmed, Loaded, Scope, in_words};

/// How soon after a write the next one may follow, if something has changed.
const EVERY: Duration = Duration::from_secs(5);

/// How often it is written although nothing has changed: what an agent still confirms is not old.
const FRESH: Duration = Duration::from_secs(60);

/// How often it is asked whether there is something to write, before anything was written.
const FIRST: Duration = Duration::from_millis(200);

/// A write is followed by a pause of at least so many times what it took.
const SHARE: u32 = 20;

/// Reads the saved catalog. Exposure and trust are judged anew, by `rules`: of these, the agent's own node, addresses and ports are
/// replaced by those that the file tells, because no agent does. `None` where nothing was saved yet.
///
/// Where there are several agents, `rules` say that the agent is local if any of them is. It reads a file: not for an asynchronous task.
///
/// # Errors
/// Why it must not be used, as a sentence for the operator.
pub(crate) fn load(
    place: &config::SavedCatalog,
    scope: &Scope,
    rules: &Rules,
    now: SystemTime,
) -> Result<Option<Loaded>, String> {
    let read = || {
        let Some(body) = own_file::read(&place.file)? else { return Ok(None) };
        document::parse(&body, scope, rules, now, place.max_age).map(Some)
    };
    read().map_err(|why: String| format!("the saved catalog {} is not used: {why}", place.file.display()))
}

/// Writes the catalog to its file, so that it is there as a whole or as it was before.
///
/// # Errors
/// Why it cannot be written, as a sentence for the operator.
pub(crate) fn save(
    place: &config::SavedCatalog,
    scope: &Scope,
    confirmed: &Confirmed,
    now: SystemTime,
) -> Result<(), String> {
    own_file::write(&place.file, |out| Ok(document::render(out, confirmed, scope, now)?))
        .map_err(|why| format!("the catalog cannot be saved to {}: {why}", place.file.display()))
}

/// Whether the file's directory can be written to.
///
/// # Errors
/// Why it cannot, as a sentence for the operator.
pub(crate) fn try_place(place: &config::SavedCatalog) -> Result<(), String> {
    own_file::try_write(&place.file).map_err(|why| format!("{} cannot be written: {why}", place.file.display()))
}

/// Keeps the saved catalog up to date.
#[derive(Debug)]
pub(crate) struct Saver {
    place: config::SavedCatalog,
    scope: Scope,
    written: Arc<Mutex<Written>>,
}

/// What was written last.
#[derive(Debug, Default)]
struct Written {
    services: Services,
    at: Option<Instant>,
}

impl Saver {
    /// Nothing is written yet.
    pub(crate) fn new(place: &config::SavedCatalog, scope: Scope) -> Saver {
        Saver { place: place.clone(), scope, written: Arc::default() }
    }

    /// Writes what is confirmed, as it changes. Never ends; dropped, it writes a last time, so that a restart finds what was known at the
    /// end.
    ///
    /// `confirmed` says what the agent confirms now: `None` while it does not answer, before the first complete catalog, and while what is
    /// known was restored. While an endpoint is suspect nothing is written: what was good is not replaced by what is in doubt.
    ///
    /// `report` is told why the last write failed, or that it did not.
    pub(crate) async fn run(&self, confirmed: impl Fn() -> Option<Confirmed>, report: impl Fn(Option<String>)) {
        let _last = AtEnd { saver: self, confirmed: &confirmed };
        let (mut pause, mut failing) = (FIRST, None);
        loop {
            tokio::time::sleep(pause).await;
            let Some(now) = confirmed().filter(|now| self.is_due(now, FRESH)) else { continue };
            let (place, scope, written) = (self.place.clone(), self.scope.clone(), self.written.clone());
            let begin = Instant::now();
            let write = tokio::task::spawn_blocking(move || write(&place, &scope, &written, now));
            let failed =
                write.await.unwrap_or_else(|_| Err("writing the catalog failed; the log says why".into())).err();
            pause = EVERY.max(begin.elapsed() * SHARE);
            if failing != failed {
                match &failed {
                    Some(why) => tracing::warn!("{why}"),
                    None => tracing::info!("the catalog is saved again"),
                }
            }
            report(failed.clone());
            failing = failed;
        }
    }

    /// Whether a catalog is to be written: nothing in it is in doubt, and it is new or was last written some time ago.
    fn is_due(&self, confirmed: &Confirmed, fresh: Duration) -> bool {
        let written = self.written.lock();
        let due = written.at.is_none_or(|at| at.elapsed() >= fresh) || written.services != confirmed.services;
        due && confirmed.is_beyond_doubt()
    }
}

/// Writes a catalog, one at a time.
fn write(
    place: &config::SavedCatalog,
    scope: &Scope,
    written: &Mutex<Written>,
    confirmed: Confirmed,
) -> Result<(), String> {
    let mut written = written.lock();
    save(place, scope, &confirmed, SystemTime::now())?;
    *written = Written { services: confirmed.services, at: Some(Instant::now()) };
    Ok(())
}

/// Writes when it is dropped.
struct AtEnd<'a, F: Fn() -> Option<Confirmed>> {
    saver: &'a Saver,
    confirmed: &'a F,
}

impl<F: Fn() -> Option<Confirmed>> Drop for AtEnd<'_, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // A write that is still under way is waited for.
        let Saver { place, scope, written } = self.saver;
        let Some(now) = (self.confirmed)().filter(|now| self.saver.is_due(now, EVERY)) else { return };
        if let Err(why) = write(place, scope, written, now) {
            tracing::warn!("{why}");
        }
    }
}

#[cfg(test)]
mod tests;
