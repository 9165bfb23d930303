//! What operators revoke: the task that keeps it, and its file, from which the next start reads it.

mod document;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::config::Config;
use crate::own_file;
use crate::token::KeySets;
use crate::token::asking::{Effect, Revoke, Unrevoked};
use crate::token::revoked::{MOST, Revocation, Revocations};

/// What the supervisor calls this task.
pub(crate) const TASK: &str = "revocations";

/// How many revocations are written at once.
const AT_ONCE: usize = 64;

/// What was revoked before this start and still holds: nothing where the configuration names no file. Where there is none yet, an empty one
/// is written. Issuers that the configuration does not have stay, because it may have them again. Not for an asynchronous task.
///
/// # Errors
/// Why the gateway must not start, as a sentence for the operator: to forget revocations would let revoked tokens in.
pub fn load(config: &Config, now: SystemTime) -> Result<Revocations, String> {
    let Some(file) = &config.admin.revocations else { return Ok(Revocations::default()) };
    let read = || match own_file::read(file)? {
        Some(body) => document::parse(&body, now),
        None if !own_file::directory(file).is_dir() => Err("its directory is not there".to_owned()),
        None => Ok(begin(file)),
    };
    let revoked = read().map_err(|why| {
        let advice = "repair it, or move it away to start without what was revoked";
        format!("[admin] revocations: {} cannot be used: {why}; {advice}", file.display())
    })?;
    if !revoked.is_empty() {
        tracing::info!("{} revocations of tokens hold since before this start", revoked.len());
    }
    Ok(revoked)
}

/// Begins a file, and says so. That of another start may lie on a disk that is not mounted, whose mount point is a directory all the same:
/// because each gateway writes its file at its first start, no later start may miss it in silence.
fn begin(file: &Path) -> Revocations {
    let (nothing, named) = (Revocations::default(), format!("[admin] revocations: {}", file.display()));
    match write(file, &nothing) {
        Ok(()) => tracing::warn!("{named} was not there: nothing is revoked, and an empty one is written"),
        Err(why) => tracing::warn!("{named} is not there: nothing is revoked, and nothing can be: {why}"),
    }
    nothing
}

/// Keeps what was revoked. It outlives a panic.
pub(crate) struct Keeper {
    asked: mpsc::Receiver<Revoke>,
    /// Where it is published, with the keys. Nobody else changes it there.
    published: watch::Sender<Arc<KeySets>>,
    file: Option<PathBuf>,
}

impl Keeper {
    pub(crate) fn new(
        asked: mpsc::Receiver<Revoke>,
        published: watch::Sender<Arc<KeySets>>,
        file: Option<PathBuf>,
    ) -> Keeper {
        Keeper { asked, published, file }
    }

    /// Whether what it keeps is in a file from which the next start reads it.
    pub(crate) fn survives_restart(&self) -> bool {
        self.file.is_some()
    }

    /// Keeps for as long as the returned future lives.
    pub(crate) async fn run(&mut self) {
        let mut asked = Vec::new();
        loop {
            self.forget(SystemTime::now());
            let until = self.next_end();
            tokio::select! {
                1.. = self.asked.recv_many(&mut asked, AT_ONCE) => self.revoke(asked.drain(..)).await,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Revokes all that is asked for, or says why not. First it is in the file, then it holds, then the operators hear of it.
    async fn revoke(&self, asked: impl Iterator<Item = Revoke>) {
        let (known, mut accepted) = (self.known().await, Vec::new());
        // Whoever has given up was told that nothing is known.
        let asked = asked.filter(|asked| !asked.reply.is_closed());
        let mut table = match known {
            Ok(known) => known,
            Err(why) => return asked.for_each(|asked| drop(asked.reply.send(Err(Unrevoked::Unwritten(why.clone()))))),
        };
        for Revoke { what, reply } in asked {
            match table.with(what.clone()) {
                Some(next) => {
                    let held = next.of(&what.issuer, &what.which);
                    accepted.push((held.map_or(what.until, |held| held.until), reply));
                    table = next;
                }
                None => drop(reply.send(Err(Unrevoked::Full))),
            }
        }
        if accepted.is_empty() {
            return;
        }
        let written = self.write(&table).await;
        if written.is_ok() {
            self.published.send_modify(|keys| *keys = Arc::new(keys.revoking(table.clone())));
        }
        let (count, survives_restart) = (table.len(), self.survives_restart());
        for (until, reply) in accepted {
            let effect = Effect { until, count, survives_restart };
            let _ = reply.send(written.clone().map(|()| effect).map_err(Unrevoked::Unwritten));
        }
    }

    /// What holds here and what is in the file, if there is one.
    async fn known(&self) -> Result<Revocations, String> {
        let ours = self.published.borrow().revoked().clone();
        let Some(file) = self.file.clone() else { return Ok(ours) };
        on_disk(move || join(&file, ours)).await
    }

    /// Writes what is to hold to the file, if there is one.
    async fn write(&self, table: &Revocations) -> Result<(), String> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let table = table.clone();
        on_disk(move || write(&file, &table)).await
    }

    /// Forgets what has ended. The file keeps it until the next write, and whoever reads it forgets it, too.
    fn forget(&self, now: SystemTime) {
        self.published.send_if_modified(|keys| {
            let ended = keys.revoked().first_end().is_some_and(|end| end <= now);
            if ended {
                *keys = Arc::new(keys.revoking(keys.revoked().at(now)));
            }
            ended
        });
    }

    /// When the next one ends, by the clock of the day, which may be set meanwhile.
    fn next_end(&self) -> Instant {
        let end = self.published.borrow().revoked().first_end();
        let left = end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        Instant::now() + left.unwrap_or(Duration::MAX).min(Duration::from_secs(3600))
    }
}

/// Does what may wait for a disk.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err("the gateway has a fault here; the log says where".into()));
    done.inspect_err(|why| tracing::error!("nothing is revoked: {why}"))
}

/// What holds here and what a file has, which another process may have written: of two that run side by side at a restart, neither may
/// erase what the other one revoked.
fn join(file: &Path, ours: Revocations) -> Result<Revocations, String> {
    let joined = own_file::read(file).and_then(|body| {
        let Some(body) = body else { return Ok(ours) };
        let now = SystemTime::now();
        let theirs = document::parse(&body, now)?;
        let is_news = |one: &&Revocation| {
            let held = ours.of(&one.issuer, &one.which);
            held.is_none_or(|held| document::is_later(one.at, held.at) || document::is_later(one.until, held.until))
        };
        let news: Vec<_> = theirs.iter().filter(is_news).cloned().collect();
        if news.is_empty() {
            return Ok(ours);
        }
        let all = Revocations::listed(ours.iter().cloned().chain(news), now);
        all.ok_or_else(|| format!("more than {MOST} revocations hold in it and here"))
    });
    joined.map_err(|why| format!("{} cannot be used: {why}", file.display()))
}

fn write(file: &Path, table: &Revocations) -> Result<(), String> {
    own_file::write(file, |out| Ok(document::render(out, table)?))
        .map_err(|why| format!("{} cannot be written: {why}", file.display()))
}
