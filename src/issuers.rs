//! Who vouches for callers: the control plane fetches the keys of issuers and keeps the last good ones, asks issuers about tokens that only
//! they understand, and keeps what was revoked. Requests read the result, and ask only for what is not in it.
//!
//! A stranger's tokens cost no more than a budget (`issuers/budget`), and an issuer that hangs, dies or answers garbage takes no key away
//! (`issuers/followed`). What an operator revokes outlives the process where there is a file for it (`issuers/revocations`).

mod budget;
pub mod explain;
mod follow;
mod followed;
mod gather;
mod http;
mod introspection;
mod listing;
mod metadata;
mod names;
mod place;
pub mod revocations;
pub mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::Config;
use crate::supervisor::Supervisor;
use crate::token::KeySets;
use crate::token::asking::{self, Asker};
use crate::token::counts::Counts;
use crate::token::revoked::Revocations;
use follow::Follower;
use http::Http;
use introspection::Introspector;
use revocations::Keeper;
use status::{Figures, KeysStatus};

/// What goes on about issuers. Dropping it ends nothing; see [`Issuers::stop`].
#[derive(Clone, Debug)]
pub struct Issuers {
    /// The keys that hold, and what was revoked.
    pub keys: watch::Receiver<Arc<KeySets>>,
    /// What was revoked is in a file from which the next start reads it.
    pub survives_restart: bool,
    /// Where requests ask for what is not there.
    pub asker: Asker,
    /// Where the filter counts tokens.
    pub counts: Counts,
    /// How the keys of each issuer, or of each of its tenants, fare.
    pub status: watch::Receiver<OrdMap<Arc<str>, Arc<KeysStatus>>>,
    /// What became of questions about tokens, by the names of issuers.
    pub introspection: watch::Receiver<BTreeMap<Arc<str>, Arc<Figures>>>,
    tasks: [AbortHandle; 3],
}

/// Follows the issuers of a configuration, and of those that replace it. It waits for none of them: the gateway starts without. `revoked` is
/// what [`revocations::load`] read.
pub fn start(configs: &watch::Receiver<Arc<Config>>, revoked: Revocations, supervisor: &Supervisor) -> Issuers {
    start_by(Http::new(), configs, revoked, supervisor)
}

fn start_by(
    http: Http,
    configs: &watch::Receiver<Arc<Config>>,
    revoked: Revocations,
    supervisor: &Supervisor,
) -> Issuers {
    let (asker, asked) = asking::channel();
    let file = configs.borrow().admin.revocations.clone();
    let (publish, keys) = watch::channel(Arc::new(KeySets::default().revoking(revoked)));
    let keeper = Keeper::new(asked.revocations, publish.clone(), file);
    let survives_restart = keeper.survives_restart();
    let counts = Counts::new(configs.borrow().workers);
    let (follower, status) = Follower::new(configs.clone(), asked.keys, publish, http.clone(), supervisor.clone());
    let (introspector, introspection) = Introspector::new(configs.clone(), asked.tokens, http);
    let tasks = [
        supervisor.spawn(follow::TASK, follower, |follower| Box::pin(follower.run())),
        supervisor.spawn(introspection::TASK, introspector, |introspector| Box::pin(introspector.run())),
        supervisor.spawn(revocations::TASK, keeper, |keeper| Box::pin(keeper.run())),
    ];
    Issuers { keys, survives_restart, asker, counts, status, introspection, tasks }
}

impl Issuers {
    /// Ends all of it.
    pub fn stop(&self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
pub(crate) mod tests;
